"""What the fuzz targets found, each input as small as it came to be."""
import struct

import pytest

from mxallowd.kerneltables import TableError
from mxallowd.kerneltables.nfquery import _check_error
from mxallowd.procnetlink import read_row


@pytest.mark.parametrize("number", [-(2**31), -1, 1, 2**31 - 1])
def test_any_error_of_the_kernel_is_one_of_the_table(number: int) -> None:
    with pytest.raises(TableError, match="counter mx: "):
        _check_error(memoryview(struct.pack("=i", number)), "counter mx")


def test_a_line_that_is_no_row_of_netlink_is_passed_over() -> None:
    rows = "head\ns protocol p g 1 w d l 2 i\ns 12 7 g r w d l 2 i\ns 12 7 0 5 0 0 2 6 1\n"
    assert read_row(7, rows) == (5, 6)
