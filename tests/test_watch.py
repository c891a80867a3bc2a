"""The watch as the back end has it: what is started when, and what is said where it cannot be."""
from collections.abc import Sequence

import pytest

from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.watchdog import watch
from mxallowd.watchdog._watch import Heartbeats
from mxallowd.watchdog.watch import Watch
from tests.recorder import Recorder
from tests.test_settings import MINIMUM, good

calls: list[tuple[object, ...]] = []


class Guard:
    """A guard that is no process."""

    def __init__(self, heartbeats: Heartbeats, sink: str, user: str, log: Log, *, walls: bool) -> None:
        calls.append(("guard", sink, user) if walls else ("guard", sink, user, "no walls"))

    def start(self, queues: Sequence[str]) -> None:
        """As GuardProcess does."""
        calls.append(("start", *queues))
        if "0:0" in queues:
            raise StartError("cannot start the guard: no reason")

    def tick(self) -> None:
        """As GuardProcess does."""
        calls.append(("tick",))

    def close(self) -> None:
        """As GuardProcess does."""
        calls.append(("close",))


class Thread:
    """A watching thread that never runs."""

    fails = False

    def __init__(self, heartbeats: Heartbeats, fds: Sequence[int]) -> None:
        calls.append(("thread", *fds))

    def start(self) -> None:
        """As Watchdog does."""
        if self.fails:
            raise OSError(11, "Resource temporarily unavailable")
        calls.append(("thread starts",))

    def stop(self) -> None:
        """As Watchdog does."""
        calls.append(("thread ends",))


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process and no thread."""
    calls.clear()
    monkeypatch.setattr(watch, "GuardProcess", Guard)
    monkeypatch.setattr(watch, "Watchdog", Thread)
    monkeypatch.setattr(Thread, "fails", False)
    monkeypatch.setattr(watch, "check_socket", lambda _: None)


def test_guard_and_thread_start_and_end_in_order() -> None:
    recorder = Recorder()
    made = Watch(good(f"{MINIMUM} -s --user nobody"), recorder.log)
    made.open([(23, 1001), (24, 1002)])
    made.start([7, 8])
    made.tick()
    made.stop()
    made.close()
    assert calls == [
        ("guard", "stdout:text", "nobody"), ("start", "23:1001", "24:1002"), ("thread", 7, 8), ("thread starts",),
        ("tick",), ("thread ends",), ("thread ends",), ("close",)]
    assert made.heartbeats.main_loop == 1
    assert recorder.lines == []


def test_no_watchdog_is_said_and_the_heart_beats() -> None:
    recorder = Recorder()
    made = Watch(good(f"{MINIMUM} --no-watchdog"), recorder.log)
    made.open([(23, 1001)])
    made.start([7])
    made.tick()
    made.close()
    assert calls == []
    assert made.heartbeats.main_loop == 1
    assert recorder.lines == ['degraded reason="no watchdog: a daemon that hangs holds up all new mail"']


def test_a_thread_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(Thread, "fails", True)
    made = Watch(good(MINIMUM), recorder.log)
    made.open([(23, 1001)])
    made.start([7])
    assert recorder.lines == ['degraded reason="no watchdog: Resource temporarily unavailable"']
    made.tick()
    made.close()
    assert calls[-3:] == [("tick",), ("thread ends",), ("close",)]


def test_a_guard_that_cannot_start_ends_the_start() -> None:
    made = Watch(good(MINIMUM), Recorder().log)
    with pytest.raises(StartError, match="cannot start the guard"):
        made.open([(0, 0)])


@pytest.mark.parametrize(("what", "said"), [
    ("os.pidfd_open", "pidfd_open: Function not implemented"),
    ("procnetlink.read_text", "/proc/thread-self/net/netlink: Function not implemented")])
def test_what_the_guard_needs_and_is_not_there_is_said(
        monkeypatch: pytest.MonkeyPatch, what: str, said: str) -> None:
    """The other watchdog works."""
    def refused(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(f"mxallowd.watchdog.watch.{what}", refused)
    recorder = Recorder()
    made = Watch(good(MINIMUM), recorder.log)
    made.open([(23, 1001)])
    made.start([7])
    made.tick()
    made.close()
    assert recorder.lines == [f'degraded reason="no guard, so a stopped daemon holds up all new mail: {said}"']
    assert calls == [("thread", 7), ("thread starts",), ("thread ends",)]


def test_a_socket_that_cannot_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(watch, "check_socket", refused)
    recorder = Recorder()
    made = Watch(good(MINIMUM), recorder.log)
    made.start([7])
    assert recorder.lines == ['degraded reason="no watchdog: Operation not permitted"']
