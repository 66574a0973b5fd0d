#include "mls/commit.h"

#include <stdlib.h>

#include "mls/key_package.h"
#include "mls/external.h"
#include "mls/owned.h"
#include "mls/parent.h"
#include "mls/proposal.h"
#include "mls/psk.h"
#include "mls/validate.h"
#include "mls/welcome.h"

/* --- both sides --- */

/* The GroupContext of the new epoch; provisional while it still has the old confirmed_transcript_hash (§12.4.1). */
static err next_context(staged_commit *c, const proposal_effects *effects, uint8_t *tree_hash, group_context *out) {
    TRY(ratchet_tree_root_hash(&c->tree, tree_hash));
    *out = effects->context;
    out->epoch++;
    out->tree_hash = span_of(tree_hash, c->tree.suite->hash_size);
    return OK;
}

/* Where an epoch's secrets come from. Secret; wiped by its owner. */
typedef struct epoch_inputs {
    secret init, commit, psk;
    secret joiner, welcome; /* for the committer's Welcome */
} epoch_inputs;

/* §12.4.1, §12.4.2: transcript hash, final GroupContext, key schedule. */
static err derive_epoch(group *g, staged_commit *c, group_context *next, const framed_tbs *tbs, span signature,
                        arena *a, epoch_inputs *in) {
    const suite *s = g->suite;
    uint8_t confirmed[HASH_MAX];
    TRY(transcript_confirmed(s, span_of(g->interim, s->hash_size), tbs->format_and_content, signature, confirmed));
    next->confirmed_transcript_hash = span_of(confirmed, s->hash_size);
    span context;
    TRY(WIRE_ENCODE(a, wire_group_context, next, &context));
    TRY(OWNED_DECODE(context, wire_group_context, group_context, a, &c->context));
    TRY(key_schedule_joiner(s, secret_span(&in->init), secret_span(&in->commit), context, &in->joiner));
    return key_schedule_epoch(s, secret_span(&in->joiner), secret_span(&in->psk), context, &in->welcome, &c->secrets);
}

/* What the caller is told of a staged commit. */
static err describe(staged_commit *c, const proposal_effects *effects, arena *a) {
    c->removes_us = effects->removes_us;
    c->extensions_changed = effects->extensions_changed;
    c->psk_count = effects->psks.n;
    if (effects->re_init != NULL) {
        span encoded;
        TRY(WIRE_ENCODE(a, wire_re_init, effects->re_init, &encoded));
        TRY(OWNED_DECODE(encoded, wire_re_init, re_init, a, &c->re_init));
    }
    return staged_commit_set_members(c, &effects->added, &effects->removed);
}

/* Our private keys after the proposals: a committed Update of ours brings a new leaf key. */
static void start_keys(const group *g, staged_commit *c, const proposal_effects *effects) {
    c->keys = g->keys;
    if (effects->own_keys != NULL) {
        memcpy(c->keys.keys[0], effects->own_keys->leaf, KEM_PRIVATE_SIZE);
        c->new_signer = effects->own_keys->new_signer;
        c->signer = effects->own_keys->signer;
    }
    treekem_forget_blank(&c->tree, g->own_leaf, &c->keys);
}

static err ask_host(group *g, const leaf_node *committer, const staged_commit *c) {
    return g->host.check_commit != NULL ? g->host.check_commit(g->host.ctx, g, committer, c) : OK;
}

/* --- §12.4.2: another's --- */

/* `previous`: the leaf that this one replaces; an external joiner may have none. */
static err process_path(group *g, staged_commit *c, const update_path *path, const leaf_node *previous,
                        const group_context *context, arena *a) {
    leaf_place place = {g->context->group_id, c->sender};
    TRY(validate_leaf(g->suite, &path->leaf, LEAF_COMMIT, &place, context, a));
    /* "Verify that the encryption_key value in the LeafNode is different from the committer's current leaf node." */
    if (previous != NULL && span_equal(path->leaf.encryption_key, previous->encryption_key))
        return ERR_DUPLICATE_KEY;
    TRY(group_check_leaf(&g->host, &path->leaf, previous));
    return treekem_apply(&c->tree, c->sender, path, a);
}

