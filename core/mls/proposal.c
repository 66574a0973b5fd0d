#include "mls/proposal.h"

#include "mls/psk.h"
#include "mls/validate.h"

/* --- one by itself (§12.1) --- */

/* §12.1.8, §12.4.3.2, §17.4: the kinds that a sender may propose, one bit each. */
#define KIND(type) (1u << (type))
static const uint8_t proposable[] = {
    [SENDER_MEMBER] = KIND(PROPOSAL_ADD) | KIND(PROPOSAL_UPDATE) | KIND(PROPOSAL_REMOVE) | KIND(PROPOSAL_PSK) |
                      KIND(PROPOSAL_REINIT) | KIND(PROPOSAL_GROUP_CONTEXT_EXTENSIONS),
    [SENDER_EXTERNAL] = KIND(PROPOSAL_ADD) | KIND(PROPOSAL_REMOVE) | KIND(PROPOSAL_PSK) | KIND(PROPOSAL_REINIT) |
                        KIND(PROPOSAL_GROUP_CONTEXT_EXTENSIONS),
    [SENDER_NEW_MEMBER_PROPOSAL] = KIND(PROPOSAL_ADD),
    [SENDER_NEW_MEMBER_COMMIT] = KIND(PROPOSAL_EXTERNAL_INIT) | KIND(PROPOSAL_REMOVE) | KIND(PROPOSAL_PSK),
};

static bool may_propose(const sender *from, uint16_t type) {
    return type <= PROPOSAL_GROUP_CONTEXT_EXTENSIONS && (proposable[from->type] & KIND(type)) != 0;
}

static err check_add(group *g, const key_package *kp, const group_context *context, arena *a) {
    TRY(validate_key_package(g->suite, kp, context, a));
    if (g->host.now != NULL)
        TRY(validate_lifetime(&kp->leaf, g->host.now(g->host.ctx) / 1000));
    return group_check_leaf(&g->host, &kp->leaf, NULL);
}

static err check_update(group *g, const leaf_node *leaf, uint32_t place_of, const leaf_node *previous,
                        const group_context *context, arena *a) {
    leaf_place place = {g->context->group_id, place_of};
    TRY(validate_leaf(g->suite, leaf, LEAF_UPDATE, &place, context, a));
    /* §7.3: an Update's encryption key differs from the one it replaces. */
    if (span_equal(leaf->encryption_key, previous->encryption_key))
        return ERR_DUPLICATE_KEY;
    return group_check_leaf(&g->host, leaf, previous);
}

static err check_re_init(const group *g, const re_init *r, arena *a) {
    /* §12.1.5: invalid "if the version field is less than the version of the current group" */
    if (r->version < g->context->version)
        return ERR_PROPOSAL;
    return validate_extensions(&r->extensions, a);
}

/* §12.1.7: "some members of the group do not support some of the required capabilities", or the extensions themselves. */
static err check_members_support(const ratchet_tree *t, const group_context *context, arena *a) {
    for (uint32_t i = 0; i < t->leaf_count; i++) {
        const leaf_node *leaf = ratchet_tree_leaf(t, i);
        if (leaf != NULL)
            TRY(validate_supports_context(leaf, context, a));
    }
    return OK;
}

err proposal_validate(group *g, const proposal *p, const sender *from, const leaf_node *sender_leaf, arena *a) {
    const leaf_node *member;
    group_context changed = *g->context;
    if (!may_propose(from, p->type))
        return ERR_PROPOSAL;
    switch (p->type) {
    case PROPOSAL_ADD: return check_add(g, &p->add, g->context, a);
    case PROPOSAL_UPDATE: return check_update(g, &p->update, from->leaf, sender_leaf, g->context, a);
    case PROPOSAL_REMOVE:
        TRY(ratchet_tree_load_leaf(&g->tree, p->remove, a, &member));
        return member != NULL ? OK : ERR_PROPOSAL;
    case PROPOSAL_PSK: {
        psk_id id = p->psk;
        return psk_check_list(g->suite, &(psk_id_list){&id, 1}, NULL);
    }
    case PROPOSAL_REINIT: return check_re_init(g, &p->re_init, a);
    default: /* GroupContextExtensions */
        TRY(validate_extensions(&p->extensions, a));
        TRY(ratchet_tree_load(&g->tree, a));
        changed.extensions = p->extensions;
        return check_members_support(&g->tree, &changed, a);
    }
}

