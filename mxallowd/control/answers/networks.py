"""The networks that an operator has added by hand, as the answers use them; lists/ keeps them."""
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from mxallowd.control.answers.listing import bounds
from mxallowd.control.exchange import RequestError, timestamp
from mxallowd.engine.hosts import has_hosts
from mxallowd.lists.composition import DECIDING, Match
from mxallowd.lists.lists import Added
from mxallowd.settings.values import Network

WhyNot = Callable[[bytes], str]
"""Why a host cannot be let in, behind its address; empty where it can."""

VERDICTS = ("allow", "deny", "direct")
# Of an export also hosts that were learned (--direct-after).
EXPORTED = (*VERDICTS, "learned")


class OwnNetwork(NamedTuple):
    """A network that was added by hand."""

    verdict: str  # one of EXPORTED
    network: Network
    note: str
    until_s: float | None  # seconds since 1970; None: for good


class OwnNetworks(Protocol):
    """Whoever keeps them. Calls come from the main loop and are not to hold it."""

    async def add(self, networks: Sequence[OwnNetwork]) -> Added:
        """Let these hold from now on, as far as there is room."""

    def get(self, verdict: str, network: Network) -> OwnNetwork | None:
        """What is there by hand of that very network, as the lists tell it."""

    def has(self, verdict: str, network: Network) -> bool:
        """Whether that very network is there by hand."""

    async def remove(self, network: Network) -> int:
        """Take out what was added by hand for this very network; how many. Raises RequestError."""

    def deciding(self, network: Network, verdict: str) -> list[Match]:
        """Some networks of that list that hold for an address of this one, whatever else there is."""

    async def flush(self) -> int:
        """Take out all that was added by hand; how many. Raises RequestError."""

    def listing(self) -> Iterable[OwnNetwork]:
        """What was added by hand and has not ended, made while it is asked for."""


def check_allowed(network: Network, why_not: WhyNot) -> None:
    """Raise RequestError where no host of a network can be let in: as for addresses."""
    first, last = bounds(network)
    if not has_hosts(first, last):
        raise RequestError(422, "no-host", f"{network} has no address that a host on another network can have")
    if network.num_addresses == 1 and (reason := why_not(first)):
        raise RequestError(422, "no-host", f"{network.network_address} {reason}")


def overruled(key: str, matches: Sequence[Match]) -> dict[str, object]:
    """The key with DECIDING networks that decide otherwise than what was done; nothing where none does.

    Where there are further ones, the key with `_more` is true.
    """
    found: dict[str, object] = {key: [shown(match) for match in matches[:DECIDING]]} if matches else {}
    return {**found, f"{key}_more": True} if len(matches) > DECIDING else found


def shown(match: Match) -> dict[str, object]:
    """A network of a list as JSON has it."""
    return {"verdict": match.verdict, "network": str(match.network), "origin": match.origin, "source": match.where,
            "note": match.note,
            "until": None if match.until is None else timestamp(match.until)}
