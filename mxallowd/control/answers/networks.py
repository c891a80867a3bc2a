"""The networks that an operator has added by hand, as the answers use them; lists/ keeps them."""
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from mxallowd.settings.options import Network

VERDICTS = ("allow", "deny")


class OwnNetwork(NamedTuple):
    """A network that was added by hand."""

    verdict: str  # one of VERDICTS
    network: Network
    note: str
    until_s: float | None  # seconds since 1970; None: for good


class OwnNetworks(Protocol):
    """Whoever keeps them. Calls come from the main loop and are not to hold it."""

    async def add(self, networks: Sequence[OwnNetwork]) -> None:
        """Let these hold from now on, in place of what was added for the same networks. Raises RequestError."""

    async def remove(self, network: Network) -> int:
        """Take out what was added by hand for this very network; how many. Raises RequestError."""

    async def flush(self) -> int:
        """Take out all that was added by hand; how many. Raises RequestError."""

    def listing(self) -> Iterable[OwnNetwork]:
        """What was added by hand and has not ended, made while it is asked for."""
