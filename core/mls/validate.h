/* validate.h: the rules a leaf, a key package and a whole tree must keep (RFC 9420 §7.2, §7.3, §7.9.2, §10.1,
 * §12.4.3.1). Each check cites its section. What an application adds to them is group_host.check_leaf. */
#ifndef MLS_VALIDATE_H
#define MLS_VALIDATE_H

#include "crypto/signature.h"
#include "mls/ratchet_tree.h"

/* Clocks of phones are off by minutes; an hour on either side of a lifetime is let pass. */
#define LIFETIME_SKEW_SECONDS 3600
/* §7.2: "Applications MUST define a maximum total lifetime that is acceptable for a LeafNode". Ours is 91 days; a device's
 * certificate runs for a year, and no leaf for much longer than that. */
#define LIFETIME_MAX_SECONDS (400ull * 24 * 3600)

/* Where a leaf stands, for its signature (LeafNodeTBS, §7.2); key packages have no place yet. */
typedef struct leaf_place {
    span group_id;
    uint32_t leaf;
} leaf_place;

/* §7.3, what concerns the leaf alone and the group's parameters: form, keys, capabilities, signature. `source` is what it
 * must be, or 0 for any (members of a tree). `context`: NULL without a group. */
MUST_USE err validate_leaf(const suite *s, const leaf_node *leaf, uint8_t source, const leaf_place *place,
                           const group_context *context, arena *a);
/* §7.3: of leaves that are proposed now, not of members that are in the tree already: those have their lifetime's end
 * behind them at some time and must not lock the group (openmls #1810). */
MUST_USE err validate_lifetime(const leaf_node *leaf, uint64_t now_seconds);
/* §10.1, without lifetime. */
MUST_USE err validate_key_package(const suite *s, const key_package *kp, const group_context *context, arena *a);
/* §7.3, §12.4.2, §12.4.3.1: encryption keys are unique among all nodes, signature keys among members, and every member
 * supports the credential types in use. Checks what an overlay brought in against the rest; all of a base tree. */
MUST_USE err validate_tree_members(const ratchet_tree *t, arena *a);
/* §12.4.3.1: a tree that came with a Welcome: every leaf by validate_leaf, unmerged leaves, parent hashes, members. */
MUST_USE err validate_tree(ratchet_tree *t, const group_context *context, arena *a);
/* Extensions in one list, and entries of a list of required capabilities: a handful in practice; each is compared with
 * each, and with those of every member. */
#define GROUP_EXTENSIONS_MAX 256
/* §13.4, §11.1, §12.1.8.1: the extensions of a GroupContext or GroupInfo: none twice, those of RFC 9420 well formed. */
MUST_USE err validate_extensions(const extension_list *list, arena *a);
/* §11.2, §11.3: every member of one tree has the credential of a member of the other. ERR_INVALID. */
MUST_USE err validate_members_from(const ratchet_tree *members, const ratchet_tree *of, arena *a);
/* Are they the same client's, so far as RFC 9420 can say? */
bool validate_same_credential(const leaf_node *a, const leaf_node *b);
/* §11.1 and §12.1.7: the group's own extensions: known to the leaf, required capabilities fulfilled. */
MUST_USE err validate_supports_context(const leaf_node *leaf, const group_context *context, arena *a);

#endif
