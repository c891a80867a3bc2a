"""What other gateways tell: see _told.pxd."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address, is_host
from mxallowd.engine._meetings cimport Meetings, meetings_key, meetings_note
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine._records cimport Record
from mxallowd.engine._shard cimport (
    CLAIMED_HERE, CONTACT, LATEST_US, LIVING_ONE, NOBODY, PEER, PROVEN, RESTORED, SEVERAL_GATEWAYS, UNKNOWN_GATEWAY,
    USED, GaveWay, Lookups, Shard, entry_read, flags_of, is_told, origin_of, shard_attribute, shard_find,
    shard_give_way, shard_has_told_room, shard_hash_all, shard_insert, shard_make_told_room, shard_mark,
    shard_prefetch_all, shard_remove, shard_renew, shard_tell, shard_touch, told_of, until_of)
from mxallowd.engine._table cimport Table
from mxallowd.engine.c_atomic cimport RELAXED, load32, store16

TOLD_SIZE = sizeof(Telling)
MOST_GATEWAY = <int> CLAIMED_HERE - 1
SAID_USED, SAID_PROVEN = <int> SAYS_USED, <int> SAYS_PROVEN
WAS_ENTERED, WAS_RENEWED = <int> ENTERED, <int> RENEWED
WAS_USED, WAS_PROVEN, HAS_MET, HAS_MADE_ROOM = (
    <int> USED_NOW, <int> PROVEN_NOW, <int> MET_THERE, <int> MADE_ROOM)


cdef inline bint is_server(const Terms *terms, const Address *host) noexcept nogil:
    cdef int i
    for i in range(terms.server_count):
        if terms.servers[i].low == host.low and terms.servers[i].high == host.high:
            return True
    return False


cdef void note_gateway(Shard *shard, uint32_t number, const Telling *one, uint16_t gateway) noexcept nogil:
    """One more gateway tells of this entry, which may be in a told place or not."""
    cdef uint16_t first = shard.gateways[number]
    if first == UNKNOWN_GATEWAY:
        shard_tell(shard, number, gateway)
    # Who says again what he was told is no second one who knows it.
    elif first and first != CLAIMED_HERE and first & ~<uint16_t> SEVERAL_GATEWAYS != gateway and one.origin != PEER:
        store16(&shard.gateways[number], first | SEVERAL_GATEWAYS, RELAXED)


cdef uint8_t tell_known(
        Shard *shard, uint32_t number, uint64_t state, const Telling *one, uint64_t hash, uint64_t until_us,
        Outcomes *outcomes) noexcept nogil:
    cdef uint8_t became = 0
    if origin_of(state) == RESTORED and shard_attribute(shard, number, state, PEER):
        # A copy elsewhere had it, and did not know how it came in: it need not be said again.
        number = shard_find(shard, &one.host, hash, &state)
        if not number:
            outcomes.known += 1
            return 0
    if one.flags & SAYS_USED and shard_mark(shard, number, state, USED):
        became |= USED_NOW
    if one.flags & SAYS_PROVEN and shard_mark(shard, number, state, PROVEN):
        became |= PROVEN_NOW
    if until_us > until_of(state) + LATER_US:
        if became:
            # Its state has changed by that, so it is read again.
            number = shard_find(shard, &one.host, hash, &state)
        # Where another thread changes it at the same time, what that one wants holds.
        if number and shard_renew(shard, number, state, until_us):
            became |= RENEWED
    if became:
        outcomes.renewed += 1
    else:
        outcomes.known += 1
    return became


cdef bint found_room(Shard *shard, const Terms *terms, Gone *gone) noexcept nogil:
    """Whether there is a told place for one more; who made room for it, if somebody did."""
    cdef bint has_all = told_of(shard, terms.gateway) >= terms.most
    cdef GaveWay gave
    if not has_all and shard_has_told_room(shard, 0):
        return True
    gave = shard_give_way(shard, terms.gateway, has_all, terms.now_us, &gone.gateway)
    gone.is_one = gave == LIVING_ONE
    if gone.is_one:
        gone.host = shard.displaced
    return gave != NOBODY


cdef uint8_t tell_one(
        Shard *shards, int count, int own, const Telling *one, uint64_t hash, const Terms *terms,
        Outcomes *outcomes, Gone *gone) noexcept nogil:
    cdef uint64_t left_us, until_us, state = 0
    cdef uint32_t number, expired = 0
    cdef uint8_t became
    cdef Shard *mine = &shards[own]
    cdef int i
    gone.is_one = False
    if one.flags & SAYS_MORE or not is_host(&one.host) or is_server(terms, &one.host):
        outcomes.no_hosts += 1
        return 0
    left_us = (<uint64_t> one.left_s[0] << 24 | <uint64_t> one.left_s[1] << 16 | <uint64_t> one.left_s[2] << 8
               | one.left_s[3]) * 1000000
    left_us += (<uint64_t> one.left_ms[0] << 8 | one.left_ms[1]) * 1000
    left_us = min(left_us, max(terms.longest_us, terms.proven_us) if one.flags & SAYS_PROVEN else terms.longest_us)
    if left_us <= terms.age_us:
        outcomes.over += 1
        return 0
    until_us = min(terms.now_us + left_us - terms.age_us, LATEST_US)
    if mine.told >= mine.most_told or told_of(mine, terms.gateway) >= terms.most:
        shard_make_told_room(mine, terms.now_us)
    for i in range(count):
        number = shard_find(&shards[i], &one.host, hash, &state)
        if number and until_of(state) > terms.now_us:
            became = tell_known(&shards[i], number, state, one, hash, until_us, outcomes)
            if i == own:
                note_gateway(&shards[i], number, one, terms.gateway)
                if became and is_told(mine, number):
                    shard_touch(mine, number)
            break
        if number and i == own:
            expired = number
    else:
        if expired:
            shard_remove(mine, expired, terms.now_us)
        if not found_room(mine, terms, gone):
            outcomes.left_out += 1
            return 0
        outcomes.made_room += gone.is_one
        number = shard_insert(
            mine, 0, &one.host, hash, until_us,
            flags_of(PEER, (USED if one.flags & SAYS_USED else 0) | (PROVEN if one.flags & SAYS_PROVEN else 0)),
            terms.now_us)
        shard_tell(mine, number, terms.gateway)
        outcomes.entered += 1
        became = ENTERED
    if one.origin == CONTACT and terms.meetings != NULL:
        meetings_note(terms.meetings, meetings_key(terms.meetings, &one.host), until_us,
                      (one.flags & SAYS_PROVEN) != 0, terms.now_us, True)
    return became | MET_THERE if became and one.origin == CONTACT else became


cdef Py_ssize_t tell_all(
        Shard *shards, int count, int own, const Telling *records, Py_ssize_t total, const Terms *terms,
        Outcomes *outcomes, Address *hosts, uint8_t *became, uint16_t *gateways) noexcept nogil:
    """How many hosts have changed."""
    cdef Lookups lookups
    cdef Py_ssize_t first = 0, changed = 0
    cdef Gone gone
    cdef uint8_t what
    cdef int some, i
    while first < total:
        some = <int> min(total - first, <Py_ssize_t> BATCH)
        for i in range(some):
            lookups.host[i] = records[first + i].host
        # As for a batch of packets: memory is fetched for many at a time.
        shard_hash_all(&shards[own], &lookups, some)
        for i in range(count):
            if i != own:
                shard_prefetch_all(&shards[i], &lookups, some)
        for i in range(some):
            what = tell_one(shards, count, own, &records[first + i], lookups.hash[i], terms, outcomes, &gone)
            if gone.is_one:
                hosts[changed], became[changed] = gone.host, MADE_ROOM
                gateways[outcomes.made_room - 1] = gone.gateway
                changed += 1
            if what:
                hosts[changed] = lookups.host[i]
                became[changed] = what
                changed += 1
        first += some
    return changed


@cython.final
cdef class Taken:
    def __cinit__(self):
        memset(&self.counts, 0, sizeof(self.counts))
        self.hosts = self.became = self.gateways = b""

    @property
    def entered(self):
        return self.counts.entered

    @property
    def renewed(self):
        return self.counts.renewed

    @property
    def known(self):
        return self.counts.known

    @property
    def left_out(self):
        return self.counts.left_out

    @property
    def over(self):
        return self.counts.over

    @property
    def no_hosts(self):
        return self.counts.no_hosts

    @property
    def made_room(self):
        return self.counts.made_room


cdef int checked(Table table, gateway) except -1:
    """The number of the main thread's shard."""
    if table.main < 0 or table.shards[table.main].gateways == NULL:
        raise ValueError("the table has no places for what is told")
    if not 0 <= gateway <= MOST_GATEWAY:
        raise ValueError(f"no gateway has the number {gateway}")
    return table.main


