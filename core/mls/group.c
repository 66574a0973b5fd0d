#include "mls/group.h"

#include <stdlib.h>

#include "crypto/random.h"
#include "mls/commit.h"
#include "mls/external.h"
#include "mls/group_state.h"
#include "mls/key_package.h"
#include "mls/owned.h"
#include "mls/proposal.h"
#include "mls/psk.h"
#include "mls/validate.h"

/* --- creating (§11) --- */

static err first_leaf(group *g, const group_params *group_of, arena *a) {
    const leaf_params *params = group_of->leaf;
    const group_context context = {.extensions = group_of->extensions};
    kem_key_pair pair;
    err e;
    leaf_node leaf;
    span encoded;
    TRY(validate_extensions(&context.extensions, a));
    TRY_OUT(suite_generate_key_pair(g->suite, &pair));
    TRY_OUT(leaf_node_from_params(g->suite, params, a, &leaf));
    leaf.source = LEAF_KEY_PACKAGE;
    leaf.encryption_key = span_of(pair.public_key, g->suite->kem_public_size);
    TRY_OUT(leaf_node_sign(params->signer, &leaf, NULL, a, &encoded));
    TRY_OUT(validate_supports_context(&leaf, &context, a));
    TRY_OUT(group_check_leaf(&g->host, &leaf, NULL));
    TRY_OUT(ratchet_tree_init(&g->tree, g->suite, 1));
    TRY_OUT(ratchet_tree_set_leaf(&g->tree, 0, encoded, a));
    g->keys.known[0] = g->keys_loaded = true;
    memcpy(g->keys.keys[0], pair.private_key, KEM_PRIVATE_SIZE);
out:
    wipe(&pair, sizeof pair);
    return e;
}

/* "epoch: 0; tree_hash: of the tree; confirmed_transcript_hash: zero-length; interim_transcript_hash: from the
 * confirmation tag over it; epoch secret: fresh random" */
static err first_epoch(group *g, const group_params *params, arena *a) {
    const suite *s = g->suite;
    uint8_t hash[HASH_MAX];
    TRY(ratchet_tree_root_hash(&g->tree, hash));
    group_context context = {
        .version = MLS_VERSION,
        .cipher_suite = s->id,
        .group_id = params->group_id,
        .tree_hash = span_of(hash, s->hash_size),
        .extensions = params->extensions,
    };
    span encoded;
    TRY(WIRE_ENCODE(a, wire_group_context, &context, &encoded));
    TRY(OWNED_DECODE(encoded, wire_group_context, group_context, a, &g->context));
    /* Random input instead of a random epoch_secret: the secrets are as random, by the same schedule as ever. */
    secret fresh = {.n = s->hash_size};
    random_bytes(fresh.b, fresh.n);
    static const uint8_t zeros[SECRET_MAX];
    err e = key_schedule_epoch(s, secret_span(&fresh), span_of(zeros, s->hash_size), encoded, NULL, &g->secrets);
    secret_wipe(&fresh);
    TRY(e);
    confirmation_tag_make(s, secret_span(&g->secrets.confirmation_key), SPAN_NONE, g->confirmation_tag);
    return transcript_interim(s, SPAN_NONE, span_of(g->confirmation_tag, s->hash_size), g->interim);
}

err group_create(const group_host *host, const group_params *params, arena *a, group **out) {
    group *g;
    TRY(group_new(host, params->suite, params->leaf->signer, &g));
    err e;
    TRY_OUT(first_leaf(g, params, a));
    TRY_OUT(first_epoch(g, params, a));
    TRY_OUT(group_store_new(g, a));
    *out = g;
    g = NULL;
out:
    group_close(g);
    return e;
}

/* --- looking --- */

uint64_t group_epoch(const group *g) { return g->context->epoch; }
span group_id(const group *g) { return g->context->group_id; }
const suite *group_suite(const group *g) { return g->suite; }
uint32_t group_own_leaf(const group *g) { return g->own_leaf; }
uint32_t group_leaf_count(const group *g) { return g->tree.leaf_count; }
span group_epoch_authenticator(const group *g) { return secret_span(&g->secrets.epoch_authenticator); }
const group_context *group_present_context(const group *g) { return g->context; }
const re_init *group_re_init(const group *g) { return g->re_init; }
const group_refusals *group_count_refusals(const group *g) { return &g->refusals; }

err group_member(group *g, uint32_t leaf, const leaf_node **out) {
    *out = ratchet_tree_leaf(&g->tree, leaf);
    if (*out != NULL || leaf >= g->tree.leaf_count || g->tree.records == NULL)
        return OK;
    arena scratch;
    TRY(arena_init(&scratch, GROUP_SCRATCH));
    err e = ratchet_tree_load_leaf(&g->tree, leaf, &scratch, out);
    arena_free(&scratch);
    return e;
}

