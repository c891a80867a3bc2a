"""A start that cannot be made says so in one line and leaves nothing behind, whatever the system refuses.

A small part of what `python -m tests.start_faults` does: the calls of which a start has few, and the environments of
containers and services that are known for them.
"""
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.hosts import REAL4, REAL6, Lab, supported
from lab.programs import own_places
from tests.daemon_process import QUEUE, SENDER4, SERVERS, DaemonProcess
from tests.start_faults import ROOT, Order, Result, Starts

COMMAND = [sys.executable, "-m", "mxallowd", "-c", "/dev/null", *SERVERS, "-n", QUEUE]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Lab]:
    """Once for all tests here: each of them leaves it as it was, which is what they test."""
    reason = supported()
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the kernel's queue: {reason}")
        pytest.skip(reason)
    with Lab("mxs") as lab, lab.gateway.serve(REAL4), lab.gateway.serve(REAL6):
        lab.queue_rule(QUEUE, bypass=True)
        yield lab


@pytest.fixture(scope="module")
def starts(gateway: Lab, tmp_path_factory: pytest.TempPathFactory) -> Starts:
    return Starts(gateway, gateway.client("client", SENDER4), tmp_path_factory.mktemp("starts"))


def fails(result: Result, said: str) -> None:
    """It said this, and ended."""
    assert not result.fault, result
    assert result.status == 1, result
    assert said in result.err


def serves(result: Result, said: str) -> None:
    """It served, and said this."""
    assert not result.fault, result
    assert result.status is None, result
    assert said in result.out


@pytest.mark.parametrize(("call", "error", "said"), [
    ("memfd_create", errno.EPERM, "no guard, so a stopped daemon holds up all new mail: memory to share: Operation"),
    ("pidfd_open", errno.ENOSYS, "no guard, so a stopped daemon holds up all new mail: pidfd_open: Function not impl"),
    ("getsockopt", errno.EPERM, 'degraded reason="no watchdog: SO_MEMINFO: Operation not permitted"'),
    ("clone3", errno.ENOSYS, "start version="),
    ("epoll_create1", errno.EPERM, "start version="),
    ("landlock_create_ruleset", errno.ENOSYS, 'privileges reason="no Landlock: Function not implemented"'),
    ("setpriority", errno.EPERM, "start version=")])
def test_it_serves_without_and_says_so(starts: Starts, call: str, error: int, said: str) -> None:
    serves(starts.run("foreground", [Order(0, call, error)]), said)


@pytest.mark.parametrize(("way", "order", "said"), [
    ("foreground", Order(0, "clone", errno.EAGAIN), "mxallowd: "),
    ("foreground", Order(0, "getrandom", errno.EPERM), "reverse DNS needs getrandom(2)"),
    ("foreground", Order(1, "socketpair", errno.EMFILE), "cannot start: Too many open files"),
    ("foreground", Order(1, "eventfd2", errno.EMFILE), "cannot start: Too many open files"),
    ("foreground", Order(0, "execve", errno.ENOMEM), "cannot start the broker of the sandbox: Cannot allocate memory"),
    ("foreground", Order(1, "mmap", errno.ENOMEM, 150), "mxallowd: "),
    ("foreground", Order(1, "capset", errno.EPERM), "cannot give up privileges"),
    ("nobody", Order(1, "setresuid", errno.EPERM), "cannot give up privileges"),
    ("background", Order(1, "clone", errno.EAGAIN), "cannot go to the background: Resource temporarily unavailable"),
    ("background", Order(1, "socketpair", errno.EMFILE), "cannot go to the background: Too many open files"),
    ("background", Order(0, "eventfd2", errno.EMFILE), "cannot start: Too many open files")])
def test_a_call_that_is_refused_is_one_line(starts: Starts, way: str, order: Order, said: str) -> None:
    fails(starts.run(way, [order]), said)


@pytest.mark.parametrize("number", range(1, 5))
def test_each_thread_that_cannot_be_started(starts: Starts, number: int) -> None:
    """The first of these calls are the processes; the others are the threads of the queue, the watch and the log."""
    result = starts.run("foreground", [Order(1, "clone3", errno.EAGAIN, number)])
    assert not result.fault, result


@pytest.mark.parametrize("way", ["foreground", "background"])
@pytest.mark.parametrize("descriptors", [6, 10, 14])
def test_too_few_descriptors(starts: Starts, way: str, descriptors: int) -> None:
    fails(starts.run(way, (), prefix=["prlimit", f"--nofile={descriptors}"]), "Too many open files")


def test_files_must_be_empty(gateway: Lab, tmp_path: Path) -> None:
    """ulimit -f 0: there can be no pid file."""
    done = gateway.gateway.run(
        ["prlimit", "--fsize=0", *COMMAND, *own_places(tmp_path), "--pid-file", str(tmp_path / "pid")],
        capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f'mxallowd: cannot write the pid file "{tmp_path / "pid"}": File too large\n'
    assert not (tmp_path / "pid").exists()
    assert gateway.queues() == []


def test_files_must_be_empty_and_nothing_is_one(gateway: Lab) -> None:
    """In the foreground it serves, without a guard, since memory that is shared is a file."""
    with DaemonProcess(gateway.gateway, ["-c", "/dev/null", *SERVERS, "-n", QUEUE],
                       prefix=["prlimit", "--fsize=0"]) as daemon:
        daemon.wait_for("start ")
        assert "memory to share: File too large" in daemon.wait_for("degraded ")
        assert daemon.stop() == 0


def test_there_is_no_proc(starts: Starts) -> None:
    fails(starts.run("foreground", (), prefix=[
        "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]), "mxallowd: cannot ")


def test_no_thread_for_the_user_it_becomes(starts: Starts) -> None:
    result = starts.run("nobody", (), prefix=["prlimit", "--nproc=0"])
    fails(result, "queue 23: ")


def test_processes_of_another_namespace(starts: Starts) -> None:
    """unshare --pid without --fork: the next process is the first of a namespace, and threads are refused."""
    for way in ("foreground", "background"):
        fails(starts.run(way, (), prefix=["unshare", "--pid"]), "mxallowd: ")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_during_the_start(gateway: Lab, tmp_path: Path, number: signal.Signals) -> None:
    """At any moment from that on at which its first own line runs, some 20 ms after exec."""
    for delay_s in (0.0, 0.1):
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            daemon = gateway.gateway.popen(
                [*COMMAND, "-F", "-s", "--user", "root", *own_places(tmp_path)], stdout=out, stderr=err, cwd=ROOT)
        wait_until(partial(blocks, daemon.pid, number))
        time.sleep(delay_s)
        daemon.send_signal(number)
        if number is not signal.SIGTERM:
            word = "reload" if number is signal.SIGHUP else "counters "
            wait_until(partial(says, tmp_path / "out", word))
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
        assert (tmp_path / "err").read_text() == ""
        assert "stop signal=SIGTERM" in (tmp_path / "out").read_text()
        assert gateway.queues() == []


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def says(file: Path, word: str) -> bool:
    return word in file.read_text()


def blocks(pid: int, number: int) -> bool:
    """Whether the process lets a signal wait."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    (mask,) = (line.split()[1] for line in text.splitlines() if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (number - 1) & 1)
