/* The physical limit of a drop: XDP with a hash map of known hosts, and nothing else. A SYN to port 25 of the real server
 * from a host that is not in the map is counted and dropped in front of everything else that the kernel does.
 *
 * Compiled for BPF with REAL4 (a number), REAL6 (four numbers), ENTRIES4 and ENTRIES6: a map is as large as what is in it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { SMTP = 25, TCP = 6, FLAGS = 13, FIN_SYN_RST_ACK = 0x17, SYN = 0x02 };

struct address6 { __u64 high, low; };

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, ENTRIES4); __type(key, __u32); __type(value, __u64); }
    known4 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, ENTRIES6); __type(key, struct address6); __type(value, __u64); }
    known6 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
    refused SEC(".maps");

/* Whether the segment behind an IP header is a SYN to port 25. */
static __always_inline int is_new(const void *data, const void *end)
{
    const struct tcphdr *tcp = data;
    if ((const void *) (tcp + 1) > end || tcp->dest != bpf_htons(SMTP))
        return 0;
    return (((const __u8 *) data)[FLAGS] & FIN_SYN_RST_ACK) == SYN;
}

static __always_inline int drop(void)
{
    __u32 first = 0;
    __u64 *count = bpf_map_lookup_elem(&refused, &first);
    if (count)
        (*count)++;
    return XDP_DROP;
}

static __always_inline int ipv4(const void *data, const void *end)
{
    const struct iphdr *ip = data;
    /* With options it has another length; no SYN of the flood has any. */
    if ((const void *) (ip + 1) > end || ip->protocol != TCP || ip->ihl != 5 || ip->daddr != bpf_htonl(REAL4)
        || !is_new(ip + 1, end))
        return XDP_PASS;
    __u32 source = ip->saddr;
    return bpf_map_lookup_elem(&known4, &source) ? XDP_PASS : drop();
}

static __always_inline int ipv6(const void *data, const void *end)
{
    static const __u32 real[4] = { REAL6 };
    const struct ipv6hdr *ip = data;
    struct address6 source;
    if ((const void *) (ip + 1) > end || ip->nexthdr != TCP || !is_new(ip + 1, end))
        return XDP_PASS;
    for (int i = 0; i < 4; i++)
        if (ip->daddr.in6_u.u6_addr32[i] != bpf_htonl(real[i]))
            return XDP_PASS;
    __builtin_memcpy(&source, &ip->saddr, sizeof source);
    return bpf_map_lookup_elem(&known6, &source) ? XDP_PASS : drop();
}

SEC("xdp") int door(struct xdp_md *packet)
{
    const void *data = (void *) (long) packet->data, *end = (void *) (long) packet->data_end;
    const struct ethhdr *frame = data;
    if ((const void *) (frame + 1) > end)
        return XDP_PASS;
    if (frame->h_proto == bpf_htons(ETH_P_IP))
        return ipv4(frame + 1, end);
    return frame->h_proto == bpf_htons(ETH_P_IPV6) ? ipv6(frame + 1, end) : XDP_PASS;
}

char licence[] SEC("license") = "GPL";
