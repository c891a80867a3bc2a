/* What the C peers share: bind a queue as mxallowd does (length 65,535, a receive buffer that holds it, no ENOBUFS). */
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum verdict { DROP, ACCEPT, MIXED };

struct peer { struct nfq_handle *handle; struct nfq_q_handle *queue; int fd, number; enum verdict verdict; };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* argv: QUEUE drop|accept|mixed */
static struct peer bind_queue(char **argv, nfq_callback *callback, struct peer *self)
{
    struct peer peer = { .handle = nfq_open(), .number = atoi(argv[1]) };
    int one = 1, bytes = 65535 * 1304;
    peer.verdict = strcmp(argv[2], "drop") == 0 ? DROP : strcmp(argv[2], "accept") == 0 ? ACCEPT : MIXED;
    if (peer.handle == NULL)
        fail("nfq_open");
    peer.queue = nfq_create_queue(peer.handle, (uint16_t) peer.number, callback, self);
    if (peer.queue == NULL)
        fail("nfq_create_queue");
    peer.fd = nfq_fd(peer.handle);
    if (nfq_set_mode(peer.queue, NFQNL_COPY_PACKET, 60) < 0 || nfq_set_queue_maxlen(peer.queue, 65535) < 0)
        fail("nfq_set_mode");
    if (setsockopt(peer.fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0
        || setsockopt(peer.fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one) < 0)
        fail("setsockopt");
    puts("ready");
    fflush(stdout);
    return peer;
}

static inline uint32_t verdict_of(const struct peer *peer, uint32_t id)
{
    return peer->verdict == DROP || (peer->verdict == MIXED && id & 1) ? NF_DROP : NF_ACCEPT;
}
