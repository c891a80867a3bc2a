"""Waiting for what comes soon, on a machine that may be busy."""
import time
from collections.abc import Callable

SOON_S = 10.0


def until(what: Callable[[], object], limit_s: float = SOON_S) -> bool:
    """Whether `what` becomes true within so many seconds. It is asked again and again, at least once."""
    deadline = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
