/* core/mls/group.h when the machine refuses: each call is made again and again, with the first, second, … piece of heap, piece of
 * arena or record refused, until it goes through. A refused call changes nothing: the records are as they were, and the
 * same group goes on without being loaded again (group.h names the exceptions: an error of the records themselves, and a
 * merge). In the end the members agree, and every piece of heap was given back. Both suites, with records and without. */
#include "support/check.h"
#include "support/faults.h"
#include "support/mls_member.h"

static const suite *suite_under_test;
static bool in_memory;
static long tries;

static long fail_records; /* the n-th from now; 0: none */

/* --- records that are a machine of their own, and may refuse too --- */

static err refused(void) { return fail_records > 0 && --fail_records == 0 ? ERR_STORE : OK; }

static member *of(void *ctx) { return ctx; }

static err get(void *ctx, record_key key, arena *a, span *value) {
    TRY(refused());
    faults.host++;
    group_records r = memory_records_interface(&of(ctx)->records);
    err e = r.get(r.ctx, key, a, value);
    faults.host--;
    return e;
}

static err put(void *ctx, record_key key, span value) {
    TRY(refused());
    faults.host++;
    group_records r = memory_records_interface(&of(ctx)->records);
    err e = r.put(r.ctx, key, value);
    faults.host--;
    return e;
}

static err del(void *ctx, record_key key) {
    TRY(refused());
    faults.host++;
    group_records r = memory_records_interface(&of(ctx)->records);
    err e = r.del(r.ctx, key);
    faults.host--;
    return e;
}

static err del_epoch(void *ctx, record_kind kind, uint64_t epoch) {
    TRY(refused());
    faults.host++;
    group_records r = memory_records_interface(&of(ctx)->records);
    err e = r.del_epoch(r.ctx, kind, epoch);
    faults.host--;
    return e;
}

typedef struct visit {
    err (*function)(void *ctx, record_key key, span value);
    void *ctx;
} visit;

static err visit_inside(void *ctx, record_key key, span value) {
    const visit *v = ctx;
    faults.host--;
    err e = v->function(v->ctx, key, value);
    faults.host++;
    return e;
}

static err each(void *ctx, record_kind kind, uint64_t epoch, arena *a, err (*function)(void *, record_key, span),
                void *function_ctx) {
    TRY(refused());
    visit v = {function, function_ctx};
    faults.host++;
    group_records r = memory_records_interface(&of(ctx)->records);
    err e = r.each(r.ctx, kind, epoch, a, visit_inside, &v);
    faults.host--;
    return e;
}

/* --- members --- */

static void init(member *m, const char *name) {
    member_init(m, suite_under_test, name);
    m->host.records = in_memory ? (group_records){0} : (group_records){m, get, put, del, del_epoch, each};
}

static void close_group(member *m) {
    faults_enter(FAULT_NONE, 0);
    group_close(m->group);
    faults_leave();
    m->group = NULL;
}

static void drop(member *m, staged_commit **staged) {
    faults_enter(FAULT_NONE, 0);
    group_drop_commit(m->group, *staged);
    faults_leave();
    *staged = NULL;
}

/* What a caller does after an error of the records or of a merge. */
static void roll_back(member *m, const memory_records *before) {
    close_group(m);
    memory_records_copy(&m->records, before);
    if (m->records.count == 0)
        return;
    faults_enter(FAULT_NONE, 0);
    err e = group_load(&m->host, &m->signer, &m->arena, &m->group);
    faults_leave();
    assert_ok(e);
}

/* --- one call under test --- */

typedef struct attempt {
    const char *name;
    member *m;
    err (*call)(struct attempt *t);
    void (*before)(struct attempt *t); /* before every try; may be NULL */
    bool reloads;                      /* an error asks for a rollback and a load, whatever it was */
    bool repeatable;                   /* it may go through several times */
    bool steps;                        /* its own ratchet may have moved on: a key that was used is never taken back */
    span input, output;                /* on the heap */
    commit_params params;
    staged_commit *staged;
    incoming in;
    group_params create;
} attempt;

static void set(span *at, span value) {
    free((void *)(uintptr_t)at->p);
    *at = value.p != NULL ? keep(value) : SPAN_NONE;
}

