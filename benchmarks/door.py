"""What a SYN of a flood costs where it is dropped: in INPUT, at the door, or by XDP, the physical limit (offload.py).

One processor sends SYNs as fast as it can. Its time a SYN holds the sender's own share, so two bases are measured
beside the filters: the sender alone, behind whose interface there is nothing, and a gateway that drops everything by
the first thing at its ingress. Ratios are of what is beyond the second one: the way from there to the filter, and it.
"""
import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from benchmarks.door_site import INTERFACE, LIFETIME_S, TABLE, Pair, beside_the_sender, fill
from benchmarks.engine import packed
from benchmarks.gateway_site import DAEMON
from benchmarks.newcomers import daemon
from benchmarks.xdp import NoXdpError, Xdp, compiled
from lab.hosts import FAKE4, FAKE6, REAL4, REAL6
from lab.programs import Sources, flood, own_places

MOST_ENTRIES = 1_000_000
# As many new connections as one flood may make without a gap in the kernel's table of them (262,144 here).
MOST_PACKETS = 250_000
FLOODERS = 1_000_000
FAMILIES = (4, 6)
# Known hosts of a hundred, and every so many-th source that is none of them.
SHARES = {0: 1, 50: 2, 99: 100}
# The first source of each share, and of contacts; of IPv6 it is the third and fourth byte of fd00::.
FIRST = {0: 11, 50: 12, 99: 10, "contacts": 13}

SENDER, AT_INGRESS = "the sender alone", "all dropped at ingress"
CLOSED, OPEN = "no filter, nobody listens", "no filter, a server listens"
INPUT_CT, INPUT = "nft in INPUT, ct state new", "nft in INPUT"
SET, DOOR, DOOR_RUNS, RAW = "c) set.nft", "d) door.nft", "d) door.nft, mxallowd runs", "d) door-raw.nft"
GENERIC, NATIVE = "XDP, generic", "XDP, native"
HOST_RST, DOOR_HOST_RST = "no filter: the host's own RST", "d) door.nft, but the host's own RST"

ALL_DROPPED = """table inet base {
	chain first { type filter hook ingress devices = { eth0 } priority filter; policy drop; }
}"""
PLAIN = f"""table {TABLE} {{
	set mx_white4 {{ type ipv4_addr; size 2500000; flags timeout; }}
	set mx_white6 {{ type ipv6_addr; size 2500000; flags timeout; }}
	counter mx_refused {{ }}
	chain input {{
		type filter hook input priority filter;
		tcp dport 25 TRACKED tcp flags & (fin | syn | rst | ack) == syn goto new
	}}
	chain new {{
		ip daddr {REAL4} ip saddr != @mx_white4 counter name mx_refused drop
		ip6 daddr {REAL6} ip6 saddr != @mx_white6 counter name mx_refused drop
	}}
}}"""
XDP_MODES = {GENERIC: "xdpgeneric", NATIVE: "xdpdrv"}
# The same with each of its rejects gone: the fake server's RST is then the host's.
HOST_REJECTS = [("\t\treject with tcp reset\n\t}", "\t\taccept\n\t}")]


def servers(family: int) -> tuple[str, str]:
    """The fake and the real address."""
    return (FAKE4, REAL4) if family == 4 else (FAKE6, REAL6)


def first_source(family: int, which: int | str) -> str:
    """The first source of a share, or of contacts."""
    return f"{FIRST[which]}.0.0.0" if family == 4 else f"fd00:{FIRST[which]}::"


