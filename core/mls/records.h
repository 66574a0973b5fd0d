/* records.h: how a group's state rests between commands. mls knows neither SQLite nor files: it names small records,
 * and whoever runs the group keeps them, all in the transaction of the command. A record is written only when its own
 * content changed, so a message writes one ratchet and a commit writes the nodes of its path. */
#ifndef MLS_RECORDS_H
#define MLS_RECORDS_H

#include "base/arena.h"

/* Names are stored: never renumber. */
typedef enum record_kind {
    RECORD_GROUP = 1, /* id 0, index 0: suite, own leaf, GroupContext, epoch secrets, interim transcript hash, limits */
    RECORD_NODE = 2,  /* epoch 0, index node: a node of the public tree with its tree hash */
    RECORD_PRIVATE = 3,   /* epoch 0, index node: a private key of a node that we know */
    RECORD_EPOCH = 4,     /* epoch: what is kept of an epoch to read late messages */
    RECORD_TREE = 5,      /* epoch, index node: a node secret of the secret tree that is not used up */
    RECORD_RATCHET = 6,   /* epoch, index 2 * leaf + kind: a sender's ratchet with its skipped keys */
    RECORD_PAST_LEAF = 7, /* epoch, leaf: the leaf node as it was until that epoch ended, where it changed then */
    RECORD_PROPOSAL = 8,  /* epoch, index n: a proposal received or sent, waiting for a commit */
    RECORD_RESUMPTION =
        9 /* epoch: its resumption PSK, where more are kept than past epochs (group_host.resumption_epochs) */
} record_kind;

typedef struct record_key {
    record_kind kind;
    uint32_t index;
    uint64_t epoch;
} record_key;

typedef struct group_records {
    void *ctx;
    /* The record in the arena; ERR_NOT_FOUND when there is none. */
    err (*get)(void *ctx, record_key key, arena *a, span *value);
    err (*put)(void *ctx, record_key key, span value);
    /* Deleting what is not there is fine. The medium must overwrite it (secure_delete). */
    err (*del)(void *ctx, record_key key);
    /* Deletes all records of a kind with that epoch. */
    err (*del_epoch)(void *ctx, record_kind kind, uint64_t epoch);
    /* Calls visit for every record of a kind and epoch, ordered by index; stops at the first error and returns it. The
     * visitor keeps nothing of the value or the arena (both may be given back after it) and touches no records. */
    err (*each)(void *ctx, record_kind kind, uint64_t epoch, arena *a,
                err (*visit)(void *visit_ctx, record_key key, span value), void *visit_ctx);
} group_records;

#endif
