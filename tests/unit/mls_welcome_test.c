/* core/mls/welcome.h and commit.h: Welcomes and paths whose makers know all secrets and break one rule each (RFC 9420 §7.6,
 * §12.4.2, §12.4.3.1). Every test runs with both suites. */
#include "mls/validate.h"
#include "mls/welcome.h"
#include "support/mls_party.h"

/* --- Welcomes --- */

/* A Welcome of m[0]'s for m[3], as it is before it is sealed. The joiner secret is made up, so that the last check of all, the
 * confirmation tag, fails where nothing else is wrong. */
typedef struct draft {
    arena *arena;
    group_info info;
    optional_node_list tree;
    group_secrets secrets;
    uint16_t suite_id;
    bool tree_changed, without_tree;
} draft;

static uint8_t guess[HASH_MAX] = {3, 1, 4};

static span sealed_group_info(const draft *d, span info) {
    static const uint8_t zeros[HASH_MAX];
    const suite *s = suite_under_test;
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE], *out = arena_take(d->arena, info.n + AEAD_TAG_SIZE, 1);
    secret welcome_secret;
    assert_non_null(out);
    assert_ok(key_schedule_welcome(s, d->secrets.joiner_secret, span_of(zeros, s->hash_size), &welcome_secret));
    assert_ok(key_schedule_welcome_key(s, secret_span(&welcome_secret), key, nonce));
    assert_ok(suite_aead_seal(s, key, nonce, SPAN_NONE, info, out));
    return span_of(out, info.n + AEAD_TAG_SIZE);
}

/* To the key package of m[3]. */
static void seal_secrets_of(const draft *d, const key_package *kp, span sealed_info, encrypted_group_secrets *out) {
    const suite *s = suite_under_test;
    span plain;
    assert_ok(WIRE_ENCODE(d->arena, wire_group_secrets, &d->secrets, &plain));
    uint8_t *reference = arena_take(d->arena, s->hash_size, 1),
            *kem_output = arena_take(d->arena, s->kem_output_size, 1),
            *ciphertext = arena_take(d->arena, plain.n + AEAD_TAG_SIZE, 1);
    suite_ref_hash(s, "MLS 1.0 KeyPackage Reference", kp->encoded, reference);
    assert_ok(suite_encrypt_with_label(s, kp->init_key, "Welcome", sealed_info, plain, kem_output, ciphertext));
    *out = (encrypted_group_secrets){
        span_of(reference, s->hash_size),
        {span_of(kem_output, s->kem_output_size), span_of(ciphertext, plain.n + AEAD_TAG_SIZE)}};
}

/* Signs and seals what `spoil` left. */
static span forged_welcome(party *p, member *to, void (*spoil)(draft *d)) {
    member *m = &p->m[0];
    commit_output out;
    staged_commit *staged;
    key_package kp = {0};
    draft *d = ARENA_NEW(&m->arena, draft);
    uint8_t hash[HASH_MAX], *signature = arena_take(&m->arena, SIGNATURE_SIZE, 1);
    commit_params params = {.adds = &p->m[3].key_package, .add_count = 1, .force_path = true};
    assert_ok(group_stage_commit(m->group, &params, &m->arena, &out, &staged));
    assert_ok(WIRE_DECODE(to->key_package, &m->arena, wire_key_package, &kp));
    *d = (draft){.arena = &m->arena, .suite_id = m->suite->id};
    d->secrets.joiner_secret = span_of(guess, m->suite->hash_size);
    group_info_source from = {m->suite, staged->context, &staged->secrets, staged->confirmation_tag, 0, &m->signer};
    span encoded, tbs;
    assert_ok(group_info_make(&from, &staged->tree, false, &m->arena, &encoded));
    assert_ok(WIRE_DECODE(encoded, &m->arena, wire_group_info, &d->info));
    span *tree = &d->info.extensions.p[0].data;
    assert_ok(WIRE_DECODE(*tree, &m->arena, wire_optional_node_list, &d->tree));
    spoil(d);
    if (d->tree_changed) { /* with the hash that it has now */
        ratchet_tree t;
        assert_ok(WIRE_ENCODE(&m->arena, wire_optional_node_list, &d->tree, tree));
        assert_ok(ratchet_tree_read(&t, m->suite, *tree, &m->arena));
        assert_ok(ratchet_tree_root_hash(&t, hash));
        d->info.context.tree_hash = span_of(hash, m->suite->hash_size);
        ratchet_tree_wipe(&t);
    }
    if (d->without_tree)
        d->info.extensions.n = 0;
    assert_ok(WIRE_ENCODE(&m->arena, wire_group_info_body, &d->info, &tbs));
    assert_ok(signature_sign_with_label(&m->signer, "GroupInfoTBS", tbs, &m->arena, signature));
    d->info.signature = span_of(signature, SIGNATURE_SIZE);
    assert_ok(WIRE_ENCODE(&m->arena, wire_group_info, &d->info, &encoded));
    encrypted_group_secrets secrets;
    welcome w = {.cipher_suite = d->suite_id, .encrypted_group_info = sealed_group_info(d, encoded)};
    seal_secrets_of(d, &kp, w.encrypted_group_info, &secrets);
    w.secrets.p = &secrets;
    w.secrets.n = 1;
    assert_ok(WIRE_ENCODE(&m->arena, wire_welcome, &w, &encoded));
    group_drop_commit(m->group, staged);
    encoded = keep(encoded);
    member_reset(m);
    return encoded;
}

