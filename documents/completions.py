"""The completion files in mxallowd/data/completion, made from mxallowctl's parser."""
from pathlib import Path

import shtab

from mxallowd.ctl import registry
from mxallowd.ctl.parser import build

PLACE = Path(__file__).parent.parent / "mxallowd" / "data" / "completion"
# The names by which the shells find them.
FILES = {"bash": "mxallowctl", "zsh": "_mxallowctl", "fish": "mxallowctl.fish"}


def completion(shell: str) -> str:
    """The completion file of a shell."""
    return str(shtab.complete(build(registry.every()), shell=shell))


def write() -> None:
    """Writes them anew."""
    PLACE.mkdir(exist_ok=True)
    for name, file in FILES.items():
        (PLACE / file).write_text(completion(name), encoding="utf-8")
