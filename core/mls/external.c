#include "mls/external.h"

#include "mls/commit.h"
#include "mls/framing.h"
#include "mls/key_package.h"
#include "mls/validate.h"
#include "mls/welcome.h"

/* --- §8.3 --- */

static const char init_label[] = "MLS 1.0 external init secret";

err external_init_open(const suite *s, const secret *external_secret, span kem_output, secret *init) {
    kem_key_pair pair;
    err e;
    init->n = s->hash_size;
    TRY_OUT(key_schedule_external(s, secret_span(external_secret), &pair));
    TRY_OUT(hpke_receive_export(s, pair.private_key, kem_output, SPAN_NONE, span_text(init_label), init->b, init->n));
out:
    wipe(&pair, sizeof pair);
    return e;
}

static err make_init(const suite *s, const group_info *info, arena *a, secret *init, span *kem_output) {
    const extension *x = extension_find(&info->extensions, EXTENSION_EXTERNAL_PUB);
    span key = SPAN_NONE;
    if (x == NULL)
        return ERR_NOT_FOUND;
    TRY(WIRE_DECODE(x->data, a, wire_opaque, &key));
    uint8_t *out = arena_take(a, s->kem_output_size, 1);
    if (out == NULL)
        return ERR_ARENA;
    init->n = s->hash_size;
    *kem_output = span_of(out, s->kem_output_size);
    return hpke_send_export(s, key, SPAN_NONE, span_text(init_label), out, init->b, init->n);
}

/* --- joining (§12.4.3.2) --- */

static err find_old_leaf(const group *g, const leaf_params *params, arena *a, uint32_t *out) {
    leaf_node mine;
    TRY(leaf_node_from_params(g->suite, params, a, &mine));
    for (uint32_t i = 0; i < g->tree.leaf_count; i++) {
        const leaf_node *leaf = ratchet_tree_leaf(&g->tree, i);
        if (leaf != NULL && validate_same_credential(leaf, &mine)) {
            *out = i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

static err join(group *g, const external_join_params *join, const group_info *info, arena *a, span *message) {
    span kem_output;
    uint32_t old;
    commit_params params = {
        .leaf = join->leaf, .psks = join->psks, .psk_count = join->psk_count, .aad = join->aad, .removes = &old};
    g->own_leaf = UINT32_MAX; /* none yet */
    TRY(group_info_enter(g, info, join->ratchet_tree, a));
    if (join->resync) {
        TRY(find_old_leaf(g, join->leaf, a, &old));
        params.remove_count = 1;
    }
    TRY(make_init(g->suite, info, a, &g->secrets.init, &kem_output));
    return commit_external(g, &params, kem_output, a, message);
}

err group_join_external(const group_host *host, const external_join_params *params, arena *a, span *message,
                        group **out) {
    group_info *info = ARENA_NEW(a, group_info);
    if (info == NULL)
        return ERR_ARENA;
    TRY(WIRE_DECODE(params->group_info, a, wire_group_info, info));
    const suite *s = suite_find(info->context.cipher_suite);
    if (s == NULL || info->context.version != MLS_VERSION)
        return ERR_UNSUPPORTED;
    group *g;
    TRY(group_new(host, s, params->leaf->signer, &g));
    err e = join(g, params, info, a, message);
    if (e != OK) {
        group_close(g);
        return e;
    }
    *out = g;
    return OK;
}

/* --- proposing (§12.1.8) --- */

static err send_proposal(const external_proposer *by, sender_type type, const proposal *p, arena *a, span *message) {
    framed_content *content = ARENA_NEW(a, framed_content);
    if (content == NULL)
        return ERR_ARENA;
    *content = (framed_content){
        .group_id = by->group_id,
        .epoch = by->epoch,
        .sender = {.type = (uint8_t)type, .index = by->index},
        .type = CONTENT_PROPOSAL,
    };
    content->proposal = *p;
    framed_tbs tbs;
    framed_content_auth auth = {.content_type = CONTENT_PROPOSAL};
    TRY(framing_tbs(FORMAT_PUBLIC_MESSAGE, content, SPAN_NONE, a, &tbs));
    TRY(framing_sign(by->signer, &tbs, a, &auth));
    return framing_protect_public(by->suite, SPAN_NONE, content, &tbs, &auth, a, message);
}

err external_propose(const external_proposer *by, const proposal *p, arena *a, span *message) {
    if (p->type == PROPOSAL_UPDATE || p->type == PROPOSAL_EXTERNAL_INIT)
        return ERR_PROPOSAL;
    return send_proposal(by, SENDER_EXTERNAL, p, a, message);
}

err external_propose_join(const external_proposer *by, span key_package, arena *a, span *message) {
    proposal *p = ARENA_NEW(a, proposal);
    if (p == NULL)
        return ERR_ARENA;
    p->type = PROPOSAL_ADD;
    TRY(WIRE_DECODE(key_package, a, wire_key_package, &p->add));
    /* The members verify with the key of the leaf. */
    if (!span_equal(p->add.leaf.signature_key, signature_key_public(by->signer)))
        return ERR_KEY;
    return send_proposal(by, SENDER_NEW_MEMBER_PROPOSAL, p, a, message);
}

/* --- receiving --- */

err external_sender_key(const group_context *context, const framed_content *content, arena *a, span *key,
                        const leaf_node **leaf) {
    const extension *x = extension_find(&context->extensions, EXTENSION_EXTERNAL_SENDERS);
    external_sender_list senders = {0};
    *leaf = NULL;
    switch (content->sender.type) {
    case SENDER_EXTERNAL:
        if (content->type != CONTENT_PROPOSAL || x == NULL)
            return ERR_SENDER;
        TRY(WIRE_DECODE(x->data, a, wire_external_sender_list, &senders));
        if (content->sender.index >= senders.n)
            return ERR_SENDER;
        *key = senders.p[content->sender.index].signature_key;
        return OK;
    case SENDER_NEW_MEMBER_PROPOSAL:
        if (content->type != CONTENT_PROPOSAL || content->proposal.type != PROPOSAL_ADD)
            return ERR_SENDER;
        *leaf = &content->proposal.add.leaf;
        break;
    default: /* SENDER_NEW_MEMBER_COMMIT */
        if (content->type != CONTENT_COMMIT)
            return ERR_SENDER;
        if (!content->commit.has_path) /* §12.4.3.2: "the commit MUST include a path" */
            return ERR_PROPOSAL;
        *leaf = &content->commit.path.leaf;
    }
    *key = (*leaf)->signature_key;
    return OK;
}
