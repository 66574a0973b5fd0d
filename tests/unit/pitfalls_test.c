/* Bugs that other MLS implementations had, in whole groups, where no test of that module shows them already: tests/README.md has
 * the whole list. Each test names where it was found. Both suites. */
#include "mls/validate.h"
#include "support/mls_party.h"

static err process(member *m, span message, incoming *in) {
    err e = group_process(m->group, message, &m->arena, in);
    member_reset(m);
    return e;
}

/* --- tags --- */

/* GHSA-8x3w-qj7j-gqhf: a MAC compared over as many bytes as came. */
static void tags_cut_short_are_refused(void **state) {
    (void)state;
    const suite *s = suite_under_test;
    arena a;
    assert_ok(arena_init(&a, 4096));
    uint8_t key[HASH_MAX] = {7}, tag[HASH_MAX + 1] = {0};
    const span k = span_of(key, s->hash_size), transcript = span_text("transcript");
    framed_tbs tbs = {.bytes = span_text("to be signed")};
    framed_content_auth auth = {.content_type = CONTENT_PROPOSAL, .signature = span_text("signature")};
    confirmation_tag_make(s, k, transcript, tag);
    for (size_t n = 0; n <= sizeof tag; n++)
        assert_err(confirmation_tag_check(s, k, transcript, span_of(tag, n)),
                   n == s->hash_size ? OK : ERR_CONFIRMATION);
    /* The membership tag: MAC(key, TBS || auth); auth of a proposal is its signature<V>. */
    uint8_t tbm[64];
    size_t n = tbs.bytes.n;
    memcpy(tbm, tbs.bytes.p, n);
    tbm[n++] = (uint8_t)auth.signature.n;
    memcpy(tbm + n, auth.signature.p, auth.signature.n);
    suite_mac(s, k, span_of(tbm, n + auth.signature.n), tag);
    for (n = 0; n <= sizeof tag; n++)
        assert_err(framing_check_membership(s, k, &tbs, &auth, span_of(tag, n), &a),
                   n == s->hash_size ? OK : ERR_MEMBERSHIP_TAG);
    arena_free(&a);
}

/* --- decoders --- */

typedef struct wire_type {
    wire_visitor *visit;
    size_t size;
} wire_type;

#define TYPE(name)                                                                                                     \
    { (wire_visitor *)wire_##name, sizeof(name) }
static const wire_type types[] = {TYPE(mls_message),  TYPE(key_package),   TYPE(leaf_node),
                                  TYPE(group_info),   TYPE(group_secrets), TYPE(welcome),
                                  TYPE(proposal),     TYPE(commit),        TYPE(group_context),
                                  TYPE(capabilities), TYPE(psk_id),        TYPE(required_capabilities)};

/* Refused, or read and written again to the same bytes. */
static void decode_as(const wire_type *type, span bytes, arena *a) {
    size_t mark = arena_mark(a);
    void *object = arena_take(a, 1, type->size);
    span again;
    assert_non_null(object);
    if (wire_decode(bytes, a, type->visit, object) == OK) {
        assert_ok(wire_encode(a, type->visit, object, &again));
        assert_span(again, bytes);
    }
    arena_release(a, mark);
}

/* GHSA-rrmv-c79f-cf5r: bytes from anybody ended the process. Every type reads every cut of real messages, and each of their
 * bytes changed in ways that make lengths and types go wrong. */
static void no_bytes_do_a_decoder_harm(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    member dora;
    commit_output out;
    staged_commit *staged;
    member_init(&dora, suite_under_test, "dora");
    member_make_key_package(&dora);
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.adds = &dora.key_package, .add_count = 1},
                                 &p.m[0].arena, &out, &staged));
    const span samples[] = {out.commit, out.welcome, out.group_info, dora.key_package};
    static const uint8_t flips[] = {0x01, 0x40, 0x80, 0xc0, 0xff};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        span copy = keep(samples[i]);
        uint8_t *bytes = (uint8_t *)(uintptr_t)copy.p;
        size_t most = copy.n < 400 ? copy.n : 400;
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            for (size_t at = 0; at < most; at++) {
                decode_as(&types[k], span_of(bytes, at), &a);
                for (size_t f = 0; f < sizeof flips; f++) {
                    bytes[at] ^= flips[f];
                    decode_as(&types[k], copy, &a);
                    bytes[at] ^= flips[f];
                }
            }
        }
        drop(copy);
    }
    group_drop_commit(p.m[0].group, staged);
    member_free(&dora);
    arena_free(&a);
    party_close(&p);
}

