"""Standard input, output and error: always open, even if the caller closed them; a failed write causes no traceback."""
import os
import sys
from contextlib import suppress
from typing import TextIO


def open_standard() -> set[int]:
    """Give /dev/null to descriptors 0 to 2 that are closed, so that no file or socket of ours becomes one of them.

    Which of them were closed.
    """
    closed = set()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            closed.add(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    return closed


def write(stream: TextIO, text: str) -> bool:
    """Write and flush. False where it could not be written: a full disk, or a reader that has gone."""
    try:
        stream.buffer.write(text.encode(stream.encoding or "utf-8", "backslashreplace"))
        stream.flush()
    except OSError:
        # What is left in the buffer would be tried again at the end of the process.
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return False
    return True


def fail(message: str, status: int = 1) -> int:
    """Say on standard error why the command fails; its exit status."""
    write(sys.stderr, f"mxallowd: {message}\n")
    return status
