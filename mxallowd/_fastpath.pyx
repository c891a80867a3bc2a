"""The decision: see _fastpath.pxd for the rounds, the outcomes and which way each fails."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from mxallowd.engine._address cimport Address, is_host, is_loopback
from mxallowd.engine._headers cimport PARSE_NO_SYN, PARSE_OK, parse_packets, source_port
from mxallowd.engine._meetings cimport meetings_key, meetings_let_in, meetings_look_up, meetings_note
from mxallowd.engine._networks cimport DENIED, UNLISTED, networks_look_up_all
from mxallowd.engine._packet cimport Packet
from mxallowd.engine._patience cimport (
    COMES_IN, IS_IN, Patience_, Patient, patience_fetch, patience_key, patience_note, patience_over)
from mxallowd.engine._refused cimport MOST_SERVERS, Refused, RefusedShard, refused_note, refused_prefetch
from mxallowd.engine._ring cimport (
    ACCEPTED, AGAIN, BY_NETWORK, EVICTED, LIST_ALLOWED, LIST_DENIED, MALFORMED, MET, PATIENT, REFUSED, RENEWED,
    WHITELISTED,
    Event, Ring, ring_claim_below, ring_limit, ring_limit_refused, ring_publish)
from mxallowd.engine._rules cimport FAKE, NEITHER, NUMBER_SHIFT, REAL, ROLE, RuleSet, Rules, role_of
from mxallowd.engine._shard cimport (
    CONTACT, LATEST_US, LIVE, PATIENCE, PROVEN, TOUCHED, USED, Entry, Lookups, Shard, flags_of, is_full, origin_of,
    shard_expire, shard_find, shard_hash, shard_hash_all, shard_insert, shard_locate_all, shard_look_elsewhere,
    shard_mark, shard_prefetch_all, shard_renew, shard_touch, until_of)
from mxallowd.engine._table cimport Table, is_lenient
from mxallowd.engine.c_atomic cimport ACQ_REL, RELAXED, count_up, exchange_ptr, load64, load_ptr

OUTCOME_NAMES = (
    "fake-new", "fake-known", "fake-no-host", "fake-denied", "real-first", "real-again", "real-allowed", "real-untold",
    "real-patient", "real-network", "real-refused", "real-denied", "other", "no-syn", "malformed")

# Bytes of a malformed packet that an event carries.
cdef enum:
    HEAD = 32


# ---- the decision

cdef inline void report(
        Path *path, int kind, bint pressing, const Packet *packet, int at, uint64_t until_us,
        uint32_t length=0) noexcept nogil:
    cdef Event *event = ring_claim_below(path.ring, path.limit_pressing if pressing else path.limit, pressing)
    if event == NULL:
        return
    event.kind = <uint8_t> kind
    event.reason = 0
    event.queue = path.queue
    event.length = length
    event.time_us = packet.now_us
    event.source = path.lookups.host[at]
    event.destination = path.destinations[at]
    event.until_us = until_us
    event.reserved = 0


cdef void report_evicted(Path *path, const Packet *packet) noexcept nogil:
    """The host that made room: a copy of the whitelist in the kernel must lose it, too."""
    cdef Event *event = ring_claim_below(path.ring, path.limit_pressing, True)
    if event == NULL:
        return
    memset(event, 0, sizeof(Event))
    event.kind = <uint8_t> EVICTED
    event.queue = path.queue
    event.time_us = packet.now_us
    event.source = path.shards[path.own].displaced


cdef Outcome decide_malformed(Path *path, const Packet *packet, uint8_t parse) noexcept nogil:
    cdef Event *event = ring_claim_below(path.ring, path.limit, False)
    if event != NULL:
        memset(event, 0, sizeof(Event))
        event.kind = <uint8_t> MALFORMED
        event.reason = parse
        event.queue = path.queue
        event.length = packet.length
        event.time_us = packet.now_us
        if packet.length:
            memcpy(&event.source, packet.data, min(packet.length, <uint32_t> HEAD))
    return UNPARSED


cdef inline bint holds(const Entry *entry, const Address *host) noexcept nogil:
    return ((entry.host.low ^ host.low) | (entry.host.high ^ host.high)) == 0


cdef inline bint changes_nothing(
        const Path *path, const RuleSet *rules, const Shard *own, uint64_t now_us, int at) noexcept nogil:
    """Whether the packet is that of a used host, and no more.

    (At a fake server that of any known host; with `contacts` that of a proven one.)

    The common case, told by one branch: each of its conditions alone is one that the processor predicts wrong half the
    time.
    """
    cdef const Entry *entry = &own.entries[path.lookups.number[at]]
    cdef uint64_t state = load64(&entry.state, RELAXED)
    cdef int role = path.roles[at] & ROLE
    # Entry 0 is never live: its time is over. A full shard notes who met the fake server again, unless that is proven.
    return ((until_of(state) > now_us + rules.fresh_us[role]) & holds(entry, &path.lookups.host[at])
            & ((state & path.settled[role + 4 * is_full(own)]) != 0))


cdef inline bint is_unknown(const Path *path, int at) noexcept nogil:
    """Whether no entry can be the host's: none is proposed, its line was never full, and this batch did not add it."""
    cdef uint64_t hash = path.lookups.hash[at]
    return (path.lookups.number[at] | path.lookups.passed[at] | (path.added[hash >> 6 & 7] >> (hash & 63) & 1)) == 0


