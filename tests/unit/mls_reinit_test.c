/* core/mls/parent.h: ReInit, and groups that come from another (RFC 9420 §11.2, §11.3, §12.1.5). Every test runs with both
 * suites. */
#include "mls/parent.h"
#include "mls/proposal.h"
#include "support/mls_party.h"

static re_init to_next(void) {
    return (re_init){.group_id = span_text("next"), .version = MLS_VERSION, .cipher_suite = suite_under_test->id};
}

static void end_group(party *p) {
    re_init r = to_next();
    commit_with(p, 0, &(commit_params){.re_init = &r});
}

/* --- the end of a group --- */

static void after_a_re_init_nothing_is_sent_and_late_messages_are_read(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span late = say(&p.m[1], "late"), message;
    end_group(&p);
    for (int reload = 0; reload < 2; reload++) {
        group *g = p.m[0].group;
        arena *a = &p.m[0].arena;
        const re_init *r = group_re_init(g);
        assert_non_null(r);
        assert_span(r->group_id, span_text("next"));
        assert_int_equal(r->cipher_suite, suite_under_test->id);
        commit_output out;
        staged_commit *staged;
        psk_id psk = {.type = PSK_EXTERNAL};
        extension_list none = {0};
        assert_err(group_protect(g, span_text("x"), SPAN_NONE, a, &message), ERR_REINIT);
        assert_err(group_stage_commit(g, &(commit_params){.force_path = true}, a, &out, &staged), ERR_REINIT);
        assert_err(group_propose_update(g, NULL, a, &message), ERR_REINIT);
        assert_err(group_propose_remove(g, 1, a, &message), ERR_REINIT);
        assert_err(group_propose_psk(g, &psk, a, &message), ERR_REINIT);
        assert_err(group_propose_extensions(g, &none, a, &message), ERR_REINIT);
        assert_err(group_make_info(g, true, a, &message), ERR_REINIT);
        member_reload(&p.m[0]);
    }
    assert_ok(hear(&p.m[0], late, "late"));
    /* Who goes on all the same is not listened to. */
    framed_content content = content_of(&p.m[1], CONTENT_PROPOSAL);
    content.proposal.type = PROPOSAL_REMOVE;
    content.proposal.remove = 2;
    span context = p.m[1].group->context->encoded;
    expect_refused(&p.m[0], send_content(&p.m[1], &content, true, context), ERR_REINIT);
    content = content_of(&p.m[1], CONTENT_COMMIT);
    expect_refused(&p.m[0], send_content(&p.m[1], &content, true, context), ERR_REINIT);
    drop(late);
    party_close(&p);
}

static void a_re_init_is_proposed_and_committed_alone(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span message;
    re_init r = to_next();
    assert_ok(group_propose_update(p.m[2].group, NULL, &p.m[2].arena, &message));
    deliver_proposal(&p, &p.m[2], message);
    assert_ok(group_propose_re_init(p.m[1].group, &r, &p.m[1].arena, &message));
    deliver_proposal(&p, &p.m[1], message);
    commit_output out;
    staged_commit *staged;
    uint32_t leaf = 2;
    commit_params with_removal = {.use_proposals = true, .removes = &leaf, .remove_count = 1};
    assert_ok(group_stage_commit(p.m[0].group, &with_removal, &p.m[0].arena, &out, &staged));
    assert_null(staged_commit_re_init(staged)); /* what the caller asks for goes first */
    group_drop_commit(p.m[0].group, staged);
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
    assert_span(staged_commit_re_init(staged)->group_id, span_text("next"));
    deliver(&p, &p.m[0], &out, staged);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(group_re_init(p.m[i].group));
    party_close(&p);
}

static void a_staged_re_init_survives_a_restart(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    re_init r = to_next();
    commit_output out;
    staged_commit *staged;
    span saved;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.re_init = &r}, &p.m[0].arena, &out, &staged));
    assert_ok(staged_commit_save(staged, &p.m[0].arena, &saved));
    saved = keep(saved);
    group_drop_commit(p.m[0].group, staged);
    member_reload(&p.m[0]);
    assert_ok(staged_commit_restore(p.m[0].group, saved, &p.m[0].arena, &staged));
    assert_span(staged_commit_re_init(staged)->group_id, span_text("next"));
    assert_ok(group_merge_commit(p.m[0].group, staged, &p.m[0].arena));
    assert_non_null(group_re_init(p.m[0].group));
    assert_err(staged_commit_restore(p.m[0].group, saved, &p.m[0].arena, &staged), ERR_WRONG_EPOCH);
    drop(saved);
    party_close(&p);
}

