/* core/mls/group.h: whole groups: joining, messages, commits, restarts, and what members and relays may do wrong.
 * Every test runs with both suites. Hostile commits are made with the group's inside (group_state.h). */
#include "support/mls_party.h"
/* --- messages --- */

static void two_members_talk(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span message;
    incoming in;
    assert_ok(group_protect(p.m[0].group, span_text("hello"), span_text("aad"), &p.m[0].arena, &message));
    assert_ok(group_process(p.m[1].group, message, &p.m[1].arena, &in));
    assert_int_equal(in.kind, INCOMING_APPLICATION);
    assert_span(in.plaintext, span_text("hello"));
    assert_span(in.aad, span_text("aad"));
    assert_int_equal(in.epoch, 1);
    assert_int_equal(in.sender, 0);
    assert_span(in.sender_leaf->credential.identity, span_text("anna"));
    span id;
    uint64_t epoch;
    content_type type;
    assert_ok(message_peek(message, &p.m[1].arena, &id, &epoch, &type));
    assert_span(id, span_text("party"));
    assert_int_equal(epoch, 1);
    assert_int_equal(type, CONTENT_APPLICATION);
    party_close(&p);
}

static void replay_is_refused_and_does_not_delete_the_ratchet(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span first = say(&p.m[0], "one"), second = say(&p.m[0], "two");
    assert_ok(hear(&p.m[1], first, "one"));
    for (int i = 0; i < 3; i++) {
        assert_err(hear(&p.m[1], first, ""), ERR_REPLAY);
        member_reload(&p.m[1]);
    }
    assert_ok(hear(&p.m[1], second, "two"));
    assert_err(hear(&p.m[1], second, ""), ERR_REPLAY);
    drop(first);
    drop(second);
    party_close(&p);
}

static void one_byte_changed_anywhere_changes_nothing(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span message = say(&p.m[0], "intact");
    memory_records before = {0};
    memory_records_copy(&before, &p.m[1].records);
    uint8_t *bytes = (uint8_t *)(uintptr_t)message.p;
    for (size_t i = 0; i < message.n; i++) {
        bytes[i] ^= 0x40;
        assert_true(hear(&p.m[1], message, "") != OK);
        bytes[i] ^= 0x40;
        assert_true(hear(&p.m[1], span_of(message.p, i), "") != OK);
    }
    assert_true(memory_records_equal(&before, &p.m[1].records));
    assert_ok(hear(&p.m[1], message, "intact"));
    memory_records_free(&before);
    drop(message);
    party_close(&p);
}

static void bad_signature_does_not_move_the_ratchet(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    memory_records before = {0};
    memory_records_copy(&before, &p.m[1].records);
    signature_key mine = p.m[0].group->signer;
    p.m[0].group->signer = p.m[2].signer;
    span forged = say(&p.m[0], "forged");
    p.m[0].group->signer = mine;
    span genuine = say(&p.m[0], "genuine");
    assert_err(hear(&p.m[1], forged, ""), ERR_SIGNATURE);
    assert_true(memory_records_equal(&before, &p.m[1].records));
    assert_ok(hear(&p.m[1], genuine, "genuine"));
    assert_err(hear(&p.m[1], forged, ""), ERR_SIGNATURE); /* its key is kept as skipped: still no replay */
    memory_records_free(&before);
    drop(forged);
    drop(genuine);
    party_close(&p);
}

static void too_far_ahead_has_its_own_error(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    for (unsigned i = 0; i < GROUP_FORWARD_GENERATIONS; i++)
        drop(say(&p.m[0], "lost"));
    span at_limit = say(&p.m[0], "limit"), beyond = say(&p.m[0], "beyond");
    assert_err(hear(&p.m[1], beyond, ""), ERR_TOO_FAR_AHEAD);
    assert_ok(hear(&p.m[1], at_limit, "limit"));
    assert_ok(hear(&p.m[1], beyond, "beyond"));
    drop(at_limit);
    drop(beyond);
    party_close(&p);
}

static void skipped_keys_are_limited_with_their_own_error(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    enum { LOST = GROUP_SKIPPED_KEYS + 10 };
    span messages[LOST + 1];
    for (size_t i = 0; i <= LOST; i++)
        messages[i] = say(&p.m[0], "late");
    assert_ok(hear(&p.m[1], messages[LOST], "late"));
    member_reload(&p.m[1]);
    for (size_t i = 0; i < LOST; i++) {
        assert_err(hear(&p.m[1], messages[i], "late"), i < LOST - GROUP_SKIPPED_KEYS ? ERR_KEY_DROPPED : OK);
        if (i % 50 == 0)
            member_reload(&p.m[1]);
    }
    assert_err(hear(&p.m[1], messages[LOST - 1], "late"), ERR_REPLAY);
    for (size_t i = 0; i <= LOST; i++)
        drop(messages[i]);
    party_close(&p);
}

static void own_message_that_comes_back_is_named(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span message = say(&p.m[0], "mine");
    memory_records before = {0};
    memory_records_copy(&before, &p.m[0].records);
    assert_err(hear(&p.m[0], message, ""), ERR_STATE);
    assert_true(memory_records_equal(&before, &p.m[0].records));
    memory_records_free(&before);
    drop(message);
    party_close(&p);
}

static void messages_of_other_groups_and_epochs_are_named(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 2);
    party_open(&q, 2);
    q.m[0].group->context->group_id = span_text("queue");
    span other = say(&q.m[0], "other");
    assert_err(hear(&p.m[1], other, ""), ERR_WRONG_GROUP);
    /* m[0] is an epoch ahead. */
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &out, &staged));
    assert_ok(group_merge_commit(p.m[0].group, staged, &p.m[0].arena));
    span ahead = say(&p.m[0], "ahead");
    assert_err(hear(&p.m[1], ahead, ""), ERR_WRONG_EPOCH);
    drop(other);
    drop(ahead);
    party_close(&p);
    party_close(&q);
}

