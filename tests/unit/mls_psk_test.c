/* core/mls/psk.h: pre-shared keys in commits and Welcomes (RFC 9420 §8.4, §12.1.4). Every test runs with both suites. */
#include "mls/psk.h"
#include "mls/welcome.h"
#include "support/mls_party.h"

/* What all hosts know, unless a test changes it for one of them. */
static const char *secret_word = "a word that all know";

static err find_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    (void)a;
    if (id->type != PSK_EXTERNAL || !span_equal(id->external_id, span_text("word")))
        return ERR_PSK;
    *value = span_text(strcmp(((member *)ctx)->name, "cleo") == 0 ? secret_word : "a word that all know");
    return OK;
}

static void knows_word(member *m) { m->host.find_psk = find_psk; }

static psk_id word(void) { return (psk_id){.type = PSK_EXTERNAL, .external_id = span_text("word")}; }

static psk_id resumption(uint64_t epoch) {
    return (psk_id){
        .type = PSK_RESUMPTION, .usage = PSK_USAGE_APPLICATION, .group_id = span_text("party"), .epoch = epoch};
}

static void a_psk_by_value_is_in_everybodys_epoch_and_in_the_welcome(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, knows_word);
    member_make_key_package(&p.m[3]);
    psk_id ids[] = {word(), resumption(1), word()};
    commit_output out;
    staged_commit *staged;
    commit_params params = {.adds = &p.m[3].key_package, .add_count = 1, .psks = ids, .psk_count = 3};
    assert_ok(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &out, &staged));
    assert_int_equal(staged_commit_psk_count(staged), 3);
    /* He who was not there at epoch 1 cannot join by its PSK. */
    assert_err(member_join(&p.m[3], out.welcome, SPAN_NONE), ERR_PSK);
    group_drop_commit(p.m[0].group, staged);
    params.psk_count = 1;
    commit_with(&p, 0, &params);
    assert_non_null(p.m[3].group);
    heal(&p, 3);
    party_close(&p);
}

static void a_psk_alone_needs_no_path(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, knows_word);
    psk_id id = word();
    span key = keep(ratchet_tree_leaf(&p.m[0].group->tree, 0)->encryption_key);
    commit_with(&p, 0, &(commit_params){.psks = &id, .psk_count = 1});
    assert_span(ratchet_tree_leaf(&p.m[0].group->tree, 0)->encryption_key, key);
    drop(key);
    party_close(&p);
}

static void psks_are_proposed_and_committed_by_reference(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, knows_word);
    span message;
    psk_id id = word(), past = resumption(1), strange = word();
    strange.external_id = span_text("unheard of");
    assert_ok(group_propose_psk(p.m[1].group, &id, &p.m[1].arena, &message));
    deliver_proposal(&p, &p.m[1], message);
    assert_ok(group_propose_psk(p.m[2].group, &past, &p.m[2].arena, &message));
    deliver_proposal(&p, &p.m[2], message);
    assert_ok(group_propose_psk(p.m[2].group, &strange, &p.m[2].arena, &message));
    deliver_proposal(&p, &p.m[2], message);
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
    assert_int_equal(staged_commit_psk_count(staged), 2); /* not the one that the committer does not know */
    deliver(&p, &p.m[0], &out, staged);
    party_close(&p);
}

static void who_does_not_know_the_psk_is_left_out(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, knows_word);
    psk_id id = word();
    commit_output out;
    staged_commit *staged;
    assert_ok(
        group_stage_commit(p.m[0].group, &(commit_params){.psks = &id, .psk_count = 1}, &p.m[0].arena, &out, &staged));
    secret_word = "another word";
    expect_refused(&p.m[2], out.commit, ERR_CONFIRMATION);
    secret_word = "a word that all know";
    p.m[2].host.find_psk = NULL;
    member_reload(&p.m[2]);
    expect_refused(&p.m[2], out.commit, ERR_PSK);
    id.external_id = span_text("unheard of");
    staged_commit *none;
    assert_err(
        group_stage_commit(p.m[1].group, &(commit_params){.psks = &id, .psk_count = 1}, &p.m[1].arena, &out, &none),
        ERR_PSK);
    assert_null(p.m[1].group->pending);
    group_drop_commit(p.m[0].group, staged);
    party_close(&p);
}

