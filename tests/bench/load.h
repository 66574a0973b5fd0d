/* load.h: the load generator of `make bench-relay`: many connections in one thread, a request under way on each, and how long each
 * took. It shares the processors with what it measures, so requests are made and signed before the clock starts. What is said on
 * a connection is its protocol's: load_relay.c, load_peers.c. Whatever goes wrong ends the program: a measurement is whole or none. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "base/span.h"

#include <stdbool.h>
#include <sys/types.h>

#define STATUS_NONE 0
#define STATUS_READY 1 /* the greeting is over */
#define PHASES_MAX 8
#define PIDS_MAX 64

typedef struct connection connection;
typedef struct load load;

typedef struct protocol {
    /* What is said first; NULL: nothing, and the connection is ready at once. */
    void (*greet)(connection *c);
    /* Looks at what has arrived: how many bytes it used, 0 when more must come. *status: STATUS_NONE, STATUS_READY, or that of the
     * answer to the request under way, as HTTP has them: 200 is accepted. */
    size_t (*take)(connection *c, span in, int *status);
} protocol;

struct connection {
    load *load;
    const protocol *protocol;
    void *more; /* the protocol's */
    int fd;
    uint16_t port;
    size_t number;
    bool ready, busy;
    uint8_t *in, *out; /* what has arrived and was not used; what the socket did not take */
    size_t in_size, in_room, out_size, out_room;
    size_t request, next; /* the one under way; in a closed loop, the one after */
    int64_t begun_ns;
};

/* How long each took. */
typedef struct latencies {
    int64_t *ns;
    size_t n, room;
} latencies;

/* A closed loop (rate 0): each connection has one request under way until its own are sent or the time is over. An open one: a
 * request begins when it is due, on any free connection; its time counts from when it was due. */
typedef struct phase {
    double rate, seconds;
    int64_t began_ns, last_refused_ns; /* the latter: of a request due in this phase, when that was answered */
    latencies accepted, refused;       /* of those due in it */
    int64_t late_ns; /* the most that one was begun after it was due: then it was not this rate that was offered */
    size_t in_time;  /* of those due in it, begun in it */
    size_t busy_max; /* connections */
} phase;

struct load {
    connection *connections;
    size_t senders; /* the first of the connections */
    struct load_bytes {
        uint8_t *p;
        size_t n;
    } * requests;
    size_t requests_count;
    phase phases[PHASES_MAX];
    size_t phases_count;
    long pids[PIDS_MAX]; /* whose processor time is measured */
    size_t pids_count;
    void (*on_answer)(connection *c, int status); /* instead of counting, for those that have their own way */

    double wall_s, servers_cpu_s, own_cpu_s; /* results */

    int epoll; /* its own from here */
    size_t under_way, begun, phase_of_next, free_first, free_count, unready, connected;
    connection **free; /* a ring: each has its turn, for those that rest are closed by the server */
    bool running;
};

int64_t now_ns(void);
/* Processor time of this process. */
double own_cpu_s(void);
_Noreturn void die(const char *format, ...);
/* Zeroed; never NULL. */
void *take_memory(size_t n);
void keep_bytes(uint8_t **buffer, size_t *size, size_t *room, const void *p, size_t n);

/* `connections` are made and belong to the load; number i connects to ports[i % ports_count]. */
void load_connect(load *l, const protocol *p, const uint16_t *ports, size_t ports_count, size_t first, size_t count);
/* Until all that were connected are ready. */
void load_greet(load *l);
/* Sends now what the socket takes, and the rest when it takes it. */
void connection_send(connection *c, const void *p, size_t n);
/* Sends all requests by the phases and fills the results. */
void load_run(load *l);
/* Serves the sockets until `done`, for so many seconds at most; false: it was not done. */
bool load_serve(load *l, bool (*done)(load *l), double seconds);
/* Closes the connections. */
void load_close(load *l);
/* The members of a JSON object, without its braces: what load_run found. */
void load_print(load *l);
void latency_note(latencies *to, int64_t ns);
/* The median and the like, as members of a JSON object; sorts. */
void latencies_print(latencies *l);

#endif