/* Refuses one kind until the call goes through. */
static void refuse(attempt *t, fault_kind kind, bool records) {
    member *m = t->m;
    for (long n = 1;; n++) {
        memory_records before = {0};
        if (t->before != NULL)
            t->before(t);
        memory_records_copy(&before, &m->records);
        size_t mark = arena_mark(&m->arena);
        fail_records = records ? n : 0;
        faults_enter(kind, records ? 0 : n);
        err e = t->call(t);
        long seen = faults_leave();
        bool fired = records ? fail_records == 0 : seen >= n;
        fail_records = 0;
        tries++;
        if (!fired) {
            memory_records_free(&before);
            if (e != OK)
                fail_msg("%s, without refusal, after %ld of %s: %s", t->name, n - 1,
                         records ? "records" : fault_names[kind], err_name(e));
            return;
        }
        if (e == OK)
            fail_msg("%s went through, though %s %ld was refused", t->name, records ? "record" : fault_names[kind], n);
        err expected = records ? ERR_STORE : kind == FAULT_HEAP ? ERR_NO_MEMORY : ERR_ARENA;
        if (e != expected)
            fail_msg("%s, %s %ld: %s", t->name, records ? "record" : fault_names[kind], n, err_name(e));
        arena_release(&m->arena, mark);
        if (records || t->reloads)
            roll_back(m, &before);
        else if (!t->steps && !memory_records_equal(&m->records, &before))
            fail_msg("%s: records changed, though %s %ld was refused", t->name, fault_names[kind], n);
        memory_records_free(&before);
    }
}

/* All kinds, then the call once without. What goes through only once is taken back between kinds. */
static void refuse_all(attempt *t) {
    memory_records before = {0};
    memory_records_copy(&before, &t->m->records);
    for (int kind = 0; kind < (in_memory ? 2 : 3); kind++) {
        refuse(t, kind == 1 ? FAULT_ARENA : FAULT_HEAP, kind == 2);
        if (kind < (in_memory ? 1 : 2) && !t->repeatable) {
            if (t->staged != NULL)
                drop(t->m, &t->staged);
            roll_back(t->m, &before);
        }
    }
    memory_records_free(&before);
}

/* --- the calls --- */

static err call_key_package(attempt *t) {
    span encoded;
    leaf_params leaf = member_leaf(t->m);
    TRY(key_package_create(t->m->suite, &leaf, false, &t->m->arena, &encoded, &t->m->secrets));
    faults.host++;
    set(&t->m->key_package, encoded);
    faults.host--;
    return OK;
}

static err call_create(attempt *t) {
    leaf_params leaf = member_leaf(t->m);
    group_params params = {.suite = t->m->suite, .group_id = span_text("refused"), .leaf = &leaf};
    return group_create(&t->m->host, &params, &t->m->arena, &t->m->group);
}

static void no_group(attempt *t) { close_group(t->m); }

static err call_load(attempt *t) { return group_load(&t->m->host, &t->m->signer, &t->m->arena, &t->m->group); }

static err call_join(attempt *t) {
    join_params join = {
        .welcome = t->input, .key_package = t->m->key_package, .secrets = &t->m->secrets, .signer = &t->m->signer};
    return group_join(&t->m->host, &join, &t->m->arena, &t->m->group);
}

static err call_protect(attempt *t) {
    span message;
    TRY(group_protect(t->m->group, t->input, span_text("aad"), &t->m->arena, &message));
    faults.host++;
    set(&t->output, message);
    faults.host--;
    return OK;
}

static err call_process(attempt *t) { return group_process(t->m->group, t->input, &t->m->arena, &t->in); }

/* A commit read and dropped leaves no trace. */
static err call_process_and_drop(attempt *t) {
    TRY(group_process(t->m->group, t->input, &t->m->arena, &t->in));
    group_drop_commit(t->m->group, t->in.staged);
    return OK;
}

static err call_stage_and_drop(attempt *t) {
    commit_output out;
    staged_commit *staged;
    TRY(group_stage_commit(t->m->group, &t->params, &t->m->arena, &out, &staged));
    group_drop_commit(t->m->group, staged);
    return OK;
}

static err call_save(attempt *t) {
    span saved;
    TRY(staged_commit_save(t->staged, &t->m->arena, &saved));
    faults.host++;
    set(&t->output, saved);
    faults.host--;
    return OK;
}

static err call_restore_and_drop(attempt *t) {
    staged_commit *staged;
    TRY(staged_commit_restore(t->m->group, t->input, &t->m->arena, &staged));
    group_drop_commit(t->m->group, staged);
    return OK;
}

static err call_merge(attempt *t) {
    staged_commit *staged = t->staged;
    t->staged = NULL;
    return group_merge_commit(t->m->group, staged, &t->m->arena);
}

