"""Kernel table ipset: sets with timeouts for rules of iptables, by ipset(8) in the privileged helper.

The sets have the names of kernel table nft: mx_white4 and mx_white6 must be there, mx_used4 and mx_used6 may be.
Entries with the time 0 are the operator's own and stay; the daemon reads them at the start and at each filling.
"""
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from mxallowd.engine.events import MAPPED, packed
from mxallowd.mirrors import Copied, Listed, Listing, TargetError
from mxallowd.mirrors.kernel.helper import SETS, Operation, Record, Verb, set_headers
from mxallowd.mirrors.kernel.privileged import Privileged

LONGEST_TIME_S = 2_147_483  # ipset(8)
# "Null-valued element, cannot be stored in a hash type of set"; anybody may own a name with such an address.
NULL = frozenset({MAPPED + bytes(4), bytes(16)})

NOBODY4, NOBODY6 = packed("255.255.255.255"), packed("ff02::1")  # no packet has such a source


def sets_of(host: bytes, *, used: bool) -> tuple[int, ...]:
    """The numbers of the sets that a host belongs into."""
    if host in NULL:
        return ()
    version = int(not host.startswith(MAPPED))
    return (version, 2 + version) if used else (version,)


class IpsetTable:
    """The sets of ipset."""

    expires = True
    sample = 6  # each is a program of its own
    name = "ipset"

    def __init__(self) -> None:
        self._helper = Privileged("ipset")
        self._present: set[int] = set()
        self._room: dict[int, int] = {}
        self._own: set[tuple[int, bytes]] = set()

    def open(self) -> None:
        """Start the helper. Raises StartError."""
        self._helper.start()

    def close(self) -> None:
        """End the helper."""
        self._helper.close()

    def inspect(self) -> None:
        """See whether the sets are there and of the right kind."""
        headers = set_headers(self._helper.ask(Verb.INSPECT))
        present = {number for number, name in enumerate(SETS) if name in headers}
        for number, name in enumerate(SETS):
            if number not in present:
                if number < 2:
                    raise TargetError(f"set {name} is missing")
                continue
            kind, *words = headers[name].split()
            family = ("inet", "inet6")[number % 2]
            if kind != "hash:ip" or family not in words:
                raise TargetError(f"set {name} is of another type, it must be hash:ip family {family}")
            if "timeout" not in words:
                raise TargetError(f"set {name} has no timeouts, create it with timeout 3600")
            if "maxelem" in words:
                self._room[number] = int(words[words.index("maxelem") + 1])
        # Where one that must be there is not, a change is still tried, and fails.
        self._present = present

    def probe(self) -> None:
        """Take out what no set holds: that needs the same rights as a change."""
        self._helper.ask(Verb.CHANGE, [
            (Operation.DELETE, number, 0, host) for number, host in enumerate((NOBODY4, NOBODY6)) if
            number in self._present])

    def read(self) -> tuple[list[Copied], bool]:
        """What the sets hold."""
        self.inspect()
        times: dict[bytes, int | None] = {}
        used: set[bytes] = set()
        self._own.clear()
        for number, host, seconds in self._contents():
            if seconds == 0:
                self._own.add((number, host))
            if number >= 2:
                used.add(host)
            else:
                times[host] = seconds or None
        return [Copied(host, seconds, host in used) for host, seconds in times.items()], True

    def _contents(self) -> Iterable[tuple[int, bytes, int]]:
        for line in self._helper.ask(Verb.READ).splitlines():
            match line.split():
                case ["add", name, address, "timeout", seconds, *_] if name in SETS:
                    yield SETS.index(name), packed(address), int(seconds)

    def change(self, listed: Sequence[Listed], unlisted: Sequence[bytes]) -> None:
        """Take hosts out, then enter others, or set their time."""
        records: list[Record] = [
            (Operation.DELETE, number, 0, host) for host in unlisted for number in sets_of(host, used=True)]
        records += [(Operation.ADD, number, seconds, host) for number, host, seconds in self._places(listed)]
        wanted = [record for record in records
                  if record[1] in self._present and (record[1], record[3]) not in self._own]
        if wanted:
            self._helper.ask(Verb.CHANGE, wanted)

    @staticmethod
    def _places(entries: Iterable[Listed]) -> Iterable[tuple[int, bytes, int]]:
        for one in entries:
            for number in sets_of(one.host, used=one.used):
                yield number, one.host, min(one.remaining_s, LONGEST_TIME_S)

    def refill(self, entries: Listing) -> int:
        """Let the sets hold just these and the operator's own; how many had no room."""
        self.read()
        room = {number: self._room.get(number, sys.maxsize) for number in self._present}
        fits = len(entries) + len(self._own) <= min(room.values(), default=0)
        left_out = 0

        def records() -> Iterator[Record]:
            nonlocal left_out
            own = ((number, host, 0) for number, host in self._own)
            for number, host, seconds in chain(own, self._places(entries if fits else entries.best_first())):
                if number not in room or (seconds and (number, host) in self._own):
                    continue
                if room[number] > 0:
                    yield Operation.ADD, number, seconds, host
                else:
                    left_out += 1
                room[number] -= 1

        self._helper.ask(Verb.REPLACE, records())
        return left_out

    def flush(self) -> None:
        """Empty the sets, but for the operator's own."""
        self.refill(Listing((), 0))

    def missing(self, hosts: Mapping[bytes, bool]) -> set[bytes]:
        """Those of these hosts that are not in a set where they must be."""
        records: list[Record] = [
            (Operation.ADD, number, 0, host) for host, used in hosts.items()
            for number in sets_of(host, used=used) if number in self._present]
        return {records[int(place)][3] for place in self._helper.ask(Verb.TEST, records).split()} if records else set()

    def totals(self) -> dict[str, int]:
        """The counters of iptables belong to rules without names: none."""
        return {}