/* --- senders --- */

/* A message that its sender data says is from `leaf`, under a key that is right for anna. */
static span private_from(member *m, uint32_t leaf) {
    group *g = m->group;
    framed_content content = {.group_id = g->context->group_id,
                              .epoch = g->context->epoch,
                              .sender = {.type = SENDER_MEMBER, .leaf = leaf},
                              .type = CONTENT_APPLICATION,
                              .application_data = span_text("hello")};
    framed_content_auth auth = {.content_type = CONTENT_APPLICATION};
    framed_tbs tbs;
    secret_tree_step step;
    span message;
    assert_ok(framing_tbs(FORMAT_PRIVATE_MESSAGE, &content, g->context->encoded, &m->arena, &tbs));
    assert_ok(framing_sign(&g->signer, &tbs, &m->arena, &auth));
    assert_ok(secret_tree_prepare_next(&g->messages, g->own_leaf, RATCHET_APPLICATION, &m->arena, &step));
    step.leaf = leaf;
    assert_ok(framing_protect_private(g->suite, secret_span(&g->secrets.sender_data), &step, &content, &auth, &m->arena,
                                      &message));
    secret_tree_step_wipe(&step);
    return message;
}

static span public_from(member *m, framed_content *content) {
    group *g = m->group;
    framed_content_auth auth = {.content_type = CONTENT_PROPOSAL};
    framed_tbs tbs;
    span message;
    content->group_id = g->context->group_id;
    content->epoch = g->context->epoch;
    content->type = CONTENT_PROPOSAL;
    content->proposal = (proposal){.type = PROPOSAL_REMOVE};
    content->proposal.remove = 2;
    assert_ok(framing_tbs(FORMAT_PUBLIC_MESSAGE, content, g->context->encoded, &m->arena, &tbs));
    assert_ok(framing_sign(&g->signer, &tbs, &m->arena, &auth));
    assert_ok(framing_protect_public(g->suite, secret_span(&g->secrets.membership_key), content, &tbs, &auth, &m->arena,
                                     &message));
    return message;
}

/* openmls #2186, mlspp #472: leaves that do not exist, are blank, or are not the signer's. */
static void senders_that_are_no_members_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    member *anna = &p.m[0], *ben = &p.m[1];
    memory_records before = {0};
    memory_records_copy(&before, &ben->records);
    assert_int_equal(group_leaf_count(ben->group), 4); /* so the fourth is blank */
    static const uint32_t none[] = {3, 4, 5, 0x7fffffff, 0x80000000, 0xffffffff};
    incoming in;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_err(process(ben, private_from(anna, none[i]), &in), ERR_SENDER);
        framed_content content = {.sender = {.type = SENDER_MEMBER, .leaf = none[i]}};
        assert_err(process(ben, public_from(anna, &content), &in), ERR_SENDER);
        member_reset(anna);
    }
    framed_content as_cleo = {.sender = {.type = SENDER_MEMBER, .leaf = 2}};
    assert_err(process(ben, public_from(anna, &as_cleo), &in), ERR_SIGNATURE);
    assert_true(memory_records_equal(&before, &ben->records));
    framed_content as_anna = {.sender = {.type = SENDER_MEMBER, .leaf = 0}};
    assert_ok(process(ben, public_from(anna, &as_anna), &in)); /* nothing else was wrong with them */
    memory_records_free(&before);
    party_close(&p);
}

/* --- ratchets --- */

