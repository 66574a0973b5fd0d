/* push.h: who is to be rung, and when: from what batches delivered to what the push client sends. In bounded memory, and best
 * effort: a push that is lost costs a ring, never a message. One thread, the relay's loop; never waits. */
#ifndef SERVER_PUSH_H
#define SERVER_PUSH_H

#include "push_client.h"
#include "relay.h"
#include "waits.h"

typedef struct push_counts {
    uint64_t sent;    /* taken by the push service */
    uint64_t gone;    /* it knew no such subscription, which is dropped */
    uint64_t retried; /* tries that were put off */
    uint64_t failed;  /* refused, or given up */
    uint64_t dropped; /* there was no room to think of it */
} push_counts;

typedef struct pushes pushes;

/* Options and key must outlive it. */
MUST_USE err pushes_open(const push_client_options *options, const push_key *key, pushes **out);
void pushes_close(pushes *p);

/* All take NULL for a relay that sends none. */
const push_counts *pushes_counts(const pushes *p);
/* After a batch: those whom it gave something. */
void pushes_note(pushes *p, const relay *r, int64_t now_ms);
/* After relay_hear: answers other relays, and takes their answers. */
void pushes_hear(pushes *p, relay *r, const waits *w);
/* Several times a second: sends what is due to devices of whom no wait or stream is open. */
void pushes_turn(pushes *p, relay *r, const waits *w, int64_t now_ms);

#endif