err group_export_secret(group *g, const char *label, span context, uint8_t *out, size_t n) {
    if (g->removed)
        return ERR_REMOVED;
    return key_schedule_export(g->suite, secret_span(&g->secrets.exporter), label, context, out, n);
}

/* --- sending --- */

static err seal(group *g, const framed_content *content, const framed_content_auth *auth, arena *a, span *message) {
    secret_tree_step step;
    ratchet_kind kind = content->type == CONTENT_APPLICATION ? RATCHET_APPLICATION : RATCHET_HANDSHAKE;
    TRY(secret_tree_prepare_next(&g->messages, g->own_leaf, kind, a, &step));
    err e = framing_protect_private(g->suite, secret_span(&g->secrets.sender_data), &step, content, auth, a, message);
    if (e != OK) {
        secret_tree_step_wipe(&step);
        return e;
    }
    return secret_tree_accept(&g->messages, &step, a);
}

/* `proposal_ref`: NULL, or receives the reference of the proposal that is sent. */
static err send(group *g, const framed_content *content, arena *a, uint8_t *proposal_ref, span *message) {
    bool public = content->type != CONTENT_APPLICATION && g->host.public_handshakes;
    framed_tbs tbs;
    framed_content_auth auth = {.content_type = content->type};
    TRY(framing_tbs(public ? FORMAT_PUBLIC_MESSAGE : FORMAT_PRIVATE_MESSAGE, content, g->context->encoded, a, &tbs));
    TRY(framing_sign(&g->signer, &tbs, a, &auth));
    if (proposal_ref != NULL)
        TRY(framing_proposal_ref(g->suite, &tbs, &auth, a, proposal_ref));
    if (!public)
        return seal(g, content, &auth, a, message);
    return framing_protect_public(g->suite, secret_span(&g->secrets.membership_key), content, &tbs, &auth, a, message);
}

static framed_content own_content(const group *g, content_type type, span aad) {
    return (framed_content){
        .group_id = g->context->group_id,
        .epoch = g->context->epoch,
        .sender = {.type = SENDER_MEMBER, .leaf = g->own_leaf},
        .authenticated_data = aad,
        .type = (uint8_t)type,
    };
}

err group_protect(group *g, span plaintext, span aad, arena *a, span *message) {
    TRY(group_check_open(g));
    framed_content content = own_content(g, CONTENT_APPLICATION, aad);
    content.application_data = plaintext;
    return send(g, &content, a, NULL, message);
}

/* Held against the same rules as another's, so that what we send can be committed. `keys`: of an Update, else NULL. */
static err propose(group *g, const proposal *p, const update_keys *keys, arena *a, span *message) {
    uint8_t reference[HASH_MAX];
    span encoded;
    const leaf_node *own;
    proposal *again = ARENA_NEW(a, proposal);
    framed_content *content = ARENA_NEW(a, framed_content);
    if (again == NULL || content == NULL)
        return ERR_ARENA;
    TRY(group_check_open(g));
    TRY(ratchet_tree_load_leaf(&g->tree, g->own_leaf, a, &own));
    if (own == NULL)
        return ERR_STORE_CORRUPT;
    TRY(WIRE_ENCODE(a, wire_proposal, p, &encoded));
    TRY(WIRE_DECODE(encoded, a, wire_proposal, again));
    *content = own_content(g, CONTENT_PROPOSAL, SPAN_NONE);
    TRY(proposal_validate(g, again, &content->sender, own, a));
    content->proposal = *p;
    TRY(send(g, content, a, reference, message));
    return group_add_proposal(g, reference, &content->sender, encoded, keys, a);
}

err group_propose_add(group *g, span key_package, arena *a, span *message) {
    proposal p = {.type = PROPOSAL_ADD};
    TRY(WIRE_DECODE(key_package, a, wire_key_package, &p.add));
    return propose(g, &p, NULL, a, message);
}

err group_propose_update(group *g, const leaf_params *leaf, arena *a, span *message) {
    TRY(group_check_open(g));
    const leaf_node *own;
    TRY(ratchet_tree_load_leaf(&g->tree, g->own_leaf, a, &own));
    if (own == NULL)
        return ERR_STORE_CORRUPT;
    kem_key_pair pair;
    update_keys keys = {.new_signer = leaf != NULL, .signer = leaf != NULL ? *leaf->signer : g->signer};
    err e;
    proposal p = {.type = PROPOSAL_UPDATE};
    leaf_place place = {g->context->group_id, g->own_leaf};
    span encoded;
    TRY_OUT(suite_generate_key_pair(g->suite, &pair));
    p.update = *own;
    if (leaf != NULL)
        TRY_OUT(leaf_node_from_params(g->suite, leaf, a, &p.update));
    p.update.source = LEAF_UPDATE;
    p.update.encryption_key = span_of(pair.public_key, g->suite->kem_public_size);
    TRY_OUT(leaf_node_sign(&keys.signer, &p.update, &place, a, &encoded));
    memcpy(keys.leaf, pair.private_key, sizeof keys.leaf);
    TRY_OUT(propose(g, &p, &keys, a, message));
out:
    wipe(&pair, sizeof pair);
    wipe(&keys, sizeof keys);
    return e;
}

