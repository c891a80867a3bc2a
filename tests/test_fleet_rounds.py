"""Rounds: whatever the stream has lost of what a gateway relies on, it says again, and nothing that is there."""
import itertools

from mxallowd.engine._table import BY_HAND, CHILD, CONTACT, PEER
from mxallowd.fleet.rounds import ALL, MARGIN_US, SCANNED, TRIMMED_US, Round
from mxallowd.fleet.saying import LATEST_START_US, MAX_DIRTY, MOST_PER_S, ROUND_S
from mxallowd.whitelist import Change
from tests.test_fleet_saying import LONGEST_S, Gateway, S, host


def hosts(gateway: Gateway) -> list[int]:
    return [number for number, _ in gateway.all()]


def loaded(entries: int = 4096) -> Gateway:
    made = Gateway(entries)
    made.load()
    return made


def ms(gateway: Gateway) -> int:
    """The engine's clock: the same here, which is not needed anywhere."""
    return gateway.now_us // 1000


def test_a_piece_of_the_table_at_a_time() -> None:
    gateway = loaded(4 * SCANNED)
    gateway.contact(*range(3 * SCANNED))
    one = Round(gateway.table, LONGEST_S * S, ALL, lasting=True)
    found: list[bytes] = []
    takes = 0
    while not one.over:
        some = one.take(256, gateway.now_us)
        assert len(some) <= 256
        found += some
        takes += 1
    assert sorted(found) == sorted(host(number) for number in range(3 * SCANNED))
    assert takes < 3 * SCANNED / 256 + 8


def test_only_own_entries_from_before_the_stream() -> None:
    gateway = loaded()
    gateway.contact(1)
    gateway.contact(2, origin=PEER)
    gateway.pass_s(100)
    first_ms = ms(gateway)
    gateway.contact(3)
    gateway.contact(4, origin=CHILD)
    gateway.all()
    gateway.pass_s(60)
    # The stream begins after the first contact: it was trimmed, or its engine came back empty.
    assert gateway.saying.check((first_ms + 3000, 0), ms(gateway))
    assert hosts(gateway) == [1, 3, 4]
    assert not gateway.saying.check((first_ms + 3000, 0), ms(gateway))


def test_an_empty_stream_gets_all_own_entries_and_only_once() -> None:
    gateway = loaded()
    gateway.contact(*range(300))
    gateway.all()
    gateway.pass_s(60)
    assert gateway.saying.check(None, ms(gateway))
    began_ms = ms(gateway)
    assert sorted(hosts(gateway)) == list(range(300))
    # The first one that is in it now is one of this round, or one that another gateway said before it.
    for first in ((began_ms + 1, 0), gateway.saying._reliance._since):
        gateway.pass_s(60)
        assert not gateway.saying.check(first, ms(gateway))
    assert hosts(gateway) == []


def test_a_stream_that_looks_as_if_nothing_were_missing() -> None:
    """It was deleted, and somebody has added a first ID of his choice; or it was cut within the same millisecond."""
    gateway = loaded()
    gateway.contact(1)
    gateway.all()
    gateway.pass_s(60)
    assert gateway.saying.check(None, ms(gateway))
    assert hosts(gateway) == [1]
    relied = gateway.saying.relied()
    first = relied[0]
    assert not gateway.saying.check((1, 1), ms(gateway))
    assert gateway.saying.check((1, 1), ms(gateway), [first])
    assert hosts(gateway) == [1]
    gateway.pass_s(60)
    # The last one is relied on once it is not said again after a loss.
    *_, last = gateway.saying.relied()
    gateway.contact(2)
    gateway.all()
    assert gateway.saying.relied()[-1] == last
    gateway.pass_s(6)
    *_, last = gateway.saying.relied()
    assert last[0] > ms(gateway) - 7000
    assert gateway.saying.check((1, 1), ms(gateway), [last])
    assert sorted(hosts(gateway)) == [1, 2]
    since_ms, number = gateway.saying.relied()[0]
    assert not gateway.saying.check((since_ms, number), ms(gateway))
    assert gateway.saying.check((since_ms, number + 1), ms(gateway))


def test_what_is_trimmed_is_not_taken_for_a_stream_that_was_emptied() -> None:
    gateway = loaded()
    gateway.contact(1)
    gateway.all()
    gateway.pass_s(LONGEST_S + 60)
    rounds = gateway.saying.counters()["rounds"]
    gateway.saying._lasting_us = gateway.now_us
    assert not gateway.saying.check((ms(gateway) - LONGEST_S * 1000, 0), ms(gateway), gateway.saying.relied())
    assert gateway.saying.counters()["rounds"] == rounds


def test_a_stream_that_is_emptied_again_in_a_round() -> None:
    gateway = loaded()
    gateway.contact(*range(2000))
    gateway.all()
    gateway.pass_s(60)
    assert gateway.saying.check(None, ms(gateway))
    gateway.pass_s(LATEST_START_US / S)
    for _ in range(3):
        gateway.say()
        gateway.pass_s(0.02)
    gateway.pass_s(5)
    assert gateway.saying.check((ms(gateway), 0), ms(gateway))
    assert set(hosts(gateway)) == set(range(2000))


def test_a_stream_that_is_trimmed_as_it_should_be_costs_nothing() -> None:
    """What came before its beginning is over: no round looks through the table each minute."""
    gateway = loaded()
    rounds = gateway.saying.counters()["rounds"]
    for minute in range(1, 181):
        gateway.contact(minute)
        gateway.all()
        gateway.pass_s(60)
        first_ms = ms(gateway) - LONGEST_S * 1000 if minute > 60 else 0
        gateway.saying.check((first_ms, 0), ms(gateway))
    # But those that look for what lasts longer than the others.
    assert gateway.saying.counters()["rounds"] - rounds <= 180 * 60 / (LONGEST_S / 2)


