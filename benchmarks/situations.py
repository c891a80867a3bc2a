"""What befalls a sender of good mail: each situation is a world of its own, with one sender and one gateway."""
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.hosts import FAKE4, FAKE6
from lab.mailgate import Setting
from lab.mailworld import AGENTS, FIRST_MX, Mail, MailWorld, Sender
from lab.namespaces import visit

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
# All agents have given up by then.
GIVEN_UP_S = 7 * DAY_S
FOUR, SIX = "192.0.2.101", "2001:db8::101"
KERNEL_DEFAULTS = {"tcp_syn_retries": "6", "tcp_rto_max_ms": "120000"}


@dataclass
class Outcome:
    """What became of the messages. `longest_s` is over those that came, `lost` counts those that never did.

    `late_again` are the late ones behind the first message, `sent_again` the SYNs that the sender's host had to send a
    second time.
    """

    sent: int = 0
    late: int = 0
    late_again: int = 0
    lost: int = 0
    sent_again: int = 0
    bounced: int = 0
    longest_s: float = 0.0
    delays_s: list[float | None] = field(default_factory=list)

    @classmethod
    def of(cls, mails: Sequence[Mail], bounced: int, sent_again: int = 0) -> "Outcome":
        """Of messages in the order in which they were sent."""
        delays_s = [None if mail.delay_s is None else round(mail.delay_s, 3) for mail in mails]
        late = [mail.late for mail in mails]
        return cls(len(mails), sum(late), sum(late[1:]), delays_s.count(None), sent_again, bounced,
                   max((one for one in delays_s if one is not None), default=0.0), delays_s)

    def row(self) -> dict[str, Any]:
        """For JSON; the single delays only where they are few. `first_s` is that of the first message, or None."""
        found = {**asdict(self), "first_s": self.delays_s[0] if self.delays_s else None}
        if self.sent > 20:
            del found["delays_s"]
        return found


@dataclass(frozen=True)
class Situation:
    """When messages are sent, in seconds from the first, and what is special about the sender or the gateway."""

    times_s: Sequence[int]
    addresses: Sequence[str] = (FOUR,)
    names: str = "one"  # as Sender has them
    domain: str = "four.test"
    recipients: int = 1
    prepare: Callable[[MailWorld, str], None] | None = None
    between: Callable[[MailWorld], None] | None = None  # before each message but the first
    agents: Sequence[str] = tuple(AGENTS)
    trust: str = ""  # a file of trusted senders that the gateway has besides
    records: Sequence[str] = ()


def _every(minutes: int, hours: int) -> range:
    return range(0, hours * HOUR_S, minutes * MINUTE_S)


def _pool(size: int) -> list[str]:
    return [f"192.0.2.{101 + number}" for number in range(size)]


def networks(size: int, first: int = 1) -> list[str]:
    """So many addresses, each in a network of its own."""
    return [f"10.{first + number}.{number}.25" for number in range(size)]


def silence(world: MailWorld, sender: str) -> None:
    """Let the fake address answer nothing, and the sender's kernel send a SYN again as often as any does."""
    for program, address in (("iptables", FAKE4), ("ip6tables", FAKE6)):
        world.lab.gateway.run([program, "-w", "10", "-A", "OUTPUT", "-s", address, "-p", "tcp", "--sport", "25",
                               "--tcp-flags", "RST", "RST", "-j", "DROP"], check=True, capture_output=True)
    with visit(world.host(sender).name):
        for name, value in KERNEL_DEFAULTS.items():
            path = Path("/proc/sys/net/ipv4", name)
            if path.exists():
                path.write_text(value, encoding="ascii")


_POOLS_TIMES_S = (0, HOUR_S, 2 * HOUR_S, 8 * HOUR_S, DAY_S, 3 * DAY_S)
SITUATIONS = {
    "first message": Situation((0,)),
    "second 5 s later": Situation((0, 5)),
    "returns after 70 min, 3 h, 7 h, 3 d": Situation((0, 4200, 4200 + 3 * HOUR_S, 4200 + 10 * HOUR_S,
                                                      4200 + 10 * HOUR_S + 3 * DAY_S)),
    "each 30 min, 30 h": Situation(_every(30, 30)),
    "each 50 min, 30 h": Situation(_every(50, 30)),
    "each hour, 6.5 d": Situation(_every(60, 156)),
    "each 2 h, 5 d": Situation(_every(120, 120)),
    "pool of 4, one name": Situation(_POOLS_TIMES_S, _pool(4)),
    "pool of 4, own names, one /24": Situation(_POOLS_TIMES_S, _pool(4), "own"),
    "pool of 16, own names, one /24": Situation(_POOLS_TIMES_S, _pool(16), "own"),
    "pool of 4, one domain, 4 networks": Situation(_POOLS_TIMES_S, networks(4), "own"),
    "pool of 16, one domain, 16 networks": Situation(_POOLS_TIMES_S, networks(16), "own"),
    "pool of 4, nothing in common": Situation(_POOLS_TIMES_S, networks(4), "apart"),
    "daemon restarted": Situation((0, 10 * MINUTE_S), between=lambda world: world.gate.restart()),
    "machine booted again": Situation((0, 10 * MINUTE_S), between=lambda world: world.gate.reboot()),
    "fake silent": Situation((0,), prepare=silence),
    "dual stack": Situation((0, HOUR_S), (FOUR, SIX), domain="both.test"),
    "IPv6 alone": Situation((0, HOUR_S), (SIX,), domain="six.test"),
    "20 recipients, 20 messages": Situation((0,) * 20, recipients=20),
    "knows the first MX only, trusted": Situation(
        (0, HOUR_S, DAY_S), agents=[FIRST_MX], trust="spf sender.test first-mx-only\n",
        records=[f'sender.test TXT "v=spf1 ip4:{FOUR} -all"']),
    "knows the first MX only": Situation((0, 8 * HOUR_S, DAY_S), agents=[FIRST_MX]),
}


def run(situation: Situation, agent: str, way: str, setting: Setting) -> Outcome:
    """Put one sender into a situation. Raises RuntimeError where a part does not start or hangs."""
    sender = Sender("sender", agent, situation.addresses, situation.names, situation.domain)
    with MailWorld(way, replace(setting, trust=situation.trust), [sender], situation.records) as world:
        if situation.prepare:
            situation.prepare(world, sender.name)
        for number, at_s in enumerate(situation.times_s):
            world.run(at_s)
            if number and situation.between:
                situation.between(world)
            world.send(sender.name, situation.recipients)
        settle(world)
        return Outcome.of(list(world.mails.values()), world.bounced(sender.name), world.sent_again(sender.name))


def settle(world: MailWorld) -> None:
    """Let time go on until nothing waits, or everybody has given up."""
    end_s = world.now_s + GIVEN_UP_S
    while world.waiting() and world.now_s < end_s:
        world.run(min(end_s, world.now_s + HOUR_S))
