/* In: a TPACKET_V3 ring with vnet headers, as mcfwd's upstream port has one. */
#include "limit.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mman.h>

enum { RESERVE = 6 }; /* octets that put every IPv4 header at a multiple of 8 */

static uint8_t *ring;
static unsigned position;

int open_ring(const char *name)
{
    int fd = packet_socket(), version = TPACKET_V3, reserve = RESERVE;
    struct tpacket_req3 request = {BLOCK, BLOCKS, 2048, BLOCK / 2048 * BLOCKS, RETIRE_MS, 0, 0};
    struct packet_mreq all = {.mr_ifindex = if_nametoindex(name), .mr_type = PACKET_MR_ALLMULTI};
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve) ||
        setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all))
        fail(name);
    ring = mmap(NULL, (size_t)BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED)
        fail("mmap");
    bind_to(fd, name, ETH_P_IP); /* only now does the first frame come in */
    return fd;
}

static struct tpacket_block_desc *block(unsigned number)
{
    return (struct tpacket_block_desc *)(ring + (size_t)(number % BLOCKS) * BLOCK);
}

static bool filled(unsigned number)
{
    return __atomic_load_n(&block(number)->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER;
}

bool ready(void)
{
    return filled(position);
}

/* Segmentation writes a new checksum, so only what is a whole UDP datagram with a right one may get it: the seed that
 * its local sender left to be finished, or one that the driver has looked at. */
static bool trusted(const struct head *h, uint32_t status)
{
    unsigned length = ntohs(h->ip.tot_len);
    if (h->ip.version != 4 || h->ip.ihl != 5 || h->ip.protocol != IPPROTO_UDP || h->ip.frag_off & ~htons(IP_DF) ||
        length <= HEADERS || ntohs(h->udp.len) != length - 20 || h->vnet.gso_type)
        return false;
    if (h->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        return h->vnet.csum_start == CSUM_START && h->vnet.csum_offset == CSUM_OFFSET &&
               h->udp.check == seed(&h->ip, length - 20);
    return h->udp.check && status & TP_STATUS_CSUM_VALID;
}

static void take(struct batch *batch, const struct tpacket3_hdr *t)
{
    struct head *h = (struct head *)((uint8_t *)t + t->tp_net - offsetof(struct head, ip));
    uint32_t group = ntohl(h->ip.daddr);
    counts.received++;
    if (t->tp_snaplen < t->tp_len || group >> 28 != 14 || group >> 8 == 0xe00000 || h->ip.ttl < 2) {
        counts.passed_over++;
        return;
    }
    counts.merged += h->vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE;
    batch->frames[batch->count++] = (struct frame){h, trusted(h, t->tp_status)};
}

unsigned receive(struct batch *batch, unsigned most)
{
    unsigned held = 0, total = 0;
    for (batch->count = 0; held < BLOCKS && filled(position + held); held++) {
        const struct tpacket_block_desc *b = block(position + held);
        unsigned n = b->hdr.bh1.num_pkts;
        if (held && total + n > most)
            break;
        total += n;
        const uint8_t *at = (const uint8_t *)b + b->hdr.bh1.offset_to_first_pkt;
        for (; n; n--, at += ((const struct tpacket3_hdr *)at)->tp_next_offset)
            take(batch, (const struct tpacket3_hdr *)at);
    }
    return held;
}

void release(unsigned blocks)
{
    for (; blocks; blocks--, position++)
        __atomic_store_n(&block(position)->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
}

void count_drops(int fd)
{
    struct tpacket_stats_v3 stats;
    socklen_t size = sizeof stats;
    if (!getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size))
        counts.ring_full += stats.tp_drops; /* the kernel counts from zero after each look */
}