/* --- gathering --- */

const pending_proposal *proposals_find(const group *g, span reference) {
    for (size_t i = 0; i < g->proposal_count; i++)
        if (span_equal(span_of(g->proposals[i].reference, g->suite->hash_size), reference))
            return &g->proposals[i];
    return NULL;
}

err proposals_resolve(group *g, const commit *c, const sender *from, arena *a, proposal_items *out) {
    TRY(group_load_proposals(g, a));
    out->n = c->proposals.n;
    out->p = ARENA_ARRAY(a, proposal_item, out->n);
    if (out->p == NULL)
        return ERR_ARENA;
    for (size_t i = 0; i < out->n; i++) {
        const proposal_or_ref *entry = &c->proposals.p[i];
        if (entry->type == PROPOSAL_BY_VALUE) {
            out->p[i] = (proposal_item){.proposal = &entry->proposal, .from = *from};
            continue;
        }
        const pending_proposal *p = proposals_find(g, entry->reference);
        if (p == NULL)
            return ERR_NOT_FOUND;
        out->p[i] = (proposal_item){p->proposal, p->from, true, p->has_keys ? &p->keys : NULL};
    }
    return OK;
}

static bool has_remove(const proposal_items *items, uint32_t leaf) {
    for (size_t i = 0; i < items->n; i++)
        if (items->p[i].proposal->type == PROPOSAL_REMOVE && items->p[i].proposal->remove == leaf)
            return true;
    return false;
}

static size_t count_type(const proposal_items *items, uint16_t type) {
    size_t n = 0;
    for (size_t i = 0; i < items->n; i++)
        n += items->p[i].proposal->type == type;
    return n;
}

static bool shares_key(const leaf_node *a, const leaf_node *b) {
    return span_equal(a->signature_key, b->signature_key) || span_equal(a->encryption_key, b->encryption_key);
}

/* §7.3: each supports the other's credential. */
static bool shares_credentials(const leaf_node *a, const leaf_node *b) {
    return u16_list_has(&a->capabilities.credentials, b->credential.type) &&
           u16_list_has(&b->capabilities.credentials, a->credential.type);
}

static bool lives_with(const leaf_node *a, const leaf_node *b) { return !shares_key(a, b) && shares_credentials(a, b); }

/* The leaf that stands in a proposal, or NULL. */
static const leaf_node *leaf_in(const proposal *p) {
    return p->type == PROPOSAL_ADD ? &p->add.leaf : p->type == PROPOSAL_UPDATE ? &p->update : NULL;
}

static bool has_update(const proposal_items *items, uint32_t from) {
    for (size_t i = 0; i < items->n; i++)
        if (items->p[i].proposal->type == PROPOSAL_UPDATE && items->p[i].from.leaf == from)
            return true;
    return false;
}

static bool supports_extensions(const group *g, const leaf_node *leaf, const extension_list *extensions, arena *a) {
    group_context context = *g->context;
    context.extensions = *extensions;
    size_t mark = arena_mark(a);
    bool supported = validate_supports_context(leaf, &context, a) == OK;
    arena_release(a, mark);
    return supported;
}

/* Are the leaf's keys new to the group and to what stands in the commit, and do they support each other? `place`: the leaf
 * that it replaces. */