static void hostile_re_inits_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    proposal_or_ref list[2] = {{.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_REINIT}}, remove_of(2)};
    list[0].proposal.re_init = to_next();
    commit body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_CONFIRMATION); /* all well but the tag */
    body.proposals.n = 2;
    expect_refusal(&p, &body, ERR_PROPOSAL); /* not alone */
    list[1] = list[0];
    expect_refusal(&p, &body, ERR_PROPOSAL);
    body.proposals.n = 1;
    list[0].proposal.re_init.version = 0;
    expect_refusal(&p, &body, ERR_PROPOSAL); /* back to a version of before */
    expect_proposal_refusal(&p, &list[0].proposal, ERR_PROPOSAL);
    extension twice[2] = {{.type = 0xf100}, {.type = 0xf100}};
    list[0].proposal.re_init = to_next();
    list[0].proposal.re_init.extensions = (extension_list){twice, 2};
    expect_refusal(&p, &body, ERR_INVALID);
    expect_proposal_refusal(&p, &list[0].proposal, ERR_INVALID);
    heal(&p, 1);
    party_close(&p);
}

/* --- the group after it --- */

static psk_id link_to(const group *parent, psk_usage usage) {
    return (psk_id){.type = PSK_RESUMPTION,
                    .usage = (uint8_t)usage,
                    .group_id = parent->context->group_id,
                    .epoch = parent->context->epoch};
}

typedef struct new_group {
    const suite *suite;
    const char *id;
    extension_list extensions;
    psk_id link;
    group *parent;
    span adds[MAX];
    size_t add_count;
} new_group;

static err make_group(member *creator, const new_group *n, span *welcome) {
    leaf_params leaf = member_leaf(creator);
    group_params params = {n->suite, span_text(n->id), n->extensions, &leaf};
    commit_output out;
    staged_commit *staged;
    assert_ok(group_create(&creator->host, &params, &creator->arena, &creator->group));
    commit_params first = {
        .adds = n->adds, .add_count = n->add_count, .psks = &n->link, .psk_count = 1, .parent = n->parent};
    err e = group_stage_commit(creator->group, &first, &creator->arena, &out, &staged);
    if (e != OK) {
        group_close(creator->group);
        creator->group = NULL;
        memory_records_free(&creator->records);
        member_reset(creator);
        return e;
    }
    *welcome = keep(out.welcome);
    e = group_merge_commit(creator->group, staged, &creator->arena);
    member_reset(creator);
    return e;
}

static err join_group(member *m, span welcome, group *parent) {
    join_params join = {.welcome = welcome,
                        .key_package = m->key_package,
                        .secrets = &m->secrets,
                        .signer = &m->signer,
                        .parent = parent};
    err e = group_join(&m->host, &join, &m->arena, &m->group);
    member_reset(m);
    return e;
}

/* m[0], m[1], m[2] of `p` go on into q, whose leaves have the same names and other keys. */
static void next_members(party *q, const suite *s, size_t n) {
    static const char *const names[] = {"anna", "ben", "cleo", "dan"};
    *q = (party){.n = n};
    for (size_t i = 0; i < n; i++) {
        member_init(&q->m[i], s, names[i]);
        member_make_key_package(&q->m[i]);
    }
}

static void next_close(party *q) {
    for (size_t i = 0; i < q->n; i++)
        member_free(&q->m[i]);
}

static new_group successor(party *p, party *q) {
    new_group n = {.suite = q->m[0].suite,
                   .id = "next",
                   .link = link_to(p->m[0].group, PSK_USAGE_REINIT),
                   .parent = p->m[0].group,
                   .add_count = q->n - 1};
    for (size_t i = 1; i < q->n; i++)
        n.adds[i - 1] = q->m[i].key_package;
    return n;
}

