"""The fair queue: turns, pauses and the bound, beside a plain model."""
from collections.abc import Hashable

from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.sinks.lanes import Lanes

Item = tuple[str, str, int]


def path(item: Item) -> tuple[str, str]:
    return item[0], item[0] + item[1]


class Scene:
    """Lanes with a clock, and what pauses until when."""

    def __init__(self, most: int = 1000) -> None:
        self.now = 0.0
        self.until: dict[Hashable, float] = {}
        self.lanes: Lanes[Item] = Lanes(
            most, path, lambda step: max(0.0, self.until.get(step, 0.0) - self.now), lambda: self.now)

    def take_all(self) -> list[Item]:
        """Everybody who may be taken now."""
        found = []
        while (one := self.lanes.take()) is not None:
            found.append(one)
        return found


def test_turns_go_round() -> None:
    scene = Scene()
    for number in range(3):
        for of in ("ax", "ay", "bx"):
            scene.lanes.note((of[0], of[1], number))
    assert ["".join(map(str, one)) for one in scene.take_all()] == [
        "ax0", "bx0", "ay0", "bx1", "ax1", "bx2", "ay1", "ax2", "ay2"]


def test_what_pauses_is_in_nobodys_way() -> None:
    scene = Scene()
    for number in range(100):
        scene.lanes.note(("a", "x", number))
    scene.lanes.note(("b", "x", 0))
    scene.until["a"] = 5.0
    assert scene.take_all() == [("b", "x", 0)]
    assert scene.lanes.next_s() == 5.0
    scene.now = 5.0
    assert scene.lanes.next_s() == 0.0
    assert len(scene.take_all()) == 100
    assert scene.lanes.next_s() == float("inf")


def test_the_oldest_goes() -> None:
    scene = Scene(2)
    items = [("a", "x", 1), ("b", "x", 1), ("a", "y", 1)]
    assert [scene.lanes.note(one) for one in items] == [None, None, items[0]]
    assert list(scene.lanes) == items[1:]


items = st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 3))
steps = st.lists(st.one_of(
    st.tuples(st.just("note"), items), st.tuples(st.just("drop"), items), st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("pause"), st.sampled_from(["a", "b", "ax", "cy"])),
    st.tuples(st.just("pass"), st.none())), max_size=80)


@settings(deadline=None)
@given(steps, st.integers(1, 12))
def test_nobody_is_lost_or_taken_while_he_pauses(taken: list[tuple[str, object]], most: int) -> None:
    scene, model = Scene(most), dict[Item, None]()
    for step, what in taken:
        if step == "note":
            there = what in model
            model.pop(what, None)  # type: ignore[call-overload]
            model[what] = None  # type: ignore[index]
            gone = scene.lanes.note(what)  # type: ignore[arg-type]
            assert (gone is not None) == (not there and len(model) > most)
            if gone:
                assert gone == next(iter(model))
                del model[gone]
        elif step == "drop":
            assert scene.lanes.drop(what) == (what in model)  # type: ignore[arg-type]
            model.pop(what, None)  # type: ignore[call-overload]
        elif step == "pause":
            scene.until[what] = scene.now + 3
        elif step == "pass":
            scene.now += 1
        else:
            one = scene.lanes.take()
            open_ = [each for each in model if all(scene.until.get(part, 0) <= scene.now for part in path(each))]
            assert (one is not None) or not open_
            if one:
                assert one in open_
                del model[one]
        assert list(scene.lanes) == list(model)
    scene.now += 10
    assert sorted(scene.take_all()) == sorted(model)
