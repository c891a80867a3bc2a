"""Who is looked up next: the order, the bounds, the rate, stress mode, and what failed."""
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.sinks.stress import CALM_S, Stress
from mxallowd.sinks.waiting import BURST_S, FAILED_S, MAX_WAITING, OVERFLOWED_S, Bounded, Waiting
from tests.log_lines import log_to


def host(number: int) -> bytes:
    """Each in a network of its own."""
    return (0x2001 << 112 | number << 80).to_bytes(16, "big")


A, B, C, D = map(host, range(1, 5))


class Scene:
    """Who waits, with a clock to turn and stress mode that watches the queues."""

    def __init__(self, per_s: int = 100_000) -> None:
        self.now = 0.0
        self.stress = Stress(log_to([]), lambda: self.now)
        self.waiting = Waiting(per_s, self.stress, lambda: self.now)
        self.stress.watch("lookups-waiting", self.waiting.fill)

    def take_all(self) -> list[tuple[bytes, bool]]:
        """Everybody who is given out now."""
        found = []
        while (one := self.waiting.take()) is not None:
            found.append(one)
        return found

    def is_stressed(self) -> bool:
        """A look of stress mode."""
        self.stress.look()
        return self.stress.on

    def pass_a_second(self) -> None:
        """As the main loop does."""
        self.now += 1
        self.waiting.tick()


def test_used_hosts_go_first_then_contacts_then_refused_ones() -> None:
    scene = Scene()
    scene.waiting.queue_refused(A)
    for one in (B, C, D):
        scene.waiting.queue_contact(one)
    scene.waiting.promote(C)
    assert scene.waiting.has_next()
    assert scene.take_all() == [(C, True), (B, True), (D, True), (A, False)]
    assert not scene.waiting.has_next()
    assert scene.waiting.limited == 0


def test_a_host_waits_in_one_queue() -> None:
    scene = Scene()
    scene.waiting.queue_refused(A)
    scene.waiting.queue_contact(A)
    scene.waiting.queue_refused(A)
    assert scene.take_all() == [(A, True)]
    scene.waiting.queue_contact(A)
    scene.waiting.promote(A)
    scene.waiting.queue_contact(A)
    scene.waiting.queue_refused(A)
    assert scene.take_all() == [(A, True)]


def test_a_first_use_alone_asks_for_nothing() -> None:
    """Whoever is not waiting has had his turn."""
    scene = Scene()
    scene.waiting.promote(A)
    assert scene.take_all() == []


def test_a_refused_host_that_comes_again_keeps_its_place() -> None:
    scene = Scene()
    for one in (A, B, A):
        scene.waiting.queue_refused(one)
    assert scene.take_all() == [(A, False), (B, False)]


def test_the_oldest_goes_from_a_full_queue_and_is_counted() -> None:
    scene = Scene()
    for number in range(MAX_WAITING + 14):
        scene.waiting.queue_refused(host(number))
    assert scene.waiting.limited == 14
    assert scene.waiting.fill() == 1.0
    assert [one for one, _ in scene.take_all()] == [host(number) for number in range(14, MAX_WAITING + 14)]


def test_a_used_host_that_was_pushed_out_is_asked_about() -> None:
    scene = Scene()
    for number in range(MAX_WAITING + 10):
        scene.waiting.queue_contact(host(number))
    assert scene.waiting.limited == 10
    scene.waiting.promote(host(4))
    assert scene.waiting.take() == (host(4), True)
    # It may be any host that was pushed out, for as long as that may have been of late.
    scene.now = OVERFLOWED_S - 0.1
    scene.waiting.promote(host(4))
    assert scene.waiting.take() == (host(4), True)
    scene.now = OVERFLOWED_S
    scene.waiting.promote(host(4))
    assert scene.waiting.take() == (host(10), True)


# ---- the rate


def test_a_burst_and_then_the_rate() -> None:
    scene = Scene(10)
    for number in range(200):
        scene.waiting.queue_refused(host(number))
    assert len(scene.take_all()) == 10 * BURST_S
    # Only the rate holds the others back.
    assert scene.waiting.has_next()
    scene.now = 2.0
    assert len(scene.take_all()) == 20
    scene.now = 1000.0
    scene.waiting.queue_contact(host(1000))
    found = scene.take_all()
    assert found[0] == (host(1000), True)
    assert len(found) == 10 * BURST_S


def test_nobody_there_uses_nothing_up() -> None:
    scene = Scene(1)
    for _ in range(100):
        assert scene.waiting.take() is None
    for number in range(10):
        scene.waiting.queue_contact(host(number))
    assert len(scene.take_all()) == BURST_S


def test_another_rate() -> None:
    scene = Scene(1)
    assert scene.waiting.pause_s == 1.0
    scene.waiting.set_rate(50)
    assert scene.waiting.pause_s == 0.02
    scene.waiting.set_rate(100_000)
    assert scene.waiting.pause_s == 0.01
    for number in range(2000):
        scene.waiting.queue_contact(host(number))
    # What was there stays as it is; the next second brings more.
    assert len(scene.take_all()) == BURST_S
    scene.now = 0.01
    assert len(scene.take_all()) == 1000


# ---- failures


def test_what_failed_is_not_tried_for_a_while() -> None:
    scene = Scene()
    for contact, queue in ((False, scene.waiting.queue_refused), (True, scene.waiting.queue_contact)):
        begun = scene.now
        scene.waiting.note_failure(A, contact=contact)
        queue(A)
        scene.now = begun + FAILED_S - 0.1
        scene.waiting.tick()
        queue(A)
        assert scene.take_all() == []
        scene.now = begun + FAILED_S
        queue(A)
        assert scene.take_all() == [(A, contact)]
        # The same where a tick has taken it away.
        scene.waiting.tick()
        queue(A)
        assert scene.take_all() == [(A, contact)]


