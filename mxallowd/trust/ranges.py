"""A set of addresses of one family, as sorted ranges of which none touches another.

Adding and cutting a range costs a binary search and a shift of the list, so thousands of them can be laid over each
other on the main loop, some at a time. Addresses are numbers.
"""
import ipaddress
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from mxallowd.lists.composition import Network

Range = tuple[int, int]  # first and last address


class Ranges:
    """The set; empty where it is made of nothing."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[Range]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """Ranges."""
        return len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __contains__(self, address: int) -> bool:
        at = bisect_right(self._firsts, address) - 1
        return at >= 0 and self._lasts[at] >= address

    def copy(self) -> "Ranges":
        """Another one with the same addresses."""
        other = Ranges()
        other._firsts, other._lasts = self._firsts.copy(), self._lasts.copy()
        return other

    def addresses(self) -> int:
        """How many addresses are in it."""
        return sum(self._lasts) - sum(self._firsts) + len(self)

    def parts(self, first: int, last: int) -> list[Range]:
        """What of the range is in the set."""
        begin, end = bisect_left(self._lasts, first), bisect_right(self._firsts, last)
        return [(max(self._firsts[at], first), min(self._lasts[at], last)) for at in range(begin, end)]

    def add(self, first: int, last: int) -> None:
        """Put a range in."""
        # One that ends right before it, or begins right behind, becomes one with it.
        begin, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end], self._lasts[begin:end] = [first], [last]

    def cut(self, first: int, last: int) -> list[Range]:
        """Take a range out; what of it was in the set."""
        found = self.parts(first, last)
        if found:
            begin, end = bisect_left(self._lasts, first), bisect_right(self._firsts, last)
            left = [(self._firsts[begin], first - 1)] if self._firsts[begin] < first else []
            right = [(last + 1, self._lasts[end - 1])] if self._lasts[end - 1] > last else []
            kept = left + right
            self._firsts[begin:end] = [one[0] for one in kept]
            self._lasts[begin:end] = [one[1] for one in kept]
        return found

    def networks(self, version: int) -> Iterator[Network]:
        """The fewest networks that cover it and nothing else, in their order."""
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        for first, last in self:
            yield from ipaddress.summarize_address_range(kind(first), kind(last))


def ends(network: Network) -> Range:
    """The range of a network."""
    return int(network.network_address), int(network.broadcast_address)
