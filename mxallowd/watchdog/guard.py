"""The guard: a small process beside the daemon that ends it when it is stopped as a whole.

A daemon that is stopped (SIGSTOP, swapped out, a frozen container) is still bound to its queue, so all new mail waits
in it. Its own watching thread is stopped as well; this process is not. It maps the daemon's heartbeats. If packets wait
in a socket and no queue thread takes any, it kills the daemon: the kernel's --queue-bypass then lets mail through. It
also logs, once, that the daemon's main loop hangs, since the daemon itself could not; verdicts go on meanwhile.

    mxallowd.watchdog.guard HEARTBEATS PIDFD SINK USER WALLS QUEUE...

Descriptors of the page and of the daemon, `stdout` or `syslog` with the form of lines (as in `stdout:json`), the user
that both become (empty: the default), the descriptor of its way to the broker of the sandbox (-1: there is none;
`open`: no sandbox), and the queues with the port ids of their sockets, NUMBER:PORT. It ends when its standard input
does, which the daemon holds open.

It lives in the sandbox of the daemon, which it enters by itself, and may end one process: its parent.
"""
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mxallowd.log import Log, open_log
from mxallowd.log.handlers import SYSLOG_SOCKET
from mxallowd.log.periodic import Pace
from mxallowd.process import broker, sandbox
from mxallowd.process.privileges import give_up, raise_priority
from mxallowd.process.signals import SIGNALS
from mxallowd.watchdog._watch import SILENT_STATUS, Heartbeats
from mxallowd.watchdog.guard_process import NO_WALLS
from mxallowd.watchdog.procnetlink import is_there, read_row

TICK_S = 0.1
SILENT_S = 1.2  # the daemon's own thread needs 0.5: this is for when that is stopped, too
STARVED_S = 4.0  # that one gives 3 s to a thread that waits for a processor
MAIN_LOOP_S = 10.0
KILLED_S = 1.0  # a process that can be killed has ended by then


class Guard:
    """One look after the other. Times are of a clock that does not jump."""

    def __init__(self, beats: Heartbeats, queues: Sequence[tuple[int, int]], log: Log) -> None:
        self._beats = beats
        self._queues = queues
        self._log = log
        self._seen = [(-1, 0.0)] * len(queues)
        self._main = (-1, 0.0)
        self._hangs = False

    def silent(self, now: float) -> int | None:
        """The number of a queue in which packets have waited for too long while its thread took none."""
        found = None
        for index, (number, port_id) in enumerate(self._queues):
            beat, since = self._seen[index]
            if self._beats.queue(index) != beat or not read_row(port_id)[0]:
                self._seen[index] = (self._beats.queue(index), now)
            elif now - since >= (STARVED_S if could_run(self._beats.thread(index)) else SILENT_S):
                found = number
        return found

    def look_at_main_loop(self, now: float) -> None:
        """Say once that it hangs, and once that it goes on."""
        beat, since = self._main
        if self._beats.main_loop != beat:
            self._main = (self._beats.main_loop, now)
            if self._hangs:
                self._log.warning("main-loop", None, state="goes-on", seconds=round(now - since))
            self._hangs = False
        elif now - since >= MAIN_LOOP_S and not self._hangs:
            self._hangs = True
            self._log.error("main-loop", None, state="hangs", seconds=round(now - since))


def could_run(thread: int) -> bool:
    """Whether a thread of the daemon, our parent, runs, or waits for a processor alone (proc(5))."""
    try:
        # By both numbers: where /proc is that of another namespace of processes, there is hardly such a pair in it.
        text = Path(f"/proc/{os.getppid()}/task/{thread}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] == "R"


def has_ended(pidfd: int, within_s: float) -> bool:
    """Whether the process of a pidfd has ended: it is readable once all threads have, and closed their files."""
    return bool(select.select([pidfd], [], [], within_s)[0])


def end(daemon: int, pidfd: int, port_ids: Sequence[int]) -> str:
    """Kill the daemon, our parent; "" once it has ended and no queue of its is bound any more, else what is so.

    By its number, which is what the sandbox can compare: while the daemon runs and is our parent, nobody else has it. A
    signal that was sent proves nothing: process 1 of a container takes none from within, and a process in a frozen
    control group or in a call of the kernel that does not return has to wait.
    """
    try:
        if os.getppid() == daemon:
            os.kill(daemon, signal.SIGKILL)
    except OSError as error:
        return f"packets wait, and the process cannot be killed: {error.strerror}"
    if not has_ended(pidfd, KILLED_S):
        return "packets wait, and SIGKILL has not ended the process; it is tried again"
    with suppress(OSError):
        if any(is_there(port_id) for port_id in port_ids):
            return "the process was killed, and another one holds its queue, so packets wait"
    return ""


def main(words: list[str]) -> int:
    """Run as the guard."""
    heartbeats, pidfd, sink, user, walls, *queues = words
    daemon = os.getppid()
    # What stops the daemon's process group, a key of a terminal, does not stop us, who have our own.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # As good as the daemon's own watching thread: what keeps that one from running must not keep us.
    raise_priority()
    # Ending a process of the same user needs no capability.
    sandbox.load()
    give_up(user or None, keep=())
    if walls != NO_WALLS:
        if int(walls) >= 0:
            broker.use_inherited(int(walls), SYSLOG_SOCKET)
        sandbox.enter(sandbox.program(), signalled=daemon)
    beats = Heartbeats(int(heartbeats))
    place, _, form = sink.partition(":")
    log, writer = open_log(stdout=place == "stdout", quiet=False, form=form)
    writer.start()
    numbers = [(int(number), int(port_id)) for number, port_id in (queue.split(":") for queue in queues)]
    guard = Guard(beats, numbers, log)
    said = Pace(time.monotonic)
    while not select.select([0], [], [], TICK_S)[0]:
        beats.beat_guard()
        now = time.monotonic()
        silent = guard.silent(now)
        if silent is not None and not has_ended(int(pidfd), 0):
            fault = end(daemon, int(pidfd), [port_id for _, port_id in numbers])
            if not fault:
                log.error("guard-killed", queue=silent, reason="packets waited, and the process did not run")
                break
            if said.due():
                log.error("guard-failed", queue=silent, reason=fault)
        guard.look_at_main_loop(now)
    else:
        if beats.silent is not None:
            log.error("watchdog-exit", queue=numbers[beats.silent][0], status=SILENT_STATUS,
                      reason="packets waited, and the queue's thread did not run")
    writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
