#include "mls/key_package.h"

/* Puts what is not there yet; the array has room. */
static void list_add(u16_list *list, uint16_t value) {
    if (!u16_list_has(list, value))
        list->p[list->n++] = value;
}

static err list_start(u16_list *list, uint16_t first, const u16_list *more, size_t room, arena *a) {
    list->p = ARENA_ARRAY(a, uint16_t, 1 + more->n + room);
    if (list->p == NULL)
        return ERR_ARENA;
    list_add(list, first);
    for (size_t i = 0; i < more->n; i++)
        list_add(list, more->p[i]);
    return OK;
}

err leaf_node_from_params(const suite *s, const leaf_params *params, arena *a, leaf_node *leaf) {
    *leaf = (leaf_node){
        .signature_key = signature_key_public(params->signer),
        .credential = {.type = CREDENTIAL_BASIC, .identity = params->identity},
        .lifetime = {params->not_before, params->not_after},
        .extensions = params->extensions,
    };
    if (params->credential != NULL)
        leaf->credential = *params->credential;
    capabilities *can = &leaf->capabilities;
    const u16_list none = {0};
    TRY(list_start(&can->versions, MLS_VERSION, &none, 0, a));
    TRY(list_start(&can->cipher_suites, s->id, &none, 0, a));
    TRY(list_start(&can->credentials, leaf->credential.type, &params->credential_types, 0, a));
    can->proposals = params->proposal_types;
    /* §7.2: what is in the leaf or its key package is listed, unless it is a default one. */
    TRY(list_start(&can->extensions, EXTENSION_LAST_RESORT, &params->extension_types, params->extensions.n, a));
    for (size_t i = 0; i < params->extensions.n; i++)
        if (!extension_is_default(params->extensions.p[i].type))
            list_add(&can->extensions, params->extensions.p[i].type);
    return OK;
}

typedef struct leaf_tbs {
    leaf_node *leaf;
    const leaf_place *place;
} leaf_tbs;

static void wire_leaf_tbs(wire *w, leaf_tbs *o) {
    wire_leaf_node_body(w, o->leaf);
    if (o->place != NULL) {
        leaf_place place = *o->place;
        wire_opaque(w, &place.group_id);
        wire_u32(w, &place.leaf);
    }
}

err leaf_node_sign(const signature_key *signer, leaf_node *leaf, const leaf_place *place, arena *a, span *encoded) {
    leaf_tbs input = {leaf, leaf->source == LEAF_KEY_PACKAGE ? NULL : place};
    span tbs;
    uint8_t *signature = arena_take(a, SIGNATURE_SIZE, 1);
    if (signature == NULL)
        return ERR_ARENA;
    TRY(WIRE_ENCODE(a, wire_leaf_tbs, &input, &tbs));
    TRY(signature_sign_with_label(signer, "LeafNodeTBS", tbs, a, signature));
    leaf->signature = span_of(signature, SIGNATURE_SIZE);
    return WIRE_ENCODE(a, wire_leaf_node, leaf, encoded);
}

static err make(const suite *s, const leaf_params *leaf, bool last_resort, arena *a, span *encoded,
                const kem_key_pair *init, const kem_key_pair *encryption) {
    key_package *kp = ARENA_NEW(a, key_package);
    extension *mark = ARENA_NEW(a, extension);
    uint8_t *signature = arena_take(a, SIGNATURE_SIZE, 1);
    if (kp == NULL || mark == NULL || signature == NULL)
        return ERR_ARENA;
    kp->version = MLS_VERSION;
    kp->cipher_suite = s->id;
    kp->init_key = span_of(init->public_key, s->kem_public_size);
    TRY(leaf_node_from_params(s, leaf, a, &kp->leaf));
    kp->leaf.source = LEAF_KEY_PACKAGE;
    kp->leaf.encryption_key = span_of(encryption->public_key, s->kem_public_size);
    span unused, tbs;
    TRY(leaf_node_sign(leaf->signer, &kp->leaf, NULL, a, &unused));
    if (last_resort) {
        mark->type = EXTENSION_LAST_RESORT;
        kp->extensions = (extension_list){mark, 1};
    }
    TRY(WIRE_ENCODE(a, wire_key_package_body, kp, &tbs));
    TRY(signature_sign_with_label(leaf->signer, "KeyPackageTBS", tbs, a, signature));
    kp->signature = span_of(signature, SIGNATURE_SIZE);
    return WIRE_ENCODE(a, wire_key_package, kp, encoded);
}

err key_package_create(const suite *s, const leaf_params *leaf, bool last_resort, arena *a, span *encoded,
                       key_package_secrets *secrets) {
    kem_key_pair init, encryption;
    err e;
    TRY_OUT(suite_generate_key_pair(s, &init));
    TRY_OUT(suite_generate_key_pair(s, &encryption));
    TRY_OUT(make(s, leaf, last_resort, a, encoded, &init, &encryption));
    memcpy(secrets->init_key, init.private_key, KEM_PRIVATE_SIZE);
    memcpy(secrets->encryption_key, encryption.private_key, KEM_PRIVATE_SIZE);
out:
    wipe(&init, sizeof init);
    wipe(&encryption, sizeof encryption);
    return e;
}

err key_package_reference(span encoded, arena *a, uint8_t reference[HASH_MAX], size_t *size) {
    key_package kp = {0};
    size_t mark = arena_mark(a);
    err e = WIRE_DECODE(encoded, a, wire_key_package, &kp);
    arena_release(a, mark);
    TRY(e);
    const suite *s = suite_find(kp.cipher_suite);
    if (s == NULL)
        return ERR_UNSUPPORTED;
    suite_ref_hash(s, "MLS 1.0 KeyPackage Reference", encoded, reference);
    *size = s->hash_size;
    return OK;
}

err key_package_validate(const key_package *kp, span encoded, uint64_t now_seconds, arena *a) {
    (void)encoded; /* the struct remembers its bytes */
    const suite *s = suite_find(kp->cipher_suite);
    if (s == NULL)
        return ERR_UNSUPPORTED;
    TRY(validate_lifetime(&kp->leaf, now_seconds));
    return validate_key_package(s, kp, NULL, a);
}
