"""Makes the compiled objects again and again while one allocation after the other fails.

    LD_PRELOAD=failing_memory.so python -m tests.failing_memory

For every class the first, the second and each further allocation fails, until none is left that can. Prints for each
class, as JSON: how many allocations could fail, in how many of these runs the constructor raised MemoryError (or an
OSError with ENOMEM, where that is documented), what else came out, and what was not given back.
"""
import ctypes
import errno
import gc
import json
import sys
from collections.abc import Callable
from ipaddress import ip_network

from mxallowd._fastpath import Fastpath
from mxallowd.engine._networks import Networks
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table
from mxallowd.lists.composition import record
from tests.strategies import FAKE, REAL

# So often each allocation fails: what is lost each time then shows.
REPEAT = 50
MOST = 500
KEY = bytes(16)

countdown, blocks, mapped = (
    ctypes.c_long.in_dll(ctypes.CDLL(None), f"failing_{name}") for name in ("countdown", "blocks", "mapped"))


def makers() -> dict[str, Callable[[], object]]:
    """How an object of each class is made; what it needs is there already."""
    table, ring, rules = Table(1000, 2, KEY), Ring(64, -1), Rules(FAKE, REAL, 60)
    path, records = Fastpath(table, ring, rules), record(ip_network("10.0.0.0/8"), "deny")
    made: dict[str, Callable[[], object]] = {
        # Large enough for large pages, and with a shard for admissions.
        "Table": lambda: Table(100_000, 3, KEY, main=1000, told=900), "Ring": lambda: Ring(1024, -1),
        "Networks": lambda: Networks(records),
        "Refused": lambda: Refused(100_000, 3, table),
        "Rules": lambda: Rules(FAKE, REAL, 60), "Fastpath": lambda: Fastpath(table, ring, rules)}
    if sys.platform == "linux":
        from mxallowd.backends._worker import QueueThread
        from mxallowd.watchdog._watch import Heartbeats, Watchdog

        beats = Heartbeats()
        made |= {
            "Heartbeats": Heartbeats, "Watchdog": lambda: Watchdog(beats, [0]),
            "QueueThread": lambda: QueueThread(-1, 0, path, bytes(20), heartbeats=beats)}
    return made


def attempt(make: Callable[[], object], number: int) -> tuple[str, bool]:
    """Make one while allocation `number` fails: what came of it, and whether that allocation took place."""
    outcome = "made"
    countdown.value = number
    try:
        make()
    except MemoryError:
        outcome = "MemoryError"
    except OSError as error:
        outcome = "MemoryError" if error.errno == errno.ENOMEM else repr(error)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
        outcome = repr(error)
    failed = countdown.value < 0
    countdown.value = -1
    return outcome, failed


def kept(make: Callable[[], object], number: int) -> tuple[int, int]:
    """How many blocks and mapped bytes are not given back after REPEAT failures of allocation `number`."""
    before = blocks.value, mapped.value
    for _ in range(REPEAT):
        attempt(make, number)
    gc.collect()
    return blocks.value - before[0], mapped.value - before[1]


def is_loss(more: tuple[int, int]) -> bool:
    return more[0] >= REPEAT // 2 or more[1] >= 1 << 20


def examine(make: Callable[[], object]) -> dict[str, object]:
    """Let every allocation fail."""
    raised = number = 0
    other: list[str] = []
    lost: list[tuple[int, int, int]] = []
    # The interpreter keeps some of what it takes for the next time.
    for _ in range(3):
        attempt(make, MOST)
    while number < MOST:
        outcome, failed = attempt(make, number)
        if not failed:
            break
        raised += outcome == "MemoryError"
        if outcome not in ("MemoryError", "made"):
            other.append(f"{number}: {outcome}")
        gc.collect()
        # The interpreter maps an arena of its own now and then (1 MiB): what is lost is lost each time.
        more = kept(make, number)
        if is_loss(more) and is_loss(kept(make, number)):
            lost.append((number, *more))
        number += 1
    return {"allocations": number, "raised": raised, "other": other, "lost": lost}


if __name__ == "__main__":
    print(json.dumps({name: examine(make) for name, make in makers().items()}))
