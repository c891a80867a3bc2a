"""Lets system calls of a start fail, one after the other, and holds the start against its promise.

    python -m tests.start_faults [--way WAY] [--stride N] [--code-stride N] [--calls NAME,NAME...]

The promise: a start that fails says why in one line on standard error, ends with status 1, and leaves nothing behind:
no process, no queue, no pid file; mail flows. Or it serves. There is no third case, whatever call fails, once or from
then on. A call that hits the interpreter before the command has begun is not meant (faults.c).

By default each call of the main process fails that is no part of loading code, and each 25th of those; it takes some
minutes for each way. test_start_faults.py runs a small part of it.
"""
import argparse
import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.hosts import REAL4, REAL6, Attempt, Host, Lab, ip_output
from lab.programs import compiled, own_places
from tests.daemon_process import QUEUE, SENDER4, SERVERS

ROOT = Path(__file__).parent.parent
LIMIT_S = 15.0
# What takes a process of the command away after it: the guard looks ten times a second.
GONE_S = 3.0

WAYS = {
    "foreground": ["-F", "-s", "--user", "root"],
    "nobody": ["-F", "-s", "-b", "--user", "nobody"],
    "background": ["--user", "root"],
    "ipset": ["-F", "-s", "-b", "--user", "root", "--ipset"],
    "nft": ["-F", "-s", "-b", "--user", "root", "--nft-table", "inet faulty", "--nft-setup"],
    "capture": ["-F", "-s", "-b", "--user", "root", "--pflog-interface", "br0"]}

DESCRIPTORS = ("openat", "open", "socket", "socketpair", "epoll_create1", "eventfd2", "pipe2", "dup", "dup3", "fcntl",
               "memfd_create", "pidfd_open", "accept4", "landlock_create_ruleset")
ERRNOS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(DESCRIPTORS, (errno.EMFILE,)),
    **dict.fromkeys(("clone", "clone3", "fork", "vfork"), (errno.EAGAIN,)),
    **dict.fromkeys(("mmap", "mprotect", "brk", "mremap", "execve"), (errno.ENOMEM,)),
    **dict.fromkeys(("read", "pread64", "getdents64", "readlink", "lseek"), (errno.EIO,)),
    "getrandom": (errno.ENOSYS,),
    **dict.fromkeys(("pwrite64", "ftruncate"), (errno.ENOSPC,)),
    **dict.fromkeys(("epoll_wait", "poll", "select", "pselect6", "wait4", "recvmmsg", "clock_nanosleep"),
                    (errno.EINTR,)),
    **dict.fromkeys(("sendto", "sendmsg", "recvfrom", "recvmsg"), (errno.ENOBUFS,))}
# They pass, if they come at all.
PASSING = (errno.EINTR, errno.ENOBUFS)
# What a system call filter or an old kernel answers.
REFUSED = (errno.EPERM, errno.ENOSYS)
# They cannot fail, or nobody could go on without them. A brk that fails returns no error but the end as it was. What is
# written goes to the log, to standard error, and to sockets and pipes of the process itself: see test_log_faults.py.
NEVER = frozenset((
    "exit", "exit_group", "rt_sigreturn", "rt_sigaction", "rt_sigprocmask", "sigaltstack", "futex", "getpid", "gettid",
    "getuid", "geteuid", "getgid", "getegid", "getppid", "arch_prctl", "set_tid_address", "set_robust_list", "rseq",
    "munmap", "close", "madvise", "clock_gettime", "clock_getres", "umask", "sched_yield", "getpgrp", "restart_syscall",
    "brk", "write"))


@dataclass(frozen=True)
class Order:
    """A call of a process (0: any) that fails, from its `first` on, so many times (0: always)."""

    process: int
    call: str
    error: int
    first: int = 1
    times: int = 0

    def word(self) -> str:
        """As faults.c takes it."""
        return f"{self.process}:{numbers()[self.call]}:{self.error}:{self.first}:{self.times}"

    def __str__(self) -> str:
        return f"{self.call}:{errno.errorcode[self.error]}:{self.first}:{'on' if not self.times else 'once'}"


