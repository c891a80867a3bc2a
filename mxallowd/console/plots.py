"""Which series make which plot: from two readings of the daemon's numbers to what is drawn. No input or output.

A rate is the difference of counters through the time between two readings. Its one rule: what cannot be known is None,
and is shown as a gap. So there is no rate behind a start of the daemon (its `since` is another, or a counter went
back), and none for what this daemon does not count.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

MOST_NUMBERS = 2000  # of one reading
LARGEST = 1e30  # what a 32-bit float has, too
LEAST_SLOW_S = 30
MOST_PARTS = 16  # lines of a plot that come from the values of a label
Measured = dict[str, float | None]
"""By `plot.line`; what is drawn at one moment."""

_OTHER = ("other", "no-syn", "malformed", "fake-no-host", "fake-denied")


class Reading(NamedTuple):
    """What the daemon said once."""

    at: float  # monotonic seconds
    since: str  # the daemon's start
    numbers: Mapping[str, float]  # by `series` or `series.label`


def flat(values: Mapping[str, object]) -> dict[str, float]:
    """The numbers of an answer to GET /v1/series; what is no number is left out."""
    found: dict[str, float] = {}
    for name, value in values.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for label, number in parts:
            if isinstance(number, int | float) and abs(number) < LARGEST and len(found) < MOST_NUMBERS:
                found[f"{name}.{label}" if label else name] = float(number)
    return found


class Look:
    """Two readings, of which the first may lack, and one of some time ago."""

    def __init__(self, before: Reading | None, after: Reading, earlier: Reading | None = None) -> None:
        """`earlier` is for what happens too seldom for a rate between two readings."""
        self.numbers = after.numbers
        self.restarted = before is not None and before.since != after.since  # or a counter went back
        self._before = before
        self._earlier = earlier
        self._after = after

    def rate(self, *names: str) -> float | None:
        """How much these counters together have grown in a second; None: unknown."""
        return self._between(self._before, names)

    def slow_rate(self, *names: str) -> float | None:
        """The same since some time ago; unknown until that is half a minute."""
        earlier = self._earlier
        if earlier is None or self._after.at - earlier.at < LEAST_SLOW_S:
            return None
        return self._between(earlier, names)

    def _between(self, before: Reading | None, names: tuple[str, ...]) -> float | None:
        if before is None or self._after.at <= before.at:
            return None
        grown = None
        for name in names:
            if name in self.numbers and name in before.numbers:
                more = self.numbers[name] - before.numbers[name]
                if more < 0:
                    self.restarted = True
                grown = (grown or 0.0) + more
        return None if grown is None else grown / (self._after.at - before.at)

    def ratio(self, name: str, room: str = "") -> float | None:
        """How full something is, in percent."""
        if name not in self.numbers:
            return None
        of = self.numbers.get(room) if room else 1.0
        return 100 * self.numbers[name] / of if of else None

    def parts(self, name: str) -> dict[str, float]:
        """The values of a series by its label."""
        found = [(key.removeprefix(name + "."), value) for key, value in self.numbers.items()
                 if key.startswith(name + ".")]
        return dict(sorted(found, key=_numbers_first)[:MOST_PARTS])


def _numbers_first(one: tuple[str, float]) -> tuple[int, str]:
    return (int(one[0]) if one[0].isdecimal() else 1 << 31, one[0])


def _packets(*outcomes: str) -> tuple[str, ...]:
    return tuple(f"packets.{one}" for one in outcomes)


def _most(*rates: float | None) -> float | None:
    known = [one for one in rates if one is not None]
    return max(known) if known else None


def _passed(look: Look) -> float | None:
    """Whitelisted hosts at the real server, also those that the kernel lets in by itself."""
    seen, alone = look.rate(*_packets("real-first", "real-again")), look.rate("kernel_packets.accept")
    if seen is None or alone is None:
        return seen
    if "queue_room" in look.numbers:  # a queue: the kernel counts what the daemon does not see
        return seen + alone
    others = look.rate(*_packets("real-allowed", "real-network")) or 0.0
    return max(seen, alone - others)


def _refused(look: Look) -> float | None:
    # Where the kernel refuses by itself, it shows the daemon a part of it; its counter has those that are denied, too.
    alone, denied = look.rate("kernel_packets.drop"), look.rate("kernel_packets.deny") or 0.0
    return _most(look.rate(*_packets("real-refused")), None if alone is None else max(0.0, alone - denied))


def _denied(look: Look) -> float | None:
    return _most(look.rate(*_packets("real-denied")), look.rate("kernel_packets.deny"))


def _later(look: Look) -> float | None:
    rate = look.slow_rate("refused_later_passed")
    return None if rate is None else rate * 60


def _tables(look: Look) -> float | None:
    fills = look.parts("kernel_table_waiting_ratio")
    return 100 * max(fills.values()) if fills else None


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    key: str
    label: str
    value: Callable[[Look], float | None]


@dataclass(frozen=True)
class Plot:
    """One plot; its lines are those of the table, and one for each value of the label of `parts`."""

    key: str
    title: str
    unit: str
    lines: tuple[Line, ...] = ()
    parts: str = ""
    part: str = ""  # what such a line is called; the label follows


def _rate(*names: str) -> Callable[[Look], float | None]:
    return lambda look: look.rate(*names)


def _full(name: str, room: str = "") -> Callable[[Look], float | None]:
    return lambda look: look.ratio(name, room)


PLOTS: tuple[Plot, ...] = (
    Plot("decisions", "Decisions", "packets a second", (
        Line("passed", "let in: whitelisted", _passed),
        Line("new", "fake server: new, whitelisted", _rate(*_packets("fake-new"))),
        Line("refused", "refused", _refused),
        Line("denied", "refused by a list", _denied),
        Line("again", "fake server: known already", _rate(*_packets("fake-known"))),
        Line("allowed", "let in by a list", _rate(*_packets("real-allowed"))),
        Line("otherwise", "let in: patience, network, overload",
             _rate(*_packets("real-patient", "real-network", "real-untold"))),
        Line("other", "not for these servers, or no host", _rate(*_packets(*_OTHER))))),
    Plot("later", "Refused hosts that later passed", "hosts in a minute", (
        Line("passed", "refused first, let in within a day", _later),)),
    Plot("fills", "How full", "%", (
        Line("whitelist", "whitelist", _full("entries", "entries_room")),
        Line("lookups", "hosts to be looked up", _full("lookups_waiting_ratio")),
        Line("refused", "memory of refused hosts", _full("refused_hosts", "refused_hosts_room")),
        Line("ring", "events", _full("event_ring_ratio")),
        Line("log", "lines of the log", _full("log_queue_ratio")),
        Line("told", "entries of other gateways", _full("fleet_told_entries", "fleet_told_room")),
        Line("tables", "changes for kernel tables", _tables))),
    Plot("queue", "Packets that wait in the kernel's queues", "packets", parts="queue_waiting", part="queue"),
    Plot("lookups", "Reverse DNS", "a second", (
        Line("hosts", "hosts looked up", _rate("looked_up")),
        Line("queries", "DNS queries", _rate("dns_queries")),
        Line("failed", "lookups without an answer", _rate("lookup_failed", "timed_out")),
        Line("children", "hosts let in by their name", _rate("children")))),
)
BY_KEY = {plot.key: plot for plot in PLOTS}


def measured(look: Look) -> Measured:
    """What is drawn of these readings; all rates are None where the daemon has started between them."""
    found: Measured = {}
    for plot in PLOTS:
        for line in plot.lines:
            found[f"{plot.key}.{line.key}"] = line.value(look)
        if plot.parts:
            found |= {f"{plot.key}.{label}": value for label, value in look.parts(plot.parts).items()}
    if not look.restarted:
        return found
    return measured(Look(None, Reading(0, "", look.numbers)))


def label(plot: Plot, key: str) -> str:
    """What a line is called; also one that no reading has now."""
    for line in plot.lines:
        if line.key == key:
            return line.label
    return f"{plot.part} {key}" if plot.part else key


def lines_of(plot: Plot, names: set[str]) -> list[str]:
    """The keys of its lines for which there are values, in their order: those of the table first.

    `names` may be those of another release: what this table does not know is left out.
    """
    known = [line.key for line in plot.lines if f"{plot.key}.{line.key}" in names]
    if not plot.parts:
        return known
    own = {line.key for line in plot.lines}
    parts = [(key, 0.0) for prefix, _, key in (name.partition(".") for name in names)
             if prefix == plot.key and key and key not in own]
    return known + [key for key, _ in sorted(parts, key=_numbers_first)[:MOST_PARTS]]
