"""The lines of the log: one table with word, address, keys, levels and meaning of each.

README's table is made from it, and a test holds every call that writes a line against it; nothing looks here while the
daemon runs. A word means one thing, and the same thing everywhere: programs of operators read it.
"""
from dataclasses import dataclass

INFO, WARNING, ERROR = ("info",), ("warning",), ("error",)


@dataclass(frozen=True)
class Line:
    """One line, as README shows it: word, [A] where it is about a host, each key with an equals sign.

    Behind the equals sign stands what the meaning speaks of. A key that some such lines lack is there as well. Where a
    form ends in …, another table has its keys: metrics/counters.py.
    """

    form: str
    levels: tuple[str, ...]
    help: str

    @property
    def word(self) -> str:
        """The first word, by which lines are known."""
        return self.form.split()[0]

    @property
    def host(self) -> bool:
        """Whether an address in brackets stands behind the word."""
        return "[" in self.form

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys in their order; the single key … where another table has them."""
        words = self.form.split()[2 if self.host else 1 :]
        return ("…",) if "…" in words else tuple(word.partition("=")[0] for word in words)


LINES: tuple[Line, ...] = (
    # the life of the process
    Line("start version= queue-num= pflog-interface= whitelist-time=", INFO,
         "verdicts are given, or packets captured, from now on"),
    Line("fake-mailserver [A]", INFO, "a fake server, at start"),
    Line("real-mailserver [A]", INFO, "a real server, at start"),
    Line("stop signal= received=", INFO, "a clean end; `signal=none` at the end of a rehearsal"),
    Line("start-failed reason=", ERROR, "it cannot start, and ends with status 1"),
    Line("queue-failed reason=", ERROR, "a queue thread could not go on; the daemon ends with status 1"),
    Line("capture-failed reason=", ERROR, "the capture broke; the daemon ends with status 1"),
    Line("stop-failed reason=", ERROR, "a queue thread did not end; the daemon ends with status 1"),
    # hosts
    Line("whitelisted [A] fake= seconds=", INFO, "A met the fake server and may reach the real one for so long"),
    Line("accepted [A] real=", INFO, "A, whitelisted, reached the real server for the first time"),
    Line("refused [A] real= times=1", INFO, "A, not whitelisted, was dropped"),
    Line("refused [A] real= times=N seconds=S", INFO, "and N more times in the last S seconds: one line a minute"),
    Line("child [C] name= of=A seconds=", INFO,
         "C, an address of A's name, may reach the real server; without `of=`, C was refused and its name is "
         "whitelisted"),
    Line("unconfirmed [A] name= addresses=N", INFO, "A's name does not have A among its N addresses"),
    Line("bad-name [A] name=", INFO, "what A's PTR record holds is no host name"),
    Line("whitelist-full [A] count=N", WARNING,
         "no room for A, the last of N hosts: every entry is in use; at most one line a minute"),
    Line("malformed count=N reason= length= head=", WARNING,
         "N packets could not be parsed; the rest is about the last one. At most one line a minute"),
    # kernel tables
    Line("kernel-table-read table= entries= adopted= complete=", ("info", "warning"),
         "what a kernel table held at the start, and how many of these hosts are whitelisted again; `complete=no`: it "
         "was too large to be read in 5 seconds, and the rest of it ends by itself"),
    Line("kernel-table-broken table= reason=", ("error", "warning"),
         "a kernel table is missing, of the wrong type, full, or does not hold what it must; once, then once a minute"),
    Line("kernel-table-filled table= entries= left-out=N", ("info", "warning"),
         "it was filled again in one transaction; N hosts found no room"),
    # bounds, and what was lost
    Line("lost-packets by-kernel= broken=", WARNING,
         "so many packets the kernel could not hand over, or handed over too short to tell what they are; senders come "
         "again; at most one line a minute"),
    Line("queue-full packets=N verdict=", WARNING,
         "a queue was full, and the kernel decided about N packets by itself; at most one line a minute"),
    Line("lost-events count=N", WARNING,
         "N events did not fit into the ring: nothing is said of them, verdicts are not touched; at most one line a "
         "minute"),
    Line("suppressed lines=N", WARNING,
         "N lines were not written: a flood, stress mode, or a log that nobody took"),
    Line("stress state=on bound= percent=", WARNING,
         "a bound of ours was full to 90 % (`lookups-waiting`, `log-queue`, `event-ring`, `kernel-table-dirty`): lines "
         "about single hosts and lookups of refused hosts are left out until all are below 70 % again; verdicts are "
         "not touched"),
    Line("stress state=off seconds=S", WARNING, "all are below 70 % again, after S seconds"),
    # signals
    Line("counters blocked= successful= direct-to-fake= …", INFO, "asked for by SIGUSR1, with `--quiet` too"),
    Line("reloaded changed=", INFO, "after SIGHUP: the options that have changed"),
    Line("restart-needed options=", WARNING, "after SIGHUP: these have changed, and hold from the next start on"),
    Line("reload-failed where= reason=", ERROR,
         "the new configuration is invalid, or still being written; the old one holds"),
    # the system
    Line("config where= reason=", WARNING, "a name in the configuration file that is unknown"),
    Line("pid-file reason=", WARNING,
         "a full or failing disk did not take the pid file: the daemon serves without"),
    Line("pid-file written=", INFO, "there is room now, and it was written"),
    Line("privileges reason=", WARNING, "a privilege that stays, or a wall that this kernel does not have"),
    Line("degraded reason=", WARNING,
         "something that the kernel does not offer, or a watchdog that is switched off: it works without"),
    # what should never happen
    Line("defect count= reason=", ERROR,
         "an error in the program that nobody expected, at most one line a minute; verdicts go on. Please report it"),
    Line("main-loop state= seconds=", ("error", "warning"),
         "said by the guard: the main loop `hangs`, or `goes-on`; verdicts are given meanwhile"),
    Line("watchdog-exit queue= status=70 reason=", ERROR,
         "said by the guard: packets waited and nobody took them, so the process ended itself"),
    Line("guard-killed queue= reason=", ERROR,
         "said by the guard: packets waited and the process did not run, so the guard ended it"),
    Line("guard reason=", WARNING, "the guard has ended or stands still, and was started again, or could not be"),
)


def markdown() -> str:
    """The table as README has it."""
    rows = [f"| `{line.form}` | {', '.join(line.levels)} | {line.help} |\n" for line in LINES]
    return "| line | level | meaning |\n| --- | --- | --- |\n" + "".join(rows)
