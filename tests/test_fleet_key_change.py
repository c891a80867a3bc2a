"""The site's key is changed while gateways run: in order nobody notices; in the wrong order nobody stays behind."""
from collections.abc import Iterator
from pathlib import Path

import pytest

from mxallowd.fleet.keys import new_key
from tests.gateways import BROKEN, Fleet, Gateway, fleet, seconds_until, start
from tests.until import until

pytestmark = pytest.mark.usefixtures("namespaces")


class Pair:
    """Two gateways, each with a key file of its own."""

    def __init__(self, made: Fleet) -> None:
        self.old, self.new = new_key(), new_key()
        self.made = made
        made.engine()
        self.gateways = [made.gateway(name, key=made.key_file(name, self.old)) for name in "ab"]
        start(*self.gateways)
        self._next = 0
        self.known: set[str] = set()

    def give(self, gateway: Gateway, *keys: str) -> str:
        """Write its file, and have it read; what mxallowctl says of it."""
        self.made.key_file(gateway.name, *keys)
        return gateway.ctl("reload")

    def meet(self) -> None:
        """Ten hosts meet the fake server of each."""
        for one in self.gateways:
            self._next += 1
            self.known |= one.meet(f"10.{self._next}.0.0", 10)

    def same(self) -> bool:
        """Whether all know all."""
        return all(one.known().keys() == self.known for one in self.gateways)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """They have the old key."""
    with fleet(tmp_path) as made:
        yield Pair(made)


def test_a_key_is_changed_in_order(pair: Pair) -> None:
    """The new one as the second, as the first, alone: nothing is refused, and nothing is said."""
    for keys in ((pair.old, pair.new), (pair.new, pair.old), (pair.new,)):
        for one in pair.gateways:
            assert pair.give(one, *keys) == "changed: fleet-key-file\n"
            pair.meet()
            assert until(pair.same)
    for one in pair.gateways:
        assert not one.said(BROKEN)
        assert not any(one.fleet()["refused"].values())
        assert pair.old not in str(one.daemon.messages())
        assert one.stop() == 0


def test_a_key_is_changed_at_once(pair: Pair) -> None:
    """Meanwhile each refuses the other; after that all of it comes, also what was said in between."""
    a, b = pair.gateways
    pair.meet()
    assert until(pair.same)
    pair.give(a, pair.new)
    pair.meet()
    assert until(lambda: all(one.fleet()["refused"]["key"] for one in (a, b)))
    assert {one["origin"] for one in b.fleet()["strangers"]} == {"a"}
    assert not pair.same()
    pair.give(b, pair.new)
    seconds_until(pair.same, 20)
    # And for who comes later.
    c = pair.made.gateway("c", key=pair.made.key_file("c", pair.new))
    c.start()
    pair.gateways.append(c)
    seconds_until(pair.same, 20)


def test_a_key_file_that_is_wrong(pair: Pair) -> None:
    """The keys that it had stay, and nobody reads them in a log."""
    a, b = pair.gateways
    for keys in (("nonsense",), (pair.new[:-1],), (pair.old, pair.new, new_key())):
        pair.give(a, *keys)
        pair.meet()
        assert until(pair.same)
        said = str(a.daemon.messages())
        assert not [key for key in keys if len(key) > 10 and key in said]
    assert len(a.said("list-failed where=")) == 3
    assert not b.said(BROKEN)