static void restore_first(attempt *t) {
    faults_enter(FAULT_NONE, 0);
    err e = staged_commit_restore(t->m->group, t->input, &t->m->arena, &t->staged);
    faults_leave();
    assert_ok(e);
}

static void process_first(attempt *t) {
    faults_enter(FAULT_NONE, 0);
    err e = group_process(t->m->group, t->input, &t->m->arena, &t->in);
    faults_leave();
    assert_ok(e);
    t->staged = t->in.staged;
}

static err call_propose_update(attempt *t) {
    span message;
    TRY(group_propose_update(t->m->group, NULL, &t->m->arena, &message));
    faults.host++;
    set(&t->output, message);
    faults.host--;
    return OK;
}

static err call_propose_remove(attempt *t) {
    span message;
    TRY(group_propose_remove(t->m->group, 2, &t->m->arena, &message));
    faults.host++;
    set(&t->output, message);
    faults.host--;
    return OK;
}

static err call_export(attempt *t) {
    uint8_t out[32];
    return group_export_secret(t->m->group, "refused", SPAN_NONE, out, sizeof out);
}

static err call_look(attempt *t) {
    const leaf_node *leaf;
    for (uint32_t i = 0; i < group_leaf_count(t->m->group); i++)
        TRY(group_member(t->m->group, i, &leaf));
    return OK;
}

/* An expiry that was interrupted goes on where it was; nothing is old here, so it only loads. */
static err call_expire(attempt *t) { return group_expire(t->m->group); }

static void reload_first(attempt *t) {
    if (in_memory)
        return;
    close_group(t->m);
    faults_enter(FAULT_NONE, 0);
    err e = call_load(t);
    faults_leave();
    assert_ok(e);
}

/* --- the session --- */

static span say(member *m, const char *text) {
    attempt t = {.m = m, .input = span_text(text)};
    faults_enter(FAULT_NONE, 0);
    err e = call_protect(&t);
    faults_leave();
    assert_ok(e);
    return t.output;
}

/* Reads a message without faults; returns what came. */
static incoming hear(member *m, span message) {
    attempt t = {.m = m, .input = message};
    faults_enter(FAULT_NONE, 0);
    err e = call_process(&t);
    faults_leave();
    assert_ok(e);
    return t.in;
}

static void follow(member *m, span commit) {
    attempt t = {.m = m, .input = commit};
    process_first(&t);
    faults_enter(FAULT_NONE, 0);
    err e = call_merge(&t);
    faults_leave();
    assert_ok(e);
}

static void agree(const member *a, const member *b) {
    assert_span(group_epoch_authenticator(a->group), group_epoch_authenticator(b->group));
}

/* Reads it under faults; with records each kind of fault from a new start. In memory a message can be read once, so the
 * heap and the arena get one each. */
static void hear_refused(const char *name, member *m, member *from, bool reload) {
    for (int i = 0; i < (in_memory ? 2 : 1); i++) {
        span message = say(from, name);
        attempt t = {.name = name, .m = m, .call = call_process, .input = message};
        t.before = reload ? reload_first : NULL;
        if (in_memory)
            refuse(&t, i == 0 ? FAULT_HEAP : FAULT_ARENA, false);
        else
            refuse_all(&t);
        assert_span(t.in.plaintext, span_text(name));
        free((void *)(uintptr_t)message.p);
        member_reset(m);
    }
}

static span stage(member *m, const commit_params *params, span *welcome, span *saved) {
    commit_output out;
    staged_commit *staged;
    faults_enter(FAULT_NONE, 0);
    err e = group_stage_commit(m->group, params, &m->arena, &out, &staged);
    faults_leave();
    assert_ok(e);
    span commit = keep(out.commit), bytes;
    if (welcome != NULL)
        *welcome = keep(out.welcome);
    assert_ok(staged_commit_save(staged, &m->arena, &bytes));
    *saved = keep(bytes);
    faults_enter(FAULT_NONE, 0);
    group_drop_commit(m->group, staged);
    faults_leave();
    member_reset(m);
    return commit;
}

/* In memory there is nothing to come back to after a refused merge: it is made without. */
static void merge(const char *name, member *m, span saved) {
    attempt t = {.name = name, .m = m, .call = call_merge, .before = restore_first, .reloads = true, .input = saved};
    if (!in_memory) {
        refuse_all(&t);
    } else {
        restore_first(&t);
        faults_enter(FAULT_NONE, 0);
        err e = call_merge(&t);
        faults_leave();
        assert_ok(e);
    }
    member_reset(m);
}

