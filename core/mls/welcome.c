#include "mls/welcome.h"

#include <stdlib.h>

#include "mls/owned.h"
#include "mls/parent.h"
#include "mls/psk.h"
#include "mls/validate.h"

/* --- making --- */

/* §12.4.3.2: the HPKE public key of external_secret. */
static err external_pub(const group_info_source *from, arena *a, span *out) {
    kem_key_pair pair;
    span key = span_of(pair.public_key, from->suite->kem_public_size);
    err e = key_schedule_external(from->suite, secret_span(&from->secrets->external), &pair);
    if (e == OK)
        e = WIRE_ENCODE(a, wire_opaque, &key, out);
    wipe(&pair, sizeof pair);
    return e;
}

err group_info_make(const group_info_source *from, const ratchet_tree *tree, bool with_external_pub, arena *a,
                    span *encoded) {
    group_info *info = ARENA_NEW(a, group_info);
    extension *extensions = ARENA_ARRAY(a, extension, 2);
    uint8_t *signature = arena_take(a, SIGNATURE_SIZE, 1);
    if (info == NULL || extensions == NULL || signature == NULL)
        return ERR_ARENA;
    info->context = *from->context;
    info->extensions.p = extensions;
    if (tree != NULL) {
        extensions[info->extensions.n].type = EXTENSION_RATCHET_TREE;
        TRY(ratchet_tree_write(tree, a, &extensions[info->extensions.n++].data));
    }
    if (with_external_pub) {
        extensions[info->extensions.n].type = EXTENSION_EXTERNAL_PUB;
        TRY(external_pub(from, a, &extensions[info->extensions.n++].data));
    }
    info->confirmation_tag = span_of(from->confirmation_tag, from->suite->hash_size);
    info->signer = from->signer_leaf;
    span tbs;
    TRY(WIRE_ENCODE(a, wire_group_info_body, info, &tbs));
    TRY(signature_sign_with_label(from->signer, "GroupInfoTBS", tbs, a, signature));
    info->signature = span_of(signature, SIGNATURE_SIZE);
    return WIRE_ENCODE(a, wire_group_info, info, encoded);
}

err group_make_info(group *g, bool with_tree, arena *a, span *encoded) {
    TRY(group_check_open(g));
    if (with_tree)
        TRY(ratchet_tree_load(&g->tree, a));
    group_info_source from = {g->suite, g->context, &g->secrets, g->confirmation_tag, g->own_leaf, &g->signer};
    return group_info_make(&from, with_tree ? &g->tree : NULL, true, a, encoded);
}

err group_write_tree(group *g, arena *a, span *encoded) {
    TRY(ratchet_tree_load(&g->tree, a));
    return ratchet_tree_write(&g->tree, a, encoded);
}

/* §12.4.3.1: the GroupInfo under a key that all who know the joiner secret derive. */
static err seal_group_info(const suite *s, span plain, const secret *welcome_secret, arena *a, span *sealed) {
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE];
    uint8_t *out = arena_take(a, plain.n + AEAD_TAG_SIZE, 1);
    if (out == NULL)
        return ERR_ARENA;
    err e = key_schedule_welcome_key(s, secret_span(welcome_secret), key, nonce);
    if (e == OK)
        e = suite_aead_seal(s, key, nonce, SPAN_NONE, plain, out);
    wipe(key, sizeof key);
    *sealed = span_of(out, plain.n + AEAD_TAG_SIZE);
    return e;
}

static err seal_secrets(const encrypt_context *with, const key_package *kp, const secret *joiner,
                        const psk_id_list *psks, const secret *path_secret, arena *a, encrypted_group_secrets *out) {
    const suite *s = with->s;
    group_secrets plain = {.joiner_secret = secret_span(joiner), .has_path_secret = path_secret != NULL, .psks = *psks};
    if (path_secret != NULL)
        plain.path_secret = secret_span(path_secret);
    span encoded;
    TRY(WIRE_ENCODE(a, wire_group_secrets, &plain, &encoded));
    uint8_t *reference = arena_take(a, s->hash_size, 1), *kem_output = arena_take(a, s->kem_output_size, 1),
            *ciphertext = arena_take(a, encoded.n + AEAD_TAG_SIZE, 1);
    if (reference == NULL || kem_output == NULL || ciphertext == NULL)
        return ERR_ARENA;
    suite_ref_hash(s, "MLS 1.0 KeyPackage Reference", kp->encoded, reference);
    out->new_member = span_of(reference, s->hash_size);
    out->secrets.kem_output = span_of(kem_output, s->kem_output_size);
    out->secrets.ciphertext = span_of(ciphertext, encoded.n + AEAD_TAG_SIZE);
    return suite_encrypt_in_context(with, kp->init_key, encoded, kem_output, ciphertext);
}

