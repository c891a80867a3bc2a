"""Stopping one thread of another process, as a hang would: ptrace(2) leaves all its other threads running."""
import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # sys/ptrace.h
_WALL = 0x40000000  # linux/wait.h
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def thread_named(process: int, name: str) -> int:
    """The id of the thread of that name. Raises RuntimeError."""
    deadline = time.monotonic() + 2
    # It gives itself its name, some moments after it was started.
    while time.monotonic() < deadline:
        for task in Path(f"/proc/{process}/task").iterdir():
            if (task / "comm").read_text(encoding="ascii").strip() == name:
                return int(task.name)
        time.sleep(0.01)
    raise RuntimeError(f"process {process} has no thread {name}")


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def frozen(thread: int) -> Iterator[None]:
    """The thread stands still; it goes on afterwards, if its process is still there. Raises OSError, RuntimeError.

    Nobody else in this process may wait(2) for that process meanwhile: a tracer's news would come to him.
    """
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    deadline = time.monotonic() + 2
    while os.waitpid(thread, os.WNOHANG | _WALL) == (0, 0):
        if time.monotonic() > deadline:
            raise RuntimeError(f"thread {thread} does not stop")
        time.sleep(0.001)
    try:
        yield
    finally:
        try:
            _ptrace(_DETACH, thread)
        except OSError:
            # It is gone: its end is ours to collect.
            with suppress(ChildProcessError):
                os.waitpid(thread, os.WNOHANG | _WALL)
