"""The options: one table with name, letters, default, range and help of each.

The parser of the command line, the reader of the configuration file, --help and the tests use it; no other module
defines anything about an option. What the text of a value means is in values.py.
"""
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mxallowd.settings import fleet
from mxallowd.settings.values import (
    MAX_PF_TABLE_NAME,
    MAX_QUEUES,
    MOST_TIMES,
    address,
    attempts,
    capture,
    direct_table,
    door,
    group,
    list_source,
    listener,
    mark,
    name,
    name_server,
    network_key,
    nflog_group,
    nft_table,
    number,
    one_of,
    path,
    patience,
    queues,
    seconds,
    socket_path,
    user,
    words,
)

DEFAULT_CONFIG = "/etc/mxallowd.conf"
# What stands behind a flag by mistake: mxallowd 1.9 passed over it.
SWITCHED_ON, SWITCHED_OFF = ("yes", "on", "true", "1"), ("no", "off", "false", "0")


class Kind(Enum):
    """How often an option may stand and whether it takes a value."""

    FLAG = "stands alone"
    SINGLE = "takes one value, the last one counts"
    LIST = "takes a value each time, all count"
    ACTION = "is no setting and only for the command line; takes a value where it has a metavar"


@dataclass(frozen=True)
class Option:
    """One option. `convert` takes the text of a value; `live` settings follow a SIGHUP without a restart."""

    name: str
    short: tuple[str, ...]
    kind: Kind
    help: str
    metavar: str = ""
    convert: Callable[[str], object] = words
    default: object = None
    values: str = ""  # the range or form of a value, for people
    in_file: bool = True
    live: bool = False

    @property
    def field(self) -> str:
        """The name of the setting in Settings."""
        return self.name.replace("-", "_")

    @property
    def default_text(self) -> str:
        """The default as the configuration file has it; empty of a flag, of a list, and where there is none."""
        if self.kind in (Kind.FLAG, Kind.LIST) or self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return "/".join(f"{part:#x}" for part in self.default)  # a mark and its mask
        return str(self.default)

    @property
    def stands_alone(self) -> bool:
        """Whether it takes no value."""
        return self.kind is Kind.FLAG or (self.kind is Kind.ACTION and not self.metavar)


