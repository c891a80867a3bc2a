"""What a target holds from before is taken over at the start."""


from mxallowd.engine.clock import boottime_us
from mxallowd.mirrors import seconds_left
from tests.memory_target import Scene, run
from tests.strategies import HOSTS, listed, packed


def test_used_hosts_then_the_newest_are_taken_over() -> None:
    """A flood filled the kernel's table; whoever came before, and has proven himself, is known after a restart."""
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

    run(story)


def test_what_is_there_at_the_start_is_taken_over() -> None:
    async def story() -> None:
        scene = Scene("-t 100")
        scene.target.copied = {
            HOSTS[0]: (50, True), HOSTS[1]: (5000, False), HOSTS[2]: (None, False), HOSTS[3]: (0, False)}
        scene.open()
        assert scene.lines == ["table-read table=memory entries=4 adopted=2 whole=yes"]
        found = {host: (seconds_left(until_us, boottime_us()), used)
                 for host, (until_us, used) in listed(scene.whitelist).items()}
        # The operator's own needs no entry here; one that has just ended has ended; none lives longer than configured.
        assert found == {HOSTS[0]: (50, True), HOSTS[1]: (100, False)}
        assert scene.target.copied[HOSTS[2]] == (None, False)
        # The kernel is told that one of them ends sooner.
        await scene.until(lambda: scene.target.copied[HOSTS[1]] == (100, False))
        scene.mirror.close()

    run(story)
