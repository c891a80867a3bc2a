"""Hosts that a target lacked when it was asked for them, until that is known to be a fault.

The packet path lists a host before the main loop hears of it, and under load some tenths of a second pass until the
target is told. So a host that is missing among others that are there counts only where the next inspection misses it
as well. A target that lacks all that was asked for was emptied or replaced, which counts at once.
"""
from collections.abc import Mapping


class Suspects:
    """Those of one target: at most as many as one inspection asks for, and as many again."""

    def __init__(self) -> None:
        """None so far."""
        self.hosts: dict[bytes, bool] = {}  # to be asked for again: whether they were used

    def count(self, asked: Mapping[bytes, bool], missing: set[bytes]) -> set[bytes]:
        """Those of the missing ones that count; the others are suspected from now on."""
        counting = set(missing) if len(missing) == len(asked) else missing & self.hosts.keys()
        self.hosts = {host: asked[host] for host in missing - counting}
        return counting
