/* The limit: what the kernel lets through when nothing is decided. recvmmsg of 64, the id is all that is read, and the
 * verdicts of a batch go out in one send, a run of equal ones as one NFQNL_MSG_VERDICT_BATCH.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include "bind.h"
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>

enum { BATCH = 64, BUFFER = 1024 };

struct message {
    struct nlmsghdr header;
    struct nfgenmsg generic;
    struct nlattr attribute;
    struct nfqnl_msg_verdict_hdr verdict;
};

static int callback(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *unused)
{
    (void) queue, (void) message, (void) data, (void) unused;
    return 0;
}

/* The packet header is the first attribute that the kernel writes. */
static uint32_t id_of(const char *buffer)
{
    const struct nfqnl_msg_packet_hdr *header = (const void *)
        (buffer + sizeof(struct nlmsghdr) + sizeof(struct nfgenmsg) + sizeof(struct nlattr));
    return ntohl(header->packet_id);
}

int main(int argc, char **argv)
{
    static char buffers[BATCH][BUFFER];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
    struct message out[BATCH];
    struct peer self;
    if (argc != 3)
        return 2;
    self = bind_queue(argv, callback, NULL);
    memset(messages, 0, sizeof messages);
    memset(out, 0, sizeof out);
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec) { buffers[i], BUFFER };
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        out[i].header.nlmsg_len = sizeof out[i];
        out[i].header.nlmsg_flags = NLM_F_REQUEST;
        out[i].generic.res_id = htons((uint16_t) self.number);
        out[i].attribute.nla_len = sizeof(struct nlattr) + sizeof(struct nfqnl_msg_verdict_hdr);
        out[i].attribute.nla_type = NFQA_VERDICT_HDR;
    }
    for (;;) {
        int received = recvmmsg(self.fd, messages, BATCH, MSG_WAITFORONE, NULL), filled = 0;
        uint32_t last = 0;
        if (received < 0)
            fail("recvmmsg");
        for (int i = 0; i < received; i++) {
            const struct nlmsghdr *header = (const void *) buffers[i];
            uint32_t id, verdict;
            if (header->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
                continue;
            id = id_of(buffers[i]);
            verdict = htonl(verdict_of(&self, id));
            if (filled == 0 || verdict != last) {
                out[filled].header.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT;
                filled++;
            } else {
                out[filled - 1].header.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT_BATCH;
            }
            out[filled - 1].verdict.verdict = last = verdict;
            out[filled - 1].verdict.id = htonl(id);
        }
        if (filled && send(self.fd, out, filled * sizeof *out, 0) < 0)
            fail("send");
    }
}