#define KEPT 6

static void keeps_six(member *m) { m->host.resumption_epochs = KEPT; }
static void keeps_six_in_memory(member *m) {
    m->host.resumption_epochs = KEPT;
    m->in_memory = true;
}

/* Who knows the PSK of that epoch can stage a commit with it. */
static err use_resumption(member *m, uint64_t epoch) {
    commit_output out;
    staged_commit *staged;
    psk_id id = resumption(epoch);
    err e = group_stage_commit(m->group, &(commit_params){.psks = &id, .psk_count = 1}, &m->arena, &out, &staged);
    if (e == OK)
        group_drop_commit(m->group, staged);
    member_reset(m);
    return e;
}

static void resumption_psks_are_kept_as_long_as_asked(void **state) {
    (void)state;
    static void (*const equips[])(member *) = {NULL, keeps_six, keeps_six_in_memory};
    for (size_t k = 0; k < 3; k++) {
        party p;
        party_open_with(&p, 2, equips[k]);
        uint64_t kept = k == 0 ? GROUP_PAST_EPOCHS : KEPT;
        for (int i = 0; i < 9; i++)
            heal(&p, i % 2); /* epoch 10 */
        member_reload(&p.m[0]);
        assert_err(use_resumption(&p.m[0], 11), ERR_PSK); /* is not yet */
        for (uint64_t epoch = 1; epoch <= 10; epoch++)
            assert_err(use_resumption(&p.m[0], epoch), epoch + kept < 10 ? ERR_PSK : OK);
        assert_err(use_resumption(&p.m[1], 10 - kept), OK);
        if (k == 1)
            assert_int_equal(memory_records_of_kind(&p.m[0].records, RECORD_RESUMPTION), KEPT);
        else
            assert_int_equal(memory_records_of_kind(&p.m[0].records, RECORD_RESUMPTION), 0);
        psk_id id = resumption(10 - kept);
        commit_with(&p, 0, &(commit_params){.psks = &id, .psk_count = 1});
        party_close(&p);
    }
}

static void resumption_psks_that_fell_out_are_deleted(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 2, keeps_six);
    secret psk = p.m[0].group->secrets.resumption_psk;
    for (int i = 0; i < KEPT; i++) {
        heal(&p, 0);
        assert_true(memory_records_contain(&p.m[1].records, secret_span(&psk)));
    }
    heal(&p, 0);
    assert_false(memory_records_contain(&p.m[1].records, secret_span(&psk)));
    party_close(&p);
}

static proposal_or_ref psk_of(psk_id id, span nonce) {
    proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_PSK}};
    entry.proposal.psk = id;
    entry.proposal.psk.nonce = nonce;
    return entry;
}

static void hostile_psks_are_refused(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, knows_word);
    uint8_t bytes[HASH_MAX + 1] = {7}, other[HASH_MAX] = {8};
    size_t size = suite_under_test->hash_size;
    span nonce = span_of(bytes, size);
    proposal_or_ref list[GROUP_PSKS_MAX + 1] = {psk_of(word(), nonce), psk_of(word(), span_of(other, size))};
    commit body = commit_of(list, 2);
    expect_refusal(&p, &body, ERR_CONFIRMATION); /* all well but the tag */
    list[1] = psk_of(word(), nonce);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* one id twice */
    body = commit_of(list, 1);
    list[0] = psk_of(word(), span_of(bytes, size - 1));
    expect_refusal(&p, &body, ERR_PROPOSAL);
    expect_proposal_refusal(&p, &list[0].proposal, ERR_PROPOSAL);
    list[0] = psk_of(word(), span_of(bytes, size + 1));
    expect_refusal(&p, &body, ERR_PROPOSAL);
    psk_id link = resumption(1);
    for (uint8_t usage = PSK_USAGE_REINIT; usage <= PSK_USAGE_BRANCH; usage++) {
        link.usage = usage;
        list[0] = psk_of(link, nonce);
        expect_refusal(&p, &body, ERR_PROPOSAL); /* no group is made from another here */
        expect_proposal_refusal(&p, &list[0].proposal, ERR_PROPOSAL);
    }
    static uint8_t nonces[GROUP_PSKS_MAX + 1][HASH_MAX];
    for (size_t i = 0; i <= GROUP_PSKS_MAX; i++) {
        nonces[i][0] = (uint8_t)i;
        nonces[i][1] = (uint8_t)(i >> 8);
        list[i] = psk_of(word(), span_of(nonces[i], size));
    }
    body = commit_of(list, GROUP_PSKS_MAX + 1);
    expect_refusal(&p, &body, ERR_LIMIT);
    body = commit_of(list, GROUP_PSKS_MAX);
    expect_refusal(&p, &body, ERR_CONFIRMATION);
    heal(&p, 1);
    party_close(&p);
}

