"""NetfilterQueue as its manual shows it: a Python callback for each packet. It decides nothing.

    python callback.py QUEUE drop|accept|mixed
"""
import socket
import sys
from typing import Any

from netfilterqueue import COPY_PACKET, NetfilterQueue

SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5  # linux/netlink.h


def accept(packet: Any) -> None:
    packet.accept()


def drop(packet: Any) -> None:
    packet.drop()


def mixed(packet: Any) -> None:
    if packet.id & 1:
        packet.drop()
    else:
        packet.accept()


def main() -> None:
    queue = NetfilterQueue()
    callback = {"accept": accept, "drop": drop, "mixed": mixed}[sys.argv[2]]
    queue.bind(int(sys.argv[1]), callback, 65535, COPY_PACKET, 60, 65535 * 1304)
    with socket.socket(fileno=queue.get_fd()) as borrowed:
        borrowed.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        borrowed.detach()
    print("ready", flush=True)
    queue.run()


if __name__ == "__main__":
    main()
