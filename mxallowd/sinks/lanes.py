"""A queue in which nobody waits behind those of another network or zone.

Each item has a path, such as the networks of 8, 16 and 24 bits that a host is in. Turns go round: first among all
networks of 8 bits, within one among its networks of 16 bits, and so on. A flood from one network so delays its own
hosts, and another network waits at most for one turn of each.

`pause(step)` says whether something of this step of a path may be taken now (0.0), or after how many seconds to ask
again. What has to pause is set aside with all below it and costs nothing meanwhile. The queue is bounded: the oldest
item goes.
"""
import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
Path = Sequence[Hashable]


class _Node(Generic[Item]):
    """Items, or nodes: `ready` in the order of turns, `paused` until a time that `wakes` has in order."""

    def __init__(self) -> None:
        self.ready: OrderedDict[Hashable, _Node[Item] | None] = OrderedDict()
        self.paused: dict[Hashable, _Node[Item] | None] = {}
        self.wakes: list[tuple[float, int, Hashable]] = []

    def wake(self, now: float) -> None:
        while self.wakes and self.wakes[0][0] <= now:
            _, _, step = heapq.heappop(self.wakes)
            if step in self.paused:
                self.ready[step] = self.paused.pop(step)
        if not self.paused:
            self.wakes.clear()

    def child(self, step: Hashable) -> "_Node[Item]":
        found = self.ready.get(step) or self.paused.get(step)
        if found is None:
            found = self.ready[step] = _Node()
        return found

    def empty(self) -> bool:
        return not self.ready and not self.paused

    def drop(self, step: Hashable) -> None:
        self.ready.pop(step, None)
        self.paused.pop(step, None)


class Lanes(Generic[Item]):
    """`path_of` gives the path of an item, always of the same length; `most` is the bound."""

    def __init__(
        self, most: int, path_of: Callable[[Item], Path], pause: Callable[[Hashable], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._path_of = path_of
        self._pause = pause
        self._clock = clock
        self._items: OrderedDict[Item, None] = OrderedDict()  # by age
        self._root: _Node[Item] = _Node()
        self._number = 0  # so that two of one time in a heap are told apart

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def note(self, item: Item) -> Item | None:
        """Let the item wait, as the newest; one that waits keeps its turn. The oldest, where it had to go."""
        if item in self._items:
            self._items.move_to_end(item)
            return None
        self._items[item] = None
        node = self._root
        for step in self._path_of(item):
            node = node.child(step)
        node.ready[item] = None
        if len(self._items) <= self._most:
            return None
        return self.drop_oldest()

    def drop(self, item: Item) -> bool:
        """Let it wait no more. False: it does not."""
        if item not in self._items:
            return False
        del self._items[item]
        nodes, path = [self._root], [*self._path_of(item)]
        for step in path:
            nodes.append(nodes[-1].child(step))
        for node, step in zip(reversed(nodes), reversed([*path, item]), strict=True):
            node.drop(step)
            if not node.empty():
                break
        return True

    def drop_oldest(self) -> Item:
        """Let the one go that waits longest. Raises StopIteration where nobody waits."""
        oldest = next(iter(self._items))
        self.drop(oldest)
        return oldest

    def take(self) -> Item | None:
        """The item whose turn it is, which waits no more. None: nobody may be taken now."""
        item, _ = self._take(self._root, self._clock())
        return item

    def next_s(self) -> float:
        """After how many seconds take() may find somebody: 0.0 is now, infinite is never."""
        if not self._items:
            return float("inf")
        return 0.0 if self._root.ready else max(0.0, self._root.wakes[0][0] - self._clock())

    def _take(self, node: _Node[Item], now: float) -> tuple[Item | None, float]:
        """An item, or when to look at this node again."""
        node.wake(now)
        while node.ready:
            step, below = next(iter(node.ready.items()))
            if below is None:
                item: Item = step  # type: ignore[assignment]  # without a node below it is an item
                del node.ready[step]
                del self._items[item]
                return item, 0.0
            at = now + self._pause(step)
            found = None
            if at <= now:
                found, at = self._take(below, now)
            if found is not None:
                node.ready.move_to_end(step)
                if below.empty():
                    node.drop(step)
                return found, 0.0
            self._number += 1
            node.paused[step] = node.ready.pop(step)
            heapq.heappush(node.wakes, (at, self._number, step))
        return None, node.wakes[0][0] if node.wakes else now
