"""A real sender: Debian's postfix in a host of the lab, with the retry rules that Debian gives it.

It is the program that `scripts/prepare` unpacked; nothing of it is installed, and it ends with the host. Its queue
manager is a daemon. It looks at the mail that waits every `queue_run_delay` seconds of a clock which the lab moves at
once, so the lab wakes it after each move, with the request that its own timer makes.
"""
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lab.hosts import Host
from lab.unpacked import IDENTITIES, few_syns, unpacked

NAME = "postfix"
QUEUE_RUN_S = 300  # queue_run_delay
READY_AFTER_S, TRIED_AFTER_S = 20.0, 120.0
_DIRECTORIES = ("incoming", "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "private", "saved",
                "trace")
# Only what says where things are, and what keeps it from delivering to itself; postfix has a default for all the rest.
_MAIN = """\
compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
daemon_directory = /mnt/usr/lib/postfix/sbin
command_directory = /mnt/usr/sbin
shlib_directory = /mnt/usr/lib/postfix
meta_directory = /etc/postfix
sendmail_path = /mnt/usr/sbin/sendmail
myhostname = mail.example.net
mydestination =
alias_maps =
inet_interfaces = all
maillog_file = /var/log/postfix.log
import_environment = MAIL_CONFIG LD_PRELOAD LD_LIBRARY_PATH MXALLOWD_CLOCKS TZ
# A daemon that finds at the moment of a request that it was idle for too long, since the clock was moved, would end in
# the midst of that request.
max_idle = 1000d
export_environment = TZ MAIL_CONFIG LD_PRELOAD LD_LIBRARY_PATH MXALLOWD_CLOCKS LANG=C
"""
# As Debian's own, without chroot and without what receives.
_MASTER = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
# A line of input is the text of a message and its recipients.
_SHELL = """\
mount --bind "$1/etc" /etc && mount --bind "$1/var" /var && mount --bind "$2" /mnt || exit 1
shift 2
for word in LD_LIBRARY_PATH=/mnt/usr/lib/postfix:$(echo /mnt/usr/lib/*-linux-*) MAIL_CONFIG=/etc/postfix "$@"; do
    export "${word?}"
done
/mnt/usr/lib/postfix/sbin/master -d </dev/null >/var/log/master 2>&1 &
echo "$!"
while read -r text recipients; do
    # shellcheck disable=SC2086  # a list of words
    echo "Subject: $text" | /mnt/usr/sbin/sendmail -f sender@mail.example.net $recipients
    echo "$?"
done
"""


def supported() -> str | None:
    """None, or the reason why there is no postfix."""
    return None if (unpacked(NAME) / "usr/lib/postfix/sbin/master").exists() else (
        "no postfix: ./scripts/prepare test unpacks one")


