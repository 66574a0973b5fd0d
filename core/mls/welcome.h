/* welcome.h: GroupInfo and Welcome (RFC 9420 §12.4.3). group_join and welcome_references of group.h are in welcome.c. */
#ifndef MLS_WELCOME_H
#define MLS_WELCOME_H

#include "mls/group_state.h"

/* An epoch as a GroupInfo tells of it, and who signs that. */
typedef struct group_info_source {
    const suite *suite;
    const group_context *context;
    const epoch_secrets *secrets;
    const uint8_t *confirmation_tag;
    uint32_t signer_leaf;
    const signature_key *signer;
} group_info_source;
/* Signed, with the extensions ratchet_tree (`tree` NULL: without) and external_pub. */
MUST_USE err group_info_make(const group_info_source *from, const ratchet_tree *tree, bool external_pub, arena *a,
                             span *encoded);

/* What the members just added get. */
typedef struct welcome_source {
    const key_package *const *key_packages; /* in the order of the staged commit's `added` */
    const treekem_path *path;               /* or NULL */
    const psk_id_list *psks;
    const secret *joiner, *welcome_secret;
    bool tree_apart;
} welcome_source;
/* One GroupSecrets for each, with the path secret that he gets. */
MUST_USE err welcome_make(const group_info_source *info, const staged_commit *c, const welcome_source *from, arena *a,
                          span *encoded);

/* Reads the tree of a GroupInfo (its extension's, or `tree`) into a new group, and checks it, the GroupInfo's signature and
 * its extensions (§12.4.3.1): who may trust the GroupInfo's bytes is still the caller's to know. Sets context, confirmation
 * tag and interim transcript hash. */
MUST_USE err group_info_enter(group *g, const group_info *info, span tree, arena *a);

/* What a Welcome holds for us, opened. */
typedef struct welcome_contents {
    welcome welcome;
    key_package key_package;
    group_secrets secrets;
    group_info info;    /* not verified yet */
    const psk_id *link; /* its PSK of usage reinit or branch, or NULL */
    secret psk;         /* psk_secret */
} welcome_contents;

/* Finds our GroupSecrets, decrypts them, the PSKs being at hand, and the GroupInfo. */
MUST_USE err welcome_open(const group_host *host, const suite *s, const join_params *join, arena *a,
                          welcome_contents *out);

#endif
