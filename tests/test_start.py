"""The start without a kernel: the order of its steps, and who is told what when one of them fails."""
from collections.abc import Callable
from pathlib import Path

import pytest

from mxallowd.daemon import start
from mxallowd.errors import StartError
from mxallowd.settings import Problem, Settings
from mxallowd.settings.loading import Loaded
from tests.recorder import Recorder
from tests.test_settings import MINIMUM, good


class Writer:
    """A log's end."""

    closed = False

    def close(self) -> None:
        """The last step of all."""
        self.closed = True


class Scene:
    """All that the start calls, and in which order."""

    def __init__(self, tmp_path: Path) -> None:
        self.recorder = Recorder()
        self.writer = Writer()
        self.steps: list[object] = []
        self.fails_at = ""
        self.failure: Exception | None = None
        self.has_ended = True
        self.status = 0
        self.pid_file = tmp_path / "pid"
        self.removed: list[Path] = []
        self.closed: list[tuple[Path, str]] = []

    def step(self, name: str, *more: object) -> None:
        """Note it, and fail where the test says."""
        self.steps.append((name, *more) if more else name)
        if name == self.fails_at and self.failure:
            raise self.failure
        if name == self.fails_at:
            raise StartError(f"{name} is not possible")

    def serve(self, options: str, *problems: Problem) -> int:
        """The exit status of such a start."""
        settings = good(f"{MINIMUM} --pid-file {self.pid_file} {options}")
        loaded = Loaded(settings, problems)
        return start.serve(loaded, lambda: loaded)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Nothing of it touches this process."""
    made = Scene(tmp_path)

    class Daemon:
        def __init__(self, *_: object) -> None:
            made.step("create")

        def open(self) -> None:
            made.step("open")

        def close(self) -> None:
            made.step("close")

        def readable(self) -> list[Path]:
            return [Path("/readable")]

        def removable(self) -> list[Path]:
            return [Path("/removable")]

        def writable(self) -> list[int]:
            return [17]

        async def run(self, ready: Callable[[], None]) -> int:
            made.step("run")
            ready()
            return made.status

        def ended(self) -> bool:
            return made.has_ended

    def give_up(user: str | None) -> list[str]:
        made.step("give up", user)
        if made.fails_at == "give up":
            raise StartError("give up is not possible")
        return ["it stays root"]

    def enter(readable: list[Path], removable: list[Path], *, writable: list[int]) -> list[str]:
        assert (removable, writable) == ([Path("/removable")], [17])
        made.step("enter", Path("/readable") in readable)
        return ["no Landlock"]

    class Broker:
        def __init__(
            self, _: object, user: str | None, opened: list[Path], removed: list[Path], connected: list[str],
        ) -> None:
            made.removed = removed
            assert (opened[1:], connected) == ([Path("/etc/resolv.conf"), Path("/etc/group")], ["/dev/log"])

        def start(self) -> None:
            made.step("broker")

        def close(self) -> None:
            made.step("broker ends")

    def find(_: Settings) -> list[tuple[Path, str]]:
        made.step("look for what is closed")
        return made.closed

    def detached(serve: Callable[[Callable[[], None]], int], *, keep_stdout: bool) -> int:
        made.step("detach")
        return serve(lambda: made.step("tell the caller"))

    monkeypatch.setattr(start, "Daemon", Daemon)
    monkeypatch.setattr(start, "Broker", Broker)
    monkeypatch.setattr(start, "find_unreadable", find)
    monkeypatch.setattr(start, "run_detached", detached)
    monkeypatch.setattr(start, "open_log", lambda **_: (made.recorder.log, made.writer))
    monkeypatch.setattr(start, "syslog_listens", lambda: False)
    monkeypatch.setattr("mxallowd.daemon.start.signals.block", lambda: made.step("block signals"))
    monkeypatch.setattr("mxallowd.daemon.start.memory.return_what_is_freed", lambda: None)
    monkeypatch.setattr("mxallowd.daemon.start.memory.give_back", lambda: None)
    monkeypatch.setattr("mxallowd.daemon.start.privileges.raise_priority", lambda: made.step("raise priority"))
    monkeypatch.setattr("mxallowd.daemon.start.privileges.give_up", give_up)
    monkeypatch.setattr("mxallowd.daemon.start.sandbox.load", lambda: made.step("load"))
    monkeypatch.setattr("mxallowd.daemon.start.sandbox.enter", enter)
    return made


def test_privileges_go_when_all_is_open_and_before_threads(scene: Scene) -> None:
    assert scene.serve("-F -s --user nobody") == 0
    assert scene.steps == [
        "block signals", "broker", "create", "open", "raise priority", "load", ("give up", "nobody"),
        "look for what is closed", ("enter", True), "run", "broker ends"]
    assert scene.removed == []
    assert scene.recorder.lines == ['privileges reason="it stays root"', 'privileges reason="no Landlock"']
    assert scene.writer.closed
    assert not scene.pid_file.exists()


def test_detached_it_has_a_pid_file_until_it_ends(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert scene.serve("") == 0
    assert scene.steps[:2] == ["block signals", "detach"]
    assert scene.steps[-4:] == [("enter", True), "run", "tell the caller", "broker ends"]
    assert scene.removed == [scene.pid_file, scene.pid_file.with_name("pid.lock")]
    assert not scene.pid_file.exists()
    assert capsys.readouterr().err == f"mxallowd: {start.NO_SYSLOG}\n"


def test_what_is_closed_to_the_user_is_said_to_both(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.closed = [(Path("/root"), "it is closed, so: open it")]
    assert scene.serve("-F -s") == 0
    assert scene.recorder.lines[-1] == 'unreadable path=/root reason="it is closed, so: open it"'
    assert capsys.readouterr().err == 'mxallowd: "/root": it is closed, so: open it\n'


def test_without_a_sandbox_it_says_so(scene: Scene) -> None:
    assert scene.serve("-F -s --no-sandbox") == 0
    assert scene.steps[-3:] == [("give up", None), "look for what is closed", "run"]
    assert scene.recorder.lines == ['privileges reason="it stays root"', 'privileges reason="no sandbox"']


@pytest.mark.parametrize("step", ["create", "open", "give up", "run"])
def test_a_step_that_fails_is_said_to_both(
        scene: Scene, capsys: pytest.CaptureFixture[str], step: str) -> None:
    """To the log, and in one line to the caller; the pid file is gone."""
    scene.fails_at = step
    assert scene.serve("-s") == 1
    assert scene.recorder.lines == [f'start-failed reason="{step} is not possible"']
    assert capsys.readouterr().err == f"mxallowd: {step} is not possible\n"
    assert scene.writer.closed
    assert not scene.pid_file.exists()
    assert "tell the caller" not in scene.steps
    # What run() began it ends itself.
    assert ("close" in scene.steps) == (step in {"open", "give up"})


@pytest.mark.parametrize(("error", "said"), [
    (OSError(24, "Too many open files"), "cannot start: Too many open files (ulimit -n)"),
    (MemoryError(), "cannot start: there is not enough memory"),
    (ValueError("a\nb"), "cannot start: ValueError: a b")])
def test_whatever_fails_is_one_line(
        scene: Scene, capsys: pytest.CaptureFixture[str], error: Exception, said: str) -> None:
    scene.fails_at, scene.failure = "open", error
    assert scene.serve("-s") == 1
    assert scene.recorder.lines == [f'start-failed reason="{said}"']
    assert capsys.readouterr().err == f"mxallowd: {said}\n"
    assert not scene.pid_file.exists()


def test_warnings_of_the_configuration_come_first(scene: Scene) -> None:
    assert scene.serve("-F -s", Problem("conf:4", "unknown option", fatal=False)) == 0
    assert scene.recorder.lines[0] == 'config where=conf:4 reason="unknown option"'


def test_a_pid_file_of_another_daemon_forbids_the_start(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.pid_file.write_text("something else\n")
    assert scene.serve("-s") == 1
    assert scene.steps == ["block signals", "detach"]
    assert "holds something else" in capsys.readouterr().err
    assert scene.pid_file.read_text() == "something else\n"


def test_a_thread_that_hangs_gets_no_end_of_python(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on in memory that is freed: the process ends at once."""
    def leave(status: int) -> None:
        raise SystemExit(f"left with {status}")

    monkeypatch.setattr("mxallowd.daemon.start.os._exit", leave)
    scene.has_ended, scene.status = False, 1
    with pytest.raises(SystemExit, match="left with 1"):
        scene.serve("-F -s")


def test_it_is_no_reason_to_hold_up_mail_that_a_disk_is_full(
        scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mxallowd.process.pidfile.os.pwrite", no_room)
    assert scene.serve("-s") == 0
    said = f'cannot write the pid file "{scene.pid_file}": No space left on device'
    assert capsys.readouterr().err == f"mxallowd: {said}; it starts without\n"
    assert scene.recorder.lines[0] == 'pid-file reason="' + said.replace('"', '\\"') + '"'
