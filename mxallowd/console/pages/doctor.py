"""What is wrong, why it matters and what mends it: from the daemon's own answers, and the last report of a doctor.

The console sees nothing of the host. So what `mxallowctl doctor` finds out by looking at rules, queues and servers
comes from its last run as root, which the daemon keeps, with its age; what follows from the daemon's word is of now.
"""
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mxallowd.console import losses
from mxallowd.console.asking import Daemon, Document, Refusal
from mxallowd.console.visit import Page, Visit
from mxallowd.ctl.doctor import fleettold, told
from mxallowd.ctl.doctor.findings import BROKEN, OK, STATUS, WARNING, Finding

OLD_S = 86_400  # of a report
_LOG = "journalctl -t mxallowd -p warning -n 50"


async def show(_: Visit, daemon: Daemon) -> Page:
    """The page."""
    answer, status = await daemon.get("/v1/doctor"), await daemon.get("/v1/status")
    ready = await daemon.get("/readyz")
    found = worst_first(now(answer, status, ready, await _counters(daemon)))
    report = answer.get("report")  # an older daemon does not keep it
    values = report_values(report) if isinstance(report, dict) else None
    return Page("doctor.html", {"found": found, "state": found[0].state if found else OK, "report": values})


async def _counters(daemon: Daemon) -> Mapping[str, int]:
    counters = await daemon.get("/v1/counters")
    try:
        series = (await daemon.get("/v1/series"))["values"]
    except (Refusal, KeyError):
        return counters  # an older daemon
    return {**counters, "log-lines-lost": int(series.get("log_lines_lost", 0))}


def now(answer: Document, status: Document, ready: Document, counters: Mapping[str, int]) -> Iterator[Finding]:
    """What the daemon says of itself."""
    yield Finding("daemon", OK, f"mxallowd {answer['version']} answers, process {answer['pid']}")
    yield from _readiness(ready)
    if status["dry_run"]:
        yield Finding("dry-run", WARNING, "this is a dry run", "nobody is refused",
                      f"sed -i '/^dry-run/d' {shlex.quote(str(answer['settings']['config']))} && systemctl restart "
                      "mxallowd  # docs/arm.md says what comes first")
    if status["stress"]:
        yield Finding("stress", WARNING, "mxallowd is in stress mode: more comes than it can report",
                      "names are not looked up, and the log leaves lines out", "mxallowctl top")
    if (reload := status["reload"]) and not reload["ok"]:
        yield Finding("reload", BROKEN, f"the last reload failed: {reload['reason']}",
                      "the settings and lists from before it still hold", "mxallowd --check && mxallowctl reload")
    yield from told.state(answer, answer["settings"]["state_dir"], str(answer["user_id"]))
    yield from told.check(answer)
    if fleet := answer.get("fleet"):
        yield from _fleet(fleet, str(answer["settings"]["config"]))
    yield from losses.check(counters)


def _readiness(ready: Document) -> Iterator[Finding]:
    for text in ready["reasons"]:
        yield Finding("ready", BROKEN, str(text), "/readyz answers 503: mails are not decided as they should be", _LOG)
    for text in ready.get("warnings", ()):
        yield Finding("ready", WARNING, str(text), "mail is decided, by what held before", _LOG)
    if not ready["reasons"]:
        yield Finding("ready", OK, "mails are decided as they should be (/readyz)")


def _fleet(fleet: Document, config: str) -> Iterator[Finding]:
    if fleet["connected"]:
        yield Finding("fleet-engine", OK, f"the engine {fleet['engine']} is connected")
    else:
        yield Finding("fleet-daemon", BROKEN, f"the engine {fleet['engine']} cannot be used: "
                      f"{fleet['fault'] or 'it was not reached yet'}", fleettold.ALONE,
                      fleet["remedy"] or "journalctl -t mxallowd -g fleet-")
    for text in fleet["warnings"]:
        yield Finding("fleet-warning", WARNING, str(text), "entries come through all the same",
                      "mxallowctl doctor  # as root: it asks the engine itself")
    yield from fleettold.names(fleet, config)
    yield from fleettold.peers(fleet)


def worst_first(findings: Iterator[Finding] | Sequence[Finding]) -> list[Finding]:
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
