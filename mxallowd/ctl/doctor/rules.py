"""The rules of the firewall that feed mxallowd: whether what they do is nolisting.

A SYN to port 25 of each server is led through all rules (walk.py), as the kernel would lead it: of a stranger, and of
one host in each large network that a rule names. It has to come to the queue; in way c the fake server's has to come to
the group, and the real server's must be dropped. So do a lone ACK, which is not to come to the queue, and the RST of
the fake server, which has to get out. A finding names all servers that it concerns.
"""
import re
import socket
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mxallowd import surroundings
from mxallowd.ctl.doctor import direct, iptables, networkkey, nftables, queues, shipped
from mxallowd.ctl.doctor.facts import Facts
from mxallowd.ctl.doctor.findings import AS_ROOT, BROKEN, OK, WARNING, Finding
from mxallowd.ctl.doctor.mending import Mending, joined
from mxallowd.ctl.doctor.walk import (
    ACCEPT,
    AWAY,
    DROP,
    QUEUE,
    RESET,
    USED,
    WHITELISTED,
    Fate,
    Feeds,
    Packet,
    Ruleset,
    Step,
    stranger,
)
from mxallowd.ctl.doctor.wrongs import DRY_RUN, FILES, Server, Wrong, what
from mxallowd.settings.values import Address

NAMES = {4: "IPv4", 6: "IPv6"}
PROGRAMS = {4: ("iptables", "iptables-legacy"), 6: ("ip6tables", "ip6tables-legacy")}
# A rule for a network up to this is an exemption of some hosts; a larger one is looked at.
LARGE = {4: 16, 6: 32}
MOST_NETWORKS = 64

_NO_BYPASS = "while mxallowd does not run, the kernel drops every new connection to port 25"
_NOT_SYN = ("packets in the middle of connections wait for mxallowd, too, and a lone ACK can be refused "
            "(docs/firewall.md)")


def check(facts: Facts) -> list[Finding]:
    """All of it."""
    if not facts.queues and facts.group is None:
        pf = facts.settings.get("pf_table")
        what = "those of pf" if pf else f"what feeds {facts.settings['capture']}"
        return [Finding("rule-present", WARNING, f"the firewall's rules are not checked: doctor does not read {what}",
                        "it reads iptables and nft; whether your rules do what docs/firewall.md says is not known",
                        "pfctl -s rules" if pf else "mxallowctl stats  # says what was received")]
    nft = surroundings.output("nft", "-a", "-t", "list", "ruleset")
    if nft is None:
        return [_unseen("nft list ruleset")]
    served = queues.served()
    findings = [*direct.of_settings(facts)]
    for version in facts.versions:
        saved: dict[str, str] = {}
        for program in PROGRAMS[version]:
            text = surroundings.output(f"{program}-save")
            if text is None:
                return [*findings, _unseen(f"{program}-save")]
            saved[program] = text
        found = read(nft, saved, version)
        findings += of_ruleset(found, facts, version, outside(version), served=served)
        findings += direct.of_rules(nft, saved, facts, version, found)
        findings += networkkey.of_rules(nft, facts, version)
    return findings


def read(nft: str, saved: dict[str, str], version: int) -> Ruleset:
    """The rules as the programs list them: `saved` by the name of each iptables."""
    chains = [chain for program, text in saved.items() for chain in iptables.chains_of(text, program, version)]
    family = "ip" if version == 4 else "ip6"
    return Ruleset([*chains, *nftables.chains_of(
        nft, version, without={f"{family} {chain.table}" for chain in chains})])


def outside(version: int) -> frozenset[str]:
    """The interfaces by which strangers come: those of default routes; where there is none, all but lo."""
    try:
        if version == 4:
            rows = [line.split() for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]]
            found = {row[0] for row in rows if row[1] == row[7] == "00000000"}
        else:
            rows = [line.split() for line in Path("/proc/net/ipv6_route").read_text(encoding="ascii").splitlines()]
            found = {row[9] for row in rows if row[1] == "00" and set(row[0]) == {"0"}}
        return frozenset(found - {"lo"} or {one for _, one in socket.if_nameindex() if one != "lo"})
    except (OSError, IndexError):
        return frozenset({"eth0"})


