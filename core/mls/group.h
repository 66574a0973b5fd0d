/* group.h: a member's view of one MLS group (RFC 9420). Sans-IO: bytes in, bytes out, state through records.h.
 *
 * A commit goes through three hands: `group_stage_commit` (ours) or `group_process` (another's) makes a staged_commit
 * and changes nothing; the caller looks at what it does; `group_merge_commit` writes the new epoch or
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
     * commit path, external commit). `previous` is the leaf it replaces, or NULL. An error refuses the leaf and with it
     * the commit or Welcome; the error is passed on. NULL: every leaf is allowed (test vectors). */
    err (*check_leaf)(void *ctx, const leaf_node *leaf, const leaf_node *previous);
    /* Called for a commit before it is staged: may the committer do that? What it does is seen by the staged_commit_*
     * functions. An external joiner's committer is his new leaf. NULL: every member may do all that RFC 9420 allows. */
    err (*check_commit)(void *ctx, const group *g, const leaf_node *committer, const staged_commit *staged);
    /* RFC 9420 §8.4: the value of a PSK, in the arena: external ones, and resumption PSKs of other groups or of epochs that
     * the group does not keep. Who answers for usage reinit or branch vouches for what §11.2 and §11.3 ask of the members
     * (see join_params.parent). ERR_PSK: not known. NULL: none are. */
    err (*find_psk)(void *ctx, const psk_id *id, arena *a, span *value);
    /* Handshakes go out as PublicMessage (RFC 9420 §6.2). Ours are PrivateMessages (DESIGN §6). Both are read. */
    bool public_handshakes;
    /* How many epochs' resumption PSKs are kept; never less than GROUP_PAST_EPOCHS. */
    uint32_t resumption_epochs;
    /* NULL get: the group lives in memory only. */
    group_records records;
} group_host;

