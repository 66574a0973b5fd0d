/* relay_load.c: build/tests/relay_load, what `make bench-relay` (relay-load.mjs) makes its load with. Writes one JSON object a run.
 *
 *   setup  --port P --devices FILE --clinics N --senders N [--waiters N]
 *   send   --protocol relay|nats|mqtt --port P[,P…] [--devices FILE] --senders N --count N --seconds S
 *          [--phases RATE:SECONDS,…] [--readers N] [--pids PID,…] [--size BYTES]
 *   wait   --port P --devices FILE [--stream 1]   connects all waiters, says "waiting" when all have asked, and on a line from stdin
 *                                             sends one message to each of their groups and times its arrival at each of them
 *   limit  --database sqlite:FILE|postgres://… --count N --batch N [--size BYTES] [--verify 1]
 *   limit  --verify 1 */
#define _GNU_SOURCE /* memmem */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "load_protocols.h"

#define PORTS_MAX 8
#define MESSAGE_SIZE 1024
#define READ_ALL_S 30
#define SETTLE_S 2
#define GATHER_S 120 /* until ten thousand have asked or heard */

static const char *option(int argc, char **argv, const char *name, const char *missing) {
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    if (missing == NULL)
        die("say %s", name);
    return missing;
}

static size_t number(int argc, char **argv, const char *name, const char *missing) {
    return strtoul(option(argc, argv, name, missing), NULL, 10);
}

static size_t ports_of(const char *text, uint16_t ports[PORTS_MAX]) {
    size_t n = 0;
    char *end = NULL;
    for (const char *p = text; n < PORTS_MAX; p = end + 1) {
        ports[n++] = (uint16_t)strtoul(p, &end, 10);
        if (*end != ',')
            break;
    }
    return n;
}

static void pids_of(const char *text, load *l) {
    char *end = NULL;
    for (const char *p = text; *p != 0 && l->pids_count < PIDS_MAX; p = end + 1) {
        l->pids[l->pids_count++] = strtol(p, &end, 10);
        if (*end != ',')
            break;
    }
}

static void phases_of(const char *text, double seconds, load *l) {
    if (*text == 0) {
        l->phases[l->phases_count++] = (phase){.seconds = seconds};
        return;
    }
    char *end = NULL;
    for (const char *p = text; l->phases_count < PHASES_MAX; p = end + 1) {
        double rate = strtod(p, &end);
        if (*end != ':')
            die("a phase is RATE:SECONDS");
        l->phases[l->phases_count++] = (phase){.rate = rate, .seconds = strtod(end + 1, &end)};
        if (*end != ',')
            break;
    }
}

static bool never(load *l) { return l->senders > l->connected; }

/* ---- send */

static size_t messages_read(load *l) {
    size_t n = 0;
    for (size_t i = l->senders; i < l->connected; i++) {
        connection *c = &l->connections[i];
        n += c->protocol == &RELAY_READER ? ((relay_reader *)c->more)->messages : *(size_t *)c->more;
    }
    return n;
}

static bool all_read(load *l) {
    size_t accepted = 0;
    for (size_t i = 0; i < l->phases_count; i++)
        accepted += l->phases[i].accepted.n;
    return messages_read(l) >= accepted;
}

