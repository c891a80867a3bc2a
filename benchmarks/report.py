"""What benchmarks print: a table for people, or one JSON object for programs; and how many runs become one figure."""
import json
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mxallowd.process.streams import write


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    try:
        from tabulate import tabulate
    except ModuleNotFoundError:
        table = plain_table([headers, *texts])
    else:
        align = ("left", *("right" for _ in headers[1:]))
        table = tabulate(texts, headers=headers, disable_numparse=True, colalign=align)
    say(f"\n{title}\n\n{table}")


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns beside each other, the first one to the left."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows if any(row))


def show_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    say(json.dumps(result, indent=2))


def say(text: str) -> None:
    """Print to standard output. Raises OSError where nobody takes it."""
    if sys.stdout is None or not write(sys.stdout, f"{text}\n"):
        raise OSError("standard output takes nothing")


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
