"""top: what happens now, live in the terminal; rich is imported here alone."""
import argparse
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from mxallowd.ctl import checks
from mxallowd.ctl.command import NO, OK, Command, Context
from mxallowd.ctl.output import failed, safe, show, show_json

RATES = ("fake-new", "fake-known", "fake-denied", "real-first", "real-again", "real-allowed", "real-untold",
         "real-refused", "real-denied", "queue-full", "looked-up")
ENDING = (signal.SIGINT, signal.SIGTERM)
BARE = ("", "dumb", "unknown")  # terminals of which the cursor cannot be moved


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
    if fill.get("patience"):
        lines.append(f"patience {fill['patience']['hosts']}/{fill['patience']['room']} wait, "
                     f"{counters.get('patience-let-in', 0)} let in")
    lines += [f"queue {one['queue']}: {one['waiting']}/{one['room']} packets wait" for one in now["queues"]]
    lookups = "-" if fill["lookups"] is None else f"{fill['lookups']:.0%}"
    lines.append(f"event ring {fill['event_ring']:.0%}  lookups {lookups}")
    for title, key, name in (("busiest refused hosts", "busiest", "address"),
                             ("busiest networks", "networks", "network")):
        lines += [f"{title}:"] + [f"  {one['times']:>7} {one[name]}" for one in now[key]]
    lines += ["newest:"] + [f"  {one['address']} {one['origin']}" for one in now["newest"]]
    return [safe(line) for line in lines]


def _run(context: Context) -> int:
    arguments = context.arguments
    if arguments.json:
        answer = context.daemon.ask("GET", "/v1/top")
        if failed(context, answer):
            return NO
        show_json(context, answer.body)
        return OK
    if arguments.once or not context.out.isatty():
        return _plain(context, once=True)
    try:
        # Who is asked to end has to give the terminal back first.
        signal.signal(signal.SIGTERM, _end)
        return _plain(context, once=False) if os.environ.get("TERM", "") in BARE else _live(context)
    except KeyboardInterrupt:
        return OK


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _looks(context: Context) -> Iterator[list[str] | None]:
    """What is to be shown, an interval after the other; None: the daemon refused, which has been said."""
    answer, asked = context.daemon.ask("GET", "/v1/top"), time.monotonic()
    while not failed(context, answer):
        before, earlier = answer.body, asked
        time.sleep(context.arguments.interval)
        answer, asked = context.daemon.ask("GET", "/v1/top"), time.monotonic()
        if answer.status < 400:
            yield _lines(before, answer.body, max(0.001, asked - earlier))
    yield None


def _plain(context: Context, *, once: bool) -> int:
    """Line after line: for scripts, and for a terminal that can do nothing else."""
    for lines in _looks(context):
        if lines is None:
            break
        for line in lines:
            show(context, line)
        if once:
            return OK
        show(context)
        context.out.flush()
    return NO


def _live(context: Context) -> int:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    # The terminal says how large it is, also after it has been resized; these only say how large it was at some time.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    console = Console(file=context.out, no_color="NO_COLOR" in os.environ)
    first = Text(f"mxallowd: rates over {context.arguments.interval} s come next; Ctrl-C ends")
    live = Live(first, console=console, screen=True, auto_refresh=False)
    # A signal in the middle of taking or giving back the terminal would leave it half taken.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        live.start(refresh=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        for lines in _looks(context):
            if lines is None:
                break
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        live.stop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return NO


COMMANDS: tuple[Command, ...] = (
    Command("top", "what happens now, live in the terminal", "mxallowctl top --once", _arguments, _run),
)
