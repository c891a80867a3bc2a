"""Networks of which a host has met a fake server, and until when that lets the whole network in (--network-key).

A network is the /24 of an IPv4 host and the /64 of an IPv6 host, or of another length. It is one word that no host's
network of the other family has: of IPv6 the masked upper half of the address; of IPv4 the masked lower half of the
IPv4-mapped form, whose first byte is made 0xff, as in no host's address. An unknown host at a real server is looked for
here before it is refused.

The memory is bounded, takes nothing from the whitelist, and may lose: a network that is lost is let in again by the
next contact, and a host that has connected has an entry of its own by then. It is no more than what the entries of
contacts say, so nothing of it is kept on disk; after a restart those entries fill it again.

**All threads read and write it**, since a network's hosts come to all of them; so one look is enough, however many
threads there are. A place is two words, key and end. `until` is 0 where it is empty, and BUSY while a thread is writing
a new key into it: others then take another place, or give up, but never wait. A reader takes the key for that of the
end if the end is the same before and after it has read the key. Where two networks had the same end one after the
other, both were true. Two threads may enter one network side by side: the later end counts, and removing takes both.

In front of the places stands a filter of a bit for each, which stays in the cache: nearly all refused hosts are of
networks that nobody noted, and cost a look at one bit. A bit stays when its network is over, so the main thread makes
the filter anew all the time, in a second array that the threads set their bits in as well, and then exchanges the two.

Who makes room. A network has its place in one line of four, chosen by a keyed hash. First goes who is over; then, of
those of which no host has completed a handshake, the one that ends first; then the same of the others. A newcomer
always finds room, and a flood of made-up contacts takes from networks of proven hosts one place of four at most. What
other gateways tell takes places that are free or over, and no others.
"""
from libc.stdint cimport uint8_t, uint64_t

from mxallowd.engine._address cimport Address

cdef enum:
    LINE_PLACES = 4
    BUSY = 1

cdef struct Meeting:                # 16 bytes, four a cache line
    uint64_t key
    uint64_t until                  # until_us << 1 | whether a host of it is proven

cdef struct MeetingsState:          # what changes
    uint64_t *filter                # the one of the two that is read
    uint64_t noted
    uint64_t pushed_out

# What a network is, and where it is noted; never changed once published.
cdef struct Meetings_ "mxallowd_meetings":
    Meeting *places                 # NULL: a contact lets in nobody else
    uint64_t lines
    uint64_t factors[2]             # of the hash, random
    uint64_t mask4                  # of the lower half; 0: no network of this family is let in
    uint64_t mark4
    uint64_t mask6                  # of the upper half
    uint64_t *filters[2]
    uint64_t filter_mask            # of the number of a bit
    MeetingsState *state

# The key of a host's network, 0 where there is none. For addresses that a host can have (is_host).
cdef inline uint64_t meetings_key(const Meetings_ *rule, const Address *host) noexcept nogil:
    # No branch: whose packet comes next is not to be predicted. The upper half of an IPv4 host is 0.
    return (host.high & rule.mask6) | (((host.low & rule.mask4) | rule.mark4) & (<uint64_t> (host.high != 0) - 1))

# Two multiplications by secret odd factors: nobody can choose networks that share a line.
cdef inline uint64_t meetings_hash(const Meetings_ *rule, uint64_t key) noexcept nogil:
    cdef uint64_t mixed = key * rule.factors[0]
    return (mixed ^ mixed >> 32) * rule.factors[1]

cdef inline Meeting *meetings_line(const Meetings_ *rule, uint64_t hash) noexcept nogil:
    return &rule.places[((hash >> 32) * rule.lines >> 32) * LINE_PLACES]

# Which of these hosts of a batch have a network that may be noted; it is being fetched when this returns.
cdef void meetings_look_up(
    const Meetings_ *rule, const Address *hosts, const int *numbers, int count, uint8_t *known) noexcept nogil
# Any thread: until when the network is let in, in microseconds; 0: it never was, or nobody knows any more.
cdef uint64_t meetings_until(const Meetings_ *rule, uint64_t key) noexcept nogil
# Any thread: whether a contact has let in the network of what may be no host at all.
cdef bint meetings_let_in(const Meetings_ *rule, const Address *address, uint64_t now_us) noexcept nogil
# Any thread: it is let in until then at least. `proven`: a host of it has completed a handshake. `told`: no other
# network makes room for it.
cdef void meetings_note(
    const Meetings_ *rule, uint64_t key, uint64_t until_us, bint proven, uint64_t now_us, bint told) noexcept nogil


cdef class Meetings:
    cdef Meetings_ rule
    cdef MeetingsState state
    cdef int making                 # the filter that is being made
    cdef uint64_t made              # places that are in it
    cdef readonly uint64_t max_networks
