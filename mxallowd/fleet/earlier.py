"""What an earlier run of this gateway said, as the load of the stream shows it: so much of it need not be said again.

Whoever has the key of the site can say anything in the name of this gateway. So what is heard in that name is told,
with the bounds of any other gateway, and never an entry of its own; here it only spares saying again.
"""
from collections.abc import Mapping

from mxallowd.fleet import batch

MOST_SHOWN = 1 << 19  # hosts; some 100 MB, for the time of the load


class Earlier:
    """What is collected."""

    def __init__(self) -> None:
        self._until_us: dict[bytes, int] = {}
        self._all = True

    def take(self, records: bytes, age_us: int, now_us: int) -> None:
        """Records of a batch, whose message is so old."""
        for host, left_s, _, _, left_ms in batch.RECORD.iter_unpack(records):
            until_us = now_us + 1_000_000 * left_s + 1000 * left_ms - age_us
            if until_us > now_us:
                self._until_us[host] = until_us
        if len(self._until_us) > MOST_SHOWN:
            self._all = False
            self._until_us.clear()

    def end(self, host: bytes) -> None:
        """Somebody has ended it."""
        self._until_us.pop(host, None)

    def flush(self) -> None:
        """All was ended."""
        self._until_us.clear()

    def shown(self) -> Mapping[bytes, int]:
        """When the stream's copy of each host ends, for Saying.loaded(); none, where there were too many.

        Once: it forgets all.
        """
        shown, self._until_us = self._until_us if self._all else {}, {}
        return shown
