/* The same decision on the same packets, in C alone: the yardstick of the engine.
 *
 * Everything that costs and that the verdict does not need was left out: no bound on the table, no order of age, nobody
 * else who reads it, no events. One flat array of 32-byte slots (two a cache line), linear probing, at most
 * half of it taken; a keyed multiplicative hash (two 64 x 64 -> 128 bit products), which is faster than SipHash and not
 * proof against an attacker; lookups of 64 packets prefetched together. With -DTAGS a byte of each slot's hash lies in an
 * array of its own, so that most unknown hosts touch no slot: slower while all is in the cache, faster in a large table.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { BATCH = 64, SERVERS = 16 };
enum { FAKE_NEW, FAKE_KNOWN, FAKE_FULL, REAL_FIRST, REAL_AGAIN, REAL_REFUSED, OTHER, MALFORMED, OUTCOMES };

struct address { uint64_t high, low; };
struct slot { struct address host; uint64_t until_us, used; };
struct candidate { uint64_t time_us; uint32_t length; uint8_t head[60]; };  /* CANDIDATE_SIZE of mxallowd/captures/_capture.pyi */
struct server { struct address address; uint64_t fake; };

struct gateway {
    struct slot *slots;
    uint8_t *tags;      /* 0 where the slot is empty */
    uint64_t mask, key[2], lifetime_us, outcomes[OUTCOMES];
    struct server servers[SERVERS];
    int server_count;
};

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static inline uint64_t hash(const struct gateway *g, struct address a)
{
    return fold(fold(a.high ^ g->key[0], a.low ^ g->key[1]), 0x9e3779b97f4a7c15);
}

static inline uint8_t tag_of(uint64_t hashed)
{
    return (uint8_t) (hashed >> 56) | 1;
}

static inline int same(struct address a, struct address b)
{
    return ((a.high ^ b.high) | (a.low ^ b.low)) == 0;
}

static inline int parse(const struct candidate *c, struct address *source, struct address *destination)
{
    if (c->length == 0)
        return 0;
    if (c->head[0] >> 4 == 4) {
        uint32_t header = (c->head[0] & 15) * 4;
        if (header < 20 || c->length < header)
            return 0;
        source->high = destination->high = 0;
        source->low = destination->low = 0xffff0000;
        memcpy((uint8_t *) &source->low + 4, c->head + 12, 4);
        memcpy((uint8_t *) &destination->low + 4, c->head + 16, 4);
        return 1;
    }
    if (c->head[0] >> 4 != 6 || c->length < 40)
        return 0;
    memcpy(source, c->head + 8, 16);
    memcpy(destination, c->head + 24, 16);
    return 1;
}

struct gateway *gateway_new(uint64_t most, uint64_t lifetime_us)
{
    struct gateway *g = calloc(1, sizeof *g);
    uint64_t slots = 64;
    if (g == NULL)
        return NULL;
#ifdef TAGS
    while (slots < most * 5 / 4)
#else
    while (slots < 2 * most)
#endif
        slots *= 2;
    g->slots = mmap(NULL, slots * sizeof *g->slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->slots == MAP_FAILED) {
        free(g);
        return NULL;
    }
    madvise(g->slots, slots * sizeof *g->slots, MADV_HUGEPAGE);
    memset(g->slots, 0, slots * sizeof *g->slots);
    g->tags = mmap(NULL, slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->tags == MAP_FAILED)
        abort();
    madvise(g->tags, slots, MADV_HUGEPAGE);
    memset(g->tags, 0, slots);
    g->mask = slots - 1;
    g->key[0] = 0x243f6a8885a308d3;
    g->key[1] = 0x13198a2e03707344;
    g->lifetime_us = lifetime_us;
    return g;
}

void gateway_free(struct gateway *g)
{
    munmap(g->slots, (g->mask + 1) * sizeof *g->slots);
    munmap(g->tags, g->mask + 1);
    free(g);
}

/* 0: there is no place for more servers. */
int gateway_server(struct gateway *g, const uint8_t *sixteen, int fake)
{
    if (g->server_count == SERVERS)
        return 0;
    memcpy(&g->servers[g->server_count].address, sixteen, 16);
    g->servers[g->server_count++].fake = fake;
    return 1;
}

