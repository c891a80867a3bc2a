"""Messages of nfnetlink_queue: reading packets and errors, writing verdicts (linux/netfilter/nfnetlink_queue.h).

The bytes come from the kernel, but this module does not trust them: it checks each length against the bytes that are
there. A packet whose payload is missing still has its id, so that it gets a verdict.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from mxallowd.backends.c_netlink cimport (
    NF_ACCEPT, NF_DROP, NF_REPEAT, NFNL_SUBSYS_QUEUE, NFQA_MARK, NFQA_PACKET_HDR, NFQA_PAYLOAD, NFQA_VERDICT_HDR,
    NFQNL_MSG_PACKET, NFQNL_MSG_VERDICT, NFQNL_MSG_VERDICT_BATCH, NLA_TYPE_MASK, NLM_F_REQUEST, NLMSG_ERROR, htonl,
    htons, nfgenmsg, nfqnl_msg_packet_hdr, nfqnl_msg_verdict_hdr, nlattr, nlmsghdr, ntohl)


cdef inline size_t align4(size_t length) noexcept nogil:
    return (length + 3) & ~<size_t> 3


cdef Incoming read_packet(const uint8_t *data, size_t length, Message *message) noexcept nogil:
    """The attributes of a packet message: `data` points behind the nfgenmsg."""
    cdef nlattr attribute
    cdef nfqnl_msg_packet_hdr header
    cdef size_t at = 0, body
    cdef bint has_id = False
    cdef int kind
    while length - at >= sizeof(nlattr):
        memcpy(&attribute, data + at, sizeof(nlattr))
        if attribute.nla_len < sizeof(nlattr) or attribute.nla_len > length - at:
            break
        kind = attribute.nla_type & NLA_TYPE_MASK
        body = attribute.nla_len - sizeof(nlattr)
        if kind == NFQA_PACKET_HDR and body >= sizeof(uint32_t):
            memcpy(&header.packet_id, data + at + sizeof(nlattr), sizeof(uint32_t))
            message.id = ntohl(header.packet_id)
            has_id = True
        elif kind == NFQA_MARK and body >= sizeof(uint32_t):
            memcpy(&message.mark, data + at + sizeof(nlattr), sizeof(uint32_t))
            message.mark = ntohl(message.mark)
        elif kind == NFQA_PAYLOAD:
            message.payload = data + at + sizeof(nlattr)
            message.payload_length = <uint32_t> body
        if align4(attribute.nla_len) >= length - at:
            break
        at += align4(attribute.nla_len)
    return IN_PACKET if has_id else IN_BROKEN


cdef Incoming read_message(const uint8_t *data, size_t available, Message *message, size_t *taken) noexcept nogil:
    cdef nlmsghdr header
    cdef size_t length
    cdef int error = 0
    memset(message, 0, sizeof(Message))
    taken[0] = available
    if available < sizeof(nlmsghdr):
        return IN_BROKEN
    memcpy(&header, data, sizeof(nlmsghdr))
    if header.nlmsg_len < sizeof(nlmsghdr):
        return IN_BROKEN
    # A datagram that was cut short (MSG_TRUNC) is read as far as it goes: the id comes first.
    length = min(<size_t> header.nlmsg_len, available)
    taken[0] = min(align4(length), available)
    if header.nlmsg_type == NLMSG_ERROR:
        if length < sizeof(nlmsghdr) + sizeof(int):
            return IN_BROKEN
        memcpy(&error, data + sizeof(nlmsghdr), sizeof(int))
        # From the network's side of the kernel; INT_MIN has no positive twin.
        message.error = -error if -4096 < error <= 0 else 4096
        return IN_ERROR
    if header.nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET):
        return IN_OTHER
    if length < sizeof(nlmsghdr) + sizeof(nfgenmsg):
        return IN_BROKEN
    return read_packet(
        data + sizeof(nlmsghdr) + sizeof(nfgenmsg), length - sizeof(nlmsghdr) - sizeof(nfgenmsg), message)


cdef inline void write_any(
        uint8_t *target, uint16_t queue, uint32_t id, int what, bint batch, uint32_t length) noexcept nogil:
    cdef nlmsghdr header
    cdef nfgenmsg generic
    cdef nlattr attribute
    cdef nfqnl_msg_verdict_hdr verdict
    memset(&header, 0, sizeof(header))
    header.nlmsg_len = length
    header.nlmsg_type = <uint16_t> (NFNL_SUBSYS_QUEUE << 8 | (NFQNL_MSG_VERDICT_BATCH if batch else NFQNL_MSG_VERDICT))
    header.nlmsg_flags = <uint16_t> NLM_F_REQUEST
    generic.nfgen_family = 0    # AF_UNSPEC: one queue carries both families
    generic.version = 0         # NFNETLINK_V0
    generic.res_id = htons(queue)
    attribute.nla_len = sizeof(nlattr) + sizeof(nfqnl_msg_verdict_hdr)
    attribute.nla_type = <uint16_t> NFQA_VERDICT_HDR
    verdict.verdict = htonl(<uint32_t> what)
    verdict.id = htonl(id)
    memcpy(target, &header, 16)
    memcpy(target + 16, &generic, 4)
    memcpy(target + 20, &attribute, 4)
    memcpy(target + 24, &verdict, 8)


cdef void write_verdict(uint8_t *target, uint16_t queue, uint32_t id, bint accept, bint batch) noexcept nogil:
    write_any(target, queue, id, NF_ACCEPT if accept else NF_DROP, batch, VERDICT_BYTES)


cdef void write_repeat(uint8_t *target, uint16_t queue, uint32_t id, uint32_t mark, bint batch) noexcept nogil:
    cdef nlattr attribute
    write_any(target, queue, id, NF_REPEAT, batch, MARKED_BYTES)
    attribute.nla_len = sizeof(nlattr) + sizeof(uint32_t)
    attribute.nla_type = <uint16_t> NFQA_MARK
    mark = htonl(mark)
    memcpy(target + VERDICT_BYTES, &attribute, 4)
    memcpy(target + VERDICT_BYTES + 4, &mark, 4)


def read(bytes data not None):
    cdef Message message
    cdef size_t taken = 0
    cdef Incoming incoming
    if not data:
        raise ValueError("a message has at least one byte")
    incoming = read_message(<const uint8_t *> <const char *> data, <size_t> len(data), &message, &taken)
    if incoming == IN_PACKET:
        return "packet", message.id, bytes(message.payload[:message.payload_length]), taken
    if incoming == IN_ERROR:
        return "error", message.error, b"", taken
    return ("other" if incoming == IN_OTHER else "broken"), 0, b"", taken


def mark(bytes data not None):
    cdef Message message
    cdef size_t taken = 0
    if not data:
        raise ValueError("a message has at least one byte")
    read_message(<const uint8_t *> <const char *> data, <size_t> len(data), &message, &taken)
    return message.mark


def verdict(queue, id, accept, *, batch=False):
    cdef uint8_t target[<int> VERDICT_BYTES]
    write_verdict(target, queue, id, accept, batch)
    return target[:VERDICT_BYTES]