static void a_group_goes_on_with_another_suite(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 3);
    const suite *other = suite_find(suite_under_test->id == SUITE_XWING ? SUITE_X25519 : SUITE_XWING);
    static const uint8_t nobody[] = {0};
    extension x = {EXTENSION_EXTERNAL_SENDERS, SPAN(nobody)};
    re_init r = {span_text("next"), MLS_VERSION, other->id, {&x, 1}};
    commit_with(&p, 1, &(commit_params){.re_init = &r});
    next_members(&q, other, 3);
    new_group n = successor(&p, &q);
    n.extensions = r.extensions;
    span welcome;
    assert_ok(make_group(&q.m[0], &n, &welcome));
    for (size_t i = 1; i < 3; i++) {
        assert_err(join_group(&q.m[i], welcome, NULL), ERR_PSK); /* who does not remember cannot come along */
        assert_ok(join_group(&q.m[i], welcome, p.m[i].group));
        assert_int_equal(group_epoch(q.m[i].group), 1);
        assert_span(group_epoch_authenticator(q.m[i].group), group_epoch_authenticator(q.m[0].group));
    }
    drop(welcome);
    next_close(&q);
    party_close(&p);
}

static void new_groups_that_are_not_what_was_agreed_are_not_made(void **state) {
    (void)state;
    enum {
        RIGHT,
        NO_RE_INIT,
        OTHER_ID,
        OTHER_EXTENSIONS,
        OTHER_SUITE,
        OLD_EPOCH,
        FEWER,
        MORE,
        STRANGER,
        NO_PARENT,
        CASES
    };
    static const uint8_t nobody[] = {0};
    extension x = {EXTENSION_EXTERNAL_SENDERS, SPAN(nobody)};
    for (int kind = 0; kind < CASES; kind++) {
        party p, q;
        party_open(&p, 3);
        heal(&p, 1);
        if (kind != NO_RE_INIT)
            end_group(&p);
        bool other = kind == OTHER_SUITE && suite_under_test->id == SUITE_XWING;
        const suite *s = kind != OTHER_SUITE ? suite_under_test : suite_find(other ? SUITE_X25519 : SUITE_XWING);
        next_members(&q, s, kind == FEWER ? 2 : kind == MORE ? 4 : 3);
        if (kind == STRANGER) {
            strcpy(q.m[2].name, "mallory");
            member_make_key_package(&q.m[2]);
        }
        new_group n = successor(&p, &q);
        if (kind == OTHER_ID)
            n.id = "elsewhere";
        if (kind == OTHER_EXTENSIONS)
            n.extensions = (extension_list){&x, 1};
        if (kind == OLD_EPOCH)
            n.link.epoch--;
        if (kind == NO_PARENT)
            n.parent = NULL;
        span welcome;
        assert_err(make_group(&q.m[0], &n, &welcome), kind == RIGHT       ? OK
                                                      : kind == NO_PARENT ? ERR_PROPOSAL
                                                                          : ERR_INVALID);
        if (kind == RIGHT)
            drop(welcome);
        next_close(&q);
        party_close(&p);
    }
}

static void a_parent_without_its_psk_is_no_parent(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 2);
    end_group(&p);
    next_members(&q, suite_under_test, 2);
    member_create_group(&q.m[0], "next");
    commit_output out;
    staged_commit *staged;
    commit_params params = {.adds = &q.m[1].key_package, .add_count = 1, .parent = p.m[0].group};
    assert_err(group_stage_commit(q.m[0].group, &params, &q.m[0].arena, &out, &staged), ERR_PROPOSAL);
    params.parent = NULL;
    assert_ok(group_stage_commit(q.m[0].group, &params, &q.m[0].arena, &out, &staged));
    assert_err(join_group(&q.m[1], out.welcome, p.m[1].group), ERR_INVALID);
    assert_ok(join_group(&q.m[1], out.welcome, NULL));
    group_drop_commit(q.m[0].group, staged);
    next_close(&q);
    party_close(&p);
}

static void a_link_is_for_a_groups_first_commit_only(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 2);
    end_group(&p);
    next_members(&q, suite_under_test, 2);
    member_create_group(&q.m[0], "next");
    heal(&q, 0);
    psk_id link = link_to(p.m[0].group, PSK_USAGE_REINIT);
    commit_output out;
    staged_commit *staged;
    commit_params params = {
        .adds = &q.m[1].key_package, .add_count = 1, .psks = &link, .psk_count = 1, .parent = p.m[0].group};
    assert_err(group_stage_commit(q.m[0].group, &params, &q.m[0].arena, &out, &staged), ERR_PROPOSAL);
    next_close(&q);
    party_close(&p);
}

