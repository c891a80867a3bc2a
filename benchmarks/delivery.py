#!/usr/bin/env python3
"""Whether good mail gets in, and when: real senders at a gateway, with the clocks of all moved forward together.

    python benchmarks/delivery.py [--part matrix,regular,days,spam] [--save FILE] [--config FILE]...

Debian's postfix and exim4 send with the retry rules of Debian, in hosts of their own, through a real gateway. `matrix`
puts each of them into each situation; `regular` lets each send by the clock, each 30 min, 50 min, hour and 2 h, and
`days` a mix of senders by chance, for days, through restarts and a reboot; `spam` counts how many bots of each model
are refused. Each is done with the settings of mxallowd 1.9 (an hour, never renewed, nothing kept over a restart), with
the defaults, with packaging/recommended.conf, and with each configuration file that is given.

A message is late when the first try does not deliver it, and lost when no try does. Each measurement is written to the
file of --save as soon as it is there. The same command goes on where an earlier one ended: what a file of --earlier has
is not measured again.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

from benchmarks import days, delivered, situations, spammers
from benchmarks.command import BenchError, give, measured, parser, positive
from benchmarks.delivered import PARTS, Found
from benchmarks.situations import SITUATIONS
from lab.clocks import shim
from lab.mailgate import Setting
from lab.mailworld import AGENTS, supported
from lab.rules import WAYS
from mxallowd.errors import MxallowdError
from mxallowd.settings.options import BY_NAME
from mxallowd.text import quoted

RECOMMENDED = Path(__file__).resolve().parent.parent / "packaging" / "recommended.conf"
# What `patience alone` leaves out.
POOLS = ("network-key", "pool-domain")


class Measurement(NamedTuple):
    """What is measured in a world of its own: where its result belongs, and how to take it."""

    part: str
    key: str
    take: Callable[[], dict[str, Any]]


def main() -> int:
    """Measure what the command line asks for."""
    options = _parser().parse_args()
    wanted = [_built_in(name) for name in options.settings]
    wanted += [Setting(path.name, ("-c", str(path.resolve()))) for path in options.config]
    if not wanted and options.part:
        raise BenchError("there is nothing to measure: neither --settings nor --config")
    reason = supported()
    if reason:
        raise BenchError(reason)
    found = delivered.earlier(options.earlier)
    measurements = list(_measurements(options, wanted))
    failed = measured(lambda: _take_all(options, found, [
        one for one in measurements if one.key not in found[one.part]]))
    found = _in_order(found, measurements)
    if options.plot:
        delivered.plot(options.plot, found)
    give(options, "part way agent bots seed", found, lambda: delivered.tables(found))
    return 1 if failed else 0


def _take_all(options: argparse.Namespace, found: Found, measurements: Sequence[Measurement]) -> list[str]:
    """Take some at a time, since most of each is to wait; what failed, which ends none of the others."""
    failed: list[str] = []
    shim()  # compiled once, before several need it

    def take(one: Measurement) -> tuple[Measurement, dict[str, Any] | None]:
        # It takes long, so standard error says what is being done.
        print(f"delivery: {one.part}: {one.key}", file=sys.stderr, flush=True)
        try:
            return one, one.take()
        except (MxallowdError, RuntimeError, OSError, subprocess.SubprocessError) as error:
            failed.append(f"{one.part}: {one.key}: {error}")
            print(f"delivery: {failed[-1]}", file=sys.stderr, flush=True)
            return one, None

    with ThreadPoolExecutor(options.jobs) as threads:
        try:
            for done in as_completed([threads.submit(take, one) for one in measurements]):
                one, result = done.result()
                if result is not None:
                    found[one.part][one.key] = result
                    if options.save:
                        delivered.save(options.save, found)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return failed


def _in_order(found: Found, measurements: Sequence[Measurement]) -> Found:
    """What an earlier run has, and then this one in the order in which it was asked for, not in which it ended."""
    keys = [(one.part, one.key) for one in measurements]
    return {part: dict(sorted(
        results.items(), key=lambda pair: keys.index((part, pair[0])) if (part, pair[0]) in keys else -1))
            for part, results in found.items()}


def _measurements(options: argparse.Namespace, wanted: Sequence[Setting]) -> Iterator[Measurement]:
    for setting in wanted if "matrix" in options.part else ():
        for way in options.way:
            for name in options.situation or SITUATIONS:
                chosen = SITUATIONS[name]
                for agent in options.agent if set(chosen.agents) >= set(options.agent) else chosen.agents:
                    yield Measurement("matrix", f"{name} | {setting.name} | {way} | {agent}", (
                        lambda chosen=chosen, agent=agent, way=way, setting=setting:  # type: ignore[misc]
                        situations.run(chosen, agent, way, setting).row()))
    # The first of these takes longest.
    for part, mix in days.MIXES.items():
        for setting in wanted if part in options.part else ():
            yield Measurement(part, f"{setting.name} | {options.way[0]} | {options.days} d | {options.seed}", (
                lambda mix=mix, setting=setting: {  # type: ignore[misc]
                    name: outcome.row() for name, outcome in days.run(
                        options.days, options.way[0], setting, options.seed, mix(options.agent)).items()}))
    for setting in wanted if "spam" in options.part else ():
        yield Measurement("spam", f"{setting.name} | {options.way[0]} | {options.bots} bots", (
            lambda setting=setting: spammers.run(  # type: ignore[misc]
                options.bots, options.way[0], setting, options.seed)))


def _built_in(name: str) -> Setting:
    return {
        "1.9": lambda: Setting("1.9", ("-c", "/dev/null", "-t", "3600", "--renew", "never"), keeps=False),
        "defaults": lambda: Setting("defaults"),
        "recommended": lambda: Setting("recommended", ("-c", str(RECOMMENDED))),
        "patience alone": lambda: Setting("patience alone", ("-c", "/dev/null", *_recommended_without(POOLS))),
    }[name]()


SETTINGS = ("1.9", "defaults", "recommended", "patience alone")


def _recommended_without(names: Sequence[str]) -> list[str]:
    """The arguments that say what the file says, but for these options."""
    words = [line.split(None, 1) for line in RECOMMENDED.read_text(encoding="ascii").splitlines()
             if line and not line.startswith("#")]
    return [word for name, *value in words if name in BY_NAME and name not in names for word in (f"--{name}", *value)]


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--part", type=_some(PARTS, none=True), default=list(PARTS),
                      help="of: " + ", ".join(PARTS) + "; or none (default: all)")
    made.add_argument("--settings", type=_some(SETTINGS, none=True), default=list(SETTINGS[:3]),
                      help="of: " + ", ".join(SETTINGS) + " (what is recommended, without the options for pools); or "
                      "none (default: the first three)")
    made.add_argument("--config", type=_file, action="append", default=[], metavar="FILE",
                      help="a configuration file to measure beside them; it needs no servers and no queue")
    made.add_argument("--way", type=_some(WAYS), default=["a"],
                      help=f"of: {', '.join(WAYS)}; all parts but the matrix take the first (default: a)")
    made.add_argument("--agent", type=_some(AGENTS), default=list(AGENTS), help="of: " + ", ".join(AGENTS))
    made.add_argument("--situation", type=str, action="append", choices=list(SITUATIONS), metavar="NAME",
                      help="of: " + "; ".join(SITUATIONS) + " (default: all)")
    made.add_argument("--days", type=positive, default=30, help="simulated days (default: %(default)s)")
    made.add_argument("--bots", type=_bots, default=100, help="of each model, at most 250 (default: %(default)s)")
    made.add_argument("--seed", type=positive, default=1, help="repeats what comes when (default: %(default)s)")
    made.add_argument("--jobs", type=positive, default=4, help="measurements at a time (default: %(default)s)")
    made.add_argument("--save", type=Path, metavar="FILE", help="write here what was found, after each measurement")
    made.add_argument("--earlier", type=_file, action="append", default=[], metavar="FILE",
                      help="what an earlier run saved, or printed with --json: it is shown, and not measured again")
    made.add_argument("--plot", type=Path, metavar="FILE", help="draw what was found into this file (.svg or .png)")
    return made


def _some(names: Sequence[str] | Mapping[str, Any], *, none: bool = False) -> Callable[[str], list[str]]:
    def convert(text: str) -> list[str]:
        if none and text == "none":
            return []
        chosen = text.split(",")
        for one in chosen:
            if one not in names:
                raise argparse.ArgumentTypeError(f"{quoted(one)} is none of {', '.join(names)}")
        return chosen

    return convert


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no file")
    return path


def _bots(text: str) -> int:
    number = positive(text)
    if number > 250:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is more than 250")
    return number
