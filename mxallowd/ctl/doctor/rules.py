"""The rules of the firewall that feed mxallowd: present, before others, for SYNs alone, with bypass.

iptables is read as iptables-save writes it, nft as it lists its ruleset. Of nft no other chain matters: what one chain
accepts another one still judges.
"""
import re
import shlex
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import NamedTuple

from mxallowd import surroundings
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import BROKEN, OK, WARNING, Finding

NAMES = {4: "IPv4", 6: "IPv6"}
PROGRAMS = {4: ("iptables", "iptables-legacy"), 6: ("ip6tables", "ip6tables-legacy")}
BUILT_IN = ("INPUT", "FORWARD", "PREROUTING")
SYN = "--tcp-flags FIN,SYN,RST,ACK SYN"


_Feed = tuple[str, int, int]  # queue or group, its number, version of IP


class Rule(NamedTuple):
    """A rule of iptables."""

    program: str
    table: str
    chain: str
    place: int  # from 1
    text: str  # behind the name of the chain

    @property
    def target(self) -> str:
        """Where it leads to."""
        found = re.search(r" -[jg] (\S+)", " " + self.text)
        return found[1] if found else ""

    def command(self, verb: str, *, text: str | None = None) -> str:
        """A command with this rule's table and chain."""
        return f"{self.program} -t {self.table} {verb} {self.text if text is None else text}".rstrip()


def rules_of(text: str, program: str) -> list[Rule]:
    """What iptables-save wrote."""
    found: list[Rule] = []
    table, places = "", dict[str, int]()
    for line in text.splitlines():
        if line.startswith("*"):
            table, places = line[1:], {}
        elif line.startswith("-A "):
            _, chain, rest = line.split(" ", 2)
            places[chain] = places.get(chain, 0) + 1
            found.append(Rule(program, table, chain, places[chain], rest))
    return found


def check(facts: Facts) -> list[Finding]:
    """All of it."""
    wanted = [("queue", one) for one in facts.queues] or ([("group", facts.group)] if facts.group is not None else [])
    if not wanted:
        pf = facts.settings.get("pf_table")
        what = "those of pf" if pf else f"what feeds {facts.settings['capture']}"
        return [Finding("rule-present", WARNING, f"the firewall's rules are not checked: doctor does not read {what}",
                        "it reads iptables and nft; whether your rules do what docs/firewall.md says is not known",
                        "pfctl -s rules" if pf else "mxallowctl stats  # says what was received")]
    nft = surroundings.output("nft", "-a", "list", "ruleset")
    if nft is None:
        return [_unseen("nft list ruleset")]
    findings: list[Finding] = []
    for version in facts.versions:
        rules: list[Rule] = []
        for program in PROGRAMS[version]:
            text = surroundings.output(f"{program}-save")
            if text is None:
                return [*findings, _unseen(f"{program}-save")]
            rules += rules_of(text, program)
        alone = without_iptables(nft, version, {rule.table for rule in rules})
        of_nft = surroundings.of_nft(alone)
        feeding = [rule for rule in rules if rule.target in ("NFQUEUE", "NFLOG")]
        for kind, number in wanted:
            feed = kind, number, version
            mine = [rule for rule in feeding if feed in surroundings.of_iptables(
                f"-A {rule.chain} {rule.text}", version)]
            findings += _of_feed(feed, mine, rules, alone if feed in of_nft else "")
    return findings


def without_iptables(nft: str, version: int, tables: Collection[str]) -> str:
    """nft's ruleset without the tables that are those of iptables, whose rules it shows, too."""
    family = "ip" if version == 4 else "ip6"
    return "".join(one for one in re.split(r"^(?=table )", nft, flags=re.MULTILINE)
                   if not any(one.startswith(f"table {family} {table} {{") for table in tables))


def _unseen(command: str) -> Finding:
    return Finding("rule-present", WARNING, f"the rules cannot be seen: {command} failed",
                   "whether anything feeds mxallowd is not known", "sudo mxallowctl doctor")


def _of_feed(feed: _Feed, mine: list[Rule], rules: list[Rule], nft: str) -> Iterator[Finding]:
    kind, number, version = feed
    what = f"{'queue' if kind == 'queue' else 'NFLOG group'} {number}"
    if not mine and not nft:
        way = "queue.sh" if kind == "queue" else "set.nft"
        program = PROGRAMS[version][0]
        yield Finding(
            "rule-present", BROKEN, f"no rule of the firewall feeds {what} with {NAMES[version]}",
            "mxallowd sees no packet, so nobody is refused" if kind == "queue" else "mxallowd learns of no contact",
            f"{program} -A INPUT -p tcp --dport 25 --syn -j NFQUEUE --queue-num {number} --queue-bypass"
            if kind == "queue" else f"nft -f rulesets/{way}")
        return
    yield Finding("rule-present", OK, f"a rule feeds {what} with {NAMES[version]}")
    for rule in mine:
        yield from _before_others(rule, rules, version)
    if kind == "queue":
        for rule in mine:
            yield from _syn(rule, rules, version)
            yield _bypass(rule, version)
        yield from of_nft(nft, number, version)


class _NftRule(NamedTuple):
    """A rule of nft with a queue statement."""

    table: str  # family and name
    chain: str
    handle: str
    text: str

    def replaced(self, text: str) -> str:
        """The command that puts another one in its place."""
        return f"nft replace rule {self.table} {self.chain} handle {self.handle} {shlex.quote(text)}"