def _unseen(command: str) -> Finding:
    return Finding("rule-present", WARNING, f"the rules cannot be seen: {command} failed",
                   "whether anything feeds mxallowd is not known", AS_ROOT)


def is_here(server: Address) -> bool:
    """Whether packets to it end here; those to others are forwarded."""
    return surroundings.is_here(server) is not False or not surroundings.forwards()


def of_ruleset(  # noqa: PLR0913  # the rules, and what of this host decides on them
    rules: Ruleset, facts: Facts, version: int, interfaces: frozenset[str], here: Callable[[Address], bool] = is_here,
    *, served: Container[int] | None = None,
) -> list[Finding]:
    """What is wrong with rules for one version of IP, where strangers come by these interfaces.

    `served` are the queues of all programs; None: not known.
    """
    servers = [Server(role, one, here(one)) for role, some in (("fake", facts.fake), ("real", facts.real))
               for one in some if one.version == version]
    look = _Look(rules, facts, servers, interfaces, served)
    found = [*look.present()]
    if look.feeding:
        found += [*look.strangers(), *look.exempt()]
        if look.queue:
            found += [*look.form(), *look.rejects()]
    return [*found, *look.answers()]


class _Look:
    """A look at one version's rules."""

    def __init__(
        self, rules: Ruleset, facts: Facts, servers: Sequence[Server], interfaces: frozenset[str],
        served: Container[int] | None,
    ) -> None:
        """At least one server, all of one version of IP."""
        version = servers[0].address.version
        self.queue = bool(facts.queues)
        self._ours: Feeds = frozenset(("queue", one) for one in facts.queues) or frozenset({
            ("group", facts.group or 0)})
        self.feeding = [step for step in rules.steps() if step.feeds & self._ours]
        self._rules = rules
        # Without a rule that asks who is known, a known host cannot be told from a stranger.
        self._asked = {name for step in rules.steps() for name in USED if f"{name}{version}" in step.text}
        self._servers = servers
        self._named = sorted({net for step in rules.steps() for net in step.networks if net.version == version},
                             key=lambda net: (net.prefixlen, int(net.network_address)))
        self._source = stranger(version, self._named)
        self._interfaces = interfaces
        self._served = served
        self._dry_run = bool(facts.settings.get("dry_run"))
        self._version, self._name = version, NAMES[version]
        self._way = shipped.way(rules, facts.settings)
        self._refuse_mark = str(facts.settings["refuse_mark"]) if facts.settings.get("refuse") == "reset" else ""
        # A lone ACK in a connection that the kernel does not know is new to it.
        self._lone = {id(fate.queued[-1]): fate.queued for server in self._servers
                      if (fate := self._walk(self._packet(server, flags=frozenset({"ack"})))).queued}
        # What the daemon marked when it accepted it passes its chain again, and is not to come a second time.
        mark = facts.settings.get("verdict_mark")
        value = int(str(mark).partition("/")[0], 0) if mark else 0
        self._again = [step for step in self.feeding if mark and any(
            fate.queued and fate.queued[-1] is step for server in servers
            if (fate := self._walk(replace(self._packet(server), mark=value))))]
        self._mending = Mending(rules, self.feeding, (path[0] for path in self._lone.values()), self._again, version,
                                sorted(facts.queues), mark, shipped.load(facts.settings, facts.pid, self._way))

    def _packet(
        self, server: Server, source: Address | None = None, flags: frozenset[str] = frozenset({"syn"}),
    ) -> Packet:
        return Packet(source or self._source, server.address, flags, local=server.local, interfaces=self._interfaces)

    def _walk(self, packet: Packet) -> Fate:
        return self._rules.walk(packet, self._ours)

    def present(self) -> Iterator[Finding]:
        """A rule for each queue or the group."""
        fates = [self._walk(self._packet(server)) for server in self._servers]
        reached = [step for step in self.feeding if not self._hidden(step)]
        fed = {one for step in reached for one in step.feeds}
        kind = "queue" if self.queue else "NFLOG group"
        for one in sorted(self._ours & fed):
            yield Finding("rule-present", OK, f"a rule feeds {kind} {one[1]} with {self._name}")
        missing = [number for _, number in sorted(self._ours - fed)]
        if not missing:
            return
        what = (f"no rule of the firewall feeds {kind}{'s' if len(missing) > 1 else ''} {joined(missing)} with "
                f"{self._name}")
        why = "mxallowd learns of no contact"
        command = self._mending.load
        if self.queue and reached:
            what += f"; this one feeds but a part of mxallowd's queues: {reached[0]}"
            why = "what is to be shared among threads comes to some of them"
            command = self._mending.renumbered(reached)
        elif self.queue:
            why = "mxallowd sees no packet, so nobody is refused"
            wrong = self._unserved(fates)
            if wrong:
                what += f"; this one feeds a queue that nobody serves: {wrong[0]}"
                command = self._mending.renumbered(wrong)
            else:
                command = self._mending.new(
                    [server.address for server in self._servers],
                    [self._mending.nearest(fate.accepted) or fate.path for fate in fates])
        yield Finding("rule-present", BROKEN, what, why, command)

    def _hidden(self, step: Step) -> bool:
        """Whether another rule of mxallowd gets all that this one would take."""
        taken = [self._walk(packet).queued for packet in map(self._packet, self._servers) if step.takes(packet)]
        return bool(taken) and all(path and path[-1] is not step for path in taken)

    def _unserved(self, fates: Sequence[Fate]) -> list[Step]:
        """The rules that give packets for the servers to queues that nobody serves."""
        if self._served is None:
            return []
        found = {id(path[-1]): path[-1] for fate in fates for path in fate.accepted.values()
                 if path and path[-1].action == QUEUE and path[-1].feeds}
        return [step for step in found.values() if not any(number in self._served for _, number in step.feeds)]

    # ---- what becomes of strangers

    def strangers(self) -> Iterator[Finding]:
        """A stranger's SYN comes to where it has to come, one finding for all servers that the same rule concerns."""
        groups: dict[tuple[str, tuple[int, ...]], list[Wrong]] = {}
        for server in self._servers:
            for packet in self._hosts(server):
                if wrong := self._wrong(server, packet, self._walk(packet)):
                    groups.setdefault((wrong.check, tuple(map(id, wrong.path))), []).append(wrong)
                    break
        # One rule may have to be moved before those of several groups: its command is told when all of them are known.
        for some in groups.values():
            self._finding(some)
        yield from map(self._finding, groups.values())
        if not groups:
            fake, real = ([one for one in self._servers if one.role == role] for role in ("fake", "real"))
            yield Finding(
                "rule-reached", OK, f"packets to {joined(self._servers)} come to mxallowd" if self.queue else
                f"packets to {joined(fake)} come to mxallowd, those of strangers to {joined(real)} are dropped")
            yield Finding("rule-first", OK, f"nothing before it accepts or drops mail ({self._name})")

    def _hosts(self, server: Server) -> Iterator[Packet]:
        """A stranger's packet; where the kernel decides, also in a flood, and those of hosts that have to come in."""
        packet = self._packet(server)
        yield packet
        if not self.queue and server.role == "real":
            yield replace(packet, flood=True)
            yield from (replace(packet, known=sets) for sets in (WHITELISTED, USED) if self._asked.issuperset(sets))

    def _wrong(self, server: Server, packet: Packet, fate: Fate) -> Wrong | None:  # noqa: PLR0911  # one for each end
        fed = bool(fate.queued) if self.queue else bool(fate.logged & self._ours)
        real = server.role == "real"
        no_mail = "nobody can deliver mail" if real else "senders get no RST there, and wait for minutes"
        dropped = fate.end in (DROP, RESET)
        # NAT behind the door leads mail on to where the server stands.
        if packet.known:
            return Wrong("rule-behind" if fate.chain and self._mending.behind(fate.chain) else "rule-first", BROKEN,
                         no_mail, fate.path, fate.chain, packet, server) if dropped else None
        if fate.end == AWAY:
            return Wrong("rule-away", WARNING, "what becomes of them there is not looked at", fate.path, fate.chain,
                          packet, server)
        if fed and fate.end == RESET and not real:
            return None  # the firewall answers in the fake server's place
        if dropped and (self.queue or not real):
            return Wrong("rule-behind" if fed else "rule-first", BROKEN, no_mail, fate.path, fate.chain, packet,
                          server)
        if dropped and self._dry_run:
            return Wrong("rule-dry-run", BROKEN, DRY_RUN.format(FILES[self._way]), fate.path, fate.chain, packet,
                         server)
        if fed if self.queue or not real else dropped or self._dry_run:
            return None
        path = self._mending.nearest(fate.accepted) or ()
        return Wrong("rule-first" if path else "rule-reached", BROKEN,
                      "unknown hosts reach the real server" if real else "nobody is let in by a contact there", path,
                      None, packet, server)

    def _finding(self, some: Sequence[Wrong]) -> Finding:
        one, last = some[0], some[0].path[-1] if some[0].path else None
        mending = self._mending
        if not self.queue and any(shipped.holds(self._rules, each) for each in (last, one.chain) if each):
            command = mending.load
        elif one.check == "rule-dry-run":
            command = mending.let_through(one.chain) if one.chain and not last else mending.verdict(
                last, "drop", "accept") if last and re.search(r"\bdrop\b|-j DROP\b", last.text) else mending.without(
                    one.path)
        elif not self.queue and last and last.action == ACCEPT and self._logs(last):
            command = mending.verdict(last, "accept", "drop")
        elif one.check in ("rule-behind", "rule-away") and one.chain is not None:
            command = mending.without(one.path) if one.path else mending.let_through(one.chain)
        else:
            command = mending.feed([wrong.packet for wrong in some], one.path, one.chain)
        return Finding(one.check, one.state, what(some, self.feeding[0], queue=self.queue),
                       "; ".join(dict.fromkeys(wrong.why for wrong in some)), command)

    def _logs(self, step: Step) -> bool:
        """Whether a rule stands in a chain that feeds mxallowd: who comes to its end is decided there."""
        return any((one.program, one.table, one.chain) == (step.program, step.table, step.chain)
                   for one in self.feeding)

    def exempt(self) -> Iterator[Finding]:
        """Hosts of large networks that pass mxallowd by, where strangers do not."""
        seen: set[int] = set()
        large = [one for one in self._named if one.prefixlen <= LARGE[self._version]][:MOST_NETWORKS]
        for server in (one for one in self._servers if one.role == "real"):
            usual = self._walk(self._packet(server))
            for network in large:
                fate = self._walk(self._packet(server, network[1]))
                path = self._mending.nearest(fate.accepted) or ()
                if (fate.end == ACCEPT and not fate.queued and (usual.queued or usual.end != ACCEPT) and path
                        and id(path[-1]) not in seen):
                    seen.add(id(path[-1]))
                    yield Finding(
                        "rule-exempt", WARNING, f"hosts of {network} reach the real server without mxallowd, by "
                        f"{path[-1]}", "of so large a network unknown hosts are not refused",
                        self._mending.without(path))

    # ---- the rule itself

    def form(self) -> Iterator[Finding]:
        """SYNs alone, with bypass."""
        for step in self.feeding:
            paths = [path for _, path in self._rules.paths_to(step)]
            if not paths:
                yield Finding(
                    "rule-reached", BROKEN, f"no rule leads to the chain {step.chain} of {step.program}, in which the "
                    "rule for mxallowd stands", "no packet comes there, so nobody is refused",
                    self._mending.jump(step))
                continue
            lone = self._lone.get(id(step))
            if lone:
                yield Finding("syn", WARNING, f"the rule takes other packets than SYNs: {lone[0]}", _NOT_SYN,
                              self._mending.without(lone[:1]) if self._spare(lone[0]) else
                              self._mending.form(lone, syns=True))
            if "bypass" not in step.text:
                yield Finding("bypass", WARNING, f"the rule has no bypass: {step}", _NO_BYPASS,
                              self._mending.without((step,)) if self._spare(step) else
                              self._mending.form(paths[0], syns=False))
            if any(step is one for one in self._again):
                yield Finding("mark", WARNING, f"the rule takes packets with the mark of --verdict-mark: {step}",
                              "each accepted packet comes to mxallowd twice, and rules behind do not decide on it",
                              self._mending.form(paths[0], syns=False))
        if not self._lone:
            yield Finding("syn", OK, f"the rules take SYNs alone ({self._name})")
        if all("bypass" in step.text for step in self.feeding):
            yield Finding("bypass", OK, f"without mxallowd mail goes on ({self._name})")

    def _spare(self, step: Step) -> bool:
        """Whether other rules feed what this one does, as they should: then it is enough to remove it."""
        rest = self._rules.without(step)
        syns = [rest.walk(self._packet(server), self._ours).queued for server in self._servers]
        lone = [rest.walk(self._packet(server, flags=frozenset({"ack"})), self._ours).queued
                for server in self._servers]
        return self.queue and not any(lone) and all(
            path and "bypass" in path[-1].text and step.feeds & self._ours <= path[-1].feeds for path in syns)

    def rejects(self) -> Iterator[Finding]:
        """With --refuse reset: a rule rejects what mxallowd has refused and marked, before the queue's takes it."""
        value = int(self._refuse_mark.partition("/")[0], 0) if self._refuse_mark else 0
        wrong = [(server, fate) for server in self._servers if value and server.role == "real" and (
            fate := self._walk(replace(self._packet(server), mark=value))).end != RESET]
        gets_in = [server for server, fate in wrong if fate.end == ACCEPT and not fate.queued]
        command = self._mending.rejection(self._refuse_mark)
        if gets_in:
            path = next(fate for server, fate in wrong if server is gets_in[0]).accepted.values()
            by = next((f", by {steps[-1]}" for steps in path if steps), "")
            yield Finding("refuse", BROKEN, f"packets to {joined(gets_in)} with the mark of --refuse-mark are "
                          f"accepted{by}", "refused hosts reach the real server", command)
        elif wrong:
            yield Finding("refuse", WARNING, f"no rule rejects packets to {joined(server for server, _ in wrong)} with "
                          "the mark of --refuse-mark", "refused hosts get no RST: mxallowd drops them when they come "
                          "again", command)
        elif value:
            yield Finding("refuse", OK, f"what mxallowd refuses is rejected with a RST ({self._name})")

    # ---- the way back

    def answers(self) -> Iterator[Finding]:
        """The RST of the fake server gets out."""
        for server in (one for one in self._servers if one.role == "fake" and one.local):
            fate = self._walk(Packet(
                server.address, self._source, frozenset({"rst", "ack"}), "established", comes=False,
                interfaces=self._interfaces))
            if fate.end != ACCEPT and fate.chain is not None:
                yield Finding(
                    "fake-answers", BROKEN, f"the RST of the fake server {server.address} is dropped by "
                    f"{fate.path[-1] if fate.path else f'the policy of {fate.chain.table} {fate.chain.name}'}",
                    "senders get no answer there, wait for minutes, and may never come to the real server",
                    self._mending.without(fate.path) if fate.path else
                    self._mending.let_out(fate.chain, server.address))
