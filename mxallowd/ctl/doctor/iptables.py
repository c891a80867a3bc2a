"""Rules of iptables as iptables-save writes them, as chains for walk.py.

A set's members are not looked at: a stranger is in none of them. A match that is not known here takes some packets.
"""
import ipaddress
import re
import shlex
from collections.abc import Iterator
from functools import partial

from mxallowd import surroundings
from mxallowd.ctl.doctor.walk import (
    ACCEPT,
    AWAY,
    DROP,
    GOTO,
    JUMP,
    NEXT,
    QUEUE,
    RESET,
    RETURN,
    Chain,
    Packet,
    Step,
    together,
)
from mxallowd.settings.values import Network

CLIENT_PORTS = (1024, 65535)
SMTP = 25
# linux/netfilter_ipv4.h: enum nf_ip_hook_priorities
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_ACTIONS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "TARPIT": DROP, "SYNPROXY": DROP, "RETURN": RETURN,
            "NFQUEUE": QUEUE, "DNAT": AWAY, "REDIRECT": AWAY, "TPROXY": AWAY}
_PLAIN = ("tcp", "multiport", "comment", "conntrack", "state", "set", "mark", "addrtype", "iprange")


def chains_of(text: str, program: str, version: int) -> list[Chain]:
    """The chains of all tables."""
    steps: dict[tuple[str, str], list[Step]] = {}
    policies: dict[tuple[str, str], str] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif found := re.match(r":(\S+) (\S+)", line):
            policies[table, found[1]] = found[2]
            steps.setdefault((table, found[1]), [])
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            _, chain, rest = line.split(" ", 2)
            own = steps.setdefault((table, chain), [])
            own.append(_step(program, version, table, chain, len(own) + 1, rest, policies))
    return [Chain(program, table, name, some, name.lower() if policies.get((table, name), "-") != "-" else "",
                  100 if table == "nat" and name in ("INPUT", "POSTROUTING") else PRIORITIES.get(table, 0),
                  DROP if policies.get((table, name)) == "DROP" else ACCEPT)
            for (table, name), some in steps.items()]


def _step(  # noqa: PLR0913, PLR0917  # where the rule stands, and the rule
    program: str, version: int, table: str, chain: str, place: int, text: str, chains: dict[tuple[str, str], str],
) -> Step:
    words = shlex.split(text)
    at = next((at for at, word in enumerate(words) if word in ("-j", "-g")), len(words))
    verb, target = ([*words[at : at + 2], "", ""])[:2]
    action = _ACTIONS.get(target, NEXT)
    if target == "REJECT" and "tcp-reset" in words:
        action = RESET
    if (table, target) in chains:
        action = GOTO if verb == "-g" else JUMP
    feeds = frozenset((kind, number) for kind, number, _ in surroundings.of_iptables(f"-A {chain} {text}", version))
    tests = list(_tests(words[:at], version))
    return Step(program, table, chain, place, text, partial(_takes, tests), action,
                target if action in (JUMP, GOTO) else "", feeds, tuple(
                    net for option, values, negated in tests if option == "-s" and not negated
                    if (net := _network(values[0])) is not None))


_Test = tuple[str, list[str], bool]


def _tests(words: list[str], version: int) -> Iterator[_Test]:
    """The tests of a rule: option, values, whether it is negated."""
    negated = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        values = []
        while at < len(words) and words[at] != "!" and not (words[at].startswith("-") and len(words[at]) > 1):
            values.append(words[at])
            at += 1
        yield word, values, negated
        negated = False


def _takes(tests: list[_Test], packet: Packet) -> bool | None:
    found = []
    for option, values, negated in tests:
        one = _test(option, values, packet)
        found.append(one if one is None or option in ("-m", "--comment") else one != negated)
    return together(found)


def _test(  # noqa: PLR0911, PLR0912  # a branch for each test of iptables
    option: str, values: list[str], packet: Packet,
) -> bool | None:
    value = values[0] if values else ""
    server, client = (SMTP, SMTP), CLIENT_PORTS
    to, from_ = (server, client) if packet.comes else (client, server)
    match option:
        case "-m":
            # Of a match without options that are known: whether it takes the packet is not known.
            return True if value in _PLAIN else None
        case "--comment":
            return True
        case "-s" | "-d":
            network = _network(value)
            return None if network is None else (packet.source if option == "-s" else packet.destination) in network
        case "--src-range" | "--dst-range":
            return _in_range(value, packet.source if option == "--src-range" else packet.destination)
        case "-i" | "-o":
            if (option == "-i") != packet.comes:
                return None
            return any(name == value or (value.endswith("+") and name.startswith(value[:-1]))
                       for name in packet.interfaces)
        case "-p":
            return value in ("tcp", "all", "6", "0")
        case "-f":
            return False
        case "--dport" | "--dports" | "--destination-ports":
            return ports(value, *to)
        case "--sport" | "--sports" | "--source-ports":
            return ports(value, *from_)
        case "--ports":
            return True if ports(value, SMTP, SMTP) else ports(value, *CLIENT_PORTS)
        case "--tcp-flags":
            mask, wanted = (set(one.lower().split(",")) for one in values[:2])
            return {one for one in packet.flags if one in mask or "all" in mask} == wanted - {"none"}
        case "--syn":
            return "syn" in packet.flags and not packet.flags & {"ack", "rst", "fin"}
        case "--ctstate" | "--state":
            return packet.state.upper() in value.split(",")
        case "--match-set":
            return packet.is_in(value) if values[-1] == ("src" if packet.comes else "dst") else None
        case "--mark":
            return marked(packet.mark, *value.partition("/")[::2])
        case "--src-type":
            return (value == "LOCAL") is not packet.comes
        case "--dst-type":
            return (value == "LOCAL") is (packet.comes and packet.local)
    return None


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _in_range(text: str, address: object) -> bool | None:
    first, _, last = text.partition("-")
    try:
        return int(ipaddress.ip_address(first)) <= int(address) <= int(ipaddress.ip_address(last))  # type: ignore[call-overload,no-any-return]
    except ValueError:
        return None


def marked(found: int, value: str, mask: str) -> bool | None:
    """Whether a mark has a value in these bits, both as programs list them; None: they are no numbers."""
    if not all(re.fullmatch(r"0x[0-9a-f]+|\d+", one) for one in (value, mask or "0")):
        return None
    return found & (int(mask, 0) if mask else -1) == int(value, 0)


def ports(text: str, first: int, last: int) -> bool | None:
    """Whether a list of ports and ranges (`20:30,smtp`) holds all ports of a range; None: some of them."""
    some = False
    for one in text.replace(" ", "").replace("smtp", str(SMTP)).split(","):
        low, _, high = one.replace("-", ":").partition(":")
        if not low.isdigit():
            return None
        begin, end = int(low), int(high) if high.isdigit() else int(low)
        if begin <= first and last <= end:
            return True
        some |= begin <= last and first <= end
    return None if some else False