static void late_messages_of_three_epochs_are_read(void **state) {
    (void)state;
    for (int reload = 0; reload < 2; reload++) {
        party p;
        party_open(&p, 3);
        span late[GROUP_PAST_EPOCHS + 2];
        for (size_t i = 0; i < GROUP_PAST_EPOCHS + 2; i++) {
            late[i] = say(&p.m[2], "late");
            heal(&p, i % 2);
        }
        if (reload)
            member_reload(&p.m[1]);
        assert_err(hear(&p.m[1], late[0], ""), ERR_EPOCH_GONE);
        assert_err(hear(&p.m[1], late[1], ""), ERR_EPOCH_GONE);
        for (size_t i = 2; i < GROUP_PAST_EPOCHS + 2; i++) {
            assert_ok(hear(&p.m[1], late[i], "late"));
            assert_err(hear(&p.m[1], late[i], "late"), ERR_REPLAY);
        }
        assert_int_equal(memory_records_of_kind(&p.m[1].records, RECORD_EPOCH), GROUP_PAST_EPOCHS);
        for (size_t i = 0; i < GROUP_PAST_EPOCHS + 2; i++)
            drop(late[i]);
        party_close(&p);
    }
}

static void past_epochs_end_after_seven_days(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span late = say(&p.m[2], "late");
    heal(&p, 0);
    p.m[1].now += GROUP_PAST_EPOCH_MS;
    assert_ok(group_expire(p.m[1].group));
    assert_ok(hear(&p.m[1], late, "late"));
    p.m[0].now += GROUP_PAST_EPOCH_MS + 1;
    assert_err(hear(&p.m[0], late, ""), ERR_EPOCH_EXPIRED);
    p.m[1].now++;
    member_reload(&p.m[1]);
    assert_ok(group_expire(p.m[1].group));
    assert_int_equal(memory_records_of_kind(&p.m[1].records, RECORD_EPOCH), 0);
    assert_err(hear(&p.m[1], late, ""), ERR_EPOCH_EXPIRED);
    assert_int_equal(group_count_refusals(p.m[1].group)->epoch_expired, 1);
    drop(late);
    party_close(&p);
}

static void reused_leaf_index_does_not_alias_the_old_sender(void **state) {
    (void)state;
    for (int reload = 0; reload < 2; reload++) {
        party p;
        party_open(&p, 3);
        span old = say(&p.m[2], "old");
        uint32_t leaf = group_own_leaf(p.m[2].group);
        member_make_key_package(&p.m[3]);
        commit_with(&p, 0,
                    &(commit_params){.adds = &p.m[3].key_package, .add_count = 1, .removes = &leaf, .remove_count = 1});
        assert_int_equal(group_own_leaf(p.m[3].group), leaf);
        heal(&p, 1);
        if (reload)
            member_reload(&p.m[0]);
        span fresh = say(&p.m[3], "fresh");
        incoming in;
        assert_ok(group_process(p.m[0].group, old, &p.m[0].arena, &in));
        assert_span(in.sender_leaf->credential.identity, span_text("cleo"));
        assert_ok(group_process(p.m[0].group, fresh, &p.m[0].arena, &in));
        assert_span(in.sender_leaf->credential.identity, span_text("dan"));
        /* He who joined was not there before. */
        assert_err(hear(&p.m[3], old, ""), ERR_EPOCH_GONE);
        drop(old);
        drop(fresh);
        party_close(&p);
    }
}

static void a_message_writes_little_and_one_record(void **state) {
    (void)state;
    party p;
    party_open(&p, 8);
    for (int i = 0; i < 3; i++) {
        span message = say(&p.m[0], "hello");
        memory_records_count_anew(&p.m[1].records);
        assert_ok(hear(&p.m[1], message, "hello"));
        if (i > 0) { /* the first derives the sender's ratchets */
            assert_int_equal(p.m[1].records.puts, 1);
            assert_true(p.m[1].records.bytes_put < 200);
        }
        member_reload(&p.m[1]);
        drop(message);
    }
    memory_records_count_anew(&p.m[0].records);
    drop(say(&p.m[0], "hello"));
    assert_int_equal(p.m[0].records.puts, 1);
    assert_int_equal(p.m[0].records.gets, 0);
    party_close(&p);
}

static void consumed_keys_are_gone_from_the_records(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span message = say(&p.m[0], "once");
    secret root;
    secret_set(&root, secret_span(index_map_get(&p.m[1].group->messages.nodes, tree_root(2))));
    assert_true(memory_records_contain(&p.m[1].records, secret_span(&root)));
    assert_ok(hear(&p.m[1], message, "once"));
    assert_false(memory_records_contain(&p.m[1].records, secret_span(&root)));
    secret epoch_init = p.m[1].group->secrets.init, leaf_key = {.n = KEM_PRIVATE_SIZE};
    memcpy(leaf_key.b, p.m[1].group->keys.keys[0], leaf_key.n);
    heal(&p, 1);
    heal(&p, 0);
    assert_false(memory_records_contain(&p.m[1].records, secret_span(&epoch_init)));
    assert_false(memory_records_contain(&p.m[1].records, secret_span(&leaf_key)));
    drop(message);
    party_close(&p);
}

static void padding_hides_the_size(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{0, 256},     {1, 256},     {256, 256},   {257, 512},    {4096, 4096},
                                      {4097, 4352}, {5000, 5120}, {8000, 8192}, {65537, 67584}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(framing_padded_size(sizes[i][0]), sizes[i][1]);
    party p;
    party_open(&p, 2);
    span a = say(&p.m[0], "yes"), b = say(&p.m[0], "a much longer answer that tells more than three letters");
    assert_int_equal(a.n, b.n);
    drop(a);
    drop(b);
    party_close(&p);
}