/* §12.4.3.2: the joiner's leaf goes to the leftmost blank place after the Removes; who takes out a leaf may only take out
 * his own of before. */
static err place_joiner(staged_commit *c, const leaf_node *leaf, const leaf_node *replaced, span encoded, arena *a) {
    if (replaced != NULL && !validate_same_credential(leaf, replaced))
        return ERR_PROPOSAL;
    c->external = true;
    return ratchet_tree_add_leaf(&c->tree, encoded, a, &c->sender);
}

static err process(group *g, const framed_content *content, const framed_tbs *tbs, const framed_content_auth *auth,
                   arena *a, staged_commit *c, epoch_inputs *in) {
    const suite *s = g->suite;
    const commit *body = &content->commit;
    const committer who = {.from = content->sender};
    bool external = who.from.type == SENDER_NEW_MEMBER_COMMIT;
    proposal_items items;
    proposal_effects effects;
    TRY(proposals_resolve(g, body, &who.from, a, &items));
    TRY(proposals_apply(g, &c->tree, &items, &who, a, &effects));
    /* §12.4.2: "If the path value is not populated, ... verify that [it] is not required" */
    if (effects.path_required && !body->has_path)
        return ERR_PROPOSAL;
    const leaf_node *previous = external ? effects.replaced : ratchet_tree_leaf(&g->tree, c->sender);
    if (external)
        TRY(place_joiner(c, &body->path.leaf, previous, body->path.leaf.encoded, a));
    if (body->has_path)
        TRY(process_path(g, c, &body->path, previous, &effects.context, a));
    const leaf_node *by = external ? &body->path.leaf : previous;
    /* §7.3 uniqueness; §12.4.2: "none of the public keys in the UpdatePath appear in any node of the new tree" */
    TRY(validate_tree_members(&c->tree, a));
    TRY(describe(c, &effects, a));
    if (c->removes_us) /* the new epoch is sealed from us: neither secrets nor confirmation tag can be computed */
        return ask_host(g, by, c);

    uint8_t tree_hash[HASH_MAX];
    group_context next;
    start_keys(g, c, &effects);
    TRY(next_context(c, &effects, tree_hash, &next));
    in->commit.n = s->hash_size; /* zeros without a path */
    if (body->has_path) {
        span provisional;
        TRY(WIRE_ENCODE(a, wire_group_context, &next, &provisional));
        TRY(treekem_decrypt(&c->tree, c->sender, &body->path, g->own_leaf, effects.added.p, effects.added.n,
                            provisional, a, &c->keys, &in->commit));
    }
    TRY(psk_list_secret(&(psk_source){.host = &g->host, .own = g}, s, &effects.psks, a, &in->psk));
    in->init = g->secrets.init;
    if (external)
        TRY(external_init_open(s, &g->secrets.external, effects.kem_output, &in->init));
    TRY(derive_epoch(g, c, &next, tbs, auth->signature, a, in));
    TRY(confirmation_tag_check(s, secret_span(&c->secrets.confirmation_key), c->context->confirmed_transcript_hash,
                               auth->confirmation_tag));
    memcpy(c->confirmation_tag, auth->confirmation_tag.p, s->hash_size);
    TRY(transcript_interim(s, c->context->confirmed_transcript_hash, auth->confirmation_tag, c->interim));
    return ask_host(g, by, c);
}

err commit_process(group *g, const framed_content *content, const framed_tbs *tbs, const framed_content_auth *auth,
                   arena *a, staged_commit **out) {
    if (g->re_init != NULL)
        return ERR_REINIT;
    TRY(ratchet_tree_load(&g->tree, a));
    TRY(group_load_keys(g, a));
    staged_commit *c;
    epoch_inputs in = {0};
    TRY(staged_commit_new(g, content->sender.leaf, &c));
    err e = process(g, content, tbs, auth, a, c, &in);
    wipe(&in, sizeof in);
    if (e != OK) {
        staged_commit_free(c);
        return e;
    }
    *out = c;
    return OK;
}

/* --- §12.4.1: our own --- */

/* What a commit of ours is made with. */
typedef struct staging {
    framed_content *content;
    bool external;   /* we join by it */
    span kem_output; /* its ExternalInit */
    proposal_items items;
    proposal_effects effects;
    treekem_path path;
    epoch_inputs inputs;
} staging;

