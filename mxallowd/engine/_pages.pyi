PAGE: int
"""Bytes of a page, as tables are rounded up to."""

def mapped_bytes(size: int) -> int:
    """Bytes that a table of `size` bytes takes of the machine for good."""
