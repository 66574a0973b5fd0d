/* load_protocols.h: the work of `make bench-relay` as each server is asked for it: one message of so many bytes is stored for one
 * reader, who reads and acknowledges. The relay's part is PROTOCOL.md on the project's own certificates and signatures. */
#ifndef BENCH_LOAD_PROTOCOLS_H
#define BENCH_LOAD_PROTOCOLS_H

#include "crypto/signature.h"
#include "load.h"

/* ---- the relay (load_relay.c) */

#define DEVICE_SENDER 0
#define DEVICE_READER 1
#define DEVICE_WAITER 2
#define DEVICE_MAKER 3 /* of a group of waiters, whom it writes to */

/* A device that is enrolled, as the file of devices holds it. */
typedef struct load_device {
    uint8_t seed[ED25519_SEED_SIZE];
    uint8_t id[16];
    uint8_t group[32]; /* a sender's; of a waiter, the one it is in */
    uint32_t role, clinic;
    int64_t newest; /* the clinic's newest sequence number when all was made */
    signature_key key;
} load_device;

typedef struct load_devices {
    load_device *p;
    size_t n;
} load_devices;

/* Makes clinics, each with a reader, its part of the senders with a group {sender, reader} each, and its part of the waiters in
 * groups of up to 1000 that a maker writes to; all through the calls. */
void relay_set_up(uint16_t port, size_t clinics, size_t senders, size_t waiters, load_devices *out);
void relay_devices_write(const char *file, const load_devices *d);
void relay_devices_read(const char *file, load_devices *d);
size_t relay_count(const load_devices *d, uint32_t role);
/* The n-th device of a role; dies when there are not so many. */
const load_device *relay_device(const load_devices *d, uint32_t role, size_t n);

/* The size of the answer that stands at the beginning, 0 when it is not whole. */
size_t relay_answer(span in, int *status, span *body);
extern const protocol RELAY_SENDER;
/* The same, noting the highest sequence number that was answered; anything but 2xx ends the program. */
extern const protocol RELAY_TELLING;
int64_t relay_newest(void);
/* A signed request of a device as bytes. `body` is of `type`; when it is empty, the answer shall be (NULL: whatever it is). */
struct load_bytes relay_request(uint16_t port, const load_device *d, const char *method, const char *target, span body,
                                const char *type);
struct load_bytes relay_message(uint16_t port, const load_device *d, size_t size);
/* A connection that reads the inbox of a device, waiting, and acknowledges; `more` is its relay_reader. */
extern const protocol RELAY_READER;
typedef struct relay_reader {
    const load_device *device;
    uint16_t port;
    int64_t after;
    size_t messages;
} relay_reader;
void relay_reader_ask(connection *c);

/* ---- peers (load_peers.c) */

extern const protocol NATS_SENDER, NATS_READER, MQTT_SENDER, MQTT_READER; /* `more` of readers: size_t, messages read */
struct load_bytes nats_message(size_t sender, size_t size);
struct load_bytes mqtt_message(size_t sender, size_t number, size_t size);

/* ---- limits (load_limits.c): rows of so many bytes, so many in a transaction; rows a second */

typedef struct limit_work {
    size_t count, batch, size;
    /* Each row has an Ed25519 signature, verified before it is inserted, on all processors, beside the inserts of the batch
     * before. With batches of one nothing is verified ahead: their only sender waits for his answer. */
    bool verify;
} limit_work;

double limit_sqlite(const char *file, const limit_work *w);
double limit_postgres(const char *database, const limit_work *w);
/* Ed25519 verifications in a second of processor time. */
double limit_verify(void);

#endif
