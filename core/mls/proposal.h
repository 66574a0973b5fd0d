/* proposal.h: the proposals of a commit: which lists are valid (RFC 9420 §12.2) and what applying them does to the
 * tree (§12.3). The same code serves the committer and the members. */
#ifndef MLS_PROPOSAL_H
#define MLS_PROPOSAL_H

#include "mls/group_state.h"

/* A proposal with who made it. */
typedef struct proposal_item {
    const proposal *proposal;
    uint32_t sender;        /* leaf index */
    const uint8_t *own_key; /* our own Update: the private key of its leaf */
} proposal_item;
typedef struct proposal_items {
    proposal_item *p;
    size_t n;
} proposal_items;

/* What a list did. Lists are in the arena, `added` ascending. */
typedef struct proposal_effects {
    u32_list added, removed;
    const key_package **key_packages; /* of the added, in the same order */
    bool path_required;
    bool removes_us;
    const uint8_t *own_leaf_key; /* our Update was committed */
} proposal_effects;

/* §12.4.2: takes a commit's proposals as they stand or by reference from those received. ERR_NOT_FOUND when one was not. */
MUST_USE err proposals_resolve(group *g, const commit *c, uint32_t committer, arena *a, proposal_items *out);
/* For our own commit: those received in this epoch that may stand in it; `used` gets them as references. A Remove wins
 * over an Update of the same leaf (§12.2); those that only another may commit are left out. */
MUST_USE err proposals_collect(group *g, const uint32_t *removes, size_t remove_count, arena *a, proposal_items *items,
                               proposal_or_ref *used, size_t *used_count);
/* §12.2, then §12.3 on the overlay `t`. */
MUST_USE err proposals_apply(group *g, ratchet_tree *t, const proposal_items *items, uint32_t committer, arena *a,
                             proposal_effects *effects);

#endif
