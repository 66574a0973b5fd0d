/* group.h: a member's view of one MLS group (RFC 9420). Sans-IO: bytes in, bytes out, state through records.h.
 *
 * A commit goes through three hands: `group_stage_commit` (ours) or `group_process` (another's) makes a staged_commit
 * and changes nothing; the caller looks at who is added and removed; `group_merge_commit` writes the new epoch or
 * `group_drop_commit` forgets it. */
#ifndef MLS_GROUP_H
#define MLS_GROUP_H

#include "base/arena.h"
#include "crypto/signature.h"
#include "crypto/suite.h"
#include "mls/records.h"
#include "mls/types.h"

/* DESIGN §6: what is kept to read messages that come late, and how far ahead a sender may be. */
#define GROUP_PAST_EPOCHS 3
#define GROUP_PAST_EPOCH_MS (7ull * 24 * 3600 * 1000)
#define GROUP_FORWARD_GENERATIONS 1024
#define GROUP_SKIPPED_KEYS 256

typedef struct group group;
typedef struct staged_commit staged_commit;

/* What a group needs from whoever runs it. Copied; ctx must outlive the group. */
typedef struct group_host {
    void *ctx;
    /* Wall clock in ms since 1970, for leaf lifetimes and the age of past epochs. */
    uint64_t (*now)(void *ctx);
    /* Our rule on top of RFC 9420 §7.3: called for every leaf that is to enter a group by any path (join, add, update,
     * commit path). `previous` is the leaf it replaces, or NULL. An error refuses the leaf and with it the commit or
     * Welcome; the error is passed on. NULL: every leaf is allowed (test vectors). */
    err (*check_leaf)(void *ctx, const leaf_node *leaf, const leaf_node *previous);
    /* Called for a commit with the leaves it adds and removes before it is staged: may the committer do that?
     * NULL: every member may. */
    err (*check_commit)(void *ctx, const group *g, const leaf_node *committer, const staged_commit *staged);
    /* NULL get: the group lives in memory only. */
    group_records records;
} group_host;

/* --- key packages (RFC 9420 §10) --- */
typedef struct leaf_params {
    span identity; /* of the basic credential */
    const signature_key *signer;
    extension_list extensions;      /* of the leaf node; their types are added to its capabilities */
    uint64_t not_before, not_after; /* lifetime in seconds since 1970 */
} leaf_params;

typedef struct key_package_secrets {
    uint8_t init_key[KEM_PRIVATE_SIZE];
    uint8_t encryption_key[KEM_PRIVATE_SIZE];
} key_package_secrets;

/* Makes a key package; `encoded` is the KeyPackage struct (no MLSMessage around it) in the arena. The caller keeps the
 * secrets until the Welcome came, by the reference. */
MUST_USE err key_package_create(const suite *s, const leaf_params *leaf, bool last_resort, arena *a, span *encoded,
                                key_package_secrets *secrets);
/* RFC 9420 §5.2: the KeyPackageRef of encoded bytes; `reference` receives suite.hash_size bytes. */
MUST_USE err key_package_reference(span encoded, arena *a, uint8_t reference[HASH_MAX], size_t *size);
/* RFC 9420 §10.1: everything that can be checked without a group. */
MUST_USE err key_package_validate(const key_package *kp, span encoded, uint64_t now_seconds, arena *a);

/* --- lifecycle --- The group belongs to the caller, who ends it with group_close; `a` is scratch for the call. */
/* A group of one at epoch 0, with the leaf that the parameters describe. The errors of check_leaf are passed on. */
MUST_USE err group_create(const group_host *host, const suite *s, span group_id, const leaf_params *leaf, arena *a,
                          group **out);
/* Joins by a Welcome (the struct, no MLSMessage around it). `ratchet_tree`: SPAN_NONE when the extension has it;
 * `key_package` as published, with its secrets, and the signer whose key is in it. ERR_NOT_FOUND: the Welcome is for other
 * key packages. The caller deletes the key package's secrets afterwards, unless it is a last resort. */
typedef struct join_params {
    span welcome;
    span ratchet_tree;
    span key_package;
    const key_package_secrets *secrets;
    const signature_key *signer;
} join_params;
MUST_USE err group_join(const group_host *host, const join_params *join, arena *a, group **out);
/* The KeyPackageRefs that a Welcome is for, so that the caller can look for his secrets. */
MUST_USE err welcome_references(span welcome, arena *a, span **references, size_t *count);
/* Opens what records hold. Reads the GROUP record; nodes and ratchets are read when first needed. */
MUST_USE err group_load(const group_host *host, const signature_key *signer, arena *a, group **out);
/* Wipes and frees. Does not touch the records. */
void group_close(group *g);

/* --- looking --- */
uint64_t group_epoch(const group *g);
span group_id(const group *g);
const suite *group_suite(const group *g);
uint32_t group_own_leaf(const group *g);
/* Leaves in the tree, blank ones included; members are those for which group_member gives a leaf. */
uint32_t group_leaf_count(const group *g);
/* NULL for a blank leaf or out of range. Lives until the next merge. Errors are those of loading. */
MUST_USE err group_member(group *g, uint32_t leaf, const leaf_node **out);
/* RFC 9420 §8.7: equal for all members of an epoch; compare out of band. */
span group_epoch_authenticator(const group *g);
/* RFC 9420 §8.5: MLS-Exporter. */
MUST_USE err group_export_secret(group *g, const char *label, span context, uint8_t *out, size_t n);

