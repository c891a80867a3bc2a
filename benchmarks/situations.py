"""What befalls a sender of good mail: each situation is a world of its own, with one sender and one gateway."""
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.hosts import FAKE4, FAKE6
from lab.mailgate import Setting
from lab.mailworld import Mail, MailWorld, Sender
from lab.namespaces import visit

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
# All agents have given up by then.
GIVEN_UP_S = 7 * DAY_S
FOUR, SIX = "192.0.2.101", "2001:db8::101"
KERNEL_SYN_RETRIES = "6"


@dataclass
class Outcome:
    """What became of the messages. `longest_s` is over those that came, `lost` counts those that never did."""

    sent: int = 0
    late: int = 0
    lost: int = 0
    bounced: int = 0
    longest_s: float = 0.0
    delays_s: list[float | None] = field(default_factory=list)

    @classmethod
    def of(cls, mails: Sequence[Mail], bounced: int) -> "Outcome":
        """Of messages in the order in which they were sent."""
        delays_s = [None if mail.delay_s is None else round(mail.delay_s, 3) for mail in mails]
        return cls(len(mails), sum(mail.late for mail in mails), delays_s.count(None), bounced,
                   max((one for one in delays_s if one is not None), default=0.0), delays_s)

    def row(self) -> dict[str, Any]:
        """For JSON; the single delays only where they are few."""
        found = asdict(self)
        if self.sent > 20:
            del found["delays_s"]
        return found


@dataclass(frozen=True)
class Situation:
    """When messages are sent, in seconds from the first, and what is special about the sender or the gateway."""

    times_s: Sequence[int]
    addresses: Sequence[str] = (FOUR,)
    own_names: bool = False
    domain: str = "four.test"
    recipients: int = 1
    prepare: Callable[[MailWorld, str], None] | None = None
    between: Callable[[MailWorld], None] | None = None  # before each message but the first


def _every(minutes: int, hours: int) -> range:
    return range(0, hours * HOUR_S, minutes * MINUTE_S)


def _pool(size: int) -> list[str]:
    return [f"192.0.2.{101 + number}" for number in range(size)]


def silence(world: MailWorld, sender: str) -> None:
    """Let the fake address answer nothing, and the sender's kernel send a SYN again as often as any does."""
    for program, address in (("iptables", FAKE4), ("ip6tables", FAKE6)):
        world.lab.gateway.run([program, "-w", "10", "-A", "OUTPUT", "-s", address, "-p", "tcp", "--sport", "25",
                               "--tcp-flags", "RST", "RST", "-j", "DROP"], check=True, capture_output=True)
    with visit(world.host(sender).name):
        Path("/proc/sys/net/ipv4/tcp_syn_retries").write_text(KERNEL_SYN_RETRIES, encoding="ascii")


SITUATIONS = {
    "first message": Situation((0,)),
    "second 5 s later": Situation((0, 5)),
    "returns after 70 min, 3 h, 7 h, 3 d": Situation((0, 4200, 4200 + 3 * HOUR_S, 4200 + 10 * HOUR_S,
                                                      4200 + 10 * HOUR_S + 3 * DAY_S)),
    "each 30 min, 30 h": Situation(_every(30, 30)),
    "each 50 min, 30 h": Situation(_every(50, 30)),
    "each hour, 6.5 d": Situation(_every(60, 156)),
    "each 2 h, 5 d": Situation(_every(120, 120)),
    "pool of 4, one name": Situation((0, HOUR_S, 2 * HOUR_S), _pool(4)),
    "pool of 4, own names": Situation((0, HOUR_S, 2 * HOUR_S), _pool(4), own_names=True),
    "pool of 16, own names": Situation((0, HOUR_S, 2 * HOUR_S), _pool(16), own_names=True),
    "daemon restarted": Situation((0, 10 * MINUTE_S), between=lambda world: world.gate.restart()),
    "machine booted again": Situation((0, 10 * MINUTE_S), between=lambda world: world.gate.reboot()),
    "fake silent": Situation((0,), prepare=silence),
    "dual stack": Situation((0, HOUR_S), (FOUR, SIX), domain="both.test"),
    "IPv6 alone": Situation((0, HOUR_S), (SIX,), domain="six.test"),
    "20 recipients, 20 messages": Situation((0,) * 20, recipients=20),
}


def run(situation: Situation, agent: str, way: str, setting: Setting) -> Outcome:
    """Put one sender into a situation. Raises RuntimeError where a part does not start or hangs."""
    sender = Sender("sender", agent, situation.addresses, own_names=situation.own_names, domain=situation.domain)
    with MailWorld(way, setting, [sender]) as world:
        if situation.prepare:
            situation.prepare(world, sender.name)
        for number, at_s in enumerate(situation.times_s):
            world.run(at_s)
            if number and situation.between:
                situation.between(world)
            world.send(sender.name, situation.recipients)
        settle(world)
        return Outcome.of(list(world.mails.values()), world.bounced(sender.name))


def settle(world: MailWorld) -> None:
    """Let time go on until nothing waits, or everybody has given up."""
    end_s = world.now_s + GIVEN_UP_S
    while world.waiting() and world.now_s < end_s:
        world.run(min(end_s, world.now_s + HOUR_S))
