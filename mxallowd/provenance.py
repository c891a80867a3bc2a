"""Provenance: since when hosts are listed that did not come in by a contact of their own, and what is noted about them.

A contact says all about itself: the host met the fake server. Of a child it is the name, the pool or the network that
counts, which stays when an operator notes something of it: his note stands behind it. Of all others the text is his.
The table has no room for text, so it stands here, for a bounded number of hosts; the oldest note goes first. Notes
without a text say since when alone. They have a bound of their own, so that however many hosts come in by patience,
which takes no more than SYNs, no text is lost for them. So have notes of other gateways. A lost note lets nobody in.
"""
import re
from collections.abc import Iterator, Mapping, Set
from itertools import islice
from typing import NamedTuple

MAX_NOTES = 131_072  # some 250 bytes each
MAX_WITHOUT = 65_536  # notes without a text, some 150 bytes each
MAX_TOLD = 131_072  # notes of hosts that other gateways told of, as they told them
MAX_TEXT = 200  # characters of a note
FORGOTTEN = 1024  # between two pieces of a look at all notes
PIECE = 4096
LONGEST_POOL = 120  # characters of a pool's domain: its note has room for an address and the beginning of a name
BEHIND = "# "  # an operator's note stands behind this, in the text of a child; it is in no name, pool or network
CUT = "..."  # no name of the DNS has an empty label
_POOL = re.compile(r"pool ([^ ]+) by ([^ ]+) as ([^ ]+)")


class Note(NamedTuple):
    """What is noted of a host."""

    since_s: int  # seconds since 1970
    text: str  # how a child came in, an operator's note; may be empty


def way_in(text: str) -> str:
    """How a child came in, as its text says: its name, its pool or its network. Only of a child."""
    return text.partition(BEHIND)[0].rstrip()


def with_note(text: str, note: str) -> str:
    """The text of a child with this note of an operator."""
    return f"{way_in(text)} {BEHIND}{note}".lstrip() if note else way_in(text)


def with_way(text: str, way: str) -> str:
    """The text of a child that counts as come in this way from now on; an operator's note stays."""
    return with_note(way, text.partition(BEHIND)[2])


class Pool(NamedTuple):
    """How a child came in by --pool-domain, as its note says. A name of the DNS has no blank, so no name reads so."""

    domain: str
    founder: str  # address of the whitelisted host that has a name there
    name: str  # of the child, for people; of a long one the end is missing, and it may end in CUT

    @property
    def text(self) -> str:
        """As a note, in which domain and founder stand whole. A name for which it has no room ends in CUT."""
        text = f"pool {self.domain} by {self.founder} as {self.name}"
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - len(CUT)] + CUT


def pool_of(text: str) -> Pool | None:
    """What the text of a child says of its pool; None: it came in by a name."""
    found = _POOL.fullmatch(way_in(text))
    return Pool(*found.groups()) if found else None


class Provenance:
    """The notes, by host (16 bytes). The main thread's."""

    def __init__(
        self, most: int = MAX_NOTES, most_without: int = MAX_WITHOUT, most_told: int = MAX_TOLD,
    ) -> None:
        # Plain tuples of plain values: the collector of garbage passes them over, and would stop everything for 40 ms.
        self._notes: dict[bytes, tuple[int, str]] = {}
        # Those without a text, in halves: to find the oldest one of a dict takes long. A host is in one of the three.
        self._young: dict[bytes, tuple[int, str]] = {}
        self._old: dict[bytes, tuple[int, str]] = {}
        self._most = most
        self._half = most_without // 2
        self._told: dict[bytes, tuple[int, str]] = {}
        self._most_told = most_told

    def note(self, host: bytes, since_s: int, text: str) -> None:
        """Note this of a host that has come in, in place of what was noted before."""
        self.forget(host)
        if text:
            while len(self._notes) >= self._most:
                del self._notes[next(iter(self._notes))]
            self._notes[host] = (since_s, text[:MAX_TEXT])
            return
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[host] = (since_s, "")

    def note_told(self, host: bytes, since_s: int, text: str) -> None:
        """Another gateway has noted this. No note of this one makes room for it."""
        self.forget(host)
        while len(self._told) >= self._most_told:
            del self._told[next(iter(self._told))]
        self._told[host] = (since_s, text[:MAX_TEXT])

    def find(self, host: bytes) -> Note | None:
        """What is noted of a host."""
        found = self._notes.get(host) or self._young.get(host) or self._old.get(host) or self._told.get(host)
        return None if found is None else Note._make(found)

    def recall(self, notes: Mapping[bytes, Note]) -> None:
        """Take over notes from before the start; what has been noted since holds."""
        for host, note in notes.items():
            known, most = (self._notes, self._most) if note.text else (self._old, self._half)
            if note.text and len(known) >= most:
                # Nobody knows which of them were told.
                known, most = self._told, self._most_told
            if len(known) < most and self.find(host) is None:
                known[host] = (note.since_s, note.text[:MAX_TEXT])

    def noted(self, hosts: Set[bytes]) -> list[tuple[bytes, Note]]:
        """Those of these hosts of which there is a note. Any thread may ask."""
        return [(host, Note._make(note)) for notes in (self._notes, self._young, self._old, self._told)
                for host in notes.keys() & hosts if (note := notes.get(host))]

    def copy(self) -> dict[bytes, tuple[int, str]]:
        """The fields of all notes, those that were told last. Any thread may ask."""
        return self._old.copy() | self._young.copy() | self._notes.copy() | self._told.copy()

    def texts(self) -> Iterator[tuple[bytes, str] | None]:
        """The hosts of which there is a text, and that; who asks may stop between two while others are noted.

        None comes before what takes 2 ms: who holds others up gives them their turn then.
        What is noted or forgotten meanwhile may be missed, or come twice.
        """
        for notes in (self._notes, self._told):
            for host in _in_pieces(notes):
                if host is None:
                    yield None
                elif (found := notes.get(host)) and found[1]:
                    yield host, found[1]

    def forget(self, host: bytes) -> None:
        """The host is not listed any more."""
        for notes in (self._notes, self._young, self._old, self._told):
            notes.pop(host, None)

    def __len__(self) -> int:
        return len(self._notes) + len(self._young) + len(self._old) + len(self._told)


def _in_pieces(notes: dict[bytes, tuple[int, str]]) -> Iterator[bytes | None]:
    """The hosts, and None before each piece of them. The pieces come from either end: to pass over half of the hosts
    takes up to 2 ms, and a list of as many 5 ms."""
    half, middle, again = len(notes) // 2, set[bytes](), set[bytes]()
    for end, newest_first in ((half, False), (len(notes) - half + FORGOTTEN, True)):
        for first in range(0, end, PIECE):
            yield None
            # So many may be forgotten since the piece before, without one of these being passed over.
            piece = list(islice(
                reversed(notes) if newest_first else notes, max(0, first - FORGOTTEN), min(first + PIECE, end)))
            yield from (host for host in piece if host not in again and host not in middle)
            again = set(piece[-FORGOTTEN:])
        middle, again = again, set()
