/* content.h: what is inside an MLS application message: Sotto's own envelope, in TLS presentation language.
 *
 *     struct {
 *         uint16 version = 1;
 *         opaque id[16];          the message's name for all members
 *         uint64 sent_ms;
 *         uint64 counter;         1 for this device's first content in this group, then without gaps
 *         opaque previous[32];    SHA-256 of this device's content before, zeros for the first
 *         uint8 kind;
 *         select (kind) …
 *     } Content;
 *
 * MLS keeps a message from being altered, forged or read twice; counter and previous show when the relay holds one back
 * or gives them in another order, because every later content of the sender says what came before it. */
#ifndef CLIENT_CONTENT_H
#define CLIENT_CONTENT_H

#include "client/audit_log.h"
#include "client/client.h"
#include "wire/wire.h"

#define CONTENT_VERSION 1
#define CONTENT_HASH_SIZE 32

typedef enum content_kind {
    CONTENT_TEXT = 1,
    CONTENT_RECEIPT =
        2, /* these messages were delivered to, or read on, the sender's device; or could not be read there
                            (MESSAGE_FAILED): whose they are sends them again */
    CONTENT_PROFILE = 3,   /* names of people in this conversation, from a staff member or agent */
    CONTENT_HISTORY = 4,   /* earlier texts, for a device that joined later, from a staff member or agent */
    CONTENT_WITHDRAWN = 5, /* the sender's contents of these counters will not come: the relay refused them for good */
    /* From here on: whoever does not know the kind passes over it without a word. */
    CONTENT_SILENT = 128,
    CONTENT_CHECKPOINT = 128 /* the newest checkpoint of the relay's audit log that the sender has seen (audit.c) */
} content_kind;

typedef struct content_id {
    uint8_t b[MESSAGE_ID_SIZE];
} content_id;

typedef struct content_counter {
    uint64_t n;
} content_counter;

typedef struct content_person {
    uint8_t subject_id[ID_SIZE];
    uint8_t kind;
    span name;
} content_person;

typedef struct content_entry {
    uint8_t id[MESSAGE_ID_SIZE];
    uint8_t device_id[ID_SIZE], subject_id[ID_SIZE];
    uint64_t sent_ms;
    span text;
} content_entry;

typedef struct content {
    uint16_t version;
    uint8_t id[MESSAGE_ID_SIZE];
    uint64_t sent_ms, counter;
    uint8_t previous[CONTENT_HASH_SIZE];
    uint8_t kind;
    span text; /* CONTENT_TEXT */
    uint8_t receipt_state;
    struct {
        content_id *p;
        size_t n;
    } receipts; /* CONTENT_RECEIPT */
    struct {
        content_person *p;
        size_t n;
    } people;                /* CONTENT_PROFILE */
    uint8_t target[ID_SIZE]; /* CONTENT_HISTORY: the device it is for */
    struct {
        content_entry *p;
        size_t n;
    } entries;
    struct {
        content_counter *p;
        size_t n;
    } withdrawn;                            /* CONTENT_WITHDRAWN */
    uint8_t audit_key[ED25519_PUBLIC_SIZE]; /* CONTENT_CHECKPOINT: the relay's key as the sender knows it */
    uint8_t checkpoint[AUDIT_CHECKPOINT_SIZE];
    span unknown; /* of other silent kinds */
} content;

/* A kind that is not known fails with ERR_UNSUPPORTED, unless it is a silent one. */
void wire_content(wire *w, content *c);
/* Also checks version, UTF-8 and lengths of names and texts. */
MUST_USE err content_read(span bytes, arena *a, content *c);

#endif
