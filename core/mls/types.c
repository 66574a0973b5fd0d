#include "mls/types.h"

/* Where a struct begins in the input, and what was read since: the raw bytes behind `encoded` and `body`. */
static void capture(const wire *w, size_t start, span *bytes) {
    if (wire_reading(w))
        *bytes = w->error == OK ? span_of(w->in + start, w->at - start) : SPAN_NONE;
}

static void check_range(wire *w, unsigned value, unsigned low, unsigned high) {
    if (value < low || value > high)
        wire_fail(w, ERR_MALFORMED);
}

static void wire_u16_list(wire *w, u16_list *o) { WIRE_VEC(w, *o, wire_u16); }

bool u16_list_has(const u16_list *list, uint16_t value) {
    for (size_t i = 0; i < list->n; i++)
        if (list->p[i] == value)
            return true;
    return false;
}

/* --- §5.3, §13 --- */

void wire_credential(wire *w, credential *o) {
    wire_u16(w, &o->type);
    switch (o->type) {
    case CREDENTIAL_BASIC: wire_opaque(w, &o->identity); break;
    case CREDENTIAL_X509: WIRE_VEC(w, o->certificates, wire_opaque); break;
    default: wire_fail(w, ERR_UNSUPPORTED); /* no grammar to read it by */
    }
}

void wire_extension(wire *w, extension *o) {
    wire_u16(w, &o->type);
    wire_opaque(w, &o->data);
}

void wire_extension_list(wire *w, extension_list *o) { WIRE_VEC(w, *o, wire_extension); }

const extension *extension_find(const extension_list *list, uint16_t type) {
    for (size_t i = 0; i < list->n; i++)
        if (list->p[i].type == type)
            return &list->p[i];
    return NULL;
}

void wire_required_capabilities(wire *w, required_capabilities *o) {
    wire_u16_list(w, &o->extensions);
    wire_u16_list(w, &o->proposals);
    wire_u16_list(w, &o->credentials);
}

void wire_external_sender(wire *w, external_sender *o) {
    wire_opaque(w, &o->signature_key);
    wire_credential(w, &o->credential);
}

void wire_external_sender_list(wire *w, external_sender_list *o) { WIRE_VEC(w, *o, wire_external_sender); }

/* --- §7.1, §7.2, §10 --- */

void wire_capabilities(wire *w, capabilities *o) {
    wire_u16_list(w, &o->versions);
    wire_u16_list(w, &o->cipher_suites);
    wire_u16_list(w, &o->extensions);
    wire_u16_list(w, &o->proposals);
    wire_u16_list(w, &o->credentials);
}

void wire_lifetime(wire *w, lifetime *o) {
    wire_u64(w, &o->not_before);
    wire_u64(w, &o->not_after);
}

void wire_leaf_node_body(wire *w, leaf_node *o) {
    wire_opaque(w, &o->encryption_key);
    wire_opaque(w, &o->signature_key);
    wire_credential(w, &o->credential);
    wire_capabilities(w, &o->capabilities);
    wire_u8(w, &o->source);
    switch (o->source) {
    case LEAF_KEY_PACKAGE: wire_lifetime(w, &o->lifetime); break;
    case LEAF_UPDATE: break;
    case LEAF_COMMIT: wire_opaque(w, &o->parent_hash); break;
    default: wire_fail(w, ERR_MALFORMED);
    }
    wire_extension_list(w, &o->extensions);
}

void wire_leaf_node(wire *w, leaf_node *o) {
    size_t start = w->at;
    wire_leaf_node_body(w, o);
    capture(w, start, &o->body);
    wire_opaque(w, &o->signature);
    capture(w, start, &o->encoded);
}

void wire_parent_node(wire *w, parent_node *o) {
    wire_opaque(w, &o->encryption_key);
    wire_opaque(w, &o->parent_hash);
    WIRE_VEC(w, o->unmerged_leaves, wire_u32);
}

void wire_optional_node(wire *w, optional_node *o) {
    wire_bool(w, &o->present);
    if (!o->present)
        return;
    wire_u8(w, &o->type);
    switch (o->type) {
    case NODE_LEAF: wire_leaf_node(w, &o->leaf); break;
    case NODE_PARENT: wire_parent_node(w, &o->parent); break;
    default: wire_fail(w, ERR_MALFORMED);
    }
}

void wire_optional_node_list(wire *w, optional_node_list *o) { WIRE_VEC(w, *o, wire_optional_node); }

void wire_key_package_body(wire *w, key_package *o) {
    wire_u16(w, &o->version);
    wire_u16(w, &o->cipher_suite);
    wire_opaque(w, &o->init_key);
    wire_leaf_node(w, &o->leaf);
    wire_extension_list(w, &o->extensions);
}

void wire_key_package(wire *w, key_package *o) {
    size_t start = w->at;
    wire_key_package_body(w, o);
    capture(w, start, &o->body);
    wire_opaque(w, &o->signature);
    capture(w, start, &o->encoded);
}

