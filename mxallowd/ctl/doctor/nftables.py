"""Rules of nft as `nft -a -t list ruleset` writes them, as chains for walk.py.

A statement that is not known here makes a rule one that takes some packets. Named sets are not in that listing: a
stranger is in no set of sources, a known host in mxallowd's, and of the others it is not known.
"""
import ipaddress
import re
from collections.abc import Callable, Collection
from functools import partial

from mxallowd import surroundings
from mxallowd.ctl.doctor.iptables import CLIENT_PORTS, SMTP, marked, ports
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

_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_VALUE = r"(?P<not>!= |== )?(?P<value>vmap )?(?P<set>\{[^}]*\}|@\S+|[^\s{]+)"
_TESTS = tuple((re.compile(pattern), name) for pattern, name in (
    (rf"(?P<v>ip6?) (?P<k>[sd]addr) {_VALUE}", "address"),
    (rf"(?:tcp|th) (?P<k>[sd]port) {_VALUE}", "port"),
    (r"tcp flags (?P<a>!= |== )?(?:& \(?(?P<mask>[a-z| ]+?)\)? (?P<op>==|!=) )?(?P<set>[a-z]+(?:(?:,| \| )[a-z]+)*)"
     r"(?: / (?P<slash>[a-z,]+))?", "flags"),
    (rf"ct state {_VALUE}", "state"), (rf"meta nfproto {_VALUE}", "nfproto"),
    (rf"(?P<k>[io])if(?:name)? {_VALUE}", "interface"),
    (rf"(?:meta l4proto|ip protocol|ip6 nexthdr) {_VALUE}", "protocol"),
    (rf"fib (?P<k>[sd])addr type {_VALUE}", "local"),
    (r"(?:meta |ct )?mark set \S+", "statement"), (rf"(?P<k>ct )?(?:meta )?mark (?:& (?P<mask>\S+) )?{_VALUE}", "mark"),
    (r"counter(?: name \S+| packets \d+ bytes \d+)?", "statement"),
    (r"log(?: (?:prefix \"[^\"]*\"|(?:group|level|snaplen|queue-threshold) \S+|flags [a-z ]+?))*(?= |$)", "statement"),
    (r"limit rate (?P<set>\d+)/second(?: burst \d+ packets)?(?= )", "limit"),
    (r"quota name \"?(?P<set>mx_flood)\"?(?= |$)", "flood"), (r"notrack\b", "statement"),
    (r"comment \"[^\"]*\"", "statement")))
_HOOK = re.compile(r"type \w+ hook (\w+) (?:devices? (?:= )?(?:\{[^}]*\}|\S+) )?priority ([^;]+);"
                   r"(?: policy (\w+);)?")
_VERDICT = re.compile(
    r"(accept|drop|reject|return|continue|queue|dnat|redirect|tproxy|synproxy)\b.*|(jump|goto) (\S+)")
# A limit that the contacts of a gateway do not reach.
_MANY_A_SECOND = 1000
_ACTIONS = {"accept": ACCEPT, "drop": DROP, "reject": DROP, "synproxy": DROP, "return": RETURN, "queue": QUEUE,
            "dnat": AWAY, "redirect": AWAY, "tproxy": AWAY, "jump": JUMP, "goto": GOTO}


def chains_of(listing: str, version: int, *, without: Collection[str] = ()) -> list[Chain]:
    """The chains for a version of IP; `without`: tables of iptables, which nft shows as well (`ip filter`)."""
    found: list[Chain] = []
    table, families = "", ("ip" if version == 4 else "ip6", "inet")
    steps: list[Step] | None = None
    for raw in listing.splitlines():
        line, _, handle = raw.strip().partition(" # handle ")
        if start := re.match(r"table (\w+) (\S+) \{", line):
            table = f"{start[1]} {start[2]}" if start[1] in families else ""
            if table in without:
                table = ""
        elif not table:
            continue
        elif start := re.match(r"chain (\S+) \{", line):
            steps = []
            found.append(Chain("nft", table, start[1], steps))
        elif line == "}" or re.match(r"(set|map|flowtable|counter \S+|quota|limit) \S* ?\{", line):
            steps = None
        elif start := _HOOK.match(line):
            if found and steps is not None:
                last = found.pop()
                found.append(Chain("nft", table, last.name, steps, start[1], _priority(start[2]),
                                   DROP if start[3] == "drop" else ACCEPT))
        elif steps is not None and line:
            steps += _steps(table, found[-1].name, int(handle) if handle.isdigit() else 0, line, version)
    return found


def _priority(text: str) -> int:
    found = re.match(r"(-?\w+)(?: ([+-]) (\d+))?", text.strip())
    name, sign, offset = found.groups() if found else ("filter", "", "")
    return int(_PRIORITIES.get(name, int(name) if name.lstrip("-").isdigit() else 0)) + int(
        f"{sign or '+'}{offset or 0}")


