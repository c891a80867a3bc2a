"""Messages of nfnetlink_queue: reading packets and errors, writing verdicts (linux/netfilter/nfnetlink_queue.h)."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    VERDICT_BYTES = 32
    MARKED_BYTES = 40   # with a mark

cdef enum Incoming:
    IN_PACKET       # id is set; payload may be NULL with length 0
    IN_ERROR        # error is set: a positive errno, 0 for an acknowledgement
    IN_OTHER        # a message that is not for us
    IN_BROKEN       # lengths that do not fit: nothing behind it in the datagram can be read

cdef struct Message:
    uint32_t id
    uint32_t mark   # of the packet, 0 where it has none
    const uint8_t *payload
    uint32_t payload_length
    int error

# Read the message at `data`; `taken` is how far the next one lies. `available` bytes are there, at least 1.
cdef Incoming read_message(const uint8_t *data, size_t available, Message *message, size_t *taken) noexcept nogil

# Write VERDICT_BYTES bytes. `batch`: the verdict holds for every waiting packet up to `id`.
cdef void write_verdict(uint8_t *target, uint16_t queue, uint32_t id, bint accept, bint batch) noexcept nogil

# Write MARKED_BYTES bytes: the packet gets this mark and passes the chain again, from its first rule on (NF_REPEAT).
cdef void write_repeat(uint8_t *target, uint16_t queue, uint32_t id, uint32_t mark, bint batch) noexcept nogil
