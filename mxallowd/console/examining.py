"""What is wrong by the daemon's own word: for the page of the doctor, and how much of it for the overview.

The overview's count is asked for at most once in EACH_S, while somebody looks. Which way it fails: where the daemon
does not tell, nothing is counted, and what the pulse says of it stands alone.
"""
import asyncio
import shlex
import time
from collections.abc import Callable, Iterator, Mapping

from mxallowd.console import losses
from mxallowd.console.asking import Daemon, Document, Refusal, Unreachable
from mxallowd.ctl.doctor import fleettold, told
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding

EACH_S, WAIT_S = 10.0, 5.0
_LOG = "journalctl -t mxallowd -p warning -n 50"


class Examination:
    """How many things are broken, as it was asked last."""

    def __init__(self, daemon: Daemon, clock: Callable[[], float] = time.monotonic) -> None:
        self.broken = 0
        self._daemon = daemon
        self._clock = clock
        self._asked_s = -EACH_S
        self._one = asyncio.Lock()

    async def renew(self) -> None:
        """Ask, unless the last answer is younger than EACH_S."""
        async with self._one:
            if self._clock() - self._asked_s < EACH_S:
                return
            try:
                async with asyncio.timeout(WAIT_S):
                    _, found = await examined(self._daemon)
                self.broken = sum(one.state == BROKEN for one in found)
            except (Unreachable, Refusal, TimeoutError, KeyError, TypeError, ValueError):
                self.broken = 0  # also an answer of another release, that lacks something
            self._asked_s = self._clock()


async def examined(daemon: Daemon) -> tuple[Document, list[Finding]]:
    """The answer of GET /v1/doctor, and what follows from the daemon's answers. Raises Unreachable, Refusal."""
    answer, status = await daemon.get("/v1/doctor"), await daemon.get("/v1/status")
    ready = await daemon.get("/readyz")
    return answer, list(findings(answer, status, ready, await _counters(daemon)))


async def _counters(daemon: Daemon) -> Mapping[str, int]:
    counters = await daemon.get("/v1/counters")
    try:
        series = (await daemon.get("/v1/series"))["values"]
    except (Refusal, KeyError):
        return counters  # an older daemon
    return {**counters, "log-lines-lost": int(series.get("log_lines_lost", 0))}


def findings(answer: Document, status: Document, ready: Document, counters: Mapping[str, int]) -> Iterator[Finding]:
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
