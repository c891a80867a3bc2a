"""Time that passes at once for the kernel's sets: their elements end by the kernel's clock, which no test can move.

Each element with a timeout gets the time that is left to it less what passes; who has none left goes. What has no
timeout stays. Times are whole seconds, rounded down, so an element may lose up to a second more with each call.
"""
import json
from collections.abc import Callable
from dataclasses import dataclass

from lab.hosts import Host

TABLE = ("inet", "mxallowd")


@dataclass(frozen=True)
class Element:
    """An element of a set that ends: the seconds of its whole life, and those left of it."""

    set_name: str
    address: str
    whole_s: int
    left_s: int


def in_nft(host: Host) -> list[Element]:
    """What ends in the sets of the project's table."""
    done = host.run(["nft", "-j", "list", "table", *TABLE], capture_output=True, check=True)
    sets = [one["set"] for one in json.loads(done.stdout)["nftables"] if "set" in one]
    # An element without a time is its value alone.
    listed = [(one["name"], element["elem"]) for one in sets for element in one.get("elem", [])
              if isinstance(element, dict) and "expires" in element.get("elem", {})]
    return [Element(name, element["val"], element.get("timeout", element["expires"]), element["expires"])
            for name, element in listed]


def in_ipset(host: Host) -> list[Element]:
    """What ends in any set of ipset."""
    text = host.run(["ipset", "save"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in text.splitlines() if line.startswith("add ")]
    times = {(word[1], word[2]): int(word[word.index("timeout") + 1]) for word in words if "timeout" in word}
    return [Element(name, address, left_s, left_s) for (name, address), left_s in times.items() if left_s]


def pass_in_nft(host: Host, seconds: int) -> None:
    """Let time pass, in one transaction."""
    lines = []
    for element in in_nft(host):
        at = f"element {' '.join(TABLE)} {element.set_name} {{ {element.address}"
        lines.append(f"delete {at} }}")
        if element.left_s > seconds:
            lines.append(f"add {at} timeout {element.whole_s}s expires {element.left_s - seconds}s }}")
    host.run(["nft", "-f", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def pass_in_ipset(host: Host, seconds: int) -> None:
    """Let time pass, in one go."""
    lines = [
        f"add {element.set_name} {element.address} timeout {element.left_s - seconds}" if element.left_s > seconds
        else f"del {element.set_name} {element.address}"
        for element in in_ipset(host)]
    host.run(["ipset", "restore", "-exist"], input="\n".join(lines) + "\n", text=True, check=True)


LISTED: dict[str, Callable[[Host], list[Element]]] = {"nft": in_nft, "ipset": in_ipset}
PASS: dict[str, Callable[[Host, int], None]] = {"nft": pass_in_nft, "ipset": pass_in_ipset}