static void padding_that_is_not_zero_is_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    group *g = p.m[0].group;
    framed_content content = {
        .group_id = g->context->group_id,
        .epoch = g->context->epoch,
        .sender = {.type = SENDER_MEMBER, .leaf = g->own_leaf},
        .type = CONTENT_APPLICATION,
        .application_data = span_text("hidden"),
    };
    framed_content_auth auth = {.content_type = CONTENT_APPLICATION};
    framed_tbs tbs;
    secret_tree_step step;
    span message;
    incoming in;
    assert_ok(framing_tbs(FORMAT_PRIVATE_MESSAGE, &content, g->context->encoded, &p.m[0].arena, &tbs));
    assert_ok(framing_sign(&g->signer, &tbs, &p.m[0].arena, &auth));
    /* A tag where an application message has none stands where the padding begins. */
    auth.content_type = CONTENT_COMMIT;
    auth.confirmation_tag = span_text("x");
    assert_ok(secret_tree_prepare_next(&g->messages, 0, RATCHET_APPLICATION, &p.m[0].arena, &step));
    assert_ok(framing_protect_private(g->suite, secret_span(&g->secrets.sender_data), &step, &content, &auth,
                                      &p.m[0].arena, &message));
    secret_tree_step_wipe(&step);
    memory_records before = {0};
    memory_records_copy(&before, &p.m[1].records);
    assert_err(group_process(p.m[1].group, message, &p.m[1].arena, &in), ERR_INVALID);
    assert_true(memory_records_equal(&before, &p.m[1].records));
    memory_records_free(&before);
    party_close(&p);
}

static void exporter_is_shared_and_bound_to_its_label(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    uint8_t a[32], b[32];
    assert_ok(group_export_secret(p.m[0].group, "sotto", span_text("x"), a, sizeof a));
    assert_ok(group_export_secret(p.m[1].group, "sotto", span_text("x"), b, sizeof b));
    assert_memory_equal(a, b, sizeof a);
    assert_ok(group_export_secret(p.m[1].group, "sotto", span_text("y"), b, sizeof b));
    assert_memory_not_equal(a, b, sizeof a);
    party_close(&p);
}

/* --- commits --- */

static void staging_and_dropping_changes_nothing_but_the_handshake_ratchet(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    heal(&p, 0);
    commit_output out;
    staged_commit *staged;
    heal(&p, 1);
    uint8_t before[HASH_MAX], after[HASH_MAX];
    assert_ok(ratchet_tree_root_hash(&p.m[1].group->tree, before));
    memory_records_count_anew(&p.m[1].records);
    assert_ok(group_stage_commit(p.m[1].group, &(commit_params){.force_path = true}, &p.m[1].arena, &out, &staged));
    for (size_t i = 0; i < p.m[1].records.count; i++)
        assert_true(p.m[1].records.all[i].key.kind != RECORD_EPOCH || p.m[1].records.all[i].key.epoch < 3);
    assert_true(p.m[1].records.bytes_put < 2000); /* two new ratchets and their siblings */
    group_drop_commit(p.m[1].group, staged);
    assert_ok(ratchet_tree_root_hash(&p.m[1].group->tree, after));
    assert_memory_equal(before, after, suite_under_test->hash_size);
    member_reload(&p.m[1]);
    heal(&p, 1);
    party_close(&p);
}

static void a_dropped_commit_never_gives_its_key_to_the_next(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    commit_output out;
    staged_commit *staged;
    incoming in;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &out, &staged));
    group_drop_commit(p.m[0].group, staged);
    member_reset(&p.m[0]);
    member_reload(&p.m[0]);
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &out, &staged));
    assert_ok(group_process(p.m[1].group, out.commit, &p.m[1].arena, &in));
    assert_int_equal(in.generation, 1);
    group_drop_commit(p.m[1].group, in.staged);
    group_drop_commit(p.m[0].group, staged);
    party_close(&p);
}

static void a_commit_is_not_applied_twice(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    commit_output out;
    staged_commit *staged, *again;
    span saved;
    incoming in;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &out, &staged));
    assert_ok(staged_commit_save(staged, &p.m[0].arena, &saved));
    assert_err(group_process(p.m[0].group, out.commit, &p.m[0].arena, &in), ERR_STATE); /* one's own, echoed */
    assert_ok(group_merge_commit(p.m[0].group, staged, &p.m[0].arena));
    assert_err(staged_commit_restore(p.m[0].group, saved, &p.m[0].arena, &again), ERR_WRONG_EPOCH);
    assert_err(group_process(p.m[0].group, out.commit, &p.m[0].arena, &in), ERR_WRONG_EPOCH);
    assert_ok(group_process(p.m[1].group, out.commit, &p.m[1].arena, &in));
    assert_ok(group_merge_commit(p.m[1].group, in.staged, &p.m[1].arena));
    assert_err(group_process(p.m[1].group, out.commit, &p.m[1].arena, &in), ERR_WRONG_EPOCH);
    everyone_agrees(&p);
    party_close(&p);
}

static void a_losing_commit_gives_way(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    commit_output mine, theirs;
    staged_commit *staged, *winner, *more;
    incoming in;
    assert_ok(group_stage_commit(p.m[1].group, &(commit_params){.force_path = true}, &p.m[1].arena, &mine, &staged));
    assert_err(group_stage_commit(p.m[1].group, &(commit_params){.force_path = true}, &p.m[1].arena, &mine, &more),
               ERR_PENDING_COMMIT);
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &theirs, &winner));
    assert_ok(group_process(p.m[1].group, theirs.commit, &p.m[1].arena, &in));
    assert_ok(group_merge_commit(p.m[1].group, in.staged, &p.m[1].arena));
    assert_err(group_merge_commit(p.m[1].group, staged, &p.m[1].arena), ERR_WRONG_EPOCH);
    assert_ok(group_process(p.m[2].group, theirs.commit, &p.m[2].arena, &in));
    assert_ok(group_merge_commit(p.m[2].group, in.staged, &p.m[2].arena));
    assert_ok(group_merge_commit(p.m[0].group, winner, &p.m[0].arena));
    heal(&p, 1);
    party_close(&p);
}

