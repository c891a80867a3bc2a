from typing import Final

RECORD_SIZE: Final[int]
"""Bytes of a record: host (16), until_us (8), origin (1), used (1), 6 of zeros; native order."""
