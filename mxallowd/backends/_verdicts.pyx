"""The verdicts of a batch: see _verdicts.pxd.

A run of equal verdicts with rising ids is one message. A batch verdict answers every earlier waiting packet too: those
were answered by the messages before it.
"""
from libc.stdint cimport int32_t
from libc.string cimport memset

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
    memset(&written, 0, sizeof(written))
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
    UNREJECTED  # dropped, and the rule that was to reject it is missing
    REJECT
    REPEAT
    ACCEPT
    AGAIN       # accepted for good, and the rule that was to let it go on is missing

cdef struct Answer:
    Kind kind
    uint32_t mark


cdef inline Answer answer_to(
        const Packet *packet, uint32_t mark, bint pending, const Marking *marking) noexcept nogil:
    cdef Answer answer
    answer.mark = 0
    if is_dropped(packet, marking):
        answer.kind = DROP
        if marking.refused_mask and mark & marking.refused_mask == marking.refused_value:
            answer.kind = UNREJECTED
        elif marking.refused_mask and not pending:
            answer.kind = REJECT
            # Without the mark of accepted ones: no rule may let it go on.
            answer.mark = mark & ~(marking.mask | marking.refused_mask) | marking.refused_value
    elif marking.mask == 0:
        answer.kind = ACCEPT
    elif mark & marking.mask == marking.value:
        answer.kind = AGAIN
    else:
        answer.kind = REPEAT
        answer.mark = mark & ~(marking.mask | marking.refused_mask) | marking.value
    return answer


cdef Written write_marked(
        uint8_t *target, uint16_t queue, const uint32_t *ids, const uint32_t *marks, const Packet *packets, int count,
        const Marking *marking, uint64_t pending) noexcept nogil:
    """A verdict sets the whole mark of a packet, so packets with different marks get a message each."""
    cdef Written written
    cdef int i, first = 0
    cdef Answer answer, following
    cdef bint joins
    memset(&written, 0, sizeof(written))
    if count == 0:
        return written
    following = answer_to(&packets[0], marks[0], pending & 1, marking)
    for i in range(count):
        answer = following
        written.dropped += answer.kind <= UNREJECTED
        written.unrejected += answer.kind == UNREJECTED
        written.rejected += answer.kind == REJECT
        written.again += answer.kind == AGAIN
        joins = False
        if i + 1 < count:
            following = answer_to(&packets[i + 1], marks[i + 1], pending >> (i + 1) & 1, marking)
            joins = (following.kind == answer.kind and following.mark == answer.mark
                     and <int32_t> (ids[i + 1] - ids[i]) > 0)
        if joins:
            continue
        if answer.kind == REPEAT or answer.kind == REJECT:
            write_repeat(target + written.length, queue, ids[i], answer.mark, i > first)
            written.length += MARKED_BYTES
        else:
            write_verdict(target + written.length, queue, ids[i], answer.kind >= ACCEPT, i > first)
            written.length += VERDICT_BYTES
        first = i + 1
    return written


cdef Written write_verdicts(
        uint8_t *target, uint16_t queue, const uint32_t *ids, const uint32_t *marks, const Packet *packets, int count,
        const Marking *marking, uint64_t pending) noexcept nogil:
    if marking.mask == 0 and marking.refused_mask == 0:
        return write_plain(target, queue, ids, packets, count, marking)
    return write_marked(target, queue, ids, marks, packets, count, marking, pending)


def verdicts(queue, packets not None, marking=(0, 0), *, refused=(0, 0), pending=0, dry_run=False):
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
    how.refused_value, how.refused_mask = refused
    how.dry_run = dry_run
    for i, (number, mark, drop) in enumerate(packets):
        ids[i] = number
        marks[i] = mark
        decided[i].outcome = REAL_REFUSED if drop else OTHER
    written = write_verdicts(target, queue, ids, marks, decided, <int> len(packets), &how, pending)
    return target[:written.length], written.dropped, written.rejected, written.again, written.unrejected
