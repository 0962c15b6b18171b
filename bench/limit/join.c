/* Together: frames in order of their flows, and like ones of a flow as one super-datagram. */
#include "limit.h"

#include <arpa/inet.h>
#include <string.h>

enum { SLOTS = 32768 }; /* more than a batch has frames, a power of two */

struct flow {
    uint32_t generation, source, group;
    unsigned first, last;
};

/* Sum of addresses, protocol and length: what a sender leaves in the checksum field for others to finish. */
uint16_t seed(const struct iphdr *ip, unsigned udp_length)
{
    uint64_t sum = (uint64_t)ip->saddr + ip->daddr + htons(IPPROTO_UDP) + htons(udp_length);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static struct flow *find(const struct iphdr *ip, unsigned generation)
{
    static struct flow table[SLOTS];
    unsigned at = (ip->saddr * 0x9e3779b1u ^ ip->daddr * 0x85ebca6bu) >> 17;
    while (table[at].generation == generation && (table[at].source != ip->saddr || table[at].group != ip->daddr))
        at = (at + 1) % SLOTS;
    return &table[at];
}

/* Flows in the order in which they come, frames of each in theirs. */
void sort_by_flow(struct batch *batch)
{
    static struct frame unsorted[MOST];
    static struct flow *flows[MOST];
    static unsigned next[MOST], generation; /* a slot of another generation is empty: no table is ever cleared */
    memcpy(unsorted, batch->frames, batch->count * sizeof *unsorted);
    generation++;
    batch->flows = 0;
    for (unsigned i = 0; i < batch->count; i++) {
        const struct iphdr *ip = &unsorted[i].head->ip;
        struct flow *flow = find(ip, generation);
        if (flow->generation != generation) {
            *flow = (struct flow){generation, ip->saddr, ip->daddr, i, i};
            flows[batch->flows++] = flow;
        }
        next[flow->last] = i;
        flow->last = i;
        next[i] = MOST;
    }
    struct frame *to = batch->frames;
    for (unsigned f = 0; f < batch->flows; f++)
        for (unsigned i = flows[f]->first; i != MOST; i = next[i])
            *to++ = unsorted[i];
}

/* Whether datagram `b` may come behind `a` in a super-datagram that `first` begins: alike but for ID and checksums, the
 * last one shorter at most; IDs in order unless they mean nothing, since segmentation counts on from the first. */
static bool follows(const struct head *first, const struct head *a, const struct head *b)
{
    return a->ip.tot_len == first->ip.tot_len && ntohs(b->ip.tot_len) <= ntohs(a->ip.tot_len) &&
           a->ip.saddr == b->ip.saddr && a->ip.daddr == b->ip.daddr && a->udp.source == b->udp.source &&
           a->udp.dest == b->udp.dest && a->ip.tos == b->ip.tos && a->ip.ttl == b->ip.ttl &&
           a->ip.frag_off == b->ip.frag_off &&
           (a->ip.frag_off & htons(IP_DF) || (uint16_t)(ntohs(b->ip.id) - ntohs(a->ip.id)) == 1);
}

/* How many frames from `first` on, at most `left`, leave together, and the octets of their payload. */
static unsigned run(const struct frame *first, unsigned left, unsigned *payload)
{
    unsigned n = 1;
    *payload = ntohs(first->head->ip.tot_len) - HEADERS;
    for (; first->trusted && n < left && n < SEGMENTS && first[n].trusted; n++) {
        unsigned more = ntohs(first[n].head->ip.tot_len) - HEADERS;
        if (*payload + more > PAYLOAD || !follows(first->head, first[n - 1].head, first[n].head))
            break;
        *payload += more;
    }
    return n;
}

/* The header checksum after one 16-bit word changed (RFC 1624 equation 3). */
static uint16_t adjusted(uint16_t check, uint16_t before, uint16_t after)
{
    uint32_t sum = (uint16_t)~check + (uint16_t)~before + after;
    sum = (sum & 0xffff) + (sum >> 16);
    return ~(sum + (sum >> 16));
}

static void rewrite(struct head *h)
{
    const uint8_t *group = (const uint8_t *)&h->ip.daddr;
    const uint8_t destination[6] = {1, 0, 0x5e, group[1] & 127, group[2], group[3]};
    uint16_t before, after;
    memcpy(h->destination, destination, sizeof destination);
    memcpy(&before, &h->ip.ttl, 2);
    h->ip.ttl--;
    memcpy(&after, &h->ip.ttl, 2);
    h->ip.check = adjusted(h->ip.check, before, after);
}

static void make_super(struct head *h, unsigned payload)
{
    uint16_t length = htons(payload + HEADERS);
    h->vnet = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
                                      .hdr_len = CSUM_START + 8, .gso_size = ntohs(h->ip.tot_len) - HEADERS,
                                      .csum_start = CSUM_START, .csum_offset = CSUM_OFFSET};
    h->ip.check = adjusted(h->ip.check, h->ip.tot_len, length);
    h->ip.tot_len = length;
    h->udp.len = htons(payload + 8);
    h->udp.check = seed(&h->ip, payload + 8);
}

/* A super-frame that came as one counts as its datagrams. */
static unsigned datagrams_in(const struct head *h)
{
    unsigned size = h->vnet.gso_size;
    return h->vnet.gso_type && size ? (ntohs(h->ip.tot_len) - HEADERS + size - 1) / size : 1;
}

/* A message is a header block and the payload of each frame of a run. A frame by itself goes as it is from behind its
 * IPv4 header on, whatever it is. */
void build(struct messages *to, const struct batch *batch)
{
    struct iovec *iov = to->iov;
    unsigned payload, n;
    to->count = to->total = 0;
    for (unsigned i = 0; i < batch->count; i += n) {
        struct head *h = &to->heads[to->count];
        n = run(&batch->frames[i], batch->count - i, &payload);
        unsigned own = n > 1 ? sizeof *h : offsetof(struct head, udp);
        *h = *batch->frames[i].head;
        rewrite(h);
        if (n > 1)
            make_super(h, payload);
        to->headers[to->count].msg_hdr = (struct msghdr){.msg_iov = iov, .msg_iovlen = n + 1};
        *iov++ = (struct iovec){h, own};
        for (unsigned k = i; k < i + n; k++) {
            struct head *whole = batch->frames[k].head;
            *iov++ = (struct iovec){(uint8_t *)whole + own, offsetof(struct head, ip) + ntohs(whole->ip.tot_len) - own};
        }
        to->datagrams[to->count] = n > 1 ? n : datagrams_in(batch->frames[i].head);
        to->total += to->datagrams[to->count++];
    }
}
