"""Hits of networks of the lists, as the answers show them: `hits` and `last_hit`.

`hits` is null where mxallowd is told nothing of what this list decides, since the firewall's sets decide alone.
"""
import time
from collections import Counter
from collections.abc import Callable, Mapping

from mxallowd.control.exchange import timestamp
from mxallowd.lists.composition import ALLOW, DENY, Composition, Match, record
from mxallowd.lists.own import WORDS
from mxallowd.process.turns import Turns
from mxallowd.sinks.listhits import Hit, ListHits

Sees = Callable[[str, int], bool]
"""Whether mxallowd is told of connections that a list, ALLOW or DENY, decides, by the version of IP."""
VERSIONS = (4, 6)


class HitsShown:
    """Shows them."""

    def __init__(
        self, hits: ListHits, composition: Callable[[], Composition], now_us: Callable[[], int], sees: Sees,
    ) -> None:
        """`now_us` is the packet path's clock."""
        self._hits = hits
        self._composition = composition
        self._now_us = now_us
        self._sees = sees

    def since(self) -> str:
        """Since when hits are counted."""
        return timestamp(self._wall(self._hits.since_us))

    async def of_rules(self, composition: Composition) -> Mapping[int, Hit]:
        """What is known, by the numbers of the rules of this composition."""
        return await self._hits.by_rule(composition)

    def shown(self, match: Match, hit: Hit | None) -> dict[str, object]:
        """The two keys of a network."""
        sees = hit is not None or self._sees(DENY if match.verdict == DENY else ALLOW, match.network.version)
        return self._shown(hit, sees=sees)

    async def of_own(self) -> Callable[[Match], dict[str, object]]:
        """What gives the two keys of a network that was added by hand, as Lists.entries() has it."""
        composition = self._composition()
        found: dict[tuple[str, str, bytes], Hit] = {}
        for number, hit in (await self._hits.by_rule(composition)).items():
            source, _ = composition.place(number)
            found[source.name, source.verdict, composition.record_at(number)] = hit

        def of(match: Match) -> dict[str, object]:
            name, verdict = WORDS[match.verdict]
            return self.shown(match, found.get((name, verdict, record(match.network, match.verdict))))

        return of

    async def of_trusted(self) -> Callable[[int], dict[str, object]]:
        """What gives the two keys of a line of trusted senders: those of all its networks, by its number."""
        composition, turns = self._composition(), Turns()
        counts, last = Counter[int](), Counter[int]()
        for number, hit in (await self._hits.by_rule(composition)).items():
            source, row = composition.place(number)
            if source.trusted and source.lines:
                line = source.lines[row]
                counts[line] += hit.times
                last[line] = max(last[line], hit.last_us)
            await turns.give()
        sees = any(self._sees(ALLOW, version) for version in VERSIONS)
        return lambda line: self._shown(Hit(counts[line], last[line]) if line in counts else None, sees=sees)

    def _shown(self, hit: Hit | None, *, sees: bool) -> dict[str, object]:
        if hit is None:
            return {"hits": 0 if sees else None, "last_hit": None}
        return {"hits": hit.times, "last_hit": timestamp(self._wall(hit.last_us))}

    def _wall(self, time_us: int) -> float:
        return time.time() - (self._now_us() - time_us) / 1_000_000
