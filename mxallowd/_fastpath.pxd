"""The decision: packets with their times go in, verdicts come out.

No GIL, no allocation, no lock, no input or output. A batch passes in three rounds:

    parse all, hash all sources, begin to fetch their lines of the index
    find the roles of all destinations; find what the index proposes for all sources, begin to fetch those entries
    decide, in the order of arrival; what an earlier packet of the batch has changed is looked up again
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.engine._address cimport Address
from mxallowd.engine._packet cimport BATCH, Packet
from mxallowd.engine._refused cimport Refused, RefusedShard
from mxallowd.engine._ring cimport Ring, RingState
from mxallowd.engine._rules cimport Rules, RuleSet
from mxallowd.engine._shard cimport Lookups, Shard
from mxallowd.engine._table cimport Leniency, Table

# What the decision came to, and the name of its counter.
cdef enum Outcome:
    FAKE_NEW = 0    # met a fake server and was whitelisted              accept
    FAKE_KNOWN      # met a fake server and was whitelisted already      accept
    FAKE_NO_HOST    # met a fake server, from no host's address          accept: the fake refuses it anyway
    FAKE_DENIED     # met a fake server, and a list denies it            accept: so does the fake; it is not whitelisted
    REAL_FIRST      # whitelisted, first time at a real server           accept
    REAL_AGAIN      # whitelisted, was at a real server before           accept
    REAL_ALLOWED    # at a real server, and a list allows it             accept
    REAL_UNTOLD     # not whitelisted, while the queue overflows        accept: its contact may be among what was lost
    REAL_PATIENT    # not whitelisted, and was refused often enough      accept: it is whitelisted from here on
    REAL_NETWORK    # not whitelisted, and a contact let its network in  accept: it has an entry once it has connected
    REAL_REFUSED    # not whitelisted                                    drop
    REAL_DENIED     # at a real server, and a list denies it             drop, whatever else is true
    OTHER           # no server of ours, or one of us is the source      accept: not ours to judge
    NO_SYN          # no connection attempt                              accept: it may be a connection's middle
    UNPARSED        # malformed                                          accept: a bug of ours must not lose mail
    OUTCOMES

cdef struct Path:               # all that one queue thread needs
    RuleSet *rules              # those that hold; this thread alone reads and changes which
    void *offered               # a newer RuleSet that it has not taken over yet, from the main thread; NULL: none
    Shard *shards
    int shard_count
    int own                     # the shard that this thread writes
    uint16_t queue
    bint tells_evicted          # set before the thread starts
    bint foresees               # a question, not a packet (_foresight.pxd): entries of other shards stay as they are
    RingState *ring
    Leniency *leniency          # of the table: when nobody is refused
    RefusedShard *refused       # where this thread notes refused hosts; NULL: each refusal is an event
    RefusedShard *listed        # the same of hosts that lists deny or allow; NULL: each packet of them is an event
    RefusedShard *contacts      # where it notes contacts of hosts that are not proven; NULL: nowhere
    uint64_t settled[8]         # by role, and 4 more in a full shard: an entry with one of these flags stays as it is
    uint64_t outcomes[<int> OUTCOMES]
    # The batch under way.
    Lookups lookups
    Address destinations[<int> BATCH]
    uint8_t parses[<int> BATCH]
    uint16_t roles[<int> BATCH]         # as Server.role
    uint8_t listings[<int> BATCH]       # what the lists say of the sources: Listed of _networks.pxd
    uint8_t known_networks[<int> BATCH]     # of the sources: 0 where for certain no contact has let theirs in
    # With patience: the hash of what a host, or its network, is known by there; of hosts that may be refused.
    uint64_t patience_hash[<int> BATCH]
    uint64_t added[8]           # a bit by their hashes for the hosts that this batch has added
    uint64_t pending            # a bit for each refused packet whose host may come in by its next SYN
    uint64_t limit              # of the ring for any event, and for pressing ones
    uint64_t limit_pressing
    uint64_t limit_refused

cdef inline bint drops(uint8_t outcome) noexcept nogil:
    return (outcome == REAL_REFUSED) | (outcome == REAL_DENIED)

# Take over the rules that were published since, if any: a thread without packets calls it when it is woken. The path's
# thread only.
cdef void take_over(Path *path) noexcept nogil

# Set `outcome` of each of the packets, at most BATCH, by the newest rules. The path's thread only.
cdef void decide(Path *path, Packet *packets, int count) noexcept nogil


cdef class Fastpath:
    cdef Path path
    cdef readonly Table table
    cdef readonly Ring ring
    cdef readonly Refused refused
    cdef readonly Refused listed
    cdef readonly Refused contacts
    cdef Rules newest           # what was published last
    cdef Rules before           # what the thread may still use until it has taken over the newest
    cdef bint owned_by_thread   # a queue thread has it: only that thread may decide
