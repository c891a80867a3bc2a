/* A model of mxallowd 1.9, from its description: addresses as text, and one linked list that is walked twice a packet,
 * once to take away what is expired and once to find the host.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct candidate { uint64_t time_us; uint32_t length; uint8_t head[60]; };  /* CANDIDATE_SIZE of mxallowd/captures/_capture.pyi */
struct entry { char host[INET6_ADDRSTRLEN]; uint64_t until_us; int used; struct entry *next; };
struct list { struct entry *first; const char *const *fake, *const *real; uint64_t lifetime_us; };

static int listed(const char *const *servers, const char *address)
{
    for (; *servers; servers++)
        if (strcmp(*servers, address) == 0)
            return 1;
    return 0;
}

static void clean(struct list *list, uint64_t now_us)
{
    for (struct entry **at = &list->first; *at;) {
        struct entry *entry = *at;
        if (entry->until_us > now_us) {
            at = &entry->next;
        } else {
            *at = entry->next;
            free(entry);
        }
    }
}

static struct entry *find(struct list *list, const char *host)
{
    for (struct entry *entry = list->first; entry; entry = entry->next)
        if (strcmp(entry->host, host) == 0)
            return entry;
    return NULL;
}

static void add(struct list *list, const char *host, uint64_t until_us)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        abort();
    strcpy(entry->host, host);
    entry->until_us = until_us;
    entry->next = list->first;
    list->first = entry;
}

/* `fake` and `real` end with NULL; `entries` other hosts are there before. Nanoseconds for all candidates; the
 * packets that were dropped are counted. */
uint64_t linear_decide(const char *const *fake, const char *const *real, uint64_t lifetime_us, uint64_t entries,
                       const struct candidate *candidates, uint64_t total, uint64_t *dropped)
{
    struct list list = { NULL, fake, real, lifetime_us };
    struct timespec start, end;
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
    for (uint64_t number = 0; number < entries; number++) {
        uint8_t host[16] = { 1 };
        memcpy(host + 8, &number, 8);
        inet_ntop(AF_INET6, host, source, sizeof source);
        add(&list, source, UINT64_MAX);
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (uint64_t i = 0; i < total; i++) {
        const uint8_t *ip = candidates[i].head;
        int family = ip[0] >> 4 == 4 ? AF_INET : AF_INET6;
        inet_ntop(family, ip + (family == AF_INET ? 12 : 8), source, sizeof source);
        inet_ntop(family, ip + (family == AF_INET ? 16 : 24), destination, sizeof destination);
        clean(&list, candidates[i].time_us);
        struct entry *entry = find(&list, source);
        if (listed(list.fake, destination)) {
            if (entry == NULL)
                add(&list, source, candidates[i].time_us + list.lifetime_us);
        } else if (listed(list.real, destination)) {
            if (entry)
                entry->used = 1;
            else
                ++*dropped;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    clean(&list, UINT64_MAX);
    return (uint64_t) (end.tv_sec - start.tv_sec) * 1000000000 + (uint64_t) (end.tv_nsec - start.tv_nsec);
}
