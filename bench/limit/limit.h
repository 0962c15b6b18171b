/* What the parts of `limit` share: constants, types, and what each part does for the others. */
#ifndef LIMIT_H
#define LIMIT_H

#define _GNU_SOURCE
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* headers before 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Those of forwarder/packet/tpacket.py and forwarder/dataplane/{pace,segmentation,fanout}.py. */
enum {
    BLOCK = 128 << 10, BLOCKS = 512, RETIRE_MS = 1,
    SMALLEST = 256, USUAL = 2048, LARGEST = 16384, /* frames in a batch */
    MOST = LARGEST + BLOCK / 128,                  /* a batch is made of whole blocks */
    SEGMENTS = 64, HEADERS = 28, PAYLOAD = 65535 - 14 - HEADERS,
    CSUM_START = 34, CSUM_OFFSET = 6,
    PORTS = 256, LANES = 8, EACH = 4,
};

struct head { /* what is rewritten of a datagram; the rest stays where the kernel put it */
    struct virtio_net_hdr vnet;
    uint8_t destination[6], source[6];
    uint16_t ethertype;
    struct iphdr ip;
    struct udphdr udp;
};
_Static_assert(offsetof(struct head, ip) == 24 && sizeof(struct head) == 52, "as it lies in the ring");

struct frame {
    struct head *head;
    bool trusted; /* segmentation may give it a new checksum */
};

struct batch {
    struct frame frames[MOST];
    unsigned count, flows;
};

struct messages { /* a batch as it leaves; one for each thread that sends */
    struct head heads[MOST];
    struct iovec iov[2 * MOST];
    struct mmsghdr headers[MOST];
    unsigned datagrams[MOST], count, total; /* in each; messages; datagrams in all */
};

extern struct counts {
    unsigned long received, passed_over, merged, batches, sent, transmit_failed, ring_full;
} counts;

/* ring.c */
int open_ring(const char *name);                      /* descriptor of the upstream link's ring, mapped */
bool ready(void);                                     /* a block is there to be read */
unsigned receive(struct batch *batch, unsigned most); /* lends frames of whole blocks; how many blocks */
void release(unsigned blocks);                        /* gives them back */
void count_drops(int ring);                           /* what the kernel had no room for, into `counts` */

/* join.c */
uint16_t seed(const struct iphdr *ip, unsigned udp_length);
void sort_by_flow(struct batch *batch);
void build(struct messages *messages, const struct batch *batch);

/* send.c */
int packet_socket(void);
void bind_to(int fd, const char *name, int protocol);
void start_threads(unsigned count);
void open_port(const char *name);
void send_to_all(const struct batch *batch);
unsigned port_count(void);

void fail(const char *what); /* says why and ends */

#endif
