#include "mls/commit.h"

#include <stdlib.h>

#include "mls/key_package.h"
#include "mls/owned.h"
#include "mls/proposal.h"
#include "mls/validate.h"
#include "mls/welcome.h"

/* --- both sides --- */

/* The GroupContext of the new epoch; provisional while it still has the old confirmed_transcript_hash (§12.4.1). */
static err next_context(group *g, staged_commit *c, uint8_t *tree_hash, group_context *out) {
    TRY(ratchet_tree_root_hash(&c->tree, tree_hash));
    *out = *g->context;
    out->epoch = g->context->epoch + 1;
    out->tree_hash = span_of(tree_hash, g->suite->hash_size);
    return OK;
}

/* §12.4.1, §12.4.2: transcript hash, final GroupContext, key schedule. Commits without a path have a commit_secret of
 * zeros. `joiner` and `welcome_secret` are for the committer's Welcome. */
static err derive_epoch(group *g, staged_commit *c, group_context *next, const secret *commit_secret,
                        const framed_tbs *tbs, span signature, arena *a, secret *joiner, secret *welcome_secret) {
    const suite *s = g->suite;
    uint8_t confirmed[HASH_MAX];
    TRY(transcript_confirmed(s, span_of(g->interim, s->hash_size), tbs->format_and_content, signature, confirmed));
    next->confirmed_transcript_hash = span_of(confirmed, s->hash_size);
    span context;
    TRY(WIRE_ENCODE(a, wire_group_context, next, &context));
    TRY(OWNED_DECODE(context, wire_group_context, group_context, a, &c->context));
    static const uint8_t zeros[SECRET_MAX];
    span no_psk = span_of(zeros, s->hash_size);
    TRY(key_schedule_joiner(s, secret_span(&g->secrets.init), secret_span(commit_secret), context, joiner));
    return key_schedule_epoch(s, secret_span(joiner), no_psk, context, welcome_secret, &c->secrets);
}

static void no_path_secret(const suite *s, secret *commit_secret) { *commit_secret = (secret){.n = s->hash_size}; }

/* Our private keys after the proposals: a committed Update of ours brings a new leaf key. */
static void start_keys(const group *g, staged_commit *c, const proposal_effects *effects) {
    c->keys = g->keys;
    if (effects->own_leaf_key != NULL)
        memcpy(c->keys.keys[0], effects->own_leaf_key, KEM_PRIVATE_SIZE);
    treekem_forget_blank(&c->tree, g->own_leaf, &c->keys);
}

static err ask_host(group *g, const leaf_node *committer, const staged_commit *c) {
    return g->host.check_commit != NULL ? g->host.check_commit(g->host.ctx, g, committer, c) : OK;
}

/* --- §12.4.2: another member's --- */

static err process_path(group *g, staged_commit *c, const update_path *path, uint32_t committer,
                        const leaf_node *previous, arena *a) {
    leaf_place place = {g->context->group_id, committer};
    TRY(validate_leaf(g->suite, &path->leaf, LEAF_COMMIT, &place, g->context, a));
    /* "Verify that the encryption_key value in the LeafNode is different from the committer's current leaf node." */
    if (span_equal(path->leaf.encryption_key, previous->encryption_key))
        return ERR_DUPLICATE_KEY;
    TRY(group_check_leaf(&g->host, &path->leaf, previous));
    return treekem_apply(&c->tree, committer, path, a);
}