/* --- §8.1, §12.4.3 --- */

void wire_group_context(wire *w, group_context *o) {
    size_t start = w->at;
    wire_u16(w, &o->version);
    wire_u16(w, &o->cipher_suite);
    wire_opaque(w, &o->group_id);
    wire_u64(w, &o->epoch);
    wire_opaque(w, &o->tree_hash);
    wire_opaque(w, &o->confirmed_transcript_hash);
    wire_extension_list(w, &o->extensions);
    capture(w, start, &o->encoded);
}

void wire_group_info_body(wire *w, group_info *o) {
    wire_group_context(w, &o->context);
    wire_extension_list(w, &o->extensions);
    wire_opaque(w, &o->confirmation_tag);
    wire_u32(w, &o->signer);
}

void wire_group_info(wire *w, group_info *o) {
    size_t start = w->at;
    wire_group_info_body(w, o);
    capture(w, start, &o->body);
    wire_opaque(w, &o->signature);
    capture(w, start, &o->encoded);
}

/* --- §8.4, §12.1 --- */

void wire_psk_id(wire *w, psk_id *o) {
    wire_u8(w, &o->type);
    switch (o->type) {
    case PSK_EXTERNAL: wire_opaque(w, &o->external_id); break;
    case PSK_RESUMPTION:
        wire_u8(w, &o->usage);
        check_range(w, o->usage, PSK_USAGE_APPLICATION, PSK_USAGE_BRANCH);
        wire_opaque(w, &o->group_id);
        wire_u64(w, &o->epoch);
        break;
    default: wire_fail(w, ERR_MALFORMED);
    }
    wire_opaque(w, &o->nonce);
}

void wire_psk_label(wire *w, psk_label *o) {
    wire_psk_id(w, &o->id);
    wire_u16(w, &o->index);
    wire_u16(w, &o->count);
}

void wire_re_init(wire *w, re_init *o) {
    wire_opaque(w, &o->group_id);
    wire_u16(w, &o->version);
    wire_u16(w, &o->cipher_suite);
    wire_extension_list(w, &o->extensions);
}

void wire_proposal(wire *w, proposal *o) {
    size_t start = w->at;
    wire_u16(w, &o->type);
    switch (o->type) {
    case PROPOSAL_ADD: wire_key_package(w, &o->add); break;
    case PROPOSAL_UPDATE: wire_leaf_node(w, &o->update); break;
    case PROPOSAL_REMOVE: wire_u32(w, &o->remove); break;
    case PROPOSAL_PSK: wire_psk_id(w, &o->psk); break;
    case PROPOSAL_REINIT: wire_re_init(w, &o->re_init); break;
    case PROPOSAL_EXTERNAL_INIT: wire_opaque(w, &o->kem_output); break;
    case PROPOSAL_GROUP_CONTEXT_EXTENSIONS: wire_extension_list(w, &o->extensions); break;
    default: wire_fail(w, ERR_UNSUPPORTED);
    }
    capture(w, start, &o->encoded);
}

void wire_proposal_or_ref(wire *w, proposal_or_ref *o) {
    wire_u8(w, &o->type);
    switch (o->type) {
    case PROPOSAL_BY_VALUE: wire_proposal(w, &o->proposal); break;
    case PROPOSAL_BY_REFERENCE: wire_opaque(w, &o->reference); break;
    default: wire_fail(w, ERR_MALFORMED);
    }
}

void wire_hpke_ciphertext(wire *w, hpke_ciphertext *o) {
    wire_opaque(w, &o->kem_output);
    wire_opaque(w, &o->ciphertext);
}

void wire_update_path_node(wire *w, update_path_node *o) {
    wire_opaque(w, &o->encryption_key);
    WIRE_VEC(w, o->encrypted_path_secret, wire_hpke_ciphertext);
}

void wire_update_path(wire *w, update_path *o) {
    wire_leaf_node(w, &o->leaf);
    WIRE_VEC(w, o->nodes, wire_update_path_node);
}

void wire_commit(wire *w, commit *o) {
    WIRE_VEC(w, o->proposals, wire_proposal_or_ref);
    wire_bool(w, &o->has_path);
    if (o->has_path)
        wire_update_path(w, &o->path);
}

/* --- §12.4.3.1 --- */

void wire_group_secrets(wire *w, group_secrets *o) {
    wire_opaque(w, &o->joiner_secret);
    wire_bool(w, &o->has_path_secret);
    if (o->has_path_secret)
        wire_opaque(w, &o->path_secret);
    WIRE_VEC(w, o->psks, wire_psk_id);
}

void wire_encrypted_group_secrets(wire *w, encrypted_group_secrets *o) {
    wire_opaque(w, &o->new_member);
    wire_hpke_ciphertext(w, &o->secrets);
}

void wire_welcome(wire *w, welcome *o) {
    wire_u16(w, &o->cipher_suite);
    WIRE_VEC(w, o->secrets, wire_encrypted_group_secrets);
    wire_opaque(w, &o->encrypted_group_info);
}