/* One more proposal by value. */
static proposal *propose(staging *st, proposal_type type) {
    proposal_or_ref *entry = &st->content->commit.proposals.p[st->items.n];
    entry->type = PROPOSAL_BY_VALUE;
    entry->proposal.type = (uint16_t)type;
    st->items.p[st->items.n++] = (proposal_item){.proposal = &entry->proposal, .from = st->content->sender};
    return &entry->proposal;
}

/* The proposals by value, as they will stand in the Commit, and by reference after them. */
static err gather(group *g, const commit_params *params, arena *a, staging *st) {
    commit *body = &st->content->commit;
    if (params->use_proposals)
        TRY(group_load_proposals(g, a));
    size_t max = params->add_count + params->remove_count + params->psk_count + 3 +
                 (params->use_proposals ? g->proposal_count : 0);
    body->proposals.p = ARENA_ARRAY(a, proposal_or_ref, max);
    st->items.p = ARENA_ARRAY(a, proposal_item, max);
    if (body->proposals.p == NULL || st->items.p == NULL)
        return ERR_ARENA;
    if (st->external)
        propose(st, PROPOSAL_EXTERNAL_INIT)->kem_output = st->kem_output;
    if (params->extensions != NULL)
        propose(st, PROPOSAL_GROUP_CONTEXT_EXTENSIONS)->extensions = *params->extensions;
    for (size_t i = 0; i < params->remove_count; i++)
        propose(st, PROPOSAL_REMOVE)->remove = params->removes[i];
    for (size_t i = 0; i < params->add_count; i++)
        TRY(WIRE_DECODE(params->adds[i], a, wire_key_package, &propose(st, PROPOSAL_ADD)->add));
    for (size_t i = 0; i < params->psk_count; i++)
        TRY(psk_with_nonce(g->suite, &params->psks[i], a, &propose(st, PROPOSAL_PSK)->psk));
    if (params->re_init != NULL)
        propose(st, PROPOSAL_REINIT)->re_init = *params->re_init;
    if (params->use_proposals)
        TRY(proposals_collect(g, a, &st->items, body->proposals.p));
    body->proposals.n = st->items.n;
    return OK;
}

/* Our leaf with a fresh encryption key, and a new certificate where the caller gives one. */
static err own_leaf_node(group *g, const commit_params *params, const staging *st, const kem_key_pair *pair, arena *a,
                         span *encoded) {
    const leaf_node *previous = st->external ? st->effects.replaced : ratchet_tree_leaf(&g->tree, g->own_leaf);
    const signature_key *signer = params->leaf != NULL ? params->leaf->signer : &g->signer;
    leaf_node leaf;
    if (params->leaf != NULL)
        TRY(leaf_node_from_params(g->suite, params->leaf, a, &leaf));
    else
        leaf = *previous;
    leaf.source = LEAF_COMMIT;
    leaf.encryption_key = span_of(pair->public_key, g->suite->kem_public_size);
    leaf.parent_hash = span_of(st->path.leaf_parent_hash, st->path.leaf_parent_hash_size);
    leaf_place place = {g->context->group_id, g->own_leaf};
    TRY(leaf_node_sign(signer, &leaf, &place, a, encoded));
    TRY(WIRE_DECODE(*encoded, a, wire_leaf_node, &leaf));
    TRY(validate_supports_context(&leaf, &st->effects.context, a));
    return group_check_leaf(&g->host, &leaf, previous);
}

/* An external joiner's leaf before it has a path: only its place counts. */
static err take_place(group *g, staged_commit *c, const commit_params *params, const staging *st, arena *a) {
    leaf_node leaf;
    span encoded;
    TRY(leaf_node_from_params(g->suite, params->leaf, a, &leaf));
    leaf.source = LEAF_COMMIT;
    TRY(WIRE_ENCODE(a, wire_leaf_node, &leaf, &encoded));
    TRY(place_joiner(c, &leaf, st->effects.replaced, encoded, a));
    g->own_leaf = c->sender;
    return OK;
}

