"""What targets hold from before is taken over at the start: by one of them, and by several in turn."""
from mxallowd.engine._table import Table
from mxallowd.engine.clock import boottime_us
from mxallowd.mirrors import Copied, TargetError, seconds_left
from mxallowd.mirrors.adoption import Adoption, adopt
from mxallowd.whitelist import Whitelist
from tests.memory_target import Scene, run
from tests.strategies import HOSTS, listed, packed

NOW_US = 5_000_000
A, B, C, D = HOSTS[:4]


def whitelist_of(room: int, *before: Copied) -> Whitelist:
    """A whitelist with room for so many hosts, of which some are listed already."""
    whitelist = Whitelist(Table(room, 1), lambda: NOW_US)
    for host, remaining_s, used, _ in before:
        assert whitelist.adopt(host, NOW_US + 1_000_000 * (remaining_s or 0), used=used)
    return whitelist


def left(whitelist: Whitelist) -> dict[bytes, tuple[int, bool]]:
    """The seconds that are left to each host, and its mark."""
    return {host: (seconds_left(until_us, NOW_US), used) for host, (until_us, used) in listed(whitelist).items()}


def test_entries_of_the_operators_own_need_no_entry_here() -> None:
    whitelist = whitelist_of(10)
    assert adopt(whitelist, [Copied(A, None, False), Copied(B, 0, False)], 100, expires=True) == Adoption(0, [], False)
    assert left(whitelist) == {}


def test_a_host_of_a_target_without_times_has_a_whole_lifetime() -> None:
    whitelist = whitelist_of(10)
    assert adopt(whitelist, [Copied(A, 0, False)], 100, expires=False) == Adoption(1, [], False)
    assert left(whitelist) == {A: (100, False)}


def test_no_time_is_longer_than_configured() -> None:
    whitelist = whitelist_of(10)
    assert adopt(whitelist, [Copied(A, 101, False), Copied(B, 100, True)], 100, expires=True) == Adoption(
        2, [A], False)
    assert left(whitelist) == {A: (100, False), B: (100, True)}


def test_who_comes_first_knows_the_time_and_any_the_mark() -> None:
    whitelist = whitelist_of(10, Copied(A, 50, False), Copied(B, 60, True), Copied(C, 70, False))
    # A time that is nearly the same, a mark that is missing, one that is new, the operator's own.
    assert adopt(whitelist, [Copied(A, 51, False), Copied(B, 60, False), Copied(D, 80, True)], 100, expires=True) == (
        Adoption(1, [B], True))
    assert adopt(whitelist, [Copied(A, 90, True), Copied(B, None, False), Copied(C, 70, True), Copied(D, 80, True)],
                 100, expires=True) == Adoption(0, [A], False)
    assert left(whitelist) == {A: (50, True), B: (60, True), C: (70, True), D: (80, True)}
    # One that keeps neither times nor marks differs in nothing.
    assert adopt(whitelist, [Copied(host, 0, False) for host in (A, B, C, D)], 100, expires=False) == Adoption(
        0, [], False)


def test_without_room_the_used_then_the_newest_come_in() -> None:
    copied = [Copied(A, 10, False), Copied(B, 20, False), Copied(C, 5, True), Copied(D, 30, False)]
    whitelist = whitelist_of(2)
    assert adopt(whitelist, copied, 100, expires=True) == Adoption(2, [], False)
    assert left(whitelist) == {C: (5, True), D: (30, False)}
    # Where nothing ends by itself, those that had no room are taken out.
    whitelist = whitelist_of(2)
    adoption = adopt(whitelist, [Copied(host, 0, False) for host in (A, B, C, D)], 100, expires=False)
    assert (adoption.adopted, len(adoption.differing)) == (2, 2)
    assert set(adoption.differing) | set(left(whitelist)) == {A, B, C, D}


def test_those_that_are_listed_already_take_no_room() -> None:
    whitelist = whitelist_of(3, Copied(A, 50, True), Copied(B, 50, True))
    assert adopt(whitelist, [Copied(A, 50, True), Copied(B, 50, True), Copied(C, 50, False)], 100, expires=True) == (
        Adoption(1, [], False))
    assert set(left(whitelist)) == {A, B, C}


# ---- by a mirror

