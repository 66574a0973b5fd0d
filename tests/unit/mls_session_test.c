/* Random sessions: 2 to 40 members add, remove, update, propose, talk, out of order and late, each closing and reloading its
 * group between any two steps. After every commit all agree on the epoch authenticator. SEED=n repeats a run. */
#include <time.h>

#include "support/check.h"
#include "support/mls_member.h"

#define MEMBERS 40
#define STEPS 60

static const suite *suite_under_test;
static unsigned rng;

static unsigned pick(unsigned n) {
    rng = rng * 1664525u + 1013904223u;
    return (rng >> 8) % n;
}

typedef struct session {
    member members[MEMBERS];
    bool reload;
    unsigned commits;
} session;

static member *any_member(session *s) {
    for (;;) {
        member *m = &s->members[pick(MEMBERS)];
        if (m->group != NULL)
            return m;
    }
}

static unsigned size(const session *s) {
    unsigned n = 0;
    for (size_t i = 0; i < MEMBERS; i++)
        n += s->members[i].group != NULL;
    return n;
}

static void reload_all(session *s) {
    for (size_t i = 0; s->reload && i < MEMBERS; i++)
        member_reload(&s->members[i]);
}

static void leave(member *m) {
    group_close(m->group);
    m->group = NULL;
    memory_records_free(&m->records);
}

static void agree(session *s, const member *with) {
    for (size_t i = 0; i < MEMBERS; i++) {
        member *m = &s->members[i];
        if (m->group == NULL)
            continue;
        assert_int_equal(group_epoch(m->group), group_epoch(with->group));
        assert_span(group_epoch_authenticator(m->group), group_epoch_authenticator(with->group));
        member_reset(m);
    }
}

/* Everybody but the committer reads the commit; then he merges, sometimes after a restart. */
static void deliver(session *s, member *committer, const commit_output *out, staged_commit *staged) {
    if (s->reload && pick(2) == 0) {
        span saved;
        assert_ok(staged_commit_save(staged, &committer->arena, &saved));
        saved = keep(saved);
        group_drop_commit(committer->group, staged);
        group_close(committer->group);
        committer->group = NULL;
        assert_ok(group_load(&committer->host, &committer->signer, &committer->arena, &committer->group));
        assert_ok(staged_commit_restore(committer->group, saved, &committer->arena, &staged));
        free((void *)(uintptr_t)saved.p);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        member *m = &s->members[i];
        if (m->group == NULL || m == committer)
            continue;
        incoming in;
        assert_ok(group_process(m->group, out->commit, &m->arena, &in));
        assert_int_equal(in.kind, INCOMING_COMMIT);
        bool gone = staged_commit_removes_us(in.staged);
        assert_ok(group_merge_commit(m->group, in.staged, &m->arena));
        if (gone)
            leave(m);
    }
    uint32_t added[MEMBERS];
    size_t n = staged_commit_added(staged, added, MEMBERS);
    assert_ok(group_merge_commit(committer->group, staged, &committer->arena));
    for (size_t i = 0; n > 0 && i < MEMBERS; i++) {
        member *m = &s->members[i];
        if (m->group == NULL && m->key_package.n > 0) {
            assert_ok(member_join(m, out->welcome, SPAN_NONE));
            m->key_package.n = 0; /* used up */
        }
    }
    s->commits++;
    agree(s, committer);
}

static void step_commit(session *s) {
    member *c = any_member(s);
    span adds[4];
    uint32_t removes[2];
    commit_params params = {.adds = adds, .removes = removes, .force_path = pick(3) == 0, .use_proposals = true};
    for (unsigned k = pick(5); k > 0; k--) {
        member *m = &s->members[pick(MEMBERS)];
        if (m->group != NULL || m->key_package.n > 0 || params.add_count == 4)
            continue;
        member_make_key_package(m);
        adds[params.add_count++] = m->key_package;
    }
    if (size(s) > 3 && pick(3) == 0) {
        member *gone = any_member(s);
        if (gone != c)
            removes[params.remove_count++] = group_own_leaf(gone->group);
    }
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(c->group, &params, &c->arena, &out, &staged));
    if (pick(8) == 0) { /* lost against nobody: dropped and made again */
        group_drop_commit(c->group, staged);
        assert_ok(group_stage_commit(c->group, &params, &c->arena, &out, &staged));
    }
    deliver(s, c, &out, staged);
}

static void step_propose(session *s) {
    member *from = any_member(s);
    span message;
    if (size(s) > 4 && pick(4) == 0)
        assert_ok(group_propose_remove(from->group, group_own_leaf(any_member(s)->group), &from->arena, &message));
    else
        assert_ok(group_propose_update(from->group, NULL, &from->arena, &message));
    for (size_t i = 0; i < MEMBERS; i++) {
        member *m = &s->members[i];
        incoming in;
        if (m->group == NULL || m == from)
            continue;
        assert_ok(group_process(m->group, message, &m->arena, &in));
        assert_int_equal(in.kind, INCOMING_PROPOSAL);
        member_reset(m);
    }
    member_reset(from);
}

static void step_talk(session *s) {
    enum { BURST = 5 };
    member *from = any_member(s);
    span messages[BURST];
    char texts[BURST][32];
    unsigned order[BURST], n = 1 + pick(BURST);
    for (unsigned i = 0; i < n; i++) {
        snprintf(texts[i], sizeof texts[i], "text %u", pick(1000000));
        assert_ok(group_protect(from->group, span_text(texts[i]), SPAN_NONE, &from->arena, &messages[i]));
        order[i] = i;
    }
    for (unsigned i = n; i > 1; i--) {
        unsigned k = pick(i), t = order[k];
        order[k] = order[i - 1];
        order[i - 1] = t;
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        member *m = &s->members[i];
        if (m->group == NULL || m == from)
            continue;
        for (unsigned k = 0; k < n; k++) {
            incoming in;
            assert_ok(group_process(m->group, messages[order[k]], &m->arena, &in));
            assert_span(in.plaintext, span_text(texts[order[k]]));
            assert_span(in.sender_leaf->credential.identity, span_text(from->name));
            assert_err(group_process(m->group, messages[order[k]], &m->arena, &in), ERR_REPLAY);
            if (s->reload && pick(4) == 0)
                member_reload(m);
        }
        member_reset(m);
    }
    member_reset(from);
}

static void run(bool reload) {
    session *s = calloc(1, sizeof *s);
    s->reload = reload;
    for (size_t i = 0; i < MEMBERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "member %zu", i);
        member_init(&s->members[i], suite_under_test, name);
        s->members[i].in_memory = !reload;
    }
    member_create_group(&s->members[0], "session");
    for (int i = 0; i < STEPS; i++) {
        if (size(s) < 2 || pick(2) == 0)
            step_commit(s);
        else if (pick(2) == 0)
            step_propose(s);
        else
            step_talk(s);
        reload_all(s);
    }
    assert_true(s->commits > 10);
    for (size_t i = 0; i < MEMBERS; i++)
        member_free(&s->members[i]);
    free(s);
}

static void session_in_memory(void **state) {
    (void)state;
    run(false);
}

static void session_reloaded_between_any_two_steps(void **state) {
    (void)state;
    run(true);
}

int main(void) {
    const char *seed = getenv("SEED");
    unsigned start = seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)time(NULL);
    rng = start;
    print_message("# SEED=%u\n", start);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_in_memory),
        cmocka_unit_test(session_reloaded_between_any_two_steps),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_session xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_session x25519", tests, NULL, NULL);
}
