"""Names in /etc/hosts (hosts(5)), which the daemon reads itself, by the broker of the sandbox, as it is by now."""
import os
from ipaddress import ip_address
from pathlib import Path

from mxallowd.process import broker

HOSTS = Path("/etc/hosts")
MAX_BYTES = 1 << 20


def addresses(name: str) -> list[str]:
    """The addresses of a name, in the file's order; none where it cannot be read. It may wait for the broker."""
    try:
        with os.fdopen(broker.open_file(HOSTS), "rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return parse(text, name)


def parse(text: str, name: str) -> list[str]:
    """The addresses that this text has for a name."""
    found = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name.lower() in (one.lower() for one in names) and is_address(address):
            found.append(address)
    return list(dict.fromkeys(found))


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, and need not be looked up."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
