"""Memory of the process: a check at the start that there is enough, and a setting that returns what is freed.

The memory of the tables is taken as a whole at the start and written once, so that no flood makes it grow later. If the
machine or a control group did not have it, the kernel would kill the process meanwhile, without a message. So this
module compares the memory that is needed and the memory that is free before.

glibc gives each thread a heap of its own and keeps what was freed there, and every large block that is freed makes it
keep larger ones. A large temporary object, such as the message for a whole kernel table, would then stay in memory for
ever, and floods would make the process grow step by step.
"""
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

from mxallowd.errors import StartError

# malloc.h of glibc
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
MAPPED_FROM = 128 << 10  # bytes: glibc's own first value, which stays where it has been set
ROOT = Path("/")
_MIB = 1 << 20


def return_what_is_freed() -> None:
    """Called before the first thread starts. Where the C library has no such setting, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Let the system have what the start took and needs no more: half a megabyte, of modules and configuration."""
    gc.collect()
    # What is there now stays. To go through all of it again would hold up the main loop for 10 ms at a time.
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def require(needed: int, purpose: str, root: Path = ROOT) -> None:
    """Raise StartError where this process cannot have `needed` bytes more; where nobody says, it is tried.

    `purpose` is what they are for, and how to want less.
    """
    free = free_bytes(root)
    if free is not None and needed > free:
        raise StartError(f"{purpose} need {-(-needed // _MIB)} MiB of memory, and {free // _MIB} MiB are free here")


def free_bytes(root: Path = ROOT) -> int | None:
    """Bytes that this process may still take: of the machine with its swap, of its control groups. None: unknown."""
    known = [free for free in (_free_of_machine(root), *_free_of_groups(root)) if free is not None]
    return min(known, default=None)


def _free_of_machine(root: Path) -> int | None:
    fields = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    try:
        return 1024 * sum(int(fields[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (KeyError, ValueError, IndexError):
        return None


def _free_of_groups(root: Path) -> Iterator[int | None]:
    """What each control group above this process leaves (cgroups(7)), of either version."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            below = "/".join(parts[:depth])
            if not controllers:
                for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                    yield _free_of_group(root / mount / below, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                yield _free_of_group(root / "sys/fs/cgroup/memory" / below, "memory.limit_in_bytes",
                                     "memory.usage_in_bytes", "total_inactive_file")


def _free_of_group(group: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        bound, used = int(_text(group / limit)), int(_text(group / usage))
    except ValueError:
        # None is set, or there is no such group.
        return None
    # The kernel gives up what it has only cached before it refuses anything.
    statistics = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
    return max(0, bound - used + int(statistics.get(cache, "0")))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