static err process(group *g, const framed_content *content, const framed_tbs *tbs, const framed_content_auth *auth,
                   arena *a, staged_commit *c) {
    const commit *body = &content->commit;
    uint32_t committer = content->sender.leaf;
    const leaf_node *previous = ratchet_tree_leaf(&g->tree, committer);
    proposal_items items;
    proposal_effects effects;
    TRY(proposals_resolve(g, body, committer, a, &items));
    TRY(proposals_apply(g, &c->tree, &items, committer, a, &effects));
    /* §12.4.2: "If the path value is not populated, ... verify that [it] is not required" */
    if (effects.path_required && !body->has_path)
        return ERR_PROPOSAL;
    if (body->has_path)
        TRY(process_path(g, c, &body->path, committer, previous, a));
    /* §7.3 uniqueness; §12.4.2: "none of the public keys in the UpdatePath appear in any node of the new tree" */
    TRY(validate_tree_members(&c->tree, a));
    TRY(staged_commit_set_members(c, &effects.added, &effects.removed));
    c->removes_us = effects.removes_us;
    if (c->removes_us) /* the new epoch is sealed from us: neither secrets nor confirmation tag can be computed */
        return ask_host(g, previous, c);

    const suite *s = g->suite;
    uint8_t tree_hash[HASH_MAX];
    group_context next;
    secret commit_secret, joiner = {0};
    err e;
    start_keys(g, c, &effects);
    TRY(next_context(g, c, tree_hash, &next));
    no_path_secret(s, &commit_secret);
    if (body->has_path) {
        span provisional;
        TRY_OUT(WIRE_ENCODE(a, wire_group_context, &next, &provisional));
        TRY_OUT(treekem_decrypt(&c->tree, committer, &body->path, g->own_leaf, effects.added.p, effects.added.n,
                                provisional, a, &c->keys, &commit_secret));
    }
    TRY_OUT(derive_epoch(g, c, &next, &commit_secret, tbs, auth->signature, a, &joiner, NULL));
    TRY_OUT(confirmation_tag_check(s, secret_span(&c->secrets.confirmation_key), c->context->confirmed_transcript_hash,
                                   auth->confirmation_tag));
    memcpy(c->confirmation_tag, auth->confirmation_tag.p, s->hash_size);
    TRY_OUT(transcript_interim(s, c->context->confirmed_transcript_hash, auth->confirmation_tag, c->interim));
    e = ask_host(g, previous, c);
out:
    secret_wipe(&commit_secret);
    secret_wipe(&joiner);
    return e;
}

err commit_process(group *g, const framed_content *content, const framed_tbs *tbs, const framed_content_auth *auth,
                   arena *a, staged_commit **out) {
    TRY(ratchet_tree_load(&g->tree, a));
    TRY(group_load_keys(g, a));
    staged_commit *c;
    TRY(staged_commit_new(g, content->sender.leaf, &c));
    err e = process(g, content, tbs, auth, a, c);
    if (e != OK) {
        staged_commit_free(c);
        return e;
    }
    *out = c;
    return OK;
}

/* --- §12.4.1: our own --- */

/* The proposals by value, as they will stand in the Commit, and by reference before them. */
static err gather(group *g, const commit_params *params, arena *a, commit *body, proposal_items *items) {
    if (params->use_proposals)
        TRY(group_load_proposals(g, a));
    size_t max = params->add_count + params->remove_count + (params->use_proposals ? g->proposal_count : 0);
    body->proposals.p = ARENA_ARRAY(a, proposal_or_ref, max);
    items->p = ARENA_ARRAY(a, proposal_item, max);
    items->n = 0;
    if (body->proposals.p == NULL || items->p == NULL)
        return ERR_ARENA;
    size_t n = 0;
    if (params->use_proposals)
        TRY(proposals_collect(g, params->removes, params->remove_count, a, items, body->proposals.p, &n));
    for (size_t i = 0; i < params->remove_count + params->add_count; i++) {
        proposal_or_ref *entry = &body->proposals.p[n++];
        entry->type = PROPOSAL_BY_VALUE;
        if (i < params->remove_count) {
            entry->proposal.type = PROPOSAL_REMOVE;
            entry->proposal.remove = params->removes[i];
        } else {
            entry->proposal.type = PROPOSAL_ADD;
            TRY(WIRE_DECODE(params->adds[i - params->remove_count], a, wire_key_package, &entry->proposal.add));
        }
        items->p[items->n++] = (proposal_item){.proposal = &entry->proposal, .sender = g->own_leaf};
    }
    body->proposals.n = n;
    return OK;
}

