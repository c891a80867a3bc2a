"""Direct hosts that meet the fake server all the same: what counts as evidence, and who is told."""
import pytest

from mxallowd.engine.events import Event, Kind, packed
from mxallowd.history import unled
from mxallowd.history.unled import GRACE_S, SAY_S, Unled
from tests.strategies import FAKE

A, B = (packed(f"198.51.100.{number}") for number in (1, 2))


class Scene:
    """A and whoever else is in `direct`; a clock to turn."""

    def __init__(self) -> None:
        self.now_s = 1000
        self.direct = {A}
        self.said: list[bytes] = []
        self.unled = Unled(lambda: self.now_s * 1_000_000)
        self.unled.is_direct = self.direct.__contains__
        self.unled.say = self.said.append
        self.unled.changed()

    def happens(self, kind: Kind, host: bytes, after_s: int = 0) -> None:
        self.now_s += after_s
        self.unled.handle([Event(kind, 0, 0, 1, self.now_s * 1_000_000, host, FAKE[0], 0)])


def test_a_contact_of_a_direct_host_says_that_it_is_not_led() -> None:
    scene = Scene()
    # The kernel's sets may not know it yet.
    scene.happens(Kind.MET, A, GRACE_S)
    assert not scene.unled.has(A)
    scene.happens(Kind.MET, A, 1)
    scene.happens(Kind.WHITELISTED, B)
    assert (scene.unled.has(A), scene.unled.has(B), scene.unled.count(), scene.said) == (True, False, 1, [A])
    # Who comes to the real server does not lose its mail.
    scene.happens(Kind.ACCEPTED, A)
    assert (scene.unled.has(A), scene.unled.count()) == (False, 0)


def test_who_is_direct_no_more_is_not_told_of() -> None:
    scene = Scene()
    scene.happens(Kind.WHITELISTED, A, GRACE_S + 1)
    scene.direct.clear()
    assert not scene.unled.has(A)
    assert scene.unled.count() == 0


def test_the_log_hears_once_an_hour_and_hosts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unled, "MOST", 1)
    scene = Scene()
    scene.direct.add(B)
    scene.happens(Kind.MET, A, GRACE_S + 1)
    scene.happens(Kind.MET, B, SAY_S - 1)
    assert (scene.said, scene.unled.has(A), scene.unled.has(B)) == ([A], False, True)
    scene.happens(Kind.MET, B, 1)
    assert scene.said == [A, B]
