"""The tables of floods at the door (door.py), and whether the goals are reached."""
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.door import (
    AT_INGRESS,
    CLOSED,
    DOOR,
    DOOR_HOST_RST,
    DOOR_RUNS,
    GENERIC,
    HOST_RST,
    NATIVE,
    OPEN,
    RAW,
    SENDER,
    SET,
)
from benchmarks.report import median, say, show

Runs = Mapping[str, Mapping[int, list[float]]]
TIMES_XDP, PART_OF_C = 1.6, 0.3


class Goal(NamedTuple):
    """What was to be reached: a figure, and the most that it may be."""

    where: str
    what: str
    found: float
    most: float


def beyond(rows: Runs, name: str, base: str, share: int = 0) -> float:
    """Nanoseconds a SYN more than the base, of the medians; 50 and 99 of 100 known are rows of ways that look at it."""
    ours = rows[name]
    return median(ours[share] if share in ours else next(iter(ours.values()))) - median(next(iter(rows[base].values())))


def goals(found: Mapping[str, Any]) -> list[Goal]:
    """Of every family and number of entries."""
    made = []
    for where, rows in found["door_ns"].items():
        for name in (DOOR, DOOR_RUNS, RAW):
            if 0 in rows[name]:
                ours = beyond(rows, name, AT_INGRESS)
                if GENERIC in rows:
                    made.append(Goal(where, f"{name}: a refused SYN, times XDP's",
                                     ours / beyond(rows, GENERIC, AT_INGRESS), TIMES_XDP))
                made.append(Goal(where, f"{name}: a refused SYN, part of c)'s",
                                 ours / beyond(rows, SET, AT_INGRESS), PART_OF_C))
            made.append(Goal(where, f"{name}: 99 % known, ns beyond no filter", beyond(rows, name, OPEN, 99),
                             beyond(rows, SET, OPEN, 99)))
    return made


def print_tables(found: Mapping[str, Any], command: str) -> None:
    """All of them; `command` is what repeats them."""
    for where, rows in found["door_ns"].items():
        if any(0 in shares for shares in rows.values()):
            show(f"A SYN of an unknown host to the real server, {where} known hosts: ns of one processor ({command})",
                 ["", "with the sender", "beyond the sender", "beyond a drop at ingress", "x XDP, generic",
                  "x XDP, native", "part of c)"], [_refused(rows, name) for name in rows])
        shares = [share for share in rows[SET] if share]
        show(f"The same with known hosts, {where}: ns beyond a drop at ingress ({command})",
             ["", *(f"{share} % known" for share in shares), "99 % known, beyond no filter"],
             [[name, *(f"{beyond(rows, name, AT_INGRESS, share):,.0f}" for share in shares),
               f"{beyond(rows, name, OPEN, 99):,.0f}"] for name in rows if name not in (SENDER, AT_INGRESS, CLOSED)])
    for family, contacts in found["contact_ns"].items():
        rows = {name: {0: values} for name, values in contacts.items()}
        show(f"A contact with the fake server, {family}: ns of one processor, the RST included ({command})",
             ["", "with the sender", "beyond the sender", "beyond a drop at ingress", "part of the host's own"],
             [[name, f"{median(values):,.0f}", f"{beyond(rows, name, SENDER):,.0f}",
               f"{beyond(rows, name, AT_INGRESS):,.0f}",
               f"{beyond(rows, name, AT_INGRESS) / beyond(rows, HOST_RST, AT_INGRESS):.2f}"
               if name in (SET, DOOR, DOOR_HOST_RST) else ""] for name, values in contacts.items()])
    show(f"Goals at the door, of medians ({command})", ["", "", "found", "at most", ""],
         [[goal.where, goal.what, f"{goal.found:,.2f}", f"{goal.most:,.2f}",
           "reached" if goal.found <= goal.most else "MISSED"] for goal in goals(found)])
    for name, reason in found["skipped"].items():
        say(f"\nskipped: {name}: {reason}")


def _refused(rows: Runs, name: str) -> list[str]:
    ours = beyond(rows, name, AT_INGRESS)
    whole = median(next(iter(rows[name].values())))
    cells = [name, f"{whole:,.0f}", f"{beyond(rows, name, SENDER):,.0f}", f"{ours:,.0f}"]
    if name in (SENDER, AT_INGRESS):
        return [*cells, "", "", ""]
    return [*cells, *(f"{ours / beyond(rows, other, AT_INGRESS):.2f}" if other in rows else "" for other in
                      (GENERIC, NATIVE, SET))]
