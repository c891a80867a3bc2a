"""The clock of the packet path: microseconds that count through suspend and ignore every change of the wall clock."""
import time

# clock_gettime(2). Where there is no CLOCK_BOOTTIME, the monotonic clock is the nearest to it.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_us() -> int:
    """Microseconds since the start of the machine."""
    return time.clock_gettime_ns(CLOCK) // 1000