/* A Welcome for m[3] that names those PSKs; its secrets are anybody's guess. */
static span welcome_naming(party *p, psk_id *ids, size_t count) {
    member *m = &p->m[0];
    commit_output out;
    staged_commit *staged;
    span welcome;
    key_package kp = {0};
    assert_ok(group_stage_commit(m->group, &(commit_params){.adds = &p->m[3].key_package, .add_count = 1}, &m->arena,
                                 &out, &staged));
    assert_ok(WIRE_DECODE(p->m[3].key_package, &m->arena, wire_key_package, &kp));
    const key_package *list[] = {&kp};
    group_info_source info = {m->suite, staged->context, &staged->secrets, staged->confirmation_tag, 0, &m->signer};
    secret guess = {.n = m->suite->hash_size};
    psk_id_list psks = {ids, count};
    welcome_source from = {list, NULL, &psks, &guess, &guess, false};
    assert_ok(welcome_make(&info, staged, &from, &m->arena, &welcome));
    group_drop_commit(m->group, staged);
    return welcome;
}

static err find_any(void *ctx, const psk_id *id, arena *a, span *value) {
    (void)ctx, (void)id, (void)a;
    *value = span_text("any");
    return OK;
}

static void hostile_psks_in_a_welcome_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    p.m[3].host.find_psk = find_any;
    member_make_key_package(&p.m[3]);
    uint8_t nonce[HASH_MAX] = {1};
    psk_id ids[2] = {word(), word()};
    ids[0].nonce = ids[1].nonce = span_of(nonce, suite_under_test->hash_size);
    assert_err(member_join(&p.m[3], welcome_naming(&p, ids, 1), SPAN_NONE), ERR_DECRYPT); /* the guess was wrong */
    assert_err(member_join(&p.m[3], welcome_naming(&p, ids, 2), SPAN_NONE), ERR_PROPOSAL);
    ids[0].nonce.n--;
    assert_err(member_join(&p.m[3], welcome_naming(&p, ids, 1), SPAN_NONE), ERR_PROPOSAL);
    for (size_t i = 0; i < 2; i++) {
        ids[i] = resumption(1 + i);
        ids[i].usage = (uint8_t)(PSK_USAGE_REINIT + i);
        ids[i].nonce = span_of(nonce, suite_under_test->hash_size);
    }
    assert_err(member_join(&p.m[3], welcome_naming(&p, ids, 1), SPAN_NONE), ERR_DECRYPT);
    assert_err(member_join(&p.m[3], welcome_naming(&p, ids, 2), SPAN_NONE), ERR_PROPOSAL); /* two links */
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_psk_by_value_is_in_everybodys_epoch_and_in_the_welcome),
        cmocka_unit_test(a_psk_alone_needs_no_path),
        cmocka_unit_test(psks_are_proposed_and_committed_by_reference),
        cmocka_unit_test(who_does_not_know_the_psk_is_left_out),
        cmocka_unit_test(resumption_psks_are_kept_as_long_as_asked),
        cmocka_unit_test(resumption_psks_that_fell_out_are_deleted),
        cmocka_unit_test(hostile_psks_are_refused),
        cmocka_unit_test(hostile_psks_in_a_welcome_are_refused),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_psk xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_psk x25519", tests, NULL, NULL);
}
