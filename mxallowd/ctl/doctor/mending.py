"""Commands that mend rules of the firewall. One command for all that is wrong with a rule, its place included.

A rule of iptables is named by its text and not by its number, so that a command that is run late, or twice, changes
no other one. What is put in its place stands where doctor saw it.
"""
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from mxallowd.ctl.doctor.walk import Chain, Packet, Ruleset, Step
from mxallowd.settings.values import Address

SYN = "--tcp-flags FIN,SYN,RST,ACK SYN"
HOOKS = ("ingress", "prerouting", "input", "forward", "postrouting")  # of packets that come, in their order
NFT_SYN = "tcp flags & (fin | syn | rst | ack) == syn"


class Mending:
    """Of one version's rules. `feeding` are those of mxallowd, by `entries` other packets than SYNs come."""

    def __init__(  # noqa: PLR0913, PLR0917  # the rules, what is wrong with them, and what they should be
        self, rules: Ruleset, feeding: Sequence[Step], entries: Iterable[Step], marked: Iterable[Step], version: int,
        queues: Sequence[int], mark: str | None, load: str,
    ) -> None:
        """`queues` has none in way c; `mark` is that of --verdict-mark, VALUE/MASK. `marked` take packets with it.

        `load` loads a whole ruleset, where the kernel decides.
        """
        self._rules = rules
        self._feeding = feeding
        self._entries = set(map(id, entries))
        self._marked = set(map(id, marked))
        self._version = version
        self._queues = queues
        self._mark = mark
        self.load = load
        self._renumbered: set[int] = set()  # rules that are to feed other queues than they do
        self._paths = [one for step in feeding for one in rules.paths_to(step)]
        self._before: dict[int, Step] = {}  # by the rule that is to stand before it

    def nearest(self, accepted: Mapping[Chain, tuple[Step, ...]]) -> tuple[Step, ...] | None:
        """The path that decided in a chain from which packets come to mxallowd; in the first one, where none does."""
        if not self._feeding:
            return next((path for chain, path in accepted.items() if path and chain.hook in ("input", "forward")), None)
        bases = {id(chain) for chain, _ in self._paths}
        return next((path for chain, path in accepted.items() if id(chain) in bases), None)

    def feed(self, packets: Sequence[Packet], path: tuple[Step, ...], chain: Chain | None) -> str:
        """Have these packets come to mxallowd, in place of the end that `path`, or the policy of `chain`, gave them."""
        for _, own in self._paths:
            pairs = [(one, other) for one, other in zip(path, own, strict=False) if one is not other]
            if pairs and pairs[0][0].chain == pairs[0][1].chain and pairs[0][0].table == pairs[0][1].table and all(
                    step.takes(packet) for step in own for packet in packets):
                decider, mover = pairs[0]
                # One rule may have to stand before several, of which each keeps other packets from it.
                self._before[id(mover)] = self._first([decider, self._before.get(id(mover), decider)])
                return self._changed(mover)
        if chain is not None and not any(chain is base for base, _ in self._paths):
            return self.without(path) if path else self.let_through(chain)
        if not self._queues:
            return self.without(path) if path else self.let_through(chain) if chain else self.load
        return self.new([packet.destination for packet in packets], [path])

    def rejection(self, mark: str) -> str:
        """A rule that rejects packets with this mark, in front of the first one that feeds a queue."""
        base = next(((chain, path) for chain, path in self._paths), None)
        if base is None:
            return "mxallowd --help  # --refuse drop, until the queue has a rule"
        chain, path = base
        if chain.program == "nft":
            value, _, mask = mark.partition("/")
            text = f"meta mark & {mask or '0xffffffff'} == {value} reject with tcp reset"
            return f"nft insert rule {chain.table} {chain.name} {shlex.quote(text)}"
        if chain.table != "filter":
            return f"# no table but filter can reject: move the rule for the queue, -A {path[0].chain} {path[0].text}"
        return (f"{chain.program} -I {chain.name} 1 -p tcp -m mark --mark {mark} -j REJECT --reject-with tcp-reset")

    def _first(self, steps: Sequence[Step]) -> Step:
        """The one that packets meet first of the chain in which the first one stands."""
        for chain in self._rules.chains:
            own = [step for step in chain.steps if any(step is one for one in steps)]
            if any(step is steps[0] for step in own):
                return own[0]
        return steps[0]

    def new(self, addresses: Sequence[Address], paths: Iterable[tuple[Step, ...]]) -> str:
        """A rule that feeds the queues, before all those that decide now."""
        deciders = [path[0] for path in paths if path]
        place = self._first(deciders) if deciders else None
        first, last = self._queues[0], self._queues[-1]
        base = next((chain for chain, _ in self._paths), None)
        if (place or base) is not None and (place or base).program == "nft":  # type: ignore[union-attr]
            table, chain = (place.table, place.chain) if place else (base.table, base.name) if base else ("", "")
            text = (f"tcp dport 25 {NFT_SYN} iif != lo {'ip' if self._version == 4 else 'ip6'} daddr "
                    f"{{ {', '.join(map(str, addresses))} }} {self._nft_mark()}queue flags bypass to "
                    f"{first if first == last else f'{first}-{last}'}")
            where = f"insert rule {table} {chain} position {place.place}" if place else f"add rule {table} {chain}"
            return f"nft {where} {shlex.quote(text)}"
        program = place.program if place else base.program if base else f"ip{'6' if self._version == 6 else ''}tables"
        table, name = (place.table, place.chain) if place else (base.table, base.name) if base else ("filter", "INPUT")
        where = f"-I {name} {place.place}" if place else f"-A {name}"
        return (f"{program} -t {table} {where} ! -i lo -p tcp --dport 25 --syn -d {','.join(map(str, addresses))}"
                f"{self._unmarked()} -j NFQUEUE {self._balance()} --queue-bypass")

    def renumbered(self, steps: Sequence[Step]) -> str:
        """Have these rules feed all queues, in place of those that they feed."""
        self._renumbered |= set(map(id, steps))
        return " && ".join(map(self._changed, steps))

    def _balance(self) -> str:
        first, last = self._queues[0], self._queues[-1]
        return f"--queue-num {first}" if first == last else f"--queue-balance {first}:{last}"

    def _unmarked(self) -> str:
        return f" -m mark ! --mark {self._mark}" if self._mark else ""

    def _nft_mark(self) -> str:
        value, _, mask = (self._mark or "").partition("/")
        return f"meta mark & {mask} != {value} " if value else ""

    def verdict(self, step: Step, old: str, new: str) -> str:
        """Give a rule another verdict (accept, drop)."""
        if step.program == "nft":
            text = re.sub(rf"\b{old}\b(?!.*\b{old}\b)", new, step.text)
            return f"nft replace rule {step.table} {step.chain} handle {step.place} {shlex.quote(text)}"
        text = re.sub(rf" -j {old.upper()}\b", f" -j {new.upper()}", f" {step.text}").strip()
        own = f"{step.program} -t {step.table}"
        return f"{own} -D {step.chain} {_safe(step.text)} && {own} -I {step.chain} {step.place} {_safe(text)}"

    def behind(self, chain: Chain) -> bool:
        """Whether a base chain comes behind one from which packets come to mxallowd."""
        order = {id(one): at for at, one in enumerate(self._rules.base(*HOOKS))}
        return any(order[id(base)] < order[id(chain)] for base, _ in self._paths)

    def form(self, path: tuple[Step, ...], *, syns: bool) -> str:
        """Mend the rule at the entry, where it is to take SYNs alone, or the one that feeds."""
        return self._changed(path[0] if syns else path[-1])

    def without(self, path: tuple[Step, ...]) -> str:
        """Remove the rule that decided."""
        last = path[-1]
        if last.program == "nft":
            return f"nft delete rule {last.table} {last.chain} handle {last.place}"
        return f"{last.program} -t {last.table} -D {last.chain} {_safe(last.text)}"

    def let_through(self, chain: Chain) -> str:
        """A rule against the policy of a chain."""
        if chain.program == "nft":
            return f"nft add rule {chain.table} {chain.name} tcp dport 25 accept"
        return f"{chain.program} -t {chain.table} -A {chain.name} -p tcp --dport 25 -j ACCEPT"

    def let_out(self, chain: Chain, server: Address) -> str:
        """A rule for answers against the policy of a chain."""
        if chain.program == "nft":
            family = "ip" if server.version == 4 else "ip6"
            return f"nft add rule {chain.table} {chain.name} {family} saddr {server} tcp sport 25 accept"
        return f"{chain.program} -t {chain.table} -A {chain.name} -s {server} -p tcp --sport 25 -j ACCEPT"

    def jump(self, step: Step) -> str:
        """A rule that leads to the chain of this one."""
        if step.program == "nft":
            return f"nft list table {step.table}  # have a chain with a hook jump to {step.chain}"
        return f"{step.program} -t {step.table} -A INPUT -p tcp --dport 25 --syn -j {step.chain}"

    def _changed(self, step: Step) -> str:
        """A rule with all that is wrong with it mended."""
        text, before = self._text(step), self._before.get(id(step))
        if step.program == "nft":
            if before is None:
                return f"nft replace rule {step.table} {step.chain} handle {step.place} {shlex.quote(text)}"
            return (f"nft insert rule {step.table} {step.chain} position {before.place} {shlex.quote(text)} && "
                    f"nft delete rule {step.table} {step.chain} handle {step.place}")
        own = f"{step.program} -t {step.table}"
        return (f"{own} -D {step.chain} {_safe(step.text)} && "
                f"{own} -I {step.chain} {(before or step).place} {_safe(text)}")

    def _text(self, step: Step) -> str:
        text = step.text
        syns = id(step) in self._entries
        feeds = any(step is one for one in self._feeding) and bool(self._queues)
        if id(step) in self._renumbered:
            first, last = self._queues[0], self._queues[-1]
            text = re.sub(r"--queue-(?:num \d+|balance \d+:\d+)", self._balance(), text)
            text = re.sub(r"\b(queue (?:flags [\w,]+ )?(?:num|to)) \d+(?:-\d+)?",
                          rf"\1 {first}" if first == last else rf"\1 {first}-{last}", text)
        if step.program == "nft":
            if id(step) in self._marked:
                text = re.sub(r"\bqueue\b", f"{self._nft_mark()}queue", text, count=1)
            if feeds and "bypass" not in text:
                text = re.sub(r"\bqueue to (\S+)", r"queue flags bypass to \1", text)
                text = re.sub(r"\bqueue flags (?!bypass)(\S+) (to|num)", r"queue flags \1,bypass \2", text)
                text = text if "bypass" in text else re.sub(r"\bqueue num (\S+)", r"queue num \1 bypass", text)
            return f"{NFT_SYN} {text}" if syns else text
        if syns:
            text = re.sub(r" -m (?:state --state|conntrack --ctstate) NEW\b", "", f" {text}")
            text = re.sub(r" -([jg]) ", rf" {SYN} -\1 ", text, count=1).strip()
        if id(step) in self._marked:
            text = re.sub(r" -j ", f"{self._unmarked()} -j ", f" {text}", count=1).strip()
        return text if not feeds or "--queue-bypass" in text else f"{text} --queue-bypass"


def _safe(text: str) -> str:
    """The words of a rule for a shell; iptables-save quotes comments as it does."""
    return " ".join(word if word == "!" else shlex.quote(word) for word in shlex.split(text))


def joined(things: Iterable[object]) -> str:
    """`one, two and three`."""
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last
