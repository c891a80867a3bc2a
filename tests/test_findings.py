"""What the fuzz targets found, each input as small as it came to be."""
import struct

import pytest

from mxallowd.kerneltables import TableError
from mxallowd.kerneltables.nfquery import _check_error


@pytest.mark.parametrize("number", [-(2**31), -1, 1, 2**31 - 1])
def test_any_error_of_the_kernel_is_one_of_the_table(number: int) -> None:
    with pytest.raises(TableError, match="counter mx: "):
        _check_error(memoryview(struct.pack("=i", number)), "counter mx")