static void removed_while_holding_a_pending_commit(void **state) {
    (void)state;
    for (int reload = 0; reload < 2; reload++) {
        party p;
        party_open(&p, 3);
        commit_output mine, theirs;
        staged_commit *staged, *winner, *none;
        incoming in;
        uint32_t leaf = 2;
        span late = say(&p.m[0], "late"), message;
        assert_ok(
            group_stage_commit(p.m[2].group, &(commit_params){.force_path = true}, &p.m[2].arena, &mine, &staged));
        assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.removes = &leaf, .remove_count = 1}, &p.m[0].arena,
                                     &theirs, &winner));
        assert_ok(group_process(p.m[2].group, theirs.commit, &p.m[2].arena, &in));
        assert_true(staged_commit_removes_us(in.staged));
        assert_ok(group_merge_commit(p.m[2].group, in.staged, &p.m[2].arena));
        assert_err(group_merge_commit(p.m[2].group, staged, &p.m[2].arena), ERR_REMOVED);
        if (reload)
            member_reload(&p.m[2]);
        assert_int_equal(group_epoch(p.m[2].group), 2);
        assert_err(group_protect(p.m[2].group, late, SPAN_NONE, &p.m[2].arena, &message), ERR_REMOVED);
        assert_err(group_stage_commit(p.m[2].group, &(commit_params){0}, &p.m[2].arena, &mine, &none), ERR_REMOVED);
        assert_ok(hear(&p.m[2], late, "late")); /* of the epoch in which he was a member */
        assert_int_equal(memory_records_of_kind(&p.m[2].records, RECORD_PRIVATE), 0);
        assert_ok(group_merge_commit(p.m[0].group, winner, &p.m[0].arena));
        span after = say(&p.m[0], "after");
        assert_err(hear(&p.m[2], after, ""), ERR_REMOVED);
        drop(late);
        drop(after);
        party_close(&p);
    }
}

static void add_only_commit_has_no_path_and_a_zero_commit_secret(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    member_make_key_package(&p.m[2]);
    secret init = p.m[0].group->secrets.init, joiner;
    commit_with(&p, 0, &(commit_params){.adds = &p.m[2].key_package, .add_count = 1});
    epoch_secrets expected;
    static const uint8_t zeros[SECRET_MAX];
    const suite *s = suite_under_test;
    span zero = span_of(zeros, s->hash_size), context = p.m[0].group->context->encoded;
    assert_ok(key_schedule_joiner(s, secret_span(&init), zero, context, &joiner));
    assert_ok(key_schedule_epoch(s, secret_span(&joiner), zero, context, NULL, &expected));
    assert_span(secret_span(&expected.epoch_authenticator), group_epoch_authenticator(p.m[2].group));
    party_close(&p);
}

static void added_and_removed_are_told_before_merging(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    member_make_key_package(&p.m[3]);
    commit_output out;
    staged_commit *staged;
    incoming in;
    uint32_t leaf = 1, list[4];
    assert_ok(group_stage_commit(
        p.m[0].group,
        &(commit_params){.adds = &p.m[3].key_package, .add_count = 1, .removes = &leaf, .remove_count = 1},
        &p.m[0].arena, &out, &staged));
    assert_ok(group_process(p.m[2].group, out.commit, &p.m[2].arena, &in));
    staged_commit *const both[] = {staged, in.staged};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(staged_commit_epoch(both[i]), 2);
        assert_int_equal(staged_commit_sender(both[i]), 0);
        assert_int_equal(staged_commit_added(both[i], list, 4), 1);
        assert_int_equal(list[0], 1);
        assert_int_equal(staged_commit_removed(both[i], list, 4), 1);
        assert_int_equal(list[0], 1);
        assert_span(staged_commit_leaf(both[i], 1)->credential.identity, span_text("dan"));
    }
    const leaf_node *ben;
    assert_ok(group_member(p.m[2].group, 1, &ben));
    assert_span(ben->credential.identity, span_text("ben"));
    group_drop_commit(p.m[2].group, in.staged);
    group_drop_commit(p.m[0].group, staged);
    party_close(&p);
}

static void proposals_are_committed_by_reference(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    span update, removal;
    incoming in;
    assert_ok(group_propose_update(p.m[1].group, NULL, &p.m[1].arena, &update));
    assert_ok(group_propose_remove(p.m[2].group, 3, &p.m[2].arena, &removal));
    update = keep(update);
    removal = keep(removal);
    for (size_t i = 0; i < 4; i++) {
        if (i != 1)
            assert_ok(group_process(p.m[i].group, update, &p.m[i].arena, &in));
        if (i != 2)
            assert_ok(group_process(p.m[i].group, removal, &p.m[i].arena, &in));
        assert_int_equal(in.kind, INCOMING_PROPOSAL);
        member_reload(&p.m[i]);
    }
    const leaf_node *ben;
    assert_ok(group_member(p.m[0].group, 1, &ben));
    span old_key = keep(ben->encryption_key);
    commit_with(&p, 0, &(commit_params){.use_proposals = true});
    assert_null(p.m[3].group);
    assert_ok(group_member(p.m[0].group, 1, &ben));
    assert_false(span_equal(ben->encryption_key, old_key));
    heal(&p, 1); /* he has the new leaf's key */
    heal(&p, 2);
    drop(update);
    drop(removal);
    drop(old_key);
    party_close(&p);
}

static void of_update_and_remove_of_one_member_we_commit_the_remove(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span update;
    incoming in;
    assert_ok(group_propose_update(p.m[2].group, NULL, &p.m[2].arena, &update));
    for (size_t i = 0; i < 2; i++)
        assert_ok(group_process(p.m[i].group, update, &p.m[i].arena, &in));
    uint32_t leaf = 2;
    commit_with(&p, 0, &(commit_params){.use_proposals = true, .removes = &leaf, .remove_count = 1});
    assert_null(p.m[2].group);
    party_close(&p);
}

