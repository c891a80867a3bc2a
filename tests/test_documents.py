"""Bodies of requests: long ones mean what they mean to json, and none holds the loop."""
import asyncio
import json
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxallowd.control.documents import MOST_PARTS, PART, SHORT, parsed
from mxallowd.control.exchange import RequestError
from mxallowd.control.wire import MAX_BODY

HELD_S = 0.005
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5)
BLANK = " \t\r\n" * (SHORT // 4 + 1)


def parse(body: bytes) -> object:
    return asyncio.run(parsed(body, long=True))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.lists(VALUES, max_size=5) | VALUES, max_size=4), st.booleans())
def test_a_long_body_means_what_it_means_to_json(document: dict[str, object], ascii_: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_, indent=1)
    at = len(text) - 1
    body = (BLANK + text[:at] + BLANK + text[at:] + BLANK).encode("utf-8", "surrogatepass" if ascii_ else "replace")
    try:
        wanted = json.loads(body.decode())
    except ValueError:
        with pytest.raises(RequestError):
            parse(body)
        return
    assert parse(body) == parse(text.encode("utf-8", "replace")) == wanted


@pytest.mark.parametrize(("body", "status"), [
    (b'{"a": [1,]}', 400), (b'{"a": [,1]}', 400), (b'{"a": [1 2]}', 400), (b'{"a": [1]', 400), (b'{"a": [1}', 400),
    (b'{"a": [1]},', 400), (b'{"a": [1]} {}', 400), (b'{"a" [1]}', 400), (b"{1: [1]}", 400), (b'{"a": 1,}', 400),
    (b'{"a": [], "a": []}', 400), (b'{"a": [{"b": 1, "b": 2}]}', 400), (b'{"a": [NaN]}', 400), (b'{"a": [-]}', 400),
    (b"[1]", 400), (b"1", 400), (b"", 400), (b'{"a": ["' + b"b" * PART + b'"]}', 400),
    (b'{"a": [' + b"1," * MOST_PARTS * 2 + b"1]}", 422), (b'{"a": "\xff"}', 400)])
def test_what_is_not_taken(body: bytes, status: int) -> None:
    with pytest.raises(RequestError) as raised:
        parse(BLANK.encode() + body)
    assert raised.value.status == status


def test_a_long_body_is_refused_where_none_belongs() -> None:
    with pytest.raises(RequestError) as raised:
        asyncio.run(parsed(b" " * (SHORT + 1), long=False))
    assert raised.value.status == 413


def longest_s(work: Coroutine[None, None, object]) -> float:
    """The most that the processor had to do between two turns of the loop."""
    longest = 0.0
    while True:
        begun = time.thread_time()
        try:
            work.send(None)
        except StopIteration:
            return longest
        except RequestError:
            return max(longest, time.thread_time() - begun)
        longest = max(longest, time.thread_time() - begun)


@pytest.mark.parametrize("part", [
    b'{"a":1},', b"[],", b"1,", b'"a",', b"1e9,", b'{"a":[' + b"{}," * 1000 + b"{}]},", b"[" * 2000 + b"],", b" "])
@pytest.mark.parametrize("head", [b'{"entries":[', b'{"entries":{"a":[', b"["])
def test_no_body_holds_the_loop(part: bytes, head: bytes) -> None:
    body = (head + part * (MAX_BODY // len(part)))[:MAX_BODY]
    for size in (MAX_BODY, SHORT):
        assert min(longest_s(parsed(body[:size], long=True)) for _ in range(3)) < HELD_S