static void spoil_nothing(draft *d) { (void)d; }
static void spoil_tree_hash(draft *d) { d->info.context.tree_hash = span_of(guess, d->info.context.tree_hash.n); }
static void spoil_signer(draft *d) { d->info.signer = 1; }
static void spoil_signer_blank(draft *d) { d->info.signer = 70; }
static void spoil_tree_gone(draft *d) { d->without_tree = true; }
static void spoil_info_suite(draft *d) { d->info.context.cipher_suite ^= 1; }
static void spoil_info_version(draft *d) { d->info.context.version = 2; }
static void spoil_welcome_suite(draft *d) {
    d->suite_id = suite_under_test->id == SUITE_XWING ? SUITE_X25519 : SUITE_XWING;
}
static void spoil_joiner_size(draft *d) { d->secrets.joiner_secret.n--; }
static void spoil_tag_size(draft *d) { d->info.confirmation_tag.n--; }
static void spoil_extension_twice(draft *d) {
    extension *list = ARENA_ARRAY(d->arena, extension, 3);
    list[0] = d->info.extensions.p[0];
    list[1].type = list[2].type = 0xf400;
    d->info.extensions = (extension_list){list, 3};
}
static void spoil_context_extension_twice(draft *d) {
    extension *list = ARENA_ARRAY(d->arena, extension, 2);
    list[0].type = list[1].type = EXTENSION_APPLICATION_ID;
    d->info.context.extensions = (extension_list){list, 2};
}
static void spoil_context_extension_unknown(draft *d) {
    extension *x = ARENA_NEW(d->arena, extension);
    x->type = 0xf400;
    d->info.context.extensions = (extension_list){x, 1};
}
static void spoil_path_secret(draft *d) {
    d->secrets.has_path_secret = true;
    d->secrets.path_secret = span_of(guess, suite_under_test->hash_size);
}
static void spoil_path_secret_size(draft *d) {
    d->secrets.has_path_secret = true;
    d->secrets.path_secret = span_of(guess, suite_under_test->hash_size - 1u);
}
/* In a tree of four leaves: 0, 2, 4, 6; their parents 1 and 5, the root 3. */
static void spoil_leaf_signature(draft *d) {
    uint8_t *signature = arena_take(d->arena, SIGNATURE_SIZE, 1);
    d->tree.p[2].leaf.signature = span_of(signature, SIGNATURE_SIZE);
    d->tree_changed = true;
}
static void spoil_leaf_gone(draft *d) {
    d->tree.p[2].present = false;
    d->tree_changed = true;
}
static void spoil_parent_hash(draft *d) {
    d->tree.p[1].parent.parent_hash = span_of(guess, suite_under_test->hash_size);
    d->tree_changed = true;
}
static void spoil_parent_key(draft *d) {
    d->tree.p[1].parent.encryption_key.n--;
    d->tree_changed = true;
}
static void spoil_unmerged(draft *d) {
    static uint32_t leaf[] = {2};
    d->tree.p[1].parent.unmerged_leaves.p = leaf; /* not under it */
    d->tree.p[1].parent.unmerged_leaves.n = 1;
    d->tree_changed = true;
}
static void spoil_same_key(draft *d) {
    d->tree.p[1].parent.encryption_key = d->tree.p[3].parent.encryption_key;
    d->tree_changed = true;
}

