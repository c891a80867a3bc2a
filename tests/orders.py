"""Orders for the system calls of a daemon's queue threads (orders.c): that they fail, or take their time."""
import mmap
import struct
from pathlib import Path

from lab.programs import compiled

RECEIVE, SEND, _PAUSE = 0, 8, 16  # places in the page


class Orders:
    """The page that orders.c reads; `prefix` stands before the words that start the daemon."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        shim = compiled(Path(__file__).with_name("orders.c"), "-shared", "-fPIC", "-ldl")
        self.prefix = ("env", f"LD_PRELOAD={shim}", f"MXALLOWD_ORDERS={path}")

    def fail(self, call: int, number: int, times: int) -> None:
        """Let the next calls fail with this errno."""
        struct.pack_into("=ii", self._page, call, number, times)

    def left(self, call: int) -> int:
        """How many are still to fail."""
        return int(struct.unpack_from("=ii", self._page, call)[1])

    def pause(self, pause_us: int) -> None:
        """Let each batch of at most 64 packets take so much longer."""
        self._spend(pause_us)

    def spin(self, spin_us: int) -> None:
        """The same, and the thread is busy all the while."""
        self._spend(-spin_us)

    def _spend(self, pause_us: int) -> None:
        struct.pack_into("=i", self._page, _PAUSE, pause_us)
