"""Events: the layout that the compiled side writes, and addresses as text."""
import ipaddress
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mxallowd
from mxallowd.engine.events import Event, Kind, address_text, decode, packed


@given(st.ip_addresses())
def test_an_address_survives_both_ways(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    text = address_text(packed(str(address)))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert ipaddress.ip_address(text) == (mapped or address)


def test_numbers_of_kinds_are_those_of_the_ring() -> None:
    source = (Path(mxallowd.__file__).parent / "engine" / "_ring.pxd").read_text()
    block = source[source.index("cdef enum Kind:"):source.index("cdef struct Event")]
    assert dict(re.findall(r"^ +([A-Z_]+) = (\d+)", block, re.MULTILINE)) == {kind.name: str(kind) for kind in Kind}


def test_decode() -> None:
    record = struct.pack("=BBHIQ16s16sQ8x", 4, 3, 23, 20, 5, bytes(range(16)), bytes(16), 9)
    assert decode(record) == [Event(Kind.MALFORMED, 3, 23, 20, 5, bytes(range(16)), bytes(16), 9)]
    event = decode(record)[0]
    assert event.head == bytes(range(16)) + bytes(4)
    assert event.reason_name == "truncated"
    with pytest.raises(struct.error):
        decode(record[:-1])