static void a_new_certificate_is_signed_for_by_the_old_key(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    member fresh;
    member_init(&fresh, suite_under_test, "anna");
    leaf_params leaf = member_leaf(&fresh);
    extension x = {.type = 0xf100, .data = span_text("chain")};
    leaf.extensions = (extension_list){&x, 1};
    commit_with(&p, 0, &(commit_params){.leaf = &leaf});
    const leaf_node *anna;
    assert_ok(group_member(p.m[1].group, 0, &anna));
    assert_span(anna->signature_key, signature_key_public(&fresh.signer));
    assert_span(extension_find(&anna->extensions, 0xf100)->data, span_text("chain"));
    assert_true(u16_list_has(&anna->capabilities.extensions, 0xf100));
    p.m[0].signer = fresh.signer;
    member_reload(&p.m[0]);
    span message = say(&p.m[0], "new key");
    assert_ok(hear(&p.m[1], message, "new key"));
    heal(&p, 1);
    heal(&p, 0);
    drop(message);
    member_free(&fresh);
    party_close(&p);
}

static void restart_at_every_step_of_a_commit(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    commit_output out;
    staged_commit *staged;
    span saved, commit_bytes, welcome_bytes;
    member_make_key_package(&p.m[3]);
    uint32_t leaf = 1;
    assert_ok(group_stage_commit(
        p.m[0].group,
        &(commit_params){.adds = &p.m[3].key_package, .add_count = 1, .removes = &leaf, .remove_count = 1},
        &p.m[0].arena, &out, &staged));
    assert_ok(staged_commit_save(staged, &p.m[0].arena, &saved));
    saved = keep(saved);
    commit_bytes = keep(out.commit);
    welcome_bytes = keep(out.welcome);
    group_drop_commit(p.m[0].group, staged);
    member_reload(&p.m[0]);
    assert_ok(staged_commit_restore(p.m[0].group, saved, &p.m[0].arena, &staged));
    uint32_t list[4];
    assert_int_equal(staged_commit_added(staged, list, 4), 1);
    assert_span(staged_commit_leaf(staged, list[0])->credential.identity, span_text("dan"));
    assert_ok(group_merge_commit(p.m[0].group, staged, &p.m[0].arena));
    incoming in;
    assert_ok(group_process(p.m[2].group, commit_bytes, &p.m[2].arena, &in));
    assert_ok(group_merge_commit(p.m[2].group, in.staged, &p.m[2].arena));
    assert_ok(member_join(&p.m[3], welcome_bytes, SPAN_NONE));
    for (size_t i = 0; i < 4; i++)
        if (i != 1)
            member_reload(&p.m[i]);
    assert_span(group_epoch_authenticator(p.m[0].group), group_epoch_authenticator(p.m[2].group));
    assert_span(group_epoch_authenticator(p.m[0].group), group_epoch_authenticator(p.m[3].group));
    /* A saved commit that was damaged is refused, wherever. */
    member_reset(&p.m[0]);
    for (size_t i = 0; i < saved.n; i += 1 + saved.n / 40)
        assert_true(staged_commit_restore(p.m[0].group, span_of(saved.p, i), &p.m[0].arena, &staged) != OK);
    drop(saved);
    drop(commit_bytes);
    drop(welcome_bytes);
    group_close(p.m[1].group);
    p.m[1].group = NULL;
    heal(&p, 3);
    party_close(&p);
}

/* --- hostile commits: rightly signed and encrypted, wrong in what they say --- */

static void hostile_lists_of_proposals_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    uint32_t gone = 3;
    commit_with(&p, 2, &(commit_params){.removes = &gone, .remove_count = 1});
    proposal_or_ref list[3] = {remove_of(2), remove_of(2)};
    commit body = commit_of(list, 1);
    body.has_path = true;
    body.path.leaf = *ratchet_tree_leaf(&p.m[0].group->tree, 0);
    expect_refusal(&p, &body, ERR_INVALID); /* all well but the path */
    body.proposals.n = 2;
    expect_refusal(&p, &body, ERR_PROPOSAL); /* one leaf removed twice */
    list[0] = remove_of(0);
    body.proposals.n = 1;
    expect_refusal(&p, &body, ERR_PROPOSAL); /* the committer */
    list[0] = remove_of(3);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* a blank leaf */
    list[0] = remove_of(77);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* nobody */
    list[0] = remove_of(0xffffffff);
    expect_refusal(&p, &body, ERR_PROPOSAL);
    list[0] = (proposal_or_ref){.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_EXTERNAL_INIT}};
    expect_refusal(&p, &body, ERR_PROPOSAL);
    list[0] = (proposal_or_ref){.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_UPDATE}};
    list[0].proposal.update = *ratchet_tree_leaf(&p.m[0].group->tree, 0);
    list[0].proposal.update.source = LEAF_UPDATE;
    expect_refusal(&p, &body, ERR_PROPOSAL); /* an Update of the committer's own */
    list[0] = remove_of(2);
    body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* a Remove without a path */
    body = commit_of(list, 0);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* nothing at all */
    uint8_t unknown[HASH_MAX] = {1};
    list[0] = (proposal_or_ref){.type = PROPOSAL_BY_REFERENCE, .reference = span_of(unknown, 32)};
    body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_NOT_FOUND);
    heal(&p, 1);
    party_close(&p);
}

static void update_and_remove_of_one_member_in_one_commit_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span update;
    incoming in;
    assert_ok(group_propose_update(p.m[2].group, NULL, &p.m[2].arena, &update));
    for (size_t i = 0; i < 2; i++)
        assert_ok(group_process(p.m[i].group, update, &p.m[i].arena, &in));
    span reference = span_of(p.m[0].group->proposals[0].reference, suite_under_test->hash_size);
    proposal_or_ref list[2] = {{.type = PROPOSAL_BY_REFERENCE, .reference = reference}, remove_of(2)};
    commit body = commit_of(list, 2);
    expect_refusal(&p, &body, ERR_PROPOSAL);
    list[1] = list[0]; /* the same Update twice */
    expect_refusal(&p, &body, ERR_PROPOSAL);
    party_close(&p);
}

