"""`pip install` from a clean copy of the sources and from the source distribution, with build isolation.

The one place that asks a package registry, as scripts/test itself has just done for the same packages.
"""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from mxallowd import __version__
from tests import builds, environments
from tests.links import pcap
from tests.strategies import FAKE, HOSTS, REAL, syn

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([*builds.LAST, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, one for all workers of a test run."""
    def make(out: Path) -> None:
        run(sys.executable, "-m", "build", "--sdist", "--outdir", out, ROOT, cwd=out.parent)

    # What the workers of a run have in common is the directory above their own ones.
    own = tmp_path_factory.getbasetemp()
    place = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    [archive] = builds.made_once(place / "sdist", "made", make).glob("*.tar.gz")
    return archive


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a clone of the repository holds."""
    place = tmp_path / "checkout"
    for name in run("git", "ls-files", cwd=ROOT).split():
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target, follow_symlinks=False)
    return place


# Where --check can look at the firewall, it says that nothing feeds the queue.
NO_RULE = "system: warning: no rule of the firewall feeds queue 1 with IPv6\n"


@pytest.mark.install
@pytest.mark.timeout(600)
def test_from_the_sdist_with_the_command(sdist: Path, checkout: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    run(environment / "bin" / "pip", "install", "--disable-pip-version-check", sdist, cwd=tmp_path)
    assert run(environment / "bin" / "mxallowd", "--version", cwd=tmp_path) == f"mxallowd {__version__}\n"
    assert run(environment / "bin" / "mxallowctl", "--version", cwd=tmp_path) == f"mxallowctl {__version__}\n"
    # Where man-db looks for the pages of programs in this bin/.
    pages = {path.relative_to(environment / "share" / "man").as_posix() for path in environment.glob("share/man/*/*")}
    assert {"man5/mxallowd.conf.5", "man8/mxallowd.8", "man8/mxallowctl.8"} <= pages
    assert run(environment / "bin" / "mxallowd", "--check", "-f", "::1", "-r", "::2", "-n", "1", cwd=tmp_path).replace(
        "system: warning: ::2 is no address of this host: no packet to it comes here\n", "") in ("", NO_RULE)
    where = run(
        environment / "bin" / "python", "-c", "import mxallowd.backends._worker as w; print(w.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    assert ".so" in where
    # And what is installed is measured by the benchmarks of a clone, which is not built.
    capture = pcap(tmp_path / "capture.pcap", 101, [syn(HOSTS[0], FAKE[0]), syn(HOSTS[0], REAL[0])])
    for cwd in (checkout, tmp_path):
        found = run(environment / "bin" / "python", checkout / "benchmarks" / "replay.py", capture, "--json", cwd=cwd)
        assert json.loads(found)["candidates"] == 2


@pytest.mark.install
@pytest.mark.timeout(600)
def test_the_command_that_is_named_builds_a_clean_checkout(checkout: Path, tmp_path: Path) -> None:
    python = environments.python(tmp_path / "venv")
    line = environments.the_line(environments.run(python, "-m", "mxallowd", "--version", cwd=checkout))
    run("sh", "-c", line.partition(": run ")[2], cwd=tmp_path)
    assert environments.run(python, "-m", "mxallowd", "--version", cwd=tmp_path).stdout == f"mxallowd {__version__}\n"
    command = python.parent / "mxallowd"
    assert environments.run(command, "--version", cwd=tmp_path).stdout == f"mxallowd {__version__}\n"
    for module in (checkout / "mxallowd").rglob("*.so"):
        module.unlink()
    assert environments.the_line(environments.run(command, cwd=tmp_path)) == line


@pytest.mark.install
@pytest.mark.timeout(400)
def test_the_sdist_holds_the_sources_and_nothing_that_was_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = run("git", "ls-files", cwd=ROOT).split() if (ROOT / ".git").exists() else []
    shipped = (
        "mxallowd/", "documents/", "lab/", "tests/", "scripts/", "benchmarks/", "rulesets/", "docs/", "packaging/",
        "release/")
    assert {name for name in tracked if name.startswith(shipped)} <= names
    assert {"README.md", "SECURITY.md", "LICENSE", "CHANGES.md", "setup.py", "pyproject.toml", "scripts/demo"} <= names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    assert not [name for name in names if name.startswith("mxallowd/") and name.endswith(".c")]
