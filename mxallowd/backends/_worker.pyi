from typing import final

from mxallowd._fastpath import Fastpath
from mxallowd.watchdog._watch import Heartbeats

@final
class QueueThread:
    """A native thread that serves one kernel queue without the GIL."""

    def __new__(
        cls, fd: int, queue: int, fastpath: Fastpath, bypass: bytes = b"", *, heartbeats: Heartbeats | None = None,
        index: int = 0, mark: tuple[int, int] = (0, 0), refused: tuple[int, int] = (0, 0),
        passes: bool = False, dry_run: bool = False,
    ) -> QueueThread:
        """`fd` is the netlink socket that bound `queue` (0 to 65535).

        `bypass` is the configuration message (linux/netfilter/nfnetlink_queue.h) that lets packets bypass the queue;
        the thread sends it when it is asked to stop. With `heartbeats` it raises the counter at `index` with every
        turn. Raises IndexError on one that they do not have. With a `mark`, (value, mask), accepted packets get it
        and pass their chain again (_verdicts); a mask of 0 is no mark. `refused` is the same
        for refused packets, which a rule then rejects; without it they are dropped. `passes`: the kernel accepts
        what finds no room in the queue, so for 0.6 s after such a packet nobody is refused. In a
        `dry_run` what would be dropped is accepted.
        """
    def start(self) -> None:
        """Start to give verdicts. Raises OSError where the system has no thread, RuntimeError the second time."""
    def request_stop(self) -> None:
        """Ask the thread to answer what waits and to end. Raises OSError where it cannot be woken."""
    def request_sweep(self) -> None:
        """Ask for all expired entries to be removed; a SWEPT event says when it is done. Raises OSError."""
    def request_restore(self, records: bytes) -> None:
        """Ask for records of entries (_records) to be entered into the shard, some hundred between two batches.

        restored() says when it is done. Raises RuntimeError while an earlier request is under way, ValueError where
        there is none or the bytes are no whole number of records, OSError.
        """
    def restored(self) -> tuple[int, int, int, int] | None:
        """What became of the records of the last request: entered, known, left out, ended; None: it is under way."""
    def wake(self) -> None:
        """Let the thread pass its loop once, so that it sees rules that were published. Raises OSError."""
    def join(self) -> bool:
        """Whether the thread is gone and its Fastpath free again; never waits."""
    @property
    def ended(self) -> bool:
        """Whether the thread has left its loop, after a stop or an error."""
    @property
    def error(self) -> int:
        """The errno that ended the thread, 0 where none did."""
    def counters(self) -> dict[str, int]:
        """Since the start: those of Part.INPUT in metrics/counters.py, but for what the kernel alone can count."""