static void hostile_adds_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    member_make_key_package(&p.m[3]);
    proposal_or_ref list[2] = {add_of(&p.m[3], &a), add_of(&p.m[3], &a)};
    commit body = commit_of(list, 2);
    expect_refusal(&p, &body, ERR_DUPLICATE_KEY); /* one client twice */
    member_make_key_package(&p.m[2]);
    list[0] = add_of(&p.m[2], &a);
    body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_DUPLICATE_KEY); /* a member's signature key */
    list[0] = add_of(&p.m[3], &a);
    expect_refusal(&p, &body, ERR_CONFIRMATION); /* all well but the tag */
    list[0].proposal.add.signature = SPAN_NONE;
    expect_refusal(&p, &body, ERR_SIGNATURE);
    list[0] = add_of(&p.m[3], &a);
    list[0].proposal.add.cipher_suite = suite_under_test->id == SUITE_XWING ? SUITE_X25519 : SUITE_XWING;
    expect_refusal(&p, &body, ERR_UNSUPPORTED);
    list[0] = add_of(&p.m[3], &a);
    p.m[1].now += 91ull * 86400 * 1000;
    expect_refusal(&p, &body, ERR_EXPIRED);
    p.m[1].now = MEMBER_NOW_MS - 86400ull * 1000;
    expect_refusal(&p, &body, ERR_EXPIRED);
    arena_free(&a);
    party_close(&p);
}

static void hostile_paths_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    group *g = p.m[0].group;
    const leaf_node *own = ratchet_tree_leaf(&g->tree, 0);
    commit body = {.has_path = true};
    body.path.leaf = *own;
    expect_refusal(&p, &body, ERR_INVALID); /* a key package's leaf where a commit's must be */
    body.path.leaf.source = LEAF_COMMIT;
    expect_refusal(&p, &body, ERR_SIGNATURE);
    leaf_place place = {g->context->group_id, 0}, elsewhere = {g->context->group_id, 1};
    span encoded;
    assert_ok(leaf_node_sign(&g->signer, &body.path.leaf, &place, &a, &encoded));
    expect_refusal(&p, &body, ERR_DUPLICATE_KEY); /* the key it had */
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    body.path.leaf.encryption_key = span_of(pair.public_key, suite_under_test->kem_public_size);
    assert_ok(leaf_node_sign(&g->signer, &body.path.leaf, &elsewhere, &a, &encoded));
    expect_refusal(&p, &body, ERR_SIGNATURE); /* signed for another leaf */
    assert_ok(leaf_node_sign(&g->signer, &body.path.leaf, &place, &a, &encoded));
    expect_refusal(&p, &body, ERR_INVALID); /* no nodes */
    update_path_node nodes[2] = {0};
    kem_key_pair node_pairs[2];
    for (size_t i = 0; i < 2; i++) {
        assert_ok(suite_generate_key_pair(suite_under_test, &node_pairs[i]));
        nodes[i].encryption_key = span_of(node_pairs[i].public_key, suite_under_test->kem_public_size);
    }
    body.path.nodes.p = nodes;
    body.path.nodes.n = 2;
    expect_refusal(&p, &body, ERR_PARENT_HASH);
    nodes[1].encryption_key = span_of(node_pairs[1].public_key, 31);
    expect_refusal(&p, &body, ERR_KEY);
    arena_free(&a);
    heal(&p, 1);
    party_close(&p);
}

/* --- our rule on top: who may enter, who may commit --- */

static const char *refused_name;
static unsigned leaves_seen, replacements_seen;

static err check_leaf(void *ctx, const leaf_node *leaf, const leaf_node *previous) {
    (void)ctx;
    leaves_seen++;
    replacements_seen += previous != NULL;
    return refused_name != NULL && span_equal(leaf->credential.identity, span_text(refused_name)) ? ERR_CERTIFICATE
                                                                                                  : OK;
}

static void check_leaf_sees_every_leaf_that_enters(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    refused_name = NULL;
    p.m[1].host.check_leaf = p.m[3].host.check_leaf = check_leaf;
    member_reload(&p.m[1]);
    member_make_key_package(&p.m[3]);
    leaves_seen = replacements_seen = 0;
    commit_with(&p, 0, &(commit_params){.adds = &p.m[3].key_package, .add_count = 1});
    assert_int_equal(leaves_seen, 1 + 4); /* m[1]: the add; m[3]: the tree he joins */
    assert_int_equal(replacements_seen, 0);
    leaves_seen = 0;
    heal(&p, 2);
    assert_int_equal(leaves_seen, 2);
    assert_int_equal(replacements_seen, 2);
    incoming in;
    span update;
    leaves_seen = replacements_seen = 0;
    assert_ok(group_propose_update(p.m[2].group, NULL, &p.m[2].arena, &update));
    assert_ok(group_process(p.m[1].group, update, &p.m[1].arena, &in));
    assert_int_equal(replacements_seen, 1);
    party_close(&p);
}

