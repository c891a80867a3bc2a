"""Ports of the loopback for servers of tests, several of which run at a time on one host."""
import secrets
import socket
from pathlib import Path

LOWEST = 20_000
# From here on the kernel gives ports to those who connect (ip(7)): one that is free now may be taken a moment later.
GIVEN = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])


def free_port() -> int:
    """One that nobody has, of UDP and TCP, and that nobody gets by chance."""
    while True:
        # Not by `random`, which may be seeded alike in each process of a run.
        port = LOWEST + secrets.randbelow(GIVEN - LOWEST)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
