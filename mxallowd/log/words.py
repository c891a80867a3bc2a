"""The lines of the log: one table with word, address, keys, levels and meaning of each.

docs/reference/log.md is made from it, and a test compares it with every call that writes a line. The daemon does not
read it while it runs. A word means one thing, and the same thing everywhere: programs of operators read the log.
"""
from dataclasses import dataclass

INFO, WARNING, ERROR = ("info",), ("warning",), ("error",)


@dataclass(frozen=True)
class Line:
    """One line, as the documents show it: word, [A] where it is about a host, each key with an equals sign.

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
         "mxallowd serves: from now on it gives verdicts, or captures packets"),
    Line("dry-run reason=", WARNING,
         "at the start with `--dry-run`: nothing is refused. The reason says what the firewall has to do for that"),
    Line("fake-mailserver [A]", INFO, "A is an address of the fake server; one line for each at the start"),
    Line("real-mailserver [A]", INFO, "A is an address of the real server; one line for each at the start"),
    Line("stop signal= received=", INFO,
         "a clean end, after `received` packets; `signal=none` is the end of a rehearsal"),
    Line("passed-over records= reason=", ("info", "warning"),
         "at the end of a rehearsal: so many records of the capture were no connection attempts that count, for this "
         "reason. A warning where none of the capture counts"),
    Line("capture-empty reason=", WARNING, "at the end of a rehearsal: the capture has no record at all"),
    Line("start-failed reason=", ERROR, "the start failed; mxallowd ends with status 1"),
    Line("queue-failed reason=", ERROR, "a queue thread failed; mxallowd ends with status 1"),
    Line("capture-failed reason=", ERROR, "the capture failed; mxallowd ends with status 1"),
    Line("stop-failed reason=", ERROR, "a queue thread did not end at the stop; mxallowd ends with status 1"),
    # hosts
    Line("whitelisted [A] fake= seconds=", INFO,
         "A contacted the fake server and is whitelisted for this number of seconds"),
    Line("patient [A] real= seconds=", INFO,
         "A was refused as often as `--patience` asks for, and is whitelisted for this number of seconds: its next SYN "
         "is let in"),
    Line("outbound [A] seconds=", INFO,
         "the own mail server has a connection to A (`--learn-outbound`), which is whitelisted for this number of "
         "seconds"),
    Line("direct [A] name= times=N seconds=", INFO,
         "A met the fake server N times, as often as `--direct-after` asks for, and never the real one; its confirmed "
         "name does not carry its address. It is led to the real server for this number of seconds after its last use"),
    Line("accepted [A] real=", INFO, "A is whitelisted and contacted the real server for the first time"),
    Line("refused [A] real= times=1", INFO,
         "A is not whitelisted, so its attempt to connect to the real server was refused: the packet was dropped. This "
         "is the first line about A, or the first one after a minute without an attempt"),
    Line("refused [A] real= times=N seconds=S", INFO,
         "N further attempts of A to connect were refused in the last S seconds; at most one such line a minute for "
         "each host. A SYN that A sends again within the same attempt does not count: it has the same source port and "
         "comes at most 35 seconds after the SYN before. At most 2,048 hosts are summed up at a time"),
    Line("denied [A] server= times=1", INFO,
         "a list (`--deny`, or by hand) denies A, which contacted this server: at the real one the packet was dropped, "
         "at the fake one A was not whitelisted. The first line about A, as of a refused host"),
    Line("denied [A] server= times=N seconds=S", INFO, "N further attempts of A in the last S seconds, as above"),
    Line("allowed [A] real= times=1 by=", INFO,
         "a list (`--allow`, or by hand) or `--trust` allows A, which is not whitelisted itself, so its attempt to "
         "connect to the real server was accepted. `by` is the file with the line, `configuration` or `by hand`; of "
         "trusted senders `trusted` stands before it. The first line about A, as of a refused host"),
    Line("allowed [A] real= times=N seconds=S", INFO,
         "N further attempts of A to connect were accepted in the last S seconds, as above"),
    Line("by-network [A] real= times=1", INFO,
         "with `--network-key`: A is not whitelisted, and its attempt to connect to the real server was accepted, "
         "since a contact of another host let in A's network. The first line about A, as of a refused host"),
    Line("by-network [A] real= times=N seconds=S", INFO,
         "N further attempts of A to connect were accepted in the last S seconds, as above"),
    Line("would-deny [A] server= times=1", INFO,
         "with `--dry-run`, in place of `denied`: the packet was let through. At the fake server A was not "
         "whitelisted, as without it"),
    Line("would-deny [A] server= times=N seconds=S", INFO,
         "with `--dry-run`: N further attempts of A in the last S seconds, as above"),
    Line("would-refuse [A] real= times=1", INFO,
         "with `--dry-run`, in place of `refused`: A is not whitelisted, and its attempt to connect to the real server "
         "was let through"),
    Line("would-refuse [A] real= times=N seconds=S", INFO,
         "with `--dry-run`: N further attempts of A in the last S seconds, counted as for `refused`"),
    Line("child [C] name= of=A seconds=", INFO,
         "C is whitelisted because it has the same name as A. Without `of=`, C was refused before, and C's name is "
         "that of a whitelisted host"),
    Line("child [C] name= domain= of=A seconds=", INFO,
         "with `--pool-domain`: C was refused before, and is whitelisted because its name and a name of A, which is "
         "whitelisted, are below this domain"),
    Line("neighbour [A] network= seconds=", INFO,
         "with `--network-key`: A came in by a contact that let in its network, and has an entry of its own from now "
         "on, for this number of seconds"),
    Line("unconfirmed [A] name= addresses=N", INFO, "A's name has N addresses, and A is not one of them"),
    Line("bad-name [A] name=", INFO, "A's PTR record does not contain a valid host name"),
    Line("malformed count=N reason= length= head=", WARNING,
         "mxallowd accepted N packets whose header it cannot parse. The other values describe the last one: `length` "
         "in bytes, `head` in hexadecimal. At most one line a minute"),
    # kernel tables
    Line("kernel-table-read table= entries= adopted= complete=", ("info", "warning"),
         "at the start, the kernel table held `entries` hosts, and mxallowd whitelisted `adopted` of them again. "
         "`complete=no`: the table was too large to be read in 5 seconds, or changed meanwhile; its other hosts stay "
         "in the kernel until their time is over"),
    Line("kernel-table-broken table= reason=", ("error", "warning"),
         "a kernel table is missing, has the wrong type, is full, cannot be written, or lacks hosts that must be in "
         "it. The same reason is logged at most once a minute"),
    Line("kernel-table-rejected [A] table= count=N reason=", WARNING,
         "a kernel table did not take N hosts, although it takes others; A was the last of them. They are left out "
         "and tried again after 10 minutes; the kernel does not let them in meanwhile. At most one line a minute"),
    Line("kernel-networks-missing table= reason=", WARNING,
         "with `--network-key` in a way without a queue: the firewall has no sets for networks of contacts. Once"),
    Line("door-open interface= reason=", WARNING,
         "an interface of `--door` is not there, or no chain of the table with a rule stands at its ingress: what "
         "comes in by it is not filtered there. Said once, until `door-closed`"),
    Line("door-beside interface= reason=", WARNING,
         "an address of a server, or the default route, is at an interface that is no `--door`, nor above or below one "
         "(its bridge, its bond, its VLAN): mail that comes in by it is not filtered. Said once for each interface"),
    Line("door-closed interface=", INFO, "a chain of the table stands at the interface again"),
    Line("kernel-table-filled table= entries= left-out=N", ("info", "warning"),
         "mxallowd entered all whitelisted hosts into the kernel table again, in one step; N hosts found no room"),
    Line("kernel-lists-missing table= set= reason=", WARNING,
         "the ruleset has no set for networks that are allowed or denied: what this means, and how to make it. Said "
         "once for each set"),
    Line("kernel-lists-broken table= reason=", ERROR,
         "the sets of allowed and denied networks have the wrong type, are full, or cannot be written. The same reason "
         "is logged at most once a minute"),
    Line("kernel-lists-filled table= set= ranges=N", INFO,
         "the set holds the N ranges of addresses that the lists have become"),
    # bounds, and what was lost
    Line("lost-packets by-kernel= broken=", WARNING,
         "the kernel could not hand over `by-kernel` packets, and `broken` packets were too short to be read. The "
         "senders send them again. At most one line a minute"),
    Line("queue-full packets=N verdict=", WARNING,
         "a kernel queue was full, and the kernel itself gave N packets the verdict of `--on-overload`. At most one "
         "line a minute"),
    Line("came-again packets=N", WARNING,
         "N accepted packets had the mark of `--verdict-mark` when they came to the queue: no rule before the queue's "
         "lets marked packets go on, or another rule sets this mark. mxallowd accepted them for good, since they would "
         "come again for ever. At most one line a minute"),
    Line("not-rejected packets=N", WARNING,
         "N refused packets had the mark of `--refuse-mark` when they came to the queue: no rule before the queue's "
         "rejects marked packets, or another rule sets this mark. mxallowd dropped them, as with `--refuse drop`. At "
         "most one line a minute"),
    Line("lost-events count=N", WARNING,
         "N events found no room in an event ring, so they are missing in the log, and reverse DNS did not see them. "
         "Verdicts are not affected, and a flood of refused hosts does not cause this line. At most one line a minute"),
    Line("suppressed lines=N", WARNING,
         "mxallowd did not write N lines, because of a flood, of stress mode, or because syslog, the terminal or the "
         "disk did not take them"),
    Line("stress state=on bound= percent=", WARNING,
         "stress mode starts: an internal bound has reached 90 % (`lookups-waiting`, `log-queue`, `event-ring` or "
         "`kernel-table-dirty`). mxallowd leaves out lines about single hosts and lookups of refused hosts until all "
         "bounds have been at 70 % or below for 5 seconds. Verdicts are not affected"),
    Line("stress state=off seconds=S", WARNING, "stress mode ends after S seconds"),
    # what defeats nolisting in silence
    Line("surroundings reason=", WARNING,
         "at the start: a program listens on port 25 of a fake address, an address is not one of this host, or no rule "
         "of the firewall feeds the queue or the group"),
    Line("nothing-at-fake state=on real=N seconds=S", WARNING,
         "N packets of unknown hosts to the real server were refused in S seconds, and no host contacted the fake one. "
         "At most one line a day"),
    Line("bypassed hosts=N seconds=S", WARNING,
         "N hosts that are not whitelisted have connected to the real server, and for S seconds no packet came to "
         "mxallowd: an earlier rule accepts them, or the rule is gone. At most one line a day"),
    Line("nothing-at-fake state=off", INFO, "after such a line: a host has contacted the fake server"),
    # signals
    Line("counters blocked= successful= direct-to-fake= …", INFO,
         "the counters, after SIGUSR1 and at the end of a rehearsal; `--quiet` does not suppress this line"),
    Line("reloaded changed=", INFO, "after SIGHUP: these options have changed and hold from now on"),
    Line("lists allowed=N denied=N", INFO, "after SIGHUP: the lists were read again, and have so many networks"),
    Line("trust where= domain= networks= seconds=", INFO,
         "an SPF record of the file of trusted senders was learned, or is another one; it is asked for again after "
         "these seconds"),
    Line("trust-left-out where= term= terms=", WARNING,
         "a term of such a record depends on who asks, so it adds no network; `terms` is how many there are"),
    Line("trust-wrong where= reason=", WARNING,
         "such a record has an error, and what stands before it counts; or lines of the file have no effect"),
    Line("trust-failed where= domain= reason= holds=", WARNING,
         "such a record has no answer, or one that is not believed. `holds` says whether there is an earlier one, "
         "which holds then"),
    Line("trust-unkept reason=", WARNING,
         "what was learned of trusted senders could not be written, so a restart has to ask again"),
    Line("dnswl-spent where= zone= most=", WARNING,
         "no more may be asked of a list of the file of trusted senders, since `most` a day are free: hosts are passed "
         "over. At most one line an hour"),
    Line("direct-off reason=", WARNING,
         "hosts are to be led from the fake server to the real one, and there is no set for them (`--nft-table`, "
         "`--ipset`, `--direct-table`), so they are not. Said once"),
    Line("direct-not-led [A] reason=", WARNING,
         "A is direct, and meets the fake server all the same: no rule leads it to the real one, and its mail is lost "
         "(`docs/direct.md`). At most one line an hour; `mxallowctl first-mx-only` shows all"),
    Line("dnswl-distrusted where= zone= reason=", WARNING,
         "a list of the file of trusted senders answers as none may; for an hour it is not asked, and what it said is "
         "forgotten"),
    Line("list-failed where= reason=", ERROR,
         "after SIGHUP: a list file, or the key or login of the fleet, is invalid, cannot be read, or is still being "
         "written. Its old content holds, and all other files are read. Or the group of `control-change-group` is not "
         "there, and the one before keeps the right"),
    Line("restart-needed options=", WARNING,
         "after SIGHUP: these options have changed, but the old values hold until mxallowd is restarted"),
    Line("reload-failed where= reason=", ERROR,
         "after SIGHUP: the configuration is invalid, cannot be read, or is still being written. The old one holds"),
    # the fleet
    Line("fleet-joined site= origin= gateways=N entries= own= seconds=", INFO,
         "with `--fleet`: the list of the site was read to its end, once at each start: of N other gateways, so many "
         "`entries`; `own` are entries that an earlier run of this gateway has said, and that it had not itself"),
    Line("fleet-keys numbers=", INFO,
         "after SIGHUP: the key file of the fleet has other keys; of these numbers, the first one signs from now on"),
    Line("fleet-login", INFO,
         "after SIGHUP: the login file of the fleet has another user or password, which is tried at once"),
    Line("fleet-broken reason=", ERROR,
         "the engine of the fleet cannot be used, or takes no entries: mxallowd goes on with what it has, and tries "
         "again all the time. Once when it begins; another reason is logged at most once a minute"),
    Line("fleet-mended seconds=", INFO, "after such a line: all is well again, after these seconds"),
    Line("fleet-engine reason=", WARNING,
         "what is wrong with an engine that works all the same: it throws away what it has when its memory is full "
         "(`maxmemory-policy`; at each connection), or the stream is ahead of its clock. At most one line a minute of "
         "each"),
    Line("fleet-clock reason=", WARNING,
         "this host's clock is more than five minutes behind or ahead of that of the engine. Once when it begins, at "
         "most one line a minute"),
    Line("fleet-removed [A] by=", INFO,
         "another gateway has removed A (`mxallowctl remove`), and so A's entry was ended here"),
    Line("fleet-flushed by= flushes=N count=N", INFO,
         "other gateways were flushed N times, the last one named: so many entries that they had told were ended here. "
         "At most one line a minute"),
    Line("fleet-refused count=N reasons=", WARNING,
         "N batches or entries that came from the engine were not taken, or made room for newer ones (`too-many`), for "
         "these reasons: `mxallowctl fleet status` shows whose they are. At most one line a minute"),
    Line("fleet-origin-shared origin=", WARNING,
         "another gateway has the name of this one, or somebody with the key of the site speaks in it. At most one "
         "line an hour"),
    # the control socket
    Line("control reason=", WARNING,
         "at the start: the control socket cannot be made, or another mxallowd serves it; mxallowd runs without one"),
    Line("added [A] user=UID by=NAME seconds=", INFO,
         "the user with this id has let A in by the control socket, or has let its entry last longer. `by` stands "
         "there if the request named somebody (`Mxallowd-User`), as one of the console does. This line and the next "
         "seven are written whatever the level of the log is"),
    Line("network-added user=UID by=NAME network= list=", INFO, "the same of a network, and in which list it is now"),
    Line("removed user=UID by=NAME what= count=N", INFO,
         "the user with this id has removed an address, a network, or all; it was N entries and networks"),
    Line("removed user=UID by=NAME what= list= count=N", INFO,
         "the same of a network that was added to a list by hand, from that list alone"),
    Line("log-level user=UID by=NAME set=", INFO,
         "the user with this id has changed the level of the log, until a reload"),
    Line("reload-asked user=UID by=NAME", INFO,
         "the user with this id has asked for a reload; what came of it stands in the lines behind"),
    Line("trust-asked user=UID by=NAME domain= asked=N", INFO,
         "the user with this id has had the records of trusted senders asked for again: those of a domain, or `all`; "
         "for `asked` lines that is done"),
    Line("imported user=UID by=NAME entered= known= networks= left-out= rejected=", INFO,
         "the user with this id has imported entries and networks: of the entries, some were `known`, some found no "
         "room, and some are no addresses of hosts"),
    # the system
    Line("config where= reason=", WARNING, "the configuration file has an unknown option, which is ignored"),
    Line("own-list where= reason=", WARNING,
         "the file of the networks that were added by hand cannot be read or written, or this line of it is damaged"),
    Line("pid-file reason=", WARNING,
         "the disk is full or fails, or another user owns what is there, so there is no process id in the pid file; "
         "mxallowd serves without it"),
    Line("pid-file written=", INFO, "the disk has room again, and the process id is in the pid file"),
    Line("privileges reason=", WARNING,
         "mxallowd became the user `nobody`, because there is no user for it, or it runs without Landlock or seccomp"),
    Line("unreadable path= reason=", ERROR,
         "at the start: the user that mxallowd has become cannot read this file, or cannot enter this directory; the "
         "reason says what will not work, and what to do"),
    Line("resolv-conf path= reason=", ERROR,
         "mxallowd cannot read this file any more and goes on asking the name servers that it knows. Said once, until "
         "the file can be read again"),
    Line("broker reason=", ERROR,
         "the process that opens files for the sandbox has ended: SIGHUP cannot read the configuration, and a syslog "
         "that is started again gets no lines, until mxallowd is restarted"),
    Line("degraded reason=", WARNING,
         "the kernel does not have a feature, or the watchdog does not run; mxallowd works without it"),
    Line("metrics reason=", ("error", "warning"),
         "the process that gives metrics at `--metrics` has ended, stands still or misbehaved; it was started again,"
         " or, as an error, could not be started. Mail is not affected"),
    # the state directory
    Line("state-read directory= entered= known= left-out= refused=", INFO,
         "at the start: `entered` hosts of the state directory are whitelisted again. `known` ones were listed "
         "already, from a kernel table or by a contact meanwhile, and for `left-out` there was no room. `refused` "
         "hosts are remembered"),
    Line("state-damaged file= bytes= reason=", WARNING,
         "at the start: so many bytes of this file are not as mxallowd wrote them. It left out the blocks that have "
         "them, and read all others"),
    Line("state-off directory= reason=", WARNING,
         "at the start: there is no state directory, so a restart loses what only the daemon knows. The reason says "
         "why, and what to do"),
    Line("state-broken directory= reason=", ERROR,
         "the state directory cannot be read or written: the disk is full, or fails. Everything stays in memory, and "
         "mxallowd tries again. The same reason is logged at most once a minute"),
    Line("state-mended directory=", INFO, "the state directory has everything again"),
    # what should never happen
    Line("defect count= reason=", ERROR,
         "an unexpected error in the program; verdicts go on. Please report it. At most one line a minute"),
    Line("main-loop state= seconds=", ("error", "warning"),
         "written by the guard: the main loop has not run for 10 seconds (`hangs`), or it runs again (`goes-on`). "
         "Verdicts go on meanwhile"),
    Line("watchdog-exit queue= status=70 reason=", ERROR,
         "written by the guard: packets waited and the queue thread did not take them, so the process ended itself"),
    Line("guard-killed queue= reason=", ERROR,
         "written by the guard: packets waited and the whole process did not run, so the guard killed it. It has "
         "ended, and its queues are unbound"),
    Line("guard-failed queue= reason=", ERROR,
         "written by the guard: packets wait and the process does not run, and the guard could not end it; it goes on "
         "trying. At most one line a minute"),
    Line("guard reason=", ("error", "warning"),
         "the guard ended or did not run any more; it was started again, or could not be started. An error "
         "if it could not, or never watched"),
)