cdef struct Found:      # where the source of a packet stands
    Shard *shard        # that holds a live entry of it; NULL where none does
    uint32_t number
    uint64_t state
    uint32_t own        # its entry, live or not, in the shard of this thread


cdef Found find_source(Path *path, uint64_t now_us, int at) noexcept nogil:
    cdef Lookups *lookups = &path.lookups
    cdef Shard *shard = &path.shards[path.own]
    cdef Found found
    cdef int i
    found.shard = shard
    found.number = lookups.number[at]
    found.state = load64(&shard.entries[found.number].state, RELAXED)
    if not (found.state & LIVE and holds(&shard.entries[found.number], &lookups.host[at])):
        # Not the host's entry, or no longer: an earlier packet of this batch may have needed the room, or may have
        # added the host.
        found.number = 0
        if not is_unknown(path, at):
            found.number = shard_find(shard, &lookups.host[at], lookups.hash[at], &found.state)
    found.own = found.number
    if found.number and until_of(found.state) > now_us:
        return found
    for i in range(path.shard_count):
        shard = &path.shards[i]
        if i == path.own or load64(&shard.size, RELAXED) == 0:
            continue
        found.number = shard_find(shard, &lookups.host[at], lookups.hash[at], &found.state)
        if found.number and until_of(found.state) > now_us:
            found.shard = shard
            return found
    found.shard = NULL
    return found


cdef inline uint64_t end_of_entry(const Path *path, uint64_t now_us) noexcept nogil:
    # A capture may claim any time; no entry ends later than the table can say.
    return min(now_us + path.rules.lifetime_us, LATEST_US)


cdef inline void enter(
        Path *path, const Packet *packet, int at, uint32_t expired, uint64_t until_us, uint64_t flags) noexcept nogil:
    cdef uint64_t hash = path.lookups.hash[at]
    cdef Shard *own = &path.shards[path.own]
    cdef uint64_t evicted = own.evicted
    shard_insert(own, expired, &path.lookups.host[at], hash, until_us, flags, packet.now_us)
    if path.tells_evicted and own.evicted != evicted:
        report_evicted(path, packet)
    path.added[hash >> 6 & 7] |= <uint64_t> 1 << (hash & 63)


cdef void note_meeting(
        Path *path, const Packet *packet, int at, uint64_t until_us, bint proven) noexcept nogil:
    """A contact lets in the network of the host as well."""
    meetings_note(
        &path.rules.meetings, meetings_key(&path.rules.meetings, &path.lookups.host[at]), until_us, proven,
        packet.now_us, False)
    # Its neighbours may be in this very batch.
    memset(path.known_networks, 1, sizeof(path.known_networks))


cdef inline Outcome whitelist(Path *path, const Packet *packet, int at, uint32_t expired) noexcept nogil:
    cdef uint64_t until_us = end_of_entry(path, packet.now_us)
    if not is_host(&path.lookups.host[at]) or role_of(path.rules, &path.lookups.host[at]) != NEITHER:
        return FAKE_NO_HOST
    enter(path, packet, at, expired, until_us, 0)
    report(path, WHITELISTED, True, packet, at, until_us,
           0 if path.contacts == NULL else source_port(packet.data, packet.length))
    if path.rules.meetings.places != NULL and not path.foresees:
        note_meeting(path, packet, at, until_us, False)
    return FAKE_NEW


