"""A finding: what was seen, why it matters, and what mends it."""
from collections.abc import Iterable
from typing import NamedTuple

OK, WARNING, BROKEN = "ok", "warning", "broken"
STATUS = {OK: 0, WARNING: 1, BROKEN: 2}


AS_ROOT = "sudo mxallowctl doctor"  # with the arguments of this run, which the command adds


class Finding(NamedTuple):
    """One finding. `why` and `command` are empty where all is well."""

    check: str  # a stable word, such as `rule-present`
    state: str  # OK, WARNING, BROKEN
    what: str
    why: str = ""
    command: str = ""  # for a shell, run as root


def status(findings: Iterable[Finding]) -> int:
    """The exit status: 0 all is well, 1 there are warnings, 2 something is broken."""
    return max((STATUS[one.state] for one in findings), default=0)


def as_json(findings: Iterable[Finding]) -> dict[str, object]:
    """The document of --json."""
    listed = list(findings)
    return {"status": (OK, WARNING, BROKEN)[status(listed)],
            "findings": [dict(one._asdict(), why=one.why or None, command=one.command or None) for one in listed]}