/* `count` hosts of 100::/64, which no packet comes from. */
void gateway_preload(struct gateway *g, uint64_t count, uint64_t until_us)
{
    struct address host = { 0, 0 };
    *(uint8_t *) &host.high = 1;
    for (uint64_t number = 0; number < count; number++) {
        host.low = number;
        uint64_t hashed = hash(g, host), at = hashed & g->mask;
        while (g->slots[at].until_us)
            at = (at + 1) & g->mask;
        g->tags[at] = tag_of(hashed);
        g->slots[at] = (struct slot) { host, until_us, 0 };
    }
}

/* Decide all candidates; the nanoseconds that took. Slots are never given back: `most` was chosen to hold all. */
uint64_t gateway_decide(struct gateway *g, const struct candidate *candidates, uint64_t total)
{
    struct timespec start, end;
    struct address source[BATCH], destination;
    uint64_t at[BATCH], now_us = 0;
    __attribute__((unused)) uint8_t tag[BATCH];
    uint8_t role[BATCH];    /* an outcome, or: FAKE_NEW to be decided at the fake, REAL_FIRST at the real */
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (uint64_t first = 0; first < total; first += BATCH) {
        int count = total - first < BATCH ? (int) (total - first) : BATCH;
        for (int i = 0; i < count; i++) {
            role[i] = MALFORMED;
            if (!parse(&candidates[first + i], &source[i], &destination))
                continue;
            role[i] = OTHER;
            for (int s = 0; s < g->server_count; s++)
                if (same(destination, g->servers[s].address)) {
                    role[i] = g->servers[s].fake ? FAKE_NEW : REAL_FIRST;
                    uint64_t hashed = hash(g, source[i]);
                    at[i] = hashed & g->mask;
                    tag[i] = tag_of(hashed);
#ifdef TAGS
                    __builtin_prefetch(&g->tags[at[i]]);
#else
                    __builtin_prefetch(&g->slots[at[i]]);
#endif
                    break;
                }
        }
#ifdef TAGS
        for (int i = 0; i < count; i++)
            if (role[i] == FAKE_NEW || role[i] == REAL_FIRST) {
                while (g->tags[at[i]] && g->tags[at[i]] != tag[i])
                    at[i] = (at[i] + 1) & g->mask;
                if (g->tags[at[i]] || role[i] == FAKE_NEW)
                    __builtin_prefetch(&g->slots[at[i]]);
            }
#endif
        for (int i = 0; i < count; i++) {
            int outcome = role[i];
            struct slot *slot;
            if (candidates[first + i].time_us > now_us)
                now_us = candidates[first + i].time_us;
            if (outcome != FAKE_NEW && outcome != REAL_FIRST) {
                g->outcomes[outcome]++;
                continue;
            }
#ifdef TAGS
            while (slot = &g->slots[at[i]], g->tags[at[i]] && (g->tags[at[i]] != tag[i] || !same(slot->host, source[i])))
                at[i] = (at[i] + 1) & g->mask;
            if (g->tags[at[i]] == 0 && outcome == REAL_FIRST) {
                g->outcomes[REAL_REFUSED]++;
                continue;
            }
            g->tags[at[i]] = tag[i];
#else
            while (slot = &g->slots[at[i]], slot->until_us && !same(slot->host, source[i]))
                at[i] = (at[i] + 1) & g->mask;
#endif
            if (outcome == FAKE_NEW) {
                if (slot->until_us > now_us)
                    outcome = FAKE_KNOWN;
                else
                    *slot = (struct slot) { source[i], now_us + g->lifetime_us, 0 };
            } else if (slot->until_us <= now_us) {
                outcome = REAL_REFUSED;
            } else {
                outcome = slot->used ? REAL_AGAIN : REAL_FIRST;
                slot->used = 1;
            }
            g->outcomes[outcome]++;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (uint64_t) (end.tv_sec - start.tv_sec) * 1000000000 + (uint64_t) (end.tv_nsec - start.tv_nsec);
}

const uint64_t *gateway_outcomes(const struct gateway *g)
{
    return g->outcomes;
}
