def siphash13(key: bytes, address: bytes) -> int:
    """SipHash-1-3 (Aumasson, Bernstein 2012) of a 16-byte address under a 16-byte key, as a 64-bit number.

    The words are taken in the machine's byte order, which is the paper's on little-endian machines. Raises
    ValueError where either is not 16 bytes long.
    """
