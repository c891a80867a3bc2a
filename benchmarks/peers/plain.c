/* The loop of libnetfilter_queue's manual: one message a recv, one verdict a send. It decides nothing. */
#include <arpa/inet.h>
#include "bind.h"

static struct peer self;

static int callback(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *unused)
{
    uint32_t id = ntohl(nfq_get_msg_packet_hdr(data)->packet_id);
    (void) message;
    (void) unused;
    return nfq_set_verdict(queue, id, verdict_of(&self, id), 0, NULL);
}

int main(int argc, char **argv)
{
    char buffer[4096];
    if (argc != 3)
        return 2;
    self = bind_queue(argv, callback, NULL);
    for (;;) {
        ssize_t length = recv(self.fd, buffer, sizeof buffer, 0);
        if (length < 0)
            fail("recv");
        nfq_handle_packet(self.handle, buffer, (int) length);
    }
}