def _steps(table: str, chain: str, handle: int, text: str, version: int) -> list[Step]:
    """A rule; one with a map of verdicts is one for each of them."""
    tests: list[Callable[[Packet], bool | None]] = []
    networks: list[Network] = []
    verdicts: list[tuple[Callable[[Packet], bool | None], str, str]] = []
    rest, action, target = text, NEXT, ""
    while rest:
        if verdict := _VERDICT.match(rest):
            action, target = _ACTIONS.get(verdict[1] or verdict[2], NEXT), verdict[3] or ""
            if rest.startswith("reject with tcp reset"):
                action = RESET
            break
        for pattern, name in _TESTS:
            if found := pattern.match(rest):
                parts = found.groupdict() | {"version": str(version)}
                if parts.get("value"):
                    for key, _, end in (one.strip().rpartition(" : ") for one in parts["set"].strip("{} ").split(",")):
                        if reached := _VERDICT.match(end):
                            verdicts.append((partial(_test, name, parts | {"set": key.strip()}), _ACTIONS.get(
                                reached[1] or reached[2], NEXT), reached[3] or ""))
                elif name != "statement":
                    tests.append(partial(_test, name, parts))
                    if name == "address" and parts["k"] == "saddr" and not parts["not"]:
                        networks += _networks(parts["set"])
                rest = rest[found.end() :].lstrip()
                break
        else:
            tests.append(lambda _: None)
            rest = rest.partition(" ")[2].lstrip()
    feeds = frozenset((kind, number) for kind, number, _ in surroundings.of_nft(f"table {table} {{\n{text}"))
    if verdicts:
        return [Step("nft", table, chain, handle, text, partial(_all, [*tests, test]), end, where, feeds,
                     tuple(networks)) for test, end, where in verdicts]
    return [Step("nft", table, chain, handle, text, partial(_all, tests), action, target, feeds, tuple(networks))]


def _all(tests: list[Callable[[Packet], bool | None]], packet: Packet) -> bool | None:
    return together(test(packet) for test in tests)


def _test(name: str, parts: dict[str, str], packet: Packet) -> bool | None:
    found = _plain(name, parts, packet)
    return found if found is None or name == "flags" else found != ((parts.get("not") or "").strip() == "!=")


def _plain(  # noqa: PLR0911, PLR0912  # a branch for each expression of nft
    name: str, parts: dict[str, str], packet: Packet,
) -> bool | None:
    values = [one.strip().strip('"') for one in parts["set"].strip("{} ").split(",")]
    key = parts.get("k") or ""
    match name:
        case "address":
            if ("ip" if packet.version == 4 else "ip6") != parts["v"]:
                return (parts.get("not") or "").strip() == "!="  # no packet of the other version is taken
            if values[0].startswith("@"):
                return packet.is_in(values[0][1:]) if key == "saddr" and packet.comes else None
            networks = _networks(parts["set"])
            return any((packet.source if key == "saddr" else packet.destination) in one for one in networks)
        case "port":
            wanted = (SMTP, SMTP) if (key == "dport") == packet.comes else CLIENT_PORTS
            return None if values[0].startswith("@") else ports(",".join(values), *wanted)
        case "flags":
            return _flags(parts, packet)
        case "state":
            return packet.state in values
        case "nfproto":
            return f"ipv{packet.version}" in values
        case "interface":
            if (key == "i") != packet.comes:
                return None
            return any(one == name or (one.endswith("*") and name.startswith(one[:-1]))
                       for one in values for name in packet.interfaces)
        case "limit":
            return True if int(values[0]) >= _MANY_A_SECOND else None
        case "flood":
            return packet.flood
        case "protocol":
            return bool({"tcp", "6"} & set(values))
        case "local":
            return ("local" in values) is ((key == "s") is not packet.comes)
        case "mark":
            return marked(0 if key else packet.mark, str(int(values[0])) if values[0].isdigit() else values[0],
                          parts["mask"] or "")
    return None


def _flags(parts: dict[str, str], packet: Packet) -> bool:
    wanted = set(re.split(r"[,| ]+", parts["set"]))
    mask = set(re.split(r"[,| ]+", parts["mask"] or parts["slash"] or "")) - {""}
    found = packet.flags & mask == wanted if mask else bool(packet.flags & wanted)
    return found != ("!=" in ((parts["op"] or "") + (parts["a"] or "")))


def _networks(text: str) -> list[Network]:
    found: list[Network] = []
    for one in text.strip("{} ").split(","):
        first, _, last = one.strip().partition("-")
        try:
            found += ipaddress.summarize_address_range(
                ipaddress.ip_address(first), ipaddress.ip_address(last)) if last else [
                    ipaddress.ip_network(first, strict=False)]
        except ValueError:
            continue
    return found
