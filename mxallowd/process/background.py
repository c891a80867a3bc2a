"""Going to the background, in a way that the caller learns whether the start succeeded.

The caller's process stays until the daemon serves or has failed, and ends with the status that says so. python-daemon
does the detaching; standard error stays open until the daemon serves, so that the caller sees why a start failed.
"""
import os
import signal
import sys
from collections.abc import Callable, Iterable

from mxallowd.errors import StartError

Ready = Callable[[], None]


def run_detached(serve: Callable[[Ready], int], blocked: Iterable[int], *, keep_stdout: bool) -> int:
    """Run serve(ready) in a daemon process; returns 0 once it called ready(), 1 where it ended before.

    Only the caller's process returns from here; the daemon starts with the signals `blocked`. A signal that ends the
    caller's process while it waits ends the start as well.
    """
    reader, writer = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    if os.fork() == 0:
        os.close(reader)
        _become_daemon(serve, writer, keep_stdout=keep_stdout)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return 0 if pipe.read(1) else 1


def _become_daemon(serve: Callable[[Ready], int], writer: int, *, keep_stdout: bool) -> None:
    # Only here: in the foreground nobody needs it.
    import daemon  # noqa: PLC0415

    status = 1
    try:
        context = daemon.DaemonContext(
            detach_process=True,
            files_preserve=[writer],
            signal_map={},
            umask=0o022,
            stdout=sys.stdout if keep_stdout else None,
            stderr=sys.stderr,
        )
        context.open()

        def ready() -> None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 2)
            os.close(null)
            try:
                os.write(writer, b"1")
            except BrokenPipeError:
                raise StartError("the command that started it was ended before it could serve") from None
            os.close(writer)

        status = serve(ready)
    except Exception as error:  # noqa: BLE001  # the last place that can tell the caller
        os.write(2, f"mxallowd: {error}\n".encode("utf-8", "backslashreplace"))
    finally:
        # Not sys.exit: what stands above us on the stack belongs to the caller's process.
        os._exit(status)