OPTIONS: tuple[Option, ...] = (
    Option("config", ("c",), Kind.SINGLE, "configuration file, read before the other options apply",
           "FILE", path, Path(DEFAULT_CONFIG), in_file=False),
    Option("fake-mailserver", ("f",), Kind.LIST, "fake mail server: contact with it whitelists the source",
           "ADDRESS", address, values="IPv4 or IPv6, at least one, may be repeated", live=True),
    Option("real-mailserver", ("r",), Kind.LIST, "real mail server: reachable for whitelisted sources only",
           "ADDRESS", address, values="IPv4 or IPv6, at least one, may be repeated", live=True),
    Option("queue-num", ("n",), Kind.SINGLE, "NFQUEUE number or range, as in the firewall rule",
           "N[:M]", queues, values=f"0 to 65535, at most {MAX_QUEUES} queues, required on Linux"),
    Option("whitelist-time", ("t",), Kind.SINGLE, "lifetime of an entry",
           "SECONDS", seconds(1, 315_360_000), 28_800, "seconds, 1 to 315360000", live=True),
    Option("renew", (), Kind.SINGLE, "what restarts the time of an entry that has lost an eighth (with fleet a minute)",
           "WHEN", one_of("never", "contact", "use", "both"), "contact",
           "never, contact (with the fake server), use (a connection to the real server) or both", live=True),
    Option("proven-time", (), Kind.SINGLE, "lifetime of a host that has connected to the real server, from its last "
           "connection on", "SECONDS", seconds(1, 315_360_000),
           values="seconds, 1 to 315360000; without it such a host lives as long as any", live=True),
    Option("patience", (), Kind.SINGLE, "let in who was refused at the real server N times, each at least TIME after "
           "the one before, within a day", "N/TIME", patience,
           values=f"N from 1 to {MOST_TIMES}, TIME in seconds or with s, min, h; off without it", live=True),
    Option("patience-network", (), Kind.FLAG, "count refusals of a /24, of IPv6 a /64, as if it were one host; needs "
           "patience", default=False, live=True),
    Option("pool-domain", (), Kind.FLAG, "let in a refused host whose confirmed name is below the same registered "
           "domain as that of a whitelisted one", default=False, live=True),
    Option("network-key", (), Kind.SINGLE, "a contact lets in all hosts of its network: so many bits of an IPv4 and of "
           "an IPv6 address", "BITS/BITS", network_key,
           values="16 to 32, and 48 to 64; 32 or 128: no network of that family; off without it"),
    Option("learn-outbound", (), Kind.SINGLE, "let in hosts that the own mail server connects to, which a rule logs to "
           "this group", "nflog:GROUP", nflog_group, values="nflog: and a number from 0 to 65535; off without it"),
    Option("no-rdns-whitelist", ("b", "d"), Kind.FLAG,
           "do not whitelist the other addresses of the source's reverse DNS name", default=False),
    Option("rdns-unconfirmed", (), Kind.FLAG,
           "believe reverse DNS names whose own addresses do not contain the source, as mxallowd 1.9 did",
           default=False, live=True),
    Option("dns-server", (), Kind.LIST, "name server to ask, may be repeated",
           "ADDRESS[:PORT]", name_server,
           values="IPv4 or IPv6, an IPv6 address with a port in brackets; without it those of resolv.conf", live=True),
    Option("dns-rate", (), Kind.SINGLE, "lookups of reverse DNS names that are started, at most",
           "PER-SECOND", number(1, 100_000), 500, "1 to 100000 a second, a burst of four times as many", live=True),
    Option("log-hosts", (), Kind.SINGLE, "lines about single hosts in the log, at most",
           "RATE", number(0, 100_000), 500, "0 to 100000 a second, a burst of four times as many; 0: none", live=True),
    Option("dns-zone-rate", (), Kind.SINGLE, "DNS queries to one zone (registered domain or network), at most",
           "PER-SECOND", number(1, 1_000_000), 20, "1 to 1000000 a second", live=True),
    Option("dns-query-rate", (), Kind.SINGLE, "DNS queries in all, at most",
           "PER-SECOND", number(2, 1_000_000), 1500, "2 to 1000000 a second, a burst of four times as many", live=True),
    Option("rdns-max-children", (), Kind.SINGLE, "addresses that one contact lets in by its names, besides its own",
           "HOSTS", number(0, 255), 31, "0 to 255, 0 asks no name server", live=True),
    Option("log-format", (), Kind.SINGLE, "form of the log's lines: text, or one JSON object a line",
           "FORMAT", one_of("text", "json"), "text", "text or json"),
    Option("allow", (), Kind.LIST, "let these reach the real server: a network, an address, or a file of such lines",
           "FILE|NETWORK|ADDRESS", list_source, values="may be repeated; the longest match of allow and deny counts",
           live=True),
    Option("deny", (), Kind.LIST, "refuse these at the real server, whatever the whitelist says",
           "FILE|NETWORK|ADDRESS", list_source, values="may be repeated; deny counts where both match equally long",
           live=True),
    Option("trust", (), Kind.SINGLE, "file of trusted senders: spf, dnswl, network and domain lines", "FILE", path,
           values="a file, which is read again at SIGHUP"),
    Option("direct-after", (), Kind.SINGLE, "lead a host from the fake server to the real one that met the fake one N "
           "times within TIME and never the real one, if its name is confirmed and is no dial-up's",
           "N/TIME", attempts, values="N from 2 to 15; TIME in seconds, or with s, min, h; off without it", live=True),
    Option("direct-table", (), Kind.SINGLE, "where the sets mx_direct4 and mx_direct6 are, if not where the others are",
           "[FAMILY] NAME|ipset", direct_table, values="a table of nft, or ipset"),
    Option("dry-run", (), Kind.FLAG, "decide, count and log, and accept everything", default=False),
    Option("state-dir", (), Kind.SINGLE, "directory in which the whitelist survives a restart",
           "DIRECTORY", path, Path("/var/lib/mxallowd")),
    Option("control", (), Kind.SINGLE, "UNIX socket by which mxallowctl asks",
           "SOCKET", socket_path, Path("/run/mxallowd/control.sock")),
    Option("control-change-group", (), Kind.SINGLE, "group whose members may change the daemon by that socket, as root "
           "may", "NAME|ID", group,
           values="a name or a number; they have to be in the socket's group, too; off without it", live=True),
    Option("metrics", (), Kind.SINGLE, "address at which metrics are given by HTTP; without it by the control socket",
           "ADDRESS:PORT", listener, values="IPv4 or [IPv6], and a port from 1 to 65535"),
    Option("fleet", (), Kind.SINGLE, "share the whitelist with the other gateways of a site by this Redis or Valkey",
           "URL", fleet.engine, values="redis://HOST:PORT, rediss://HOST:PORT with TLS, unix:///PATH; Sentinels: "
           "redis://HOST,HOST/MASTER"),
    Option("fleet-site", (), Kind.SINGLE, "name of the site; gateways of one site share one whitelist", "NAME",
           fleet.site, values=f"1 to {fleet.LONGEST_SITE} letters, digits and . _ -; needed by fleet"),
    Option("fleet-key-file", (), Kind.SINGLE, "file with the key of the site, or with two while it is changed", "FILE",
           path, values="mxallowctl fleet key makes a key; needed by fleet"),
    Option("fleet-origin", (), Kind.SINGLE, "name of this gateway, another one on each", "NAME", fleet.origin,
           values=f"1 to {fleet.LONGEST_ORIGIN} letters, digits and . _ -; without it the host's name"),
    Option("fleet-login-file", (), Kind.SINGLE, "file with the user and the password for the engine", "FILE", path,
           values="one line, USER PASSWORD; a second line is for Sentinels"),
    Option("fleet-ca-file", (), Kind.SINGLE, "certificates that sign the engine's, for rediss", "FILE", path,
           values="PEM; without it those of the system"),
    Option("fleet-cert-file", (), Kind.SINGLE, "certificate that this gateway shows to the engine, for rediss", "FILE",
           path, values="PEM, with its key or with fleet-cert-key-file"),
    Option("fleet-cert-key-file", (), Kind.SINGLE, "key of fleet-cert-file", "FILE", path, values="PEM"),
    Option("stdout", ("s",), Kind.FLAG, "log to standard output, not to syslog", default=False),
    Option("quiet", ("q",), Kind.FLAG, "log errors only", default=False, live=True),
    Option("foreground", ("F",), Kind.FLAG, "stay in the foreground; no pid file is written", default=False),
    Option("pflog-interface", ("p",), Kind.SINGLE,
           "capture the connection attempts that the firewall logs, and keep its table of known hosts", "INTERFACE",
           capture, values="an interface, nflog:GROUP, or file:PATH to rehearse; pflog0 on a BSD without queue-num"),
    Option("pcap-filter", ("l",), Kind.SINGLE, "capture filter; connection attempts alone count in any case",
           "EXPRESSION", words, "port 25", "as for tcpdump; from pflog and nflog: port, tcp, src, dst, and, or"),
    Option("pf-table", (), Kind.SINGLE, "table of pf that holds the whitelist", "NAME",
           name("a table of pf", MAX_PF_TABLE_NAME),
           values=f"at most {MAX_PF_TABLE_NAME} characters; mx-white on a BSD that captures from an interface"),
    Option("nft-table", (), Kind.SINGLE, "table of nft whose sets mx_white4 and mx_white6 hold the whitelist",
           "[FAMILY] NAME", nft_table, values="a family and a name; the family is inet where it is left out"),
    Option("nft-setup", (), Kind.FLAG, "create that table and its sets where they are missing", default=False),
    Option("door", (), Kind.LIST, "interface at whose ingress a chain of nft-table stands (way d): it is told when the "
           "chain is not there", "INTERFACE", door, values="1 to 15 bytes, never lo; may be repeated"),
    Option("ipset", (), Kind.FLAG, "the sets mx_white4 and mx_white6 of ipset hold the whitelist", default=False),
    Option("flush-on-exit", (), Kind.FLAG,
           "empty the kernel's tables at the end; without it known senders still get in", default=False),
    Option("queue-length", (), Kind.SINGLE, "packets that may wait in a kernel queue",
           "PACKETS", number(1, 65535), 8192, "1 to 65535"),
    Option("on-overload", (), Kind.SINGLE, "what becomes of packets when a kernel queue is full", "VERDICT",
           one_of("accept", "drop"), "accept", "accept (unfiltered) or drop (the sender comes again)"),
    Option("verdict-mark", (), Kind.SINGLE, "accepted packets get this mark and pass their chain again, so that later "
           "rules decide; a rule before the queue's must let the mark go on", "MARK[/MASK]", mark,
           values="hexadecimal or decimal, as in iptables; needs queue-num"),
    Option("refuse", (), Kind.SINGLE, "what becomes of refused packets: dropped, or marked so that a rule rejects them "
           "with a RST", "HOW", one_of("drop", "reset"), "drop",
           "drop, or reset, which needs queue-num and a rule that rejects the mark"),
    Option("refuse-mark", (), Kind.SINGLE, "mark of refused packets with refuse reset", "MARK[/MASK]", mark,
           (0x40000000, 0x40000000), "hexadecimal or decimal, as in iptables; no bit of verdict-mark's"),
    Option("no-watchdog", (), Kind.FLAG,
           "let the process live although verdicts have stopped, for a debugger", default=False),
    Option("max-entries", (), Kind.SINGLE, "hosts that have room in the whitelist",
           "ENTRIES", number(2 * MAX_QUEUES, 100_000_000), 1_000_000,
           f"{2 * MAX_QUEUES} to 100000000; each takes 49 bytes of memory, with network-key 65, at the start"),
    Option("max-refused", (), Kind.SINGLE, "refused hosts that are remembered",
           "HOSTS", number(1024, 100_000_000), 262_144,
           "1024 to 100000000; each takes 32 bytes of memory, with patience 66, at the start"),
    Option("user", (), Kind.SINGLE, "user that the daemon becomes once all is open", "NAME|ID", user,
           values="a name or a number; without it mxallowd, if there is such a user, or nobody; root stays root"),
    Option("no-sandbox", (), Kind.FLAG, "do without Landlock and seccomp, to find a fault", default=False),
    Option("pid-file", (), Kind.SINGLE, "where the background daemon writes its process id",
           "FILE", path, Path("/var/run/mxallowd.pid")),
    Option("check", (), Kind.ACTION, "read and validate everything, print each problem, start nothing", in_file=False),
    Option("print-ruleset", (), Kind.ACTION, "print the firewall's rules for this configuration, change nothing", "WAY",
           values="a: queue only, b: queue plus set, c: set plus NFLOG, d: at the door", in_file=False),
    Option("print-config", (), Kind.ACTION, "print a sample configuration: every option, none of them set",
           in_file=False),
    Option("iptables", (), Kind.ACTION, "with print-ruleset: rules for iptables, not for nft", in_file=False),
    Option("version", (), Kind.ACTION, "print the version", in_file=False),
    Option("help", ("h",), Kind.ACTION, "print this text", in_file=False),
)

BY_NAME = {option.name: option for option in OPTIONS}