def known(family: int, entries: int) -> list[bytes]:
    """The hosts in the whitelist, as it has them: the sources of 99 % known with gaps, and those of 50 % known."""
    made = IPv4Address if family == 4 else IPv6Address
    found = []
    for share, number in ((99, entries - entries // 2), (50, entries // 2)):
        first, kept = int(made(first_source(family, share))), SHARES[share] - 1
        found += [packed(made(first + one + one // kept)) for one in range(number)]
    return found


class Kind(NamedTuple):
    """A flood at the real server: so many of a hundred of its sources are known."""

    family: int
    entries: int
    share: int


def to_real(kind: Kind, count: int, run: int) -> list[str]:
    """The words of such a flood."""
    family, entries, share = kind
    if share:
        hosts, kept = entries - entries // 2 if share == 99 else entries // 2, SHARES[share] - 1
        sources = Sources(first_source(family, share), hosts + hosts // kept)
    else:
        # Others in each run, up to a number: what a set holds where they would be is in no cache.
        first = ip_address(first_source(family, share)) + run * count % FLOODERS
        sources = Sources(str(first), FLOODERS)
    return flood(servers(family)[1], sources, count=count)


def start_daemon(pair: Pair, directory: str) -> None:
    """Let mxallowd run in a gateway, on another processor than the sender's."""
    stack = ExitStack()
    stack.enter_context(daemon(pair.gateway, [
        *beside_the_sender(), *DAEMON, "-F", "-s", "-c", "/dev/null", "-b", "-f", FAKE4, "-f", FAKE6, "-r", REAL4,
        "-r", REAL6, "-t", str(LIFETIME_S), "-p", "nflog:5", "--nft-table", TABLE, "--door", INTERFACE,
        *own_places(directory)]))
    pair.closing(stack.close)


def attach(pair: Pair, mode: str, directory: str, family: int, hosts: list[bytes]) -> None:
    """Drop by XDP. Raises NoXdpError."""
    sizes = (len(hosts), 1) if family == 4 else (1, len(hosts))
    xdp = Xdp(pair.gateway, mode, compiled(directory, *sizes))
    pair.closing(xdp.close)
    xdp.fill([host[12:] if family == 4 else host for host in hosts])
    pair.dropped = xdp.refused


class Doors:
    """The pairs of one measurement. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mxallowd-bench-"))
        self.pairs: dict[str, Pair] = {}
        self.skipped: dict[str, str] = {}  # why there is none

    def __enter__(self) -> "Doors":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str, prepare: Callable[[Pair], object] = lambda _: None) -> None:
        """A way to meet a flood; what it is to have is made by `prepare`."""
        pair = Pair(f"door{len(self.pairs)}")
        self._stack.callback(pair.close)
        try:
            prepare(pair)
        except NoXdpError as error:
            self.skipped[name] = str(error)
        else:
            self.pairs[name] = pair


@contextmanager
def at_real(family: int, entries: int) -> Iterator[Doors]:
    """All that meets a flood at the real server."""
    hosts = known(family, entries)

    def guarded(load: Callable[[Pair], object], *, runs: bool = False) -> Callable[[Pair], None]:
        def prepare(pair: Pair) -> None:
            load(pair)
            if runs:
                # Before the sets are full: what it found there it would take over, which is not what is measured.
                start_daemon(pair, doors.directory)
            fill(pair.gateway, hosts)
            pair.listen()
        return prepare

    def dropping(mode: str) -> Callable[[Pair], None]:
        def prepare(pair: Pair) -> None:
            attach(pair, mode, doors.directory, family, hosts)
            pair.listen()
        return prepare

    with Doors() as doors:
        doors.add(SENDER, lambda pair: pair.unplug())
        doors.add(AT_INGRESS, lambda pair: pair.rules(ALL_DROPPED))
        doors.add(CLOSED)
        doors.add(OPEN, lambda pair: pair.listen())
        doors.add(INPUT_CT, guarded(lambda pair: pair.rules(PLAIN.replace("TRACKED", "ct state new"))))
        doors.add(INPUT, guarded(lambda pair: pair.rules(PLAIN.replace("TRACKED ", ""))))
        doors.add(SET, guarded(lambda pair: pair.ruleset("set.nft")))
        doors.add(DOOR, guarded(lambda pair: pair.ruleset("door.nft")))
        doors.add(DOOR_RUNS, guarded(lambda pair: pair.ruleset("door.nft"), runs=True))
        doors.add(RAW, guarded(lambda pair: pair.ruleset("door-raw.nft")))
        for name, mode in XDP_MODES.items():
            doors.add(name, dropping(mode))
        yield doors


@contextmanager
def at_fake() -> Iterator[Doors]:
    """All that meets a flood of contacts."""
    with Doors() as doors:
        doors.add(SENDER, lambda pair: pair.unplug())
        doors.add(AT_INGRESS, lambda pair: pair.rules(ALL_DROPPED))
        doors.add(HOST_RST)
        doors.add(SET, lambda pair: pair.ruleset("set.nft"))
        doors.add(DOOR, lambda pair: pair.ruleset("door.nft"))
        doors.add(DOOR_HOST_RST, lambda pair: pair.ruleset("door.nft", HOST_REJECTS))
        yield doors


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Nanoseconds a SYN, of each run: by family and entries, way and share; and of contacts."""
    found: dict[str, Any] = {"door_ns": {}, "contact_ns": {}, "skipped": {}}
    for family in FAMILIES:
        for entries in options.entries:
            rows = found["door_ns"].setdefault(f"IPv{family}, {entries:,}", {})
            with at_real(family, entries) as doors:
                found["skipped"].update(doors.skipped)
                use_up_connections(doors, Kind(family, entries, 99), options.flood)
                for run in range(options.repeat):
                    for share in options.known:
                        flood_all(doors, rows, Kind(family, entries, share), run, options)
    with at_fake() as doors:
        for _ in range(options.repeat):
            for family in FAMILIES:
                count = options.flood // 2
                words = flood(servers(family)[0], Sources(first_source(family, "contacts"), FLOODERS), count=count)
                for name, pair in doors.pairs.items():
                    found["contact_ns"].setdefault(f"IPv{family}", {}).setdefault(name, []).append(
                        pair.flood(words, count))
    return found


def use_up_connections(doors: Doors, kind: Kind, count: int) -> None:
    """Let the kernel make connections and forget them, some times.

    The memory of its first ones lies in order, as it never does later: they cost a quarter less.
    """
    for _ in range(2):
        for name in (SET, DOOR):
            doors.pairs[name].flood(to_real(kind, count, 0), count)


def flood_all(
    doors: Doors, rows: dict[str, dict[int, list[float]]], kind: Kind, run: int, options: argparse.Namespace,
) -> None:
    """Flood all in turn, and note what a SYN cost."""
    share = kind.share
    # Known senders are connections, which take several times as long.
    count = options.flood // 2 if share else options.flood
    refused = 1 - share / 100
    words = to_real(kind, count, 2 * run + 1)
    for name, pair in doors.pairs.items():
        if not share:
            # A flood lasts: what is read for each SYN is in the caches before it is measured.
            pair.flood(to_real(kind, count // 2, 4 * run), count // 2, refused)
        # Whom nothing distinguishes costs the same.
        if share == options.known[0] or pair.dropped:
            rows.setdefault(name, {}).setdefault(share, []).append(pair.flood(words, count, refused))
