"""The networks added by hand: what the answers of the control socket ask for, done by the lists."""
import time
from collections.abc import Callable, Iterator, Sequence

from mxallowd.control.answers.networks import OwnNetwork
from mxallowd.control.exchange import RequestError
from mxallowd.lists.composition import ALLOW, Match
from mxallowd.lists.lists import Lists
from mxallowd.lists.own import MAX_OWN
from mxallowd.settings.options import Network


class ByHand:
    """The same networks as the lists have them, in the answers' words."""

    def __init__(self, lists: Lists, clock: Callable[[], float] = time.time) -> None:
        self._lists = lists
        self._clock = clock

    async def add(self, networks: Sequence[OwnNetwork]) -> None:
        """Let these hold from now on, in place of what was added for the same networks. Raises RequestError."""
        now = self._clock()
        added = await self._lists.add(
            (one.verdict, one.network, one.note, None if one.until_s is None else max(1, round(one.until_s - now)))
            for one in networks)
        # Those that cannot be kept hold all the same, until the next restart; the lists say so.
        if not added.taken:
            raise RequestError(507, "no-room", f"{MAX_OWN} networks are there by hand; no more can be added")

    async def remove(self, network: Network) -> int:
        """Take out what was allowed by hand for this very network; how many. What is denied stays so."""
        return int(await self._lists.remove_network(ALLOW, network))

    def deciding(self, network: Network, verdict: str) -> list[Match]:
        """Some networks of that list that hold for an address of this one, whatever else there is."""
        return self._lists.composition.deciding(network, verdict)

    async def flush(self) -> int:
        """Take out all that was added by hand; how many."""
        return await self._lists.flush()

    def listing(self) -> Iterator[OwnNetwork]:
        """What was added by hand and has not ended, made while it is asked for."""
        return (OwnNetwork(one.verdict, one.network, one.note or "", one.until) for one in self._lists.entries())
