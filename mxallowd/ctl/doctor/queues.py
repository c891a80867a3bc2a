"""The kernel's queues: bound by the daemon, how full, and what they lost."""
from mxallowd.backends.procqueues import PROC_QUEUES, ProcQueues
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import AS_ROOT, BROKEN, OK, WARNING, Finding

NEARLY_FULL = 0.9
LARGEST = 65_535


def served() -> set[int] | None:
    """The queues that any program serves; None: this user may not see them."""
    try:
        PROC_QUEUES.open("rb").close()
    except OSError:
        return None
    kernel = ProcQueues()
    found = {row[0] for row in kernel.rows()}
    kernel.close()
    return found


def check(facts: Facts) -> list[Finding]:
    """Each queue of the settings."""
    if not facts.queues:
        return []
    try:
        PROC_QUEUES.open("rb").close()
    except OSError as error:
        return [Finding("queue-bound", WARNING, f"the kernel's queues cannot be seen: {error.strerror}",
                        "whether packets wait or are lost is not known", AS_ROOT)]
    kernel = ProcQueues()
    rows = {row[0]: row for row in kernel.rows() if len(row) >= 7}
    kernel.close()
    return [finding for number in facts.queues for finding in _of(number, rows.get(number), facts)]


def _of(number: int, row: list[int] | None, facts: Facts) -> list[Finding]:
    if row is None:
        return [Finding("queue-bound", BROKEN, f"nobody serves queue {number}",
                        "its packets pass unfiltered (with bypass) or are dropped", "systemctl restart mxallowd")]
    length = int(facts.settings["queue_length"])
    more = min(LARGEST, 4 * length)
    found = [Finding("queue-bound", OK, f"queue {number} is served")]
    waiting, lost = row[2], row[5] + row[6]
    if waiting >= NEARLY_FULL * length:
        found.append(Finding(
            "queue-length", BROKEN if waiting >= length else WARNING,
            f"{waiting} packets wait in queue {number}, which takes {length}",
            "mxallowd does not keep up or hangs; further packets get the verdict of --on-overload",
            f"systemctl restart mxallowd  # and where it goes on: queue-length {more} in {facts.settings['config']}"))
    elif lost:
        found.append(Finding(
            "queue-length", WARNING, f"the kernel dropped {lost} packets of queue {number}",
            "their senders lost a second; a longer queue holds more of a burst",
            f"echo 'queue-length {more}' >> {facts.settings['config']} && systemctl restart mxallowd"))
    else:
        found.append(Finding("queue-length", OK, f"queue {number} lost nothing; {waiting} of {length} packets wait"))
    return found
