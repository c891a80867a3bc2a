"""mxallowctl as a process: how long it takes, what it imports, what it does with broken outputs, help, completion."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from documents.completions import FILES, PLACE, completion
from documents.tables import RENEW
from mxallowd.ctl import commands, registry
from mxallowd.ctl.__main__ import main
from mxallowd.ctl.parser import build
from tests.control_standin import Standin, document, stream

ROOT = Path(__file__).parent.parent
NAMES = [command.name for command in registry.every()]
CTL = (sys.executable, "-m", "mxallowd.ctl")
STATUS = json.dumps({"version": "2", "pid": 1, "servers": {"fake": ["192.0.2.1"]}, "whitelist": None})


def run(*words: str, **streams: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CTL, *words], stdout=streams.get("stdout", subprocess.PIPE), stderr=subprocess.PIPE,  # type: ignore[call-overload, no-any-return]
                          text=True, timeout=30)


def test_the_registry_has_each_module_with_its_commands() -> None:
    modules = sorted(path.stem for path in Path(commands.__path__[0]).glob("[a-z]*.py"))
    assert modules
    for module in modules:
        held = import_module(f"{commands.__name__}.{module}").COMMANDS
        assert registry.MODULES[module] == tuple(command.name for command in held)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"\nexample:\n  mxallowctl {name}" in text
    for option in ("--json", "--socket PATH"):
        assert option in text


def test_the_help_of_all_has_each_and_the_statuses() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in NAMES:
        assert any(line.startswith(f"    {name} ") or line == f"    {name}" for line in done.stdout.splitlines())
    assert "Exit status: 0 " in done.stdout


def documented() -> list[str]:
    """The command lines of mxallowctl in the help, in blocks of README and docs/, and for an operator's questions."""
    found = {command.example: None for command in registry.every()}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        lines = re.findall(r"^    (mxallowctl [^|]+?)$", text, re.MULTILINE)
        found |= dict.fromkeys(line.partition("  #")[0] for line in lines)
        if path.name == "mxallowctl.md":
            rows = text.partition("\n## ")[0].partition("\n| --- ")[2]
            found |= dict.fromkeys(re.findall(r"`(mxallowctl [^`]+)`", rows))
    missing = set(registry.names()) - set(NAMES)
    return [line for line in found if line.split()[1] not in missing]


@pytest.mark.parametrize("line", documented())
def test_what_is_documented_can_be_typed(line: str) -> None:
    words = shlex.split(line.partition(">")[0])[1:]
    command = registry.find(words[0])
    assert command
    assert build([command]).parse_args(words).command == words[0]


@pytest.mark.parametrize("name", NAMES)
def test_without_a_daemon_the_status_is_3(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"show": ["::1"], "add": ["::1"], "remove": ["::1"], "flush": ["--yes"], "import": ["-", "--format", "list"],
            "explain": ["::1"], "allow": ["add", "::1"], "deny": ["remove", "::1"], "direct": ["list"],
            "top": ["--once"]}.get(name, [])
    if name == "doctor":
        pytest.skip("it says what is wrong without a daemon too, with statuses of its own")
    place = str(tmp_path / "none.sock")
    for words in ([name, *more, "--socket", place], ["--socket", place, name, *more]):
        assert main(words) == 3
        assert capsys.readouterr() == ("", f'mxallowctl: no daemon at "{place}": it does not run, or has another '
                                           "--control (--socket PATH)\n")


@pytest.mark.parametrize(("words", "status", "code"), [
    (["status"], 3, "unreachable"), (["list"], 3, "unreachable"), (["flush"], 2, "usage"), (["nosuch"], 2, "usage"),
    (["show", "x"], 2, "usage"), (["deny", "add"], 2, "usage"), (["import", "none"], 3, "unreachable"),
    (["import", "none", "--time", "9"], 1, "unreadable")])
def test_what_was_not_done_is_one_document(
    words: list[str], status: int, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words, "--json", "--socket", str(tmp_path / "none.sock")]) == status
    out, err = capsys.readouterr()
    told = json.loads(out)["error"]
    assert (told["code"], f"mxallowctl: {told['message']}\n") == (code, err)