/* Puts a fresh path into the tree and the Commit; the path secrets are still to be encrypted. */
static err make_path(group *g, staged_commit *c, const commit_params *params, arena *a, staging *st) {
    commit *body = &st->content->commit;
    treekem_path *path = &st->path;
    kem_key_pair pair;
    err e;
    TRY_OUT(suite_generate_key_pair(g->suite, &pair));
    TRY_OUT(treekem_generate(&c->tree, g->own_leaf, path));
    memcpy(path->keys.keys[0], pair.private_key, KEM_PRIVATE_SIZE);
    path->keys.known[0] = true;
    c->keys = path->keys;
    span encoded;
    TRY_OUT(own_leaf_node(g, params, st, &pair, a, &encoded));
    TRY_OUT(ratchet_tree_set_leaf(&c->tree, g->own_leaf, encoded, a));
    body->has_path = true;
    TRY_OUT(WIRE_DECODE(encoded, a, wire_leaf_node, &body->path.leaf));
out:
    wipe(&pair, sizeof pair);
    return e;
}

/* Encrypts the Commit in the present epoch. The handshake ratchet's step is written now, though the commit may be dropped:
 * its key must never be used a second time. */
static err send_commit(group *g, const framed_content *content, const framed_tbs *tbs, const framed_content_auth *auth,
                       bool public, arena *a, span *message) {
    if (public)
        return framing_protect_public(g->suite, secret_span(&g->secrets.membership_key), content, tbs, auth, a,
                                      message);
    secret_tree_step step;
    TRY(secret_tree_prepare_next(&g->messages, g->own_leaf, RATCHET_HANDSHAKE, a, &step));
    err e = framing_protect_private(g->suite, secret_span(&g->secrets.sender_data), &step, content, auth, a, message);
    if (e != OK) {
        secret_tree_step_wipe(&step);
        return e;
    }
    return secret_tree_accept(&g->messages, &step, a);
}

/* §11.2, §11.3: the first commit of a group that comes from another. */
static err check_parent(const group *g, const commit_params *params, const staged_commit *c,
                        const proposal_effects *effects, arena *a) {
    if (params->parent == NULL)
        return OK;
    if (effects->link == NULL || g->context->epoch != 0)
        return ERR_PROPOSAL;
    return parent_check(params->parent, effects->link, c->context, &c->tree, a);
}

