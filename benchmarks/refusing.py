#!/usr/bin/env python3
"""What a sender meets who is refused: dropped SYNs, or a RST (`--refuse reset`).

    python benchmarks/refusing.py [--part worst,pool,scanner,cost] [--way a] [--agent exim,postfix] [--rounds N]

`worst first`: a domain whose better MX is the real server, so that a standard sender is refused there, then meets the
fake one. The first try lasts as long as the agent waits for an answer, in real time; how long the mail takes follows
from its retry rules. `pool`: four addresses with names of their own, without and with `--patience 2/10min`; three
messages, an hour apart, N times. `scanner`: how many closed attempts a client makes that waits for no more than 5 s.
`cost`: processor time of a refused packet, the kernel's work on its verdict included, with both and without a rule.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from benchmarks import situations
from benchmarks.command import BenchError, give, measured, parser, positive
from benchmarks.gateway_site import DAEMON, scenario_flood, site
from benchmarks.report import show
from benchmarks.situations import FOUR, KERNEL_DEFAULTS, SITUATIONS, Outcome
from lab.hosts import FAKE4, REAL4
from lab.mailgate import Setting
from lab.mailworld import AGENTS, MX, MailWorld, Sender, supported
from lab.namespaces import visit
from lab.programs import own_places

PATIENCE = ("--patience", "2/10min")
RESET = ("--refuse", "reset")
WORST_FIRST = ["worst.test MX 10 mx2.worst.test.", "worst.test MX 20 mx1.worst.test.", f"mx1.worst.test A {FAKE4}",
               f"mx2.worst.test A {REAL4}"]
SCANNER_WAITS_S, SCAN_S = 5.0, 10.0
MARK, PACKETS = "0x40000000/0x40000000", 4000


def setting(name: str, *arguments: str) -> Setting:
    """The defaults, and these."""
    return Setting(name, ("-c", "/dev/null", *arguments))


def settings() -> list[Setting]:
    """All that are measured."""
    return [setting("drop"), setting("reset", *RESET), setting("drop, patience", *PATIENCE),
            setting("reset, patience", *PATIENCE, *RESET)]


def worst_first(agent: str, way: str, one: Setting) -> dict[str, Any]:
    """How long the first try lasts, and when the message comes."""
    MX.extend(record for record in WORST_FIRST if record not in MX)
    sender = Sender("sender", agent, [FOUR], domain="worst.test")
    with MailWorld(way, one, [sender]) as world:
        with visit(world.host("sender").name):
            for name, value in KERNEL_DEFAULTS.items():
                with suppress(FileNotFoundError):
                    Path(f"/proc/sys/net/ipv4/{name}").write_text(value, encoding="ascii")
        begun = time.monotonic()
        world.send("sender")
        first_s = time.monotonic() - begun
        situations.settle(world)
        return {"agent": agent, "setting": one.name, "first_try_s": round(first_s, 1),
                **Outcome.of(list(world.mails.values()), world.bounced("sender")).row()}


def pool(agent: str, way: str, one: Setting, rounds: int) -> dict[str, Any]:
    """What becomes of three messages, so many times."""
    found = [situations.run(SITUATIONS["pool of 4, own names"], agent, way, one) for _ in range(rounds)]
    delays_s = [delay for outcome in found for delay in outcome.delays_s]
    came = sorted(delay for delay in delays_s if delay is not None)
    first = sorted(outcome.delays_s[0] or 0.0 for outcome in found)
    return {"agent": agent, "setting": one.name, "sent": len(delays_s), "late": sum(one.late for one in found),
            "lost": delays_s.count(None), "median_first_s": first[len(first) // 2],
            "longest_s": came[-1] if came else 0}


def scanner(way: str, one: Setting) -> dict[str, Any]:
    """Attempts at the real server, one after the other."""
    with MailWorld(way, one, []) as world:
        host = world.lab.client("bots", "192.0.2.99")
        until, attempts = time.monotonic() + SCAN_S, 0
        while time.monotonic() < until:
            host.attempt(REAL4, timeout=SCANNER_WAITS_S)
            attempts += 1
        return {"setting": one.name, "attempts_a_second": round(attempts / SCAN_S, 1)}


def cost(rounds: int) -> list[dict[str, Any]]:
    """Queues that are filled while the daemon is stopped, and then emptied: nanoseconds a packet, the median."""
    found: dict[str, list[float]] = {"drop": [], "reset": [], "reset, no rule": []}
    with site(1) as place:
        programs = {name: place.start(name, [*DAEMON, "-F", "-s", "-n"], [
            "-c", "/dev/null", "-b", "-f", FAKE4, "-r", REAL4, *own_places(place.directory),
            *(RESET if name != "drop" else ())], " start ", single=True) for name in found}
        for _ in range(rounds):
            for name, program in programs.items():
                place.lab.flush_rules()
                if name == "reset":
                    place.lab.input_rule("-p", "tcp", "-m", "mark", "--mark", MARK, "-j", "REJECT", "--reject-with",
                                         "tcp-reset")
                place.lab.queue_rule(str(program.first), tracked=False)
                program.signal(signal.SIGSTOP)
                time.sleep(0.05)
                place.flood(scenario_flood("drop", 1, REAL4, count=PACKETS))
                before, waiting = program.cpu_ns(), place.waiting()
                program.signal(signal.SIGCONT)
                place.settle()
                time.sleep(0.1)
                found[name].append((program.cpu_ns() - before) / waiting)
    return [{"setting": name, "ns_a_packet": round(sorted(values)[len(values) // 2])}
            for name, values in found.items()]


def main() -> int:
    """Measure what the command line asks for."""
    made = parser(__doc__)
    made.add_argument("--way", choices=("a", "b", "b-ipset"), default="a")
    made.add_argument("--agent", type=lambda text: text.split(","), default=list(AGENTS))
    made.add_argument("--rounds", type=positive, default=3)
    made.add_argument("--part", type=lambda text: text.split(","), default=["worst", "pool", "scanner", "cost"])
    options = made.parse_args()
    reason = supported()
    if reason:
        raise BenchError(reason)
    every = settings()
    found: dict[str, list[dict[str, Any]]] = {}
    if "worst" in options.part:
        found["worst_first"] = measured(lambda: [
            worst_first(agent, options.way, one) for agent in options.agent for one in every[:2]])
    if "pool" in options.part:
        found["pool"] = measured(lambda: [
            pool(agent, options.way, replace(one), options.rounds) for agent in options.agent for one in every])
    if "cost" in options.part:
        found["cost"] = measured(lambda: cost(options.rounds))
    if "scanner" in options.part:
        found["scanner"] = measured(lambda: [scanner(options.way, one) for one in every[:2]])
    return give(options, "way agent rounds", found, lambda: _tables(found))


def _tables(found: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in found.items():
        show(name, tuple(rows[0]), [tuple(row.values()) for row in rows])
