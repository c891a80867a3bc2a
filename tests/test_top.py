"""mxallowctl top in a terminal: a real pty, of which the test is the other end."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.hosts import FAKE4, REAL4, Attempt, Host, Lab
from mxallowd.ctl.commands import top
from tests.control_standin import Standin
from tests.daemon_process import SENDER4, serving

SPAMMER4 = "192.0.2.66"
CLIENT = (SENDER4, "2001:db8::101", SPAMMER4)
ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


class Terminal:
    """`mxallowctl top` with a pty as its controlling terminal."""

    def __init__(self, socket: Path, lines: int = 40, term: str = "xterm-256color") -> None:
        self._end, theirs = pty.openpty()
        self.resize(lines, 80)
        self.before = termios.tcgetattr(theirs)
        self.seen = b""
        self.process = subprocess.Popen(
            ["setsid", "-c", sys.executable, "-m", "mxallowd.ctl", "--socket", str(socket), "top", "--interval", "1"],
            stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": term, "COLUMNS": "80", "LINES": "24"})
        self._theirs = theirs

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, pattern: bytes, limit_s: float = 8.0) -> bytes:
        """What has come since the last time, up to what matches."""
        deadline = time.monotonic() + limit_s
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            left = deadline - time.monotonic()
            assert left > 0, (pattern, self.seen)
            if select.select([self._end], [], [], left)[0]:
                self.seen += os.read(self._end, 1 << 16)
        self.seen, some = self.seen[found.end():], self.seen[: found.end()]
        return some

    def press(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def ended(self) -> tuple[int, bytes]:
        """Its exit status, and all that came until then."""
        status = self.process.wait(8)
        while select.select([self._end], [], [], 0.05)[0]:
            self.seen += os.read(self._end, 1 << 16)
        assert termios.tcgetattr(self._theirs) == self.before
        return status, self.seen

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        os.close(self._end)
        os.close(self._theirs)


def test_live_resized_interrupted_and_without_its_daemon(guarded: Lab, client: Host) -> None:
    with serving(guarded, "--queue-length", "77") as daemon:
        with Terminal(daemon.control) as terminal, Terminal(daemon.control, term="dumb") as dumb:
            terminal.wait_for(re.escape(ENTER))
            assert client.attempt(FAKE4) is Attempt.REFUSED
            assert client.attempt(REAL4, source=SPAMMER4) is Attempt.DROPPED
            shown = terminal.wait_for(rb"newest:[^\x1b]*" + SENDER4.encode() + rb" contact")
            assert b"queue 23: 0/77 packets wait" in shown
            assert re.search(rb"real-refused +[0-9.]+/s +1\b", shown)
            assert SPAMMER4.encode() in shown
            # No colours: the view has none.
            assert not re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", shown)
            # A smaller terminal gets a smaller picture.
            terminal.resize(6, 30)
            terminal.wait_for(rb"mxallowd 20")
            for _ in range(4):  # a picture that had begun before still has the old size
                picture = terminal.wait_for(rb"mxallowd 20").decode()
                small = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", picture).splitlines()
                if fits := sum(map(bool, small)) <= 7 and max(map(len, small)) <= 30:  # and one line of the next
                    break
            assert fits, small
            terminal.press(b"\x03")
            status, rest = terminal.ended()
            assert status == 0
            assert LEAVE in rest
            assert SHOW_CURSOR in rest
            assert b"Traceback" not in rest
            # A terminal that can do nothing gets lines, one look after the other.
            assert b"\x1b" not in dumb.wait_for(rb"newest:.*newest:")
        with Terminal(daemon.control) as terminal, Terminal(daemon.control) as ended:
            terminal.wait_for(re.escape(ENTER))
            ended.wait_for(re.escape(ENTER))
            ended.process.send_signal(signal.SIGTERM)
            status, rest = ended.ended()
            assert (status, LEAVE in rest) == (128 + signal.SIGTERM, True)
            assert daemon.stop() == 0
            status, rest = terminal.ended()
            assert status == 3
            assert rest.index(LEAVE) < rest.index(b"mxallowctl: ")
            assert b"Traceback" not in rest


def document(**changes: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00Z", "counters": {"fake-new": 1, "other": 5},
        "fill": {"whitelist": {"entries": 1, "room": 9}, "refused": {"hosts": 0, "room": 9}, "event_ring": 0.0,
                 "lookups": None}, "queues": [{"queue": 23, "waiting": 7, "room": 1024}],
        "busiest": [{"address": "192.0.2.9\x1b[2J", "times": 3}], "networks": [], "newest": []} | changes


def answer(body: object, status: str = "200 OK") -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status.encode(), len(text), text)


def plain(socket: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "mxallowd.ctl", "--socket", socket, "top", "--interval", "1", *words],
                          capture_output=True, text=True)


def test_no_terminal_once_and_json(tmp_path: Path) -> None:
    answers: Sequence[bytes] = [answer(document()), answer(document(counters={"fake-new": 11, "other": 5}))]
    refusal = answer({"error": {"code": "forbidden", "message": "not you"}}, "403 Forbidden")
    with Standin(tmp_path, [*answers, answer(document()), answer(document()), refusal, refusal]) as standin:
        done = plain(standin.path)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^fake-new +[89]\.\d/s +11$|^fake-new +10\.\d/s +11$", done.stdout, re.MULTILINE)
        assert "queue 23: 7/1024 packets wait" in done.stdout
        assert "\x1b" not in done.stdout
        assert "192.0.2.9\\x1b[2J" in done.stdout
        done = plain(standin.path, "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, document())
        # The daemon says no, at the first look or at a later one.
        done = plain(standin.path, "--once")
        assert (done.returncode, "not you" in done.stderr, done.stdout) == (1, True, "")
        done = plain(standin.path, "--once")
        assert (done.returncode, "not you" in done.stderr) == (1, True)


def test_a_counter_that_began_anew_is_no_negative_rate() -> None:
    lines = top._lines(document(counters={"fake-new": 50}), document(counters={"fake-new": 2}), 1.0)
    assert any(re.match(r"fake-new +0\.0/s +2$", line) for line in lines)
