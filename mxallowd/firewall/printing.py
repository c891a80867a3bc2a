"""What --print-ruleset prints: the ruleset of a way for the settings, and what has to be said beside it.

    a   every SYN goes to the queue        queue.nft       --iptables: queue.sh
    b   queue plus set                     queue-set.nft   --iptables: queue-set-ipset.sh with --ipset, else both parts
                                                           of queue-set-mark as one script
    c   set plus NFLOG                     set.nft         --iptables: set-ipset.sh
    d   at the door                        door.nft; without --door door-raw.nft

With --learn-outbound its ruleset follows. What the configuration does not say is what the documents have (queue 23,
group 5, the table inet mxallowd), and a note says so: the rules load all the same, and mxallowd has to be started with
it. What could do harm or could not work is refused. Nothing here asks the kernel or writes anything.
"""
import re
from dataclasses import dataclass, replace
from importlib import resources

from mxallowd.errors import ConfigError
from mxallowd.firewall import nft, shell
from mxallowd.firewall.wanted import GROUP, OUTBOUND_GROUP, OUTBOUND_TABLE, PORT, QUEUE, TABLE, Wanted
from mxallowd.lists.files import ListError
from mxallowd.settings import Settings
from mxallowd.settings.values import Address
from mxallowd.text import quoted

WAYS = ("a", "b", "c", "d")
# Where operators and their distributions have rules of their own, all of which a ruleset would replace.
OF_OTHERS = ("filter", "nat", "mangle", "raw", "security", "firewalld", "fw4")
# What nft 1.0.6 takes for a word of its own, and not for a table's name; found by trying.
KEYWORDS = """
    accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu create ct
    day dccp define delete describe device devices dnat drop dst dup dynamic ecn element elements eq esp ether
    exists expires export exthdr fib flags flow flowtable flush frag fwd gc-interval ge get goto gt handle hbh
    hook hour ibriport ibrname icmp icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert
    interval ip ip6 ipsec jhash jump le limit list log lshift lt map mark masquerade meta meter mh missing monitor
    ne netdev nftrace not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or osf pkttype
    policy position priority queue quota random redefine redirect reject rename replace reset return rshift rt rt0
    rt2 rtclassid rule ruleset sctp secmark set size skgid skuid snat socket srh symhash synproxy table tcp th
    time timeout tproxy type typeof udp udplite undefine update vlan vmap xor xt
"""
_PORTS = re.compile(r"(?:tcp )?(?:dst )?port [0-9]{1,5}(?: or (?:tcp )?(?:dst )?port [0-9]{1,5})*")
_BOTH = """\
#!/bin/sh
# Way b), queue plus set, where iptables has the queue rule. This loads both parts: first the table of nft, which marks
# known hosts, then the rules of iptables.
nft -f - <<'END OF THE TABLE' || exit
{nft}END OF THE TABLE
{shell}"""


@dataclass(frozen=True)
class Printed:
    """A ruleset, and one line each about what it takes for granted."""

    text: str
    notes: tuple[str, ...]


def file(name: str, wanted: Wanted) -> str:
    """The text of a file of rulesets/ with these values. Raises ValueError: Wanted.known."""
    text = resources.files("mxallowd").joinpath("rulesets", name).read_text(encoding="utf-8")
    return nft.render(text, wanted) if name.endswith(".nft") else shell.render(text, wanted)


def ruleset(way: str, settings: Settings, *, iptables: bool = False) -> Printed:
    """The ruleset of a way (one of WAYS). Raises ConfigError with one line: it could not work, or would do harm."""
    if way not in WAYS:
        raise ConfigError(f"print-ruleset: {quoted(way)} is not {', '.join(WAYS[:-1])} or {WAYS[-1]}")
    if iptables and way == "d":
        raise ConfigError("print-ruleset: way d has rules for nft alone, which work beside those of iptables: leave "
                          "out --iptables")
    notes: list[str] = []
    ipset = iptables and (way == "c" or (way == "b" and settings.ipset))
    has_nft = not iptables or (way == "b" and not ipset)
    wanted = _wanted(settings, way, notes)
    if has_nft:
        wanted = replace(wanted, table=_table(settings, way, notes))
    elif ipset and not settings.ipset:
        notes.append("no ipset is given: start mxallowd with --ipset")
    if _leads(settings, notes):
        wanted = replace(wanted, direct=_place(settings, way, wanted.table if has_nft else None, notes))
    try:
        text = _text(way, settings, wanted, iptables=iptables)
    except ValueError as error:
        raise ConfigError(f"print-ruleset: {error}") from None
    return Printed(text, tuple(notes))


def _text(way: str, settings: Settings, wanted: Wanted, *, iptables: bool) -> str:
    if not iptables:
        names = {"a": "queue.nft", "b": "queue-set.nft", "c": "set.nft",
                 "d": "door.nft" if wanted.doors else "door-raw.nft"}
        text = file(names[way], wanted)
    elif way == "b" and not settings.ipset:
        text = _BOTH.format(nft=file("queue-set-mark.nft", wanted), shell=file("queue-set-mark.sh", wanted))
    else:
        text = file({"a": "queue.sh", "b": "queue-set-ipset.sh", "c": "set-ipset.sh"}[way], wanted)
    if settings.learn_outbound:
        text += "\n" + file("outbound.sh" if iptables else "outbound.nft", wanted)
    return text


