"""SipHash-1-3 against a plain SipHash-c-d, which is itself held to the vector of the paper."""
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxallowd.engine._siphash import siphash13

MASK = 2**64 - 1
sixteen = st.binary(min_size=16, max_size=16)


def rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & MASK


def sip_round(v: list[int]) -> None:
    """Figure 2.1 of the paper."""
    for a, b, bits in ((0, 1, 13), (2, 3, 16), (0, 3, 21), (2, 1, 17)):
        v[a] = (v[a] + v[b]) & MASK
        v[b] = rotate(v[b], bits) ^ v[a]
        if (a, b) in ((0, 1), (2, 1)):
            v[a] = rotate(v[a], 32)


def siphash(c: int, d: int, key: bytes, message: bytes) -> int:
    """SipHash-c-d as section 2 of the paper has it."""
    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [first ^ 0x736f6d6570736575, second ^ 0x646f72616e646f6d,
         first ^ 0x6c7967656e657261, second ^ 0x7465646279746573]
    padded = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) & 0xff])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        for _ in range(c):
            sip_round(v)
        v[0] ^= word
    v[2] ^= 0xff
    for _ in range(d):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_plain_one_gives_the_vector_of_the_paper() -> None:
    assert siphash(2, 4, bytes(range(16)), bytes(range(15))) == 0xa129ca6149be45e5


@given(sixteen, sixteen)
def test_compiled_equals_plain(key: bytes, address: bytes) -> None:
    # On a big-endian machine the words are taken the other way round.
    native = struct.pack("<QQ", *struct.unpack("=QQ", key)), struct.pack("<QQ", *struct.unpack("=QQ", address))
    assert siphash13(key, address) == siphash(1, 3, *native)


@pytest.mark.parametrize(("key", "address"), [(15, 16), (17, 16), (16, 15), (16, 17), (0, 0), (16, 0)])
def test_other_lengths_are_refused(key: int, address: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        siphash13(bytes(key), bytes(address))


@pytest.mark.parametrize("wrong", [None, "0123456789abcdef", bytearray(16), 16])
def test_other_types_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        siphash13(wrong, bytes(16))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        siphash13(bytes(16), wrong)  # type: ignore[arg-type]
