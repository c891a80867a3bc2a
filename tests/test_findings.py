"""What the fuzz targets found, each input as small as it came to be."""
import io
import struct
import sys

import pytest

from mxallowd.captures.filters import compile_filter
from mxallowd.mirrors import TargetError
from mxallowd.mirrors.kernel.helper import RECORD, REQUEST, Pf, Verb, serve
from mxallowd.mirrors.kernel.nfquery import _check_error
from mxallowd.settings import arguments
from mxallowd.watchdog.procnetlink import read_row


@pytest.mark.parametrize("number", [-(2**31), -1, 1, 2**31 - 1])
def test_any_error_of_the_kernel_is_one_of_the_table(number: int) -> None:
    with pytest.raises(TargetError, match="counter mx: "):
        _check_error(memoryview(struct.pack("=i", number)), "counter mx")


def test_a_line_that_is_no_row_of_netlink_is_passed_over() -> None:
    rows = "head\ns protocol p g 1 w d l 2 i\ns 12 7 g r w d l 2 i\ns 12 7 0 5 0 0 2 6 1\n"
    assert read_row(7, rows) == (5, 6)


@pytest.mark.parametrize("there", [0, 1, RECORD.size, 2 * RECORD.size - 1])
def test_a_request_that_ends_in_the_middle_is_not_carried_out(there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(words: list[str], _: str) -> str:
        ran.append(words)
        return ""

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(REQUEST.pack(Verb.CHANGE, 2) + bytes(there))))
    serve(Pf("mx-white"), run)
    assert not ran


@pytest.mark.parametrize(("word", "shown"), [("\0", "x00"), ("\udcff", "xff")])
def test_a_service_that_cannot_be_asked_for_is_named_by_us(word: str, shown: str) -> None:
    with pytest.raises(ValueError, match=rf'^has "\\{shown}", which is neither a port'):
        compile_filter(f"port {word}")


@pytest.mark.parametrize("word", ["-f--", "--fake-mailserver=--"])
def test_two_dashes_are_a_value_like_any_other(word: str) -> None:
    assert [one.text for one in arguments.parse([word])[0]] == ["--"]
