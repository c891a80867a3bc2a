"""What benchmarks print: a table for people, or one JSON object for programs."""
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    print(f"\n{title}\n")
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    align = ("left", *("right" for _ in headers[1:]))
    print(tabulate(texts, headers=headers, disable_numparse=True, colalign=align))


def show_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(result, indent=2))


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
