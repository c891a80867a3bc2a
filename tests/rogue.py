"""One who has the site's key and reaches its engine, and says what it likes, as batches or not.

It stands for a gateway that was taken over, for many gateways at once, and for one that has just what a test needs.
"""
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from lab.engine import Engine
from mxallowd.fleet import batch
from mxallowd.fleet.batch import Batch, Note
from mxallowd.fleet.keys import Keys
from tests.gateways import SITE, STREAM

TIME_S = 28_800


def packed(address: str) -> bytes:
    """As records have it."""
    found = ip_address(address)
    return found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed


def keys_of(text: str, site: str = SITE) -> Keys:
    """The keys of a file's text."""
    return Keys([bytes.fromhex(line) for line in text.split()], site)


def entry(host: bytes, left_s: int = TIME_S, *, flags: int = 0, origin: int = 0) -> bytes:
    """The record of an entry."""
    return batch.entry(host, 1000 * left_s, flags, origin)


class Rogue:
    """A gateway of the lab's own making; its clock can be ahead of the engine's."""

    def __init__(self, engine: Engine, keys: Keys, origin: str = "rogue", *, epoch: int = 1) -> None:
        self._engine, self._keys = engine, keys
        self.origin, self.epoch = origin, epoch
        self.sequence = 0
        self.ahead_ms = 0

    def sealed(self, records: bytes, notes: Sequence[Note] = (), *, wall_ms: int | None = None) -> bytes:
        """The next batch."""
        self.sequence += 1
        wall_ms = time.time_ns() // 1_000_000 + self.ahead_ms if wall_ms is None else wall_ms
        return batch.seal(Batch(self.origin, self.epoch, self.sequence, wall_ms, TIME_S, records, notes), self._keys)

    def send(self, *messages: bytes, ids: Iterable[str] | None = None) -> None:
        """Append them to the stream as they are."""
        places = iter(ids) if ids is not None else None
        self._engine.pour(["XADD", STREAM, next(places) if places else "*", "d", data] for data in messages)

    def tell(self, addresses: Iterable[bytes], *, left_s: int = TIME_S, origin: int = 0, flags: int = 0) -> None:
        """Entries of these hosts, in as few batches as possible, as fast as possible."""
        records = [entry(host, left_s, flags=flags, origin=origin) for host in addresses]
        self.send(*(self.sealed(b"".join(records[start:start + batch.MOST_RECORDS]))
                    for start in range(0, len(records), batch.MOST_RECORDS)))

    def remove(self, *addresses: str) -> None:
        """Removals, one a batch."""
        self.send(*(self.sealed(batch.removal(packed(address), 0)) for address in addresses))

    def flush(self, times: int = 1) -> None:
        """Flushes, one a batch."""
        self.send(*(self.sealed(batch.flush(0)) for _ in range(times)))


def many(network: str, number: int) -> list[bytes]:
    """So many hosts as records have them, counted up from an address."""
    first = int.from_bytes(packed(network), "big")
    return [(first + one).to_bytes(16, "big") for one in range(number)]