/* --- key packages (RFC 9420 §10) --- */
typedef struct leaf_params {
    span identity;                /* of the basic credential */
    const credential *credential; /* instead of it, where it is another (x509: carried, not validated) */
    const signature_key *signer;
    extension_list extensions;      /* of the leaf node; their types are added to its capabilities */
    uint64_t not_before, not_after; /* lifetime in seconds since 1970 */
    /* What else the capabilities list beside what the leaf itself uses (§7.2): for the group's extensions, for credentials of
     * others, GREASE (§13.5). */
    u16_list extension_types, proposal_types, credential_types;
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
/* A group of one at epoch 0. The errors of check_leaf are passed on; ERR_UNSUPPORTED: the leaf does not support what the
 * extensions demand. */
typedef struct group_params {
    const suite *suite;
    span group_id;
    extension_list extensions; /* of the GroupContext; kinds known to RFC 9420 must be well formed */
    const leaf_params *leaf;
} group_params;
MUST_USE err group_create(const group_host *host, const group_params *params, arena *a, group **out);
/* Joins by a Welcome (the struct, no MLSMessage around it). `ratchet_tree`: SPAN_NONE when the extension has it;
 * `key_package` as published, with its secrets, and the signer whose key is in it. ERR_NOT_FOUND: the Welcome is for other
 * key packages. ERR_PSK: it needs a PSK that is not known. The caller deletes the key package's secrets afterwards, unless it
 * is a last resort. */
typedef struct join_params {
    span welcome;
    span ratchet_tree;
    span key_package;
    const key_package_secrets *secrets;
    const signature_key *signer;
    /* The group that this one was branched from or re-initialises (RFC 9420 §11.2, §11.3): it gives the resumption PSK, and the
     * new group is held against it (suite, id, extensions, members, epoch 1). NULL: host.find_psk is asked. */
    group *parent;
} join_params;
MUST_USE err group_join(const group_host *host, const join_params *join, arena *a, group **out);
/* Joins by an external commit (RFC 9420 §12.4.3.2). `group_info`: the struct, with external_pub; whoever got it must trust
 * where it came from, for its signer is a member of the tree that it describes and no more is known of him.
 * The new group is at the commit's epoch; what is sent in it counts only once the commit was taken in by all. When another
 * commit won the epoch, close it and delete its records. */
typedef struct external_join_params {
    span group_info;
    span ratchet_tree; /* SPAN_NONE when the extension has it */
    const leaf_params *leaf;
    /* Removes the leaf with the same credential: one's own of before (a lost state). ERR_NOT_FOUND: there is none. */
    bool resync;
    const psk_id *psks; /* as in commit_params */
    size_t psk_count;
    span aad;
} external_join_params;
MUST_USE err group_join_external(const group_host *host, const external_join_params *join, arena *a, span *commit,
                                 group **out);
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
/* The GroupContext of the present epoch. Lives until the next merge. */
const group_context *group_present_context(const group *g);
/* RFC 9420 §12.4.3: a GroupInfo of the present epoch with external_pub, for external joiners, with or without the tree. */
MUST_USE err group_make_info(group *g, bool with_tree, arena *a, span *encoded);
/* §12.4.3.3: the tree as the ratchet_tree extension has it. */
MUST_USE err group_write_tree(group *g, arena *a, span *encoded);
/* RFC 9420 §11.2: the ReInit that ended this group, NULL while there is none. From its merge on nothing is sent or committed
 * in it (ERR_REINIT); late messages are still read. Then somebody makes the group after it with group_create (suite, id and
 * extensions as said here) and one commit that adds all members, with the reinit PSK of this group's last epoch. */
const re_init *group_re_init(const group *g);
/* How often a message could not be read since the group was loaded, by the limit that it hit. */
typedef struct group_refusals {
    uint32_t too_far_ahead; /* ERR_TOO_FAR_AHEAD: GROUP_FORWARD_GENERATIONS */
    uint32_t key_dropped;   /* ERR_KEY_DROPPED: GROUP_SKIPPED_KEYS */
    uint32_t epoch_gone;    /* ERR_EPOCH_GONE: GROUP_PAST_EPOCHS */
    uint32_t epoch_expired; /* ERR_EPOCH_EXPIRED: GROUP_PAST_EPOCH_MS */
} group_refusals;
const group_refusals *group_count_refusals(const group *g);
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
    sender_type from;
    uint32_t sender; /* leaf index in that epoch; of SENDER_EXTERNAL the index into external_senders */
    uint32_t generation;
    /* The sender's leaf as it was in that epoch (a reused index must not alias an old sender), in the arena. Of those who are
     * to join, the leaf they bring; of SENDER_EXTERNAL, NULL. */
    const leaf_node *sender_leaf;
    span aad;
    span plaintext;           /* INCOMING_APPLICATION */
    const proposal *proposal; /* INCOMING_PROPOSAL: kept for this epoch. In the arena. */
    staged_commit *staged;    /* INCOMING_COMMIT: the caller merges or drops it */
} incoming;

/* Reads one MLSMessage that is for this group. The key that an application message or a proposal consumed is deleted, in
 * memory and in the records, before return; on error nothing changed (but on an error of the records themselves, after
 * which the caller rolls back, closes and loads the group again). A commit changes nothing until it is merged: its key
 * ends with the epoch, and one that is dropped can be processed again.
 * ERR_STATE: one's own message came back. ERR_REPLAY; ERR_TOO_FAR_AHEAD; ERR_KEY_DROPPED; ERR_EPOCH_GONE;
 * ERR_EPOCH_EXPIRED; ERR_WRONG_EPOCH: of a future epoch, or a handshake of a past one; ERR_WRONG_GROUP; ERR_REMOVED;
 * ERR_REINIT; ERR_DECRYPT; ERR_SIGNATURE; ERR_NOT_FOUND: the commit refers to a proposal that never came; ERR_PSK: it needs a
 * PSK that is not known; ERR_UNSUPPORTED: a kind of proposal without a grammar in RFC 9420; the errors of check_leaf and
 * check_commit as they are. */
MUST_USE err group_process(group *g, span message, arena *a, incoming *out);
/* message_peek (types.h) gives group id and epoch without any key. */

