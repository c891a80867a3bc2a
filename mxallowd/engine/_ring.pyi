from typing import Final, final

EVENT_SIZE: Final[int]
"""Bytes of one event."""

@final
class Ring:
    """A bounded ring of events from one writer, a queue thread, to one reader, the main loop."""

    def __new__(cls, capacity: int, wake_fd: int) -> Ring:
        """A ring of `capacity` events (a power of two, 4 to 2**24) that wakes its reader through eventfd `wake_fd`.

        Half of the slots are kept for pressing events. Raises ValueError on another capacity, MemoryError.
        """
    def push(self, event: bytes, *, pressing: bool = True) -> bool:
        """Write one event of EVENT_SIZE bytes; False where there is no room (and `lost` counts it).

        For tests and for writers in Python: the one writer of a ring is either this or a queue thread.
        Raises ValueError on another size.
        """
    def drain(self, most: int) -> bytes:
        """Take the oldest events, at most `most` of them, as one string of EVENT_SIZE bytes each."""
    def sleep(self) -> bool:
        """Announce that the reader goes to sleep. False: events came in meanwhile, drain first."""
    @property
    def lost(self) -> int:
        """Events that did not fit, since the start."""
    @property
    def lost_pressing(self) -> int:
        """Pressing events among them."""
    @property
    def capacity(self) -> int:
        """Slots for events."""
    def __len__(self) -> int: ...