err group_propose_remove(group *g, uint32_t leaf, arena *a, span *message) {
    proposal p = {.type = PROPOSAL_REMOVE};
    p.remove = leaf;
    return propose(g, &p, NULL, a, message);
}

err group_propose_psk(group *g, const psk_id *id, arena *a, span *message) {
    proposal p = {.type = PROPOSAL_PSK};
    TRY(psk_with_nonce(g->suite, id, a, &p.psk));
    return propose(g, &p, NULL, a, message);
}

err group_propose_re_init(group *g, const re_init *re_init, arena *a, span *message) {
    proposal p = {.type = PROPOSAL_REINIT};
    p.re_init = *re_init;
    return propose(g, &p, NULL, a, message);
}

err group_propose_extensions(group *g, const extension_list *extensions, arena *a, span *message) {
    proposal p = {.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS};
    p.extensions = *extensions;
    return propose(g, &p, NULL, a, message);
}

/* --- receiving --- */

/* A message taken apart and verified. */
typedef struct received {
    framed_content content;
    framed_content_auth auth;
    framed_tbs tbs;
    const leaf_node *sender_leaf;
    secret_tree_step step; /* accepted when all else is done; PrivateMessage only */
    secret_tree *messages;
    uint32_t generation;
} received;

/* The parts of an epoch that reading a message needs. */
typedef struct epoch_view {
    const group_context *context;
    const secret *sender_data;
    secret_tree *messages;
} epoch_view;

static err find_epoch(group *g, uint64_t epoch, arena *a, epoch_view *out) {
    if (epoch > g->context->epoch)
        return g->removed ? ERR_REMOVED : ERR_WRONG_EPOCH;
    if (epoch == g->context->epoch) {
        if (g->removed)
            return ERR_REMOVED;
        *out = (epoch_view){g->context, &g->secrets.sender_data, &g->messages};
        return OK;
    }
    past_epoch *p;
    TRY(group_find_past(g, epoch, a, &p));
    *out = (epoch_view){p->context, &p->sender_data, &p->messages};
    return OK;
}

static err find_sender(group *g, uint64_t epoch, uint32_t leaf, arena *a, const leaf_node **out) {
    if (leaf == g->own_leaf) /* one's own message came back: the key is gone already, and its content is known */
        return ERR_STATE;
    TRY(group_leaf_in_epoch(g, epoch, leaf, a, out));
    return *out != NULL ? OK : ERR_SENDER;
}

static err open_private(group *g, private_message *m, arena *a, received *r) {
    epoch_view epoch;
    sender_data sent_by;
    TRY(find_epoch(g, m->epoch, a, &epoch));
    /* §14: handshakes belong to the present epoch alone; one of a past epoch lost against the commit that won. */
    if (m->content_type != CONTENT_APPLICATION && m->epoch != g->context->epoch)
        return ERR_WRONG_EPOCH;
    TRY(framing_open_sender_data(g->suite, secret_span(epoch.sender_data), m, a, &sent_by));
    TRY(find_sender(g, m->epoch, sent_by.leaf, a, &r->sender_leaf));
    ratchet_kind kind = m->content_type == CONTENT_APPLICATION ? RATCHET_APPLICATION : RATCHET_HANDSHAKE;
    TRY(secret_tree_prepare(epoch.messages, sent_by.leaf, kind, sent_by.generation, a, &r->step));
    r->messages = epoch.messages;
    r->generation = sent_by.generation;
    TRY(framing_open_private(g->suite, m, &sent_by, &r->step, a, &r->content, &r->auth));
    /* §6.1: with the key of the sender's leaf in the epoch of the message. */
    TRY(framing_tbs(FORMAT_PRIVATE_MESSAGE, &r->content, epoch.context->encoded, a, &r->tbs));
    return framing_verify(r->sender_leaf->signature_key, &r->tbs, &r->auth, a);
}

