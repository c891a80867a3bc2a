"""Stress mode: entered, left, and not switched to and fro."""
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.sinks.stress import CALM_S, ENTER, LEAVE, Stress
from tests.log_lines import log_to


class Scene:
    """Stress mode with two bounds, a clock to turn and lines to look at."""

    def __init__(self) -> None:
        self.now = 100.0
        self.fills = {"one": 0.0, "other": 0.0}
        self.lines: list[str] = []
        self.stress = Stress(log_to(self.lines), lambda: self.now)
        for name in self.fills:
            self.stress.watch(name, lambda name=name: self.fills[name])  # type: ignore[misc]

    def look(self, one: float, other: float, after_s: float = 1.0) -> bool:
        """One look, so much later."""
        self.now += after_s
        self.fills.update(one=one, other=other)
        self.stress.look()
        return self.stress.on


def test_it_is_entered_at_90_percent_and_left_at_70() -> None:
    scene = Scene()
    assert not scene.look(0.89, 0.5)
    assert scene.look(0.5, 0.9)
    assert scene.look(0.95, 0.2)
    assert scene.look(0.71, 0.2, 60)
    # Calm has to last.
    assert scene.look(0.7, 0.7)
    assert scene.look(0.75, 0.7, CALM_S - 1)
    assert scene.look(0.7, 0.0)
    assert scene.look(0.0, 0.0, CALM_S - 0.1)
    assert not scene.look(0.0, 0.0, 0.1)
    assert not scene.look(0.89, 0.89)
    assert scene.lines == ["stress state=on bound=other percent=90", "stress state=off seconds=72"]
    assert scene.stress.times == 1


def test_nothing_to_watch_is_no_stress() -> None:
    stress = Stress(log_to([]))
    stress.look()
    assert not stress.on


@given(st.lists(st.tuples(st.floats(0, 1.5), st.floats(0, 1.5), st.floats(0, 10)), max_size=60))
def test_it_is_on_after_90_and_off_only_after_calm(looks: list[tuple[float, float, float]]) -> None:
    scene = Scene()
    calm_since: float | None = None
    for one, other, after_s in looks:
        was_on = scene.stress.on
        on = scene.look(one, other, after_s)
        fullest = max(one, other)
        if fullest >= ENTER:
            assert on
        if not was_on and fullest < ENTER:
            assert not on
        if fullest > LEAVE or not was_on:
            calm_since = None
        elif calm_since is None:
            calm_since = scene.now
        if was_on and not on:
            assert calm_since is not None
            assert scene.now - calm_since >= CALM_S
    # One line for each time that it is entered or left, in turn.
    assert [line.split()[1] for line in scene.lines] == ["state=on", "state=off"] * (len(scene.lines) // 2) + [
        "state=on"] * (len(scene.lines) % 2)
