"""Processes beside the daemon: which directories they take packages from."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The module "site", run as a program, prints the directories.
START = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mxallowd.process.child import command; " \
        "import subprocess; sys.exit(subprocess.run(command('site')).returncode)"


@pytest.mark.parametrize(("flags", "beside"), [(["-I"], True), ([], False)])
def test_only_a_launcher_names_the_directory(flags: list[str], beside: bool, tmp_path: Path) -> None:
    """Debian's bundles packages beside ours. In a checkout it is a directory in which anything may lie."""
    done = subprocess.run([sys.executable, *flags, "-c", START], capture_output=True, text=True, cwd=tmp_path)
    first = done.stdout.splitlines()[1].strip(" ',")
    assert (first == str(ROOT)) is beside, done.stdout + done.stderr
