"""CONTRIBUTING.md has the map of the code: every room of the package, and every script."""
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "mxallowd"
# What needs no word: the package's own files, and the compiled module beside the decision that it foretells.
SMALL = {"__init__", "_foresight", "py.typed"}
PATTERNS = {"tests/test_X.py", "benchmarks/NAME.py"}


def test_the_map_has_every_room_and_nothing_else() -> None:
    rooms = {path.name + "/" for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    files = {path.name for path in PACKAGE.iterdir() if path.suffix in (".py", ".pyx") and path.stem not in SMALL}
    rows = re.search(r"^\| in `mxallowd/` .*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert rows
    named = {name for row in rows[0].splitlines() for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    assert named - {"mxallowd/"} == rooms | files


def test_its_files_and_commands_exist() -> None:
    named = set(re.findall(r"`\.?/?((?:scripts|tests|docs|benchmarks|documents|packaging)/[\w./-]*[\w])", TEXT))
    assert len(named) > 8
    assert {name for name in named if not (ROOT / name).exists()} <= PATTERNS
