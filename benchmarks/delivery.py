#!/usr/bin/env python3
"""Whether good mail gets in, and when: real senders at a gateway, with the clocks of all moved forward together.

    python benchmarks/delivery.py [--part matrix,days,spam] [--config FILE]...

Debian's postfix and exim4 send with the retry rules of Debian, in hosts of their own, through a real gateway. `matrix`
puts each of them into each situation; `days` lets a mix of senders send for days, through restarts and a reboot; `spam`
counts how many bots of each model are refused. Each is done with the settings of mxallowd 1.9 (an hour, never renewed,
nothing kept over a restart), with today's defaults, and with each configuration file that is given.

A message is late when the first try does not deliver it, and lost when no try does.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # start.py finds the packages, imports this file again as a part of them, and runs its main().
    sys.exit(runpy.run_path(str(Path(__file__).resolve().with_name("start.py")))["run"](__file__))

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from benchmarks import days, situations, spammers
from benchmarks.command import BenchError, give, measured, parser, positive
from benchmarks.report import show
from benchmarks.situations import SITUATIONS, Outcome
from lab.mailgate import WAYS, Setting
from lab.mailworld import AGENTS, supported
from mxallowd.text import quoted

PARTS = ("matrix", "days", "spam")
OLD = Setting("1.9", ("-c", "/dev/null", "-t", "3600", "--renew", "never"), keeps=False)
BUILT_IN = {"1.9": OLD, "defaults": Setting("defaults")}
Found = TypeVar("Found")


def main() -> int:
    """Measure what the command line asks for."""
    options = _parser().parse_args()
    settings = [*(BUILT_IN[name] for name in options.settings),
                *(Setting(path.name, ("-c", str(path.resolve()))) for path in options.config)]
    if not settings and options.part:
        raise BenchError("there is nothing to measure: neither --settings nor --config")
    reason = supported()
    if reason:
        raise BenchError(reason)
    found = _earlier(options.earlier)
    if "matrix" in options.part:
        found.setdefault("matrix", []).extend(measured(lambda: _matrix(options, settings)))
    if "days" in options.part:
        found.setdefault("days", {}).update(measured(lambda: {
            setting.name: _told(f"{setting.name}, {options.days} days", lambda setting=setting: {  # type: ignore[misc]
                name: outcome.row() for name, outcome in days.run(
                    options.days, options.way[0], setting, options.seed).items()})
            for setting in settings}))
    if "spam" in options.part:
        found.setdefault("spam", {}).update(measured(lambda: {
            setting.name: _told(f"{setting.name}, spam", lambda setting=setting: spammers.run(  # type: ignore[misc]
                options.bots, options.way[0], setting, options.seed))
            for setting in settings}))
    if options.plot:
        _plot(options.plot, found, options.bots)
    return give(options, "part way agent bots seed", {"simulated_days": options.days, **found},
                lambda: _tables(options, found))


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--part", type=_some(PARTS, none=True), default=list(PARTS),
                      help="of: " + ", ".join(PARTS) + "; or none (default: all)")
    made.add_argument("--settings", type=_some(BUILT_IN, none=True), default=list(BUILT_IN),
                      help="of: 1.9, defaults; or none (default: both)")
    made.add_argument("--config", type=_file, action="append", default=[], metavar="FILE",
                      help="a configuration file to measure beside them; it needs no servers and no queue")
    made.add_argument("--way", type=_some(WAYS), default=["a"],
                      help=f"of: {', '.join(WAYS)}; days and spam take the first (default: a)")
    made.add_argument("--agent", type=_some(AGENTS), default=list(AGENTS), help="of: " + ", ".join(AGENTS))
    made.add_argument("--situation", type=str, action="append", choices=list(SITUATIONS), metavar="NAME",
                      help="of: " + "; ".join(SITUATIONS) + " (default: all)")
    made.add_argument("--days", type=positive, default=30, help="simulated days (default: %(default)s)")
    made.add_argument("--bots", type=_bots, default=100, help="of each model, at most 250 (default: %(default)s)")
    made.add_argument("--seed", type=positive, default=1, help="repeats what comes when (default: %(default)s)")
    made.add_argument("--earlier", type=_file, action="append", default=[], metavar="FILE",
                      help="what an earlier run printed with --json, to show and draw it beside this one")
    made.add_argument("--plot", type=Path, metavar="FILE", help="draw days and spam into this file (.svg or .png)")
    return made


def _earlier(paths: Sequence[Path]) -> dict[str, Any]:
    """What earlier runs found, all together; of two with the same setting the later file counts."""
    found: dict[str, Any] = {}
    for path in paths:
        try:
            one = json.loads(path.read_text(encoding="utf-8"))
            for part in PARTS:
                if part == "matrix" and part in one:
                    found.setdefault(part, []).extend(list(one[part]))
                elif part in one:
                    found.setdefault(part, {}).update(dict(one[part]))
        except (ValueError, TypeError) as error:
            raise BenchError(f"{quoted(str(path))} is no output of --json: {error}") from error
    return found


def _matrix(options: argparse.Namespace, settings: Sequence[Setting]) -> list[dict[str, Any]]:
    rows = []
    for name in options.situation or SITUATIONS:
        for setting in settings:
            for way in options.way:
                for agent in options.agent:
                    outcome: Outcome = _told(
                        f"{name}, {agent}, way {way}, {setting.name}",
                        lambda name=name, setting=setting, way=way, agent=agent:  # type: ignore[misc]
                        situations.run(SITUATIONS[name], agent, way, setting))
                    rows.append({"situation": name, "setting": setting.name, "way": way, "agent": agent,
                                 **outcome.row()})
    return rows


def _told(what: str, measure: Callable[[], Found]) -> Found:
    """It takes long, so standard error says what is being done."""
    print(f"delivery: {what}", file=sys.stderr, flush=True)
    return measure()


def _tables(options: argparse.Namespace, found: Mapping[str, Any]) -> None:
    if "matrix" in found:
        show("Situations: late and lost of the messages sent, and the longest delay",
             ("situation", "settings", "way", "agent", "sent", "late", "lost", "longest"),
             [(row["situation"], row["setting"], row["way"], row["agent"], row["sent"], row["late"], row["lost"],
               spoken(row["longest_s"])) for row in found["matrix"]])
    if "days" in found:
        show(f"{options.days} days, way {options.way[0]}",
             ("settings", "sender", "sent", "late", "lost", "bounced", "longest"),
             [(setting, name, row["sent"], row["late"], row["lost"], row["bounced"], spoken(row["longest_s"]))
              for setting, rows in found["days"].items() for name, row in rows.items()])
    if "spam" in found:
        show(f"Spam: refused of {options.bots}", ("model", *found["spam"]),
             [(model, *(counts[model] for counts in found["spam"].values())) for model in spammers.MODELS])


def spoken(seconds: float) -> str:
    """A delay as people say it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _plot(path: Path, found: Mapping[str, Any], bots: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (good, bad) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for axes, title, bars in (
        (good, "good mail that was late or lost, %", {
            setting: {name: 100 * row["late"] / max(1, row["sent"]) for name, row in rows.items()}
            for setting, rows in found.get("days", {}).items()}),
        (bad, "bots refused, %", {
            setting: {name: 100 * count / bots for name, count in counts.items()}
            for setting, counts in found.get("spam", {}).items()}),
    ):
        for number, (setting, values) in enumerate(bars.items()):
            height = 0.8 / len(bars)
            axes.barh([place + number * height for place in range(len(values))], list(values.values()), height,
                      label=setting)
            axes.set_yticks([place + 0.4 - height / 2 for place in range(len(values))], list(values))
        axes.set_title(title)
        axes.set_xlim(0, 100)
        axes.invert_yaxis()
        if bars:
            axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot draw {quoted(str(path))}: {error}") from error
    pyplot.close(figure)


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