static void hostile_welcomes_are_refused(void **state) {
    (void)state;
    static const struct {
        void (*spoil)(draft *d);
        err expected;
    } cases[] = {
        {spoil_nothing, ERR_CONFIRMATION},
        {spoil_tree_hash, ERR_TREE_HASH},
        {spoil_signer, ERR_SIGNATURE},
        {spoil_signer_blank, ERR_SENDER},
        {spoil_tree_gone, ERR_NOT_FOUND},
        {spoil_info_suite, ERR_INVALID},
        {spoil_info_version, ERR_INVALID},
        {spoil_welcome_suite, ERR_UNSUPPORTED},
        {spoil_joiner_size, ERR_INVALID},
        {spoil_tag_size, ERR_INVALID},
        {spoil_extension_twice, ERR_INVALID},
        {spoil_context_extension_twice, ERR_INVALID},
        {spoil_context_extension_unknown, ERR_UNSUPPORTED},
        {spoil_path_secret, ERR_KEY},
        {spoil_path_secret_size, ERR_INVALID},
        {spoil_leaf_signature, ERR_SIGNATURE},
        {spoil_leaf_gone, ERR_PARENT_HASH},
        {spoil_parent_hash, ERR_PARENT_HASH},
        {spoil_parent_key, ERR_KEY},
        {spoil_unmerged, ERR_INVALID},
        {spoil_same_key, ERR_PARENT_HASH},
    };
    party p;
    party_open(&p, 3);
    member_make_key_package(&p.m[3]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        span w = forged_welcome(&p, &p.m[3], cases[i].spoil);
        err e = member_join(&p.m[3], w, SPAN_NONE);
        if (e != cases[i].expected)
            fail_msg("case %zu: expected %s, got %s", i, err_name(cases[i].expected), err_name(e));
        assert_int_equal(p.m[3].records.count, 0);
        drop(w);
    }
    /* Sealed to who is not in the tree. */
    member_make_key_package(&p.m[4]);
    span w = forged_welcome(&p, &p.m[4], spoil_nothing);
    assert_err(member_join(&p.m[4], w, SPAN_NONE), ERR_INVALID);
    /* With another's signature key than the key package has. */
    p.m[4].signer = p.m[5].signer;
    assert_err(member_join(&p.m[4], w, SPAN_NONE), ERR_KEY);
    drop(w);
    party_close(&p);
}

static void a_welcome_may_go_without_the_tree(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    member_make_key_package(&p.m[2]);
    commit_output with, out;
    staged_commit *staged;
    commit_params params = {.adds = &p.m[2].key_package, .add_count = 1};
    assert_ok(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &with, &staged));
    group_drop_commit(p.m[0].group, staged);
    params.tree_apart = true;
    assert_ok(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &out, &staged));
    assert_true(out.welcome.n + 200 < with.welcome.n);
    assert_ok(group_merge_commit(p.m[0].group, staged, &p.m[0].arena));
    span tree;
    assert_ok(group_write_tree(p.m[0].group, &p.m[0].arena, &tree));
    assert_err(member_join(&p.m[2], out.welcome, SPAN_NONE), ERR_NOT_FOUND);
    assert_ok(member_join(&p.m[2], out.welcome, tree));
    assert_span(group_epoch_authenticator(p.m[2].group), group_epoch_authenticator(p.m[0].group));
    party_close(&p);
}

/* --- paths --- */

static void equip_public(member *m) { m->host.public_handshakes = true; }