@cache
def numbers() -> dict[str, int]:
    """The numbers of system calls on this machine, by the compiler's headers."""
    done = subprocess.run(["gcc", "-dM", "-E", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
                          capture_output=True, text=True, check=True)
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", done.stdout)}


@dataclass(frozen=True)
class Result:
    """How a start ended. `status` None: it serves."""

    status: int | None
    out: str
    err: str
    fault: str  # how it broke its promise; "": it did not


class Starts:
    """Starts of the daemon in a gateway's namespace."""

    def __init__(self, lab: Lab, client: Host, place: Path) -> None:
        self._lab = lab
        self._client = client
        self._place = place
        self._pid_file = place / "pid"
        self._faults = compiled(Path(__file__).with_name("faults.c"))

    def record(self, way: str) -> list[tuple[int, str, int, str]]:
        """The calls of a start: process, name, which of that name, file."""
        record = self._place / "record"
        result = self.run(way, (), record=record)
        assert result.status is None, result
        assert not result.fault, result
        names = {number: name for name, number in numbers().items()}
        found = []
        for line in record.read_text(errors="replace").splitlines():
            process, number, count, *file = line.split(" ", 3)
            found.append((int(process), names[int(number)], int(count), file[0] if file else ""))
        return found

    def run(self, way: str, orders: Sequence[Order], *, record: Path | None = None, prefix: Sequence[str] = ()
            ) -> Result:
        """Start it under these orders, until it serves or has ended, and end it."""
        # Each start finds neither what the one before it has left nor what the system has.
        arguments = ["-c", "/dev/null", *SERVERS, "-n", QUEUE, *own_places(self._place), *WAYS[way]]
        if way == "background":
            arguments += ["--pid-file", str(self._pid_file)]
        command = [str(self._faults), str(record or "-"), *(order.word() for order in orders), "--", *prefix,
                   sys.executable, "-m", "mxallowd", *arguments]
        with (self._place / "out").open("wb") as out, (self._place / "err").open("wb") as err:
            process = self._lab.gateway.popen(command, stdout=out, stderr=err, cwd=ROOT)
        try:
            return self._watch(way, process)
        finally:
            for pid in self._processes():
                os.kill(pid, signal.SIGKILL)
            process.wait(10)
            self._pid_file.unlink(missing_ok=True)

    def _text(self, name: str) -> str:
        return (self._place / name).read_text(errors="backslashreplace")

    def _processes(self) -> list[int]:
        """Those of the command: all in the gateway's namespace."""
        found = ip_output(f"netns pids {self._lab.gateway.name}").split()
        return [int(pid) for pid in found if b"faults\0" not in _command_line(int(pid))[:200]]

    def _watch(self, way: str, process: "subprocess.Popen[bytes]") -> Result:
        deadline = time.monotonic() + LIMIT_S
        # In the background it serves when the command has ended well; faults.c waits for all of its processes.
        while time.monotonic() < deadline:
            if " - start version=" in self._text("out") or (way == "background" and self._is_detached()):
                return self._serving(process)
            if process.poll() is not None:
                return self._ended(process.returncode)
            time.sleep(0.01)
        return self._result(None, "it neither serves nor ends")

    def _is_detached(self) -> bool:
        """Whether the daemon has let go of standard error."""
        daemon = self._daemon()
        try:
            return daemon is not None and str(Path(f"/proc/{daemon}/fd/2").readlink()) == "/dev/null"
        except OSError:
            return False

    def _serving(self, process: "subprocess.Popen[bytes]") -> Result:
        if not self._lab.queues():
            return self._result(None, "it says that it serves, and holds no queue")
        if self._client.attempt(REAL4, timeout=0.15) is not Attempt.DROPPED:
            return self._result(None, "it holds the queue, and lets an unknown host in")
        daemon = self._daemon()
        if daemon is None:
            return self._result(None, "no process holds the queue")
        os.kill(daemon, signal.SIGTERM)
        try:
            status = process.wait(10)
        except subprocess.TimeoutExpired:
            return self._result(None, "SIGTERM does not end it")
        left = self._left()
        return self._result(None, left or ("" if status == 0 else f"its stop has status {status}"))

    def _daemon(self) -> int | None:
        """The process that has a thread for the queue."""
        for pid in self._processes():
            with suppress(OSError):
                if any("mxallowd-q" in path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm")):
                    return pid
        return None

    def _ended(self, status: int) -> Result:
        err = self._text("err")
        if status != 1:
            return self._result(status, f"status {status}")
        if "Traceback" in err or err.count("\n") != 1 or not err.startswith("mxallowd: ") or len(err) < 20:
            return self._result(status, "not one line on standard error")
        return self._result(status, self._left())

    def _left(self) -> str:
        """What was left behind."""
        deadline = time.monotonic() + GONE_S
        while (processes := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        if processes:
            return f"processes are left: {[_command_line(pid)[:80] for pid in processes]}"
        if self._lab.queues():
            return "a queue is bound"
        # One that cannot be removed is emptied.
        if self._pid_file.exists() and self._pid_file.stat().st_size:
            return "the pid file is there"
        if self._client.attempt(REAL4) is not Attempt.CONNECTED:
            return "mail does not flow"
        return ""

    def _result(self, status: int | None, fault: str) -> Result:
        return Result(status, self._text("out"), self._text("err"), fault)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_code(file: str) -> bool:
    """Whether a file is of the program, and not something that it looks at."""
    return bool(re.search(r"python3|site-packages|/mxallowd/|\.so\b|__pycache__|\.venv", file))


def single_orders(calls: Sequence[tuple[int, str, int, str]], process: int, *, stride: int, code_stride: int
                  ) -> Iterator[Order]:
    """Each call of a process fails once, and each from there on."""
    seen = {False: 0, True: 0}
    for caller, call, count, file in calls:
        if caller != process or call in NEVER:
            continue
        code = is_code(file)
        seen[code] += 1
        if seen[code] % (code_stride if code else stride):
            continue
        for error in ERRNOS.get(call, (errno.EPERM,)):
            yield Order(process, call, error, count, 1)
            if error not in PASSING:
                yield Order(process, call, error, count, 0)


def daemon_of(calls: Sequence[tuple[int, str, int, str]]) -> int:
    """Which process is the daemon: the first that restricts itself, the command itself or a child's child."""
    return next(process for process, call, _, _ in calls if call == "landlock_restrict_self")


def policy_orders(calls: Sequence[tuple[int, str, int, str]]) -> Iterator[Order]:
    """Each kind of call is refused to all processes from the beginning, as a filter would."""
    for call in sorted({call for _, call, _, _ in calls} - NEVER):
        errors = ERRNOS.get(call, ())
        # What passes, a filter does not refuse: these calls wait for something, or hand over messages.
        for error in () if set(errors) & set(PASSING) else (*errors, *REFUSED):
            yield Order(0, call, error)


def main() -> int:
    """Run the sweep; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description="Let each system call of a start fail.")
    parser.add_argument("--way", choices=WAYS, default="foreground")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--code-stride", type=int, default=25)
    parser.add_argument("--calls", default="")
    parser.add_argument("--process", type=int, help="which process, in the order of their coming")
    parser.add_argument("--policies", action="store_true", help="only calls that are refused from the beginning")
    words = parser.parse_args()
    broken = served = 0
    with Lab("mxf") as lab, tempfile.TemporaryDirectory(prefix="mxallowd-faults-") as place, lab.gateway.serve(
            REAL4), lab.gateway.serve(REAL6):
        lab.queue_rule(QUEUE, bypass=True)
        starts = Starts(lab, lab.client("client", SENDER4), Path(place))
        calls = starts.record(words.way)
        orders = list(policy_orders(calls))
        if not words.policies:
            orders += single_orders(
                calls, words.process or daemon_of(calls), stride=words.stride, code_stride=words.code_stride)
        if words.calls:
            orders = [order for order in orders if order.call in words.calls.split(",")]
        print(f"{len(orders)} starts", flush=True)
        for order in orders:
            result = starts.run(words.way, [order])
            served += result.status is None and not result.fault
            if result.fault:
                broken += 1
                said = " | ".join(result.err.strip().splitlines()[-3:])
                print(f"{order}: {result.fault}: {result.status} {said!r}", flush=True)
    failed = len(orders) - served - broken
    print(f"{len(orders)} starts: {served} served, {failed} said why they did not, {broken} broke the promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
