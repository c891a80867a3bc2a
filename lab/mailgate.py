"""A gateway with mxallowd whose clock can be moved: the daemon, its rules, and what the real server accepted.

The clock of the daemon, the ends of what is in the kernel's sets, and nothing else moves. It may be restarted, and the
machine may boot again: then the sets are empty, the rules new, and the clocks that count from the boot begin again.
"""
import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType

from lab.clocks import Clocks
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6, Lab
from lab.kernel_time import PASS
from lab.rules import Rules
from lab.zone import ADDRESS
from mxallowd.errors import ConfigError
from mxallowd.settings import Settings, arguments
from mxallowd.settings.loading import load

ROOT = Path(__file__).parent.parent
START_LIMIT_S = 30.0
ANSWER_LIMIT_S = 20.0
LINES_KEPT = 10_000
# Longer than a change takes on its way into a set. Then the daemon is asked, which answers after what it had to do.
SETTLED_AFTER_S = 0.03
_NEW_BOOT = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'
_SUBJECT = re.compile(r"^Subject: (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    """What is measured: a name, arguments of the daemon, and whether it knows anybody after a restart.

    `trust` is the text of a file of trusted senders.
    """

    name: str
    arguments: tuple[str, ...] = ("-c", "/dev/null")
    keeps: bool = True
    trust: str = ""

    def settings(self, rules: Rules) -> Settings:
        """As the daemon reads them. Raises ConfigError."""
        assignments, _ = arguments.parse([*self.arguments, "-f", FAKE4, "-r", REAL4, *rules.arguments])
        loaded = load(assignments, bare=False)
        if loaded.settings is None:
            raise ConfigError(f"{self.name}: {'; '.join(map(str, loaded.fatal))}")
        return loaded.settings


class MailGate:
    """A context manager; its hosts are those of `lab`, its files are in `directory`."""

    def __init__(self, lab: Lab, directory: Path, way: Rules, setting: Setting) -> None:
        self._lab = lab
        self._way, self._setting = way, setting
        self._directory = directory
        self._mail = directory / "mail"
        self._states = itertools.count()
        self._state = self._new_state()
        self._clocks = Clocks(directory / "gate-clocks")
        self._wall_s = self._since_boot_s = 0
        self._boot_id = directory / "boot-id"
        self._boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        self._lines: Queue[str] = Queue()
        self.said: deque[str] = deque(maxlen=LINES_KEPT)  # of the daemon's log, in all its runs
        settings = setting.settings(way)
        direct = bool(setting.trust or settings.direct_after)
        self._texts = way.texts(settings, direct=direct)
        self._more = [*(way.direct_arguments if direct else ())]
        if setting.trust:
            (directory / "trusted").write_text(setting.trust, encoding="ascii")
            self._more += ["--trust", str(directory / "trusted")]

    def __enter__(self) -> "MailGate":
        self._mail.mkdir()
        receiver = self._lab.gateway.popen(
            [sys.executable, "-m", "lab.smtp", str(self._mail), REAL4, REAL6], stdout=subprocess.PIPE, cwd=ROOT)
        assert receiver.stdout
        # It connects to itself once, which the rules would not allow.
        if not receiver.stdout.readline().startswith(b"serving"):
            raise RuntimeError("the mail server does not start")
        self._lab.load_texts(self._texts)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(signal.SIGKILL)

    def restart(self) -> None:
        """End the daemon in order, and start it again."""
        self._stop(signal.SIGTERM)
        if not self._setting.keeps:
            self._state = self._new_state()
        self._start()

    def reboot(self) -> None:
        """The same, and what the kernel knew is gone."""
        self._stop(signal.SIGTERM)
        if not self._setting.keeps:
            self._state = self._new_state()
        self._lab.gateway.run(["nft", "flush", "ruleset"], check=True)
        for name in self._lab.gateway.run(["ipset", "list", "-n"], capture_output=True, text=True).stdout.split():
            self._lab.gateway.run(["ipset", "destroy", name])
        self._lab.load_texts(self._texts)
        self._boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        self._since_boot_s = 60 - int(time.clock_gettime(time.CLOCK_BOOTTIME))
        self._set_clocks()
        self._start()

    def pass_time(self, seconds: int) -> None:
        """Move its clocks, for the daemon at one moment: it is stopped meanwhile."""
        time.sleep(SETTLED_AFTER_S)
        self._ask()
        self._daemon.send_signal(signal.SIGSTOP)
        try:
            self._wall_s += seconds
            self._since_boot_s += seconds
            self._set_clocks()
            if self._way.sets:
                PASS[self._way.sets](self._lab.gateway, seconds)
        finally:
            self._daemon.send_signal(signal.SIGCONT)
        # What was due meanwhile is done before it answers.
        self._ask()

    def arrived(self) -> list[tuple[str, float]]:
        """The subjects of the messages that are new since the last call, and when each came (time.time)."""
        found = []
        for path in self._mail.glob("*/*.eml"):
            subject = _SUBJECT.search(path.read_text(encoding="utf-8"))
            assert subject
            found.append((subject[1], path.stat().st_mtime))
            # After days there would be thousands to look at each time.
            path.unlink()
        return found

    def _new_state(self) -> Path:
        path = self._directory / f"state-{next(self._states)}"
        path.mkdir()
        return path

    def _set_clocks(self) -> None:
        self._clocks.set(self._wall_s, self._since_boot_s, self._since_boot_s)

    def _start(self) -> None:
        # A watchdog would take the time that passes at once for a daemon that hangs.
        self._daemon = self._lab.gateway.popen(
            ["sh", "-c", _NEW_BOOT, "sh", str(self._boot_id), *self._clocks.prefix(), sys.executable, "-m", "mxallowd",
             *self._setting.arguments, *self._more, "-f", FAKE4, "-f", FAKE6, "-r", REAL4, "-r", REAL6,
             *self._way.arguments, "--dns-server", ADDRESS, "--no-watchdog", "-F", "-s", "--user", "root",
             "--state-dir", str(self._state), "--control", str(self._directory / "control"),
             "--pid-file", str(self._directory / "pid")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        self._lines = Queue()
        Thread(target=_read, args=(self._daemon, self._lines), daemon=True).start()
        self._wait_for(" - start ", START_LIMIT_S)

    def _stop(self, number: signal.Signals) -> None:
        if self._daemon.poll() is None:
            self._daemon.send_signal(number)
        self._daemon.wait(20)

    def _ask(self) -> None:
        self._daemon.send_signal(signal.SIGUSR1)
        self._wait_for(" - counters ", ANSWER_LIMIT_S)

    def _wait_for(self, words: str, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            try:
                self.said.append(self._lines.get(timeout=max(0.01, deadline - time.monotonic())))
            except Empty:
                raise RuntimeError(f"mxallowd does not say {words!r}: {''.join(self.said)[-1000:]}") from None
            if words in self.said[-1]:
                return


def _read(process: "subprocess.Popen[str]", lines: "Queue[str]") -> None:
    assert process.stdout
    for line in process.stdout:
        lines.put(line)


def copy_shim(source: Path, directory: Path) -> Path:
    """The library that moves clocks, where the hosts of senders find it."""
    return Path(shutil.copy(source, directory / "clocks.so"))