def of_nft(listing: str, number: int, version: int) -> Iterator[Finding]:
    """Bypass and SYNs of the rules of nft that feed a queue. `listing` is what `nft -a list ruleset` says."""
    for rule, syns in _queueing(listing, number, version):
        if "bypass" in rule.text:
            yield Finding("bypass", OK, f"without mxallowd mail goes on (nft, {NAMES[version]})")
        else:
            text = re.sub(r"\bqueue to (\S+)", r"queue flags bypass to \1", rule.text)
            text = re.sub(r"\bqueue flags (?!bypass)(\S+) (to|num)", r"queue flags \1,bypass \2", text)
            text = text if "bypass" in text else re.sub(r"\bqueue num (\S+)", r"queue num \1 bypass", text)
            yield Finding("bypass", WARNING, f"a queue statement of nft has no bypass: {rule.text}", _NO_BYPASS,
                          rule.replaced(text))
        if syns:
            yield Finding("syn", OK, f"the rule takes SYNs alone (nft, {NAMES[version]})")
        else:
            yield Finding("syn", WARNING, f"nothing in the table {rule.table} takes SYNs alone: {rule.text}", _NOT_SYN,
                          rule.replaced(f"tcp flags & (fin | syn | rst | ack) == syn {rule.text}"))


def _queueing(listing: str, number: int, version: int) -> Iterator[tuple[_NftRule, bool]]:
    """The rules that feed the queue, and whether their table looks for SYNs anywhere."""
    for table in re.split(r"^(?=table )", listing, flags=re.MULTILINE):
        name = re.match(r"table (\w+ \S+) \{", table)
        if not name:
            continue
        syns = re.search(r"tcp flags .*\bsyn\b", table) is not None
        chain = ""
        for line in table.splitlines():
            if found := re.match(r"\s*chain (\S+) \{", line):
                chain = found[1]
            text, _, handle = line.strip().partition(" # handle ")
            if ("queue", number, version) in surroundings.of_nft(f"{table.splitlines()[0]}\n{text}"):
                yield _NftRule(name[1], chain, handle, text), syns


_NO_BYPASS = "while mxallowd does not run, the kernel drops every new connection to port 25"


def _ways(rule: Rule, rules: list[Rule], depth: int = 0) -> Iterator[Rule]:
    """The rules of built-in chains by which packets come to it."""
    if rule.chain in BUILT_IN or depth > 8:
        yield rule
        return
    for one in rules:
        if (one.program, one.table, one.target) == (rule.program, rule.table, rule.chain):
            yield from _ways(one, rules, depth + 1)


def _before_others(rule: Rule, rules: list[Rule], version: int) -> Iterator[Finding]:
    entries = list(_ways(rule, rules))
    if not entries:
        yield Finding(
            "rule-reached", BROKEN, f"no rule leads to the chain {rule.chain} of {rule.program}, in which the rule for "
            "mxallowd stands", "no packet comes there, so nobody is refused",
            f"{rule.program} -t {rule.table} -A INPUT -p tcp --dport 25 --syn -j {rule.chain}")
        return
    for entry in entries:
        earlier = next((one for one in rules if (one.program, one.table, one.chain) == (
            entry.program, entry.table, entry.chain) and one.place < entry.place and accepts_mail(one)), None)
        if earlier is None:
            yield Finding("rule-first", OK, f"nothing before it in {entry.chain} accepts mail ({NAMES[version]})")
        else:
            yield Finding(
                "rule-first", BROKEN, f"rule {earlier.place} of {earlier.chain} accepts mail before mxallowd sees it: "
                f"{earlier.program} -A {earlier.chain} {earlier.text}", "unknown hosts reach the real server",
                f"{entry.command(f'-I {entry.chain} {earlier.place}')} && "
                f"{entry.command(f'-D {entry.chain} {entry.place + 1}', text='')}")


_NOT_SYN = ("packets in the middle of connections wait for mxallowd, too, and a lone ACK can be refused "
            "(docs/firewall.md)")


def accepts_mail(rule: Rule) -> bool:
    """Whether it accepts a SYN to port 25 from nearly anybody."""
    if rule.target != "ACCEPT":
        return False
    words = shlex.split(rule.text)
    values = dict(pairwise(words))
    if values.get("-p", "tcp") not in ("tcp", "all") or "!" in words or values.get("-i") == "lo":
        return False
    if any(word in values for word in ("-s", "--match-set", "--mark", "--sport", "--sports", "--src-type")):
        # It is for some hosts: an exemption, or the whitelist's own.
        return False
    states = values.get("--ctstate", values.get("--state", "NEW"))
    if not {"NEW", "UNTRACKED"} & set(states.split(",")):
        return False
    ports = values.get("--dport", values.get("--dports", "25"))
    return any(int(first) <= 25 <= int(last or first)
               for first, _, last in (one.partition(":") for one in ports.split(",")) if first.isdigit())


def _syn(rule: Rule, rules: list[Rule], version: int) -> Iterator[Finding]:
    for entry in _ways(rule, rules):
        if any(SYN in one.text for one in (rule, entry)):
            yield Finding("syn", OK, f"the rule takes SYNs alone ({NAMES[version]})")
        else:
            changed = entry.text.replace(" -j ", f" {SYN} -j ", 1)
            changed = re.sub(r" -m (?:state --state|conntrack --ctstate) NEW\b", "", changed)
            yield Finding(
                "syn", WARNING, f"the rule takes other packets than SYNs: {entry.program} -A {entry.chain} "
                f"{entry.text}", _NOT_SYN,
                entry.command(f"-R {entry.chain} {entry.place}", text=changed))


def _bypass(rule: Rule, version: int) -> Finding:
    if "--queue-bypass" in rule.text:
        return Finding("bypass", OK, f"without mxallowd mail goes on ({NAMES[version]})")
    return Finding("bypass", WARNING, f"the rule has no --queue-bypass: {rule.program} -A {rule.chain} {rule.text}",
                   _NO_BYPASS, rule.command(f"-R {rule.chain} {rule.place}", text=f"{rule.text} --queue-bypass"))