def test_a_stream_that_others_trim_too_soon_is_filled_and_not_flooded() -> None:
    """Their whitelist-time is a sixth of this one's. What is said stays in the stream for so long, and no more."""
    gateway = loaded()
    kept_s = LONGEST_S // 6
    stream: list[tuple[int, int]] = []  # when, and which
    said: dict[int, int] = {}
    entered: dict[int, int] = {}
    for turn in range(0, 2 * LONGEST_S, 5):
        if turn % 60 == 0:
            gateway.contact(turn // 60)
            entered[turn // 60] = gateway.now_us
        stream = [one for one in stream if one[0] >= gateway.now_us - kept_s * S]
        gateway.saying.check((stream[0][0] // 1000, 0) if stream else None, ms(gateway))
        before_us = gateway.now_us
        for number in hosts(gateway):
            stream.append((gateway.now_us, number))
            said[number] = said.get(number, 0) + 1
        gateway.now_us = max(gateway.now_us, before_us + 5 * S)
        # Whoever comes meets all of it, but for what was trimmed a moment ago.
        there = {number for _, number in stream}
        for number, at_us in entered.items():
            age_s = (gateway.now_us - at_us) / S
            if age_s < LONGEST_S - 10 and age_s % kept_s > 2 * TRIMMED_US / S + 10:
                assert number in there, (number, age_s)
    assert max(said.values()) <= LONGEST_S // kept_s + 2


def test_what_lasts_longer_than_the_stream_is_said_again() -> None:
    gateway = loaded()
    gateway.contact(1, left_s=10 * LONGEST_S, origin=BY_HAND)
    gateway.contact(2, left_s=3 * LONGEST_S)
    said: dict[int, list[float]] = {1: [], 2: []}
    start_us = gateway.now_us
    while gateway.now_us - start_us < 9 * LONGEST_S * S:
        gateway.saying.check((max(0, ms(gateway) - LONGEST_S * 1000), 0), ms(gateway))
        for number in hosts(gateway):
            said[number].append((gateway.now_us - start_us) / S)
        gateway.pass_s(60)
    for number, lasts_s in ((1, 9 * LONGEST_S), (2, 2 * LONGEST_S)):
        times = [0.0, *(at for at in said[number] if at < lasts_s), lasts_s]
        # So whoever comes meets it in the stream.
        assert max(after - before for before, after in itertools.pairwise(times)) < LONGEST_S * 0.6


def test_lost_changes_bring_all_own_entries() -> None:
    gateway = loaded()
    gateway.contact(*range(50))
    gateway.all()
    gateway.saying.missed()
    assert sorted(hosts(gateway)) == list(range(50))


def test_the_start_says_what_the_load_did_not_show() -> None:
    gateway = Gateway()
    gateway.contact(*range(20))
    gateway.contact(20, origin=PEER)
    gateway.saying.missed()
    gateway.saying.changed(host(21), Change.ADOPTED)
    gateway.saying._dirty.clear()  # they are from before the start
    shown = {host(number): gateway.now_us + (LONGEST_S - number // 12 * 10) * S for number in range(5, 15)}
    gateway.saying.loaded(shown, (0, 0), ms(gateway))
    # Of three there is less in the stream than they have.
    assert hosts(gateway) == [*range(5), *range(12, 20)]


def test_before_the_load_there_is_no_round() -> None:
    gateway = Gateway()
    gateway.contact(1)
    assert not gateway.saying.check(None, ms(gateway))
    gateway.saying.missed()
    gateway.pass_s(5)
    assert hosts(gateway) == [1]


def test_a_shorter_lifetime_forgets_nobody() -> None:
    """Entries of the longer one live on, and their ends say too late a beginning otherwise."""
    gateway = loaded()
    gateway.contact(1)
    gateway.all()
    gateway.saying.reload(LONGEST_S // 6)
    gateway.pass_s(60)
    assert gateway.saying.check((ms(gateway), 0), ms(gateway))
    assert hosts(gateway) == [1]
    gateway.pass_s(LONGEST_S)
    assert gateway.saying._longest(gateway.now_us) == LONGEST_S // 6 * S


def test_the_pace_of_a_round_is_a_tenth_a_second() -> None:
    gateway = loaded(MAX_DIRTY)
    gateway.contact(*range(40_000))
    gateway.all(most=10**6)
    gateway.pass_s(60)
    start_us = gateway.now_us
    assert gateway.saying.check(None, ms(gateway))
    assert len(hosts(gateway)) == 40_000
    took_s = (gateway.now_us - start_us) / S
    assert ROUND_S * 0.8 < took_s < ROUND_S * 1.3 + LATEST_START_US / S
    assert MOST_PER_S < 22_000


def test_clocks_may_differ_a_little() -> None:
    """An entry that came in at the beginning of the stream by this clock may be missing in it."""
    gateway = loaded()
    gateway.contact(1)
    gateway.all()
    assert gateway.saying.check((ms(gateway) - MARGIN_US // 2000, 0), ms(gateway))
    assert hosts(gateway) == [1]


def test_what_comes_in_by_a_contact_is_no_round() -> None:
    gateway = loaded()
    gateway.contact(1, origin=CONTACT)
    before = gateway.saying.counters()["rounds"]
    assert hosts(gateway) == [1]
    assert gateway.saying.counters()["rounds"] == before
