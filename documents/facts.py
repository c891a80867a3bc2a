"""What is said of the programs and stands in no table of the package: signals, exit statuses, files, environment.

Tests hold it against the package: each signal that the daemon handles, each status that a program gives, each path that
is a default.
"""

SIGNALS = (
    ("HUP", "Read the configuration, the lists and the file of trusted senders again. What is invalid changes nothing "
            "and is logged. Entries of the whitelist stay."),
    ("USR1", "Remove expired entries and log the counters."),
    ("TERM", "Let new packets bypass the queue, answer every packet that waits, and end with status 0."),
    ("INT", "The same as TERM."),
)

STATUSES = (
    (0, "a clean stop; or `--help`, `--version`, `--print-ruleset`, `--print-config`, or a `--check` without errors"),
    (1, "a mistake in the command line or the configuration, a start that failed (`start-failed`), a queue, a capture "
        "or a stop that failed (`queue-failed`, `capture-failed`, `stop-failed`)"),
    (70, "packets waited and a queue thread did not take them, so the process ended itself (`watchdog-exit`); start it "
         "under a supervisor"),
    (78, "nothing is set up yet: the configuration has no line but comments, and the command line names no server, "
         "queue or capture. "
         "One line says what to write; the unit of systemd then fails once, and does not start it again and again"),
)
KILLED = ("A daemon that does not run at all while packets wait is ended by its guard with SIGKILL (`guard-killed`): "
          "status 137 for a shell.")

CTL_STATUSES = (
    (0, "all is well"),
    (1, "what was asked for is not so (there is no such entry, no such counter), or cannot be done, or not wholly "
        "(some lines of an import were not taken)"),
    (2, "a mistake in the command line, found here or by the daemon; nothing was changed"),
    (3, "the daemon cannot be reached, may not be asked, or has not answered for 20 seconds; a stream that breaks off "
        "has this status too"),
    (130, "interrupted"),
    (141, "the reader of the output has gone, as with `mxallowctl list | head`"),
)
DOCTOR_STATUSES = ((0, "all is well"), (1, "there are warnings"), (2, "something is broken"))

FILES = (
    ("/etc/mxallowd.conf", "The configuration, mxallowd.conf(5). `--config` names another one."),
    ("/run/mxallowd/control.sock", "The socket by which mxallowctl(8) asks. `SOCKET.lock` beside it is its lock. "
                                   "`--control` names another one."),
    ("/var/lib/mxallowd", "The state directory: whitelist, refused hosts, what a trial has gathered, what was added by "
                          "hand, what was learned of trusted senders. `--state-dir` names another one."),
    ("/var/run/mxallowd.pid", "The process id of a daemon in the background. `FILE.lock` beside it is its lock. "
                              "At the end both are removed; in a directory that the daemon's user may not change, as "
                              "here, the file is emptied, and the lock stays. `--pid-file` names another one."),
    ("/dev/log", "The log goes here, with facility `daemon`, without `--stdout`."),
    ("/etc/resolv.conf", "The name servers that are asked, without `dns-server`. It is read again when it changes."),
)

ENVIRONMENT = (
    ("NOTIFY_SOCKET", "The socket by which systemd is told that the daemon serves, and that its main loop runs."),
)
CTL_ENVIRONMENT = (
    ("NO_COLOR", "`mxallowctl top` does without colours."),
    ("TERM", "On a terminal that cannot move its cursor (`dumb`), `mxallowctl top` prints one look after the other."),
)
CONSOLE_ENVIRONMENT = (
    ("JOURNAL_STREAM", "Where it names standard error, lines of the log get their level before them, and no time."),
)
# What the configuration may name, besides.
CONFIGURED = (
    ("/etc/mxallowd/fleet.key", "The key of the site, where `fleet-key-file` names it. A secret."),
    ("/etc/mxallowd/fleet.login", "User and password for the engine of the fleet, where `fleet-login-file` names it."),
    ("/etc/mxallowd/trusted-senders", "A file of trusted senders, where `trust` names it. `packaging/trusted-senders` "
                                      "of the source is one to begin with."),
)