cdef void renew(Path *path, const Packet *packet, int at, Found *found) noexcept nogil:
    """Restart the time of an entry that has lost an eighth of it, or a minute, where such a packet is to do so.

    At a fake server, a host in a full shard becomes its youngest in any case: it is about to come to a real one.
    """
    cdef int role = path.roles[at] & ROLE, _
    cdef Shard *own = &path.shards[path.own]
    cdef uint64_t until_us = end_of_entry(path, packet.now_us), renewed_us = path.rules.renewed_us[role]
    # What makes it fail is a change by another thread, so look again; it is looked at again by the next packet, too.
    for _ in range(4):
        if renewed_us == 0 or until_of(found.state) > packet.now_us + renewed_us or until_of(found.state) >= until_us:
            break
        if shard_renew(found.shard, found.number, found.state, until_us):
            if found.shard == own:
                shard_touch(own, found.number)
            report(path, RENEWED, True, packet, at, until_us)
            if path.rules.meetings.places != NULL and (role == FAKE or origin_of(found.state) == CONTACT):
                note_meeting(path, packet, at, until_us, (found.state & PROVEN) != 0)
            return
        found.number = shard_find(found.shard, &path.lookups.host[at], path.lookups.hash[at], &found.state)
        if found.number == 0 or until_of(found.state) <= packet.now_us:
            return
    if role == FAKE and is_full(found.shard) and not found.state & PROVEN:
        if found.shard == own:
            shard_touch(own, found.number)
        else:
            shard_mark(found.shard, found.number, found.state, TOUCHED)


cdef void let_in(Path *path, const Packet *packet, int at, uint32_t expired, uint64_t flags) noexcept nogil:
    """Whitelist a host that was refused often enough. `flags` is USED where this SYN is let in."""
    cdef uint64_t until_us = end_of_entry(path, packet.now_us)
    enter(path, packet, at, expired, until_us, flags_of(PATIENCE, flags))
    count_up(&path.rules.patience.shards[path.own].let_in, 1)
    report(path, PATIENT, True, packet, at, until_us)
    if flags:
        report(path, ACCEPTED, True, packet, at, until_us)


cdef inline void tell_refused(Path *path, const Packet *packet, int at, uint16_t port) noexcept nogil:
    cdef uint32_t attempts
    if path.refused == NULL:
        report(path, REFUSED, False, packet, at, 0)
        return
    attempts = refused_note(
        path.refused, &path.lookups.host[at], path.lookups.hash[at], <uint8_t> (path.roles[at] >> NUMBER_SHIFT),
        port, packet.now_us, path.ring.written < path.limit_refused)
    if attempts:
        report(path, REFUSED, False, packet, at, 0, attempts)
        path.pending |= <uint64_t> path.rules.asks << at


cdef Outcome refuse_patiently(Path *path, const Packet *packet, int at, uint32_t expired) noexcept nogil:
    """A refusal that may be the last one that the host needs, or one too many.

    A function of its own: what it needs of registers costs refuse() nothing as long as nobody has patience.
    """
    cdef const Patience_ *rule = &path.rules.patience
    cdef Address key = patience_key(rule, &path.lookups.host[at])
    # fetch_memories() has made most of them.
    cdef uint64_t hash = (path.patience_hash[at] if not path.foresees and path.lookups.number[at] == 0
                          else shard_hash(&path.shards[path.own], &key))
    cdef Patient patient
    cdef uint16_t port
    if path.foresees:
        return REAL_PATIENT if patience_over(rule, &key, hash, packet.now_us) else REAL_REFUSED
    port = source_port(packet.data, packet.length)
    # Before the memory of refused hosts: who comes in here is none.
    patient = patience_note(rule, path.own, &key, hash, port, packet.now_us)
    if patient == IS_IN:
        let_in(path, packet, at, expired, USED)
        return REAL_PATIENT
    tell_refused(path, packet, at, port)
    if patient == COMES_IN:
        # Now, not at its next SYN: a rule of the kernel may have to know it by then.
        let_in(path, packet, at, expired, 0)
        path.pending |= <uint64_t> 1 << at
    return REAL_REFUSED


