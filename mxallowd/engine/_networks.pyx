"""Networks of the lists: see _networks.pxd for what holds where several do, and for the form."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from mxallowd.engine._address cimport Address, is_mapped
from mxallowd.engine._packet cimport BATCH
from mxallowd.engine.c_atomic cimport prefetch

cdef enum:
    # More of them for IPv4 were slower: sources that no list knows are spread over its whole index.
    BITS4 = 18
    BITS6 = 20
    BUCKETS4 = 1 << BITS4
    BUCKETS6 = 1 << BITS6
    SHIFT4 = 32 - BITS4
    # Global unicast addresses have the same three bits in front (RFC 4291, 2.4): 2000::/3.
    SHIFT6 = 64 - 3 - BITS6
    NUMBER = (1 << SAID_SHIFT) - 1
    DEEPEST = 130               # networks that hold one another: one of each length, and what is below them

RECORD_SIZE = sizeof(Record)
MOST_NETWORKS = 1 << 24


cdef extern from * nogil:
    """
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define MXALLOWD_HOST64(word) __builtin_bswap64(word)
    #define MXALLOWD_HOST32(word) __builtin_bswap32(word)
    #else
    #define MXALLOWD_HOST64(word) (word)
    #define MXALLOWD_HOST32(word) (word)
    #endif
    """
    uint64_t host64 "MXALLOWD_HOST64"(uint64_t word) noexcept
    uint32_t host32 "MXALLOWD_HOST32"(uint32_t word) noexcept


cdef packed struct Record:
    uint8_t address[16]
    uint8_t length              # of the prefix of 128 bits: 96 more than that of IPv4
    uint8_t denied


cdef struct Network:
    u128 first
    u128 last
    uint32_t rule
    uint8_t length


cdef struct Range:
    u128 start
    uint32_t rule


cdef struct Laid:               # the ranges under way
    Range *ranges
    uint64_t count


# ---- numbers of addresses

cdef inline u128 number_of(const uint8_t *sixteen) noexcept nogil:
    cdef uint64_t words[2]
    memcpy(words, sixteen, 16)
    return <u128> host64(words[0]) << 64 | host64(words[1])


cdef inline u128 mask_behind(int length) noexcept nogil:
    """The bits behind a prefix of this length."""
    return <u128> 0 if length >= 128 else (~<u128> 0) >> length


cdef inline uint32_t four_of(const Address *address) noexcept nogil:
    cdef uint32_t word = 0
    memcpy(&word, <const uint8_t *> address + 12, 4)
    return host32(word)


cdef inline uint32_t bucket6(uint64_t high) noexcept nogil:
    cdef uint64_t bits = high >> SHIFT6
    # What is outside of 2000::/3 is searched with the first or the last bucket.
    bits = bits if bits > <uint64_t> BUCKETS6 else <uint64_t> BUCKETS6
    bits = bits if bits < <uint64_t> (2 * BUCKETS6 - 1) else <uint64_t> (2 * BUCKETS6 - 1)
    return <uint32_t> (bits - <uint64_t> BUCKETS6)


cdef inline uint8_t said_by(uint32_t rule) noexcept nogil:
    return <uint8_t> ((rule != 0) + (rule & 1))


# ---- laying out

cdef int compare(const void *left, const void *right) noexcept nogil:
    """By first address, then the longer prefix later, then deny later, then the earlier rule later: the last holds."""
    cdef const Network *one = <const Network *> left
    cdef const Network *other = <const Network *> right
    if one.first != other.first:
        return -1 if one.first < other.first else 1
    if one.length != other.length:
        return -1 if one.length < other.length else 1
    if (one.rule & 1) != (other.rule & 1):
        return -1 if (one.rule & 1) < (other.rule & 1) else 1
    return -1 if one.rule > other.rule else 1


cdef inline void begin_range(Laid *laid, u128 start, uint32_t rule) noexcept nogil:
    if laid.count and laid.ranges[laid.count - 1].start == start:
        laid.count -= 1
    if laid.count and laid.ranges[laid.count - 1].rule == rule:
        return
    laid.ranges[laid.count].start = start
    laid.ranges[laid.count].rule = rule
    laid.count += 1


cdef void lay(Laid *laid, Network *networks, uint64_t count, u128 first, u128 last) noexcept nogil:
    """The ranges of a family from `first` to `last`; there must be room for two a network and one."""
    cdef const Network *holding[<int> DEEPEST]  # those that hold the address under way, the longest last
    cdef Network family
    cdef int depth = 0
    cdef uint64_t i
    cdef u128 end
    laid.count = 0
    qsort(networks, count, sizeof(Network), compare)
    family.first = first
    family.last = last
    family.rule = 0
    holding[0] = &family
    begin_range(laid, first, 0)
    for i in range(count):
        while holding[depth].last < networks[i].first:
            end = holding[depth].last
            depth -= 1
            begin_range(laid, end + 1, holding[depth].rule)
        if holding[depth].first != networks[i].first or holding[depth].last != networks[i].last:
            depth += 1
        holding[depth] = &networks[i]
        begin_range(laid, networks[i].first, networks[i].rule)
    while holding[depth].last < last:
        end = holding[depth].last
        depth -= 1
        begin_range(laid, end + 1, holding[depth].rule)


cdef inline bint is_of_ipv4(const Record *record) noexcept nogil:
    cdef Address address
    memcpy(&address, record.address, 16)
    return record.length >= 96 and is_mapped(&address)


cdef uint64_t take_family(
        Network *networks, const Record *records, uint64_t count, bint ipv4) noexcept nogil:
    """The networks of one family, their bits behind the prefix cleared; how many they are."""
    cdef uint64_t i, taken = 0
    cdef u128 behind
    for i in range(count):
        if is_of_ipv4(&records[i]) != ipv4:
            continue
        behind = mask_behind(records[i].length)
        networks[taken].first = number_of(records[i].address) & ~behind
        networks[taken].last = networks[taken].first | behind
        networks[taken].length = records[i].length
        networks[taken].rule = <uint32_t> (i + 1) << 1 | (records[i].denied != 0)
        taken += 1
    return taken


cdef bint keep4(NetworkSet *made, const Laid *laid) noexcept nogil:
    cdef uint64_t i
    cdef uint32_t bucket, at = 0
    made.starts4 = <uint32_t *> malloc(laid.count * sizeof(uint32_t))
    made.rules4 = <uint32_t *> malloc(laid.count * sizeof(uint32_t))
    made.said4 = <uint8_t *> malloc(laid.count)
    made.index4 = <uint32_t *> malloc((<int> BUCKETS4 + 1) * sizeof(uint32_t))
    if made.starts4 == NULL or made.rules4 == NULL or made.said4 == NULL or made.index4 == NULL:
        return False
    made.count4 = <uint32_t> laid.count
    for i in range(laid.count):
        made.starts4[i] = <uint32_t> laid.ranges[i].start
        made.rules4[i] = laid.ranges[i].rule
        made.said4[i] = said_by(laid.ranges[i].rule)
    for bucket in range(<uint32_t> BUCKETS4):
        while at + 1 < made.count4 and made.starts4[at + 1] <= bucket << SHIFT4:
            at += 1
        made.index4[bucket] = at | <uint32_t> made.said4[at] << SAID_SHIFT
    made.index4[<int> BUCKETS4] = made.count4 - 1
    return True


cdef bint keep6(NetworkSet *made, const Laid *laid) noexcept nogil:
    cdef uint64_t i
    cdef uint32_t bucket, at = 0
    made.starts6 = <u128 *> malloc(laid.count * sizeof(u128))
    made.rules6 = <uint32_t *> malloc(laid.count * sizeof(uint32_t))
    made.highs6 = <uint64_t *> malloc(laid.count * sizeof(uint64_t))
    made.said6 = <uint8_t *> malloc(laid.count)
    made.index6 = <uint32_t *> malloc((<int> BUCKETS6 + 1) * sizeof(uint32_t))
    if (made.starts6 == NULL or made.rules6 == NULL or made.highs6 == NULL or made.said6 == NULL
            or made.index6 == NULL):
        return False
    made.count6 = <uint32_t> laid.count
    for i in range(laid.count):
        made.starts6[i] = laid.ranges[i].start
        made.rules6[i] = laid.ranges[i].rule
        made.highs6[i] = <uint64_t> (laid.ranges[i].start >> 64)
        made.said6[i] = said_by(laid.ranges[i].rule) | (BEHIND if <uint64_t> laid.ranges[i].start else 0)
    made.index6[0] = <uint32_t> (made.said6[0] & (BEHIND - 1)) << SAID_SHIFT
    for bucket in range(1, <uint32_t> BUCKETS6):
        while at + 1 < made.count6 and made.starts6[at + 1] <= <u128> (BUCKETS6 + bucket) << (64 + SHIFT6):
            at += 1
        made.index6[bucket] = at | <uint32_t> (made.said6[at] & (BEHIND - 1)) << SAID_SHIFT
    made.index6[<int> BUCKETS6] = made.count6 - 1
    return True


cdef bint build(NetworkSet *made, const Record *records, uint64_t count) noexcept nogil:
    """Make the set of these records. False: there is no memory for it."""
    cdef Network *networks = <Network *> malloc((count + 1) * sizeof(Network))
    cdef u128 mapped = (<u128> 0xffff) << 32    # RFC 4291, 2.5.5.2
    cdef Laid laid
    cdef bint done = False
    laid.count = 0
    laid.ranges = <Range *> malloc((2 * count + 1) * sizeof(Range))
    if networks != NULL and laid.ranges != NULL:
        lay(&laid, networks, take_family(networks, records, count, True), mapped, mapped | mask_behind(96))
        done = keep4(made, &laid)
        if done:
            lay(&laid, networks, take_family(networks, records, count, False), 0, ~<u128> 0)
            done = keep6(made, &laid)
    free(networks)
    free(laid.ranges)
    return done


# ---- looking up

cdef inline uint32_t search4(const NetworkSet *networks, uint32_t address) noexcept nogil:
    cdef uint32_t at = networks.index4[address >> SHIFT4] & NUMBER
    cdef uint32_t count = (networks.index4[(address >> SHIFT4) + 1] & NUMBER) - at + 1, half
    while count > 1:
        half = count >> 1
        at += half & -<uint32_t> (networks.starts4[at + half] <= address)
        count -= half
    return networks.rules4[at]


cdef inline uint32_t search6(const NetworkSet *networks, uint64_t high, uint64_t low) noexcept nogil:
    cdef uint32_t bucket = bucket6(high), at = networks.index6[bucket] & NUMBER
    cdef uint32_t count = (networks.index6[bucket + 1] & NUMBER) - at + 1, half
    cdef u128 address = <u128> high << 64 | low
    while count > 1:
        half = count >> 1
        at += half & -<uint32_t> (networks.starts6[at + half] <= address)
        count -= half
    return at


cdef inline uint32_t behind(const NetworkSet *networks, uint32_t last, uint64_t high, uint64_t low) noexcept nogil:
    """The range of an address, where `last` is the last one that begins in its /64 or before it."""
    cdef u128 address = <u128> high << 64 | low
    cdef int tries = 4
    # Mostly that one or one of its neighbours; the first range of all begins with 0.
    while tries and networks.starts6[last] > address:
        last -= 1
        tries -= 1
    return last if networks.starts6[last] <= address else search6(networks, high, low)


# The same for a batch, step by step for all of its addresses: neither family nor size of a bucket decides a branch, and
# memory that is waited for is that of many addresses at once. What the index alone answers is left out of the steps.

cdef inline uint32_t deeper(uint32_t entry, uint32_t following) noexcept nogil:
    """How many ranges begin in a bucket."""
    return (following & NUMBER) - (entry & NUMBER)


cdef void search_all4(
        const NetworkSet *networks, const uint32_t *addresses, const uint8_t *places, int number,
        uint8_t *listed) noexcept nogil:
    cdef uint32_t at[<int> BATCH]
    cdef uint32_t count[<int> BATCH]
    cdef uint32_t words[<int> BATCH]
    cdef uint8_t deep[<int> BATCH]
    cdef uint32_t widest = 0, half, entry, more
    cdef int i, left = 0
    for i in range(number):
        entry = networks.index4[addresses[i] >> SHIFT4]
        more = deeper(entry, networks.index4[(addresses[i] >> SHIFT4) + 1])
        listed[places[i]] = <uint8_t> (entry >> SAID_SHIFT)
        at[left] = entry & NUMBER
        count[left] = more + 1
        words[left] = addresses[i]
        deep[left] = places[i]
        left += more != 0
        widest |= more
    for i in range(left):
        prefetch(&networks.starts4[at[i] + (count[i] >> 1)])
        prefetch(&networks.said4[at[i] + (count[i] >> 1)])
    while widest:
        for i in range(left):
            half = count[i] >> 1
            at[i] += half & -<uint32_t> (networks.starts4[at[i] + half] <= words[i])
            count[i] -= half
        widest >>= 1
    for i in range(left):
        listed[deep[i]] = networks.said4[at[i]]


cdef void search_all6(
        const NetworkSet *networks, const uint64_t *highs, const Address *addresses, const uint8_t *places, int number,
        uint8_t *listed) noexcept nogil:
    cdef uint32_t at[<int> BATCH]
    cdef uint32_t count[<int> BATCH]
    cdef uint64_t words[<int> BATCH]
    cdef uint8_t deep[<int> BATCH]
    cdef uint32_t widest = 0, half, entry, more, bucket
    cdef int i, left = 0
    for i in range(number):
        bucket = bucket6(highs[i])
        entry = networks.index6[bucket]
        more = deeper(entry, networks.index6[bucket + 1])
        listed[places[i]] = <uint8_t> (entry >> SAID_SHIFT)
        at[left] = entry & NUMBER
        count[left] = more + 1
        words[left] = highs[i]
        deep[left] = places[i]
        left += more != 0
        widest |= more
    for i in range(left):
        prefetch(&networks.highs6[at[i] + (count[i] >> 1)])
        prefetch(&networks.said6[at[i] + (count[i] >> 1)])
    while widest:
        for i in range(left):
            half = count[i] >> 1
            at[i] += half & -<uint32_t> (networks.highs6[at[i] + half] <= words[i])
            count[i] -= half
        widest >>= 1
    for i in range(left):
        # Nearly all networks are whole /64s, so that upper halves decide.
        if networks.said6[at[i]] & BEHIND and networks.highs6[at[i]] == words[i]:
            at[i] = behind(networks, at[i], words[i], host64(addresses[deep[i]].low))
        listed[deep[i]] = networks.said6[at[i]] & (BEHIND - 1)


cdef void networks_look_up_all(
        const NetworkSet *networks, const Address *addresses, int count, uint8_t *listed) noexcept nogil:
    cdef uint32_t four[<int> BATCH]
    cdef uint64_t sixteen[<int> BATCH]
    cdef uint8_t places4[<int> BATCH]
    cdef uint8_t places6[<int> BATCH]
    cdef uint64_t high
    cdef int number4 = 0, number6 = 0, i
    cdef bint ipv4
    for i in range(count):
        ipv4 = (addresses[i].high | (host64(addresses[i].low) >> 32 ^ 0xffff)) == 0
        high = host64(addresses[i].high)
        # Each is written at both ends, and one of them moves on: no branch on the family.
        four[number4] = <uint32_t> host64(addresses[i].low)
        sixteen[number6] = high
        places4[number4] = places6[number6] = <uint8_t> i
        number4 += ipv4
        number6 += not ipv4
        prefetch(&networks.index4[<uint32_t> host64(addresses[i].low) >> SHIFT4] if ipv4
                 else &networks.index6[bucket6(high)])
    search_all4(networks, four, places4, number4, listed)
    search_all6(networks, sixteen, addresses, places6, number6, listed)


# ---- the border to Python

cdef void put4(uint8_t *out, u128 first, u128 last) noexcept nogil:
    cdef uint32_t words[2]
    words[0] = host32(<uint32_t> first)
    words[1] = host32(<uint32_t> last)
    memcpy(out, words, 8)


cdef void put6(uint8_t *out, u128 first, u128 last) noexcept nogil:
    cdef uint64_t words[4]
    words[0] = host64(<uint64_t> (first >> 64))
    words[1] = host64(<uint64_t> first)
    words[2] = host64(<uint64_t> (last >> 64))
    words[3] = host64(<uint64_t> last)
    memcpy(out, words, 32)


cdef uint64_t join(const NetworkSet *made, bint ipv4, uint8_t said, uint8_t *out) noexcept nogil:
    """Write the ranges of which the lists say this, neighbours as one; how many they are. NULL: only count them."""
    cdef uint32_t count = made.count4 if ipv4 else made.count6, i
    cdef u128 start = 0, end
    cdef uint64_t joined = 0
    cdef bint open = False, holds
    for i in range(count + 1):
        holds = i < count and said_by(made.rules4[i] if ipv4 else made.rules6[i]) == said
        if holds and not open:
            start = <u128> made.starts4[i] if ipv4 else made.starts6[i]
        if open and not holds:
            if i == count:
                end = <u128> 0xffffffff if ipv4 else ~<u128> 0
            else:
                end = (<u128> made.starts4[i] if ipv4 else made.starts6[i]) - 1
            if out != NULL:
                if ipv4:
                    put4(out + joined * 8, start, end)
                else:
                    put6(out + joined * 32, start, end)
            joined += 1
        open = holds
    return joined


@cython.final
cdef class Networks:
    def __cinit__(self, bytes records not None):
        cdef const Record *record = <const Record *> PyBytes_AS_STRING(records)
        cdef Py_ssize_t i, count = len(records) // <Py_ssize_t> sizeof(Record)
        if len(records) % <Py_ssize_t> sizeof(Record):
            raise ValueError(f"a record has {RECORD_SIZE} bytes")
        if count > MOST_NETWORKS:
            raise ValueError(f"more than {MOST_NETWORKS} networks")
        for i in range(count):
            if record[i].length > 128:
                raise ValueError(f"a prefix has 0 to 128 bits, not {record[i].length}")
        self.records = records
        self.lay_out()

    cdef int lay_out(self) except -1:
        cdef const Record *record = <const Record *> PyBytes_AS_STRING(self.records)
        cdef uint64_t count = len(self.records) // <Py_ssize_t> sizeof(Record)
        cdef bint done
        # Some 20 ms for 100,000: nobody waits for the interpreter meanwhile.
        with nogil:
            done = build(&self.set, record, count)
        if not done:
            raise MemoryError()
        return 0

    cdef uint32_t rule_of(self, bytes address) except? 0:
        cdef Address words
        if len(address) != 16:
            raise ValueError("an address is 16 bytes")
        memcpy(&words, PyBytes_AS_STRING(address), 16)
        if is_mapped(&words):
            return search4(&self.set, four_of(&words))
        return self.set.rules6[search6(&self.set, host64(words.high), host64(words.low))]

    def find(self, bytes address not None):
        cdef uint32_t rule = self.rule_of(address)
        return None if rule == 0 else (rule >> 1) - 1

    def look_up(self, bytes addresses not None):
        cdef Py_ssize_t first = 0, count = len(addresses) // 16
        cdef bytes listed = PyBytes_FromStringAndSize(NULL, count)
        cdef const char *each = PyBytes_AS_STRING(addresses)
        cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(listed)
        cdef Address batch[<int> BATCH]
        cdef int some
        if len(addresses) % 16:
            raise ValueError("an address is 16 bytes")
        with nogil:
            while first < count:
                some = <int> min(count - first, <Py_ssize_t> BATCH)
                memcpy(batch, each + 16 * first, 16 * some)
                networks_look_up_all(&self.set, batch, some, out + first)
                first += some
        return listed

    def overlapping(self, bytes first not None, bytes last not None, most):
        return self.overlapping_from(first, last, 0, MOST_NETWORKS, most)[0]

    def overlapping_from(self, bytes first not None, bytes last not None, start, budget, most):
        cdef const Record *record = <const Record *> PyBytes_AS_STRING(self.records)
        cdef uint64_t i = start, count = len(self.records) // <Py_ssize_t> sizeof(Record), bound = most, found = 0
        cdef uint64_t looked_at = budget
        cdef uint32_t *numbers
        cdef u128 low, high, network, behind
        cdef bint ipv4
        cdef Address words
        if len(first) != 16 or len(last) != 16:
            raise ValueError("an address is 16 bytes")
        if not 0 < bound <= 4096:
            raise ValueError("1 to 4096 networks are named")
        numbers = <uint32_t *> malloc(bound * sizeof(uint32_t))
        if numbers == NULL:
            raise MemoryError()
        low = number_of(<const uint8_t *> PyBytes_AS_STRING(first))
        high = number_of(<const uint8_t *> PyBytes_AS_STRING(last))
        memcpy(&words, PyBytes_AS_STRING(first), 16)
        ipv4 = is_mapped(&words) and (low >> 32) == (high >> 32)
        with nogil:
            while i < count and found < bound and looked_at > 0:
                looked_at -= 1
                behind = mask_behind(record[i].length)
                network = number_of(record[i].address) & ~behind
                if network <= high and (network | behind) >= low and is_of_ipv4(&record[i]) == ipv4:
                    numbers[found] = <uint32_t> i
                    found += 1
                i += 1
        try:
            return [numbers[at] for at in range(<int> found)], (i if i < count else 0)
        finally:
            free(numbers)

    def deciding(self, bytes first not None, bytes last not None, *, bint denied, int most):
        cdef NetworkSet *held = &self.set
        cdef u128 low, high
        cdef bint ipv4
        cdef uint8_t said = DENIED if denied else ALLOWED
        cdef uint32_t at = 0, behind, middle, count
        cdef uint32_t rule
        cdef Address words
        cdef list found = []
        if len(first) != 16 or len(last) != 16:
            raise ValueError("an address is 16 bytes")
        low = number_of(<const uint8_t *> PyBytes_AS_STRING(first))
        high = number_of(<const uint8_t *> PyBytes_AS_STRING(last))
        memcpy(&words, PyBytes_AS_STRING(first), 16)
        ipv4 = is_mapped(&words) and (low >> 32) == (high >> 32)
        if ipv4:
            low, high = <uint32_t> low, <uint32_t> high
        # The last range that begins at or before the first address; the first of all ranges begins at 0.
        count = held.count4 if ipv4 else held.count6
        behind = count
        while behind - at > 1:
            middle = (at + behind) // 2
            if (<u128> held.starts4[middle] if ipv4 else held.starts6[middle]) <= low:
                at = middle
            else:
                behind = middle
        while len(found) < most:
            with nogil:
                while at < count and (<u128> held.starts4[at] if ipv4 else held.starts6[at]) <= high:
                    rule = held.rules4[at] if ipv4 else held.rules6[at]
                    if said_by(rule) == said:
                        break
                    at += 1
                else:
                    rule = 0
            if rule == 0:
                break
            if (rule >> 1) - 1 not in found:
                found.append((rule >> 1) - 1)
            at += 1
        return found

    def ranges(self, version, *, bint denied):
        cdef bint ipv4 = version == 4
        cdef uint8_t said = DENIED if denied else ALLOWED
        cdef uint64_t count
        cdef bytes out
        cdef uint8_t *to
        if version not in (4, 6):
            raise ValueError(f"there is no IP of version {version}")
        with nogil:
            count = join(&self.set, ipv4, said, NULL)
        out = PyBytes_FromStringAndSize(NULL, count * (8 if ipv4 else 32))
        to = <uint8_t *> PyBytes_AS_STRING(out)
        with nogil:
            join(&self.set, ipv4, said, to)
        return out

    def memory(self):
        return ((<int> BUCKETS4 + <int> BUCKETS6 + 2) * sizeof(uint32_t) + self.set.count4 * (2 * sizeof(uint32_t) + 1)
                + self.set.count6 * (sizeof(u128) + sizeof(uint64_t) + sizeof(uint32_t) + 1) + len(self.records))

    def __len__(self):
        return len(self.records) // <Py_ssize_t> sizeof(Record)

    def __dealloc__(self):
        free(self.set.index4)
        free(self.set.index6)
        free(self.set.starts4)
        free(self.set.rules4)
        free(self.set.said4)
        free(self.set.highs6)
        free(self.set.said6)
        free(self.set.starts6)
        free(self.set.rules6)
