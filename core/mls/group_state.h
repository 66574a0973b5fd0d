/* group_state.h: what a group consists of, and how it rests in records. Shared by group.c, proposal.c, commit.c and
 * welcome.c; nobody else looks inside. */
#ifndef MLS_GROUP_STATE_H
#define MLS_GROUP_STATE_H

#include "mls/group.h"
#include "mls/framing.h"
#include "mls/key_schedule.h"
#include "mls/secret_tree.h"
#include "mls/treekem.h"

/* Proposals kept for one epoch: one from each member of a large group. */
#define GROUP_PROPOSALS_MAX 1024
/* Scratch where no arena is given: a single leaf with its certificates, as record and as struct. */
#define GROUP_SCRATCH (4 * TREE_LEAF_MAX)

/* The private keys of an Update of our own, until it is committed. */
typedef struct update_keys {
    uint8_t leaf[KEM_PRIVATE_SIZE];
    bool new_signer;
    signature_key signer;
} update_keys;

/* A proposal that came or went out in this epoch and waits to be committed by reference. */
typedef struct pending_proposal {
    uint8_t reference[HASH_MAX];
    sender from;
    bool has_keys;
    update_keys keys;
    proposal *proposal; /* owned.h */
} pending_proposal;

/* A PSK of an epoch that ended, for groups that live in memory only. */
typedef struct kept_resumption {
    uint64_t epoch;
    secret psk; /* n = 0: none */
} kept_resumption;

/* What is kept of an epoch that ended (DESIGN §6). */
typedef struct past_epoch {
    uint64_t epoch;
    uint64_t ended; /* ms since 1970 */
    group_context *context;
    secret sender_data;
    secret resumption_psk;
    secret_tree messages;
    index_map leaves; /* leaf -> tree_node * as it was until the epoch ended, where it changed then */
} past_epoch;

struct group {
    group_host host;
    const suite *suite;
    signature_key signer;
    uint32_t own_leaf;
    bool removed;
    uint64_t joined;  /* the epoch that we came in at */
    re_init *re_init; /* owned.h; what ended the group */
    group_context *context;
    epoch_secrets secrets;
    uint8_t interim[HASH_MAX]; /* interim_transcript_hash */
    uint8_t confirmation_tag[HASH_MAX];
    ratchet_tree tree;
    private_path keys;
    bool keys_loaded;
    secret_tree messages;
    past_epoch *past[GROUP_PAST_EPOCHS]; /* newest first; NULL where none */
    bool past_loaded;
    kept_resumption *resumption; /* host.resumption_epochs of them, at epoch modulo that; NULL with records */
    pending_proposal *proposals; /* GROUP_PROPOSALS_MAX of them at most */
    size_t proposal_count, proposal_capacity;
    bool proposals_loaded;
    staged_commit *pending; /* our own, waiting for its echo */
    group_refusals refusals;
};

struct staged_commit {
    ratchet_tree tree; /* an overlay over the group's */
    uint64_t base_epoch;
    uint8_t base_authenticator[HASH_MAX];
    uint32_t sender;
    bool own, removes_us, external, extensions_changed;
    size_t psk_count;
    re_init *re_init;       /* owned.h */
    group_context *context; /* of the new epoch; NULL when it removes us */
    epoch_secrets secrets;
    uint8_t interim[HASH_MAX];
    uint8_t confirmation_tag[HASH_MAX];
    private_path keys;
    uint32_t *added, *removed;
    size_t added_count, removed_count;
    bool new_signer;
    signature_key signer;
};

/* --- life --- */
MUST_USE err group_new(const group_host *host, const suite *s, const signature_key *signer, group **out);
/* Forgets proposals, in memory. */
void group_forget_proposals(group *g);
void past_epoch_free(past_epoch *p);
MUST_USE err staged_commit_new(group *g, uint32_t sender, staged_commit **out);
void staged_commit_free(staged_commit *c);
/* Copies leaf indexes to the heap. */
MUST_USE err staged_commit_set_members(staged_commit *c, const u32_list *added, const u32_list *removed);

/* --- records --- */
static inline bool group_stored(const group *g) { return g->host.records.get != NULL; }
/* Everything of a group that was just created or joined; also starts its secret tree. */
MUST_USE err group_store_new(group *g, arena *a);
MUST_USE err group_put(group *g, arena *a); /* RECORD_GROUP */
MUST_USE err group_get(group *g, arena *a);
MUST_USE err group_put_keys(group *g, const private_path *before, arena *a);
MUST_USE err group_load_keys(group *g, arena *a);
MUST_USE err group_put_proposal(group *g, size_t index, arena *a);
MUST_USE err group_load_proposals(group *g, arena *a);
/* Adds a proposal, in memory and in the records; `encoded` is the Proposal, `keys` NULL or an own Update's. */
MUST_USE err group_add_proposal(group *g, const uint8_t *reference, const sender *from, span encoded,
                                const update_keys *keys, arena *a);
/* Takes the last one back. */
MUST_USE err group_undo_proposal(group *g);

/* --- epochs --- */
/* Turns the present epoch into a past one and deletes what is too old; the caller then sets the new one. */
MUST_USE err group_end_epoch(group *g, uint64_t next, arena *a);
MUST_USE err group_load_past(group *g, arena *a);
/* ERR_EPOCH_GONE, ERR_EPOCH_EXPIRED: it is not kept (any more). */
MUST_USE err group_find_past(group *g, uint64_t epoch, arena *a, past_epoch **out);
/* A sender's leaf as it was in an epoch that is kept; NULL when it was blank. */
MUST_USE err group_leaf_in_epoch(group *g, uint64_t epoch, uint32_t leaf, arena *a, const leaf_node **out);
/* §8.4: the resumption PSK of the present epoch or one that ended; ERR_NOT_FOUND when it is not kept. */
MUST_USE err group_find_resumption(group *g, uint64_t epoch, arena *a, span *value);
static inline uint64_t group_now(const group *g) { return g->host.now != NULL ? g->host.now(g->host.ctx) : 0; }

/* May we still send and commit? */
static inline err group_check_open(const group *g) {
    return g->removed ? ERR_REMOVED : g->re_init != NULL ? ERR_REINIT : OK;
}

/* The group's checks of a leaf that is to enter (group_host.check_leaf); previous may be NULL. */
static inline err group_check_leaf(const group_host *host, const leaf_node *leaf, const leaf_node *previous) {
    return host->check_leaf != NULL ? host->check_leaf(host->ctx, leaf, previous) : OK;
}

#endif