err welcome_make(const group_info_source *about, const staged_commit *c, const welcome_source *from, arena *a,
                 span *encoded) {
    const suite *s = about->suite;
    span info;
    TRY(group_info_make(about, from->tree_apart ? NULL : &c->tree, false, a, &info));
    welcome w = {.cipher_suite = s->id};
    TRY(seal_group_info(s, info, from->welcome_secret, a, &w.encrypted_group_info));
    w.secrets.n = c->added_count;
    w.secrets.p = ARENA_ARRAY(a, encrypted_group_secrets, w.secrets.n);
    if (w.secrets.p == NULL)
        return ERR_ARENA;
    encrypt_context with;
    suite_encrypt_context(s, "Welcome", w.encrypted_group_info, &with);
    for (size_t i = 0; i < c->added_count; i++) {
        const secret *path_secret = from->path != NULL ? treekem_secret_for(from->path, c->added[i]) : NULL;
        TRY(seal_secrets(&with, from->key_packages[i], from->joiner, from->psks, path_secret, a, &w.secrets.p[i]));
    }
    return WIRE_ENCODE(a, wire_welcome, &w, encoded);
}

/* --- joining (§12.4.3.1) --- */

err welcome_references(span encoded, arena *a, span **references, size_t *count) {
    welcome w = {0};
    TRY(WIRE_DECODE(encoded, a, wire_welcome, &w));
    *references = ARENA_ARRAY(a, span, w.secrets.n);
    if (*references == NULL)
        return ERR_ARENA;
    *count = w.secrets.n;
    for (size_t i = 0; i < w.secrets.n; i++)
        (*references)[i] = w.secrets.p[i].new_member;
    return OK;
}

static err open_secrets(const group_host *host, const suite *s, const join_params *join, welcome_contents *o,
                        arena *a) {
    uint8_t reference[HASH_MAX];
    suite_ref_hash(s, "MLS 1.0 KeyPackage Reference", o->key_package.encoded, reference);
    const encrypted_group_secrets *mine = NULL;
    for (size_t i = 0; i < o->welcome.secrets.n && mine == NULL; i++)
        if (span_equal(o->welcome.secrets.p[i].new_member, span_of(reference, s->hash_size)))
            mine = &o->welcome.secrets.p[i];
    if (mine == NULL)
        return ERR_NOT_FOUND;
    if (mine->secrets.ciphertext.n < AEAD_TAG_SIZE)
        return ERR_DECRYPT;
    size_t n = mine->secrets.ciphertext.n - AEAD_TAG_SIZE;
    uint8_t *plain = arena_take(a, n, 1);
    if (plain == NULL)
        return ERR_ARENA;
    TRY(suite_decrypt_with_label(s, join->secrets->init_key, "Welcome", o->welcome.encrypted_group_info,
                                 mine->secrets.kem_output, mine->secrets.ciphertext, plain));
    TRY(WIRE_DECODE(span_of(plain, n), a, wire_group_secrets, &o->secrets));
    if (o->secrets.joiner_secret.n != s->hash_size)
        return ERR_INVALID;
    TRY(psk_check_list(s, &o->secrets.psks, &o->link));
    return psk_list_secret(&(psk_source){.host = host, .parent = join->parent}, s, &o->secrets.psks, a, &o->psk);
}

static err open_group_info(const suite *s, welcome_contents *o, arena *a) {
    span sealed = o->welcome.encrypted_group_info;
    if (sealed.n < AEAD_TAG_SIZE)
        return ERR_DECRYPT;
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE];
    uint8_t *plain = arena_take(a, sealed.n - AEAD_TAG_SIZE, 1);
    if (plain == NULL)
        return ERR_ARENA;
    secret welcome_secret = {0};
    err e;
    TRY_OUT(key_schedule_welcome(s, o->secrets.joiner_secret, secret_span(&o->psk), &welcome_secret));
    TRY_OUT(key_schedule_welcome_key(s, secret_span(&welcome_secret), key, nonce));
    TRY_OUT(suite_aead_open(s, key, nonce, SPAN_NONE, sealed, plain));
    TRY_OUT(WIRE_DECODE(span_of(plain, sealed.n - AEAD_TAG_SIZE), a, wire_group_info, &o->info));
    /* "Verify that the cipher_suite in the GroupInfo matches the cipher_suite in the KeyPackage", and the version */
    if (o->info.context.cipher_suite != s->id || o->info.context.version != MLS_VERSION)
        e = ERR_INVALID;
out:
    secret_wipe(&welcome_secret);
    wipe(key, sizeof key);
    return e;
}

err welcome_open(const group_host *host, const suite *s, const join_params *join, arena *a, welcome_contents *out) {
    *out = (welcome_contents){0};
    TRY(WIRE_DECODE(join->welcome, a, wire_welcome, &out->welcome));
    TRY(WIRE_DECODE(join->key_package, a, wire_key_package, &out->key_package));
    if (out->welcome.cipher_suite != s->id || out->key_package.cipher_suite != s->id)
        return ERR_UNSUPPORTED;
    TRY(open_secrets(host, s, join, out, a));
    return open_group_info(s, out, a);
}

