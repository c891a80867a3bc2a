from mxallowd._fastpath import Fastpath
from mxallowd.engine._table import Table

def feed(fastpath: Fastpath, candidates: bytes, now_us: int, *, offset_us: int | None = None) -> int:
    """Decide candidates of _capture.select in order; the time of the last packet. Nobody is woken: the caller reads.

    All are decided at `now_us`; with `offset_us`, each at its own time plus that, but never before `now_us`.
    Microseconds. Raises RuntimeError while a queue thread has the path.
    """

def replay(
    fastpath: Fastpath, candidates: bytes, not_before_us: int = 0, *, since_us: int = 0
) -> tuple[bytes, int]:
    """Decide candidates of _capture.select in their order; what each batch of 64 took, and the time of the last packet.

    The times of the batches are nanoseconds, 4 bytes each in native order, the last batch holding what is left.
    Each packet is decided at its own time less `since_us`: the table does not reach from 1970 to today.
    `not_before_us` is the time of the last packet of the candidates before. Raises RuntimeError while a queue thread
    has the path.
    """

def preload(table: Table, count: int, until_us: int, now_us: int) -> None:
    """Add `count` IPv6 hosts of 100::/64 (RFC 6666), which no packet comes from, to an empty table.

    Raises ValueError where they do not fit.
    """
