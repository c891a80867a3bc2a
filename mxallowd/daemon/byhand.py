"""The networks added by hand: what the answers of the control socket ask for, done by the lists."""
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from mxallowd.control.answers.listing import bounds
from mxallowd.control.answers.networks import OwnNetwork
from mxallowd.engine._patience import Patience
from mxallowd.lists.composition import ALLOW, DIRECT, LEARNED, Match
from mxallowd.lists.lists import Added, Lists
from mxallowd.settings.values import Network

FORGOTTEN = 16_384  # places that are looked at between two turns of the loop: less than a millisecond


class ByHand:
    """The same networks as the lists have them, in the answers' words."""

    def __init__(
        self, lists: Lists, flushed: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.time, *, forgets: Callable[[], Patience | None] = lambda: None,
    ) -> None:
        """`flushed` forgets networks that were let in otherwise; `forgets` is the memory of who waits to be let in."""
        self._forgets = forgets
        self._flushed = flushed
        self._lists = lists
        self._clock = clock

    async def add(self, networks: Sequence[OwnNetwork]) -> Added:
        """Let these hold from now on, as far as there is room."""
        now = self._clock()
        return await self._lists.add(
            (one.verdict, one.network, one.note, None if one.until_s is None else max(1, round(one.until_s - now)))
            for one in networks)

    def get(self, verdict: str, network: Network) -> OwnNetwork | None:
        """What is there by hand of that very network, as the lists tell it."""
        own = self._lists.get(verdict, network)
        return own and OwnNetwork(verdict, network, own.note or "", self._lists.own.until(own))

    def has(self, verdict: str, network: Network) -> bool:
        """Whether that very network is there by hand."""
        return self._lists.own.has(verdict, network)

    async def remove(self, network: Network) -> int:
        """Take out what lets in this very network, by hand or learned; how many. What is denied stays so."""
        await self._forget(*bounds(network))
        return sum([await self._lists.remove_network(one, network) for one in (ALLOW, DIRECT, LEARNED)])

    def deciding(self, network: Network, verdict: str) -> list[Match]:
        """Some networks of that list that hold for an address of this one, whatever else there is."""
        return self._lists.composition.deciding(network, verdict)

    async def flush(self) -> int:
        """Take out all that was added by hand, and let in no network of a contact any more; how many."""
        if self._flushed is not None:
            await self._flushed()
        await self._forget(bytes(16), b"\xff" * 16)
        return await self._lists.flush()

    async def _forget(self, first: bytes, last: bytes) -> None:
        """Who waits in that range, listed or not, has not been refused yet."""
        at = -1
        while at and (patience := self._forgets()) is not None:
            at = patience.forget_between(first, last, max(at, 0), FORGOTTEN)
            await asyncio.sleep(0)

    def listing(self) -> Iterator[OwnNetwork]:
        """What was added by hand and has not ended, made while it is asked for."""
        return (OwnNetwork(one.verdict, one.network, one.note or "", one.until) for one in self._lists.entries())
