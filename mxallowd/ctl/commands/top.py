"""top: what happens now, live in the terminal; rich is imported here alone."""
import argparse
import os
import time
from typing import Any

from mxallowd.ctl import checks
from mxallowd.ctl.command import NO, OK, Command, Context
from mxallowd.ctl.output import failed, safe, show, show_json

RATES = ("fake-new", "fake-known", "fake-denied", "real-first", "real-again", "real-allowed", "real-untold",
         "real-refused", "real-denied", "queue-full", "looked-up")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print it once, rates over one interval, and end")
    parser.add_argument("--interval", metavar="SECONDS", type=lambda text: checks.number(text, 3600), default=2,
                        help="between two looks (default: 2)")


def _lines(before: Any, now: Any, seconds: float) -> list[str]:
    counters, earlier = now["counters"], before["counters"]
    lines = [f"mxallowd {now['time']}"]
    lines += [f"{name:<13} {max(0, counters[name] - earlier.get(name, 0)) / seconds:10.1f}/s {counters[name]:>12}"
              for name in RATES if name in counters]
    fill = now["fill"]
    lines.append(f"whitelist {fill['whitelist']['entries']}/{fill['whitelist']['room']}  "
                 f"refused {fill['refused']['hosts']}/{fill['refused']['room']}")
    lookups = "-" if fill["lookups"] is None else f"{fill['lookups']:.0%}"
    lines.append(f"event ring {fill['event_ring']:.0%}  lookups {lookups}")
    for title, key, name in (("busiest refused hosts", "busiest", "address"),
                             ("busiest networks", "networks", "network")):
        lines += [f"{title}:"] + [f"  {one['times']:>7} {one[name]}" for one in now[key]]
    lines += ["newest:"] + [f"  {one['address']} {one['origin']}" for one in now["newest"]]
    return [safe(line) for line in lines]


def _run(context: Context) -> int:
    arguments = context.arguments
    answer = context.daemon.ask("GET", "/v1/top")
    if failed(context, answer):
        return NO
    if arguments.json:
        show_json(context, answer.body)
        return OK
    before, asked = answer.body, time.monotonic()
    if arguments.once or not context.out.isatty():
        time.sleep(arguments.interval)
        answer = context.daemon.ask("GET", "/v1/top")
        if failed(context, answer):
            return NO
        for line in _lines(before, answer.body, time.monotonic() - asked):
            show(context, line)
        return OK
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=context.out, no_color="NO_COLOR" in os.environ)
    try:
        with Live(Text("mxallowd"), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(arguments.interval)
                answer = context.daemon.ask("GET", "/v1/top")
                if failed(context, answer):
                    return NO
                lines = _lines(before, answer.body, max(0.001, time.monotonic() - asked))
                before, asked = answer.body, time.monotonic()
                live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
    except KeyboardInterrupt:
        return OK


COMMANDS: tuple[Command, ...] = (
    Command("top", "what happens now, live in the terminal", "mxallowctl top --once", _arguments, _run),
)