def test_used_hosts_then_the_newest_are_taken_over() -> None:
    """A flood filled the kernel's table; whoever came before, and was used, is known after a restart."""
    async def story() -> None:
        scene = Scene()
        room = scene.whitelist.room()
        made_up = [packed(f"10.0.{number >> 8}.{number & 255}") for number in range(room + 200)]
        scene.target.copied = {host: (1000 + number, False) for number, host in enumerate(made_up)}
        scene.target.copied |= {host: (60 + number, True) for number, host in enumerate(HOSTS)}
        scene.open()
        adopted = {host: used for host, (_, used) in listed(scene.whitelist).items()}
        assert adopted == dict.fromkeys(made_up[200 + len(HOSTS) :], False) | dict.fromkeys(HOSTS, True)
        # The one that ends first is the first to go.
        now = boottime_us()
        scene.table.expire(now + 61_000_000, 10)
        assert len(scene.whitelist) == room - 2
        assert scene.whitelist.find(HOSTS[2])
        scene.mirror.close()

    run(story)


def test_what_is_there_at_the_start_is_taken_over() -> None:
    async def story() -> None:
        scene = Scene("-t 100")
        scene.target.copied = {
            HOSTS[0]: (50, True), HOSTS[1]: (5000, False), HOSTS[2]: (None, False), HOSTS[3]: (0, False)}
        scene.open()
        assert scene.lines == ["kernel-table-read table=memory entries=4 adopted=2 complete=yes"]
        found = {host: (seconds_left(until_us, boottime_us()), used)
                 for host, (until_us, used) in listed(scene.whitelist).items()}
        # The operator's own needs no entry here; one that has just ended has ended; none lives longer than configured.
        assert found == {HOSTS[0]: (50, True), HOSTS[1]: (100, False)}
        assert scene.target.copied[HOSTS[2]] == (None, False)
        # The target is told that one of them ends sooner.
        await scene.until(lambda: scene.target.copied[HOSTS[1]] == (100, False))
        # It adopted them itself: no other change is for it.
        assert scene.mirror.counters()["kernel-table-changed"] == 1
        scene.mirror.close()

    run(story)


def test_several_targets_come_to_hold_what_any_of_them_held() -> None:
    async def story() -> None:
        first = Scene("-t 1000")
        second = Scene("-t 1000", beside=first)
        third = Scene("-t 1000", beside=first, expires=False)
        first.target.copied = {A: (50, False), B: (60, False)}
        second.target.copied = {A: (500, True), C: (70, False)}
        third.target.copied = {A: (0, False), D: (0, False)}
        for scene in (first, second, third):
            scene.mirror.open()
        assert [line for scene in (first, second, third) for line in scene.lines] == [
            f"kernel-table-read table=memory entries=2 adopted={adopted} complete=yes" for adopted in (2, 1, 1)]
        for scene in (first, second, third):
            scene.mirror.start()
        wanted = {A: (50, True), B: (60, False), C: (70, False), D: (1000, False)}
        await first.until(lambda: first.target.copied == wanted)
        await second.until(lambda: second.target.copied == wanted)
        await third.until(lambda: third.target.copied.keys() == wanted.keys())
        # What was adopted here by single changes was no reason to fill it all again.
        assert first.mirror.counters()["kernel-table-filled"] == 0
        for scene in (first, second, third):
            scene.mirror.close()

    run(story)


def test_those_without_room_leave_a_target_without_times() -> None:
    async def story() -> None:
        scene = Scene(expires=False)
        many = [packed(f"10.0.{number >> 8}.{number & 255}") for number in range(scene.whitelist.room() + 50)]
        scene.target.copied = dict.fromkeys(many, (0, False))
        scene.open()
        await scene.until(lambda: scene.target.copied.keys() == listed(scene.whitelist).keys())
        assert len(scene.target.copied) == len(many) - 50
        scene.mirror.close()

    run(story)


def test_adopted_hosts_leave_a_target_without_times() -> None:
    async def story() -> None:
        scene = Scene("-t 1", expires=False)
        scene.target.copied = {A: (0, False)}
        scene.open()

        def left() -> bool:
            scene.mirror.tick()
            return not scene.target.copied

        await scene.until(left)
        scene.mirror.close()

    run(story)


def test_a_target_that_cannot_be_read_is_filled() -> None:
    async def story() -> None:
        first = Scene()
        second = Scene(beside=first)
        first.target.copied = {A: (50, True)}
        second.target.fault = TargetError("it cannot be read")
        first.open()
        second.mirror.open()
        assert second.lines == ['kernel-table-broken table=memory reason="it cannot be read"']
        second.target.fault = None
        second.mirror.start()
        await second.until(lambda: second.target.copied == {A: (50, True)})
        first.mirror.close()
        second.mirror.close()

    run(story)
