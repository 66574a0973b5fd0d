/* The client (core/client) and what it does not take a relay's word for: that this device was revoked, what time it is, that a
 * conversation could not be made, who read what. */
#include "support/clinic_world.h"

static bool event_came(const world *w, const char *code) {
    for (const event *v = w->fx.events; v != NULL; v = v->next)
        if (v->kind == EVENT_ACCOUNT && strcmp(v->code, code) == 0)
            return true;
    return false;
}

static bool notice_stands(world *w, const char *code) {
    notice_view *list;
    size_t count;
    bool found = false;
    begin(w);
    assert_ok(client_notices(w->c, &w->arena, &list, &count));
    for (size_t i = 0; i < count; i++)
        found = found || strcmp(list[i].code, code) == 0;
    assert_ok(finish(w, OK));
    return found;
}

static message_state newest_state(world *w) {
    message_view *list;
    size_t count;
    begin(w);
    assert_ok(client_messages(w->c, &w->arena, w->conversation, 0, 1, &list, &count));
    assert_ok(finish(w, OK));
    return list[0].state;
}

static const char shut_outs[][60] = {"{\"type\":\"urn:sotto:problem:revoked\"}",
                                     "{\"type\":\"urn:sotto:problem:unknown-device\"}"};
static const int shut_out_statuses[] = {403, 401};

/* Said once it is asked again; said twice it is told. Nothing is lost by it, and when it proves false all goes on. */
static void falsely_revoked(void **state) {
    for (int i = 0; i < 2; i++) {
        world w;
        start(&w);
        assert_ok(send_text(&w, "not lost"));
        answer(&w, find(&w, "POST", "/messages"), shut_out_statuses[i], shut_outs[i]);
        assert_told_nothing(&w);
        assert_int_equal(newest_state(&w), MESSAGE_SENDING);
        assert_null(find(&w, "POST", "/messages")); /* not at once */
        tick(&w, 1000);
        answer(&w, find(&w, "POST", "/messages"), 200, "{\"seq\":5}");
        assert_int_equal(newest_state(&w), MESSAGE_SENT);
        assert_told_nothing(&w);

        assert_ok(send_text(&w, "nor this"));
        answer(&w, find(&w, "POST", "/messages"), shut_out_statuses[i], shut_outs[i]);
        tick(&w, 1000);
        answer(&w, find(&w, "POST", "/messages"), shut_out_statuses[i], shut_outs[i]);
        assert_told(&w, "revoked");
        assert_true(event_came(&w, "revoked"));
        assert_true(notice_stands(&w, "revoked"));
        assert_in_range(w.timer, 1, 3600000);
        tick(&w, 60000);
        assert_null(find(&w, "POST", "/messages"));
        w.told_count = 0;
        tick(&w, 3600000);
        assert_null(find(&w, "POST", "/messages")); /* only whether it still says so */
        answer(&w, find(&w, "GET", "/v1/roster"), shut_out_statuses[i], shut_outs[i]);
        assert_told_nothing(&w); /* once is enough */
        assert_null(find(&w, "GET", "/v1/roster"));
        tick(&w, 3600000);
        w.roster_number--;
        answer(&w, find(&w, "GET", "/v1/roster"), 200, roster_json(&w, staff_of(&w), 2, NULL));
        assert_true(event_came(&w, "enrolled"));
        assert_false(notice_stands(&w, "revoked"));
        answer(&w, find(&w, "POST", "/messages"), 200, "{\"seq\":6}");
        assert_int_equal(newest_state(&w), MESSAGE_SENT);
        forget_world(&w);
    }
}

/* A roster that names this device is the clinic's own word. */
static void revoked_by_the_clinic(void **state) {
    world w;
    char event[80];
    start(&w);
    snprintf(event, sizeof event, "{\"seq\":%lld,\"kind\":\"roster\",\"number\":2}", (long long)++w.seq);
    tick(&w, 40000);
    assert_ok(inbox(&w, event));
    answer(&w, find(&w, "GET", "/v1/roster"), 200, roster_json(&w, staff_of(&w), 2, &w.patient));
    assert_told(&w, "revoked");
    w.told_count = 0;
    for (int i = 0; i < 3; i++) { /* and stays so, though the relay serves us */
        tick(&w, 3600000);
        pending *p = find(&w, "GET", "/v1/inbox");
        if (p != NULL)
            answer(&w, p, 200, "{\"events\":[],\"next\":0}");
        w.roster_number--;
        answer(&w, find(&w, "GET", "/v1/roster"), 200, roster_json(&w, staff_of(&w), 2, &w.patient));
        assert_null(find(&w, "GET", "/v1/inbox"));
        assert_told_nothing(&w);
    }
    forget_world(&w);
}