static void check_leaf_refuses_add_join_update_and_path(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    p.m[1].host.check_leaf = p.m[4].host.check_leaf = check_leaf;
    member_reload(&p.m[1]);
    member_make_key_package(&p.m[3]);
    refused_name = "dan";
    commit_output out;
    staged_commit *staged;
    incoming in;
    span update;
    memory_records before = {0};
    memory_records_copy(&before, &p.m[1].records);
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.adds = &p.m[3].key_package, .add_count = 1},
                                 &p.m[0].arena, &out, &staged));
    assert_err(group_process(p.m[1].group, out.commit, &p.m[1].arena, &in), ERR_CERTIFICATE);
    assert_err(group_stage_commit(p.m[1].group, &(commit_params){.adds = &p.m[3].key_package, .add_count = 1},
                                  &p.m[1].arena, &out, &staged),
               ERR_CERTIFICATE);
    group_drop_commit(p.m[0].group, p.m[0].group->pending);
    refused_name = "anna";
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &out, &staged));
    assert_err(group_process(p.m[1].group, out.commit, &p.m[1].arena, &in), ERR_CERTIFICATE);
    group_drop_commit(p.m[0].group, staged);
    assert_ok(group_propose_update(p.m[0].group, NULL, &p.m[0].arena, &update));
    assert_err(group_process(p.m[1].group, update, &p.m[1].arena, &in), ERR_CERTIFICATE);
    assert_true(memory_records_equal(&before, &p.m[1].records));
    member_make_key_package(&p.m[4]);
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.adds = &p.m[4].key_package, .add_count = 1},
                                 &p.m[0].arena, &out, &staged));
    assert_err(member_join(&p.m[4], out.welcome, SPAN_NONE), ERR_CERTIFICATE);
    assert_int_equal(p.m[4].records.count, 0);
    group_drop_commit(p.m[0].group, staged);
    refused_name = NULL;
    memory_records_free(&before);
    party_close(&p);
}

static err only_anna_removes(void *ctx, const group *g, const leaf_node *committer, const staged_commit *staged) {
    (void)ctx, (void)g;
    uint32_t list[1];
    bool removes = staged_commit_removed(staged, list, 1) > 0;
    return removes && !span_equal(committer->credential.identity, span_text("anna")) ? ERR_SENDER : OK;
}

static void check_commit_decides_who_may(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    p.m[1].host.check_commit = p.m[3].host.check_commit = only_anna_removes;
    member_reload(&p.m[1]);
    member_reload(&p.m[3]);
    commit_output out;
    staged_commit *staged;
    incoming in;
    uint32_t leaf = 3;
    assert_ok(group_stage_commit(p.m[2].group, &(commit_params){.removes = &leaf, .remove_count = 1}, &p.m[2].arena,
                                 &out, &staged));
    assert_err(group_process(p.m[1].group, out.commit, &p.m[1].arena, &in), ERR_SENDER);
    assert_err(group_process(p.m[3].group, out.commit, &p.m[3].arena, &in), ERR_SENDER); /* who would be removed */
    group_drop_commit(p.m[2].group, staged);
    commit_with(&p, 0, &(commit_params){.removes = &leaf, .remove_count = 1});
    party_close(&p);
}

/* --- joining --- */

static void a_welcome_that_was_altered_is_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    member_make_key_package(&p.m[2]);
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.adds = &p.m[2].key_package, .add_count = 1},
                                 &p.m[0].arena, &out, &staged));
    uint8_t *bytes = (uint8_t *)(uintptr_t)out.welcome.p;
    for (size_t i = 0; i < out.welcome.n; i += 1 + out.welcome.n / 200) {
        bytes[i] ^= 1;
        assert_true(member_join(&p.m[2], out.welcome, SPAN_NONE) != OK);
        bytes[i] ^= 1;
        assert_true(member_join(&p.m[2], span_of(bytes, i), SPAN_NONE) != OK);
    }
    assert_int_equal(p.m[2].records.count, 0);
    member_make_key_package(&p.m[3]);
    assert_err(member_join(&p.m[3], out.welcome, SPAN_NONE), ERR_NOT_FOUND); /* for somebody else */
    span *references;
    size_t count, size;
    uint8_t reference[HASH_MAX];
    assert_ok(welcome_references(out.welcome, &p.m[0].arena, &references, &count));
    assert_ok(key_package_reference(p.m[2].key_package, &p.m[0].arena, reference, &size));
    assert_int_equal(count, 1);
    assert_span(references[0], span_of(reference, size));
    assert_ok(member_join(&p.m[2], out.welcome, SPAN_NONE));
    group_drop_commit(p.m[0].group, staged);
    party_close(&p);
}

static void expired_members_do_not_lock_the_group(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    for (size_t i = 0; i < MAX; i++)
        p.m[i].now += 400ull * 86400 * 1000;
    leaf_params leaf = member_leaf(&p.m[3]);
    leaf.not_before += 399 * 86400;
    leaf.not_after += 399 * 86400;
    span encoded;
    assert_ok(key_package_create(suite_under_test, &leaf, true, &p.m[3].arena, &encoded, &p.m[3].secrets));
    p.m[3].key_package = keep(encoded);
    key_package kp = {0};
    assert_ok(WIRE_DECODE(encoded, &p.m[3].arena, wire_key_package, &kp));
    assert_non_null(extension_find(&kp.extensions, EXTENSION_LAST_RESORT));
    assert_ok(key_package_validate(&kp, encoded, p.m[3].now / 1000, &p.m[3].arena));
    assert_err(key_package_validate(&kp, encoded, MEMBER_NOW_MS / 1000, &p.m[3].arena), ERR_EXPIRED);
    commit_with(&p, 0, &(commit_params){.adds = &p.m[3].key_package, .add_count = 1});
    assert_non_null(p.m[3].group);
    heal(&p, 3);
    party_close(&p);
}

/* --- what the machine may do wrong --- */

/* One step of a group under test; the message it needs was made before. */
typedef err step_function(member *m, span message);

static err step_read(member *m, span message) {
    incoming in;
    return group_process(m->group, message, &m->arena, &in);
}

static err step_merge(member *m, span message) {
    incoming in;
    TRY(group_process(m->group, message, &m->arena, &in));
    return group_merge_commit(m->group, in.staged, &m->arena);
}

/* Fails each operation on the records in turn; after each the caller rolls back and reloads, as a command does. */
static void fail_each_operation(member *m, step_function *step, span message) {
    memory_records before = {0};
    memory_records_copy(&before, &m->records);
    for (long n = 1;; n++) {
        m->records.fail_after = n;
        err e = step(m, message);
        bool failed = m->records.fail_after == 0;
        m->records.fail_after = 0;
        member_reset(m);
        if (!failed) {
            assert_ok(e);
            break;
        }
        assert_err(e, ERR_STORE);
        memory_records_copy(&m->records, &before);
        m->host.records = memory_records_interface(&m->records);
        member_reload(m);
    }
    memory_records_free(&before);
}

