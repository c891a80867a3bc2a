"""A real sender: Debian's exim4 in a host of the lab, with the retry rules that Debian gives it.

It is the program that `scripts/prepare` unpacked; nothing of it is installed, and nothing runs between two commands.
The host has directories of its own in place of /etc, /var and /mnt, so exim finds its user, its configuration, its name
server and its spool where they are on any Debian. Its rules for retries and its transport are the package's own files.
"""
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from lab.hosts import Host
from lab.unpacked import IDENTITIES, few_syns, unpacked

UNPACKED = unpacked("exim4")
QUEUE_RUN_S = 1800  # QUEUEINTERVAL of Debian
_CONFIGURATION = """\
exim_path = /mnt/usr/sbin/exim4
primary_hostname = mail.example.net
keep_environment = LD_PRELOAD : LD_LIBRARY_PATH : MXALLOWD_CLOCKS
timezone = UTC
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog

begin routers

# Bounces: the log names each, so nobody has to read them.
own:
  driver = redirect
  domains = mail.example.net
  data = :blackhole:

dnslookup:
  driver = dnslookup
  transport = remote_smtp
  same_domain_copy_routing = yes
  no_more

begin transports

.include /mnt/etc/exim4/conf.d/transport/30_exim4-config_remote_smtp

begin retry

.include /mnt/etc/exim4/conf.d/retry/30_exim4-config
"""
_ETC = {
    **IDENTITIES,
    "exim4/exim4.conf": _CONFIGURATION,
}
# A line of input is the text of a message and the arguments of exim that takes it.
_SHELL = """\
mount --bind "$1/etc" /etc && mount --bind "$1/var" /var && mount --bind "$2" /mnt || exit 1
libraries=$(echo /mnt/usr/lib/*-linux-*)
shift 2
while read -r text arguments; do
    echo "Subject: $text" | env "$@" "LD_LIBRARY_PATH=$libraries" /mnt/usr/sbin/exim4 $arguments
    echo "$?"
done
"""


def supported() -> str | None:
    """None, or the reason why there is no exim."""
    return None if (UNPACKED / "usr/sbin/exim4").exists() else "no exim4: ./scripts/prepare test unpacks one"


class Exim:
    """A context manager; it asks the name server at `name_server`."""

    def __init__(self, host: Host, directory: Path, *, shared: Sequence[Path] = (),
                 environment: Mapping[str, str] | None = None, name_server: str = "127.0.0.1") -> None:
        """`shared`: files that it finds in /etc; `environment`: variables that it gets."""
        self._var = directory / "var"
        for name, text in {**_ETC, "resolv.conf": f"nameserver {name_server}\n"}.items():
            path = directory / "etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
        for path in shared:
            # The same file, not another one with the same text.
            (directory / "etc" / path.name).hardlink_to(path)
        for name in ("spool/exim4", "log/exim4"):
            (self._var / name).mkdir(parents=True)
            shutil.chown(self._var / name, 101, 101)
        few_syns(host)
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        self._process = host.popen(
            ["unshare", "--mount", "sh", "-c", _SHELL, "sh", str(directory), str(UNPACKED), *variables],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self) -> "Exim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def send(self, subject: str, *recipients: str) -> None:
        """Hand it a message, and wait until it has tried to deliver it. Raises RuntimeError with what it said."""
        self._run(f"{subject} -odf {' '.join(recipients)}")

    def run_queue(self) -> None:
        """Let it try what waits and is due, as its daemon does each half hour. Raises RuntimeError."""
        self._run("none -q")

    def waiting(self) -> int:
        """How many messages wait."""
        return sum(1 for _ in (self._var / "spool/exim4/input").glob("*-H"))

    def due_s(self) -> float | None:
        """Seconds until anything may be due; None where nothing waits. (What is due only a queue run of it knows.)"""
        return 0.0 if self.waiting() else None

    def moved(self, ahead_s: int) -> None:
        """Nothing here goes by how far its clock is ahead."""

    def bounced(self) -> int:
        """How many recipients it gave up."""
        return self.log().count(" ** ")

    def log(self) -> str:
        """What it did with each message and address."""
        path = self._var / "log/exim4/mainlog"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _run(self, line: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        if said != "0":
            raise RuntimeError(f"exim4 for {line!r}: {said}")
