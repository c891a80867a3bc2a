"""The counters: one table with name, part and meaning of each, and the picture that is made from it.

README's table is made from it, and parts that count in Python take their names from here. Nothing else of the package
is imported, so everybody may.

Which way it fails: a part that counts under a name that the table lacks is shown all the same, behind all others; a
counter that no part gives is not shown, as those of a part that does not run. Neither stops the daemon; both fail the
tests.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """Who counts."""

    DAEMON = "daemon"
    WHITELIST = "whitelist"
    DECISION = "decision"
    REFUSED = "refused hosts"
    INPUT = "queue, capture"
    RDNS = "reverse DNS"
    KERNEL_TABLE = "kernel table"


class Kind(Enum):
    """How a number moves."""

    COUNTER = "counter"  # up, from 0 at the start of the daemon
    GAUGE = "gauge"  # up and down


@dataclass(frozen=True)
class Counter:
    """One number.

    Counters of a `family` are one number taken apart: `label` says by what, and which part this is.
    """

    name: str
    part: Part
    help: str
    kind: Kind = Kind.COUNTER
    family: str = ""
    label: tuple[str, str] = ("", "")


def _outcome(name: str, text: str) -> Counter:
    return Counter(name, Part.DECISION, f"packets: {text}", family="packets", label=("outcome", name))


COUNTERS: tuple[Counter, ...] = (
    Counter("blocked", Part.DAEMON,
            "connection attempts that were refused: `real-refused`, or `kernel-refused` where that is more"),
    Counter("successful", Part.WHITELIST, "expired entries of hosts that had reached the real server"),
    Counter("direct-to-fake", Part.WHITELIST, "expired entries of hosts that never had"),
    Counter("entries", Part.WHITELIST, "hosts in the whitelist now", Kind.GAUGE),
    Counter("added", Part.WHITELIST, "entries made"),
    Counter("evicted", Part.WHITELIST, "entries given up before their time, to make room"),
    Counter("full", Part.WHITELIST, "hosts for which there was no room"),
    Counter("ended", Part.WHITELIST, "entries that were ended before their time, by hand or by a list"),
    _outcome("fake-new", "a host met the fake server and was whitelisted"),
    _outcome("fake-known", "a whitelisted host met it again"),
    _outcome("fake-full", "a host met it, and there was no room"),
    _outcome("real-first", "a whitelisted host reached the real server for the first time"),
    _outcome("real-again", "it reached it again"),
    _outcome("real-refused", "a host that is not whitelisted tried the real server, and was refused"),
    _outcome("other", "to no server of the configuration"),
    _outcome("malformed", "a header that cannot be parsed"),
    Counter("refused-hosts", Part.REFUSED, "hosts in the memory of refused hosts now", Kind.GAUGE),
    Counter("refused-pushed-out", Part.REFUSED, "hosts that went from it to make room for others"),
    Counter("refused-untold", Part.REFUSED, "refusals that no line tells of, since too many came at a time"),
    Counter("received", Part.INPUT, "packets that came from the kernel"),
    Counter("verdict-accept", Part.INPUT, "packets let through", family="verdicts", label=("verdict", "accept")),
    Counter("verdict-drop", Part.INPUT, "packets dropped", family="verdicts", label=("verdict", "drop")),
    Counter("overruns", Part.INPUT, "times that the kernel had no room for a message to us (ENOBUFS)"),
    Counter("interrupted", Part.INPUT, "calls that a signal cut short (EINTR); they are made again"),
    Counter("unknown", Part.INPUT, "verdicts for packets that were gone (ENOENT)"),
    Counter("errors", Part.INPUT, "other errors that the kernel answered"),
    Counter("broken", Part.INPUT, "messages and captured packets that were too short or inconsistent to read"),
    Counter("unsent", Part.INPUT, "verdicts that could not be sent"),
    Counter("queue-full", Part.INPUT, "packets that found no room in the queue, and were decided by the kernel"),
    Counter("lost-by-kernel", Part.INPUT,
            "packets that the kernel dropped because it could not hand them over; of a queue this is known only to a "
            "daemon that was started as root"),
    Counter("lost-events", Part.DAEMON, "events that did not fit into a ring: no line tells of them"),
    Counter("looked-up", Part.RDNS, "hosts that were looked up"),
    Counter("confirmed", Part.RDNS, "names that lead back to their host"),
    Counter("unconfirmed", Part.RDNS, "names that do not"),
    Counter("children", Part.RDNS, "hosts admitted by their name"),
    Counter("limited", Part.RDNS, "hosts that were not looked up, for a bound"),
    Counter("lookup-failed", Part.RDNS, "lookups that failed"),
    Counter("timed-out", Part.RDNS, "lookups that nobody answered in time"),
    Counter("kernel-table-changed", Part.KERNEL_TABLE, "hosts entered, corrected or taken out"),
    Counter("kernel-table-filled", Part.KERNEL_TABLE, "times that it was filled anew"),
    Counter("kernel-table-failed", Part.KERNEL_TABLE, "changes that the kernel did not take"),
    Counter("kernel-table-limited", Part.KERNEL_TABLE, "changes that came too fast; a filling made up for them"),
    Counter("kernel-accepted", Part.KERNEL_TABLE, "packets that a rule let through and counted (`docs/firewall.md`)",
            family="kernel-packets", label=("verdict", "accept")),
    Counter("kernel-refused", Part.KERNEL_TABLE, "packets that a rule dropped and counted",
            family="kernel-packets", label=("verdict", "drop")),
    Counter("stress", Part.DAEMON, "times that stress mode was entered"),
)


def names(part: Part) -> tuple[str, ...]:
    """The counters of a part, in the order of the table."""
    return tuple(counter.name for counter in COUNTERS if counter.part is part)


def collect(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The picture of what these parts have counted, in the order of the table; equal names are added up."""
    sums: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    # Where the kernel refuses by itself, it tells us of a part of them and counts all.
    sums["blocked"] = max(sums.get("real-refused", 0), sums.get("kernel-refused", 0))
    picture = {counter.name: sums.pop(counter.name) for counter in COUNTERS if counter.name in sums}
    return picture | sums


def markdown() -> str:
    """The table as README has it."""
    rows = [f"| `{counter.name}` | {counter.part.value} | {counter.help} |\n" for counter in COUNTERS]
    return "| counter | counted by | meaning |\n| --- | --- | --- |\n" + "".join(rows)