/* Gives less memory than needed, in steps; nothing may change until it is enough. */
static void starve(member *m, step_function *step, span message) {
    memory_records before = {0};
    memory_records_copy(&before, &m->records);
    arena whole = m->arena;
    err e = ERR_ARENA;
    for (size_t size = 64; e != OK; size += 8 + size / 64) {
        m->arena.size = size;
        e = step(m, message);
        m->arena.size = whole.size;
        member_reset(m);
        if (e != OK) {
            assert_err(e, ERR_ARENA);
            if (step == step_merge) { /* half merged: the command is rolled back */
                memory_records_copy(&m->records, &before);
                member_reload(m);
            }
            assert_true(memory_records_equal(&before, &m->records));
        }
    }
    memory_records_free(&before);
}

static void starved_of_memory_a_message_or_proposal_changes_nothing(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    enum { LOST = 40 };
    span message = SPAN_NONE, update;
    for (int i = 0; i < LOST; i++) { /* skipped keys make the record larger than the scratch so far */
        drop(message);
        message = say(&p.m[0], "skipping");
    }
    starve(&p.m[1], step_read, message);
    p.m[2].in_memory = true;
    starve(&p.m[2], step_read, message);
    assert_ok(group_propose_update(p.m[0].group, NULL, &p.m[0].arena, &update));
    starve(&p.m[1], step_read, update);
    assert_int_equal(p.m[1].group->proposal_count, 1);
    assert_int_equal(memory_records_of_kind(&p.m[1].records, RECORD_PROPOSAL), 1);
    drop(message);
    party_close(&p);
}

static void failing_records_and_memory_leave_nothing_between(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    span first = say(&p.m[0], "first"), second = say(&p.m[0], "second");
    fail_each_operation(&p.m[1], step_read, first);
    starve(&p.m[1], step_read, second);
    assert_err(hear(&p.m[1], first, ""), ERR_REPLAY);
    for (int i = 0; i < 2; i++) {
        commit_output out;
        staged_commit *staged;
        incoming in;
        assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.force_path = true}, &p.m[0].arena, &out, &staged));
        if (i == 0)
            fail_each_operation(&p.m[1], step_merge, out.commit);
        else
            starve(&p.m[1], step_merge, out.commit);
        for (size_t k = 2; k < 4; k++) {
            assert_ok(group_process(p.m[k].group, out.commit, &p.m[k].arena, &in));
            assert_ok(group_merge_commit(p.m[k].group, in.staged, &p.m[k].arena));
        }
        assert_ok(group_merge_commit(p.m[0].group, staged, &p.m[0].arena));
        everyone_agrees(&p);
    }
    heal(&p, 1);
    drop(first);
    drop(second);
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_members_talk),
        cmocka_unit_test(replay_is_refused_and_does_not_delete_the_ratchet),
        cmocka_unit_test(one_byte_changed_anywhere_changes_nothing),
        cmocka_unit_test(bad_signature_does_not_move_the_ratchet),
        cmocka_unit_test(too_far_ahead_has_its_own_error),
        cmocka_unit_test(skipped_keys_are_limited_with_their_own_error),
        cmocka_unit_test(own_message_that_comes_back_is_named),
        cmocka_unit_test(messages_of_other_groups_and_epochs_are_named),
        cmocka_unit_test(late_messages_of_three_epochs_are_read),
        cmocka_unit_test(past_epochs_end_after_seven_days),
        cmocka_unit_test(reused_leaf_index_does_not_alias_the_old_sender),
        cmocka_unit_test(a_message_writes_little_and_one_record),
        cmocka_unit_test(consumed_keys_are_gone_from_the_records),
        cmocka_unit_test(padding_hides_the_size),
        cmocka_unit_test(padding_that_is_not_zero_is_refused),
        cmocka_unit_test(exporter_is_shared_and_bound_to_its_label),
        cmocka_unit_test(staging_and_dropping_changes_nothing_but_the_handshake_ratchet),
        cmocka_unit_test(a_dropped_commit_never_gives_its_key_to_the_next),
        cmocka_unit_test(a_commit_is_not_applied_twice),
        cmocka_unit_test(a_losing_commit_gives_way),
        cmocka_unit_test(removed_while_holding_a_pending_commit),
        cmocka_unit_test(add_only_commit_has_no_path_and_a_zero_commit_secret),
        cmocka_unit_test(added_and_removed_are_told_before_merging),
        cmocka_unit_test(proposals_are_committed_by_reference),
        cmocka_unit_test(of_update_and_remove_of_one_member_we_commit_the_remove),
        cmocka_unit_test(a_new_certificate_is_signed_for_by_the_old_key),
        cmocka_unit_test(restart_at_every_step_of_a_commit),
        cmocka_unit_test(hostile_lists_of_proposals_are_refused),
        cmocka_unit_test(update_and_remove_of_one_member_in_one_commit_are_refused),
        cmocka_unit_test(hostile_adds_are_refused),
        cmocka_unit_test(hostile_paths_are_refused),
        cmocka_unit_test(check_leaf_sees_every_leaf_that_enters),
        cmocka_unit_test(check_leaf_refuses_add_join_update_and_path),
        cmocka_unit_test(check_commit_decides_who_may),
        cmocka_unit_test(a_welcome_that_was_altered_is_refused),
        cmocka_unit_test(expired_members_do_not_lock_the_group),
        cmocka_unit_test(starved_of_memory_a_message_or_proposal_changes_nothing),
        cmocka_unit_test(failing_records_and_memory_leave_nothing_between),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_group xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_group x25519", tests, NULL, NULL);
}
