/* limit: how much a forwarder of mcfwd's kind can carry on this machine, its own work in user space aside.
 *
 *     limit [-g MICROSECONDS] [-t THREADS] UPSTREAM DOWNSTREAM...
 *
 * It does mcfwd's job by mcfwd's interfaces and nothing else: a TPACKET_V3 ring in, like datagrams of a flow joined to
 * UDP super-datagrams, one sendmmsg a port out. What a forwarder must know is left out: it joins nothing, has no
 * routes, checks no sources, fragments nothing and counts no flows. What comes to a group beyond 224.0.0.0/24 with TTL
 * left goes to every downstream link, which must be Ethernet with the MTU of the upstream one.
 *
 * -g: batches are that far apart under load, as in mcfwd's profiles (2000 in balanced; 0: as they come). -t: threads
 * that send to eight links or more. Each line on standard input is answered by a line of JSON with counts since the
 * start, of datagrams but `received`, `passed_over`, `merged` (super-frames) and `ring_full`, which are frames, and
 * `batches`; its end ends the program.
 */
#include "limit.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { COPIES = 65536, SHORT = 16, LONG = 40, WORTH_WAITING = 12 }; /* as in forwarder/dataplane/pace.py */

struct counts counts;
static unsigned limit = USUAL;

void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* One flow in batches that stay in the caches, many interleaved ones in batches that leave something to join. */
static void fit(const struct batch *batch)
{
    unsigned enough = COPIES / port_count();
    enough = enough < SMALLEST ? SMALLEST : enough > USUAL ? USUAL : enough;
    if (2 * batch->count < limit)
        return;
    if (batch->count < SHORT * batch->flows)
        limit = 2 * limit < LARGEST ? 2 * limit : LARGEST;
    else if (batch->count > LONG * batch->flows)
        limit = limit / 2 > enough ? limit / 2 : enough;
}

static unsigned carry(void)
{
    static struct batch batch;
    unsigned blocks = receive(&batch, limit);
    if (batch.count) {
        sort_by_flow(&batch);
        send_to_all(&batch);
        fit(&batch);
        counts.batches++;
    }
    release(blocks);
    return batch.count;
}

static void answer(int ring)
{
    char line[256];
    if (read(0, line, sizeof line) <= 0)
        exit(0);
    count_drops(ring);
    printf("{\"received\": %lu, \"passed_over\": %lu, \"merged\": %lu, \"batches\": %lu, \"sent\": %lu, "
           "\"transmit_failed\": %lu, \"ring_full\": %lu}\n",
           counts.received, counts.passed_over, counts.merged, counts.batches, counts.sent, counts.transmit_failed,
           counts.ring_full);
    fflush(stdout);
}

/* Breathes as mcfwd's worker does: batches are `gather` seconds apart when enough frames will come meanwhile. */
static void forward(int ring, double gather)
{
    struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = ring, .events = POLLIN}};
    double began = 0, rate = 0;
    for (;;) {
        poll(fds, 2, -1);
        double rest = began + gather - now();
        if (ready() && rate * gather >= WORTH_WAITING && rest > 0) {
            struct timespec pause = {0, rest * 1e9};
            ppoll(fds, 1, &pause, NULL);
        }
        if (fds[0].revents)
            answer(ring);
        if (!ready())
            continue;
        double before = began;
        unsigned most = limit, first = 0, second = 0;
        began = now();
        first = carry();
        if (2 * first >= most) /* it is behind: a second look before the clock is asked again */
            second = carry();
        rate = (first + second) / (began - before);
    }
}

int main(int argc, char **argv)
{
    double gather = 0.002;
    unsigned threads = 1;
    for (int option; (option = getopt(argc, argv, "g:t:")) != -1;)
        if (option == 'g')
            gather = atof(optarg) / 1e6;
        else if (option != 't' || !(threads = atoi(optarg)))
            return 2;
    if (argc - optind < 2 || argc - optind > PORTS)
        return fprintf(stderr, "limit [-g microseconds] [-t threads] upstream downstream...\n"), 2;
    prctl(PR_SET_TIMERSLACK, 1); /* waits end within a microsecond, not 50 */
    for (int i = optind + 1; i < argc; i++)
        open_port(argv[i]);
    start_threads(threads);
    forward(open_ring(argv[optind]), gather);
}
