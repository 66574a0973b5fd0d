/* use.h: what a clinic takes of the store, and its quotas. Counters in a row of each clinic, so that nothing is ever counted
 * anew; they change with the request that changes what they count. They are read with the clinic and what grows is counted in
 * memory until the batch is written; what is deleted is taken off by a statement before the one that deletes it. Blobs have
 * counters of their own (calls_blob.c). */
#ifndef SERVER_USE_H
#define SERVER_USE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum use_kind {
    USE_STORED, /* bytes of events that somebody has not fetched, with DELIVERY_BYTES for each who has not, and of messages that
                 * wait for their time */
    USE_GROUPS,
    USE_DEVICES,     /* revoked ones too: they are remembered */
    USE_INVITATIONS, /* all that are remembered */
    USE_KINDS
} use_kind;

struct call;
struct relay;
struct batch_clinic;

/* Would the call's clinic, which is open, have room for so much more? */
bool use_has_room(const struct call *c, use_kind kind, int64_t more);
/* The same; false: the problem is written. */
bool use_fits(struct call *c, use_kind kind, int64_t more);
/* Counts what the call adds to its clinic, which is open. Refusing the call undoes it. */
void use_count(struct call *c, use_kind kind, int64_t more);
/* Writes what was counted of the clinic, which is locked. */
void use_write(struct relay *r, struct batch_clinic *b);

#endif
