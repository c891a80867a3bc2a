"""What the engine sends on its way to the parser: it stays as it is, or what is too much of it is left out."""
import re
import time

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.fleet import replies
from mxallowd.fleet.replies import MOST_PARTS, MOST_TEXT, Replies, Strange, TooLong


def text(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


def array(*values: bytes) -> bytes:
    return b"*%d\r\n%s" % (len(values), b"".join(values))


def passed(data: bytes, *, step: int = 1 << 16) -> bytes:
    """What the parser gets where so many bytes come at once."""
    found = Replies()
    return b"".join(found.pass_on(data[at:at + step]) for at in range(0, len(data), step))


# Texts that look like headers are none.
SMALL = st.one_of(st.integers(-9, 9).map(lambda value: b":%d\r\n" % value), st.binary(max_size=40).map(text),
                  st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"+OK\r\n", b"-ERR no\r\n", text(b"*1000000000\r\n" * 9)]))
MESSAGE = st.binary(max_size=40).map(lambda data: array(text(b"1795820137628-0"), array(text(b"d"), text(data))))
REPLY = st.recursive(
    st.one_of(SMALL, MESSAGE), lambda inner: st.lists(inner, max_size=4).map(lambda values: array(*values)),
    max_leaves=20)


@settings(max_examples=100, deadline=None)
@given(st.lists(REPLY, max_size=4).map(b"".join), st.integers(1, 70))
def test_what_is_small_stays_as_it_is(data: bytes, step: int) -> None:
    assert passed(data, step=step) == data


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 30), st.integers(0, 60), st.integers(1, 70))
def test_messages_are_read_by_their_lengths(data: bytes, first: int, second: int, step: int) -> None:
    """Those at once and those header by header: the same passes, or both are none, whatever lengths are named."""
    reply = b"*2\r\n$%d\r\n1795-0\r\n*2\r\n$1\r\nd\r\n$%d\r\n%s\r\n*1000000000\r\n" % (first, second, data)
    found: list[bytes | None] = []
    for pattern in (replies._MESSAGE, re.compile(rb"\Zx")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replies, "_MESSAGE", pattern)
            try:
                found.append(passed(reply, step=step))
            except Strange:
                found.append(None)
    assert found[0] == found[1]


LONG = text(b"$5\r\n" * (MOST_TEXT // 4) + b"x")
MANY = array(*[array(b":1\r\n", LONG), text(b"x")] * (MOST_PARTS // 2 + 1))


@pytest.mark.parametrize(("large", "instead"), [(LONG, b"$-1\r\n"), (MANY, b"*0\r\n")])
@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_what_is_large_is_left_out(large: bytes, instead: bytes, step: int) -> None:
    # One with many parts is MiBs.
    data = array(text(b"1-1"), large, text(b"d")) + text(b"next")
    step = max(step, len(large) // 20_000)
    assert passed(data, step=step) == array(text(b"1-1"), instead, text(b"d")) + text(b"next")


def test_longest_and_most_are_passed() -> None:
    for data in (text(bytes(MOST_TEXT)), array(*[b":1\r\n"] * MOST_PARTS)):
        assert passed(data) == data


@pytest.mark.parametrize("data", [b"*1000000000\r\n", b"*1000000000\r\n" * 5, b"*256\r\n*300000000\r\n"])
def test_a_header_alone_takes_no_memory(data: bytes) -> None:
    reader = hiredis.Reader()
    reader.feed(passed(data))
    began = time.perf_counter()
    reader.gets()
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize("data", [
    b">0\r\n", b"%1\r\n", b"~1\r\n", b",inf\r\n", b"_\r\n", b"#t\r\n", b"=5\r\ntxt:x\r\n", b"HTTP/1.1 400\r\n",
    b"\r\n", b"$\r\n", b"$-2\r\n", b"*-7\r\n", b"*1_0\r\n", b"$+3\r\n", b"* 5\r\n", b"*%s\r\n" % (b"9" * 30),
    b"+" + bytes(5000)])
def test_what_redis_does_not_send_is_strange(data: bytes) -> None:
    with pytest.raises(Strange):
        passed(data)


@pytest.mark.parametrize(("most", "data", "says"), [
    ("MOST_REPLY", array(LONG) * 200, "a reply is longer than 1 MiB"),
    ("MOST_KEPT", text(bytes(9000)) * 200, "a reply is longer than 1 MiB"),
    ("", b"*256\r\n" * 129, "a reply has more than 32768 parts")])
def test_too_much_in_all(monkeypatch: pytest.MonkeyPatch, most: str, data: bytes, says: str) -> None:
    if most:
        monkeypatch.setattr(replies, most, 1 << 20)
    with pytest.raises(TooLong, match=says):
        passed(data)


def test_each_reply_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MOST_REPLY", 1 << 20)
    found = Replies()
    for _ in range(5):
        found.begin()
        found.pass_on(text(bytes(9000)) * 100)
    with pytest.raises(TooLong):
        found.pass_on(text(bytes(9000)) * 100)
