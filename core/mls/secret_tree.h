/* secret_tree.h: an epoch's message keys (RFC 9420 §9): a tree of node secrets over the leaves, and at each leaf a
 * handshake and an application ratchet.
 *
 * Using a key has two halves. `prepare` computes it and what would change; `accept` makes the change, in memory and in
 * the records, once the message proved genuine. So a forged or replayed message never moves a ratchet. */
#ifndef MLS_SECRET_TREE_H
#define MLS_SECRET_TREE_H

#include "crypto/suite.h"
#include "mls/group.h"
#include "mls/index_map.h"
#include "mls/records.h"
#include "mls/tree_math.h"

/* Their numbers are part of stored record names. */
typedef enum ratchet_kind { RATCHET_HANDSHAKE = 0, RATCHET_APPLICATION = 1 } ratchet_kind;

typedef struct secret_tree {
    const suite *suite;
    const group_records *records; /* get NULL: in memory only */
    uint64_t epoch;
    uint32_t leaf_count;
    bool ended;         /* a past epoch: application messages only */
    index_map nodes;    /* node -> secret *; an emptied one stays as n = 0 */
    index_map ratchets; /* 2 * leaf + kind -> struct ratchet * */
} secret_tree;

/* A message key and what using it changes. Lives in the arena and on the caller's stack for one call. */
typedef struct secret_tree_step {
    uint32_t leaf;
    uint32_t generation;
    ratchet_kind kind;
    uint8_t key[AEAD_KEY_SIZE];
    uint8_t nonce[AEAD_NONCE_SIZE];
    struct derivation *derivation; /* where the leaf is used for the first time */
    struct ratchet *ratchet;       /* where it is not */
    secret next;                   /* the ratchet's secret afterwards, unless the key was a skipped one */
    struct skipped_key *skipped;   /* newly skipped, oldest first */
    size_t skipped_count;
    bool was_skipped;
} secret_tree_step;

/* A new epoch's tree from encryption_secret, which is wiped. Writes the root's record. */
MUST_USE err secret_tree_init(secret_tree *t, const suite *s, const group_records *records, uint64_t epoch,
                              uint32_t leaf_count, secret *encryption_secret, arena *a);
/* One that records hold. Reads nothing yet. */
void secret_tree_attach(secret_tree *t, const suite *s, const group_records *records, uint64_t epoch,
                        uint32_t leaf_count);
/* Wipes and frees what is in memory. */
void secret_tree_wipe(secret_tree *t);

/* The key of a generation, for receiving: ERR_REPLAY, ERR_TOO_FAR_AHEAD, ERR_KEY_DROPPED (skipped, but more than
 * GROUP_SKIPPED_KEYS ago, so its key is gone), ERR_EPOCH_GONE when the leaf's secrets are no longer kept. */
MUST_USE err secret_tree_prepare(secret_tree *t, uint32_t leaf, ratchet_kind kind, uint32_t generation, arena *a,
                                 secret_tree_step *step);
/* The next key, for sending. */
MUST_USE err secret_tree_prepare_next(secret_tree *t, uint32_t leaf, ratchet_kind kind, arena *a,
                                      secret_tree_step *step);
MUST_USE err secret_tree_accept(secret_tree *t, secret_tree_step *step, arena *a);
void secret_tree_step_wipe(secret_tree_step *step);
/* When the epoch ends: handshakes of it are no longer read, and nobody reads his own messages (§9.2). */
MUST_USE err secret_tree_end_epoch(secret_tree *t, uint32_t own_leaf, arena *a);

#endif
