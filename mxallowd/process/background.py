"""Going to the background, in a way that the caller learns whether the start succeeded.

The caller's process stays until the daemon serves or has failed, and ends with the status that says so. python-daemon
does the detaching; standard error stays open until the daemon serves, so that the caller sees why a start failed.

Both hold one end of a pair of sockets. The daemon says that it serves, or that it has failed and said why; if it ends
without either, the caller says that. A caller that is to end takes its end of the pair away, and waits for the daemon.
"""
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

from mxallowd.errors import StartError, one_line
from mxallowd.process import streams

Ready = Callable[[], None]

# How long a caller that is to end waits for the daemon, which notices when it is about to serve.
END_S = 10.0
_SERVES, _FAILED = b"1", b"0"
_ENDING = (signal.SIGTERM, signal.SIGINT)


def run_detached(serve: Callable[[Ready], int], *, keep_stdout: bool) -> int:
    """Run serve(ready) in a daemon process; returns 0 once it called ready(), 1 where it ended before.

    Only the caller's process returns from here. SIGNALS must be blocked, and the daemon starts with that; of them,
    SIGTERM and SIGINT end the caller while it waits, and the start as well. Raises StartError.
    """
    try:
        ours, theirs = socket.socketpair()
        child = os.fork()
    except OSError as error:
        raise StartError(f"cannot go to the background: {error.strerror}") from None
    if child == 0:
        ours.close()
        _become_daemon(serve, theirs, keep_stdout=keep_stdout)
    theirs.close()
    with ours:
        return _wait(ours)


class _Ended(Exception):
    """A signal ends the caller."""


def _wait(ours: socket.socket) -> int:
    try:
        try:
            for number in _ENDING:
                signal.signal(number, _end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            said = ours.recv(1)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    except _Ended as error:
        ours.shutdown(socket.SHUT_RD)
        # It hangs up when the daemon has ended.
        waiting = select.poll()
        waiting.register(ours, 0)
        waiting.poll(END_S * 1000)
        return streams.fail(f"ended by {error} before it served")
    if said == _SERVES:
        return 0
    return 1 if said == _FAILED else streams.fail("the daemon ended without a word before it served")


def _end(number: int, _: FrameType | None) -> None:
    raise _Ended(signal.Signals(number).name)


def _become_daemon(serve: Callable[[Ready], int], caller: socket.socket, *, keep_stdout: bool) -> None:
    status = 1
    try:
        # Only here: in the foreground nobody needs it.
        import daemon  # noqa: PLC0415

        context = daemon.DaemonContext(
            detach_process=True,
            files_preserve=[caller],
            signal_map={},
            umask=0o022,
            stdout=sys.stdout if keep_stdout else None,
            stderr=sys.stderr,
        )
        context.open()
        # Opened now, since there is no way back once the caller was told.
        null = os.open(os.devnull, os.O_RDWR)

        def ready() -> None:
            try:
                caller.send(_SERVES)
            except OSError:
                raise StartError("the command that started it was ended before it could serve") from None
            caller.close()
            os.dup2(null, 2)
            os.close(null)

        status = serve(ready)
    except Exception as error:  # noqa: BLE001  # the last place that can tell the caller
        streams.fail(one_line(error))
    finally:
        if status:
            _tell(caller)
        # Not sys.exit: what stands above us on the stack belongs to the caller's process.
        os._exit(status)


def _tell(caller: socket.socket) -> None:
    try:
        caller.send(_FAILED)
    except OSError:
        # It serves already, or the caller has gone.
        return
