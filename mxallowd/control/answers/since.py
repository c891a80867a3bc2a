"""Since when an entry is in the whitelist, as far as that is known."""
from collections.abc import Callable

from mxallowd.control.exchange import timestamp
from mxallowd.history.hosts import Hosts
from mxallowd.whitelist import Entry

_CONTACT = "contact"


class Since:
    """Of an entry by a contact the memory of hosts knows it, of any other its provenance."""

    def __init__(self, history: Hosts, lifetime_s: Callable[[], int]) -> None:
        """`lifetime_s` is how long an entry by a contact lasts."""
        self._history = history
        self._lifetime_s = lifetime_s

    def of(self, entry: Entry, now_us: int, now_s: float) -> str | None:
        """Since when; None: not known, as of a contact after a restart, or where what happened was forgotten.

        The two times are the same moment, of the packet path's clock and since 1970. Takes some microseconds.
        """
        if entry.origin != _CONTACT:
            return timestamp(entry.note.since_s) if entry.note else None
        happened = self._history.find(entry.host)
        contact = max((at for at, one in enumerate(happened) if one.what == _CONTACT), default=None)
        if contact is None:
            return None
        # An end that this contact does not explain is that of a later one, which was not seen.
        if entry.until_us > (happened[contact].time_s + self._lifetime_s() + 1) * 1_000_000 and not any(
                one.what in ("renewed", "handshake") for one in happened[contact:]):
            return None
        return timestamp(now_s - now_us / 1_000_000 + happened[contact].time_s)
