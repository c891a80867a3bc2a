"""Faults of the engine, short ones: nobody is missing anywhere after them, and each is one line and one more."""
from pathlib import Path

import pytest

from tests.fleet_faults import FAULTS, Stage
from tests.gateways import fleet

SECONDS = 0.5
GROUPS = {
    "while-it-runs": ("hangs", "is-cut-off", "is-full", "lets-nobody-in", "comes-back-empty"),
    "long-ones": ("is-killed", "evicts", "takes-nothing"),
    "that-replace-it": ("is-replaced",),
}


@pytest.mark.usefixtures("namespaces")
@pytest.mark.long
@pytest.mark.parametrize("names", [
    pytest.param(names, id=group, marks=[pytest.mark.fleet] if group == "long-ones" else [])
    for group, names in GROUPS.items()])
def test_faults(names: tuple[str, ...], tmp_path: Path) -> None:
    """One after the other, of the same gateways."""
    with fleet(tmp_path) as made:
        stage = Stage(made, replica=any(FAULTS[name].replica for name in names))
        for name in names:
            stage.play(FAULTS[name], SECONDS)
        stage.end()


def test_no_fault_is_left_out() -> None:
    assert {name for group in GROUPS.values() for name in group} == FAULTS.keys()
