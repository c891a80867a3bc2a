"""The verdicts of a batch: see _verdicts.pxd.

A run of equal verdicts with rising ids is one message. A batch verdict answers every earlier waiting packet too: those
were answered by the messages before it.
"""
from libc.stdint cimport int32_t

from mxallowd._fastpath cimport OTHER, REAL_REFUSED, drops
from mxallowd.backends._nfnetlink cimport VERDICT_BYTES, write_repeat, write_verdict


cdef inline bint is_dropped(const Packet *packet, const Marking *marking) noexcept nogil:
    return drops(packet.outcome) & (marking.dry_run == 0)


cdef Written write_plain(
        uint8_t *target, uint16_t queue, const uint32_t *ids, const Packet *packets, int count,
        const Marking *marking) noexcept nogil:
    cdef Written written
    cdef int i, first = 0
    cdef bint drop, joins
    written.length = 0
    written.dropped = 0
    written.again = 0
    for i in range(count):
        drop = is_dropped(&packets[i], marking)
        written.dropped += drop
        joins = (i + 1 < count and is_dropped(&packets[i + 1], marking) == drop
                 and <int32_t> (ids[i + 1] - ids[i]) > 0)
        if not joins:
            write_verdict(target + written.length, queue, ids[i], not drop, i > first)
            written.length += VERDICT_BYTES
            first = i + 1
    return written


cdef enum Kind:
    DROP
    REPEAT
    ACCEPT


cdef inline Kind kind_of(const Packet *packet, uint32_t mark, const Marking *marking) noexcept nogil:
    if is_dropped(packet, marking):
        return DROP
    return ACCEPT if (mark & marking.mask) == marking.value else REPEAT


cdef Written write_marked(
        uint8_t *target, uint16_t queue, const uint32_t *ids, const uint32_t *marks, const Packet *packets, int count,
        const Marking *marking) noexcept nogil:
    """A verdict sets the whole mark of a packet, so packets with different marks get a message each."""
    cdef Written written
    cdef int i, first = 0
    cdef Kind kind, following = DROP
    cdef uint32_t mark, next_mark = 0
    cdef bint joins
    written.length = 0
    written.dropped = 0
    written.again = 0
    if count:
        following = kind_of(&packets[0], marks[0], marking)
        next_mark = marks[0] & ~marking.mask | marking.value
    for i in range(count):
        kind, mark = following, next_mark
        written.dropped += kind == DROP
        written.again += kind == ACCEPT
        joins = False
        if i + 1 < count:
            following = kind_of(&packets[i + 1], marks[i + 1], marking)
            next_mark = marks[i + 1] & ~marking.mask | marking.value
            joins = (following == kind and (kind != REPEAT or next_mark == mark)
                     and <int32_t> (ids[i + 1] - ids[i]) > 0)
        if joins:
            continue
        if kind == REPEAT:
            write_repeat(target + written.length, queue, ids[i], mark, i > first)
            written.length += MARKED_BYTES
        else:
            write_verdict(target + written.length, queue, ids[i], kind == ACCEPT, i > first)
            written.length += VERDICT_BYTES
        first = i + 1
    return written


cdef Written write_verdicts(
        uint8_t *target, uint16_t queue, const uint32_t *ids, const uint32_t *marks, const Packet *packets, int count,
        const Marking *marking) noexcept nogil:
    if marking.mask == 0:
        return write_plain(target, queue, ids, packets, count, marking)
    return write_marked(target, queue, ids, marks, packets, count, marking)


def verdicts(queue, packets not None, marking=(0, 0), *, dry_run=False):
    cdef uint8_t target[<int> VERDICTS_BYTES]
    cdef uint32_t ids[<int> BATCH]
    cdef uint32_t marks[<int> BATCH]
    cdef Packet decided[<int> BATCH]
    cdef Marking how
    cdef Written written
    cdef int i
    if len(packets) > BATCH:
        raise ValueError(f"a batch has at most {BATCH} packets")
    how.value, how.mask = marking
    how.dry_run = dry_run
    for i, (number, mark, drop) in enumerate(packets):
        ids[i] = number
        marks[i] = mark
        decided[i].outcome = REAL_REFUSED if drop else OTHER
    written = write_verdicts(target, queue, ids, marks, decided, <int> len(packets), &how)
    return target[:written.length], written.dropped, written.again