static bool leaf_fits(const group *g, const proposal_items *items, const leaf_node *leaf, uint32_t place, arena *a) {
    const extension_list *extensions = &g->context->extensions;
    for (size_t i = 0; i < items->n; i++) {
        const proposal *p = items->p[i].proposal;
        if (leaf_in(p) != NULL && !lives_with(leaf_in(p), leaf))
            return false;
        if (p->type == PROPOSAL_GROUP_CONTEXT_EXTENSIONS)
            extensions = &p->extensions;
    }
    for (uint32_t i = 0; i < tree_width(g->tree.leaf_count); i++) {
        const tree_node *node = ratchet_tree_node(&g->tree, i);
        uint32_t member = tree_node_leaf(i);
        if (node == NULL)
            continue;
        if (node->type != NODE_LEAF) {
            if (span_equal(ratchet_tree_key(node), leaf->encryption_key))
                return false;
        } else if (member != place && !has_remove(items, member) && !has_update(items, member) &&
                   !lives_with(&node->leaf, leaf)) {
            return false;
        }
    }
    return supports_extensions(g, leaf, extensions, a);
}

static bool extensions_fit(const group *g, const proposal_items *items, const extension_list *extensions, arena *a) {
    for (size_t i = 0; i < items->n; i++) {
        const leaf_node *leaf = leaf_in(items->p[i].proposal);
        if (items->p[i].proposal->type == PROPOSAL_GROUP_CONTEXT_EXTENSIONS ||
            (leaf != NULL && !supports_extensions(g, leaf, extensions, a)))
            return false;
    }
    return true;
}

static bool update_fits(const group *g, const proposal_items *items, const leaf_node *leaf, uint32_t from, arena *a) {
    return from != g->own_leaf && !has_update(items, from) && !has_remove(items, from) &&
           leaf_fits(g, items, leaf, from, a);
}

static bool psk_fits(group *g, const proposal_items *items, const psk_id *id, arena *a) {
    for (size_t i = 0; i < items->n; i++)
        if (items->p[i].proposal->type == PROPOSAL_PSK && psk_same_id(&items->p[i].proposal->psk, id))
            return false;
    span value;
    size_t mark = arena_mark(a);
    bool known = psk_find(&(psk_source){.host = &g->host, .own = g}, id, a, &value) == OK;
    arena_release(a, mark);
    return known && count_type(items, PROPOSAL_PSK) < GROUP_PSKS_MAX;
}

/* Does it go together with what stands in the commit? */
static bool fits(group *g, const proposal_items *items, const pending_proposal *p, arena *a) {
    const proposal *it = p->proposal;
    switch (it->type) {
    case PROPOSAL_ADD: return leaf_fits(g, items, &it->add.leaf, UINT32_MAX, a);
    case PROPOSAL_UPDATE: return update_fits(g, items, &it->update, p->from.leaf, a);
    case PROPOSAL_REMOVE: return it->remove != g->own_leaf && !has_remove(items, it->remove);
    case PROPOSAL_PSK: return psk_fits(g, items, &it->psk, a);
    case PROPOSAL_REINIT: return items->n == 0;
    default: return extensions_fit(g, items, &it->extensions, a);
    }
}

/* Those of one kind; the newest first where only one may stay. */
static err collect_type(group *g, uint16_t type, bool newest_first, arena *a, proposal_items *items,
                        proposal_or_ref *entries) {
    for (size_t i = 0; i < g->proposal_count; i++) {
        const pending_proposal *p = &g->proposals[newest_first ? g->proposal_count - 1 - i : i];
        if (p->proposal->type != type || !fits(g, items, p, a))
            continue;
        span reference;
        TRY(arena_copy(a, span_of(p->reference, g->suite->hash_size), &reference));
        entries[items->n] = (proposal_or_ref){.type = PROPOSAL_BY_REFERENCE, .reference = reference};
        items->p[items->n++] = (proposal_item){.proposal = p->proposal, .from = p->from, .by_reference = true};
    }
    return OK;
}

