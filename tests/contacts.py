"""A program for a host of the lab: hosts meet the fake server at an even pace, and it writes down when each did.

    contacts.py FAKE FIRST NUMBER RATE FILE

It runs at real-time priority. The file gets the time of each SYN by CLOCK_MONOTONIC, in nanoseconds, 8 bytes each.
"""
import os
import socket
import struct
import sys
import time
from array import array
from ipaddress import IPv4Address
from pathlib import Path

STEP_S = 0.001


def syn(source: int, destination: int) -> bytes:
    """A SYN to port 25, without checksums: nobody in between looks at them."""
    tcp = struct.pack("!HHIIBBHHH", 40_000, 25, 1, 0, 5 << 4, 2, 64_240, 0, 0)
    return struct.pack("!BBHHHBBHII", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0, source, destination) + tcp


def main(fake: str, first: str, number: int, rate: int, file: str) -> None:
    """Send them all."""
    packets = [syn(int(IPv4Address(first)) + one, int(IPv4Address(fake))) for one in range(number)]
    times = array("q")
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        began = time.monotonic()
        for place, packet in enumerate(packets):
            while time.monotonic() < began + place / rate:
                time.sleep(STEP_S / 4)
            times.append(time.monotonic_ns())
            sender.sendto(packet, (fake, 0))
    Path(file).write_bytes(times.tobytes())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
