"""Clocks of programs that a test can set (clocks.c): those of a daemon alone, or those of several hosts together."""
import mmap
import struct
from pathlib import Path

from lab.programs import compiled

_NUMBERS = struct.Struct("=3q")


class Clocks:
    """How far the clocks of programs are ahead of the kernel's, all of them at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_NUMBERS.size))
        with path.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), _NUMBERS.size)

    def set(self, wall_s: int, boot_s: int, monotonic_s: int = 0) -> None:
        """Seconds of CLOCK_REALTIME, CLOCK_BOOTTIME and CLOCK_MONOTONIC, for programs that run and those to come."""
        self._numbers[:] = _NUMBERS.pack(wall_s, boot_s, monotonic_s)

    def prefix(self) -> list[str]:
        """The words before a command that give it these clocks."""
        return ["env", f"LD_PRELOAD={shim()}", f"MXALLOWD_CLOCKS={self.path}"]


def shim() -> Path:
    """The library that sets them. Raises CompileError."""
    return compiled(Path(__file__).with_suffix(".c"), "-shared", "-fPIC", "-ldl")