class Postfix:
    """A context manager; it asks the name server at `name_server`."""

    def __init__(self, host: Host, directory: Path, *, shared: Sequence[Path] = (),
                 environment: Mapping[str, str] | None = None, name_server: str = "127.0.0.1") -> None:
        """`shared`: files that it finds in /etc; `environment`: variables that it gets."""
        self._var = directory / "var"
        self._spool = self._var / "spool/postfix"
        self._ahead_s = 0
        self._log_at = 0
        etc = directory / "etc"
        texts = {**IDENTITIES, "resolv.conf": f"nameserver {name_server}\n", "postfix/main.cf": _MAIN,
                 "postfix/master.cf": _MASTER}
        for name, text in texts.items():
            (etc / name).parent.mkdir(parents=True, exist_ok=True)
            (etc / name).write_text(text, encoding="ascii")
        shutil.copytree(unpacked(NAME) / "etc/postfix/dynamicmaps.cf.d", etc / "postfix/dynamicmaps.cf.d")
        shutil.copy(unpacked(NAME) / "etc/postfix/postfix-files", etc / "postfix")
        for path in shared:
            # The same file, not another one with the same text.
            (etc / path.name).hardlink_to(path)
        for path in (self._spool / "pid", self._var / "log", self._var / "tmp"):
            path.mkdir(parents=True)
        (self._spool).chmod(0o755)
        for path, group in ((self._var / "lib/postfix", 102), *((self._spool / one, 102) for one in _DIRECTORIES),
                            (self._spool / "public", 103), (self._spool / "maildrop", 103)):
            path.mkdir(parents=True)
            path.chmod({"public": 0o710, "maildrop": 0o730}.get(path.name, 0o700))
            shutil.chown(path, 102, group)
        few_syns(host)
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        self._process = host.popen(
            ["unshare", "--mount", "sh", "-c", _SHELL, "sh", str(directory), str(unpacked(NAME)), *variables],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self) -> "Postfix":
        assert self._process.stdout
        self._master = int(self._process.stdout.readline())
        self._wait(lambda: (self._spool / "public/qmgr").exists() and "daemon started" in self.log(), READY_AFTER_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        # It ends the daemons that it started.
        subprocess.run(["kill", f"-{signal.SIGTERM.value}", str(self._master)], check=False, capture_output=True)
        self._process.stdin.close()
        self._process.wait(30)

    def send(self, subject: str, *recipients: str) -> None:
        """Hand it a message, and wait until it has tried to deliver it. Raises RuntimeError with what it said."""
        path = self._var / "log/postfix.log"
        self._log_at = path.stat().st_size
        self._run(f"{subject} {' '.join(recipients)}")
        self._wait(lambda: "from=<sender@mail.example.net>, size=" in self._said() and not self._busy(), TRIED_AFTER_S)

    def moved(self, ahead_s: int) -> None:
        """Its clock is now so far ahead of the kernel's."""
        self._ahead_s = ahead_s

    def due_s(self) -> float | None:
        """Seconds until anything is due; None where nothing waits."""
        times = [path.stat().st_mtime for path in self._messages("deferred")]
        return max(0.0, min(times) - self._now_s()) if times else None

    def run_queue(self) -> None:
        """Let it try what waits and is due, as its own timer does each five minutes. Raises RuntimeError."""
        if not any(path.stat().st_mtime <= self._now_s() for path in self._messages("deferred")):
            return
        self._trigger(b"D")
        # In this order: a message that is no longer among those that wait is among the others by then.
        self._wait(lambda: not any(
            path.stat().st_mtime <= self._now_s() for path in self._messages("deferred")) and not self._busy(),
            TRIED_AFTER_S)

    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._messages("deferred")) + self._busy()

    def log(self) -> str:
        """What it did with each message and address."""
        path = self._var / "log/postfix.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _said(self) -> str:
        """What it wrote since it was handed a message: after days the whole log takes long to read."""
        with (self._var / "log/postfix.log").open(encoding="utf-8") as file:
            file.seek(self._log_at)
            return file.read()

    def bounced(self) -> int:
        """How many recipients it gave up."""
        return self.log().count("status=bounced") + self.log().count("status=expired")

    def _trigger(self, request: bytes) -> None:
        """A request of the queue manager, as its own timer makes it: D looks at all mail that waits."""
        # A path of the directory may be too long for the address of a socket.
        directory = os.open(self._spool / "public", os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as trigger:
                trigger.settimeout(READY_AFTER_S)
                trigger.connect(f"/proc/self/fd/{directory}/qmgr")
                trigger.sendall(request)
                with suppress(ConnectionResetError):
                    trigger.recv(1)  # it closes when it has read
        finally:
            os.close(directory)

    def _now_s(self) -> float:
        return time.time() + self._ahead_s

    def _messages(self, queue: str) -> list[Path]:
        return [path for path in (self._spool / queue).rglob("*") if len(path.name) > 1]

    def _busy(self) -> int:
        return sum(len(self._messages(queue)) for queue in ("maildrop", "incoming", "active"))

    def _run(self, line: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        if said != "0":
            raise RuntimeError(f"postfix for {line!r}: {said}")

    def _wait(self, done: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            try:
                if done():
                    return
            except FileNotFoundError:
                pass  # a message moved meanwhile
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"postfix hangs: {self.log()[-2000:]}")
            time.sleep(0.01)