cdef inline Outcome refuse(Path *path, const Packet *packet, int at, uint32_t expired) noexcept nogil:
    # Programs of this host; from outside the kernel drops such sources ("martian", RFC 1812, 5.3.7).
    if is_loopback(&path.lookups.host[at]) or role_of(path.rules, &path.lookups.host[at]) != NEITHER:
        return OTHER
    if is_lenient(path.leniency, packet.now_us):
        return REAL_UNTOLD
    if path.rules.meetings.places != NULL and path.known_networks[at] and meetings_let_in(
            &path.rules.meetings, &path.lookups.host[at], packet.now_us):
        # No entry is made: its SYN may be made up.
        tell_listed(path, BY_NETWORK, packet, at)
        return REAL_NETWORK
    if path.rules.patience.shards != NULL and is_host(&path.lookups.host[at]):
        return refuse_patiently(path, packet, at, expired)
    tell_refused(path, packet, at, source_port(packet.data, packet.length))
    return REAL_REFUSED


cdef void note_contact(Path *path, int kind, const Packet *packet, int at) noexcept nogil:
    """A listed host meets a fake server again: MET, if it is not known to have connected to a real one, or AGAIN."""
    cdef uint32_t times = refused_note(
        path.contacts, &path.lookups.host[at], path.lookups.hash[at], <uint8_t> MOST_SERVERS,
        source_port(packet.data, packet.length), packet.now_us, path.ring.written < path.limit_refused)
    if times:
        report(path, kind, False, packet, at, source_port(packet.data, packet.length), times)


cdef Outcome decide_rare(Path *path, const Packet *packet, int at) noexcept nogil:
    """Any packet to a server, whatever its source is."""
    cdef Found found = find_source(path, packet.now_us, at)
    if found.shard == NULL:
        return (whitelist(path, packet, at, found.own) if path.roles[at] & ROLE == FAKE
                else refuse(path, packet, at, found.own))
    if path.foresees:
        if path.roles[at] & ROLE == FAKE:
            return FAKE_KNOWN
        return REAL_AGAIN if found.state & USED else REAL_FIRST
    renew(path, packet, at, &found)
    if path.roles[at] & ROLE == FAKE:
        # A SYN to a real server may be made up, a handshake with one may not.
        if path.contacts != NULL:
            if not found.state & PROVEN:
                note_contact(path, MET, packet, at)
            elif until_of(found.state) > packet.now_us + path.rules.told_us:
                note_contact(path, AGAIN, packet, at)
        return FAKE_KNOWN
    if found.number == 0 or found.state & USED or not shard_mark(found.shard, found.number, found.state, USED):
        return REAL_AGAIN
    report(path, ACCEPTED, True, packet, at, until_of(load64(&found.shard.entries[found.number].state, RELAXED)))
    return REAL_FIRST


cdef void tell_listed(Path *path, int kind, const Packet *packet, int at) noexcept nogil:
    """An event for the first packet of a host that a list knows, and one a minute, as of refused hosts."""
    cdef uint32_t attempts = 1
    if path.listed != NULL:
        attempts = refused_note(
            path.listed, &path.lookups.host[at], path.lookups.hash[at], <uint8_t> (path.roles[at] >> NUMBER_SHIFT),
            source_port(packet.data, packet.length), packet.now_us, path.ring.written < path.limit_refused)
    if attempts:
        report(path, kind, False, packet, at, 0, attempts if path.listed != NULL else 0)


cdef Outcome decide_listed(Path *path, const Packet *packet, int at) noexcept nogil:
    """A packet to a server whose source a list denies, or allows at a real server."""
    cdef Found found
    # Programs of this host, which no list shuts out.
    if is_loopback(&path.lookups.host[at]) or role_of(path.rules, &path.lookups.host[at]) != NEITHER:
        return decide_rare(path, packet, at)
    if path.listings[at] == DENIED:
        tell_listed(path, LIST_DENIED, packet, at)
        return FAKE_DENIED if path.roles[at] & ROLE == FAKE else REAL_DENIED
    found = find_source(path, packet.now_us, at)
    if found.shard == NULL:
        tell_listed(path, LIST_ALLOWED, packet, at)
        return REAL_ALLOWED
    if path.foresees:
        return REAL_ALLOWED
    # It is whitelisted as well, and has used that: its entry must not look as if it had not.
    renew(path, packet, at, &found)
    if found.number and not found.state & USED and shard_mark(found.shard, found.number, found.state, USED):
        report(path, ACCEPTED, True, packet, at, until_of(load64(&found.shard.entries[found.number].state, RELAXED)))
    return REAL_ALLOWED


