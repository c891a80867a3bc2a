"""The way of a packet through the firewall: which rule decides on it. Pure; what reads rules is iptables and nftables.

A rule takes a packet, does not, or takes some such packets (a rate, a share, a match that doctor does not know). The
last ones decide on nothing here. Base chains come in the order of the kernel's hooks and priorities: what one accepts,
the next one still judges; a drop is final; a queued packet goes on with the next one when the verdict is accept.
"""
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mxallowd.settings.values import Address, Network

DEEPEST = 16  # jumps; the kernel allows as many in nft
STRANGERS = {4: ("198.51.100.77", "100.66.77.88", "9.8.7.6", "77.66.55.44", "185.99.88.77"),
             6: ("2001:db8:7777::77", "2a01:7777::77", "2606:7777::77")}
ACCEPT, DROP, RESET, QUEUE, AWAY = "accept", "drop", "reset", "queue", "away"  # RESET: rejected with a RST
# The sets that hold a host which was let in, and one that was at the real server since.
WHITELISTED, USED = ("mx_white",), ("mx_white", "mx_used", "mx_fresh")
RETURN, JUMP, GOTO, NEXT = "return", "jump", "goto", "next"

Feeds = frozenset[tuple[str, int]]  # queues and groups, by number


@dataclass(frozen=True)
class Packet:
    """A packet of TCP; one port is 25, the other one that of a client."""

    source: Address
    destination: Address
    flags: frozenset[str] = frozenset({"syn"})
    state: str = "new"
    comes: bool = True  # to the servers; False: it is an answer of this host
    local: bool = True  # the server is this host
    interfaces: frozenset[str] = frozenset()  # by which it may come or go, never lo
    mark: int = 0
    known: tuple[str, ...] = ()  # the sets of mxallowd that hold its source, without 4 or 6
    flood: bool = False  # the quota mx_flood of way d is used up

    @property
    def version(self) -> int:
        """Of IP."""
        return self.source.version

    def is_in(self, name: str) -> bool:
        """Whether a set of this name holds the source."""
        return name.rstrip("46") in self.known


Takes = Callable[[Packet], bool | None]


@dataclass(frozen=True, eq=False)
class Step:
    """A rule."""

    program: str  # nft, iptables, ip6tables …
    table: str  # of nft with its family
    chain: str
    place: int  # in its chain from 1; in nft the handle
    text: str
    takes: Takes
    action: str
    target: str = ""  # the chain of a jump or goto
    feeds: Feeds = frozenset()
    networks: tuple[Network, ...] = ()  # sources it names

    def __str__(self) -> str:
        if self.program == "nft":
            return f"nft, {self.table} {self.chain}: {self.text}"
        return f"{self.program}{'' if self.table == 'filter' else f' -t {self.table}'} -A {self.chain} {self.text}"


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain; a base chain has a hook."""

    program: str
    table: str
    name: str
    steps: Sequence[Step]
    hook: str = ""
    priority: int = 0
    policy: str = ACCEPT


class Fate(NamedTuple):
    """What becomes of a packet."""

    end: str  # ACCEPT, DROP, RESET, AWAY
    path: tuple[Step, ...]  # the rules that led to this end, each in a chain of its own; () the policy of a chain
    chain: Chain | None  # the base chain of this end, where it is not ACCEPT
    queued: tuple[Step, ...]  # the path to the rule that queued it; () it was not
    accepted: Mapping[Chain, tuple[Step, ...]]  # by base chain: the path to the rule that accepted it before
    logged: Feeds  # groups that got a copy
    partly: tuple[Step, ...]  # rules that queue some such packets only


@dataclass
class _Seen:
    logged: set[tuple[str, int]] = field(default_factory=set)
    partly: list[Step] = field(default_factory=list)


class Ruleset:
    """All chains of one version of IP."""

    def __init__(self, chains: Iterable[Chain]) -> None:
        self.chains = list(chains)
        self._by_name = {(one.program, one.table, one.name): one for one in self.chains}

    def without(self, step: Step) -> "Ruleset":
        """The same, once this rule is removed."""
        return Ruleset(replace(chain, steps=[one for one in chain.steps if one is not step]) for chain in self.chains)

    def steps(self) -> Iterator[Step]:
        """All rules."""
        return (step for chain in self.chains for step in chain.steps)

    def base(self, *hooks: str) -> list[Chain]:
        """The base chains of these hooks, in their order."""
        return sorted((one for one in self.chains if one.hook in hooks),
                      key=lambda one: (hooks.index(one.hook), one.priority))

    def paths_to(self, wanted: Step) -> list[tuple[Chain, tuple[Step, ...]]]:
        """The ways that lead from base chains to a rule."""
        return [(chain, path) for chain in self.chains if chain.hook for path in self._paths(chain, wanted, 0)]

    def _paths(self, chain: Chain, wanted: Step, depth: int) -> Iterator[tuple[Step, ...]]:
        for step in chain.steps:
            if step is wanted:
                yield (step,)
            elif step.action in (JUMP, GOTO) and depth < DEEPEST and (further := self._of(step)):
                yield from ((step, *rest) for rest in self._paths(further, wanted, depth + 1))

    def _of(self, step: Step) -> Chain | None:
        return self._by_name.get((step.program, step.table, step.target))

    def walk(self, packet: Packet, ours: Feeds) -> Fate:
        """The way of a packet; `ours` are the queues that count."""
        # By which interface mail comes in is not known: by one of those at which a chain stands, as --door has them.
        hooks = ("ingress", "prerouting", *(("input",) if packet.local else ("forward", "postrouting"))) \
            if packet.comes else ("output", "postrouting")
        seen, queued, accepted = _Seen(), tuple[Step, ...](), dict[Chain, tuple[Step, ...]]()
        for chain in self.base(*hooks):
            action, path = self._within(chain, packet, seen, 0)
            if action == QUEUE and path[-1].feeds & ours:
                queued = queued or path
            elif action in (QUEUE, ACCEPT):
                # What another program gets passes the rest of this chain by.
                if not queued:
                    accepted[chain] = path
            elif (action or chain.policy) != ACCEPT:
                return Fate(action or chain.policy, path, chain, queued, accepted, frozenset(seen.logged),
                            tuple(seen.partly))
        return Fate(ACCEPT, (), None, queued, accepted, frozenset(seen.logged), tuple(seen.partly))

    def _within(self, chain: Chain, packet: Packet, seen: _Seen, depth: int) -> tuple[str, tuple[Step, ...]]:
        """The action of the rule that decides in a chain, and the path to it; "": none does."""
        for step in chain.steps:
            takes = step.takes(packet)
            if takes is None and step.action == QUEUE:
                seen.partly.append(step)
            if not takes:
                continue
            seen.logged |= {one for one in step.feeds if one[0] == "group"}
            if step.action == RETURN:
                break
            if step.action in (JUMP, GOTO):
                further = self._of(step)
                if further is None or depth >= DEEPEST:
                    continue
                action, path = self._within(further, packet, seen, depth + 1)
                if action:
                    return action, (step, *path)
                if step.action == GOTO:
                    break
            elif step.action != NEXT:
                return step.action, (step,)
        return "", ()


def stranger(version: int, networks: Iterable[Network]) -> Address:
    """A source that as few as possible of these networks hold: rules for some hosts are not for it."""
    named = list(networks)
    return min(map(ipaddress.ip_address, STRANGERS[version]), key=lambda one: sum(one in net for net in named))


def together(found: Iterable[bool | None]) -> bool | None:
    """All of these: None where one is None and none False."""
    listed = list(found)
    return False if False in listed else None if None in listed else True
