"""Process 1 of a container: it stays beside the daemon, which is its child.

The kernel lets no process of a container end its process 1, whatever signal it sends (pid_namespaces(7)). The guard
could not end a daemon with that number, and all new mail would wait. So the daemon is a child of process 1, which does
what an init has to do: it hands signals on, takes the status of processes whose parents have ended, and ends with the
status of the daemon.
"""
import os
import signal
import time
from collections.abc import Callable

from mxallowd.errors import StartError
from mxallowd.process.signals import SIGNALS

# The guard has a last line to write when the daemon has ended. With process 1, all others of the container end.
LAST_LINE_S = 2.0
_LOOK_S = 0.02


def needed() -> bool:
    """Whether this process is the first one of its namespace."""
    return os.getpid() == 1


def stay_beside(serve: Callable[[], int]) -> int:
    """Run serve() in a child; its exit status, 128 and more where a signal ended it.

    Only process 1 returns; SIGNALS must be blocked. Raises StartError where there can be no child.
    """
    waited_for = {*SIGNALS, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        daemon = os.fork()
    except OSError as error:
        raise StartError(f"cannot start a process beside process 1: {error.strerror}") from None
    if daemon == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = 1
        try:
            status = serve()
        finally:
            # Not sys.exit: what stands above us on the stack belongs to process 1.
            os._exit(status)
    status = _wait_for(daemon, waited_for)
    until = time.monotonic() + LAST_LINE_S
    while _others() and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return status


def _wait_for(daemon: int, waited_for: set[signal.Signals]) -> int:
    while True:
        number = signal.sigwait(waited_for)
        if number != signal.SIGCHLD:
            os.kill(daemon, number)
            continue
        # One signal may stand for several processes.
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == daemon:
                status = os.waitstatus_to_exitcode(ended[1])
                return status if status >= 0 else 128 - status


def _others() -> bool:
    """Whether children are left; those that have ended are let go."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
