"""The C library's memory: what was freed does not stay."""
import subprocess
import sys

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
