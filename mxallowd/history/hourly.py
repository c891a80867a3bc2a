"""Numbers that are summed by the hour and forgotten after some days."""
import struct
from collections import deque
from collections.abc import Sequence

from mxallowd.history.followed import HOUR_S

KEPT_HOURS = 8 * 24
_MOST = (1 << 63) - 1


class Hourly:
    """Rows of `width` numbers."""

    def __init__(self, width: int, hours: int = KEPT_HOURS) -> None:
        """`hours`: for how long a row is kept."""
        self._row = struct.Struct(f"={width + 1}q")
        self.row_size = self._row.size
        self._rows: deque[tuple[int, list[int]]] = deque()
        self._width = width
        self._hours = hours

    def add(self, now_s: int, numbers: Sequence[int]) -> None:
        """Count these for the hour that is now."""
        hour = now_s // HOUR_S
        if not self._rows or self._rows[-1][0] < hour:
            self._rows.append((hour, [0] * self._width))
            self.tick(now_s)
        row = self._rows[-1][1]
        for at, number in enumerate(numbers):
            row[at] += number

    def tick(self, now_s: int) -> None:
        """Forget what is too old."""
        while self._rows and self._rows[0][0] <= now_s // HOUR_S - self._hours:
            self._rows.popleft()

    def sums(self) -> list[int]:
        """Over all hours that are known."""
        return [sum(row[at] for _, row in self._rows) for at in range(self._width)]

    def saved(self) -> bytes:
        """All of it."""
        return b"".join(self._row.pack(hour, *(min(number, _MOST) for number in row)) for hour, row in self._rows)

    def restore(self, saved: bytes, now_s: int) -> None:
        """Take what saved() gave; an hour that can be none is left out. Raises ValueError where it is not whole."""
        if len(saved) % self._row.size or len(saved) > (self._hours + 2) * self._row.size:
            raise ValueError("these are no hours")
        for hour, *numbers in self._row.iter_unpack(saved):
            if hour <= now_s // HOUR_S and min(numbers) >= 0 and (not self._rows or self._rows[-1][0] < hour):
                self._rows.append((hour, numbers))
        self.tick(now_s)
