"""The series of the metrics: one table with name, kind, label and meaning of each.

Every counter of counters.py is a series, or a part of one: those of a family are one series with a label. This module
adds what is no counter of the daemon's log: how full queues are, how old the state is, and histograms. Their number is
bounded: the values of a label are words of a table, numbers of configured queues, or names of configured kernel tables.

All names begin with `mxallowd_`; those of counters end in `_total`. A series whose part does not run is absent.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mxallowd.metrics.counters import COUNTERS, Kind

PREFIX = "mxallowd_"
COUNTER, GAUGE, HISTOGRAM, UNKNOWN = "counter", "gauge", "histogram", "unknown"


class Histogram(NamedTuple):
    """How many values lay in each range."""

    bounds: tuple[float, ...]  # upper bounds, each included, in their order; what is above all has no bound
    counts: tuple[int, ...]  # one for each bound and one more, each of its own range
    total: float  # sum of the values


Value = int | float | Histogram | Mapping[str, int | float]
"""Of a series; by the value of its label, where it has one."""


@dataclass(frozen=True)
class Series:
    """One series, or one for each value of its label."""

    name: str  # without prefix and suffix
    kind: str
    help: str
    label: str = ""

    @property
    def full_name(self) -> str:
        """Its name as a query has it; of a histogram the common part of its three names."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == COUNTER else ''}"


_FAMILIES = {
    "packets": "packets by the decision about them",
    "verdicts": "packets by the verdict that the kernel was given",
    "kernel-packets": "packets that the counters of the ruleset have counted, by their verdict",
}
_FURTHER = (
    Series("build_info", GAUGE, "always 1; the label is the version", "version"),
    Series("start_time_seconds", GAUGE, "when the daemon started, in seconds since 1970"),
    Series("cpu_seconds", COUNTER, "processor time that the daemon has used, all threads"),
    Series("resident_memory_bytes", GAUGE, "memory of the daemon"),
    Series("healthy", GAUGE, "1 where /healthz answers 200, else 0"),
    Series("ready", GAUGE, "1 where /readyz answers 200, else 0"),
    Series("dry_run", GAUGE, "1 with --dry-run, where nothing is refused, else 0"),
    Series("stress_active", GAUGE, "1 in stress mode, else 0"),
    Series("broker_runs", GAUGE, "1 where the process that opens files for the sandbox runs, 0 where it has ended"),
    Series("entries_room", GAUGE,
           "hosts for which the whitelist has room; with --fleet, of the places for what others tell those taken"),
    Series("refused_hosts_room", GAUGE, "hosts for which the memory of refused hosts has room"),
    Series("queue_waiting", GAUGE,
           "packets in a queue of the kernel now, by its number; only a daemon that was started as root can read it",
           "queue"),
    Series("queue_room", GAUGE, "packets for which each queue of the kernel has room (--queue-length)"),
    Series("event_ring_ratio", GAUGE, "how full the fullest ring of events is; 1 is full"),
    Series("log_queue_ratio", GAUGE, "how full the queue of lines of the log is; 1 is full"),
    Series("log_lines_lost", COUNTER, "lines of the log that were left out or could not be written"),
    Series("lookups_waiting_ratio", GAUGE, "how full the longest queue of hosts to be looked up is; 1 is full"),
    Series("kernel_table_in_step", GAUGE,
           "1 where a table of the kernel takes changes and no refilling is due, else 0; by its name", "table"),
    Series("kernel_table_waiting_ratio", GAUGE,
           "how full the queue of changes for a table of the kernel is; 1 is full", "table"),
    Series("trust_line_networks", GAUGE,
           "networks that an spf line of the file of trusted senders has come to, by the number of the line", "line"),
    Series("trust_answer_age_seconds", GAUGE,
           "time since the last good answer about such a line; absent where there was none", "line"),
    Series("fleet_connected", GAUGE, "with --fleet: 1 where the engine can be used, else 0"),
    Series("fleet_peers", GAUGE, "with --fleet: other gateways that were heard"),
    Series("fleet_told_entries", GAUGE, "with --fleet: entries that other gateways told, in the whitelist now"),
    Series("fleet_told_room", GAUGE, "with --fleet: entries of other gateways for which there is room"),
    Series("fleet_hosts_waiting", GAUGE, "with --fleet: hosts that are to be said"),
    Series("fleet_read_age_seconds", GAUGE, "time since the last answer of the engine; absent before the first"),
    Series("fleet_heard_age_seconds", GAUGE, "time since the last batch of another gateway; absent before the first"),
    Series("fleet_said_age_seconds", GAUGE, "time since the last batch of this gateway; absent before the first"),
    Series("fleet_peer_heard_age_seconds", GAUGE,
           "time since the last batch of a gateway, by its name; of all series by this label the first 100", "peer"),
    Series("fleet_peer_lag_seconds", GAUGE,
           "how long the last batch of a gateway took from the engine to here", "peer"),
    Series("fleet_peer_entries", GAUGE, "entries that a gateway told, in the whitelist now", "peer"),
    Series("fleet_peer_refused", COUNTER, "batches and records of a gateway that were not taken, or made room", "peer"),
    Series("state_age_seconds", GAUGE, "time since the whitelist was last written to the state directory"),
    Series("refused_later_passed", COUNTER,
           "hosts that were refused first and met the fake server later, so that they may pass: false positives"),
    Series("fake_to_real_seconds", HISTOGRAM,
           "time from a host's contact with the fake server to its first contact with the real one"),
)


def _all() -> tuple[Series, ...]:
    found: dict[str, Series] = {}
    for counter in COUNTERS:
        name = (counter.family or counter.name).replace("-", "_")
        text = _FAMILIES.get(counter.family, counter.help) if counter.family else counter.help
        kind = COUNTER if counter.kind is Kind.COUNTER else GAUGE
        found.setdefault(name, Series(name, kind, text.replace("`", ""), counter.label[0]))
    # A counter with the name of one of these is the same number.
    return tuple(found.values()) + tuple(one for one in _FURTHER if one.name not in found)


SERIES = _all()
BY_NAME = {one.name: one for one in SERIES}
_PLACES = {counter.name: ((counter.family or counter.name).replace("-", "_"), counter.label[1])
           for counter in COUNTERS}


def of_counters(counted: Mapping[str, int]) -> dict[str, Value]:
    """The values of series that these counters, by name, are."""
    found: dict[str, Value] = {}
    families: dict[str, dict[str, int | float]] = {}
    for name, number in counted.items():
        series, label = _PLACES.get(name, (name.replace("-", "_"), ""))
        if label:
            if series not in families:
                found[series] = families[series] = {}
            families[series][label] = number
        else:
            found[series] = number
    return found


def in_order(values: Iterable[str]) -> list[Series]:
    """The series with these names, in the order of the table; those that it lacks at the end, without a kind."""
    names = set(values)
    known = [one for one in SERIES if one.name in names]
    return known + [Series(name, UNKNOWN, "not in the table of series") for name in sorted(names - BY_NAME.keys())]


def markdown() -> str:
    """The table as docs/metrics.md has it."""
    rows = [f"| `{one.full_name}` | {one.kind} | {one.label} | {one.help} |\n" for one in SERIES]
    return "| series | kind | label | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)