/* Our leaf with a fresh encryption key, and a new certificate where the caller gives one. */
static err own_leaf_node(group *g, const commit_params *params, const treekem_path *path, const kem_key_pair *pair,
                         arena *a, span *encoded) {
    const leaf_node *previous = ratchet_tree_leaf(&g->tree, g->own_leaf);
    const signature_key *signer = params->leaf != NULL ? params->leaf->signer : &g->signer;
    leaf_node leaf = *previous;
    if (params->leaf != NULL)
        TRY(leaf_node_from_params(g->suite, params->leaf, a, &leaf));
    leaf.source = LEAF_COMMIT;
    leaf.encryption_key = span_of(pair->public_key, g->suite->kem_public_size);
    leaf.parent_hash = span_of(path->leaf_parent_hash, path->leaf_parent_hash_size);
    leaf_place place = {g->context->group_id, g->own_leaf};
    TRY(leaf_node_sign(signer, &leaf, &place, a, encoded));
    TRY(WIRE_DECODE(*encoded, a, wire_leaf_node, &leaf));
    return group_check_leaf(&g->host, &leaf, previous);
}

/* Puts a fresh path into the tree and the Commit; the path secrets are still to be encrypted. */
static err make_path(group *g, staged_commit *c, const commit_params *params, arena *a, commit *body,
                     treekem_path *path) {
    kem_key_pair pair;
    err e;
    TRY_OUT(suite_generate_key_pair(g->suite, &pair));
    TRY_OUT(treekem_generate(&c->tree, g->own_leaf, path));
    memcpy(path->keys.keys[0], pair.private_key, KEM_PRIVATE_SIZE);
    path->keys.known[0] = true;
    c->keys = path->keys;
    span encoded;
    TRY_OUT(own_leaf_node(g, params, path, &pair, a, &encoded));
    TRY_OUT(ratchet_tree_set_leaf(&c->tree, g->own_leaf, encoded, a));
    body->has_path = true;
    TRY_OUT(WIRE_DECODE(encoded, a, wire_leaf_node, &body->path.leaf));
out:
    wipe(&pair, sizeof pair);
    return e;
}

/* Signs and encrypts the Commit in the present epoch. The handshake ratchet's step is written now, though the commit may
 * be dropped: its key must never be used a second time. */
static err send_commit(group *g, const framed_content *content, const framed_content_auth *auth, arena *a,
                       span *message) {
    secret_tree_step step;
    TRY(secret_tree_prepare_next(&g->messages, g->own_leaf, RATCHET_HANDSHAKE, a, &step));
    err e = framing_protect_private(g->suite, secret_span(&g->secrets.sender_data), &step, content, auth, a, message);
    if (e != OK) {
        secret_tree_step_wipe(&step);
        return e;
    }
    return secret_tree_accept(&g->messages, &step, a);
}

typedef struct staging {
    framed_content *content;
    treekem_path path;
    secret commit_secret, joiner, welcome_secret;
} staging;

static err external_pub(group *g, const staged_commit *c, arena *a, span *out) {
    kem_key_pair pair;
    span key = span_of(pair.public_key, g->suite->kem_public_size);
    err e = key_schedule_external(g->suite, secret_span(&c->secrets.external), &pair);
    if (e == OK)
        e = WIRE_ENCODE(a, wire_opaque, &key, out);
    wipe(&pair, sizeof pair);
    return e;
}

