"""Models of spam software: in which order a bot tries the addresses that it finds, and whether it tries again.

Each bot has an address of its own and no name. It is refused where it never reaches the real server.
"""
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.hosts import FAKE4, REAL4, Attempt, Host, ip
from lab.mailgate import Setting
from lab.mailworld import ELSEWHERE, MailWorld
from lab.zone import host_records

AGAIN_S = 900  # between two tries of one that tries again
# What the kernel sends a second time after 1 s still counts.
WAIT_S = 1.5
AT_ONCE = 50
BOTS = "192.0.2.99"
# Each round is a list of addresses tried one after the other; AGAIN_S lie between two rounds.
Plan = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Model:
    """What one bot tries; `neighbours`: another bot, of its /24 (each) or its domain, met the fake server."""

    plan: Callable[[random.Random], Plan]
    neighbours: str = ""  # "", "network" or "domain"
    name: str = ""  # of a bot, with its number and its address with dashes; without it has none


def _always(*rounds: Sequence[str]) -> Callable[[random.Random], Plan]:
    return lambda _: rounds


MODELS: dict[str, Model] = {
    "first MX only": Model(_always([FAKE4])),
    "last MX only": Model(_always([REAL4])),
    "last MX only, each 15 min, 5 times": Model(_always(*[[REAL4]] * 5)),
    "a random MX": Model(lambda chance: [[chance.choice((FAKE4, REAL4))]]),
    "a random MX, three times": Model(lambda chance: [[chance.choice((FAKE4, REAL4)) for _ in range(3)]]),
    "a random MX, each 15 min, three times": Model(
        lambda chance: [[chance.choice((FAKE4, REAL4))] for _ in range(3)]),
    "straight to the A record": Model(_always([REAL4])),
    "worst first": Model(_always([REAL4, FAKE4])),
    "worst first, twice": Model(_always([REAL4, FAKE4, REAL4, FAKE4])),
    "all in order": Model(_always([FAKE4, REAL4])),
    "last MX only, another of its /24 met the fake": Model(_always([REAL4]), "network"),
    "last MX only, another of its domain met the fake": Model(
        _always([REAL4]), "domain", "smtp{number}.rented.test"),
    "last MX only, another of its dial-up provider met the fake": Model(
        _always([REAL4]), "domain", "{dashes}.dyn.provider.test"),
}


def run(bots: int, way: str, setting: Setting, seed: int) -> dict[str, int]:
    """How many of so many bots of each model never reached the real server."""
    # Each in a /24 of its own, since bots are no neighbours but where the model says so.
    sources = {name: [f"10.{number + 1}.{one}.1" for one in range(bots)] for number, name in enumerate(MODELS)}
    records = [record for name, model in MODELS.items() if model.name for one, source in enumerate(sources[name])
               for record in host_records(model.name.format(number=one, dashes=source.replace(".", "-")), source)]
    with MailWorld(way, setting, [], records) as world:
        host = world.lab.client("bots", BOTS)
        # One neighbour of the gateway: it has no room for a thousand, and would lose its answers to them.
        ip(f"-n {world.lab.gateway.name} route replace {ELSEWHERE} via {BOTS} dev {world.lab.gateway.interface}")
        return {name: bots - _run(world, host, sources[name], model, seed) for name, model in MODELS.items()}


def _run(world: MailWorld, host: Host, sources: list[str], model: Model, seed: int) -> int:
    """How many got in."""
    plans = [model.plan(random.Random(seed * 10_000 + one)) for one in range(len(sources))]
    reached: set[str] = set()

    def try_all(source: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            if host.attempt(address, timeout=WAIT_S, source=source) is Attempt.CONNECTED:
                reached.add(source)
                return

    host.add_address(*(f"{source}/32" for source in sources))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        if model.neighbours == "network":
            neighbours = [source.removesuffix("1") + "2" for source in sources]
            host.add_address(*(f"{source}/32" for source in neighbours))
            list(threads.map(lambda source: try_all(source, [FAKE4]), neighbours))
        elif model.neighbours:
            # The first of them, which is not counted as one that got in.
            try_all(sources[0], [FAKE4])
        for turn in range(max(map(len, plans))):
            if turn:
                world.run(world.now_s + AGAIN_S)
            list(threads.map(lambda pair: try_all(*pair), [
                (source, plan[turn]) for source, plan in zip(sources, plans, strict=True)
                if turn < len(plan) and source not in reached and (model.neighbours != "domain" or source != sources[0])
            ]))
    return len(reached)