/* A relay that turns the clock back, so that a certificate that ran out looks valid: it is not before the newest roster. */
static void a_clock_turned_back(void **state) {
    for (int back = 0; back < 2; back++) {
        world w;
        person nurse;
        loose_leaf leaf;
        key_package_secrets secrets;
        start(&w);
        make_staff(&nurse, &root, STAFF_RIGHTS);
        nurse.list[0].not_before = NOW - 5000;
        nurse.list[0].not_after = NOW - 1000;
        assert_ok(certificate_issue(&nurse.list[0], &root));
        make_leaf(&leaf, subject_of(&nurse), &nurse.key, encoded_chain(&nurse));
        leaf.params.not_before = NOW - 5000;
        span package = make_package(&leaf, &secrets);
        commit_params params = {.adds = &package, .add_count = 1, .force_path = true};
        before(&w);
        if (back) {
            char skew[120];
            assert_ok(send_text(&w, "what time is it"));
            snprintf(skew, sizeof skew, "{\"type\":\"urn:sotto:problem:clock-skew\",\"now\":%llu}",
                     (NOW - 2000) * 1000);
            answer(&w, find(&w, "POST", "/messages"), 401, skew);
            assert_true(w.c->clock_offset_ms < 0);
            answer(&w, find(&w, "POST", "/messages"), 200, "{\"seq\":7}");
        }
        deliver(&w, "commit", &w.keeper, commit_by(&w.keeper, &params, false));
        assert_paused(&w);
        forget_world(&w);
    }
}

/* "The name is taken", says the relay of a name that nobody can know, and passes the Welcomes on all the same: the others
 * must not wait in a conversation that its maker gave up. */
static void a_conversation_that_was_made_all_the_same(void **state) {
    static const char wrong[] = "{\"type\":\"urn:sotto:problem:wrong-epoch\",\"epoch\":1}";
    world w;
    json *body;
    span group, commit, welcome;
    make_world(&w, "", "");
    answer(&w, find(&w, "PUT", "/v1/key-packages"), 200, "{\"count\":3}");
    answer(&w, find(&w, "GET", "/v1/roster"), 200, roster_json(&w, staff_of(&w), 2, NULL));
    answer(&w, find(&w, "POST", "/v1/key-packages/claim"), 200, claim_json(staff_of(&w), 2));
    pending *p = find(&w, "POST", "/commits");
    span path;
    assert_non_null(p);
    assert_ok(arena_copy(&heap, span_text(p->path), &path));
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_ok(json_bytes(body, "commit", &heap, &commit));
    assert_ok(json_bytes(body, "welcome", &heap, &welcome));
    json_close(body);
    assert_ok(base64url_decode(&heap, span_of(path.p + 11, 43), &group));
    w.group = base64url_text(&heap, group);
    w.conversation = 1;
    for (int i = 0; i < 3; i++) { /* the same goes again, later */
        answer(&w, p, 409, wrong);
        assert_null(find(&w, "POST", "/commits"));
        assert_null(find(&w, "POST", "/v1/key-packages/claim"));
        tick(&w, 60000);
        p = find(&w, "POST", "/commits");
        assert_non_null(p);
        assert_span(span_text(p->path), path);
    }
    join(&w.keeper, welcome);
    deliver(&w, "commit", &w.patient, commit);
    conversation_view v;
    view(&w, &v);
    assert_string_equal(v.state, "active");
    deliver(&w, "message", &w.keeper, written(&w.keeper, "hello", 0));
    assert_true(shows(&w, "hello"));
    assert_told_nothing(&w);
    forget_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(falsely_revoked),
        cmocka_unit_test(revoked_by_the_clinic),
        cmocka_unit_test(a_clock_turned_back),
        cmocka_unit_test(a_conversation_that_was_made_all_the_same),
    };
    world_init();
    int failed = cmocka_run_group_tests_name("client_relay_word", tests, NULL, NULL);
    arena_free(&heap);
    return failed;
}