static err stage(group *g, const commit_params *params, arena *a, commit_output *out, staged_commit *c, staging *st) {
    const suite *s = g->suite;
    framed_content *content = st->content;
    commit *body = &content->commit;
    *content = (framed_content){
        .group_id = g->context->group_id,
        .epoch = g->context->epoch,
        .sender = {.type = SENDER_MEMBER, .leaf = g->own_leaf},
        .authenticated_data = params->aad,
        .type = CONTENT_COMMIT,
    };
    proposal_items items;
    proposal_effects effects;
    TRY(gather(g, params, a, body, &items));
    TRY(proposals_apply(g, &c->tree, &items, g->own_leaf, a, &effects));
    start_keys(g, c, &effects);
    bool with_path = effects.path_required || params->force_path || params->leaf != NULL;
    if (with_path)
        TRY(make_path(g, c, params, a, body, &st->path));
    TRY(validate_tree_members(&c->tree, a));
    TRY(staged_commit_set_members(c, &effects.added, &effects.removed));
    if (params->leaf != NULL) {
        c->new_signer = true;
        c->signer = *params->leaf->signer;
    }
    uint8_t tree_hash[HASH_MAX];
    group_context next;
    TRY(next_context(g, c, tree_hash, &next));
    no_path_secret(s, &st->commit_secret);
    if (with_path) {
        span provisional;
        TRY(WIRE_ENCODE(a, wire_group_context, &next, &provisional));
        TRY(treekem_encrypt(&c->tree, &st->path, effects.added.p, effects.added.n, provisional, a, &body->path));
        st->commit_secret = st->path.commit_secret;
    }
    /* Signed with the key of the leaf we have in this epoch, not with a new one (openmls #2143). */
    framed_tbs tbs;
    framed_content_auth auth = {.content_type = CONTENT_COMMIT};
    TRY(framing_tbs(FORMAT_PRIVATE_MESSAGE, content, g->context->encoded, a, &tbs));
    TRY(framing_sign(&g->signer, &tbs, a, &auth));
    TRY(derive_epoch(g, c, &next, &st->commit_secret, &tbs, auth.signature, a, &st->joiner, &st->welcome_secret));
    confirmation_tag_make(s, secret_span(&c->secrets.confirmation_key), c->context->confirmed_transcript_hash,
                          c->confirmation_tag);
    auth.confirmation_tag = span_of(c->confirmation_tag, s->hash_size);
    TRY(transcript_interim(s, c->context->confirmed_transcript_hash, auth.confirmation_tag, c->interim));
    TRY(ask_host(g, ratchet_tree_leaf(&g->tree, g->own_leaf), c));

    const signature_key *signer = c->new_signer ? &c->signer : &g->signer;
    extension external = {.type = EXTENSION_EXTERNAL_PUB};
    TRY(external_pub(g, c, a, &external.data));
    TRY(group_info_make(s, c, signer, &(extension_list){&external, 1}, a, &out->group_info));
    out->welcome = SPAN_NONE;
    if (effects.added.n > 0)
        TRY(welcome_make(s, c, signer, effects.key_packages, with_path ? &st->path : NULL, &st->joiner,
                         &st->welcome_secret, a, &out->welcome));
    return send_commit(g, content, &auth, a, &out->commit);
}

err group_stage_commit(group *g, const commit_params *params, arena *a, commit_output *out, staged_commit **staged) {
    if (g->removed)
        return ERR_REMOVED;
    if (g->pending != NULL)
        return ERR_PENDING_COMMIT;
    TRY(ratchet_tree_load(&g->tree, a));
    TRY(group_load_keys(g, a));
    staging *st = ARENA_NEW(a, staging);
    if (st == NULL || (st->content = ARENA_NEW(a, framed_content)) == NULL)
        return ERR_ARENA;
    staged_commit *c;
    TRY(staged_commit_new(g, g->own_leaf, &c));
    c->own = true;
    err e = stage(g, params, a, out, c, st);
    wipe(st, sizeof *st);
    if (e != OK) {
        staged_commit_free(c);
        return e;
    }
    g->pending = *staged = c;
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

static err merge(group *g, staged_commit *c, arena *a) {
    uint64_t old_epoch = g->context->epoch;
    TRY(group_load_keys(g, a));
    if (c->removes_us)
        return merge_removal(g, a);
    TRY(group_end_epoch(g, old_epoch + 1, a));
    g->context = c->context;
    c->context = NULL;
    g->secrets = c->secrets;
    memcpy(g->interim, c->interim, sizeof g->interim);
    memcpy(g->confirmation_tag, c->confirmation_tag, sizeof g->confirmation_tag);
    if (c->new_signer)
        g->signer = c->signer;
    TRY(ratchet_tree_merge(&g->tree, &c->tree, &g->host.records, old_epoch, &g->past[0]->leaves, a));
    private_path before = g->keys;
    g->keys = c->keys;
    err e = group_put_keys(g, &before, a);
    wipe(&before, sizeof before);
    TRY(e);
    TRY(secret_tree_init(&g->messages, g->suite, &g->host.records, g->context->epoch, g->tree.leaf_count,
                         &g->secrets.encryption, a));
    return group_put(g, a);
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