cdef inline Outcome decide_one(
        Path *path, const RuleSet *rules, const Shard *own, bint alone, const Packet *packet, int at) noexcept nogil:
    # The most frequent first; decide_rare() alone would be right, too.
    if path.roles[at] & ROLE == NEITHER:
        if path.parses[at] == PARSE_OK:
            return OTHER
        return NO_SYN if path.parses[at] == PARSE_NO_SYN else decide_malformed(path, packet, path.parses[at])
    # At a fake server it makes no difference that a list allows the source.
    if path.listings[at] != UNLISTED and (path.listings[at] == DENIED or path.roles[at] & ROLE == REAL):
        return decide_listed(path, packet, at)
    if changes_nothing(path, rules, own, packet.now_us, at):
        return FAKE_KNOWN if path.roles[at] & ROLE == FAKE else REAL_AGAIN
    if is_unknown(path, at) and (alone or not path.lookups.elsewhere[at]):
        return refuse(path, packet, at, 0) if path.roles[at] & ROLE == REAL else whitelist(path, packet, at, 0)
    return decide_rare(path, packet, at)


cdef void fetch_memories(Path *path, const RuleSet *rules, int count) noexcept nogil:
    """Of those who may be refused: find of whom a contact may have let the network in, and begin to fetch who waits."""
    cdef int at[<int> BATCH]
    cdef int i, few = 0
    cdef uint32_t strangers = 0
    memset(path.known_networks, 1, sizeof(path.known_networks))
    # Many at a time, by vectors: mostly all hosts of a batch are known.
    for i in range(count):
        strangers |= <uint32_t> (path.lookups.number[i] == 0)
    if strangers == 0:
        return
    for i in range(count):
        at[few] = i
        few += (path.roles[i] & ROLE == REAL) & (path.lookups.number[i] == 0)
    if few == 0:
        return
    if rules.meetings.places != NULL:
        meetings_look_up(&rules.meetings, path.lookups.host, at, few, path.known_networks)
    if rules.patience.shards != NULL and not path.foresees:
        patience_fetch(
            &rules.patience, &path.shards[path.own], path.own, path.lookups.host, path.lookups.hash, at, few,
            path.patience_hash)


cdef void take_over(Path *path) noexcept nogil:
    # Released: the main thread frees the rules before once it finds that this has happened.
    if load_ptr(&path.offered, RELAXED) != NULL:
        path.rules = <RuleSet *> exchange_ptr(&path.offered, NULL, ACQ_REL)


