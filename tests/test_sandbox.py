"""The sandbox by itself: the places that are made of a file, and what a process may still reach once it is inside."""
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mxallowd
from mxallowd.process import sandbox

# In a process of its own, since there is no way out: what came of reading, removing and importing, by errno.
INSIDE = """
import json, os, sys
from pathlib import Path
from typing import Any
from mxallowd.process import sandbox

readable, removable, closed = map(Path, sys.argv[1:4])
if "no-seccomp" in sys.argv:
    sys.modules["pyseccomp"] = None
if "no-landlock" in sys.argv:
    def refuse(*_, **__):
        raise OSError(95, os.strerror(95))
    sandbox._landlock = refuse
sandbox.load()
warnings = sandbox.enter([*sandbox.program(), readable], [removable])

def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

print(json.dumps({
    "warnings": warnings,
    "read readable": errno_of((readable / "file").read_bytes),
    "write readable": errno_of(lambda: (readable / "file").write_bytes(b"")),
    "remove readable": errno_of((readable / "file").unlink),
    "remove removable": errno_of((removable / "file").unlink),
    "read closed": errno_of((closed / "file").read_bytes),
    "read system": errno_of(Path("/etc/passwd").read_bytes),
    "write null": errno_of(lambda: Path("/dev/null").write_bytes(b"x")),
    "setuid": errno_of(lambda: os.setuid(os.getuid())),
    "import late": errno_of(lambda: __import__("mxallowd.text")),
}))
"""


def found_inside(tmp_path: Path, *words: str) -> dict[str, Any]:
    """What INSIDE prints, with three directories of one file each."""
    directories = [tmp_path / name for name in ("readable", "removable", "closed")]
    for directory in directories:
        directory.mkdir()
        (directory / "file").touch()
    done = subprocess.run([sys.executable, "-c", INSIDE, *map(str, directories), *words], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_what_is_reached_from_inside(tmp_path: Path) -> None:
    eacces, eperm = 13, 1
    assert found_inside(tmp_path) == {
        "warnings": [], "read readable": 0, "write readable": eacces, "remove readable": eacces, "remove removable": 0,
        "read closed": eacces, "read system": 0, "write null": 0, "setuid": eperm, "import late": 0}


@pytest.mark.parametrize(("word", "warning", "open_again"), [
    ("no-landlock", "no Landlock: Operation not supported", "read closed"), ("no-seccomp", "no seccomp: ", "setuid")])
def test_what_the_kernel_does_not_have_is_said(tmp_path: Path, word: str, warning: str, open_again: str) -> None:
    """And the other half holds."""
    found = found_inside(tmp_path, word)
    [said] = found["warnings"]
    assert said.startswith(warning)
    assert {name: found[name] == 0 for name in ("read closed", "setuid")} == {
        "read closed": open_again == "read closed", "setuid": open_again == "setuid"}


def test_the_program_is_the_interpreter_and_the_package() -> None:
    assert {place.resolve() for place in sandbox.program()} == {
        Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path(mxallowd.__file__).resolve().parent}


# argv: a directory with a listening UNIX socket of a long name, a link to it and a file; where a TCP socket listens.
SECLUDED = """
import ctypes, json, os, socket, struct, sys, threading
from pathlib import Path
from mxallowd.process import sandbox

place, port = Path(sys.argv[1]), int(sys.argv[2])
os.chdir(place)
listener = socket.create_server(("127.0.0.1", 0))
browser = socket.create_connection(listener.getsockname())
accepted = listener.accept()[0]
datagrams = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
if "no-landlock" in sys.argv:
    def refuse(*_, **__):
        raise OSError(95, os.strerror(95))
    sandbox._landlock = refuse
sandbox.load()
warnings = sandbox.enter(sandbox.program(), secluded=True, system=("/usr",))
libc = ctypes.CDLL(None, use_errno=True)

def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

def call(name, *words):
    if getattr(libc, name)(*words) < 0:
        raise OSError(ctypes.get_errno(), name)

def unix(name):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(name)

def again():
    # As whoever has taken it over would: the connection of a browser becomes one to somebody else.
    call("connect", accepted.fileno(), struct.pack("=H14x", 0), 2)
    accepted.connect(("127.0.0.1", port))

def descriptor(opened):
    os.dup2(opened, 9)
    unix("/dev/fd/9")

def raw(number, *words):
    if libc.syscall(number, *words) < 0:
        raise OSError(ctypes.get_errno(), number)

def thread():
    one = threading.Thread(target=lambda: None)
    one.start()
    one.join()

able = {
    "the link": errno_of(lambda: unix("link")),
    "a thread": errno_of(thread),
    "answer": errno_of(lambda: accepted.send(b"x")),
    "a pair": errno_of(lambda: socket.socketpair()),
    "a message": errno_of(lambda: accepted.sendmsg([b"x"])),
}
there = ("127.0.0.1", port)
tried = {
    "tcp": errno_of(lambda: socket.socket(socket.AF_INET)),
    "udp": errno_of(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    "netlink": errno_of(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "again": errno_of(again),
    "again by its first data": errno_of(lambda: accepted.sendto(b"x", 0x20000000, there)),
    "again by a message": errno_of(lambda: accepted.sendmsg([b"x"], [], 0x20000000, there)),
    "bind": errno_of(lambda: accepted.bind(("127.0.0.1", 0))),
    "listen": errno_of(lambda: accepted.listen()),
    "another place": errno_of(lambda: unix(str(place / "a-long-name.sock"))),
    "another place by a descriptor": errno_of(lambda: descriptor(os.open(place / "a-long-name.sock", os.O_PATH))),
    "openat2": errno_of(lambda: raw(437, -100, b".", struct.pack("=QQQ", os.O_PATH, 0, 0), 24)),
    "open_tree": errno_of(lambda: raw(428, -100, b".", 0)),
    "open_tree_attr": errno_of(lambda: raw(467, -100, b".", 0, None, 0)),
    "datagrams": errno_of(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)),
    "raw ones": errno_of(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_RAW)),
    "a pair of them": errno_of(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
    "send to": errno_of(lambda: datagrams[0].sendto(b"x", str(place / "a-long-name.sock"))),
    "leave the directory": errno_of(lambda: os.chdir("/")),
    "a process": errno_of(lambda: os.fork() or os._exit(0)),
    "a program": errno_of(lambda: os.execv("/bin/true", ["true"])),
}
if "no-landlock" not in sys.argv:
    tried |= {f"read {name}": errno_of(lambda name=name: open(name).close()) for name in ("/etc/passwd", "file",
              "/proc/self/status")}
    tried |= {"a link": errno_of(lambda: os.symlink("/", "other"))}
print(json.dumps([warnings, tried, able]))
"""


@pytest.mark.parametrize("word", ["", "no-landlock"])
def test_who_is_secluded_reaches_its_directory_alone(tmp_path: Path, word: str) -> None:
    """Kernels before 6.7 have no Landlock for the network: seccomp alone has to do."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("a-long-name.sock")
    with socket.socket(socket.AF_UNIX) as control, socket.create_server(("127.0.0.1", 0)) as other:
        control.bind(str(tmp_path / "a-long-name.sock"))
        control.listen()
        done = subprocess.run(
            [sys.executable, "-c", SECLUDED, str(tmp_path), str(other.getsockname()[1]), word],
            capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    warnings, tried, able = json.loads(done.stdout)
    assert warnings == (["no Landlock: Operation not supported"] if word else [])
    assert {name: found for name, found in tried.items() if found not in (1, 13)} == {}
    assert {name: found for name, found in able.items() if found} == {}
