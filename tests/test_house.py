"""The rules of the house, held by tests: types, stubs, lint, one-way imports, compiler hints, one table of options."""
import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mxallowd"
COMPILED = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("_*.pyx"))

# Who may import whom: a room may import the rooms that stand before it here, and within a room there is no circle.
# A room is a folder, or a module at the top of the package.
ROOMS = (
    "__init__", "errors", "text", "built", "metrics", "engine", "_fastpath", "_foresight", "process", "log", "captures",
    "settings", "surroundings", "provenance", "following", "telling", "whitelist", "lists", "dns", "trust", "watchdog",
    "backends", "sinks", "history", "mirrors", "fleet", "firewall", "control", "exporter", "ctl", "console", "daemon",
    "cli", "__main__")


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
        "--mypy-config-file", "pyproject.toml", *(f"mxallowd.{name}" for name in COMPILED))


def test_every_compiled_module_has_a_contents_page_and_a_stub() -> None:
    for name in COMPILED:
        source = PACKAGE / name.replace(".", "/")
        assert source.with_suffix(".pxd").exists()
        assert source.with_suffix(".pyi").exists()


def test_ruff() -> None:
    run(tool("ruff"), "check", ".")


def test_cython_lint(monkeypatch: pytest.MonkeyPatch) -> None:
    # It calls pycodestyle by name.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    run(tool("cython-lint"), "mxallowd")


def test_the_compiler_has_no_hint(tmp_path: Path) -> None:
    """A warning or performance hint of Cython is a defect: an exception check or the GIL where none belongs."""
    # One process reads the shared declarations once; it writes beside the sources.
    shutil.copytree(PACKAGE, tmp_path / "mxallowd", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "cython", "-3", "-Wextra", "-X", "wraparound=False", "-X", "cdivision=True",
         "-X", "initializedcheck=False", "-X", "boundscheck=False",
         *(f"mxallowd/{name.replace('.', '/')}.pyx" for name in COMPILED)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr == ""
    assert all((tmp_path / "mxallowd" / f"{name.replace('.', '/')}.c").exists() for name in COMPILED)


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


SOURCES = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".pyx", ".pxd")]
MODULES = {module_of(path) for path in SOURCES}


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, as dotted names below it; those of a function's body as well."""
    text = path.read_text(encoding="utf-8")
    found: set[str] = set()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    else:
        for module, names in re.findall(r"^ *from (mxallowd[\w.]*) c?import \(?([\w, ]*)", text, re.MULTILINE):
            found |= {module, *(f"{module}.{name.strip()}" for name in names.split(","))}
    below = {name.removeprefix("mxallowd.") for name in found if name.startswith("mxallowd.")}
    return (below & MODULES) - {module_of(path)}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} <= set(ROOMS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = room_of(module_of(path))
    for imported in imports_of(path):
        room = room_of(imported)
        assert room == own or ROOMS.index(room) < ROOMS.index(own), f"{module_of(path)} imports {imported}"


def test_no_circle_of_imports() -> None:
    """Also within a room. A package that imports its own modules where one is chosen is no part of any."""
    below: dict[str, set[str]] = {module: set() for module in MODULES}
    for path in SOURCES:
        below[module_of(path)] |= {
            name for name in imports_of(path) if not name.startswith(f"{module_of(path)}.")}
    while free := {module for module, imported in below.items() if not imported & below.keys()}:
        for module in free:
            del below[module]
    assert not below


def test_a_sink_knows_no_back_end_and_no_other_sink() -> None:
    """Log and reverse DNS: what they share is in modules that are no sinks."""
    for name in ("log", "rdns"):
        imported = imports_of(PACKAGE / "sinks" / f"{name}.py")
        assert not {one for one in imported if one in {"sinks.log", "sinks.rdns"} or room_of(one) in {
            "backends", "daemon", "_fastpath"}}


@pytest.mark.parametrize("path", sorted((PACKAGE / "ctl").rglob("*.py")), ids=lambda path: path.name)
def test_no_answer_controls_a_terminal(path: Path) -> None:
    """What mxallowctl prints goes through one module, which makes it printable."""
    written = re.findall(r"\b(?:out|err)\.write\(", path.read_text(encoding="utf-8"))
    assert not written or path.name in ("output.py", "__main__.py"), path


def test_each_command_is_told_and_ci_calls_the_tests() -> None:
    told = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
                   if (ROOT / name).exists())
    for script in (ROOT / "scripts").iterdir():
        assert f"./scripts/{script.name}" in told
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands in (["./scripts/test"], ["exec ./scripts/test"])
