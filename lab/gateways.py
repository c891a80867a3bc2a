"""A site: gateways, each with a network of its own for its clients, and one network that they share with the engine.

Each gateway is a `Lab`, with the same fake and real addresses as all others, and clients around it; a client of two
gateways is a host of the same address at both. What they share is 198.51.100.0/24 (RFC 5737) on a switch of its own.
"""
import itertools
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple

from lab.hosts import BRIDGE, Host, Lab, ip, wait_until_forwarding

INTERFACE = "site0"
_NETWORK = "198.51.100"
_numbers = itertools.count()


class Place(NamedTuple):
    """A host at the switch, and its address there."""

    host: Host
    address: str


class Site:
    """A context manager, which takes everything away again: programs, hosts, the switch."""

    def __init__(self, prefix: str = "mxs") -> None:
        self._prefix = f"{prefix}{next(_numbers)}"
        self._stack = ExitStack()
        self._addresses = itertools.count(1)
        self._hosts: Lab

    def __enter__(self) -> "Site":
        with self._stack:
            # Its gateway is the switch; nobody sees the addresses that it has.
            self._hosts = self._stack.enter_context(Lab(f"{self._prefix}-switch"))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def place(self, name: str) -> Place:
        """A host with an address at the switch and nothing else, such as one for the engine."""
        return self._plug(self._hosts.empty_host(name, INTERFACE))

    def gateway(self, name: str) -> tuple[Lab, Place]:
        """A gateway, and its place at the switch."""
        lab = self._stack.enter_context(Lab(f"{self._prefix}-{name}"))
        return lab, self._plug(Host(lab.gateway.name, INTERFACE))

    def _plug(self, host: Host) -> Place:
        number = next(self._addresses)
        address = f"{_NETWORK}.{number}"
        switch = self._hosts.gateway.name
        ip(f"link add s{number} netns {switch} type veth peer name {INTERFACE} netns {host.name}",
           f"-n {switch} link set s{number} master {BRIDGE} up",
           f"-n {host.name} address add {address}/24 dev {INTERFACE}",
           f"-n {host.name} link set {INTERFACE} up")
        wait_until_forwarding(switch, f"s{number}")
        return Place(host, address)
