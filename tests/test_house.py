"""The rules of the house, held by tests: types, stubs, lint, one-way imports, compiler hints, one table of options."""
import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mxallowd.options import OPTIONS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mxallowd"
COMPILED = sorted(path.stem for path in PACKAGE.glob("_*.pyx"))

# Who may import whom: a module may import what stands in a row above its own, and its own row where it says so.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({
        "__init__", "errors", "text", "memory", "streams", "clock", "wake", "supervisor", "child", "_packet",
        "_address", "c_atomic", "c_netlink", "c_threads"}),
    frozenset({"options", "_headers", "_siphash", "_ring", "_nfnetlink", "_watch"}),
    frozenset({"_shard", "_capture", "log"}),
    frozenset({"_table"}),
    frozenset({"privileges", "procnetlink", "pcapfilter", "_fastpath", "events", "resolver", "captures"}),
    frozenset({"settings"}),
    frozenset({"arguments", "configfile"}),
    frozenset({"loading", "hostnames", "stress", "whitelist", "_worker", "_replay", "pidfile", "background"}),
    frozenset({"backends", "sinks", "jobs", "kerneltables", "guard", "hostlines"}),
    frozenset({"kerneltables.helper", "kerneltables.libnftables", "kerneltables.nfquery"}),
    frozenset({"kerneltables.privileged", "backends.guarded"}),
    frozenset({"kerneltables.nft", "kerneltables.ipset", "kerneltables.pf"}),
    frozenset({"backends.nfqueue", "backends.capture", "backends.rehearsal", "sinks.log", "sinks.rdns",
               "sinks.kernel", "counters"}),
    frozenset({"daemon"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
# Imported where it is chosen, so that the rest works without it.
CHOSEN = {("backends", f"backends.{name}") for name in ("nfqueue", "capture", "rehearsal")} | {
    ("kerneltables", f"kerneltables.{name}") for name in ("nft", "ipset", "pf")}


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is not installed: pip install '.[test]'"
    return found


def test_mypy_strict() -> None:
    run(sys.executable, "-m", "mypy")


def test_stubs_say_what_the_compiled_modules_have() -> None:
    run(sys.executable, "-m", "mypy.stubtest", "--allowlist", "tests/stubtest-allow.txt", "--ignore-unused-allowlist",
        *(f"mxallowd.{name}" for name in COMPILED))


def test_every_compiled_module_has_a_contents_page_and_a_stub() -> None:
    for name in COMPILED:
        assert (PACKAGE / f"{name}.pxd").exists()
        assert (PACKAGE / f"{name}.pyi").exists()


def test_ruff() -> None:
    run(tool("ruff"), "check", ".")


def test_cython_lint(monkeypatch: pytest.MonkeyPatch) -> None:
    # It calls pycodestyle by name.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    run(tool("cython-lint"), "mxallowd")


@pytest.mark.parametrize("name", COMPILED)
def test_the_compiler_has_no_hint(name: str, tmp_path: Path) -> None:
    """A warning or performance hint of Cython is a defect: an exception check or the GIL where none belongs."""
    done = subprocess.run(
        [sys.executable, "-m", "cython", "-3", "-Wextra", "-X", "wraparound=False", "-X", "cdivision=True",
         "-X", "initializedcheck=False", "-X", "boundscheck=False", "-o", str(tmp_path / f"{name}.c"),
         str(PACKAGE / f"{name}.pyx")], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr == ""


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, as dotted names below it; `from mxallowd import x` is x."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module} if node.module != "mxallowd" else {f"mxallowd.{a.name}" for a in node.names}
    else:
        found = set(re.findall(r"^\s*from (mxallowd[\w.]*) c?import", text, re.MULTILINE))
    below = {name.removeprefix("mxallowd.") for name in found if name.startswith("mxallowd.")}
    return {name if name in ALL else name.rpartition(".")[0] or "__init__" for name in below}


ALL = frozenset().union(*LAYERS)


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".pyx", ".pxd")]


def test_every_module_has_its_layer() -> None:
    assert {module_of(path) for path in sources()} == ALL


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_imports_run_one_way(path: Path) -> None:
    module = module_of(path)
    own = next(row for row, names in enumerate(LAYERS) if module in names)
    for imported in imports_of(path) - {module}:
        row = next(row for row, names in enumerate(LAYERS) if imported in names)
        assert row < own or (module, imported) in CHOSEN, f"{module} imports {imported}"


def test_a_sink_knows_no_back_end_and_no_other_sink() -> None:
    for path in (PACKAGE / "sinks").glob("*.py"):
        assert not {name for name in imports_of(path) if name.startswith(("backends", "daemon", "sinks.", "_"))}


def test_the_readme_knows_every_option() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for option in OPTIONS:
        assert f"--{option.name}" in readme


def test_the_two_commands_are_in_the_readme_and_ci_calls_the_second() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "./scripts/demo" in readme
    assert "./scripts/test" in readme
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands in (["./scripts/test"], ["exec ./scripts/test"])