/* --- application messages (RFC 9420 §6.3) --- */
/* `message` is a whole MLSMessage in the arena. The ratchet's step is written to the records before return.
 * Padded to the next of 256 * 2^k; Padmé above 4 KiB (DESIGN §6). */
MUST_USE err group_protect(group *g, span plaintext, span aad, arena *a, span *message);

typedef enum incoming_kind { INCOMING_APPLICATION, INCOMING_PROPOSAL, INCOMING_COMMIT } incoming_kind;
typedef struct incoming {
    incoming_kind kind;
    uint64_t epoch;
    uint32_t sender; /* leaf index in that epoch */
    uint32_t generation;
    /* The sender's leaf as it was in that epoch (a reused index must not alias an old sender), in the arena. */
    const leaf_node *sender_leaf;
    span aad;
    span plaintext;        /* INCOMING_APPLICATION */
    staged_commit *staged; /* INCOMING_COMMIT: the caller merges or drops it */
} incoming;

/* Reads one MLSMessage that is for this group. The key that an application message or a proposal consumed is deleted, in
 * memory and in the records, before return; on error nothing changed (but on an error of the records themselves, after
 * which the caller rolls back, closes and loads the group again). A commit changes nothing until it is merged: its key
 * ends with the epoch, and one that is dropped can be processed again.
 * ERR_STATE: one's own message came back. ERR_REPLAY; ERR_TOO_FAR_AHEAD; ERR_LIMIT: skipped, and its key was dropped by
 * GROUP_SKIPPED_KEYS; ERR_EPOCH_GONE; ERR_WRONG_EPOCH: of a future epoch, or a handshake of a past one; ERR_WRONG_GROUP;
 * ERR_REMOVED; ERR_DECRYPT; ERR_SIGNATURE; ERR_NOT_FOUND: the commit refers to a proposal that never came; ERR_UNSUPPORTED:
 * a kind of proposal or sender that is not built; the errors of check_leaf and check_commit as they are. */
MUST_USE err group_process(group *g, span message, arena *a, incoming *out);
/* message_peek (types.h) gives group id and epoch without any key. */

/* --- commits (RFC 9420 §12.4) --- */
typedef struct commit_params {
    const span *adds; /* encoded KeyPackages */
    size_t add_count;
    const uint32_t *removes; /* leaf indexes */
    size_t remove_count;
    bool force_path;    /* a path even where the RFC lets it out (an Add-only commit): heals the committer's leaf */
    bool use_proposals; /* include the proposals received for this epoch, by reference */
    const leaf_params *leaf; /* NULL, or a changed own leaf (new certificate); implies a path */
    span aad;                /* authenticated data of the commit's PrivateMessage */
} commit_params;
typedef struct commit_output {
    span commit;     /* MLSMessage with a PrivateMessage */
    span welcome;    /* Welcome struct without MLSMessage, empty when nobody is added; ratchet tree inside */
    span group_info; /* GroupInfo struct of the new epoch */
} commit_output;
/* Writes one record, the own handshake ratchet: its key must never be used again, whether or not the commit is merged.
 * check_leaf and check_commit are asked as for another's commit. The GroupInfo has external_pub and no tree.
 * ERR_PENDING_COMMIT while another of ours is staged. A staged commit is merged or dropped before the group is closed. */
MUST_USE err group_stage_commit(group *g, const commit_params *params, arena *a, commit_output *out,
                                staged_commit **staged);
/* A proposal to update one's own leaf or to remove somebody, for another member to commit. */
MUST_USE err group_propose_update(group *g, arena *a, span *message);
MUST_USE err group_propose_remove(group *g, uint32_t leaf, arena *a, span *message);

/* What a staged commit does. Spans and leaves live as long as it. */
uint64_t staged_commit_epoch(const staged_commit *c); /* the epoch it leads to */
uint32_t staged_commit_sender(const staged_commit *c);
size_t staged_commit_added(const staged_commit *c, uint32_t *leaves, size_t max); /* leaf indexes; returns the count */
size_t staged_commit_removed(const staged_commit *c, uint32_t *leaves, size_t max);
const leaf_node *staged_commit_leaf(const staged_commit *c, uint32_t leaf); /* as it will be; NULL when blank */
bool staged_commit_removes_us(const staged_commit *c);
/* To survive a restart while the echo is out: the whole staged commit as bytes (secret!), and back. The caller keeps
 * them encrypted, in the transaction that queues the commit. Only for our own. Restoring gives ERR_WRONG_EPOCH when the
 * group is in another epoch by now. */
MUST_USE err staged_commit_save(const staged_commit *c, arena *a, span *bytes);
MUST_USE err staged_commit_restore(group *g, span bytes, arena *a, staged_commit **out);
/* Writes the new epoch to the records and frees the staged commit, also on error. ERR_WRONG_EPOCH: another commit was
 * merged first, and ERR_REMOVED: it removed us; nothing changed then. After any other error the group must be loaded
 * again. Where the commit removes us, the group keeps only what late messages of past epochs need. */
MUST_USE err group_merge_commit(group *g, staged_commit *c, arena *a);
void group_drop_commit(group *g, staged_commit *c);
/* Call it at times: reading refuses what is too old by itself. Deletes past epochs that are older than GROUP_PAST_EPOCH_MS. */
MUST_USE err group_expire(group *g);

#endif
