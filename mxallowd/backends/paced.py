"""A netlink socket that is read on the main loop, in turns that hold it for a bounded time."""
import asyncio
import os
import socket
import time
from collections.abc import Callable

# One turn of the loop reads for so long at the most, and the next one comes after a pause.
LONGEST_S, PAUSE_S = 0.002, 0.02


class PacedReader:
    """Gives each message to `take`. It owns the socket, which must not block."""

    def __init__(self, opened: socket.socket, take: Callable[[bytes], object], most: int) -> None:
        """A message has `most` bytes; what is longer is cut."""
        self._socket = opened
        self._take = take
        self._most = most
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to read, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        assert self._loop
        self._loop.remove_reader(self._socket.fileno())
        self._go_on()

    def _go_on(self) -> None:
        assert self._loop
        self._again = None
        until = time.monotonic() + LONGEST_S
        taken = 0
        while time.monotonic() < until:
            try:
                message = os.read(self._socket.fileno(), self._most)
            except OSError:
                # Nothing more, or the kernel had no room for some: what comes next tells again.
                break
            taken += 1
            self._take(message)
        if taken:
            self._again = self._loop.call_later(PAUSE_S, self._go_on)
        else:
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Read no more."""
        if self._again:
            self._again.cancel()
        if self._loop and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