@pytest.mark.parametrize("words", [("direct", "--for"), ("direct", "--time"), ("deny", "--time"), ("add", "--time")])
def test_a_time_that_is_no_number_is_quoted(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    what, option = words
    assert main([what, *(["add"] if what != "add" else []), "192.0.2.1", option, "30d"]) == 2
    assert ": \"30d\" is not a number from 1 to " in capsys.readouterr().err


def test_an_import_that_is_refused_half_way_is_one_document(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("".join(f"192.0.2.{last}\n" for last in range(1, 6)) * 300)
    with Standin(tmp_path, [document('{"entered": 1000}'), document(
            '{"error": {"code": "x", "message": "y"}}', "409 Conflict")]) as server:
        done = run("--socket", server.path, "--json", "import", str(file), "--time", "9")
    found = json.loads(done.stdout)
    assert (done.returncode, found["entered"], found["error"]) == (1, 1000, {"code": "x", "message": "y"})
    assert done.stderr == "mxallowctl: y\n"


def test_an_export_is_sent_with_the_time_that_it_has(tmp_path: Path) -> None:
    """Who is proven lasts longer than --whitelist-time; what is cut all the same is said."""
    file, until = tmp_path / "file", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 90_000))
    file.write_text("".join(json.dumps({"address": "192.0.2.1", "until": until, **more}) + "\n" for more in (
        {"origin": "contact", "proven": True}, {"origin": "outbound"}, {})))
    with Standin(tmp_path, [document('{"whitelist_time": 3600}'), document(
            '{"entered": 3, "shortened": 1}')]) as server:
        done = run("--socket", server.path, "import", str(file), "--check")
    sent = json.loads(server.requests[1].partition(b"\r\n\r\n")[2])["entries"]
    assert [round(one["seconds"] / 100) for one in sent] == [900, 900, 36]
    assert "2 have less time than the file says" in done.stdout


def test_a_reload_prints_what_does_nothing(tmp_path: Path) -> None:
    with Standin(tmp_path, [document('{"changed": ["pool-domain"], "warnings": ["settings: it does nothing"]}')]) as at:
        done = run("--socket", at.path, "reload")
    assert (done.returncode, done.stdout) == (0, "changed: pool-domain\n")
    assert done.stderr == "mxallowctl: warning: settings: it does nothing\n"


def test_what_strangers_write_controls_no_terminal(tmp_path: Path) -> None:
    line = json.dumps({"address": "::1", "note": "\x1b[2J\u202eevil\n"}).encode() + b"\n"
    with Standin(tmp_path, [stream(line), stream(line), document(
            '{"error": {"code": "x", "message": "\\u001b[2J"}}', "409 Conflict")]) as server:
        text = run("--socket", server.path, "list").stdout
        assert text.endswith("\\x1b[2J\\u202eevil\\x0a\n")
        assert text.count("\n") == 1
        assert run("--socket", server.path, "--json", "list").stdout.isascii()
        done = run("--socket", server.path, "reload")
    assert (done.returncode, done.stderr) == (1, "mxallowctl: \\x1b[2J\n")


def test_a_stream_that_breaks_off_is_status_3(tmp_path: Path) -> None:
    with Standin(tmp_path, [stream(b'{"address": "::1"}\n', end=b"")]) as server:
        done = run("--socket", server.path, "export")
    assert (done.returncode, done.stdout) == (3, '{"address": "::1"}\n')
    assert "ends too early" in done.stderr or "is missing" in done.stderr


def test_a_full_disk_is_status_1_and_a_closed_pipe_ends_it(tmp_path: Path) -> None:
    many = b'{"address": "::1"}\n' * 20_000
    with Standin(tmp_path, [stream(many), stream(many), document(STATUS)]) as server:
        with Path("/dev/full").open("w", encoding="ascii") as full:
            done = run("--socket", server.path, "list", stdout=full)
        assert (done.returncode, done.stderr) == (1, "mxallowctl: No space left on device\n")
        shell = subprocess.run(
            ["bash", "-c", f"'{sys.executable}' -m mxallowd.ctl list --socket '{server.path}' | head -n 1; "
                           'exit "${PIPESTATUS[0]}"'], capture_output=True, text=True, timeout=30)
        assert (shell.returncode, shell.stderr, shell.stdout.count("\n")) == (141, "", 1)
        closed = subprocess.run(
            ["bash", "-c", f"'{sys.executable}' -m mxallowd.ctl status --socket '{server.path}' >&- 2>&-"], timeout=30)
        assert closed.returncode == 1


