"""The messages that answer a batch: every packet once, with the right verdict and the right mark.

The oracle plays the kernel: a batch verdict answers every packet up to its id that still waits.
"""
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.backends._verdicts import verdicts
from tests.test_nfnetlink import NF_ACCEPT, NF_DROP, NFQA_MARK, NFQA_VERDICT_HDR, QUEUE_VERDICT, QUEUE_VERDICT_BATCH

NF_REPEAT = 4
BATCH = 64

packets = st.lists(
    st.tuples(st.sampled_from((0, 5, 0x10000000, 0x10000005)) | st.integers(0, 2**32 - 1), st.booleans()),
    max_size=BATCH)
Answer = tuple[int, int | None]


def kernel(waiting: list[int], data: bytes) -> dict[int, Answer]:
    """What the kernel does with the packets that wait: verdict, and the mark where the message sets one."""
    left, found = list(waiting), {}
    while data:
        length, kind, flags, _, _ = struct.unpack_from("=IHHII", data)
        assert (flags, struct.unpack_from("!BBH", data, 16)) == (1, (0, 0, 7))
        attributes = {}
        at = 20
        while at < length:
            size, what = struct.unpack_from("=HH", data, at)
            attributes[what] = data[at + 4:at + size]
            at += size
        verdict, number = struct.unpack("!II", attributes.pop(NFQA_VERDICT_HDR))
        mark = struct.unpack("!I", attributes.pop(NFQA_MARK))[0] if NFQA_MARK in attributes else None
        assert not attributes
        assert kind in (QUEUE_VERDICT, QUEUE_VERDICT_BATCH)
        answered = [one for one in left if one == number or (kind == QUEUE_VERDICT_BATCH and one <= number)]
        assert answered, "a message that answers nothing"
        for one in answered:
            found[one] = (verdict, mark)
            left.remove(one)
        data = data[length:]
    assert not left
    return found


@given(packets, st.integers(1, 2**31))
def test_without_a_mark_they_are_accepted_or_dropped(batch: list[tuple[int, bool]], first: int) -> None:
    ids = list(range(first, first + len(batch)))
    data, dropped, _, again, _ = verdicts(7, [(number, *one) for number, one in zip(ids, batch, strict=True)])
    assert kernel(ids, data) == {
        number: (NF_DROP if drop else NF_ACCEPT, None) for number, (_, drop) in zip(ids, batch, strict=True)}
    assert (dropped, again) == (sum(drop for _, drop in batch), 0)


@given(packets, st.integers(1, 2**31),
       st.sampled_from(((0x10000000, 0x10000000), (5, 0xFFFFFFFF), (0x10000005, 0xF000000F), (1, 0xFF))))
def test_with_a_mark_the_accepted_pass_again_and_keep_other_bits(
        batch: list[tuple[int, bool]], first: int, marking: tuple[int, int]) -> None:
    value, mask = marking
    ids = list(range(first, first + len(batch)))
    rows = [(number, *one) for number, one in zip(ids, batch, strict=True)]
    data, dropped, _, again, _ = verdicts(7, rows, marking)
    expected: dict[int, Answer] = {}
    for number, (mark, drop) in zip(ids, batch, strict=True):
        if drop:
            expected[number] = (NF_DROP, None)
        elif mark & mask == value:
            # It was let go on once and is here again: for good, or it goes round for ever.
            expected[number] = (NF_ACCEPT, None)
        else:
            expected[number] = (NF_REPEAT, mark & ~mask | value)
    assert kernel(ids, data) == expected
    assert dropped == sum(drop for _, drop in batch)
    assert again == sum(answer[0] == NF_ACCEPT for answer in expected.values())


@pytest.mark.parametrize(("marking", "length"), [((0, 0), 32), ((0x10000000, 0x10000000), 40), ((7, 0xFFFFFFFF), 40)])
def test_a_run_is_one_message(marking: tuple[int, int], length: int) -> None:
    data, *_ = verdicts(7, [(number, 3, False) for number in range(1, 65)], marking)
    assert len(data) == length


def test_ids_that_start_again_end_a_run() -> None:
    """A queue that was bound anew: a batch verdict would answer what it must not."""
    data, *_ = verdicts(7, [(2**32 - 1, 0, False), (0, 0, False), (5, 0, False), (3, 0, False)], (1, 1))
    assert len(data) == 2 * 40
    data, *_ = verdicts(7, [(9, 0, False), (3, 0, False)])
    assert len(data) == 2 * 32


def test_more_than_a_batch() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        verdicts(7, [(1, 0, False)] * 65)
    with pytest.raises(OverflowError):
        verdicts(7, [(2**32, 0, False)])


@given(packets, st.sampled_from(((0, 0), (0x10000000, 0x10000000))))
def test_in_a_dry_run_none_is_dropped(batch: list[tuple[int, bool]], marking: tuple[int, int]) -> None:
    ids = list(range(1, 1 + len(batch)))
    rows = [(number, *one) for number, one in zip(ids, batch, strict=True)]
    data, dropped, *_ = verdicts(7, rows, marking, refused=(2, 2), dry_run=True)
    # The same as if none of them were to be dropped.
    assert data == verdicts(7, [(number, mark, False) for number, mark, _ in rows], marking, refused=(2, 2))[0]
    assert dropped == 0
    assert NF_DROP not in {verdict for verdict, _ in kernel(ids, data).values()}


@given(packets, st.integers(0, 2**64 - 1), st.sampled_from(((0, 0), (0x10000000, 0x10000000), (5, 0xF))))
def test_refused_packets_pass_again_with_a_mark(
        batch: list[tuple[int, bool]], pending: int, marking: tuple[int, int]) -> None:
    """But for those that have it already, or whose hosts may come in by their next SYN: these are dropped."""
    value, mask = 0x40000000, 0x60000000
    ids = list(range(7, 7 + len(batch)))
    rows = [(number, mark | value if number % 3 == 0 else mark, drop)
            for number, (mark, drop) in zip(ids, batch, strict=True)]
    data, dropped, rejected, again, unrejected = verdicts(7, rows, marking, refused=(value, mask), pending=pending)
    expected: dict[int, Answer] = {}
    came_with_it = 0
    for at, (number, mark, drop) in enumerate(rows):
        bits = mark & ~mask & ~marking[1]
        if drop and mark & mask == value:
            came_with_it += 1
            expected[number] = (NF_DROP, None)
        elif drop:
            expected[number] = (NF_DROP, None) if pending >> at & 1 else (NF_REPEAT, bits | value)
        elif marking[1] == 0 or mark & marking[1] == marking[0]:
            expected[number] = (NF_ACCEPT, None)
        else:
            expected[number] = (NF_REPEAT, bits | marking[0])
    assert kernel(ids, data) == expected
    found = list(expected.values())
    assert (dropped, unrejected) == (found.count((NF_DROP, None)), came_with_it)
    assert rejected == sum(drop for _, _, drop in rows) - dropped
    assert again == (found.count((NF_ACCEPT, None)) if marking[1] else 0)
