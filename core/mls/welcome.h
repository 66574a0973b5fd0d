/* welcome.h: GroupInfo and Welcome (RFC 9420 §12.4.3). group_join and welcome_references of group.h are in welcome.c. */
#ifndef MLS_WELCOME_H
#define MLS_WELCOME_H

#include "mls/group_state.h"

/* A signed GroupInfo of the epoch that a staged commit leads to. */
MUST_USE err group_info_make(const suite *s, const staged_commit *c, const signature_key *signer,
                             const extension_list *extensions, arena *a, span *encoded);
/* Welcome for the members just added: one GroupSecrets for each, with the path secret that he gets. `path` may be NULL. */
MUST_USE err welcome_make(const suite *s, const staged_commit *c, const signature_key *signer,
                          const key_package *const *key_packages, const treekem_path *path, const secret *joiner,
                          const secret *welcome_secret, arena *a, span *encoded);

/* What a Welcome holds for us, opened. */
typedef struct welcome_contents {
    welcome welcome;
    key_package key_package;
    group_secrets secrets;
    group_info info; /* not verified yet */
    span psk;        /* psk_secret */
} welcome_contents;

/* Finds our GroupSecrets, decrypts them and the GroupInfo. */
MUST_USE err welcome_open(const suite *s, span encoded, span encoded_key_package, const uint8_t *init_key, arena *a,
                          welcome_contents *out);

#endif