static void merge_anothers(const char *name, member *m, span commit) {
    attempt t = {.name = name, .m = m, .call = call_process_and_drop, .input = commit, .repeatable = true};
    refuse_all(&t);
    member_reset(m);
    if (in_memory) {
        follow(m, commit);
    } else {
        t = (attempt){
            .name = name, .m = m, .call = call_merge, .before = process_first, .reloads = true, .input = commit};
        refuse_all(&t);
    }
    member_reset(m);
}

static void a_session(void) {
    member anna, ben, cleo, dan;
    member *all[] = {&anna, &ben, &cleo, &dan};
    span welcome, saved, commit;
    static const char *const names[] = {"anna", "ben", "cleo", "dan"};
    tries = 0;
    faults.live = 0;
    for (size_t i = 0; i < 4; i++) {
        init(all[i], names[i]);
        attempt t = {.name = "key_package_create", .m = all[i], .call = call_key_package, .repeatable = true};
        refuse_all(&t);
        member_reset(all[i]);
    }
    attempt t = {.name = "group_create", .m = &anna, .call = call_create, .before = no_group, .reloads = true};
    refuse_all(&t);
    member_reset(&anna);

    /* Adding two. */
    span adds[] = {ben.key_package, cleo.key_package};
    t = (attempt){.name = "group_stage_commit, adds", .m = &anna, .call = call_stage_and_drop, .repeatable = true};
    t.params = (commit_params){.adds = adds, .add_count = 2};
    refuse_all(&t);
    member_reset(&anna);
    commit = stage(&anna, &t.params, &welcome, &saved);
    t = (attempt){
        .name = "staged_commit_restore", .m = &anna, .call = call_restore_and_drop, .input = saved, .repeatable = true};
    refuse_all(&t);
    member_reset(&anna);
    restore_first(&t);
    t.name = "staged_commit_save";
    t.call = call_save;
    refuse(&t, FAULT_ARENA, false);
    assert_span(t.output, saved);
    drop(&anna, &t.staged);
    set(&t.output, SPAN_NONE);
    merge("group_merge_commit, own adds", &anna, saved);
    for (size_t i = 1; i < 3; i++) {
        t = (attempt){.name = "group_join",
                      .m = all[i],
                      .call = call_join,
                      .before = no_group,
                      .reloads = true,
                      .input = welcome};
        refuse_all(&t);
        member_reset(all[i]);
        agree(&anna, all[i]);
    }
    free((void *)(uintptr_t)welcome.p);
    free((void *)(uintptr_t)saved.p);
    free((void *)(uintptr_t)commit.p);

    /* Messages: the first derives from the tree, the next step a ratchet, one that was skipped takes its key out. */
    t = (attempt){
        .name = "group_protect", .m = &ben, .call = call_protect, .input = span_text("hello"), .repeatable = true};
    for (int i = 0; i < 2; i++) {
        refuse_all(&t);
        member_reset(&ben);
        assert_span(hear(&anna, t.output).plaintext, span_text("hello"));
        member_reset(&anna);
    }
    set(&t.output, SPAN_NONE);
    hear_refused("the first message", &ben, &anna, false);
    hear_refused("the second message", &ben, &anna, false);
    hear_refused("a message after a restart", &ben, &anna, true);
    span skipped = say(&anna, "skipped"), later = say(&anna, "later");
    span late = say(&cleo, "late"), later_still = say(&cleo, "later still");
    (void)hear(&ben, later);
    t = (attempt){.name = "a skipped message", .m = &ben, .call = call_process, .input = skipped};
    if (in_memory)
        refuse(&t, FAULT_HEAP, false);
    else
        refuse_all(&t);
    assert_err(call_process(&t), ERR_REPLAY);
    free((void *)(uintptr_t)skipped.p);
    free((void *)(uintptr_t)later.p);

    /* Proposals. */
    t = (attempt){
        .name = "group_propose_update", .m = &ben, .call = call_propose_update, .repeatable = true, .steps = true};
    refuse(&t, FAULT_HEAP, false);
    span update = t.output;
    t = (attempt){.name = "group_process, an update", .m = &anna, .call = call_process, .input = update};
    if (in_memory)
        refuse(&t, FAULT_HEAP, false);
    else
        refuse_all(&t);
    (void)hear(&cleo, update);
    free((void *)(uintptr_t)update.p);
    t = (attempt){.name = "group_propose_remove", .m = &anna, .call = call_propose_remove, .steps = true};
    refuse(&t, FAULT_ARENA, false);
    (void)hear(&ben, t.output);
    set(&t.output, SPAN_NONE);

    /* A commit by reference that adds one, updates one, removes one. */
    t = (attempt){.name = "group_stage_commit, all kinds", .m = &anna, .call = call_stage_and_drop, .repeatable = true};
    t.params = (commit_params){.adds = &dan.key_package, .add_count = 1, .force_path = true, .use_proposals = true};
    refuse_all(&t);
    member_reset(&anna);
    commit = stage(&anna, &t.params, &welcome, &saved);
    merge_anothers("another's commit", &ben, commit);
    merge("group_merge_commit, own", &anna, saved);
    agree(&anna, &ben);
    t = (attempt){.name = "group_join, a group of three",
                  .m = &dan,
                  .call = call_join,
                  .before = no_group,
                  .reloads = true,
                  .input = welcome};
    refuse_all(&t);
    agree(&anna, &dan);
    free((void *)(uintptr_t)welcome.p);
    free((void *)(uintptr_t)saved.p);
    free((void *)(uintptr_t)commit.p);

    /* What comes late, from a leaf that is not the sender's any more. */
    t = (attempt){.name = "a late message", .m = &ben, .call = call_process, .input = late};
    t.before = in_memory ? NULL : reload_first;
    if (in_memory)
        refuse(&t, FAULT_ARENA, false);
    else
        refuse_all(&t);
    assert_span(t.in.plaintext, span_text("late"));
    t = (attempt){.name = "the next late message", .m = &ben, .call = call_process, .input = later_still};
    refuse(&t, FAULT_HEAP, false);
    assert_span(t.in.plaintext, span_text("later still"));
    free((void *)(uintptr_t)late.p);
    free((void *)(uintptr_t)later_still.p);
    member_reset(&ben);

    /* Looking, and loading. */
    static const struct {
        const char *name;
        err (*call)(attempt *t);
        bool reload;
    } looks[] = {{"group_export_secret", call_export, false},
                 {"group_member", call_look, true},
                 {"group_expire", call_expire, true}};
    for (size_t i = 0; i < 3; i++) {
        t = (attempt){.name = looks[i].name, .m = &ben, .call = looks[i].call, .repeatable = true};
        t.before = looks[i].reload ? reload_first : NULL;
        refuse_all(&t);
        member_reset(&ben);
    }
    if (!in_memory) {
        t = (attempt){.name = "group_load",
                      .m = &ben,
                      .call = call_load,
                      .before = no_group,
                      .reloads = true,
                      .repeatable = true};
        refuse_all(&t);
        member_reset(&ben);
    }

    /* One is removed, the others go on. */
    const uint32_t leaf = group_own_leaf(dan.group);
    t = (attempt){.name = "group_stage_commit, a remove", .m = &ben, .call = call_stage_and_drop, .repeatable = true};
    t.params = (commit_params){.removes = &leaf, .remove_count = 1};
    refuse_all(&t);
    member_reset(&ben);
    commit = stage(&ben, &t.params, NULL, &saved);
    merge_anothers("a commit that removes us", &dan, commit);
    merge_anothers("a commit that removes another", &anna, commit);
    merge("group_merge_commit, own remove", &ben, saved);
    agree(&anna, &ben);
    hear_refused("after all", &anna, &ben, false);
    free((void *)(uintptr_t)saved.p);
    free((void *)(uintptr_t)commit.p);

    for (size_t i = 0; i < 4; i++) {
        close_group(all[i]);
        member_free(all[i]);
    }
    assert_int_equal(faults.live, 0);
    print_message("# suite 0x%04x, %s: %ld refusals\n", suite_under_test->id, in_memory ? "in memory" : "with records",
                  tries);
}

static void with_records(void **state) {
    in_memory = false;
    for (int i = 0; i < 2; i++) {
        suite_under_test = suite_find(i == 0 ? SUITE_XWING : SUITE_X25519);
        a_session();
    }
}

static void without_records(void **state) {
    in_memory = true;
    for (int i = 0; i < 2; i++) {
        suite_under_test = suite_find(i == 0 ? SUITE_XWING : SUITE_X25519);
        a_session();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_records),
        cmocka_unit_test(without_records),
    };
    return cmocka_run_group_tests_name("mls_fault", tests, NULL, NULL);
}