err proposals_collect(group *g, arena *a, proposal_items *items, proposal_or_ref *entries) {
    TRY(collect_type(g, PROPOSAL_REINIT, false, a, items, entries));
    if (count_type(items, PROPOSAL_REINIT) > 0)
        return OK;
    TRY(collect_type(g, PROPOSAL_GROUP_CONTEXT_EXTENSIONS, true, a, items, entries));
    TRY(collect_type(g, PROPOSAL_REMOVE, false, a, items, entries));
    TRY(collect_type(g, PROPOSAL_UPDATE, true, a, items, entries));
    TRY(collect_type(g, PROPOSAL_ADD, false, a, items, entries));
    return collect_type(g, PROPOSAL_PSK, false, a, items, entries);
}

/* --- §12.2 --- */

/* One bit for each leaf: was it updated or removed by this commit already? */
typedef struct leaf_marks {
    uint8_t *bits;
} leaf_marks;

static bool mark_once(leaf_marks *m, uint32_t leaf) {
    uint8_t bit = (uint8_t)(1u << (leaf % 8));
    bool first = (m->bits[leaf / 8] & bit) == 0;
    m->bits[leaf / 8] |= bit;
    return first;
}

static err check_item(group *g, const proposal_item *item, const committer *who, leaf_marks *touched) {
    bool member = who->from.type == SENDER_MEMBER;
    const proposal *p = item->proposal;
    if (!may_propose(&item->from, p->type))
        return ERR_PROPOSAL;
    switch (p->type) {
    case PROPOSAL_UPDATE:
        /* "It contains an Update proposal generated by the committer" */
        if (member && item->from.leaf == who->from.leaf)
            return ERR_PROPOSAL;
        /* "It contains multiple Update and/or Remove proposals that apply to the same leaf" */
        return item->from.leaf < g->tree.leaf_count && mark_once(touched, item->from.leaf) ? OK : ERR_PROPOSAL;
    case PROPOSAL_REMOVE:
        /* "It contains a Remove proposal that removes the committer"; §12.1.3: of a blank leaf it is invalid. */
        if ((member && p->remove == who->from.leaf) || ratchet_tree_leaf(&g->tree, p->remove) == NULL)
            return ERR_PROPOSAL;
        return mark_once(touched, p->remove) ? OK : ERR_PROPOSAL;
    default: return OK; /* two Adds of one client collide by their keys: validate_tree_members */
    }
}

static err check_list(group *g, const proposal_items *items, const committer *who, arena *a) {
    leaf_marks touched = {ARENA_ARRAY(a, uint8_t, g->tree.leaf_count / 8 + 1)};
    if (touched.bits == NULL)
        return ERR_ARENA;
    bool external = who->from.type == SENDER_NEW_MEMBER_COMMIT;
    for (size_t i = 0; i < items->n; i++) {
        /* §12.4.3.2: "External Commits MUST NOT include any proposals by reference" */
        if (external && items->p[i].by_reference)
            return ERR_PROPOSAL;
        TRY(check_item(g, &items->p[i], who, &touched));
    }
    /* §12.2: "a ReInit proposal together with any other proposal" */
    if (count_type(items, PROPOSAL_REINIT) > 0 && items->n > 1)
        return ERR_PROPOSAL;
    /* "multiple GroupContextExtensions proposals" */
    if (count_type(items, PROPOSAL_GROUP_CONTEXT_EXTENSIONS) > 1)
        return ERR_PROPOSAL;
    /* §12.4.3.2: "exactly one ExternalInit", "at most one Remove proposal" */
    if (external && (count_type(items, PROPOSAL_EXTERNAL_INIT) != 1 || count_type(items, PROPOSAL_REMOVE) > 1))
        return ERR_PROPOSAL;
    return OK;
}

/* --- §12.3 --- */

static err take_psks(const group *g, const proposal_items *items, const committer *who, arena *a,
                     proposal_effects *effects) {
    effects->psks.p = ARENA_ARRAY(a, psk_id, count_type(items, PROPOSAL_PSK));
    if (effects->psks.p == NULL)
        return ERR_ARENA;
    for (size_t i = 0; i < items->n; i++)
        if (items->p[i].proposal->type == PROPOSAL_PSK)
            effects->psks.p[effects->psks.n++] = items->p[i].proposal->psk;
    return psk_check_list(g->suite, &effects->psks, who->links ? &effects->link : NULL);
}

