"""What restarts the time of an entry: contacts with a fake server, uses of a real one, and how often."""
import pytest

from tests.pair import Pair
from tests.strategies import FAKE, HOSTS, REAL, syn

HOST = HOSTS[0]


@pytest.mark.parametrize(("renew", "by_contact", "by_use"), [
    ("never", False, False), ("contact", True, False), ("use", False, True), ("both", True, True)])
@pytest.mark.parametrize("server", ["fake", "real"])
def test_what_restarts_the_time(renew: str, by_contact: bool, by_use: bool, server: str) -> None:
    pair = Pair(8)
    pair.publish(FAKE, REAL, 8, renew)
    renewing = by_contact if server == "fake" else by_use
    packet = syn(HOST, (FAKE if server == "fake" else REAL)[0])
    pair.decide([syn(HOST, FAKE[0]), syn(HOST, REAL[0])], 0)
    # Not before an eighth is over, then at once, and not again before the next eighth: one event each.
    for now_us, renewed in ((999_999, False), (1_000_000, True), (1_999_999, False), (2_000_000, True)):
        before = pair.table.find(HOST, now_us)
        pair.decide([packet] * 3, now_us)
        after = pair.table.find(HOST, now_us)
        assert after and before
        assert after[0] == (now_us + 8_000_000 if renewed and renewing else before[0])
    assert (pair.table.find(HOST, 8_000_000) is not None) == renewing
    pair.check_counters(20_000_000)


def test_a_renewal_reaches_the_shard_of_another_queue() -> None:
    pair = Pair(8, 2)
    pair.publish(FAKE, REAL, 8, "contact")
    pair.decide([syn(HOST, FAKE[0])], 0, 0)
    assert pair.decide([syn(HOST, FAKE[0])], 7_000_000, 1) == ["fake-known"]
    assert pair.decide([syn(HOST, REAL[0])], 14_999_999, 1) == ["real-first"]
    assert pair.decide([syn(HOST, REAL[0])], 15_000_000, 1) == ["real-refused"]
    pair.check_counters(15_000_000)