static err stage(group *g, const commit_params *params, arena *a, commit_output *out, staged_commit *c, staging *st) {
    const suite *s = g->suite;
    framed_content *content = st->content;
    commit *body = &content->commit;
    proposal_effects *effects = &st->effects;
    epoch_inputs *in = &st->inputs;
    *content = (framed_content){
        .group_id = g->context->group_id,
        .epoch = g->context->epoch,
        .sender = {.type = st->external ? SENDER_NEW_MEMBER_COMMIT : SENDER_MEMBER, .leaf = g->own_leaf},
        .authenticated_data = params->aad,
        .type = CONTENT_COMMIT,
    };
    TRY(gather(g, params, a, st));
    TRY(proposals_apply(g, &c->tree, &st->items, &(committer){content->sender, params->parent != NULL}, a, effects));
    if (st->external)
        TRY(take_place(g, c, params, st, a));
    start_keys(g, c, effects);
    bool with_path = effects->path_required || params->force_path || params->leaf != NULL;
    if (with_path)
        TRY(make_path(g, c, params, a, st));
    TRY(validate_tree_members(&c->tree, a));
    TRY(describe(c, effects, a));
    if (params->leaf != NULL) {
        c->new_signer = true;
        c->signer = *params->leaf->signer;
    }
    uint8_t tree_hash[HASH_MAX];
    group_context next;
    TRY(next_context(c, effects, tree_hash, &next));
    in->init = g->secrets.init;
    in->commit.n = s->hash_size; /* zeros without a path */
    if (with_path) {
        span provisional;
        TRY(WIRE_ENCODE(a, wire_group_context, &next, &provisional));
        TRY(treekem_encrypt(&c->tree, &st->path, effects->added.p, effects->added.n, provisional, a, &body->path));
        in->commit = st->path.commit_secret;
    }
    TRY(psk_list_secret(&(psk_source){&g->host, g, params->parent}, s, &effects->psks, a, &in->psk));
    /* Signed with the key of the leaf we have in this epoch, not with a new one (openmls #2143). */
    bool public = st->external || g->host.public_handshakes;
    framed_tbs tbs;
    framed_content_auth auth = {.content_type = CONTENT_COMMIT};
    TRY(framing_tbs(public ? FORMAT_PUBLIC_MESSAGE : FORMAT_PRIVATE_MESSAGE, content, g->context->encoded, a, &tbs));
    TRY(framing_sign(&g->signer, &tbs, a, &auth));
    TRY(derive_epoch(g, c, &next, &tbs, auth.signature, a, in));
    confirmation_tag_make(s, secret_span(&c->secrets.confirmation_key), c->context->confirmed_transcript_hash,
                          c->confirmation_tag);
    auth.confirmation_tag = span_of(c->confirmation_tag, s->hash_size);
    TRY(transcript_interim(s, c->context->confirmed_transcript_hash, auth.confirmation_tag, c->interim));
    TRY(check_parent(g, params, c, effects, a));
    TRY(ask_host(g, ratchet_tree_leaf(st->external ? &c->tree : &g->tree, g->own_leaf), c));

    const signature_key *signer = c->new_signer ? &c->signer : &g->signer;
    group_info_source info = {s, c->context, &c->secrets, c->confirmation_tag, c->sender, signer};
    TRY(group_info_make(&info, NULL, true, a, &out->group_info));
    out->welcome = SPAN_NONE;
    if (effects->added.n > 0) {
        welcome_source source = {effects->key_packages, with_path ? &st->path : NULL,
                                 &effects->psks,        &in->joiner,
                                 &in->welcome,          params->tree_apart};
        TRY(welcome_make(&info, c, &source, a, &out->welcome));
    }
    return send_commit(g, content, &tbs, &auth, public, a, &out->commit);
}

static err stage_new(group *g, const commit_params *params, span kem_output, arena *a, commit_output *out,
                     staged_commit **staged) {
    staging *st = ARENA_NEW(a, staging);
    if (st == NULL || (st->content = ARENA_NEW(a, framed_content)) == NULL)
        return ERR_ARENA;
    st->external = kem_output.n > 0;
    st->kem_output = kem_output;
    staged_commit *c;
    TRY(staged_commit_new(g, g->own_leaf, &c));
    c->own = true;
    err e = stage(g, params, a, out, c, st);
    wipe(st, sizeof *st);
    if (e != OK) {
        staged_commit_free(c);
        return e;
    }
    *staged = c;
    return OK;
}

err group_stage_commit(group *g, const commit_params *params, arena *a, commit_output *out, staged_commit **staged) {
    TRY(group_check_open(g));
    if (g->pending != NULL)
        return ERR_PENDING_COMMIT;
    TRY(ratchet_tree_load(&g->tree, a));
    if (ratchet_tree_leaf(&g->tree, g->own_leaf) == NULL) /* records that were damaged */
        return ERR_STORE_CORRUPT;
    TRY(group_load_keys(g, a));
    TRY(stage_new(g, params, SPAN_NONE, a, out, staged));
    g->pending = *staged;
    return OK;
}

/* --- merging --- */

/* We were removed: nothing of the group is left but what late messages of past epochs need. */
static err merge_removal(group *g, arena *a) {
    group_context gone = *g->context, *mine;
    span encoded;
    gone.epoch++;
    TRY(WIRE_ENCODE(a, wire_group_context, &gone, &encoded));
    TRY(OWNED_DECODE(encoded, wire_group_context, group_context, a, &mine));
    private_path before = g->keys;
    err e = group_end_epoch(g, mine->epoch, a);
    free(g->context); /* where the epoch could not be ended */
    g->context = mine;
    wipe(&g->secrets, sizeof g->secrets);
    wipe(&g->keys, sizeof g->keys);
    g->removed = true;
    secret_tree_attach(&g->messages, g->suite, &g->host.records, mine->epoch, g->tree.leaf_count);
    if (e == OK)
        e = group_put_keys(g, &before, a);
    wipe(&before, sizeof before);
    return e == OK ? group_put(g, a) : e;
}