/* --- §6 --- */

void wire_sender(wire *w, sender *o) {
    wire_u8(w, &o->type);
    switch (o->type) {
    case SENDER_MEMBER: wire_u32(w, &o->leaf); break;
    case SENDER_EXTERNAL: wire_u32(w, &o->index); break;
    case SENDER_NEW_MEMBER_PROPOSAL:
    case SENDER_NEW_MEMBER_COMMIT: break;
    default: wire_fail(w, ERR_MALFORMED);
    }
}

void wire_framed_content_head(wire *w, framed_content *o) {
    wire_opaque(w, &o->group_id);
    wire_u64(w, &o->epoch);
    wire_sender(w, &o->sender);
    wire_opaque(w, &o->authenticated_data);
    wire_u8(w, &o->type);
    check_range(w, o->type, CONTENT_APPLICATION, CONTENT_COMMIT);
}

void wire_framed_content_select(wire *w, framed_content *o) {
    size_t start = w->at;
    switch (o->type) {
    case CONTENT_APPLICATION: wire_opaque(w, &o->application_data); break;
    case CONTENT_PROPOSAL: wire_proposal(w, &o->proposal); break;
    case CONTENT_COMMIT: wire_commit(w, &o->commit); break;
    default: wire_fail(w, ERR_MALFORMED);
    }
    capture(w, start, &o->select);
}

void wire_framed_content(wire *w, framed_content *o) {
    wire_framed_content_head(w, o);
    wire_framed_content_select(w, o);
}

void wire_framed_content_auth(wire *w, framed_content_auth *o) {
    wire_opaque(w, &o->signature);
    if (o->content_type == CONTENT_COMMIT)
        wire_opaque(w, &o->confirmation_tag);
}

void wire_authenticated_content(wire *w, authenticated_content *o) {
    wire_u16(w, &o->wire_format);
    wire_framed_content(w, &o->content);
    o->auth.content_type = o->content.type;
    wire_framed_content_auth(w, &o->auth);
}

void wire_public_message(wire *w, public_message *o) {
    wire_framed_content(w, &o->content);
    o->auth.content_type = o->content.type;
    wire_framed_content_auth(w, &o->auth);
    if (o->content.sender.type == SENDER_MEMBER)
        wire_opaque(w, &o->membership_tag);
}

void wire_sender_data_aad(wire *w, private_message *o) {
    wire_opaque(w, &o->group_id);
    wire_u64(w, &o->epoch);
    wire_u8(w, &o->content_type);
    check_range(w, o->content_type, CONTENT_APPLICATION, CONTENT_COMMIT);
}

void wire_private_content_aad(wire *w, private_message *o) {
    wire_sender_data_aad(w, o);
    wire_opaque(w, &o->authenticated_data);
}

void wire_private_message(wire *w, private_message *o) {
    wire_private_content_aad(w, o);
    wire_opaque(w, &o->encrypted_sender_data);
    wire_opaque(w, &o->ciphertext);
}

void wire_sender_data(wire *w, sender_data *o) {
    wire_u32(w, &o->leaf);
    wire_u32(w, &o->generation);
    wire_fixed(w, o->reuse_guard, sizeof o->reuse_guard);
}

static void wire_message_head(wire *w, mls_message *o) {
    wire_u16(w, &o->version);
    if (o->version != MLS_VERSION)
        wire_fail(w, ERR_UNSUPPORTED);
    wire_u16(w, &o->wire_format);
}

void wire_mls_message(wire *w, mls_message *o) {
    wire_message_head(w, o);
    switch (o->wire_format) {
    case FORMAT_PUBLIC_MESSAGE: wire_public_message(w, &o->public_message); break;
    case FORMAT_PRIVATE_MESSAGE: wire_private_message(w, &o->private_message); break;
    case FORMAT_WELCOME: wire_welcome(w, &o->welcome); break;
    case FORMAT_GROUP_INFO: wire_group_info(w, &o->group_info); break;
    case FORMAT_KEY_PACKAGE: wire_key_package(w, &o->key_package); break;
    default: wire_fail(w, ERR_UNSUPPORTED);
    }
}

err message_peek(span message, arena *a, span *group_id, uint64_t *epoch, content_type *type) {
    wire w;
    mls_message head = {0};
    framed_content content = {0};
    wire_read_init(&w, message, a);
    wire_message_head(&w, &head);
    switch (head.wire_format) {
    case FORMAT_PRIVATE_MESSAGE:
        wire_sender_data_aad(&w, &head.private_message);
        content.group_id = head.private_message.group_id;
        content.epoch = head.private_message.epoch;
        content.type = head.private_message.content_type;
        break;
    case FORMAT_PUBLIC_MESSAGE: wire_framed_content_head(&w, &content); break;
    default: wire_fail(&w, ERR_UNSUPPORTED);
    }
    TRY(w.error);
    *group_id = content.group_id;
    *epoch = content.epoch;
    *type = (content_type)content.type;
    return OK;
}