/* A creator whose memory of the old group is not the others': his code finds all well, theirs must not. */
static void new_groups_that_were_not_agreed_on_are_not_joined(void **state) {
    (void)state;
    enum { NO_RE_INIT, OTHER_ID, OTHER_EXTENSIONS, OTHER_SUITE, OLD_EPOCH, FEWER, MORE, STRANGER, CASES };
    static const uint8_t nobody[] = {0};
    extension x = {EXTENSION_EXTERNAL_SENDERS, SPAN(nobody)};
    for (int kind = 0; kind < CASES; kind++) {
        party p, q, r;
        party_open(&p, 3);
        heal(&p, 1);
        if (kind != NO_RE_INIT)
            end_group(&p);
        re_init agreed = to_next();
        group mind = *p.m[0].group; /* shares all with it */
        mind.re_init = &agreed;
        const suite *s = suite_under_test;
        if (kind == OTHER_ID)
            agreed.group_id = span_text("elsewhere");
        if (kind == OTHER_EXTENSIONS)
            agreed.extensions = (extension_list){&x, 1};
        if (kind == OTHER_SUITE) {
            s = suite_find(s->id == SUITE_XWING ? SUITE_X25519 : SUITE_XWING);
            agreed.cipher_suite = s->id;
        }
        group_context before = *mind.context;
        if (kind == OLD_EPOCH) {
            before.epoch--;
            mind.context = &before;
            mind.secrets.resumption_psk = mind.past[0]->resumption_psk;
        }
        next_members(&q, s, kind == FEWER ? 2 : kind == MORE ? 4 : 3);
        if (kind == STRANGER) {
            strcpy(q.m[2].name, "mallory");
            member_make_key_package(&q.m[2]);
        }
        /* A tree with the members of the new group. */
        next_members(&r, s, q.n);
        strcpy(r.m[2].name, q.m[2].name);
        span adds[MAX];
        for (size_t i = 1; i < r.n; i++) {
            member_make_key_package(&r.m[i]);
            adds[i - 1] = r.m[i].key_package;
        }
        member_create_group(&r.m[0], "r");
        commit_with(&r, 0, &(commit_params){.adds = adds, .add_count = r.n - 1});
        mind.tree = r.m[0].group->tree;
        new_group n = successor(&p, &q);
        n.parent = &mind;
        n.link = link_to(&mind, PSK_USAGE_REINIT);
        n.extensions = agreed.extensions;
        n.id = kind == OTHER_ID ? "elsewhere" : "next";
        span welcome;
        assert_ok(make_group(&q.m[0], &n, &welcome));
        assert_err(join_group(&q.m[1], welcome, p.m[1].group), ERR_INVALID);
        assert_int_equal(q.m[1].records.count, 0);
        assert_ok(join_group(&q.m[1], welcome, &mind)); /* nothing else was wrong */
        drop(welcome);
        next_close(&q);
        next_close(&r);
        party_close(&p);
    }
}

/* --- branching (§11.3) --- */

static void some_members_branch_off(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 4);
    heal(&p, 2);
    next_members(&q, suite_under_test, 2);
    new_group n = successor(&p, &q);
    n.id = "two of us";
    n.link = link_to(p.m[0].group, PSK_USAGE_BRANCH);
    span welcome;
    assert_ok(make_group(&q.m[0], &n, &welcome));
    heal(&p, 0); /* the parent goes on; its resumption PSK is kept */
    assert_err(join_group(&q.m[1], welcome, NULL), ERR_PSK);
    assert_ok(join_group(&q.m[1], welcome, p.m[1].group));
    assert_span(group_epoch_authenticator(q.m[1].group), group_epoch_authenticator(q.m[0].group));
    span hello = say(&p.m[0], "still here");
    assert_ok(hear(&p.m[3], hello, "still here"));
    drop(hello);
    drop(welcome);
    next_close(&q);
    party_close(&p);
}

