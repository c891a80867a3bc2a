"""Who came in by whose name: living children are counted by contact, by name and by registered domain.

The owner of a zone chooses the addresses of its names, and one SYN is enough for a contact. Without a bound, each
contact would let in further addresses of his choice. A child that is left out has to meet the fake server itself, as
anybody else.

A child counts until its time is over, also where its entry ended before, and as long as it is listed: connections may
have prolonged that. Those of a pool (--pool-domain) are counted by the pool's domain as well. After a restart these
alone are known, by their notes; other children that came in before it do not count.
"""
import heapq
from collections.abc import Callable, Hashable
from typing import NamedTuple

MOST_OF_A_NAME = 64
MOST_OF_A_DOMAIN = 256
MOST_OF_A_POOL = 64
MOST = 65_536  # of all; 30 MB at the very most
# Renewals leave old times in the heap; from so many times the children on it is made anew.
STALE = 4


class Grant(NamedTuple):
    """How a child came in, and until when it is listed."""

    until_us: int
    contact: bytes | None  # who met the fake server; None: the child was refused before, and its name was listed
    name: str
    domain: str
    pool: str = ""  # the domain of --pool-domain by which it came in, if it did

    def counted(self) -> list[Hashable]:
        """What it counts for; the kinds of keys cannot be equal."""
        return [("name", self.name), ("domain", self.domain), *([self.contact] if self.contact else ()),
                *([("pool", self.pool)] if self.pool else ())]


class Grants:
    """All living children, 16 bytes each. Times are microseconds of the whitelist's clock."""

    def __init__(self, most_of_a_contact: int, listed_until: Callable[[bytes], int] = lambda _: 0) -> None:
        """`listed_until`: until when a child is listed now; 0: it is not."""
        self.most_of_a_contact = most_of_a_contact
        self._listed_until = listed_until
        self._grants: dict[bytes, Grant] = {}
        self._counts: dict[Hashable, int] = {}
        self._ends: list[tuple[int, bytes]] = []

    def has_room(self, grant: Grant) -> bool:
        """Whether one more may come in this way."""
        if self.most_of_a_contact == 0 or len(self._grants) >= MOST:
            return False
        most: dict[Hashable, int] = {("name", grant.name): MOST_OF_A_NAME, ("domain", grant.domain): MOST_OF_A_DOMAIN,
                                    ("pool", grant.pool): MOST_OF_A_POOL}
        return all(self._counts.get(key, 0) < most.get(key, self.most_of_a_contact) for key in grant.counted())

    def note(self, child: bytes, grant: Grant) -> None:
        """It has come in."""
        self.drop(child)
        self._grants[child] = grant
        for key in grant.counted():
            self._counts[key] = self._counts.get(key, 0) + 1
        heapq.heappush(self._ends, (grant.until_us, child))

    def find(self, child: bytes) -> Grant | None:
        """How it came in; None: not as a child that counts."""
        return self._grants.get(child)

    def prolong(self, child: bytes, until_us: int) -> None:
        """It is listed until later, and counts for those it counted for."""
        grant = self._grants[child]
        if until_us > grant.until_us:
            self._grants[child] = grant._replace(until_us=until_us)
            heapq.heappush(self._ends, (until_us, child))
            if len(self._ends) > STALE * len(self._grants) + MOST_OF_A_DOMAIN:
                self._ends = sorted((one.until_us, host) for host, one in self._grants.items())

    def expire(self, now_us: int, most: int = 1000) -> None:
        """Let those go whose time is over, at most so many."""
        while self._ends and self._ends[0][0] <= now_us and most > 0:
            _, child = heapq.heappop(self._ends)
            grant = self._grants.get(child)
            most -= 1
            if grant is None or grant.until_us > now_us:
                continue
            if (until_us := self._listed_until(child)) > now_us:
                self.prolong(child, until_us)
            else:
                self.drop(child)

    def of_name(self, name: str) -> int:
        """How many living children have this name."""
        return self._counts.get(("name", name), 0)

    def __len__(self) -> int:
        """Living children, and those that expire() has not let go yet."""
        return len(self._grants)

    def drop(self, child: bytes) -> None:
        """It counts no more."""
        grant = self._grants.pop(child, None)
        for key in grant.counted() if grant else ():
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
