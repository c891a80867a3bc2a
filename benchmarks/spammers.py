"""Models of spam software: in which order a bot tries the addresses that it finds, and whether it tries again.

Each bot has an address of its own and no name. It is refused where it never reaches the real server.
"""
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.hosts import FAKE4, REAL4, Attempt, Host, ip
from lab.mailgate import Setting
from lab.mailworld import MailWorld

AGAIN_S = 900  # between two tries of one that tries again
# What the kernel sends a second time after 1 s still counts.
PATIENCE_S = 1.5
AT_ONCE = 25
# Each round is a list of addresses tried one after the other; AGAIN_S lie between two rounds.
Plan = Sequence[Sequence[str]]
MODELS: dict[str, Callable[[random.Random], Plan]] = {
    "first MX only": lambda _: [[FAKE4]],
    "last MX only": lambda _: [[REAL4]],
    "last MX only, each 15 min, 5 times": lambda _: [[REAL4]] * 5,
    "a random MX": lambda chance: [[chance.choice((FAKE4, REAL4))]],
    "a random MX, three times": lambda chance: [[chance.choice((FAKE4, REAL4)) for _ in range(3)]],
    "a random MX, each 15 min, three times": lambda chance: [[chance.choice((FAKE4, REAL4))] for _ in range(3)],
    "straight to the A record": lambda _: [[REAL4]],
    "worst first": lambda _: [[REAL4, FAKE4]],
    "worst first, twice": lambda _: [[REAL4, FAKE4, REAL4, FAKE4]],
    "all in order": lambda _: [[FAKE4, REAL4]],
}


def run(bots: int, way: str, setting: Setting, seed: int) -> dict[str, int]:
    """How many of so many bots of each model never reached the real server."""
    with MailWorld(way, setting, []) as world:
        host = world.lab.client("bots", "192.0.2.99")
        ip(f"-n {world.lab.gateway.name} route add 10.0.0.0/8 dev br0")
        return {name: bots - _run(world, host, number, [
            model(random.Random(seed * 10_000 + one)) for one in range(bots)])
                for number, (name, model) in enumerate(MODELS.items())}


def _run(world: MailWorld, host: Host, number: int, plans: Sequence[Plan]) -> int:
    """How many got in; a plan is that of one bot."""
    # Each in a /24 of its own, since bots are no neighbours.
    sources = [f"10.{number}.{one}.1" for one in range(len(plans))]
    host.add_address(*(f"{source}/32" for source in sources))
    reached: set[str] = set()

    def try_all(source: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            if host.attempt(address, timeout=PATIENCE_S, source=source) is Attempt.CONNECTED:
                reached.add(source)
                return

    for turn in range(max(map(len, plans))):
        if turn:
            world.run(world.now_s + AGAIN_S)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda pair: try_all(*pair), [
                (source, plan[turn]) for source, plan in zip(sources, plans, strict=True)
                if turn < len(plan) and source not in reached]))
    return len(reached)