static err apply_update(group *g, ratchet_tree *t, const proposal_item *item, arena *a, proposal_effects *effects) {
    const leaf_node *leaf = &item->proposal->update, *previous = ratchet_tree_leaf(t, item->from.leaf);
    if (previous == NULL)
        return ERR_PROPOSAL;
    TRY(check_update(g, leaf, item->from.leaf, previous, &effects->context, a));
    if (item->from.leaf == g->own_leaf) {
        if (item->own_keys == NULL)
            return ERR_STATE; /* an Update in our name that we did not make */
        effects->own_keys = item->own_keys;
    }
    return ratchet_tree_update_leaf(t, item->from.leaf, leaf->encoded, a);
}

static err apply(group *g, ratchet_tree *t, const proposal_item *item, const committer *who, arena *a,
                 proposal_effects *effects) {
    const proposal *p = item->proposal;
    switch (p->type) {
    case PROPOSAL_GROUP_CONTEXT_EXTENSIONS:
        effects->context.extensions = p->extensions;
        effects->extensions_changed = true;
        return validate_extensions(&p->extensions, a);
    case PROPOSAL_UPDATE: return apply_update(g, t, item, a, effects);
    case PROPOSAL_REMOVE:
        if (who->from.type == SENDER_NEW_MEMBER_COMMIT)
            effects->replaced = ratchet_tree_leaf(&g->tree, p->remove);
        effects->removed.p[effects->removed.n++] = p->remove;
        effects->removes_us |= p->remove == g->own_leaf;
        return ratchet_tree_remove_leaf(t, p->remove);
    case PROPOSAL_ADD:
        TRY(check_add(g, &p->add, &effects->context, a));
        effects->key_packages[effects->added.n] = &p->add;
        return ratchet_tree_add_leaf(t, p->add.leaf.encoded, a, &effects->added.p[effects->added.n++]);
    case PROPOSAL_REINIT: effects->re_init = &p->re_init; return check_re_init(g, &p->re_init, a);
    default: effects->kem_output = p->kem_output; return OK; /* ExternalInit */
    }
}

err proposals_apply(group *g, ratchet_tree *t, const proposal_items *items, const committer *who, arena *a,
                    proposal_effects *effects) {
    TRY(check_list(g, items, who, a));
    size_t adds = count_type(items, PROPOSAL_ADD), removes = count_type(items, PROPOSAL_REMOVE);
    *effects = (proposal_effects){
        .added = {ARENA_ARRAY(a, uint32_t, adds), 0},
        .removed = {ARENA_ARRAY(a, uint32_t, removes), 0},
        .key_packages = arena_take(a, adds, sizeof(const key_package *)),
        .context = *g->context,
    };
    if (effects->added.p == NULL || effects->removed.p == NULL || effects->key_packages == NULL)
        return ERR_ARENA;
    TRY(take_psks(g, items, who, a, effects));
    /* §12.4: the path may be left out only when there are proposals and none of them needs it (§17.4). */
    size_t pathless = adds + effects->psks.n + count_type(items, PROPOSAL_REINIT);
    effects->path_required = items->n == 0 || pathless != items->n;

    /* §12.3: GroupContextExtensions first, for the rest is held against them; then Updates, Removes, Adds, each in the
     * order of the list. */
    static const uint16_t order[] = {PROPOSAL_GROUP_CONTEXT_EXTENSIONS,
                                     PROPOSAL_UPDATE,
                                     PROPOSAL_REMOVE,
                                     PROPOSAL_ADD,
                                     PROPOSAL_EXTERNAL_INIT,
                                     PROPOSAL_REINIT};
    for (size_t k = 0; k < sizeof order / sizeof *order; k++)
        for (size_t i = 0; i < items->n; i++)
            if (items->p[i].proposal->type == order[k])
                TRY(apply(g, t, &items->p[i], who, a, effects));
    return effects->extensions_changed ? check_members_support(t, &effects->context, a) : OK;
}
