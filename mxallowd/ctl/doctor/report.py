"""The findings for the daemon, which shows them to those who may not look at all of this themselves, as in a console.

Within the bounds of control/answers/findings.py: what is too long is cut off, and of too many findings the worst go.
Silent: a daemon that refuses them, or knows no such request, changes nothing about what doctor has printed.
"""
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress

from mxallowd.ctl.client import Unreachable
from mxallowd.ctl.command import Daemon
from mxallowd.ctl.doctor.findings import STATUS, Finding, as_json

MOST, LONGEST = 200, 2000  # findings, and characters of a text
LARGEST, LARGEST_OF_ALL = 4000, 90_000  # characters of JSON


def send(daemon: Daemon, findings: Sequence[Finding]) -> None:
    """Send what fits."""
    if len(findings) > MOST:
        findings = sorted(findings, key=lambda one: -STATUS[one.state])[:MOST]
    with suppress(Unreachable):
        daemon.ask("PUT", "/v1/doctor/report", body={"findings": fitting(findings)})


def fitting(findings: Iterable[Finding]) -> list[object]:
    """What the daemon takes of them, as JSON has it."""
    found: list[object] = []
    left = LARGEST_OF_ALL
    for one in findings:
        document = as_json([_shorter(one)])["findings"]
        assert isinstance(document, list)
        left -= len(json.dumps(document))
        if left < 0:
            break
        found += document
    return found


def _shorter(one: Finding) -> Finding:
    most = LONGEST
    while True:
        cut = one._replace(**{key: _cut(getattr(one, key), most) for key in ("check", "what", "why", "command")})
        # A character may take twelve of JSON.
        if len(json.dumps(cut)) + 100 <= LARGEST:
            return cut
        most //= 2


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
