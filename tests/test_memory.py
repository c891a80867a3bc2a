"""Memory: what was freed does not stay, and what is not there is said at the start."""
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mxallowd.errors import StartError
from mxallowd.process.memory import free_bytes, require

STORY = """
import ctypes, sys, threading
from pathlib import Path
from mxallowd.process.memory import return_what_is_freed

if sys.argv[1] == "set":
    return_what_is_freed()

def resident_kib():
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split("VmRSS:")[1].split()[0])

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def use(size):
    # As a table that is filled: a large block, and a small one behind it that lives on.
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.malloc(1000)
    libc.free(block)

use(1 << 20)
before = resident_kib()
for round in range(8):
    thread = threading.Thread(target=lambda: [use((3 + round) << 20) for _ in range(3)])
    thread.start()
    thread.join()
print(resident_kib() - before)
"""


def grown_kib(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", STORY, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_blocks_go_back_to_the_system() -> None:
    assert grown_kib("set") < 1024 < grown_kib("as it is")


def test_what_the_start_took_is_given_back() -> None:
    story = STORY[:STORY.index("libc = ")] + """
from mxallowd.process.memory import give_back
# Small blocks, the last of which stays: the heap cannot shrink by itself.
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(4000) for _ in range(2000)]
for block in blocks:
    ctypes.memset(block, 1, 4000)
libc.malloc(4000)
for block in blocks:
    libc.free(block)
before = resident_kib()
give_back()
print(before - resident_kib())
"""
    done = subprocess.run([sys.executable, "-c", story, "as it is"], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 4000


# ---- enough of it at the start

def machine(root: Path, available_kib: int | None = None, swap_kib: int = 0, groups: str = "") -> Path:
    """The files that say what is free."""
    (root / "proc/self").mkdir(parents=True)
    if available_kib is not None:
        (root / "proc/meminfo").write_text(
            f"MemTotal: 9 kB\nMemAvailable:   {available_kib} kB\nSwapFree:  {swap_kib} kB\n", encoding="ascii")
    (root / "proc/self/cgroup").write_text(groups, encoding="ascii")
    return root


def group(root: Path, path: str, *, v1: bool = False, limit: object, used: int, cached: int = 0) -> None:
    """A control group of either version."""
    place = root / "sys/fs/cgroup" / ("memory" if v1 else "") / path
    place.mkdir(parents=True, exist_ok=True)
    limit_name, used_name, cached_name = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file") if v1 else
        ("memory.max", "memory.current", "inactive_file"))
    (place / limit_name).write_text(f"{limit}\n", encoding="ascii")
    (place / used_name).write_text(f"{used}\n", encoding="ascii")
    (place / "memory.stat").write_text(f"anon 1\n{cached_name} {cached}\n", encoding="ascii")


def test_free_is_what_machine_and_groups_leave(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) is None
    root = machine(tmp_path / "a", 1000, 24)
    assert free_bytes(root) == 1024 * 1024
    root = machine(tmp_path / "b", 10**6, groups="0::/system.slice/mxallowd.service\n")
    group(root, "system.slice/mxallowd.service", limit="max", used=5)
    group(root, "system.slice", limit=5_000_000, used=3_000_000, cached=500_000)
    assert free_bytes(root) == 2_500_000
    group(root, "system.slice/mxallowd.service", limit=3000, used=5000)
    assert free_bytes(root) == 0
    root = machine(tmp_path / "c", 10**6, groups="4:cpu,memory:/a:b\n2:cpuset:/\n\nnonsense\n")
    group(root, "a:b", v1=True, limit=9000, used=1000, cached=100)
    group(root, "", v1=True, limit=2**63 - 4096, used=10**9)
    assert free_bytes(root) == 8100


def test_what_cannot_be_read_forbids_nothing(tmp_path: Path) -> None:
    root = machine(tmp_path, groups="0::/x\n")
    (root / "proc/meminfo").write_bytes(b"MemAvailable: \xff kB\nSwapFree:\n")
    group(root, "x", limit="?", used=1)
    assert free_bytes(root) is None
    require(1 << 60, "a dream", root)


def test_too_little_is_said_with_both_figures(tmp_path: Path) -> None:
    root = machine(tmp_path, 10 * 1024)
    require(10 << 20, "all", root)
    with pytest.raises(StartError, match=r"^max-entries 7 need 11 MiB of memory, and 10 MiB are free here$"):
        require((10 << 20) + 1, "max-entries 7", root)


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with 100 MiB."""
    mounts = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/memory")]
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in mounts if not controllers or "memory" in controllers else []:
            made = mount / path.lstrip("/") / f"mxallowd-test-{os.getpid()}"
            with suppress(OSError):
                made.mkdir()
                names = ("memory.max", "memory.limit_in_bytes")
                limit = next((made / name for name in names if (made / name).exists()), None)
                if limit:
                    limit.write_text(str(100 << 20), encoding="ascii")
                    yield made
                    # A process that has just ended may still hold it for a moment.
                    with suppress(OSError):
                        made.rmdir()
                    return
                made.rmdir()
    assert not os.environ.get("CI"), "no control group of memory can be made"
    pytest.skip("no control group of memory can be made")


def test_a_group_without_the_memory_says_so(small_group: Path) -> None:
    """And not by an end in the middle of the start, with status 137 and no word."""
    command = [sys.executable, "-m", "mxallowd", "-F", "-s", "-c", "/dev/null", "-f", "::1", "-r", "::2", "-n", "9",
               "--max-entries", "10000000"]
    done = subprocess.run(
        ["sh", "-c", f'echo $$ > {small_group}/cgroup.procs && exec "$@"', "sh", *command], capture_output=True,
        text=True, timeout=30)
    assert done.returncode == 1
    assert re.fullmatch(r"mxallowd: max-entries 10000000 and max-refused 262144 need \d+ MiB of memory, and \d+ MiB "
                        r"are free here\n", done.stderr)