/* openmls #1846: the secret tree was made anew from the epoch's secret after each start. */
static void the_secret_tree_is_kept_over_a_restart(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span heard[6];
    incoming in;
    for (uint32_t i = 0; i < 6; i++) {
        heard[i] = say(&p.m[0], "hello");
        member_reload(&p.m[0]);
        assert_ok(process(&p.m[1], heard[i], &in));
        assert_int_equal(in.generation, i); /* the sender does not begin again */
        member_reload(&p.m[1]);
        for (uint32_t k = 0; k <= i; k++)
            assert_err(process(&p.m[1], heard[k], &in), ERR_REPLAY); /* nor does the receiver */
    }
    for (uint32_t i = 0; i < 6; i++)
        drop(heard[i]);
    party_close(&p);
}

/* amethyst #3499: after a restored backup a generation is used again, and its key with it. The reuse guard (§6.3.1) still
 * gives another nonce: equal texts do not show as equal, and one who reads both reads the first only. */
static void a_restored_backup_does_not_repeat_a_nonce(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    member *anna = &p.m[0];
    drop(say(anna, "so that the ratchet is there"));
    memory_records backup = {0};
    memory_records_copy(&backup, &anna->records);
    span first = say(anna, "the same text"), second;
    memory_records_free(&anna->records);
    anna->records = backup;
    member_reload(anna);
    second = say(anna, "the same text");
    assert_int_equal(first.n, second.n);
    /* The ciphertext stands last, 256 bytes and a tag; in it the text comes first. */
    size_t start = first.n - 256 - AEAD_TAG_SIZE;
    assert_memory_not_equal(first.p + start, second.p + start, 16);
    incoming in;
    assert_ok(process(&p.m[1], first, &in));
    assert_err(process(&p.m[1], second, &in), ERR_REPLAY);
    span third = say(anna, "goes on");
    assert_ok(process(&p.m[1], third, &in));
    drop(first);
    drop(second);
    drop(third);
    party_close(&p);
}

/* GHSA-g433-pq76-6cmf, of HPKE's sequence number: ours seals once a context (hpke.c), but a ratchet counts. §9.1: it must not
 * wrap. */
static void a_generation_counter_does_not_wrap(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    member *anna = &p.m[0];
    drop(say(anna, "first"));
    uint8_t *generation = NULL;
    for (size_t i = 0; i < anna->records.count; i++) {
        memory_record *r = &anna->records.all[i];
        if (r->key.kind == RECORD_RATCHET && r->key.index == 2 * 0 + RATCHET_APPLICATION)
            generation = r->value; /* its first four bytes */
    }
    assert_non_null(generation);
    memcpy(generation, "\xff\xff\xff\xfe", 4);
    member_reload(anna);
    drop(say(anna, "last"));
    for (int i = 0; i < 2; i++) {
        span message;
        assert_err(group_protect(anna->group, span_text("beyond"), SPAN_NONE, &anna->arena, &message), ERR_LIMIT);
        member_reload(anna);
    }
    party_close(&p);
}

/* --- commits --- */

/* amethyst #2471, #2477, #2493: path secrets sealed under another GroupContext than the provisional one (§12.4.1): the new
 * epoch and tree hash, the old confirmed_transcript_hash. What ben received is opened here by hand. */
static void a_path_is_sealed_under_the_provisional_group_context(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    const suite *s = suite_under_test;
    member *anna = &p.m[0], *ben = &p.m[1];
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(anna->group, &(commit_params){.force_path = true}, &anna->arena, &out, &staged));
    mls_message *m = ARENA_NEW(&ben->arena, mls_message);
    sender_data from;
    secret_tree_step step;
    framed_content content;
    framed_content_auth auth;
    assert_ok(WIRE_DECODE(out.commit, &ben->arena, wire_mls_message, m));
    assert_ok(framing_open_sender_data(s, secret_span(&ben->group->secrets.sender_data), &m->private_message,
                                       &ben->arena, &from));
    assert_ok(
        secret_tree_prepare(&ben->group->messages, from.leaf, RATCHET_HANDSHAKE, from.generation, &ben->arena, &step));
    assert_ok(framing_open_private(s, &m->private_message, &from, &step, &ben->arena, &content, &auth));
    secret_tree_step_wipe(&step);
    /* Anna and ben are siblings: the lowest node's secret is sealed to his leaf. */
    const hpke_ciphertext *sealed = &content.commit.path.nodes.p[0].encrypted_path_secret.p[0];
    group_context before = *ben->group->context, after = *staged->context, wrong[3] = {before, after, after};
    group_context provisional = after;
    provisional.confirmed_transcript_hash = before.confirmed_transcript_hash;
    wrong[2] = provisional;
    wrong[2].tree_hash = before.tree_hash;
    uint8_t path_secret[HASH_MAX + AEAD_TAG_SIZE];
    span encoded;
    for (size_t i = 0; i < 3; i++) {
        assert_ok(WIRE_ENCODE(&ben->arena, wire_group_context, &wrong[i], &encoded));
        assert_err(suite_decrypt_with_label(s, ben->secrets.encryption_key, "UpdatePathNode", encoded,
                                            sealed->kem_output, sealed->ciphertext, path_secret),
                   ERR_DECRYPT);
    }
    assert_ok(WIRE_ENCODE(&ben->arena, wire_group_context, &provisional, &encoded));
    assert_ok(suite_decrypt_with_label(s, ben->secrets.encryption_key, "UpdatePathNode", encoded, sealed->kem_output,
                                       sealed->ciphertext, path_secret));
    group_drop_commit(anna->group, staged);
    party_close(&p);
}

