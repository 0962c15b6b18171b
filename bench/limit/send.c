/* Out: one sendmmsg a port, from several threads where there are many. */
#include "limit.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>

enum { SEND_BUFFER = 8 << 20 };

static struct port {
    int fd;
    uint8_t mac[6];
} ports[PORTS];
static unsigned opened, lane_count = 1;

static struct lane { /* what a thread has for itself: the source addresses in its header blocks are one port's */
    struct messages messages;
    sem_t go;
} lanes[LANES];
static const struct batch *in_hand;
static atomic_uint next_port;
static atomic_ulong sent, refused;
static sem_t done;

int packet_socket(void)
{
    int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one))
        fail("packet socket");
    return fd;
}

void bind_to(int fd, const char *name, int protocol)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol),
                                  .sll_ifindex = if_nametoindex(name)};
    if (!address.sll_ifindex || bind(fd, (struct sockaddr *)&address, sizeof address))
        fail(name);
}

void open_port(const char *name)
{
    struct port *port = &ports[opened++];
    struct ifreq request = {0};
    int size = SEND_BUFFER;
    port->fd = packet_socket();
    bind_to(port->fd, name, 0);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(port->fd, SIOCGIFHWADDR, &request))
        fail(name);
    memcpy(port->mac, request.ifr_hwaddr.sa_data, sizeof port->mac);
    if (setsockopt(port->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
        setsockopt(port->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

unsigned port_count(void)
{
    return opened;
}

static void send_to(const struct port *port, struct messages *messages)
{
    unsigned long lost = 0;
    for (unsigned i = 0; i < messages->count; i++)
        memcpy(messages->heads[i].source, port->mac, sizeof port->mac);
    for (unsigned at = 0; at < messages->count;) {
        int taken = sendmmsg(port->fd, messages->headers + at, messages->count - at, MSG_DONTWAIT); /* 1,024 at most */
        if (taken > 0)
            at += taken;
        else
            lost += messages->datagrams[at++]; /* the error is that of the first one: the others may go */
    }
    sent += messages->total - lost;
    refused += lost;
}

static void send_some(struct lane *lane)
{
    unsigned at;
    build(&lane->messages, in_hand);
    while ((at = atomic_fetch_add(&next_port, 1)) < opened)
        send_to(&ports[at], &lane->messages);
}

static void *live(void *lane)
{
    for (;;) {
        sem_wait(&((struct lane *)lane)->go);
        send_some(lane);
        sem_post(&done);
    }
    return NULL;
}

void start_threads(unsigned count)
{
    pthread_t thread;
    lane_count = count < LANES ? count : LANES;
    sem_init(&done, 0, 0);
    for (unsigned i = 1; i < lane_count; i++) {
        sem_init(&lanes[i].go, 0, 0);
        if (pthread_create(&thread, NULL, live, &lanes[i]))
            fail("thread");
    }
}

void send_to_all(const struct batch *batch)
{
    unsigned others = opened < 2 * EACH ? 0 : opened / EACH - 1;
    if (others > lane_count - 1)
        others = lane_count - 1;
    in_hand = batch;
    next_port = 0;
    for (unsigned i = 1; i <= others; i++)
        sem_post(&lanes[i].go);
    send_some(&lanes[0]);
    for (unsigned i = 0; i < others; i++)
        sem_wait(&done);
    counts.sent = sent;
    counts.transmit_failed = refused;
}
