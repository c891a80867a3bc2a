from typing import final

from mxallowd._fastpath import Fastpath

def syn(source: bytes, destination: bytes) -> bytes:
    """The IP packet of a connection attempt at port 25; addresses are 16 bytes, both of the destination's family."""

@final
class Foresight:
    """Asks the decision of a path what it would do, and changes nothing. For the main thread."""

    def __new__(cls, asked: Fastpath) -> Foresight: ...
    def foresee(self, source: bytes, destination: bytes, now_us: int) -> str:
        """The outcome (OUTCOME_NAMES) of a SYN from `source` to `destination` at `now_us`, as the path would decide.

        Raises ValueError where one is not 16 bytes, or one is IPv4 and the other IPv6.
        """