/* amethyst, as above: the sample for the sender data's key is the ciphertext's first Nh bytes, or all of a shorter one. */
static void a_ciphertext_shorter_than_the_sample_is_sampled_whole(void **state) {
    (void)state;
    const suite *s = suite_under_test;
    uint8_t secret_bytes[HASH_MAX] = {1}, key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE], expected[AEAD_KEY_SIZE];
    const span sender_data_secret = span_of(secret_bytes, s->hash_size);
    for (size_t n = 0; n < 2 * (size_t)s->hash_size; n++) {
        uint8_t *ciphertext = malloc(n + 1); /* of its own size, so that the sanitizer sees a byte too many */
        assert_non_null(ciphertext);
        memset(ciphertext, 0x5a, n);
        size_t sample = n < s->hash_size ? n : s->hash_size;
        assert_ok(framing_sender_data_key(s, sender_data_secret, span_of(ciphertext, n), key, nonce));
        assert_ok(suite_expand_with_label(s, sender_data_secret, "key", span_of(ciphertext, sample), expected,
                                          sizeof expected));
        assert_memory_equal(key, expected, sizeof key);
        free(ciphertext);
    }
}

/* mls-rs #308: a member's own commit was pending when somebody joined by an external commit; the two got in each other's way.
 * The relay took the other one first, so that one counts, and ours gives way as any loser does. */
static void an_external_commit_ends_the_one_that_was_pending(void **state) {
    (void)state;
    for (int reload = 0; reload < 2; reload++) {
        party p;
        party_open(&p, 3);
        member *ben = &p.m[1], *dan = &p.m[3];
        span info, entry, saved;
        commit_output ours;
        staged_commit *staged, *again;
        incoming in;
        leaf_params leaf = member_leaf(dan);
        assert_ok(group_make_info(p.m[0].group, true, &p.m[0].arena, &info));
        assert_ok(group_join_external(&dan->host, &(external_join_params){.group_info = info, .leaf = &leaf},
                                      &dan->arena, &entry, &dan->group));
        entry = keep(entry);
        assert_ok(group_stage_commit(ben->group, &(commit_params){.force_path = true}, &ben->arena, &ours, &staged));
        assert_ok(staged_commit_save(staged, &ben->arena, &saved));
        ours.commit = keep(ours.commit);
        saved = keep(saved);
        if (reload) {
            group_drop_commit(ben->group, staged);
            member_reload(ben);
            assert_ok(staged_commit_restore(ben->group, saved, &ben->arena, &staged));
        }
        for (size_t i = 0; i < 3; i++) {
            assert_ok(group_process(p.m[i].group, entry, &p.m[i].arena, &in));
            assert_true(staged_commit_external(in.staged));
            assert_ok(group_merge_commit(p.m[i].group, in.staged, &p.m[i].arena));
            member_reset(&p.m[i]);
        }
        assert_err(group_merge_commit(ben->group, staged, &ben->arena), ERR_WRONG_EPOCH);
        assert_err(staged_commit_restore(ben->group, saved, &ben->arena, &again), ERR_WRONG_EPOCH);
        assert_err(process(&p.m[2], ours.commit, &in), ERR_WRONG_EPOCH);
        p.n = 4;
        everyone_agrees(&p);
        heal(&p, 1);
        heal(&p, 3);
        drop(entry);
        drop(ours.commit);
        drop(saved);
        party_close(&p);
    }
}

