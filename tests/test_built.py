"""The command without its compiled modules: one line, with the command that builds them."""
import ast
import sys
from pathlib import Path

import pytest

from mxallowd import built
from tests import environments
from tests.environments import VERSION, run, the_line


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Python without mxallowd, and a checkout that is not built."""
    return environments.bare(tmp_path_factory.mktemp("bare"))


@pytest.mark.parametrize("words", [
    ("-m", "mxallowd"), ("-c", "import sys; from mxallowd.__main__ import main; sys.exit(main())")])
def test_the_command_in_a_bare_checkout_says_what_mends_it(
        words: tuple[str, ...], bare: tuple[Path, Path], tmp_path: Path) -> None:
    """A command for this Python, or where it installs nothing, for one of the checkout's own."""
    python, checkout = bare
    said = f"mxallowd: mxallowd._fastpath is not built for Python {VERSION}: run "
    assert the_line(run(python, *words, cwd=checkout)) == f"{said}{python} -m pip install --editable {checkout}\n"
    without_pip = environments.python(tmp_path / "venv", without=("pip",))
    own = f"{checkout}/.venv"
    assert the_line(run(without_pip, *words, cwd=checkout)) == (
        f"{said}python3 -m venv {own} && {own}/bin/pip install --editable {checkout}, then start it with "
        f"{own}/bin/python\n")


@pytest.mark.parametrize("how", ["missing", "empty", "of another Python"])
def test_a_build_that_is_broken_is_named(how: str, tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    said = environments.spoil(checkout / "mxallowd", how)
    line = the_line(run(environments.python(tmp_path / "venv"), "-m", "mxallowd", "--version", cwd=checkout))
    assert line.startswith(f"mxallowd: {said}")


def test_an_installed_package_that_is_broken_has_no_command(tmp_path: Path) -> None:
    packages = environments.installed(tmp_path / "packages")
    said = environments.spoil(packages / "mxallowd", "missing")
    line = the_line(run(environments.python(tmp_path / "venv", packages), "-m", "mxallowd", cwd=tmp_path))
    assert line == f"mxallowd: {said}install mxallowd again, for this Python\n"


def test_other_imports_that_fail_are_named_in_one_line(tmp_path: Path) -> None:
    checkout = environments.checkout(tmp_path / "checkout", built=True)
    (checkout / "mxallowd" / "cli.py").write_text("import nothing_of_this_name\n", encoding="ascii")
    done = run(environments.python(tmp_path / "venv"), "-m", "mxallowd", cwd=checkout)
    assert the_line(done) == "mxallowd: cannot start: No module named 'nothing_of_this_name'\n"


def test_the_modules_are_those_that_are_built() -> None:
    """And those of Linux alone are the same as in setup.py."""
    assert built.problem() is None
    assert f"mxallowd.{built.compiled_modules()[-1]}" in sys.modules
    setup = {target.id: ast.literal_eval(node.value) for node in ast.parse(
        (environments.ROOT / "setup.py").read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)
        for target in node.targets if isinstance(target, ast.Name) and target.id in ("MODULES", "LINUX_MODULES")}
    assert sorted(built.LINUX_ONLY) == sorted(setup["LINUX_MODULES"])
    if sys.platform == "linux":
        assert built.compiled_modules() == sorted(setup["MODULES"] + setup["LINUX_MODULES"])
