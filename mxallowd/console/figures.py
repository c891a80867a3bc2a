"""The numbers of now and the state of the daemon, as text for the overview: the page and the stream say the same.

No input or output. What is unknown is a dash.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from markupsafe import Markup

from mxallowd.console.plots import Measured
from mxallowd.console.render import NOTHING, duration, number

MOST_REASONS, LONGEST_REASON = 3, 160  # of each kind, so that an event stays below 1 KiB


class Figure(NamedTuple):
    """A number of the overview."""

    key: str
    title: str
    text: str
    beneath: str = ""


@dataclass(frozen=True)
class State:
    """What the daemon says of itself, or that it says nothing."""

    fault: str = "it was not asked yet"  # why there is no answer; empty: there is one
    answered: str = ""  # when the last answer came; empty: never
    since: str = ""  # its start
    version: str = ""
    dry_run: bool = False
    stress: bool = False
    healthy: bool = False
    ready: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    broken: int = 0  # things, as the page of the doctor finds them by the daemon's own word

    @property
    def kind(self) -> str:
        """The class of the style sheet."""
        if self.fault or not self.healthy or not self.ready:
            return "broken"
        return "warning" if self.warnings or self.stress or self.broken else "ok"

    @property
    def word(self) -> str:
        """In a few words."""
        if self.fault:
            return "no answer"
        if not self.healthy:
            return "not healthy"
        if not self.ready:
            return "not ready"
        if self.stress:
            return "stress mode"
        if self.broken:
            return "healthy and ready, but something is broken"
        return "healthy and ready, with warnings" if self.warnings else "healthy and ready"

    @property
    def doctor(self) -> str:
        """What leads to the doctor; empty: nothing is broken."""
        if self.fault or not self.broken:
            return ""
        return f"Doctor: {self.broken} {'thing is' if self.broken == 1 else 'things are'} broken"

    def document(self) -> dict[str, object]:
        """For the script."""
        return {"kind": self.kind, "word": self.word, "fault": self.fault[:LONGEST_REASON], "answered": self.answered,
                "since": self.since, "version": self.version[:40], "dry_run": self.dry_run, "doctor": self.doctor,
                "reasons": shortened(self.reasons), "warnings": shortened(self.warnings)}


def shortened(texts: Sequence[str]) -> list[str]:
    """The first of these, and how many more there are."""
    found = [text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "\N{HORIZONTAL ELLIPSIS}"
             for text in texts[:MOST_REASONS]]
    more = len(texts) - MOST_REASONS
    return found if more <= 0 else [*found, f"and {more} more"]


def figures(numbers: Mapping[str, float], values: Measured, *, dry_run: bool) -> list[Figure]:
    """The numbers of now. Those of parts that do not run are left out."""
    decisions = _sum(values, "decisions.")
    let_in = _sum(values, "decisions.passed", "decisions.allowed", "decisions.otherwise")
    refused = _sum(values, "decisions.refused", "decisions.denied")
    found = [
        Figure("decisions", "Decisions", rate(decisions), "packets that were judged"),
        Figure("let-in", "Let in", rate(let_in), "at the real server"),
        Figure("refused", "Would be refused" if dry_run else "Refused", rate(refused),
               "dry run: let in all the same" if dry_run else "at the real server"),
        Figure("later", "Refused, later passed", _whole(numbers.get("refused_later_passed")), "hosts since the start"),
        Figure("whitelist", "Whitelist", _whole(numbers.get("entries")),
               _share(values.get("fills.whitelist"), numbers.get("entries_room")))]
    waiting = [value for name, value in values.items() if name.startswith("queue.") and value is not None]
    if "queue_room" in numbers:
        found.append(Figure("queue", "Waiting packets", _whole(sum(waiting)) if waiting else NOTHING,
                            Markup("room for {} a queue").format(_whole(numbers["queue_room"]))))
    if "looked_up" in numbers:
        found.append(Figure("lookups", "Names looked up", rate(values.get("lookups.hosts")),
                            f"{_percent(values.get('fills.lookups'))} of the room waits"))
    tables = {name.partition(".")[2]: value for name, value in numbers.items()
              if name.startswith("kernel_table_in_step.")}
    if tables:
        behind = sorted(name for name, value in tables.items() if not value)
        found.append(Figure("tables", "Kernel tables", f"{len(tables) - len(behind)} of {len(tables)}",
                            "in step" if not behind else f"not in step: {', '.join(behind)}"[:LONGEST_REASON]))
    if "state_age_seconds" in numbers:
        found.append(Figure("state", "State on disk", duration(numbers["state_age_seconds"]), "since it was written"))
    if "fleet_connected" in numbers:
        found.append(Figure("fleet", "Other gateways", _whole(numbers.get("fleet_peers")),
                            "fleet connected" if numbers["fleet_connected"] else "the engine cannot be used"))
    return found


def unknown(told: Sequence[Figure]) -> list[Figure]:
    """The same figures while there is no answer."""
    return [one._replace(text=NOTHING, beneath="") for one in told]


def rate(value: float | None) -> str:
    """A rate with as many digits as one can read while it changes."""
    if value is None:
        return NOTHING
    return _whole(round(value)) if value >= 100 else f"{value:.1f}"


def _sum(values: Measured, *names: str) -> float | None:
    known = [value for name, value in values.items() if name.startswith(names) and value is not None]
    return sum(known) if known else None


def _whole(value: float | None) -> str:
    return number(None if value is None else int(value))


def _percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def _share(percent: float | None, room: float | None) -> str:
    return Markup("{} of room for {}").format(_percent(percent), _whole(room))
