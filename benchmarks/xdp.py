"""A drop by XDP, for comparison: our program (peers/door_xdp.c) at an interface, its map of known hosts, its counter.

Clang compiles it with the headers of libbpf, and ip(8) loads it. The maps are those of the program that the interface
says it has, and are filled by bpf(2) itself: one call for all elements.
"""
import ctypes
import json
import os
import platform
import shutil
import struct
import subprocess
import sysconfig
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from benchmarks.command import BenchError
from lab.hosts import REAL4, REAL6, Host

SOURCE = Path(__file__).with_name("peers") / "door_xdp.c"
# linux/bpf.h: commands of bpf(2), and its number.
MAP_LOOKUP, PROG_BY_ID, MAP_BY_ID, INFO_BY_FD, MAP_UPDATE_BATCH = 1, 13, 14, 15, 26
CALLS = {"x86_64": 321, "aarch64": 280}
# struct bpf_prog_info: at these bytes the number of maps and the place for their ids; struct bpf_map_info: the name.
PROGRAM_INFO, MAPS_AT, MAP_IDS_AT = 256, 52, 56
MAP_INFO, NAME_AT, NAME_BYTES = 128, 24, 16
MOST_MAPS = 8
VALUE_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


class NoXdpError(Exception):
    """XDP cannot be measured here; the text says why."""


def compiled(directory: str, entries4: int, entries6: int) -> Path:
    """The program for maps of these sizes. Raises NoXdpError."""
    if shutil.which("clang") is None:
        raise NoXdpError("no clang: apt-get install clang libbpf-dev")
    if platform.machine() not in CALLS:
        raise NoXdpError(f"the number of bpf(2) on {platform.machine()} is not known here")
    words = struct.unpack("!4I", IPv6Address(REAL6).packed)
    headers = f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    target = Path(directory) / f"door-{entries4}-{entries6}.o"
    done = subprocess.run(
        ["clang", "-O2", "-g", "-target", "bpf", "-Wall", "-Wextra", headers,
         f"-DREAL4={int(IPv4Address(REAL4))}u", f"-DREAL6={','.join(map(hex, words))}", f"-DENTRIES4={entries4}",
         f"-DENTRIES6={entries6}", "-c", str(SOURCE), "-o", str(target)], capture_output=True, text=True)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), "")
        raise NoXdpError(f"clang (headers: apt-get install libbpf-dev): {said}")
    return target


class Xdp:
    """The program at an interface of a host; it goes with the interface."""

    def __init__(self, host: Host, mode: str, program: Path) -> None:
        """`mode` is that of ip-link: xdpgeneric, or xdpdrv for the driver's own. Raises NoXdpError."""
        done = host.run(["ip", "link", "set", host.interface, mode, "obj", str(program), "sec", "xdp"],
                        capture_output=True, text=True)
        if done.returncode:
            raise NoXdpError(f"ip link set {mode}: {(done.stderr.strip() or 'failed').splitlines()[0]}")
        shown = host.run(["ip", "-d", "-j", "link", "show", host.interface], capture_output=True, text=True, check=True)
        descriptor = _bpf(PROG_BY_ID, struct.pack("I", json.loads(shown.stdout)[0]["xdp"]["prog"]["id"]))
        try:
            self._maps = _maps_of(descriptor)
        finally:
            os.close(descriptor)

    def fill(self, keys: Sequence[bytes]) -> None:
        """Enter hosts, all of one family: 4 or 16 bytes."""
        every = ctypes.create_string_buffer(b"".join(keys))
        values = ctypes.create_string_buffer(VALUE_BYTES * len(keys))
        # Where a batch begins and ends is not asked for; keys, values, their number, the map.
        _bpf(MAP_UPDATE_BATCH, struct.pack("QQQQII", 0, 0, ctypes.addressof(every), ctypes.addressof(values), len(keys),
                                           self._maps["known4" if len(keys[0]) == 4 else "known6"]))

    def refused(self) -> int:
        """How many SYNs it has dropped so far, of all processors."""
        first = ctypes.create_string_buffer(4)
        counts = ctypes.create_string_buffer(VALUE_BYTES * _possible_processors())
        _bpf(MAP_LOOKUP, struct.pack(
            "IxxxxQQ", self._maps["refused"], ctypes.addressof(first), ctypes.addressof(counts)))
        return sum(struct.unpack(f"{len(counts) // VALUE_BYTES}Q", counts.raw))

    def close(self) -> None:
        """Give the maps back."""
        for descriptor in self._maps.values():
            os.close(descriptor)
        self._maps.clear()


def _maps_of(program: int) -> dict[str, int]:
    """The maps of a program by name, as descriptors."""
    ids = ctypes.create_string_buffer(4 * MOST_MAPS)
    info = ctypes.create_string_buffer(PROGRAM_INFO)
    struct.pack_into("I", info, MAPS_AT, MOST_MAPS)
    struct.pack_into("Q", info, MAP_IDS_AT, ctypes.addressof(ids))
    _bpf(INFO_BY_FD, struct.pack("IIQ", program, PROGRAM_INFO, ctypes.addressof(info)))
    number = struct.unpack_from("I", info, MAPS_AT)[0]
    found = {}
    for one in struct.unpack_from(f"{number}I", ids):
        descriptor = _bpf(MAP_BY_ID, struct.pack("I", one))
        about = ctypes.create_string_buffer(MAP_INFO)
        _bpf(INFO_BY_FD, struct.pack("IIQ", descriptor, MAP_INFO, ctypes.addressof(about)))
        found[about.raw[NAME_AT : NAME_AT + NAME_BYTES].rstrip(b"\0").decode("ascii")] = descriptor
    return found


def _possible_processors() -> int:
    """Of these a map has a value each."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.rpartition("-")[2].rpartition(",")[2]) + 1


def _bpf(command: int, attributes: bytes) -> int:
    """One call of bpf(2). Raises BenchError."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    result: int = _libc.syscall(CALLS[platform.machine()], command, buffer, len(buffer))
    if result < 0:
        raise BenchError(f"bpf(2), command {command}: {os.strerror(ctypes.get_errno())}")
    return result
