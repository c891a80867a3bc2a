"""What goes over the two pipes between the daemon and its exporter.

A request is one byte. Answers come in the order of requests: status of HTTP (2 bytes) and length (4 bytes) in native
order, then UTF-8 text: the metrics in one of two formats, or a line of JSON. One request of each kind may wait. A byte
that gets no answer, ALIVE, says once a second that the exporter runs.
"""
import struct

METRICS, OPENMETRICS = b"m", b"o"
OPENMETRICS_TYPE = "application/openmetrics-text"
REQUESTS = {METRICS: "metrics", b"h": "healthz", b"r": "readyz", OPENMETRICS: "metrics"}
ALIVE = b"."
BEAT_S = 1.0
END = "# EOF\n"  # of OpenMetrics, behind what more there is
ANSWER = struct.Struct("=HI")
MOST_WAITING = len(REQUESTS)  # of each one
LONGEST = 1 << 20  # bytes of an answer


def pack(status: int, text: str) -> bytes:
    """An answer."""
    body = text.encode()
    return ANSWER.pack(status, len(body)) + body


def unpack(data: bytearray) -> tuple[int, str] | None:
    """Take the first answer from what has come; None: it is not there as a whole. Raises ValueError: it is none."""
    if len(data) < ANSWER.size:
        return None
    status, length = ANSWER.unpack_from(data)
    if length > LONGEST:
        raise ValueError("an answer is longer than any")
    if len(data) < ANSWER.size + length:
        return None
    body = bytes(data[ANSWER.size : ANSWER.size + length])
    del data[: ANSWER.size + length]
    return status, body.decode()