def _wanted(settings: Settings, way: str, notes: list[str]) -> Wanted:
    """All but the table, and whether hosts are led."""
    queues, group, outbound = settings.queue_num, _group(settings.pflog_interface), _group(settings.learn_outbound)
    ports: tuple[int, ...] = (PORT,)
    if way in ("a", "b") and queues is None:
        notes.append(f"no queue-num is given: the rules have {QUEUE}; start mxallowd with --queue-num {QUEUE}")
    if way in ("c", "d"):
        if group is None and outbound == GROUP:
            raise ConfigError(f"print-ruleset: learn-outbound has the NFLOG group {GROUP}: give the rules of way {way} "
                              "another one by pflog-interface nflog:GROUP")
        if group is None:
            notes.append(f"pflog-interface names no NFLOG group: the rules have {GROUP}; start mxallowd with "
                         f"--pflog-interface nflog:{GROUP}")
        ports = _ports(settings.pcap_filter, notes)
    return Wanted(
        fake4=_of(4, settings.fake_mailserver), fake6=_of(6, settings.fake_mailserver),
        real4=_of(4, settings.real_mailserver), real6=_of(6, settings.real_mailserver),
        ports=ports, queues=queues or range(QUEUE, QUEUE + 1), group=GROUP if group is None else group,
        outbound=OUTBOUND_GROUP if outbound is None else outbound,
        verdict_mark=settings.verdict_mark, refuse_mark=settings.refuse_mark, reset=settings.refuse == "reset",
        renew=settings.renew, network_key=settings.network_key, dry_run=settings.dry_run, doors=settings.door,
        entries=settings.copied_entries)


def _of(version: int, addresses: tuple[Address, ...]) -> tuple[str, ...]:
    return tuple(str(one) for one in addresses if one.version == version)


def _group(source: str | None) -> int | None:
    kind, _, number = (source or "").partition(":")
    return int(number) if kind == "nflog" else None


def _ports(expression: str, notes: list[str]) -> tuple[int, ...]:
    """The ports of a capture filter; of one that says more than ports, the default, and a note."""
    if _PORTS.fullmatch(expression):
        ports = tuple(dict.fromkeys(int(one) for one in re.findall(r"\d+", expression)))
        if all(0 < port < 1 << 16 for port in ports):
            return ports
    notes.append(f"the rules are for port {PORT}, whatever pcap-filter {quoted(expression)} says")
    return (PORT,)


def _table(settings: Settings, way: str, notes: list[str]) -> str:
    """The table of the rules: that of the sets. Raises ConfigError."""
    direct = settings.direct_table if settings.direct_table != "ipset" else None
    table = settings.nft_table or (direct if way == "a" else None)
    if table is None:
        if way != "a":
            notes.append(f'no nft-table is given: the rules are in "{TABLE}"; start mxallowd with '
                         f'--nft-table "{TABLE}"')
        return TABLE
    family, _, name = table.partition(" ")
    if family != "inet":
        raise ConfigError(f'print-ruleset: {quoted(table)} is no table for these rules, which need one of the family '
                          f'inet, such as "{TABLE}"')
    if name in KEYWORDS.split():
        raise ConfigError(f"print-ruleset: {quoted(name)} is a word of nft's language, and no name of a table; "
                          f'give mxallowd one such as "{TABLE}"')
    if name in OF_OTHERS or table == OUTBOUND_TABLE:
        raise ConfigError(f"print-ruleset: the rules replace all that {quoted(table)} has; give mxallowd a table of "
                          f'its own, such as "{TABLE}"')
    if table != TABLE:
        notes.append(f"the rules replace all rules of the table {quoted(table)}")
    return table


def _leads(settings: Settings, notes: list[str]) -> bool:
    """Whether the configuration wants hosts to be led from the fake server to the real one."""
    if settings.direct_after or settings.direct_table:
        return True
    if settings.trust is None:
        return False
    # It reads the list of public suffixes, which takes a while.
    from mxallowd.trust.lines import read  # noqa: PLC0415
    try:
        return any(line.first_mx_only for line in read(settings.trust))
    except ListError as error:
        notes.append(f"{error.faults[0].where}: {error.faults[0].reason}; nobody is led to the real server for it")
        return False


def _place(settings: Settings, way: str, table: str | None, notes: list[str]) -> bool:
    """Whether the daemon fills the sets of direct hosts where these rules ask for them: a table of nft, or ipset."""
    given, here = settings.direct_table, table or "ipset"
    if given is None and way == "a" and here not in (settings.nft_table, "ipset" if settings.ipset else None):
        notes.append(f"no direct-table is given: start mxallowd with --direct-table {quoted(here) if table else here}")
    elif given is not None and given != here:
        notes.append(f"nobody is led from the fake server to the real one: direct-table is {quoted(given)}, and these "
                     f"rules could ask {quoted(here)} alone")
        return False
    return True
