"""Benchmarks start wherever mxallowd is, in a checkout or beside one; else one line says what mends it."""
import json
import shlex
from pathlib import Path

import pytest

from tests import environments
from tests.environments import EXTRAS, VERSION, run, the_line
from tests.links import pcap
from tests.strategies import FAKE, HOSTS, REAL, syn

RAW = 101
COMMANDS = (
    "answers", "decisions", "delivery", "flooding", "kernel_queue", "neighbouring", "networks", "offload", "patience",
    "rdns", "refusing", "replay", "senders", "soak", "table", "tracking")
SMALL_TABLE = ("--entries", "1000", "--lookups", "100", "--repeat", "1")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A host that meets the fake server and reaches the real one."""
    return pcap(tmp_path / "capture.pcap", RAW, [syn(HOSTS[0], FAKE[0]), syn(HOSTS[0], REAL[0])] * 2)


def replay(python: Path, checkout: Path, capture: Path, cwd: Path, *words: str, **variables: str) -> int:
    """Packets/s; nothing is said to standard error but how servers were chosen."""
    done = run(python, *words, checkout / "benchmarks" / "replay.py", capture, "--json", cwd=cwd, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("taken the most frequent destination")
    assert done.stderr.count("\n") == 1
    return int(json.loads(done.stdout)["pps"])


def test_a_checkout_that_was_built_in_place(capture: Path, tmp_path: Path) -> None:
    """From wherever, and also where Python looks into no directory of the caller."""
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    python = environments.python(tmp_path / "venv")
    for cwd in (checkout, tmp_path):
        assert replay(python, checkout, capture, cwd) > 0
    assert replay(python, checkout, capture, tmp_path, "-I") > 0
    assert run(python, checkout / "benchmarks" / "table.py", *SMALL_TABLE, cwd=tmp_path).returncode == 0


def test_its_own_build_comes_before_what_is_installed(capture: Path, tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    other = environments.installed(tmp_path / "packages")
    (other / "mxallowd" / "__init__.py").write_text("raise SystemExit('the wrong one')\n", encoding="ascii")
    assert replay(environments.python(tmp_path / "venv", other), checkout, capture, tmp_path) > 0


def test_a_bare_checkout_beside_an_installed_package(capture: Path, tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=False)
    python = environments.python(tmp_path / "venv", environments.installed(tmp_path / "packages"))
    for cwd in (checkout, tmp_path):
        assert replay(python, checkout, capture, cwd) > 0
        # It starts a Python by itself.
        done = run(python, checkout / "benchmarks" / "table.py", *SMALL_TABLE, cwd=cwd)
        assert (done.returncode, done.stderr) == (0, "")
    assert replay(python, checkout, capture, checkout, PYTHONPATH=str(checkout)) > 0


def test_the_daemon_that_is_measured_is_the_installed_one(tmp_path: Path) -> None:
    """(The words that start it are the same in all benchmarks.)"""
    checkout = environments.checkout(tmp_path / "checkout", built=False)
    packages = environments.installed(tmp_path / "packages")
    (packages / "mxallowd" / "cli.py").write_text("def main() -> int:\n    print(__file__)\n", encoding="ascii")
    start = str(checkout / "benchmarks" / "start.py")
    code = (f"import runpy, subprocess; runpy.run_path({start!r})['find_packages']()\n"
            "from benchmarks.gateway_site import DAEMON; subprocess.run(DAEMON)")
    for variables in ({}, {"PYTHONPATH": str(checkout)}):
        done = run(environments.python(tmp_path / "venv", packages), "-c", code, cwd=checkout, **variables)
        assert (done.stdout, done.stderr) == (f"{packages}/mxallowd/cli.py\n", "")


def test_without_the_extras_there_is_a_plain_table_and_no_bar(capture: Path, tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    python = environments.python(tmp_path / "venv", without=EXTRAS)
    done = run(python, checkout / "benchmarks" / "replay.py", capture, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert any(row.split() == ["records", "read", "4"] for row in rows)
    # Columns end where they should.
    assert len({len(row) for row in rows[3:]}) == 1
    assert not any(name in done.stdout + done.stderr for name in EXTRAS)


@pytest.mark.parametrize(("command", "package"), [
    (("replay", "CAPTURE", "--plot", "rate.png"), "matplotlib"), (("decisions",), "dpkt")])
def test_an_extra_that_is_needed_is_named(
        command: tuple[str, ...], package: str, capture: Path, tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    python = environments.python(tmp_path / "venv", without=EXTRAS)
    name, *words = [str(capture) if word == "CAPTURE" else word for word in command]
    line = the_line(run(python, checkout / "benchmarks" / f"{name}.py", *words, cwd=tmp_path))
    assert line.startswith(f"{name}: {package} is not installed: run ")
    assert shlex.quote(f"{checkout}[benchmark]") in line


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Python without mxallowd, and a checkout that is not built."""
    return environments.bare(tmp_path_factory.mktemp("bare"))


@pytest.mark.parametrize("name", COMMANDS)
def test_without_any_build_a_line_says_what_mends_it(name: str, bare: tuple[Path, Path], tmp_path: Path) -> None:
    python, checkout = bare
    line = the_line(run(python, checkout / "benchmarks" / f"{name}.py", cwd=tmp_path))
    assert line == (f"{name}: mxallowd._fastpath is not built for Python {VERSION}: "
                    f"run {python} -m pip install --editable {shlex.quote(f'{checkout}[benchmark]')}\n")


def test_these_are_all_commands() -> None:
    here = Path(environments.ROOT / "benchmarks")
    assert {path.stem for path in here.glob("*.py") if "runpy" in path.read_text(encoding="utf-8")} == set(COMMANDS)


@pytest.mark.parametrize("how", ["missing", "empty", "of another Python"])
def test_a_build_that_is_broken_is_named(how: str, tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    said = environments.spoil(checkout / "mxallowd", how)
    line = the_line(run(environments.python(tmp_path / "venv"), "benchmarks/replay.py", "x", cwd=checkout))
    assert line.startswith(f"replay: {said}")
