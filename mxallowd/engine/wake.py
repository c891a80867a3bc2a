"""What wakes the main loop: an eventfd, or a pipe where there is none (the BSDs).

Rings write 8 bytes to `write_fd`, from native threads as well; `fd` is what the loop waits for.
"""
import os
from collections.abc import Callable
from contextlib import suppress


class Wake:
    """Both ends, non-blocking. `fd` is readable from a signal() until clear()."""

    def __init__(self) -> None:
        self._at_once: Callable[[], None] = self.signal
        if hasattr(os, "eventfd"):
            self.fd = self.write_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.fd, self.write_fd = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self.write_fd, False)

    def signal(self) -> None:
        """Make `fd` readable; a pipe that is full is readable already."""
        with suppress(BlockingIOError):
            os.write(self.write_fd, (1).to_bytes(8, "little"))

    def clear(self) -> None:
        """Take what was written."""
        with suppress(BlockingIOError):
            while len(os.read(self.fd, 4096)) == 4096:
                pass

    def now(self) -> None:
        """For who runs on the main loop's thread: what a wake-up would lead to is done before this returns.

        While nobody has called handle_now(), it is as signal().
        """
        self._at_once()

    def handle_now(self, handler: Callable[[], None]) -> None:
        """Let now() call this: who reads the rings, and is made after those that write them."""
        self._at_once = handler