cdef void decide(Path *path, Packet *packets, int count) noexcept nogil:
    cdef const RuleSet *rules
    cdef Shard *own = &path.shards[path.own]
    cdef bint alone = True
    cdef uint64_t outcomes[<int> OUTCOMES]
    # Where a refusal is noted, and who is listed.
    cdef const RefusedShard *noting[2]
    cdef Outcome outcome
    cdef int i
    if count == 0:
        return
    take_over(path)
    rules = path.rules
    parse_packets(packets, count, path.parses, path.lookups.host, path.destinations)
    # Sources of packets to other destinations are looked up as well: they are few, and the loops stay simple.
    shard_hash_all(own, &path.lookups, count)
    for i in range(path.shard_count):
        # An empty shard costs one read.
        if i != path.own and load64(&path.shards[i].size, RELAXED):
            alone = False
            shard_prefetch_all(&path.shards[i], &path.lookups, count)
    # While the memory comes.
    for i in range(count):
        path.roles[i] = role_of(rules, &path.destinations[i])
    if rules.networks != NULL:
        networks_look_up_all(rules.networks, path.lookups.host, count, path.listings)
    else:
        memset(path.listings, UNLISTED, sizeof(path.listings))
    shard_locate_all(own, &path.lookups, count)
    if not alone:
        memset(path.lookups.elsewhere, 0, sizeof(path.lookups.elsewhere))
        for i in range(path.shard_count):
            if i != path.own:
                shard_look_elsewhere(&path.shards[i], &path.lookups, count)

    noting[0] = path.refused
    noting[1] = path.refused if path.listed == NULL else path.listed
    if path.refused != NULL:
        for i in range(count):
            # Of the others the first set, which is in the cache by then: no branch that is predicted wrong.
            refused_prefetch(noting[path.listings[i] != UNLISTED], path.lookups.hash[i] * <uint64_t> (
                (path.roles[i] & ROLE == REAL) & ((path.lookups.number[i] == 0) | (path.listings[i] == DENIED))))

    if (rules.meetings.places != NULL) | (rules.patience.shards != NULL):
        fetch_memories(path, rules, count)

    memset(outcomes, 0, sizeof(outcomes))
    memset(path.added, 0, sizeof(path.added))
    path.pending = 0
    path.limit = ring_limit(path.ring, False)
    path.limit_pressing = ring_limit(path.ring, True)
    path.limit_refused = ring_limit_refused(path.ring)
    for i in range(count):
        outcome = decide_one(path, rules, own, alone, &packets[i], i)
        packets[i].outcome = <uint8_t> outcome
        outcomes[<int> outcome] += 1
    ring_publish(path.ring)
    for i in range(<int> OUTCOMES):
        count_up(&path.outcomes[i], outcomes[i])
    # A batch adds at most `count` entries; taking away twice as many keeps the old ends short.
    shard_expire(own, packets[count - 1].now_us, 2 * count)


# ---- the border to Python

@cython.final
cdef class Fastpath:
    def __cinit__(
            self, Table table not None, Ring ring not None, Rules rules not None, *, shard=0, queue=0,
            Refused refused=None, Refused listed=None, Refused contacts=None):
        table.shard_at(shard)
        if listed is not None:
            self.path.listed = listed.shard_at(shard)
        self.listed = listed
        if contacts is not None:
            self.path.contacts = contacts.shard_at(shard)
        self.contacts = contacts
        self.path.settled[<int> FAKE] = LIVE if contacts is None else PROVEN
        self.path.settled[<int> FAKE + 4] = PROVEN
        self.path.settled[<int> REAL] = self.path.settled[<int> REAL + 4] = USED
        if refused is not None:
            self.path.refused = refused.shard_at(shard)
        self.refused = refused
        self.table = table
        self.ring = ring
        self.path.shards = table.shards
        self.path.shard_count = table.shard_count
        self.path.leniency = table.leniency
        self.path.own = shard
        self.path.queue = queue
        self.path.ring = &ring.state
        self.path.rules = &rules.set
        self.newest = self.before = rules

    def tell_evicted(self):
        self.path.tells_evicted = True

    def publish(self, Rules rules not None):
        if exchange_ptr(&self.path.offered, &rules.set, ACQ_REL) == NULL:
            # It has taken over the newest so far, and is done with those before them.
            self.before = self.newest
        # Else it has not seen the newest so far, and never will. So two sets are enough, whatever it does.
        self.newest = rules

    def take_over(self):
        if self.owned_by_thread:
            raise RuntimeError("a queue thread decides here")
        take_over(&self.path)
        self.before = self.newest

    def decide(self, packets, now_us):
        cdef Packet batch[BATCH]
        cdef bytes packet
        cdef uint64_t now = now_us
        cdef list held = list(packets)
        cdef bytes outcomes = PyBytes_FromStringAndSize(NULL, len(held))
        cdef int first, count, i
        if self.owned_by_thread:
            raise RuntimeError("a queue thread decides here")
        for first in range(0, len(held), BATCH):
            count = min(len(held) - first, <int> BATCH)
            for i in range(count):
                packet = held[first + i]
                batch[i].now_us = now
                batch[i].length = <uint32_t> len(packet)
                batch[i].data = <const uint8_t *> <const char *> packet
            decide(&self.path, batch, count)
            for i in range(count):
                PyBytes_AS_STRING(outcomes)[first + i] = <char> batch[i].outcome
        return outcomes

    def counters(self):
        return {name: load64(&self.path.outcomes[i], RELAXED) for i, name in enumerate(OUTCOME_NAMES)}