/* A commit of m[0]'s with a path, changed by `spoil` and signed again. */
static void expect_spoiled_path_refusal(void (*spoil)(party *p, const staged_commit *staged, commit *body),
                                        err expected) {
    party p;
    party_open_with(&p, 4, equip_public);
    heal(&p, 2);
    member *m = &p.m[0];
    commit_output out;
    staged_commit *staged;
    mls_message message = {0};
    assert_ok(group_stage_commit(m->group, &(commit_params){.force_path = true}, &m->arena, &out, &staged));
    assert_ok(WIRE_DECODE(out.commit, &m->arena, wire_mls_message, &message));
    framed_content *content = &message.public_message.content;
    spoil(&p, staged, &content->commit);
    content->select = SPAN_NONE; /* what is written now is not what was read */
    framed_content_auth auth = message.public_message.auth;
    framed_tbs tbs;
    span again;
    assert_ok(framing_tbs(FORMAT_PUBLIC_MESSAGE, content, m->group->context->encoded, &m->arena, &tbs));
    assert_ok(framing_sign(&m->signer, &tbs, &m->arena, &auth));
    assert_ok(framing_protect_public(m->suite, secret_span(&m->group->secrets.membership_key), content, &tbs, &auth,
                                     &m->arena, &again));
    expect_refused(&p.m[1], again, expected);
    group_drop_commit(m->group, staged);
    heal(&p, 1);
    party_close(&p);
}

static void path_of_nothing_wrong(party *p, const staged_commit *staged, commit *body) {
    (void)p, (void)staged;
    body->path.nodes.p[1].encrypted_path_secret.p[0].ciphertext.n--; /* another's, whom it does not concern */
}
static void path_with_a_ciphertext_less(party *p, const staged_commit *staged, commit *body) {
    (void)p, (void)staged;
    body->path.nodes.p[0].encrypted_path_secret.n = 0;
}
static void path_with_a_ciphertext_more(party *p, const staged_commit *staged, commit *body) {
    (void)staged;
    hpke_ciphertext *two = ARENA_ARRAY(&p->m[0].arena, hpke_ciphertext, 2);
    two[0] = two[1] = body->path.nodes.p[0].encrypted_path_secret.p[0];
    body->path.nodes.p[0].encrypted_path_secret.p = two;
    body->path.nodes.p[0].encrypted_path_secret.n = 2;
}
static void path_with_a_node_more(party *p, const staged_commit *staged, commit *body) {
    (void)staged;
    update_path_node *three = ARENA_ARRAY(&p->m[0].arena, update_path_node, 3);
    three[0] = body->path.nodes.p[0];
    three[1] = three[2] = body->path.nodes.p[1];
    body->path.nodes.p = three;
    body->path.nodes.n = 3;
}
static void path_with_an_altered_ciphertext(party *p, const staged_commit *staged, commit *body) {
    (void)p, (void)staged;
    uint8_t *bytes = (uint8_t *)(uintptr_t)body->path.nodes.p[0].encrypted_path_secret.p[0].ciphertext.p;
    bytes[0] ^= 1;
}
/* Rightly sealed to ben, but the keys in the tree are not those that follow from it. */
static void path_with_another_secret(party *p, const staged_commit *staged, commit *body) {
    arena *a = &p->m[0].arena;
    const group *g = p->m[0].group;
    group_context provisional = *staged->context;
    provisional.confirmed_transcript_hash = g->context->confirmed_transcript_hash;
    span context;
    hpke_ciphertext *sealed = &body->path.nodes.p[0].encrypted_path_secret.p[0];
    assert_ok(WIRE_ENCODE(a, wire_group_context, &provisional, &context));
    assert_ok(suite_encrypt_with_label(g->suite, ratchet_tree_leaf(&g->tree, 1)->encryption_key, "UpdatePathNode",
                                       context, span_of(guess, g->suite->hash_size),
                                       (uint8_t *)(uintptr_t)sealed->kem_output.p,
                                       (uint8_t *)(uintptr_t)sealed->ciphertext.p));
}
static void path_with_an_extension_unlisted(party *p, const staged_commit *staged, commit *body) {
    (void)staged;
    static extension unlisted = {.type = 0xf500};
    leaf_place place = {span_text("party"), 0};
    span encoded;
    body->path.leaf.extensions = (extension_list){&unlisted, 1};
    assert_ok(leaf_node_sign(&p->m[0].signer, &body->path.leaf, &place, &p->m[0].arena, &encoded));
}