static void send_messages(int argc, char **argv) {
    const char *word = option(argc, argv, "--protocol", NULL);
    bool nats = strcmp(word, "nats") == 0, mqtt = strcmp(word, "mqtt") == 0;
    size_t count = number(argc, argv, "--count", NULL), size = number(argc, argv, "--size", "1024"),
           readers = number(argc, argv, "--readers", "1");
    uint16_t ports[PORTS_MAX];
    load_devices devices = {0};
    load l = {.senders = number(argc, argv, "--senders", NULL), .requests_count = count};
    size_t ports_count = ports_of(option(argc, argv, "--port", NULL), ports), senders = l.senders;
    phases_of(option(argc, argv, "--phases", ""), strtod(option(argc, argv, "--seconds", "1e6"), NULL), &l);
    pids_of(option(argc, argv, "--pids", ""), &l);
    l.connections = take_memory((l.senders + readers) * sizeof *l.connections);
    l.requests = take_memory(count * sizeof *l.requests);
    if (!nats && !mqtt) {
        relay_devices_read(option(argc, argv, "--devices", NULL), &devices);
        /* An open loop takes any free connection for any device's request. */
        while (senders > 1 && relay_count(&devices, DEVICE_SENDER) < senders)
            senders /= 2;
    }
    for (size_t i = 0; i < count; i++)
        l.requests[i] = nats   ? nats_message(i % l.senders, size)
                        : mqtt ? mqtt_message(i % l.senders, i / l.senders, size)
                               : relay_message(ports[i % l.senders % ports_count],
                                               relay_device(&devices, DEVICE_SENDER, i % senders), size);
    load_connect(&l, nats ? &NATS_SENDER : mqtt ? &MQTT_SENDER : &RELAY_SENDER, ports, ports_count, 0, l.senders);
    relay_reader *inboxes = take_memory(readers * sizeof *inboxes);
    size_t *read = take_memory(readers * sizeof *read);
    for (size_t i = 0; i < readers; i++) {
        connection *c = &l.connections[l.senders + i];
        uint16_t port = ports[i % ports_count];
        load_connect(&l, nats ? &NATS_READER : mqtt ? &MQTT_READER : &RELAY_READER, &port, 1, l.senders + i, 1);
        inboxes[i].port = port;
        if (nats || mqtt) {
            c->more = &read[i];
        } else {
            inboxes[i].device = relay_device(&devices, DEVICE_READER, i);
            c->more = &inboxes[i];
            relay_reader_ask(c);
        }
    }
    load_greet(&l);
    if (l.phases[0].rate > 0) /* thousands of connections: the server takes them in before the clock starts */
        (void)load_serve(&l, never, SETTLE_S);
    load_run(&l);
    bool whole = readers == 0 || load_serve(&l, all_read, READ_ALL_S);
    printf("{");
    load_print(&l);
    printf(",\"read\":%zu,\"all_read\":%s}\n", messages_read(&l), whole ? "true" : "false");
}

/* ---- wait */

typedef struct wait_state {
    load_devices devices;
    uint16_t port;
    latencies heard;
    int64_t sent_ns; /* 0 before */
    bool stream;
} wait_state;

static wait_state waiting;

static void waiter_ask(connection *c) {
    const load_device *d = c->more;
    char target[80];
    (void)snprintf(target, sizeof target, "/v1/inbox?after=%lld&wait=25", (long long)d->newest);
    struct load_bytes ask =
        relay_request(waiting.port, d, "GET", target, SPAN_NONE, waiting.stream ? "text/event-stream" : NULL);
    connection_send(c, ask.p, ask.n);
    free(ask.p);
}

/* What arrives at a waiter after the message was sent is that message: nothing else is written to its group. */
static size_t waiter_take(connection *c, span in, int *status) {
    span body;
    bool whole = !waiting.stream || (in.n > 12 && memcmp(in.p, "HTTP/1.1 503", 12) == 0);
    size_t n = whole ? relay_answer(in, status, &body) : in.n;
    bool refused = *status == 503;
    if (n == 0)
        return 0;
    if (whole && *status != 200 && !refused)
        die("a wait was answered %d", *status);
    *status = STATUS_NONE;
    if (refused) { /* too many came at once */
        waiter_ask(c);
        return n;
    }
    const char *word = waiting.stream ? "data:" : "\"kind\":\"message\"";
    bool hears = waiting.sent_ns != 0 && !c->busy && memmem(in.p, n, word, strlen(word)) != NULL;
    if (hears) {
        c->busy = true;
        latency_note(&waiting.heard, now_ns() - waiting.sent_ns);
    } else if (!waiting.stream && !c->busy) {
        waiter_ask(c); /* the time of the wait was over */
    }
    return n;
}
static const protocol WAITER = {.take = waiter_take};