def test_a_refused_hosts_failure_does_not_hold_up_a_contact() -> None:
    scene = Scene()
    scene.waiting.note_failure(A, contact=False)
    scene.waiting.queue_contact(A)
    assert scene.take_all() == [(A, True)]
    scene.waiting.note_failure(B, contact=True)
    scene.waiting.queue_refused(B)
    assert scene.take_all() == [(B, False)]


def test_a_used_host_that_failed_is_not_asked_again() -> None:
    scene = Scene()
    for number in range(MAX_WAITING + 1):
        scene.waiting.queue_contact(host(number))
    scene.take_all()
    scene.waiting.note_failure(A, contact=True)
    scene.waiting.promote(A)
    assert scene.take_all() == []


# ---- stress mode


def refuse(scene: Scene, numbers: range) -> None:
    for number in numbers:
        scene.waiting.queue_refused(host(number))


def test_in_stress_mode_refused_hosts_wait() -> None:
    scene = Scene()
    refuse(scene, range(MAX_WAITING * 8 // 10))
    assert not scene.is_stressed()
    refuse(scene, range(MAX_WAITING))
    assert scene.is_stressed()
    assert scene.take_all() == []
    assert not scene.waiting.has_next()
    for one in (MAX_WAITING + 1, MAX_WAITING + 2):
        scene.waiting.queue_contact(host(one))
    assert scene.waiting.has_next()
    assert len(scene.take_all()) == 2


def test_in_stress_mode_as_many_leave_as_would_be_looked_up() -> None:
    scene = Scene(1)
    refuse(scene, range(MAX_WAITING))
    assert scene.is_stressed()
    # One a second; and one host that comes again and again is one.
    for _ in range(10):
        for _ in range(1000):
            scene.waiting.queue_refused(host(MAX_WAITING))
        scene.pass_a_second()
        assert scene.is_stressed()
    # The queue was full: the first of those pushed one out.
    assert scene.waiting.limited == 1 + 10
    seconds = 10
    while scene.is_stressed():
        seconds += 1
        scene.pass_a_second()
        assert seconds < MAX_WAITING * 4 // 10
    # Three tenths had to go, and then some seconds of calm.
    assert seconds > MAX_WAITING * 3 // 10 + CALM_S - 1
    assert scene.take_all()


def test_the_speed_is_that_of_late_while_refused_hosts_waited() -> None:
    scene = Scene(1000)
    scene.take_all()
    # Three hundred a second get through, whatever the rate would allow.
    refuse(scene, range(MAX_WAITING * 85 // 100))
    for _ in range(20):
        for _ in range(300):
            scene.waiting.take()
        scene.pass_a_second()
        refuse(scene, range(MAX_WAITING * 85 // 100))
    # Where nobody waits, nothing is learnt of it.
    refuse(scene, range(MAX_WAITING))
    assert scene.is_stressed()
    before = scene.waiting.limited
    scene.pass_a_second()
    assert 290 <= scene.waiting.limited - before <= 310


def test_stress_mode_ends_where_the_load_can_be_borne() -> None:
    scene = Scene(1000)
    refuse(scene, range(MAX_WAITING))
    assert scene.is_stressed()
    seconds = 0
    while scene.is_stressed():
        seconds += 1
        refuse(scene, range(10_000 + 250 * seconds, 10_250 + 250 * seconds))
        scene.pass_a_second()
        scene.take_all()
        assert seconds < 20


# ---- whatever happens

Step = Callable[[Waiting, bytes], None]
steps = st.lists(st.tuples(
    st.sampled_from([Waiting.queue_contact, Waiting.queue_refused, Waiting.promote,
                     lambda waiting, _: waiting.take(), lambda waiting, _: waiting.tick()]),
    st.sampled_from([host(number) for number in range(6)])), max_size=60)


@settings(deadline=None)
@given(steps, st.booleans())
def test_nobody_waits_twice_and_nobody_is_forgotten(taken: list[tuple[Step, bytes]], stressed: bool) -> None:
    scene = Scene()
    scene.stress.on = stressed
    for step, one in taken:
        step(scene.waiting, one)
        queues = (scene.waiting._used, scene.waiting._contacts, scene.waiting._refused)
        waiting = [each for queue in queues for each in queue]
        assert len(waiting) == len(set(waiting))
        if step in (Waiting.queue_contact, Waiting.queue_refused):
            assert one in waiting
    scene.stress.on = False
    waits = {each for queue in queues for each in queue} if taken else set()
    assert {one for one, _ in scene.take_all()} == waits


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=60), st.integers(1, 5))
def test_a_bounded_dict_keeps_the_newest(steps: list[tuple[int, int]], most: int) -> None:
    bounded: Bounded[int, int] = Bounded(most)
    order: list[int] = []
    for key, value in steps:
        order = [one for one in order if one != key] + [key]
        assert bounded.note(key, value) == (len(order) > most)
        del order[:-most]
        assert list(bounded) == order
        assert bounded[key] == value


def test_a_bounded_dict_lets_go_what_is_old() -> None:
    bounded: Bounded[int, float] = Bounded(9)
    for key, value in enumerate((1.0, 2.0, 3.0, 2.5)):
        bounded.note(key, value)
    bounded.forget(2.0)
    # In the order of notes: what is behind a newer one waits for it.
    assert list(bounded) == [2, 3]


def test_renewals_of_a_host_wait_for_their_time() -> None:
    scene = Scene()
    scene.waiting.renewed_s = 3600.0
    asked = []
    for minute in range(130):
        scene.now = 60.0 * minute
        scene.waiting.queue_renewed(A)
        asked += [minute for host, _ in scene.take_all() if host == A]
    assert asked == [0, 60, 120]
