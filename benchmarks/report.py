"""What benchmarks print: a table for people, or one JSON object for programs."""
import argparse
import json
import platform
import signal
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from mxallowd.process.streams import write
from mxallowd.text import quoted

LARGEST = 50_000_000
SIGTERM_STATUS, SIGINT_STATUS = 128 + signal.SIGTERM, 128 + signal.SIGINT


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    align = ("left", *("right" for _ in headers[1:]))
    say(f"\n{title}\n\n{tabulate(texts, headers=headers, disable_numparse=True, colalign=align)}")


def show_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    say(json.dumps(result, indent=2))


def say(text: str) -> None:
    """Print to standard output. Raises OSError where nobody takes it."""
    if sys.stdout is None or not write(sys.stdout, f"{text}\n"):
        raise OSError("standard output takes nothing")


def run(main: Callable[[], int]) -> int:
    """Run a benchmark: a signal, or an output that nobody takes, ends it in order, by a status and no traceback."""
    def terminated(*_: object) -> None:
        sys.exit(SIGTERM_STATUS)

    signal.signal(signal.SIGTERM, terminated)
    try:
        return main()
    except KeyboardInterrupt:
        return SIGINT_STATUS
    except OSError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1


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


def machine() -> dict[str, str]:
    """Where the figures were taken."""
    return {"machine": platform.machine(), "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version()}


def median(values: Sequence[float]) -> float:
    """The median: one run that the machine disturbed does not move it."""
    return statistics.median(values)


def ratios(peer: Sequence[float], own: Sequence[float]) -> float:
    """How many times as fast: the median of peer / own over the runs, which were taken in turn."""
    return statistics.median(theirs / ours for theirs, ours in zip(peer, own, strict=True))