static size_t answers;
static bool all_heard(load *l) { return answers == l->senders && waiting.heard.n == l->connected - l->senders; }
static bool stdin_ready(load *l) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    (void)l;
    return poll(&in, 1, 0) > 0;
}
static void count_answers(connection *c, int status) {
    (void)c;
    (void)status; /* others than 2xx ended the program */
    answers++;
}

static void wait_for_messages(int argc, char **argv) {
    const char *file = option(argc, argv, "--devices", NULL);
    load_devices *devices = &waiting.devices;
    waiting.port = (uint16_t)number(argc, argv, "--port", NULL);
    waiting.stream = number(argc, argv, "--stream", "0") != 0;
    relay_devices_read(file, devices);
    size_t makers = relay_count(devices, DEVICE_MAKER), waiters = relay_count(devices, DEVICE_WAITER), k = makers;
    load l = {.senders = makers, .on_answer = count_answers};
    l.connections = take_memory((makers + waiters) * sizeof *l.connections);
    for (size_t i = 0; i < devices->n; i++) {
        if (devices->p[i].role != DEVICE_WAITER)
            continue;
        load_connect(&l, &WAITER, &waiting.port, 1, k, 1);
        l.connections[k].more = &devices->p[i];
        waiter_ask(&l.connections[k++]);
        if (k % 64 == 0) /* no flood: it is the waiting that is measured */
            (void)load_serve(&l, never, 0.005);
    }
    printf("waiting\n");
    fflush(stdout);
    if (!load_serve(&l, stdin_ready, GATHER_S))
        die("nobody said go");
    load_connect(&l, &RELAY_TELLING, &waiting.port, 1, 0, makers);
    struct load_bytes *messages = take_memory(makers * sizeof *messages);
    for (size_t i = 0; i < makers; i++)
        messages[i] = relay_message(waiting.port, relay_device(devices, DEVICE_MAKER, i), MESSAGE_SIZE);
    waiting.sent_ns = now_ns();
    for (size_t i = 0; i < makers; i++)
        connection_send(&l.connections[i], messages[i].p, messages[i].n);
    if (!load_serve(&l, all_heard, GATHER_S))
        die("only %zu of %zu heard of it", waiting.heard.n, waiters);
    printf("{");
    latencies_print(&waiting.heard);
    printf("}\n");
    /* The next time they wait behind this message. */
    for (size_t i = 0; i < devices->n; i++)
        devices->p[i].newest = relay_newest();
    relay_devices_write(file, devices);
}

int main(int argc, char **argv) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "setup") == 0) {
        load_devices devices;
        relay_set_up((uint16_t)number(argc, argv, "--port", NULL), number(argc, argv, "--clinics", "1"),
                     number(argc, argv, "--senders", "1"), number(argc, argv, "--waiters", "0"), &devices);
        relay_devices_write(option(argc, argv, "--devices", NULL), &devices);
        printf("{\"devices\":%zu}\n", devices.n);
    } else if (strcmp(command, "send") == 0) {
        send_messages(argc, argv);
    } else if (strcmp(command, "wait") == 0) {
        wait_for_messages(argc, argv);
    } else if (strcmp(command, "limit") == 0) {
        const char *database = option(argc, argv, "--database", "");
        limit_work work = {.count = number(argc, argv, "--count", "1"),
                           .batch = number(argc, argv, "--batch", "1"),
                           .size = number(argc, argv, "--size", "1024"),
                           .verify = number(argc, argv, "--verify", "0") != 0};
        printf("{\"rate\":%.1f}\n", *database == 0                         ? limit_verify()
                                    : strncmp(database, "sqlite:", 7) == 0 ? limit_sqlite(database + 7, &work)
                                                                           : limit_postgres(database, &work));
    } else {
        die("say setup, send, wait or limit");
    }
    return 0;
}
