"""What the commands of this directory share: arguments, what they need to run at all, and how they end."""
import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from benchmarks.report import machine, show_json
from lab.hosts import supported
from mxallowd.errors import MxallowdError
from mxallowd.text import quoted

LARGEST = 50_000_000
SIGTERM_STATUS, SIGINT_STATUS = 128 + signal.SIGTERM, 128 + signal.SIGINT
JSON_HELP = "print one JSON object in place of the tables"
Found = TypeVar("Found")


class BenchError(Exception):
    """The measurement cannot be taken; the text says why."""


def parser(
    description: str | None, *, repeat: int | None = None, json_help: str = JSON_HELP
) -> argparse.ArgumentParser:
    """A parser that knows --json, and --repeat where its default is given."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if repeat is not None:
        made.add_argument("--repeat", type=positive, default=repeat,
                          help="runs of each, in turn (default: %(default)s)")
    made.add_argument("--json", action="store_true", help=json_help)
    return made


def run(name: str, main: Callable[[], int]) -> int:
    """Run a benchmark: whatever ends it, it ends in order, by a status and at most one line."""
    def terminated(*_: object) -> None:
        sys.exit(SIGTERM_STATUS)

    signal.signal(signal.SIGTERM, terminated)
    try:
        return main()
    except KeyboardInterrupt:
        return SIGINT_STATUS
    except (BenchError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1


def measured(measure: Callable[[], Found], *, hosts: bool = True) -> Found:
    """What a measurement finds, with `hosts` in a lab. Raises BenchError where it cannot be taken."""
    reason = supported() if hosts else None
    if reason:
        raise BenchError(reason)
    try:
        return measure()
    except (MxallowdError, RuntimeError, subprocess.SubprocessError) as error:
        raise BenchError(str(error)) from error


def give(options: argparse.Namespace, inputs: str, found: Mapping[str, Any], tables: Callable[[], None]) -> int:
    """Print what was found, as tables or with the machine and the named options as JSON; the exit status."""
    if options.json:
        show_json({**machine(), **{name: getattr(options, name) for name in inputs.split()}, **found})
    else:
        tables()
    return 0


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    return _number(text, 1)


def natural(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    return _number(text, 0)


def sizes(text: str) -> list[int]:
    """Sizes of a whitelist, N,N,..., for argparse."""
    found = [_number(one, 1) for one in text.split(",")]
    if max(found) > LARGEST:
        raise argparse.ArgumentTypeError(f"{quoted(text)}: at most {LARGEST:,}")
    return found


def _number(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number from {least} on")
    return int(text)
