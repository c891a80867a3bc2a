"""The kernel's table of queues, /proc/net/netfilter/nfnetlink_queue, which only root may open."""
import io
import os
from pathlib import Path

PROC_QUEUES = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")


class ProcQueues:
    """The kernel's table of queues, in a file that is opened while that is still allowed."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._drops = 0
        try:
            self._file: io.FileIO | None = io.FileIO(PROC_QUEUES)
        except OSError:
            self._file = None

    def rows(self) -> list[list[int]]:
        """Queue, port id, waiting, copy mode, copy range, queue dropped, user dropped, last id, 1; a row a queue."""
        if self._file is None:
            return []
        try:
            text = os.pread(self._file.fileno(), 1 << 16, 0)
        except OSError:
            # The network namespace is gone.
            return []
        return [[int(word) for word in line.split()] for line in text.splitlines()]

    def drops(self, numbers: range) -> int:
        """Packets of these queues that the kernel dropped: queue full, or no room in the socket's receive buffer."""
        for row in self.rows():
            if len(row) >= 7 and row[0] in numbers:
                # The kernel's counters have 32 bits.
                self._drops += (row[5] + row[6] - self._seen.get(row[0], 0)) % (1 << 32)
                self._seen[row[0]] = row[5] + row[6]
        return self._drops

    def close(self) -> None:
        """Let the file go; what was counted stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