/* --- commits (RFC 9420 §12.4) --- */
typedef struct commit_params {
    const span *adds; /* encoded KeyPackages */
    size_t add_count;
    const uint32_t *removes; /* leaf indexes */
    size_t remove_count;
    /* PreSharedKey proposals. A psk_nonce is made where none is given. Usage reinit and branch only in the commit that leads a
     * new group from epoch 0 to 1 (§11.2, §11.3), with `parent`. */
    const psk_id *psks;
    size_t psk_count;
    group *parent;                    /* the group branched from or re-initialised: its PSKs, its members */
    const extension_list *extensions; /* GroupContextExtensions: all the extensions from now on; NULL: as they are */
    const re_init *re_init;           /* the only proposal then; NULL: none */
    bool tree_apart;                  /* the Welcome goes without ratchet_tree; see group_write_tree after the merge */
    bool force_path;    /* a path even where the RFC lets it out (an Add-only commit): heals the committer's leaf */
    bool use_proposals; /* include the proposals received for this epoch, by reference */
    const leaf_params *leaf; /* NULL, or a changed own leaf (new certificate); implies a path */
    span aad;                /* authenticated data of the commit's PrivateMessage */
} commit_params;
typedef struct commit_output {
    span commit;     /* MLSMessage */
    span welcome;    /* Welcome struct without MLSMessage, empty when nobody is added */
    span group_info; /* GroupInfo struct of the new epoch */
} commit_output;
/* Writes one record, the own handshake ratchet: its key must never be used again, whether or not the commit is merged.
 * check_leaf and check_commit are asked as for another's commit. The GroupInfo has external_pub and no tree.
 * ERR_PENDING_COMMIT while another of ours is staged. A staged commit is merged or dropped before the group is closed. */
MUST_USE err group_stage_commit(group *g, const commit_params *params, arena *a, commit_output *out,
                                staged_commit **staged);
/* A proposal for any member to commit; `message` is an MLSMessage. `leaf` NULL: the leaf as it is with a new key. */
MUST_USE err group_propose_add(group *g, span key_package, arena *a, span *message);
MUST_USE err group_propose_update(group *g, const leaf_params *leaf, arena *a, span *message);
MUST_USE err group_propose_remove(group *g, uint32_t leaf, arena *a, span *message);
MUST_USE err group_propose_psk(group *g, const psk_id *id, arena *a, span *message);
MUST_USE err group_propose_re_init(group *g, const re_init *re_init, arena *a, span *message);
MUST_USE err group_propose_extensions(group *g, const extension_list *extensions, arena *a, span *message);
/* From outside (RFC 9420 §12.1.8): by the holder of entry `index` of the external_senders extension, any kind but Update
 * and ExternalInit; by a client who asks to be added, with his key package. */
typedef struct external_proposer {
    const suite *suite;
    span group_id;
    uint64_t epoch;
    const signature_key *signer;
    uint32_t index;
} external_proposer;
MUST_USE err external_propose(const external_proposer *by, const proposal *p, arena *a, span *message);
MUST_USE err external_propose_join(const external_proposer *by, span key_package, arena *a, span *message);

/* What a staged commit does. Spans and leaves live as long as it. */
uint64_t staged_commit_epoch(const staged_commit *c); /* the epoch it leads to */
uint32_t staged_commit_sender(const staged_commit *c);
size_t staged_commit_added(const staged_commit *c, uint32_t *leaves, size_t max); /* leaf indexes; returns the count */
size_t staged_commit_removed(const staged_commit *c, uint32_t *leaves, size_t max);
const leaf_node *staged_commit_leaf(const staged_commit *c, uint32_t leaf); /* as it will be; NULL when blank */
bool staged_commit_removes_us(const staged_commit *c);
bool staged_commit_external(const staged_commit *c); /* the sender joins by it */
bool staged_commit_extensions_changed(const staged_commit *c);
size_t staged_commit_psk_count(const staged_commit *c);
const re_init *staged_commit_re_init(const staged_commit *c);       /* NULL: none */
const group_context *staged_commit_context(const staged_commit *c); /* of the new epoch; NULL when it removes us */
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