/* The new epoch in memory, but for keys and message secrets; the tree also in the records, if they are given. */
static err take_over(group *g, staged_commit *c, const group_records *records, index_map *replaced, arena *a) {
    uint64_t old_epoch = c->base_epoch;
    g->context = c->context;
    c->context = NULL;
    g->re_init = c->re_init;
    c->re_init = NULL;
    g->secrets = c->secrets;
    memcpy(g->interim, c->interim, sizeof g->interim);
    memcpy(g->confirmation_tag, c->confirmation_tag, sizeof g->confirmation_tag);
    if (c->new_signer)
        g->signer = c->signer;
    return ratchet_tree_merge(&g->tree, &c->tree, records, old_epoch, replaced, a);
}

static err merge(group *g, staged_commit *c, arena *a) {
    TRY(group_load_keys(g, a));
    if (c->removes_us)
        return merge_removal(g, a);
    TRY(group_end_epoch(g, g->context->epoch + 1, a));
    TRY(take_over(g, c, &g->host.records, &g->past[0]->leaves, a));
    private_path before = g->keys;
    g->keys = c->keys;
    err e = group_put_keys(g, &before, a);
    wipe(&before, sizeof before);
    TRY(e);
    TRY(secret_tree_init(&g->messages, g->suite, &g->host.records, g->context->epoch, g->tree.leaf_count,
                         &g->secrets.encryption, a));
    return group_put(g, a);
}

err commit_external(group *g, const commit_params *params, span kem_output, arena *a, span *message) {
    commit_output out;
    staged_commit *c;
    TRY(stage_new(g, params, kem_output, a, &out, &c));
    /* No epoch ends: we were not there in it. What the merge replaces in the tree is nobody's any more. */
    past_epoch *none = calloc(1, sizeof *none);
    group_context *before = g->context;
    err e = none != NULL ? take_over(g, c, NULL, &none->leaves, a) : ERR_NO_MEMORY;
    if (g->context != before)
        free(before);
    g->keys = c->keys;
    g->keys_loaded = true;
    if (e == OK)
        e = group_store_new(g, a);
    past_epoch_free(none);
    staged_commit_free(c);
    *message = out.commit;
    return e;
}

err group_merge_commit(group *g, staged_commit *c, arena *a) {
    /* Applied once only, and only to the epoch it was made for. */
    err e = OK;
    if (g->removed)
        e = ERR_REMOVED;
    else if (c->base_epoch != g->context->epoch)
        e = ERR_WRONG_EPOCH;
    if (e == OK)
        e = merge(g, c, a);
    group_drop_commit(g, c);
    return e;
}

void group_drop_commit(group *g, staged_commit *c) {
    if (g->pending == c)
        g->pending = NULL;
    staged_commit_free(c);
}

/* --- looking at a staged commit --- */

uint64_t staged_commit_epoch(const staged_commit *c) { return c->base_epoch + 1; }
uint32_t staged_commit_sender(const staged_commit *c) { return c->sender; }
bool staged_commit_removes_us(const staged_commit *c) { return c->removes_us; }

static size_t copy_out(const uint32_t *from, size_t count, uint32_t *to, size_t max) {
    for (size_t i = 0; i < count && i < max; i++)
        to[i] = from[i];
    return count;
}

size_t staged_commit_added(const staged_commit *c, uint32_t *leaves, size_t max) {
    return copy_out(c->added, c->added_count, leaves, max);
}

size_t staged_commit_removed(const staged_commit *c, uint32_t *leaves, size_t max) {
    return copy_out(c->removed, c->removed_count, leaves, max);
}

const leaf_node *staged_commit_leaf(const staged_commit *c, uint32_t leaf) { return ratchet_tree_leaf(&c->tree, leaf); }
bool staged_commit_external(const staged_commit *c) { return c->external; }
bool staged_commit_extensions_changed(const staged_commit *c) { return c->extensions_changed; }
size_t staged_commit_psk_count(const staged_commit *c) { return c->psk_count; }
const re_init *staged_commit_re_init(const staged_commit *c) { return c->re_init; }
const group_context *staged_commit_context(const staged_commit *c) { return c->context; }