def test_a_command_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    code = ("import sys; from mxallowd.ctl.__main__ import main; main(); "
            "print(*sorted(n for n in sys.modules if n.startswith('mxallowd.')), file=sys.stderr); "
            "slow = {'asyncio', 'rich', 'http.client', 'dataclasses', 'logging', 'subprocess'}; "
            "print(*sorted(slow & {*sys.modules}))")
    with Standin(tmp_path, [document(STATUS)]) as server:
        done = subprocess.run([sys.executable, "-c", code, "--socket", server.path, "status", "--json"],
                              capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{STATUS}\n\n"
    others = {name for name in done.stderr.split() if not name.startswith("mxallowd.ctl")}
    assert others == {"mxallowd.process", "mxallowd.process.streams", "mxallowd.text"}


def quickest(command: Callable[[], object]) -> float:
    """The shortest of ten times, which other load makes longer by the least."""
    times = []
    for _ in range(10):
        start = time.perf_counter()
        command()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.alone
def test_a_whole_command_is_quick(tmp_path: Path) -> None:
    """Under 60 ms where a bare Python starts in 20; on another machine in this ratio."""
    bare = quickest(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    with Standin(tmp_path, [document(STATUS)] * 10) as server:
        whole = quickest(lambda: run("--socket", server.path, "status"))
    assert whole < max(0.06, 3 * bare), f"{1000 * whole:.0f} ms, a bare start {1000 * bare:.0f} ms"


@pytest.mark.parametrize("shell", FILES)
def test_the_completion_is_that_of_the_parser(shell: str) -> None:
    text = (PLACE / FILES[shell]).read_text(encoding="utf-8")
    assert text == completion(shell), f"renew it: {RENEW}"
    for name in NAMES:
        assert name in text


def test_bash_completes_commands_and_options() -> None:
    def complete(*words: str) -> set[str]:
        script = (f"source '{PLACE / FILES['bash']}'; COMP_WORDS=({' '.join(words)} ''); "
                  f"COMP_CWORD={len(words)}; _shtab_mxallowctl; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=10,
                              env=os.environ | {"LC_ALL": "C"})
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    assert set(NAMES) <= complete("mxallowctl")
    assert {"info", "error"} <= complete("mxallowctl", "log-level")


def shell_of(name: str) -> tuple[str, Path]:
    """A shell that is installed, or unpacked by scripts/prepare, and where its files lie."""
    if found := shutil.which(name):
        return found, Path("/")
    place = Path(sys.prefix) / name
    # Where /bin is a link, a package may name either.
    found = next((str(path) for path in (place / "bin" / name, place / "usr/bin" / name) if path.exists()), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have {name}: scripts/prepare test")
        pytest.skip(f"there is no {name}: scripts/prepare test")
    return found, place


def said_by(words: list[str], place: Path, home: Path) -> str:
    libraries = ":".join(map(str, place.glob("usr/lib/*-linux-gnu*")))
    done = subprocess.run(words, capture_output=True, text=True, timeout=20,
                          env=os.environ | {"HOME": str(home), "LC_ALL": "C", "LD_LIBRARY_PATH": libraries})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_zsh_loads_its_completion(tmp_path: Path) -> None:
    shell, place = shell_of("zsh")
    script = (f"module_path=({place}/usr/lib/*-linux-gnu*/zsh/*(/N) $module_path)\n"
              f"fpath=({PLACE} {place}/usr/share/zsh/functions/**/*(/N) $fpath)\n"
              "autoload -Uz compinit; compinit -u -D\n"
              "print $_comps[mxallowctl]; autoload +X _mxallowctl && whence -w _mxallowctl\n")
    assert said_by([shell, "-f", "-c", script], place, tmp_path) == "_mxallowctl\n_mxallowctl: function\n"


def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    shell, place = shell_of("fish")

    def complete(line: str) -> set[str]:
        script = f"source {PLACE / FILES['fish']}; complete -C {shlex.quote(line)}"
        said = said_by([shell, "--no-config", "-c", script], place, tmp_path)
        return {one.partition("\t")[0] for one in said.split("\n")}

    assert set(NAMES) <= complete("mxallowctl ")
    assert {"info", "error"} <= complete("mxallowctl log-level ")
    assert "--origin" in complete("mxallowctl list --o")
