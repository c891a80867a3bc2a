"""A bare Debian in a directory, with mxallowd installed as the README says, started as a machine of its own.

Its processes have namespaces of their own, the network that of the lab's gateway, so that what its scripts do stays
there. Roots are made once, below .venv/roots; each machine writes into a layer above (overlayfs) that goes with it.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from lab.hosts import FAKE4, REAL4, Lab

CHECKOUT = Path(__file__).parent.parent.parent
PLACE = CHECKOUT / ".venv" / "roots"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What mxallowd and the tests need there.
PACKAGES = ("python3", "iproute2", "iptables", "procps", "libnetfilter-queue1", "busybox-syslogd")
CONFIGURATION = f"""\
fake-mailserver {FAKE4}
real-mailserver {REAL4}
queue-num 23
no-rdns-whitelist
"""

# The words are: the directory of the root, and the program that becomes its first process.
_ENTER = """
set -eu
mount --make-rprivate /
cd "$1"
shift
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
mkdir dev/shm
mount -t tmpfs -o mode=1777 shm dev/shm
mkdir -p old
pivot_root . old
umount -l old
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$@" <dev/null >>var/log/first 2>&1
"""


def _said(command: Sequence[str | Path], **keywords: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **keywords)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def release() -> str:
    """The name of this Debian, since what is compiled here has to run there."""
    found = [line for line in Path("/etc/os-release").read_text(encoding="ascii").splitlines()
             if line.startswith("VERSION_CODENAME=")]
    return found[0].partition("=")[2]


def root(name: str, packages: Sequence[str], suite: str = "") -> Path:
    """A bare root with these packages, of this release of Debian, else of the one that runs here."""
    place = PLACE / name
    wanted = ",".join(packages)
    stamp = place / "made"
    if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
        shutil.rmtree(place, ignore_errors=True)
        PLACE.mkdir(parents=True, exist_ok=True)
        _said(["debootstrap", "--variant=minbase", *([f"--include={wanted}"] if wanted else []), suite or release(),
               place])
        stamp.write_text(wanted, encoding="ascii")
    return place


def program() -> Path:
    """A directory that holds what "Install" of the README makes: /opt/mxallowd and the links to it."""
    place = PLACE / "program"
    shutil.rmtree(place, ignore_errors=True)
    environment = place / "opt" / "mxallowd"
    _said(["/usr/bin/python3", "-m", "venv", "--without-pip", environment])
    _said([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-build-isolation",
           "--target", environment / "lib" / PYTHON / "site-packages", CHECKOUT],
          env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"})
    links = place / "usr" / "local" / "bin"
    links.mkdir(parents=True)
    for name, module in (("mxallowd", "mxallowd.__main__"), ("mxallowctl", "mxallowd.ctl.__main__")):
        script = environment / "bin" / name
        script.write_text(f"#!/opt/mxallowd/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n",
                          encoding="ascii")
        script.chmod(0o755)
        (links / name).symlink_to(f"/opt/mxallowd/bin/{name}")
    return place


class Machine:
    """A root that runs: its first process in the gateway's network. A context manager."""

    def __init__(self, lab: Lab | None, layers: Sequence[Path], binds: Mapping[str, Path] | None = None) -> None:
        """`layers` from the lowest on; `binds`: directories of ours to be seen there; without a lab, our network."""
        self._lab = lab
        self._layers = layers
        self._binds = binds or {}
        self._directory = Path(tempfile.mkdtemp(prefix="mxmachine"))
        self._process: subprocess.Popen[bytes] | None = None
        self._mounted = False
        self._shown: list[Path] = []
        self.path = self._directory / "root"

    def __enter__(self) -> "Machine":
        for name in ("root", "layer"):
            (self._directory / name).mkdir()
        _said(["mount", "-t", "tmpfs", "-o", "mode=755", "layer", self._directory / "layer"])
        self._mounted = True
        upper, work = self._directory / "layer" / "upper", self._directory / "layer" / "work"
        upper.mkdir()
        work.mkdir()
        lower = ":".join(str(layer) for layer in reversed(self._layers))
        _said(["mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay",
               self.path])
        for target, source in self._binds.items():
            place = self.path / target[1:]
            place.mkdir(parents=True, exist_ok=True)
            _said(["mount", "--bind", source, place])
            self._shown.append(place)
        self.write("/etc/passwd", self.read("/etc/passwd") + "mxallowd:x:998:998::/nonexistent:/usr/sbin/nologin\n")
        self.write("/etc/group", self.read("/etc/group") + "mxallowd:x:998:\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            # Every process there ends with the first one, and their mounts with them.
            os.kill(self.first(), signal.SIGKILL)
            self._process.wait(10)
        for place in (*self._shown, self.path, self._directory / "layer"):
            if self._mounted:
                subprocess.run(["umount", str(place)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self._directory)

    def show(self, path: Path) -> Path:
        """Let a file or directory of this machine be seen there, before the start; where."""
        target = Path("/shown") / path.relative_to("/")
        place = self.path / target.relative_to("/")
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            _said(["mount", "--bind", path, place])
            self._shown.append(place)
        else:
            self.write(str(target), path.read_text(encoding="utf-8"))
        return target

    def install(self, source: str, target: str, mode: int = 0o755) -> None:
        """Copy a file of the checkout."""
        self.write(target, (CHECKOUT / source).read_text(encoding="utf-8"))
        (self.path / target[1:]).chmod(mode)

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        target = self.path / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def put(self, path: str, text: str) -> None:
        """Write a file of the machine that runs, in one step."""
        done = self.run("sh", "-c", 'printf %s "$2" >"$1.new" && mv "$1.new" "$1"', "sh", path, text)
        assert done.returncode == 0, done.stderr

    def in_chroot(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program in the root before it is started."""
        return subprocess.run(["chroot", str(self.path), *command], capture_output=True, text=True, timeout=60)

    def read(self, path: str) -> str:
        """What a file there holds, as the machine sees it."""
        if self._process is not None:
            return _said(["nsenter", "--target", str(self.first()), "--mount", "cat", path])
        return (self.path / path[1:]).read_text(encoding="utf-8")

    def start(self, *first: str) -> None:
        """Run its first process."""
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "sh", "-c", _ENTER, "sh",
                   str(self.path), *first]
        self._process = self._lab.gateway.popen(command) if self._lab else subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while not self._is_inside():
            assert time.monotonic() < deadline, self._process.poll()
            time.sleep(0.05)

    def _is_inside(self) -> bool:
        # It has become the program that was asked for once the way there is cut off.
        try:
            return Path(f"/proc/{self.first()}/comm").read_text(encoding="ascii").strip() not in ("unshare", "sh")
        except (OSError, IndexError):
            return False

    def first(self) -> int:
        """The number that its first process has outside."""
        assert self._process
        # `ip netns exec` becomes unshare, whose child it is.
        text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        return int(text.split()[0])

    def run(self, *command: str, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a program there to its end."""
        return subprocess.run(
            ["nsenter", "--target", str(self.first()), "--mount", "--pid", "--uts", "--ipc", "--net", "env", "-i",
             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *command],
            capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)

    def log(self) -> str:
        """What its syslog daemon has taken."""
        return self.run("logread").stdout

    def daemon(self) -> int:
        """The number that the daemon has there, if one serves; else 0."""
        status = self.run("mxallowctl", "status", "--json")
        return int(json.loads(status.stdout)["pid"]) if status.returncode == 0 else 0

    def wait_for_daemon(self, *but: int, seconds: float = 15.0) -> int:
        """The daemon's number, once there is one, and none of those."""
        deadline = time.monotonic() + seconds
        while (number := self.daemon()) in (0, *but):
            assert time.monotonic() < deadline, self.run("ps", "axf").stdout + self.read("/var/log/first")
            time.sleep(0.1)
        return number