static void hostile_update_paths_are_refused(void **state) {
    (void)state;
    expect_spoiled_path_refusal(path_of_nothing_wrong, ERR_CONFIRMATION);
    expect_spoiled_path_refusal(path_with_a_ciphertext_less, ERR_INVALID);
    expect_spoiled_path_refusal(path_with_a_ciphertext_more, ERR_INVALID);
    expect_spoiled_path_refusal(path_with_a_node_more, ERR_INVALID);
    expect_spoiled_path_refusal(path_with_an_altered_ciphertext, ERR_DECRYPT);
    expect_spoiled_path_refusal(path_with_another_secret, ERR_KEY);
    expect_spoiled_path_refusal(path_with_an_extension_unlisted, ERR_UNSUPPORTED);
}

/* --- Updates --- */

static void hostile_updates_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    group *g = p.m[0].group;
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    span fresh = span_of(pair.public_key, suite_under_test->kem_public_size), encoded;
    proposal p_update = {.type = PROPOSAL_UPDATE};
    leaf_node *leaf = &p_update.update;
    *leaf = *ratchet_tree_leaf(&g->tree, 0);
    span old = leaf->encryption_key;
    leaf_place here = {span_text("party"), 0}, elsewhere = {span_text("party"), 1}, other = {span_text("other"), 0};
    expect_proposal_refusal(&p, &p_update, ERR_INVALID); /* a key package's leaf */
    leaf->source = LEAF_UPDATE;
    assert_ok(leaf_node_sign(&g->signer, leaf, &here, &a, &encoded));
    expect_proposal_refusal(&p, &p_update, ERR_DUPLICATE_KEY); /* the key that it has */
    leaf->encryption_key = fresh;
    assert_ok(leaf_node_sign(&g->signer, leaf, &elsewhere, &a, &encoded));
    expect_proposal_refusal(&p, &p_update, ERR_SIGNATURE);
    assert_ok(leaf_node_sign(&g->signer, leaf, &other, &a, &encoded));
    expect_proposal_refusal(&p, &p_update, ERR_SIGNATURE);
    assert_ok(leaf_node_sign(&g->signer, leaf, &here, &a, &encoded));
    leaf->encryption_key = old;
    expect_proposal_refusal(&p, &p_update, ERR_SIGNATURE);
    /* One that is right by itself, with a key that is in the group already. */
    leaf->encryption_key = ratchet_tree_leaf(&g->tree, 1)->encryption_key;
    assert_ok(leaf_node_sign(&p.m[2].signer, leaf, &(leaf_place){span_text("party"), 2}, &a, &encoded));
    leaf->signature_key = signature_key_public(&p.m[2].signer);
    leaf->credential.identity = span_text("cleo");
    assert_ok(leaf_node_sign(&p.m[2].signer, leaf, &(leaf_place){span_text("party"), 2}, &a, &encoded));
    framed_content content = content_of(&p.m[2], CONTENT_PROPOSAL);
    content.proposal = p_update;
    span message = send_content(&p.m[2], &content, true, p.m[2].group->context->encoded);
    incoming in;
    for (size_t i = 0; i < 2; i++)
        assert_ok(group_process(p.m[i].group, message, &p.m[i].arena, &in));
    /* We leave it out of our commits. */
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(g, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
    assert_span(staged_commit_leaf(staged, 2)->encryption_key, ratchet_tree_leaf(&g->tree, 2)->encryption_key);
    group_drop_commit(g, staged);
    arena_free(&a);
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_welcomes_are_refused),
        cmocka_unit_test(a_welcome_may_go_without_the_tree),
        cmocka_unit_test(hostile_update_paths_are_refused),
        cmocka_unit_test(hostile_updates_are_refused),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_welcome xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_welcome x25519", tests, NULL, NULL);
}
