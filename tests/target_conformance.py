"""What every target promises (Target in mirrors/__init__.py), as one suite.

A subclass of Conformance for each target has a fixture `subject`: the target, open and empty, with what is around it.
Whoever writes a new target writes a subject for it, in test_targets.py.
"""
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import suppress

import pytest

from mxallowd.mirrors import Copied, Listed, Target, TargetError, TargetFull
from tests.strategies import listing, packed

A, B, C, D, E = (packed(f"192.0.2.{number}") for number in range(1, 6))
SIX = packed("2001:db8:ffff::1")
UNUSUAL = [packed(text) for text in (
    "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::192.0.2.1", "::ffff:0:192.0.2.1",
    "64:ff9b::192.0.2.1", "100::", "2001:db8::", "fe80::1", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]
# What a time may be off: it is rounded up when it is told and down when it is read, and goes on meanwhile.
TOLERANCE_S = 3
SAMPLE = 30


class Subject(ABC):
    """A target with what is around it, and what it can hold at all."""

    target: Target
    keeps_times = True
    keeps_marks = True
    longest_s = 1 << 31  # a longer time is cut to this
    knows_room = True  # a filling without room uses all that there is
    changes_at_once = True  # a change that fails has changed nothing
    corrects_times = True  # so does a filling
    cannot_hold: frozenset[bytes] = frozenset()

    @abstractmethod
    def limit(self, room: int) -> None:
        """Give it room for so many entries of each family; it is empty then."""

    @abstractmethod
    def take_away(self) -> None:
        """Remove what the target stands in, as an operator might."""

    @abstractmethod
    def give_back(self) -> None:
        """Create it again, empty."""

    @abstractmethod
    def holds(self, host: bytes) -> bool:
        """Whether the host is there, as the firewall sees it; any thread may ask."""

    def enter_own(self, host: bytes) -> None:
        """An entry of the operator's own."""
        pytest.skip("there are no entries of the operator's own")

    def expected(self, remaining_s: int) -> int:
        """The time that stands there."""
        return min(remaining_s, self.longest_s) if self.keeps_times else 0


def copies(subject: Subject) -> dict[bytes, Copied]:
    """What it holds; all of it."""
    copied, complete = subject.target.read()
    found = {one.host: one for one in copied}
    assert (complete, len(found)) == (True, len(copied))
    return found


def check(subject: Subject, *wanted: Listed, marked_before: Collection[bytes] = ()) -> None:
    """It holds these, as they were told, and nothing else; some may still have a mark from before."""
    found = copies(subject)
    assert found.keys() == {one.host for one in wanted}
    for one in wanted:
        remaining_s = found[one.host].remaining_s
        assert remaining_s is not None
        assert abs(remaining_s - subject.expected(one.remaining_s)) <= TOLERANCE_S
        if one.used or one.host not in marked_before:
            assert found[one.host].used is (one.used and subject.keeps_marks)


def unused(host: bytes, remaining_s: int = 1000) -> Listed:
    return Listed(host, remaining_s, used=False)


def used(host: bytes, remaining_s: int = 1000) -> Listed:
    return Listed(host, remaining_s, used=True)


def many(count: int) -> list[bytes]:
    """So many hosts, of both families in turn."""
    return [packed("2001:db8::")[:12] + number.to_bytes(4, "big") if number % 2 else
            packed("10.0.0.0")[:13] + number.to_bytes(3, "big") for number in range(count)]


class Conformance:
    """The suite."""

    def test_it_says_what_it_is(self, subject: Subject) -> None:
        target = subject.target
        assert target.name.isprintable()
        assert target.sample > 0
        assert isinstance(target.expires, bool)
        assert target.totals().keys() <= {"refused", "accepted"}
        assert target.expires or not subject.keeps_times
        check(subject)

    # ---- changes

    def test_a_change_enters_corrects_and_takes_out(self, subject: Subject) -> None:
        subject.target.change([unused(A, 100), used(SIX, 200)], [])
        check(subject, unused(A, 100), used(SIX, 200))
        subject.target.change([used(A, 5000), unused(B, 300)], [SIX])
        check(subject, used(A, 5000), unused(B, 300))
        subject.target.change([used(A, 50)], [B])
        check(subject, used(A, 50))
        assert subject.holds(A)
        assert not subject.holds(B)
        subject.target.change([], [A])
        check(subject)

    def test_a_change_twice_is_no_change(self, subject: Subject) -> None:
        for _ in range(2):
            subject.target.change([unused(A), used(SIX)], [B])
            check(subject, unused(A), used(SIX))

    def test_an_empty_change_changes_nothing(self, subject: Subject) -> None:
        subject.target.change([], [])
        check(subject)
        subject.target.change([used(A)], [])
        subject.target.change([], [])
        check(subject, used(A))

    def test_what_is_not_there_can_be_taken_out(self, subject: Subject) -> None:
        subject.target.change([], [A, SIX])
        subject.target.change([unused(B)], [A, SIX])
        check(subject, unused(B))

    def test_a_host_that_comes_twice(self, subject: Subject) -> None:
        subject.target.change([unused(A), unused(B)], [])
        subject.target.change([unused(A, 10), used(A, 500), unused(SIX)], [B, B, C, C])
        check(subject, used(A, 500), unused(SIX))

    def test_a_mark_of_use_comes_later_and_goes(self, subject: Subject) -> None:
        subject.target.change([unused(A), used(B), used(C, 1)], [])
        subject.target.change([used(A)], [])
        check(subject, used(A), used(B), used(C, 1))
        subject.target.change([unused(C)], [B])
        subject.target.change([unused(B)], [])
        time.sleep(2.2)
        # One went with its host, the other when the time was over that was told with it.
        check(subject, used(A), unused(B), unused(C))

    @pytest.mark.parametrize("remaining_s", [5, 3600, 36 * 86_400, 1 << 30])
    def test_times_are_read_as_they_were_told(self, subject: Subject, remaining_s: int) -> None:
        subject.target.change([unused(A, remaining_s), used(SIX, remaining_s)], [])
        check(subject, unused(A, remaining_s), used(SIX, remaining_s))
        subject.target.flush()
        subject.target.refill(listing(unused(A, remaining_s), used(SIX, remaining_s)))
        check(subject, unused(A, remaining_s), used(SIX, remaining_s))

    def test_entries_end_by_themselves_or_never(self, subject: Subject) -> None:
        subject.target.change([unused(A, 1), used(SIX, 1), used(B)], [])
        time.sleep(2.2)
        left = {B} if subject.target.expires else {A, B, SIX}
        assert copies(subject).keys() == left
        assert {host for host in (A, B, SIX) if subject.holds(host)} == left
        # What has ended is in nobody's way.
        subject.target.change([used(A), used(B)], [SIX])
        check(subject, used(A), used(B))

    def test_unusual_hosts(self, subject: Subject) -> None:
        subject.target.change([used(host) for host in UNUSUAL], [])
        held = set(UNUSUAL) - subject.cannot_hold
        check(subject, *(used(host) for host in held))
        assert subject.target.missing(dict.fromkeys(UNUSUAL, True)) == set()
        subject.target.change([], UNUSUAL)
        check(subject)
        assert subject.target.refill(listing(*(unused(host) for host in UNUSUAL))) == 0
        check(subject, *(unused(host) for host in held))

    def test_ten_thousand_hosts(self, subject: Subject) -> None:
        hosts = many(10_000)
        for first in range(0, 10_000, 4096):
            subject.target.change([Listed(host, 1000, used=host[15] % 3 == 0) for host in hosts[first:first + 4096]],
                                  [A])
        check(subject, *(Listed(host, 1000, used=host[15] % 3 == 0) for host in hosts))
        some = hosts[::10_000 // SAMPLE]
        assert subject.target.missing(dict.fromkeys(some, False)) == set()
        subject.target.change([unused(A)], hosts)
        check(subject, unused(A))

    @pytest.mark.parametrize("seed", range(3))
    def test_any_sequence_ends_as_it_must(self, subject: Subject, seed: int) -> None:
        chance = random.Random(seed)
        hosts = [A, B, C, SIX, *many(4)]
        wanted: dict[bytes, Listed] = {}
        marked: set[bytes] = set()
        for _ in range(15):
            drawn = [Listed(host, chance.randint(100, 10_000), used=chance.random() < 0.5)
                     for host in chance.sample(hosts, 4)]
            kind = chance.random()
            if kind < 0.7:
                gone = [host for host in chance.sample(hosts, 3) if host not in {one.host for one in drawn}]
                subject.target.change(drawn, gone)
                wanted = {host: one for host, one in wanted.items() if host not in gone}
                wanted |= {one.host: one for one in drawn}
                marked -= set(gone)
            elif kind < 0.9:
                assert subject.target.refill(listing(*drawn)) == 0
                wanted = after_filling(subject, wanted, drawn)
            else:
                subject.target.flush()
                wanted = {}
            check(subject, *wanted.values(), marked_before=marked)
            marked = marked & wanted.keys() | {one.host for one in wanted.values() if one.used}

    # ---- fillings

    def test_a_filling_brings_all(self, subject: Subject) -> None:
        hosts = many(3000)
        subject.target.change([used(hosts[0], 50), unused(A, 50)], [])
        entries = [Listed(host, 1000 + number, used=number % 2 == 0) for number, host in enumerate(hosts)]
        assert subject.target.refill(listing(*entries)) == 0
        check(subject, *after_filling(subject, {A: unused(A, 50), hosts[0]: used(hosts[0], 50)}, entries).values())
        assert subject.target.missing(dict.fromkeys(hosts[::3000 // SAMPLE], False)) == set()

    def test_an_empty_filling_enters_nobody(self, subject: Subject) -> None:
        assert subject.target.refill(listing()) == 0
        check(subject)
        subject.target.change([used(A)], [])
        assert subject.target.refill(listing()) == 0
        check(subject, *after_filling(subject, {A: used(A)}, []).values())

    def test_a_host_that_stays_is_there_all_the_time(self, subject: Subject) -> None:
        """A filling is one step: whoever is in it before and after passes in the middle of it."""
        subject.target.change([used(A)], [])
        hosts = many(3000)
        ended = threading.Event()
        looks: list[bool] = []

        def look() -> None:
            while not ended.is_set():
                looks.append(subject.holds(A))

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            deadline = time.monotonic() + 1.5
            number = 0
            while number < 4 or time.monotonic() < deadline:
                subject.target.refill(listing(*(unused(host) for host in hosts[number % 2::2]), used(A)))
                number += 1
        finally:
            ended.set()
            watcher.join()
        assert len(looks) > 20
        assert all(looks)

    # ---- room

    def test_where_there_is_no_room_for_one_it_is_said(self, subject: Subject) -> None:
        subject.limit(3)
        subject.target.change([unused(A), used(B), unused(C)], [])
        with pytest.raises(TargetFull) as error:
            subject.target.change([unused(D)], [])
        assert str(error.value)
        check(subject, unused(A), used(B), unused(C))
        # One for another has room.
        subject.target.change([unused(D)], [A])
        check(subject, used(B), unused(C), unused(D))
        with pytest.raises(TargetFull):
            subject.target.change([unused(A), unused(E)], [B])
        held = copies(subject)
        assert {C, D} <= held.keys() <= {A, B, C, D, E}
        if subject.changes_at_once:
            check(subject, used(B), unused(C), unused(D))

    def test_a_filling_without_room_takes_the_best(self, subject: Subject) -> None:
        subject.limit(3)
        subject.target.change([unused(A, 60), unused(B, 60)], [])
        entries = [unused(A, 400), used(B, 100), unused(C, 500), used(D, 200), unused(E, 600)]
        left_out = subject.target.refill(listing(*entries))
        best = [used(D, 200), used(B, 100), unused(E, 600), unused(C, 500), unused(A, 400)]
        # All that it has room for, or a good part of it where nobody knows how much that is.
        assert left_out == 2 if subject.knows_room else 2 <= left_out <= 4
        check(subject, *best[: 5 - left_out])
        assert subject.target.missing(dict.fromkeys((A, B, C, D, E), False)) == {
            one.host for one in best[5 - left_out:]}

    # ---- the operator's own

    def test_the_operators_own_stay(self, subject: Subject) -> None:
        subject.enter_own(A)
        subject.enter_own(SIX)
        own = {A: Copied(A, None, False), SIX: Copied(SIX, None, False)}
        assert copies(subject) == own
        subject.target.change([unused(A), used(B)], [SIX])
        subject.target.change([], [A, B])
        assert copies(subject) == own
        subject.target.refill(listing(unused(A), unused(C)))
        assert {host: one for host, one in copies(subject).items() if host != C} == own
        subject.target.flush()
        assert copies(subject) == own
        assert subject.holds(A)

    # ---- questions

    def test_missing_are_those_that_are_not_there(self, subject: Subject) -> None:
        assert subject.target.missing({}) == set()
        subject.target.change([unused(A), used(B), used(SIX)], [])
        assert subject.target.missing({A: False, B: True, SIX: True}) == set()
        assert subject.target.missing({B: False, SIX: False}) == set()
        assert subject.target.missing({A: False, C: False, D: True, SIX: True}) == {C, D}
        if subject.keeps_marks:
            assert subject.target.missing({A: True, B: True}) == {A}

    def test_a_flushed_target_is_empty(self, subject: Subject) -> None:
        subject.target.flush()
        subject.target.change([unused(A), used(SIX)], [])
        subject.target.flush()
        check(subject)
        assert subject.target.missing({A: False, SIX: False}) == {A, SIX}

    # ---- faults

    def test_a_probe_leaves_nothing(self, subject: Subject) -> None:
        subject.target.probe()
        check(subject)
        subject.target.change([used(A), unused(SIX)], [])
        subject.target.probe()
        check(subject, used(A), unused(SIX))
        assert not any(subject.holds(host) for host in UNUSUAL)

    def test_a_full_target_can_be_written(self, subject: Subject) -> None:
        subject.limit(1)
        subject.target.change([used(A)], [])
        subject.target.probe()
        check(subject, used(A))

    def test_what_is_not_there_is_said(self, subject: Subject) -> None:
        subject.target.change([used(A)], [])
        subject.take_away()
        for call in (subject.target.inspect, subject.target.read, subject.target.flush, subject.target.probe,
                     lambda: subject.target.change([unused(B)], [A]), lambda: subject.target.refill(listing(used(A)))):
            with pytest.raises(TargetError) as error:
                call()
            assert str(error.value)
        with suppress(TargetError):
            assert subject.target.missing({A: False}) == {A}
        subject.give_back()
        subject.target.inspect()
        check(subject)
        subject.target.change([used(A)], [])
        check(subject, used(A))

    def test_a_target_that_is_opened_again_has_all(self, subject: Subject) -> None:
        subject.target.change([unused(A, 500), used(SIX, 600)], [])
        for _ in range(2):
            subject.target.close()
            assert subject.holds(A)
            subject.target.open()
            check(subject, unused(A, 500), used(SIX, 600))
        subject.target.change([used(A, 700)], [])
        check(subject, used(A, 700), used(SIX, 600))


def after_filling(subject: Subject, before: dict[bytes, Listed], entries: list[Listed]) -> dict[bytes, Listed]:
    """What it is to hold after it was filled with these: others may still be there where they end by themselves."""
    filled = {one.host: one for one in entries}
    if not subject.corrects_times:
        filled |= {host: one._replace(remaining_s=before[host].remaining_s)
                   for host, one in filled.items() if host in before}
    found = copies(subject) if subject.target.expires else {}
    return {host: one for host, one in before.items() if host in found} | filled
