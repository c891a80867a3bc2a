"""What a soak came to: the figures, and what of them must not be."""
import json
from collections import Counter
from typing import Any

from benchmarks.course import Course
from benchmarks.faults import TABLE
from benchmarks.report import say, show
from lab.hosts import Lab

# Two looks at an idle daemon differ by less. A leak of 100 bytes a refusal would be more after a minute.
DRIFT_PERCENT = 2.0


def syns(lab: Lab, name: str, table: str) -> int:
    """A counter of the kernel's."""
    done = lab.gateway.run(["nft", "-j", "list", "counter", *table.split(), name], capture_output=True, text=True,
                           check=True)
    return sum(int(entry["counter"]["packets"]) for entry in json.loads(done.stdout)["nftables"] if "counter" in entry)


def judged(course: Course) -> dict[str, Any]:
    """The figures; `failures` are what of them must not be."""
    keeper, done = course.scene.keeper, course.senders.done
    outcomes = Counter((one.kind, one.outcome) for one in done)
    lost = [one for one in done if one.outcome == "lost"]
    let_in = [one for one in done if one.outcome == "let-in"]
    reached = [one for one in done if one.kind != "spammer" and one.outcome != "lost"]
    longest = max(reached, key=lambda one: one.stall_s, default=None)
    during = [window.name for window in course.windows if longest and window.begun < longest.begun + longest.stall_s
              and longest.begun < window.over]
    packets = syns(course.scene.lab, "syns", "inet soak")
    by_kernel = syns(course.scene.lab, "mx_accepted", TABLE) if course.way == "b" else 0
    verdicts = keeper.total("verdict-accept", "verdict-drop")
    memory = descriptors = percent = None
    if course.before and course.after:
        memory = course.after.memory_kib - course.before.memory_kib
        descriptors = course.after.descriptors - course.before.descriptors
        percent = 100 * memory / course.before.memory_kib
    failures = [*course.failures, *keeper.surprises, *(line for life in keeper.lives for line in life.defects)]
    failures += [f"lost: {one.kind} [{one.source}] at {one.begun - course.begun:.1f} s" for one in lost]
    failures += [f"let in: [{one.source}] at {one.begun - course.begun:.1f} s" for one in let_in]
    if course.unanswered:
        failures.append(f"{course.unanswered} packets without a verdict")
    if descriptors:
        failures.append(f"descriptors drift by {descriptors}")
    if percent is not None and percent > DRIFT_PERCENT:
        failures.append(f"memory drifts by {percent:.1f} %")
    if keeper.said():
        failures.append(f"standard error: {keeper.said()[-1000:]}")
    return {
        "way": course.way, "packets": packets,
        "by_kernel": by_kernel, "verdicts": verdicts, "by_neither": packets - by_kernel - verdicts,
        "queue_full": keeper.total("queue-full"),
        "connections": len(reached) + len(lost), "lost": len(lost),
        "came_again": outcomes["newcomer", "came-again"], "spammers_dropped": outcomes["spammer", "dropped"],
        "spammers_unfiltered": outcomes["spammer", "unfiltered"], "spammers_let_in": len(let_in),
        "longest_stall_s": longest.stall_s if longest else 0.0, "longest_stall_during": during,
        "memory_kib": course.after.memory_kib if course.after else 0, "memory_drift_kib": memory,
        "memory_drift_percent": percent, "descriptors": course.after.descriptors if course.after else 0,
        "descriptors_drift": descriptors, "compared_over_s": course.compared_over_s, "lives": len(keeper.lives),
        "faults": [{"name": window.name, "at_s": window.begun - course.begun, "stall_s": window.stall_s(done)}
                   for window in course.windows],
        "failures": failures,
    }


def print_figures(found: dict[str, Any]) -> None:
    """The tables, and what must not be."""
    stalls: dict[str, list[float]] = {}
    for one in found["faults"]:
        stalls.setdefault(one["name"], []).append(one["stall_s"])
    show("The longest that a connection of a sender took", ["", "times", "s"],
         [[name, len(values), f"{max(values):.2f}"] for name, values in stalls.items()])
    if found["memory_drift_kib"] is None:
        memory = descriptors = "not measured"
    else:
        memory = (f"{found['memory_drift_kib']:+,} KiB of {found['memory_kib']:,} "
                  f"({found['memory_drift_percent']:+.2f} %) in {found['compared_over_s']:.0f} s")
        descriptors = f"{found['descriptors_drift']:+} of {found['descriptors']}"
    during = f", {' and '.join(found['longest_stall_during'])}" if found["longest_stall_during"] else ""
    show(f"A soak of {found['minutes']:g} minutes, seed {found['seed']}, way {found['way']}", ["", "seen"], [
        ["packets: SYNs to port 25", found["packets"]],
        ["of these, let pass by the kernel's set", found["by_kernel"]],
        ["verdicts of the daemon", found["verdicts"]],
        ["seen by neither: bypass, a full queue, a life's last moment", found["by_neither"]],
        ["of these, a full queue", found["queue_full"]],
        ["connections of senders", found["connections"]],
        ["lost", found["lost"]],
        ["met the fake server a second time, since nobody had looked", found["came_again"]],
        ["spammers: dropped", found["spammers_dropped"]],
        ["spammers: unfiltered, during a fault", found["spammers_unfiltered"]],
        ["spammers: let in", found["spammers_let_in"]],
        ["longest stall", f"{found['longest_stall_s']:.2f} s{during}"],
        ["lives of the daemon", found["lives"]],
        ["memory drift", memory],
        ["descriptors drift", descriptors],
    ])
    drifted = "" if found["memory_drift_kib"] is None else ", nothing drifted"
    say("\n" + ("\n".join(found["failures"]) or f"Nothing was lost{drifted}."))
