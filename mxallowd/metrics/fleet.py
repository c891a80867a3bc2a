"""What monitoring is told of the fleet, from its status. A label is the name of a gateway, and their number is bounded.

A gateway whose name is made up by one that was taken over is a series as well, so there are MOST_PEERS at most: the
first ones by their name, which stay the same from one scrape to the next.
"""
from collections.abc import Mapping
from typing import Any

from mxallowd.metrics.series import Value

MOST_PEERS = 100


def values(status: Mapping[str, Any]) -> dict[str, Value]:
    """The values of series.py that the status of a fleet is (see control/answers/fleet.py)."""
    peers = sorted(status["peers"], key=lambda one: str(one["origin"]))[:MOST_PEERS]
    found: dict[str, Value] = {
        "fleet_connected": int(status["connected"]),
        "fleet_peers": len(status["peers"]) + status["peers_left_out"],
        "fleet_told_entries": status["told"],
        "fleet_told_room": status["told_room"],
        "fleet_hosts_waiting": status["waiting"],
    }
    for name in ("read", "heard", "said"):
        if (age := status[f"{name}_seconds"]) is not None:
            found[f"fleet_{name}_age_seconds"] = age
    if not peers:
        return found
    return found | {
        "fleet_peer_heard_age_seconds": {
            one["origin"]: one["heard_seconds"] for one in peers if one["heard_seconds"] is not None},
        "fleet_peer_lag_seconds": {one["origin"]: one["lag_ms"] / 1000 for one in peers if one["lag_ms"] is not None},
        "fleet_peer_entries": {one["origin"]: one["entries"] for one in peers},
        "fleet_peer_refused": {one["origin"]: sum(one["refused"].values()) for one in peers},
    }


def faults(status: Mapping[str, Any]) -> list[str]:
    """What is wrong, without addresses and names: strangers may ask for metrics."""
    return [] if status["connected"] else [
        "the engine of the fleet cannot be used, so entries of other gateways do not come in; mxallowctl fleet status "
        "says why"]
