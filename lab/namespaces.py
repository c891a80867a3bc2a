"""Sockets and programs in a named network namespace.

A socket stays in the namespace in which it was made, so the calling thread only visits: it enters, makes the
socket, and returns. The one rule: nobody leaves this module in a namespace that is not his.
"""
import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000  # sched.h; os.setns came with Python 3.12
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def visit(name: str) -> Iterator[None]:
    """Run the block, in this thread, inside the network namespace `name`."""
    home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def make_socket(name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of the namespace `name`."""
    with visit(name):
        return socket.socket(family, kind, protocol)
