"""What is wrong, why it matters and what mends it: from the daemon's own answers, and the last report of a doctor.

The console sees nothing of the host. So what `mxallowctl doctor` finds out by looking at rules, queues and servers
comes from its last run as root, which the daemon keeps, with its age; what follows from the daemon's word is of now.
"""
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mxallowd.console.asking import Daemon
from mxallowd.console.examining import examined
from mxallowd.console.visit import Page, Visit
from mxallowd.ctl.doctor.findings import OK, STATUS, WARNING, Finding

OLD_S = 86_400  # of a report


async def show(_: Visit, daemon: Daemon) -> Page:
    """The page."""
    answer, findings = await examined(daemon)
    found = worst_first(findings)
    report = answer.get("report")  # an older daemon does not keep it
    values = report_values(report) if isinstance(report, dict) else None
    return Page("doctor.html", {"found": found, "state": found[0].state if found else OK, "report": values})


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """What is broken stands first."""
    return sorted(findings, key=lambda one: -STATUS[one.state])


def report_values(report: Mapping[str, Any], now_s: float | None = None) -> dict[str, object]:
    """The last report, as the template takes it; `now_s` stands for the clock."""
    found = worst_first([Finding(str(one["check"]), one["state"] if one["state"] in STATUS else WARNING,
                                 str(one["what"]), one["why"] or "", one["command"] or "")
                         for one in report["findings"]])
    at_s = datetime.fromisoformat(report["time"]).timestamp()
    age_s = max(0.0, (datetime.now(UTC).timestamp() if now_s is None else now_s) - at_s)
    return {"time": report["time"], "age": age_s, "old": age_s > OLD_S, "found": found}