static err one_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    (void)ctx, (void)id, (void)a;
    *value = span_text("a word");
    return OK;
}
static void knows_one(member *m) { m->host.find_psk = one_psk; }

/* openmls #1928. §12.2: "multiple PreSharedKey proposals that reference the same PreSharedKeyID", from another or from us. */
static void a_psk_named_twice_is_refused(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, knows_one);
    static const uint8_t nonces[2][HASH_MAX] = {{1}, {2}};
    const size_t n = suite_under_test->hash_size;
    psk_id ids[2];
    for (size_t i = 0; i < 2; i++)
        ids[i] = (psk_id){.type = PSK_EXTERNAL, .external_id = span_text("word"), .nonce = span_of(nonces[0], n)};
    proposal_or_ref list[2] = {{.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_PSK}}};
    list[0].proposal.psk = ids[0];
    list[1] = list[0];
    commit body = commit_of(list, 2);
    commit_output out;
    staged_commit *staged;
    expect_refusal(&p, &body, ERR_PROPOSAL);
    commit_params params = {.psks = ids, .psk_count = 2};
    assert_err(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &out, &staged), ERR_PROPOSAL);
    member_reset(&p.m[0]);
    ids[1].nonce = span_of(nonces[1], n); /* another id, of the same key */
    commit_with(&p, 0, &params);
    party_close(&p);
}

/* --- lifetimes --- */

/* openmls #1379. §7.2: "reject any LeafNode where the total lifetime is longer than this duration". */
static void a_lifetime_that_is_too_long_is_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    static const struct {
        uint64_t length;
        err expected;
    } cases[] = {{LIFETIME_MAX_SECONDS, OK}, {LIFETIME_MAX_SECONDS + 1, ERR_INVALID}, {UINT64_MAX, ERR_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        member dora;
        span encoded;
        commit_output out;
        staged_commit *staged;
        key_package kp = {0};
        member_init(&dora, suite_under_test, "dora");
        leaf_params leaf = member_leaf(&dora);
        leaf.not_after = cases[i].length == UINT64_MAX ? UINT64_MAX : leaf.not_before + cases[i].length;
        assert_ok(key_package_create(suite_under_test, &leaf, false, &dora.arena, &encoded, &dora.secrets));
        assert_ok(WIRE_DECODE(encoded, &dora.arena, wire_key_package, &kp));
        assert_err(key_package_validate(&kp, encoded, MEMBER_NOW_MS / 1000, &dora.arena), cases[i].expected);
        err e = group_stage_commit(p.m[0].group, &(commit_params){.adds = &encoded, .add_count = 1}, &p.m[0].arena,
                                   &out, &staged);
        assert_err(e, cases[i].expected);
        if (e == OK)
            group_drop_commit(p.m[0].group, staged);
        member_reset(&p.m[0]);
        member_free(&dora);
    }
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_cut_short_are_refused),
        cmocka_unit_test(no_bytes_do_a_decoder_harm),
        cmocka_unit_test(senders_that_are_no_members_are_refused),
        cmocka_unit_test(the_secret_tree_is_kept_over_a_restart),
        cmocka_unit_test(a_restored_backup_does_not_repeat_a_nonce),
        cmocka_unit_test(a_generation_counter_does_not_wrap),
        cmocka_unit_test(a_path_is_sealed_under_the_provisional_group_context),
        cmocka_unit_test(a_ciphertext_shorter_than_the_sample_is_sampled_whole),
        cmocka_unit_test(an_external_commit_ends_the_one_that_was_pending),
        cmocka_unit_test(a_psk_named_twice_is_refused),
        cmocka_unit_test(a_lifetime_that_is_too_long_is_refused),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("pitfalls xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("pitfalls x25519", tests, NULL, NULL);
}
