from typing import Final

RECORD_SIZE: Final[int]
"""Bytes of a record: host (16), until_us (8), origin, used, proven (1 each), a zero, gateway (2), 2 zeros; native."""