static err read_tree(group *g, span apart, const group_info *info, arena *a) {
    const extension *x = extension_find(&info->extensions, EXTENSION_RATCHET_TREE);
    span bytes = x != NULL ? x->data : apart;
    if (bytes.n == 0)
        return ERR_NOT_FOUND;
    size_t mark = arena_mark(a);
    TRY(ratchet_tree_read(&g->tree, g->suite, bytes, a));
    arena_release(a, mark);
    return OK;
}

/* Our leaf: the one that equals the key package's. */
static err find_own_leaf(group *g, const key_package *kp) {
    for (uint32_t i = 0; i < g->tree.leaf_count; i++) {
        const leaf_node *leaf = ratchet_tree_leaf(&g->tree, i);
        if (leaf != NULL && span_equal(leaf->encoded, kp->leaf.encoded)) {
            g->own_leaf = i;
            return OK;
        }
    }
    return ERR_INVALID;
}

static err check_tree(group *g, const group_info *info, arena *a) {
    /* "Verify that the tree hash of the ratchet tree matches the tree_hash field in the GroupInfo." First, for it is
     * cheap and turns away all trees but one. */
    uint8_t hash[HASH_MAX];
    TRY(ratchet_tree_root_hash(&g->tree, hash));
    if (!span_equal(info->context.tree_hash, span_of(hash, g->suite->hash_size)))
        return ERR_TREE_HASH;
    /* "Verify the signature on the GroupInfo object ... the public key is taken from the leaf of signer" */
    const leaf_node *signer = ratchet_tree_leaf(&g->tree, info->signer);
    if (signer == NULL)
        return ERR_SENDER;
    TRY(signature_verify_with_label(signer->signature_key, "GroupInfoTBS", info->body, info->signature, a));
    TRY(validate_tree(&g->tree, &info->context, a));
    for (uint32_t i = 0; i < g->tree.leaf_count; i++) {
        const leaf_node *leaf = ratchet_tree_leaf(&g->tree, i);
        if (leaf != NULL)
            TRY(group_check_leaf(&g->host, leaf, NULL));
    }
    return OK;
}

err group_info_enter(group *g, const group_info *info, span tree, arena *a) {
    TRY(validate_extensions(&info->extensions, a));
    TRY(validate_extensions(&info->context.extensions, a));
    if (info->confirmation_tag.n != g->suite->hash_size)
        return ERR_INVALID;
    TRY(read_tree(g, tree, info, a));
    TRY(check_tree(g, info, a));
    TRY(OWNED_DECODE(info->context.encoded, wire_group_context, group_context, a, &g->context));
    memcpy(g->confirmation_tag, info->confirmation_tag.p, g->suite->hash_size);
    return transcript_interim(g->suite, g->context->confirmed_transcript_hash, info->confirmation_tag, g->interim);
}

static err enter(group *g, const join_params *join, welcome_contents *o, arena *a) {
    const suite *s = g->suite;
    const group_info *info = &o->info;
    TRY(group_info_enter(g, info, join->ratchet_tree, a));
    /* Who names the group's parent wants a group that is linked to it. */
    if (join->parent != NULL)
        TRY(o->link != NULL ? parent_check(join->parent, o->link, g->context, &g->tree, a) : ERR_INVALID);
    TRY(find_own_leaf(g, &o->key_package));
    g->keys.known[0] = true;
    memcpy(g->keys.keys[0], join->secrets->encryption_key, KEM_PRIVATE_SIZE);
    if (o->secrets.has_path_secret)
        TRY(treekem_join(&g->tree, info->signer, g->own_leaf, o->secrets.path_secret, &g->keys));
    g->keys_loaded = true;

    TRY(key_schedule_epoch(s, o->secrets.joiner_secret, secret_span(&o->psk), g->context->encoded, NULL, &g->secrets));
    TRY(confirmation_tag_check(s, secret_span(&g->secrets.confirmation_key), g->context->confirmed_transcript_hash,
                               info->confirmation_tag));
    return group_store_new(g, a);
}

static err join_opened(const group_host *host, const join_params *join, arena *a, group **out) {
    welcome_contents *o = ARENA_NEW(a, welcome_contents);
    key_package kp = {0};
    if (o == NULL)
        return ERR_ARENA;
    TRY(WIRE_DECODE(join->key_package, a, wire_key_package, &kp));
    const suite *s = suite_find(kp.cipher_suite);
    if (s == NULL)
        return ERR_UNSUPPORTED;
    if (!span_equal(kp.leaf.signature_key, signature_key_public(join->signer)))
        return ERR_KEY;
    TRY(welcome_open(host, s, join, a, o));
    group *g;
    TRY(group_new(host, s, join->signer, &g));
    err e = enter(g, join, o, a);
    if (e != OK) {
        group_close(g);
        return e;
    }
    *out = g;
    return OK;
}

err group_join(const group_host *host, const join_params *join, arena *a, group **out) {
    size_t mark = arena_mark(a);
    err e = join_opened(host, join, a, out);
    arena_release(a, mark); /* wipes the joiner secret and the path secret with the rest */
    return e;
}
