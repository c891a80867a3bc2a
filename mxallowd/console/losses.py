"""What the counters tell of losses, as findings: what was lost, why that matters, and the command to go on with.

A counter counts from the start of the daemon: a finding says so, and goes with a restart.
"""
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mxallowd.ctl.doctor.findings import WARNING, Finding


class Loss(NamedTuple):
    """A counter that is 0 where all is well."""

    counter: str
    what: str  # with the number before it
    why: str
    command: str


RULES = "mxallowctl doctor  # as root: it walks through the rules"
TABLE = "journalctl -t mxallowd -g kernel-table"
LOSSES = (
    Loss("queue-full", "packets found no room in the queue",
         "they got the verdict of --on-overload, unseen by mxallowd",
         "mxallowctl stats queue-full  # it grows: more queues on more cores (docs/sizing.md)"),
    Loss("lost-by-kernel", "packets were lost before mxallowd saw them",
         "their senders lost a second, or a contact with the fake server was not seen",
         "mxallowctl doctor  # as root: it says which queue, and how long it may be"),
    Loss("overruns", "times the kernel had no room for a message to mxallowd", "what was in it was not seen",
         "mxallowctl stats overruns received  # it grows: docs/sizing.md"),
    Loss("lost-events", "events found no room on their way to the log",
         "the log does not show these hosts; their mail was decided all the same",
         "mxallowctl stats lost-events  # it grows: mxallowctl log-level error writes less"),
    Loss("log-lines-lost", "lines of the log were left out or could not be written",
         "the log does not show all that happened",
         "mxallowctl log-level error  # until what takes the log (disk, journal, syslog) keeps up"),
    Loss("evicted", "entries were removed before their time was over, to make room",
         "senders that were known are refused again, until they meet the fake server",
         "mxallowctl stats entries evicted  # raise max-entries (docs/sizing.md)"),
    Loss("refused-pushed-out", "hosts were removed from the memory of refused hosts, to make room",
         "reports about them are not complete", "mxallowctl stats refused-pushed-out  # raise max-refused"),
    Loss("limited", "hosts were not looked up, since a bound was reached",
         "other addresses of such a sender are let in one by one",
         "mxallowctl stats looked-up limited timed-out  # are the name servers slow?"),
    Loss("kernel-table-failed", "operations on a kernel table failed",
         "the table was filled again after it, or is not in step", TABLE),
    Loss("kernel-table-rejected", "hosts were not taken by a kernel table",
         "the kernel does not know them: mxallowd decides, or in ways c) and d) they are refused",
         f"{TABLE}  # is the set full?"),
    Loss("kernel-lists-failed", "changes of the kernel's sets of networks failed", "the kernel decides by older lists",
         "journalctl -t mxallowd -g kernel-lists"),
    Loss("state-failed", "times the state directory could not be read or written",
         "a restart may forget what changed then", "journalctl -t mxallowd -g state-"),
    Loss("came-again", "packets came to the queue twice",
         "their first verdict led them back into the queue: a rule is in the wrong place", RULES),
    Loss("not-rejected", "refused packets came to the queue twice",
         "they were dropped, and not rejected: no rule rejects what has the mark of --refuse-mark", RULES),
    Loss("unsent", "verdicts could not be sent", "the kernel kept these packets until the queue was closed",
         "journalctl -t mxallowd -p warning"),
    Loss("errors", "errors of the kernel came in place of packets", "what it means depends on the error",
         "journalctl -t mxallowd -p warning"),
    Loss("fleet-refused", "batches and entries of other gateways were not taken",
         "each reason has a meaning of its own", "mxallowctl fleet status"),
)


def check(counters: Mapping[str, int]) -> Iterator[Finding]:
    """Those that are not 0; a counter that this daemon does not have is passed over."""
    for one in LOSSES:
        if number := counters.get(one.counter, 0):
            yield Finding(f"lost-{one.counter}", WARNING, f"{one.what}: {number} since the start", one.why, one.command)