static err open_public(group *g, public_message *m, arena *a, received *r) {
    epoch_view epoch;
    TRY(find_epoch(g, m->content.epoch, a, &epoch));
    if (m->content.epoch != g->context->epoch)
        return ERR_WRONG_EPOCH;
    /* §6: application data MUST NOT be sent as PublicMessage. */
    if (m->content.type == CONTENT_APPLICATION)
        return ERR_INVALID;
    r->content = m->content;
    r->auth = m->auth;
    uint8_t from = m->content.sender.type;
    span key;
    if (from == SENDER_MEMBER) {
        TRY(find_sender(g, m->content.epoch, m->content.sender.leaf, a, &r->sender_leaf));
        key = r->sender_leaf->signature_key;
    } else {
        TRY(external_sender_key(g->context, &r->content, a, &key, &r->sender_leaf));
    }
    /* §6.1: members and those who join by a commit sign with the GroupContext, others don't have it. */
    bool with_context = from == SENDER_MEMBER || from == SENDER_NEW_MEMBER_COMMIT;
    TRY(framing_tbs(FORMAT_PUBLIC_MESSAGE, &r->content, with_context ? epoch.context->encoded : SPAN_NONE, a, &r->tbs));
    if (from == SENDER_MEMBER)
        TRY(framing_check_membership(g->suite, secret_span(&g->secrets.membership_key), &r->tbs, &r->auth,
                                     m->membership_tag, a));
    return framing_verify(key, &r->tbs, &r->auth, a);
}

static err copy_leaf(const leaf_node *leaf, arena *a, const leaf_node **out) {
    span encoded;
    leaf_node *copy = ARENA_NEW(a, leaf_node);
    if (copy == NULL)
        return ERR_ARENA;
    TRY(arena_copy(a, leaf->encoded, &encoded));
    *out = copy;
    return WIRE_DECODE(encoded, a, wire_leaf_node, copy);
}

/* Everything that can fail first, then the step; so that an error leaves all as it was. */
static err take_in(group *g, received *r, arena *a, incoming *out) {
    const sender *from = &r->content.sender;
    *out = (incoming){
        .epoch = r->content.epoch,
        .from = (sender_type)from->type,
        .sender = from->type == SENDER_EXTERNAL ? from->index : from->leaf,
        .generation = r->generation,
        .aad = r->content.authenticated_data,
    };
    if (r->sender_leaf != NULL)
        TRY(copy_leaf(r->sender_leaf, a, &out->sender_leaf));
    switch (r->content.type) {
    case CONTENT_APPLICATION:
        out->kind = INCOMING_APPLICATION;
        out->plaintext = r->content.application_data;
        return r->messages != NULL ? secret_tree_accept(r->messages, &r->step, a) : OK;
    case CONTENT_PROPOSAL: {
        uint8_t reference[HASH_MAX];
        out->kind = INCOMING_PROPOSAL;
        out->proposal = &r->content.proposal;
        if (g->re_init != NULL)
            return ERR_REINIT;
        TRY(framing_proposal_ref(g->suite, &r->tbs, &r->auth, a, reference));
        TRY(group_load_proposals(g, a));
        if (proposals_find(g, span_of(reference, g->suite->hash_size)) != NULL) /* a PublicMessage sent again */
            return ERR_REPLAY;
        TRY(proposal_validate(g, &r->content.proposal, from, r->sender_leaf, a));
        TRY(group_add_proposal(g, reference, from, r->content.proposal.encoded, NULL, a));
        err e = r->messages != NULL ? secret_tree_accept(r->messages, &r->step, a) : OK;
        if (e != OK)
            TRY(group_undo_proposal(g));
        return e;
    }
    default:
        /* The handshake key is not consumed here: it ends with the epoch when the commit is merged, and a commit that is
         * dropped leaves no trace. */
        out->kind = INCOMING_COMMIT;
        TRY(commit_process(g, &r->content, &r->tbs, &r->auth, a, &out->staged));
        out->sender = staged_commit_sender(out->staged);
        return OK;
    }
}

static void count_refusal(group_refusals *n, err e) {
    n->too_far_ahead += e == ERR_TOO_FAR_AHEAD;
    n->key_dropped += e == ERR_KEY_DROPPED;
    n->epoch_gone += e == ERR_EPOCH_GONE;
    n->epoch_expired += e == ERR_EPOCH_EXPIRED;
}

err group_process(group *g, span message, arena *a, incoming *out) {
    mls_message *m = ARENA_NEW(a, mls_message);
    received *r = ARENA_NEW(a, received);
    if (m == NULL || r == NULL)
        return ERR_ARENA;
    TRY(WIRE_DECODE(message, a, wire_mls_message, m));
    bool private = m->wire_format == FORMAT_PRIVATE_MESSAGE;
    if (!private && m->wire_format != FORMAT_PUBLIC_MESSAGE)
        return ERR_UNSUPPORTED;
    span id = private ? m->private_message.group_id : m->public_message.content.group_id;
    if (!span_equal(id, g->context->group_id))
        return ERR_WRONG_GROUP;
    err e = private ? open_private(g, &m->private_message, a, r) : open_public(g, &m->public_message, a, r);
    if (e == OK)
        e = take_in(g, r, a, out);
    secret_tree_step_wipe(&r->step);
    count_refusal(&g->refusals, e);
    return e;
}