static void a_branch_is_of_the_same_suite_and_of_members_alone(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 3);
    next_members(&q, suite_under_test, 2);
    new_group n = successor(&p, &q);
    n.id = "branch";
    n.link = link_to(p.m[0].group, PSK_USAGE_BRANCH);
    span welcome;
    assert_ok(make_group(&q.m[0], &n, &welcome));
    group *parent = p.m[1].group, *made = q.m[0].group;
    group_context right = *made->context, wrong = right;
    psk_id link = n.link;
    arena *a = &p.m[1].arena;
    assert_ok(parent_check(parent, &link, &right, &made->tree, a));
    wrong.cipher_suite ^= 1;
    assert_err(parent_check(parent, &link, &wrong, &made->tree, a), ERR_INVALID);
    wrong = right;
    wrong.version++;
    assert_err(parent_check(parent, &link, &wrong, &made->tree, a), ERR_INVALID);
    wrong = right;
    wrong.epoch = 2;
    assert_err(parent_check(parent, &link, &wrong, &made->tree, a), ERR_INVALID);
    link.group_id = span_text("another group");
    assert_err(parent_check(parent, &link, &right, &made->tree, a), ERR_INVALID);
    link = n.link;
    p.m[1].group->re_init = &(re_init){span_text("branch"), MLS_VERSION, right.cipher_suite, {0}};
    link.usage = PSK_USAGE_REINIT;
    assert_err(parent_check(parent, &link, &right, &made->tree, a), ERR_INVALID); /* cleo is missing */
    p.m[1].group->re_init->version = 2;
    assert_err(parent_check(parent, &link, &right, &p.m[1].group->tree, a), ERR_INVALID);
    p.m[1].group->re_init = NULL;
    drop(welcome);
    group_close(q.m[0].group);
    memory_records_free(&q.m[0].records);
    q.m[0].group = NULL;
    strcpy(q.m[1].name, "mallory");
    member_make_key_package(&q.m[1]);
    n.adds[0] = q.m[1].key_package;
    assert_err(make_group(&q.m[0], &n, &welcome), ERR_INVALID);
    next_close(&q);
    party_close(&p);
}

static err vouches(void *ctx, const psk_id *id, arena *a, span *value) {
    (void)ctx, (void)a;
    *value = span_text("the host knows");
    return id->type == PSK_RESUMPTION && id->usage == PSK_USAGE_BRANCH ? OK : ERR_PSK;
}

static void a_host_may_vouch_for_a_parent_that_is_gone(void **state) {
    (void)state;
    party p, q;
    party_open(&p, 2);
    next_members(&q, suite_under_test, 2);
    q.m[0].host.find_psk = q.m[1].host.find_psk = vouches;
    new_group n = successor(&p, &q);
    n.link = link_to(p.m[0].group, PSK_USAGE_BRANCH);
    n.link.epoch = 0; /* not kept by the creator's group either: he joined at 1 */
    group mind = *p.m[0].group;
    for (size_t i = 0; i < GROUP_PAST_EPOCHS; i++)
        mind.past[i] = NULL;
    mind.host.records = (group_records){0};
    n.parent = &mind;
    span welcome;
    assert_ok(make_group(&q.m[0], &n, &welcome));
    assert_ok(join_group(&q.m[1], welcome, NULL));
    drop(welcome);
    next_close(&q);
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_re_init_nothing_is_sent_and_late_messages_are_read),
        cmocka_unit_test(a_re_init_is_proposed_and_committed_alone),
        cmocka_unit_test(a_staged_re_init_survives_a_restart),
        cmocka_unit_test(hostile_re_inits_are_refused),
        cmocka_unit_test(a_group_goes_on_with_another_suite),
        cmocka_unit_test(new_groups_that_are_not_what_was_agreed_are_not_made),
        cmocka_unit_test(a_parent_without_its_psk_is_no_parent),
        cmocka_unit_test(a_link_is_for_a_groups_first_commit_only),
        cmocka_unit_test(new_groups_that_were_not_agreed_on_are_not_joined),
        cmocka_unit_test(some_members_branch_off),
        cmocka_unit_test(a_branch_is_of_the_same_suite_and_of_members_alone),
        cmocka_unit_test(a_host_may_vouch_for_a_parent_that_is_gone),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_reinit xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_reinit x25519", tests, NULL, NULL);
}
