"""Netlink sockets and the messages of nfnetlink_queue, from the kernel's headers; only what is in use."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    const int MSG_DONTWAIT
    const int MSG_WAITFORONE
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)
    ssize_t send(int fd, const void *data, size_t length, int flags)

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)
    uint32_t ntohl(uint32_t value)

cdef extern from "<linux/netlink.h>" nogil:
    struct nlmsghdr:
        uint32_t nlmsg_len
        uint16_t nlmsg_type
        uint16_t nlmsg_flags
        uint32_t nlmsg_seq
        uint32_t nlmsg_pid
    struct nlattr:
        uint16_t nla_len
        uint16_t nla_type
    const int NLM_F_REQUEST
    const int NLM_F_ACK
    const int NLMSG_NOOP
    const int NLMSG_ERROR
    const int NLA_TYPE_MASK

cdef extern from "<linux/netfilter/nfnetlink.h>" nogil:
    struct nfgenmsg:
        uint8_t nfgen_family
        uint8_t version
        uint16_t res_id
    const int NFNL_SUBSYS_QUEUE

cdef extern from "<linux/netfilter/nfnetlink_queue.h>" nogil:
    struct nfqnl_msg_packet_hdr:
        uint32_t packet_id
    struct nfqnl_msg_verdict_hdr:
        uint32_t verdict
        uint32_t id
    const int NFQNL_MSG_PACKET
    const int NFQNL_MSG_VERDICT
    const int NFQNL_MSG_VERDICT_BATCH
    const int NFQA_MARK
    const int NFQA_PACKET_HDR
    const int NFQA_VERDICT_HDR
    const int NFQA_PAYLOAD

cdef extern from "<linux/netfilter.h>" nogil:
    const int NF_DROP
    const int NF_ACCEPT
    const int NF_REPEAT
