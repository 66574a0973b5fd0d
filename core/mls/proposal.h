/* proposal.h: the proposals of a commit: which lists are valid (RFC 9420 §12.2, §12.4.3.2) and what applying them does to
 * the tree and the GroupContext (§12.3). The same code serves the committer and the members. */
#ifndef MLS_PROPOSAL_H
#define MLS_PROPOSAL_H

#include "mls/group_state.h"

/* A proposal with who made it. */
typedef struct proposal_item {
    const proposal *proposal;
    sender from;
    bool by_reference;
    const update_keys *own_keys; /* our own Update's */
} proposal_item;
typedef struct proposal_items {
    proposal_item *p;
    size_t n;
} proposal_items;

typedef struct committer {
    sender from; /* a member, or an external joiner (SENDER_NEW_MEMBER_COMMIT) */
    bool links;  /* a PSK of usage reinit or branch may stand in it (§12.1.4) */
} committer;

/* What a list did. Lists are in the arena, `added` ascending. */
typedef struct proposal_effects {
    u32_list added, removed;
    const key_package **key_packages; /* of the added, in the same order */
    group_context context;            /* the present one, with the extensions from now on */
    bool extensions_changed;
    psk_id_list psks;          /* in the order of the list */
    const psk_id *link;        /* the one of usage reinit or branch */
    const re_init *re_init;    /* or NULL */
    span kem_output;           /* of the ExternalInit */
    const leaf_node *replaced; /* external commit: the leaf that its Remove takes out, or NULL */
    bool path_required;
    bool removes_us;
    const update_keys *own_keys; /* our Update was committed */
} proposal_effects;

/* §12.1: what can be said of a proposal before it is committed. Bad ones are not kept, so that they can't spoil our next
 * commit. `sender_leaf`: a member's. */
MUST_USE err proposal_validate(group *g, const proposal *p, const sender *from, const leaf_node *sender_leaf, arena *a);
/* By its ProposalRef, among those received or sent in this epoch and loaded; NULL when there is none. */
const pending_proposal *proposals_find(const group *g, span reference);
/* §12.4.2: takes a commit's proposals as they stand or by reference from those received. ERR_NOT_FOUND when one was not. */
MUST_USE err proposals_resolve(group *g, const commit *c, const sender *from, arena *a, proposal_items *out);
/* For our own commit: adds to what stands in it those received in this epoch that go together with it, by reference. A
 * Remove wins over an Update of the same leaf, a later Update over an earlier one (§12.2); a ReInit is committed alone or
 * not at all; those that only another may commit and PSKs that are not known are left out. */
MUST_USE err proposals_collect(group *g, arena *a, proposal_items *items, proposal_or_ref *entries);
/* §12.2, then §12.3 on the overlay `t`. */
MUST_USE err proposals_apply(group *g, ratchet_tree *t, const proposal_items *items, const committer *who, arena *a,
                             proposal_effects *effects);

#endif
