"""The sandbox by itself: the places that are made of a file, and what a process may still reach once it is inside."""
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mxallowd
from mxallowd.process import sandbox

# In a process of its own, since there is no way out: what came of reading, removing and importing, by errno.
INSIDE = """
import json, os, sys
from pathlib import Path
from typing import Any
from mxallowd.process import sandbox

readable, removable, closed = map(Path, sys.argv[1:4])
if "no-seccomp" in sys.argv:
    sys.modules["pyseccomp"] = None
if "no-landlock" in sys.argv:
    def refuse(*_, **__):
        raise OSError(95, os.strerror(95))
    sandbox._landlock = refuse
sandbox.load()
warnings = sandbox.enter([*sandbox.program(), readable], [removable])

def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

print(json.dumps({
    "warnings": warnings,
    "read readable": errno_of((readable / "file").read_bytes),
    "write readable": errno_of(lambda: (readable / "file").write_bytes(b"")),
    "remove readable": errno_of((readable / "file").unlink),
    "remove removable": errno_of((removable / "file").unlink),
    "read closed": errno_of((closed / "file").read_bytes),
    "read system": errno_of(Path("/etc/passwd").read_bytes),
    "write null": errno_of(lambda: Path("/dev/null").write_bytes(b"x")),
    "setuid": errno_of(lambda: os.setuid(os.getuid())),
    "import late": errno_of(lambda: __import__("mxallowd.text")),
}))
"""


def found_inside(tmp_path: Path, *words: str) -> dict[str, Any]:
    """What INSIDE prints, with three directories of one file each."""
    directories = [tmp_path / name for name in ("readable", "removable", "closed")]
    for directory in directories:
        directory.mkdir()
        (directory / "file").touch()
    done = subprocess.run([sys.executable, "-c", INSIDE, *map(str, directories), *words], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_what_is_reached_from_inside(tmp_path: Path) -> None:
    eacces, eperm = 13, 1
    assert found_inside(tmp_path) == {
        "warnings": [], "read readable": 0, "write readable": eacces, "remove readable": eacces, "remove removable": 0,
        "read closed": eacces, "read system": 0, "write null": 0, "setuid": eperm, "import late": 0}


@pytest.mark.parametrize(("word", "warning", "open_again"), [
    ("no-landlock", "no Landlock: Operation not supported", "read closed"), ("no-seccomp", "no seccomp: ", "setuid")])
def test_what_the_kernel_does_not_have_is_said(tmp_path: Path, word: str, warning: str, open_again: str) -> None:
    """And the other half holds."""
    found = found_inside(tmp_path, word)
    [said] = found["warnings"]
    assert said.startswith(warning)
    assert {name: found[name] == 0 for name in ("read closed", "setuid")} == {
        "read closed": open_again == "read closed", "setuid": open_again == "setuid"}


def test_the_program_is_the_interpreter_and_the_package() -> None:
    assert {place.resolve() for place in sandbox.program()} == {
        Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path(mxallowd.__file__).resolve().parent}