def take(
        Table table not None, bytes records not None, now_us, *, age_us, longest_us, proven_us=0, gateway=0, most=0,
        bytes servers not None=b"", Meetings meetings=None):
    cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(Telling), changed
    cdef Taken taken = Taken()
    cdef Terms terms
    cdef int main = checked(table, gateway)
    cdef bytes hosts, became, gateways
    cdef const Telling *source = <const Telling *> <const char *> records
    cdef Address *target
    cdef uint8_t *what
    cdef uint16_t *whose
    if len(records) % <Py_ssize_t> sizeof(Telling) or len(servers) % <Py_ssize_t> sizeof(Address):
        raise ValueError("these are no records")
    terms.now_us, terms.age_us, terms.longest_us, terms.proven_us = now_us, age_us, longest_us, proven_us
    terms.gateway = gateway if gateway else UNKNOWN_GATEWAY
    terms.most = most if most else table.most_told
    terms.servers = <const Address *> <const char *> servers
    terms.server_count = <int> (len(servers) // <Py_ssize_t> sizeof(Address))
    terms.meetings = &meetings.rule if meetings is not None else NULL
    # For each record at most one other host makes room.
    hosts = PyBytes_FromStringAndSize(NULL, 2 * total * <Py_ssize_t> sizeof(Address))
    became = PyBytes_FromStringAndSize(NULL, 2 * total)
    gateways = PyBytes_FromStringAndSize(NULL, total * <Py_ssize_t> sizeof(uint16_t))
    target, what = <Address *> PyBytes_AS_STRING(hosts), <uint8_t *> PyBytes_AS_STRING(became)
    whose = <uint16_t *> PyBytes_AS_STRING(gateways)
    with nogil:
        changed = tell_all(table.shards, table.shard_count, main, source, total, &terms, &taken.counts, target, what,
                           whose)
    taken.hosts, taken.became = hosts[:changed * <Py_ssize_t> sizeof(Address)], became[:changed]
    taken.gateways = gateways[:taken.counts.made_room * <Py_ssize_t> sizeof(uint16_t)]
    return taken


def told_apart(bytes records not None):
    cdef Py_ssize_t total = len(records) // <Py_ssize_t> sizeof(Record), i, told = 0, others = 0
    cdef const Record *source = <const Record *> <const char *> records
    cdef Record *first
    cdef Record *second
    cdef bytes one, two
    if len(records) % <Py_ssize_t> sizeof(Record):
        raise ValueError("these are no records")
    for i in range(total):
        told += source[i].origin == PEER
    if told == 0:
        return records, b""
    one = PyBytes_FromStringAndSize(NULL, (total - told) * <Py_ssize_t> sizeof(Record))
    two = PyBytes_FromStringAndSize(NULL, told * <Py_ssize_t> sizeof(Record))
    first, second = <Record *> PyBytes_AS_STRING(one), <Record *> PyBytes_AS_STRING(two)
    told = 0
    for i in range(total):
        if source[i].origin == PEER:
            second[told] = source[i]
            told += 1
        else:
            first[others] = source[i]
            others += 1
    return one, two


def end_told(Table table not None, gateway, before_us, now_us, longest_us, start, budget):
    cdef Shard *own = &table.shards[checked(table, gateway)]
    cdef uint32_t number = start, most = budget
    cdef uint64_t now = now_us, latest = max(0, before_us + longest_us), state = 0
    cdef uint16_t teller = gateway
    cdef Py_ssize_t found = 0
    cdef bytes hosts = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> most * <Py_ssize_t> sizeof(Address))
    cdef Address *target = <Address *> PyBytes_AS_STRING(hosts)
    cdef Address host
    with nogil:
        while number < load32(&own.highest, RELAXED) and most > 0:
            number += 1
            most -= 1
            if (own.gateways[number] == teller and teller and entry_read(&own.entries[number], &host, &state)
                    and origin_of(state) == PEER and now < until_of(state) <= latest):
                memcpy(&target[found], &host, sizeof(Address))
                found += 1
    return hosts[:found * <Py_ssize_t> sizeof(Address)], (number if number < own.highest else 0)
