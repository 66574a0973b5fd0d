/* The client (core/client) against all that RFC 9420 allows and Sotto does not: for each path by which a leaf may enter a group
 * one without a valid chain, and each kind of proposal that no feature uses. By insiders whose own checks are off. */
#include "support/clinic_world.h"

#include "mls/group_state.h"

/* Nothing changed, and the client says so; if it paused the conversation, assert_paused. */
static void assert_unchanged(world *w) {
    conversation_view v;
    view(w, &v);
    assert_string_equal(v.state, "active");
    assert_int_equal(v.member_count, 3);
    assert_int_equal(v.epoch, 1);
    deliver(w, "message", &w->insider, written(&w->insider, "it goes on", 0));
    assert_true(shows(w, "it goes on"));
    answer(w, find(w, "POST", "/messages"), 200, "{\"seq\":3}");
}

static void refused_commit(world *w, const person *by, span commit) {
    deliver(w, "commit", by, commit);
    assert_paused(w);
    forget_world(w);
}

/* Refused when it comes; and refused the commit that counts on it. */
static void refused_proposal(world *w, const person *by, span message) {
    incoming in;
    commit_params params = {.use_proposals = true, .force_path = true};
    if (by != &w->keeper) {
        assert_ok(group_process(w->keeper.group, message, &heap, &in));
        assert_int_equal(in.kind, INCOMING_PROPOSAL);
    }
    before(w);
    deliver(w, "message", by, message);
    assert_told(w, "change_refused");
    assert_unchanged(w);
    w->told_count = 0;
    refused_commit(w, &w->keeper, commit_by(&w->keeper, &params, false));
}

/* Leaves that hang by nothing: without a chain, of another clinic, with another's chain. */
enum { NO_CHAIN, OTHER_CLINIC, COPIED_CHAIN, STRANGERS };

static void make_stranger(person *p, loose_leaf *leaf, int which) {
    static person known; /* the leaf says its subject */
    make_staff(p, &other_root, STAFF_RIGHTS);
    make_staff(&known, &root, STAFF_RIGHTS);
    make_leaf(leaf, subject_of(which == COPIED_CHAIN ? &known : p), &p->key,
              which == NO_CHAIN       ? SPAN_NONE
              : which == OTHER_CLINIC ? encoded_chain(p)
                                      : encoded_chain(&known));
}

/* ---------------------------------------------------------------- a leaf without a valid chain, by each path */

static void by_add(void **state) {
    for (int which = 0; which < STRANGERS; which++) {
        world w;
        person stranger;
        loose_leaf leaf;
        key_package_secrets secrets;
        span package;
        commit_params params = {.adds = &package, .add_count = 1, .force_path = true};
        start(&w);
        make_stranger(&stranger, &leaf, which);
        package = make_package(&leaf, &secrets);
        before(&w);
        refused_commit(&w, &w.keeper, commit_by(&w.keeper, &params, false));
    }
}

static void by_proposed_add(void **state) {
    for (int which = 0; which < STRANGERS; which++) {
        world w;
        person stranger;
        loose_leaf leaf;
        key_package_secrets secrets;
        span message;
        start(&w);
        make_stranger(&stranger, &leaf, which);
        assert_ok(group_propose_add(w.insider.group, make_package(&leaf, &secrets), &heap, &message));
        refused_proposal(&w, &w.insider, message);
    }
}

static void by_update(void **state) {
    for (int which = 0; which < STRANGERS; which++) {
        world w;
        person stranger;
        loose_leaf leaf;
        span message;
        start(&w);
        make_stranger(&stranger, &leaf, which);
        assert_ok(group_propose_update(w.insider.group, &leaf.params, &heap, &message));
        refused_proposal(&w, &w.insider, message);
    }
}

static void by_commit_path(void **state) {
    for (int which = 0; which < STRANGERS; which++) {
        world w;
        person stranger;
        loose_leaf leaf;
        start(&w);
        make_stranger(&stranger, &leaf, which);
        commit_params params = {.force_path = true, .leaf = &leaf.params};
        before(&w);
        refused_commit(&w, &w.keeper, commit_by(&w.keeper, &params, false));
    }
}

/* With a GroupInfo that an insider let out. */
static span external_commit(world *w, const loose_leaf *leaf, bool resync) {
    span info, commit;
    group *joined;
    assert_ok(group_make_info(w->insider.group, true, &heap, &info));
    external_join_params params = {.group_info = info, .leaf = &leaf->params, .resync = resync};
    assert_ok(group_join_external(&loose_host, &params, &heap, &commit, &joined));
    group_close(joined);
    return commit;
}

static void by_external_commit(void **state) {
    for (int which = 0; which < STRANGERS; which++) {
        world w;
        person stranger;
        loose_leaf leaf;
        start(&w);
        make_stranger(&stranger, &leaf, which);
        before(&w);
        refused_commit(&w, &stranger, external_commit(&w, &leaf, false));
    }
}

/* Makes the keeper a group with these key packages and a second device of the patient's, as a patient would; the Welcome. */
static char *welcome_event(world *w, extension_list extensions, span *packages, size_t count) {
    loose_leaf leaf;
    person device;
    uint8_t id[GROUP_ID_SIZE] = {9};
    commit_output out;
    staged_commit *staged;
    make_patient(&device, &w->keeper, w->c->subject_id);
    make_key_package(&device);
    packages[count++] = device.key_package;
    make_leaf(&leaf, subject_of(&w->keeper), &w->keeper.key, encoded_chain(&w->keeper));
    assert_ok(group_create(
        &loose_host,
        &(group_params){
            .suite = suite_find(SUITE_XWING), .group_id = SPAN(id), .leaf = &leaf.params, .extensions = extensions},
        &heap, &w->keeper.group));
    commit_params params = {.adds = packages, .add_count = count, .force_path = true};
    assert_ok(group_stage_commit(w->keeper.group, &params, &heap, &out, &staged));
    group_drop_commit(w->keeper.group, staged);
    return event_json(w, "welcome", base64url_text(&heap, SPAN(id)), &w->keeper, out.welcome);
}

/* The client's last-resort key package. */
static span published(world *w) {
    pending *p = find(w, "PUT", "/v1/key-packages");
    json *body;
    span package;
    assert_non_null(p);
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_ok(json_bytes(body, "last_resort", &heap, &package));
    json_close(body);
    return package;
}

static size_t conversations_of(world *w) {
    conversation_view *list;
    size_t count;
    begin(w);
    assert_ok(client_conversations(w->c, &w->arena, &list, &count));
    assert_ok(finish(w, OK));
    return count;
}

static void by_welcome(void **state) {
    for (int which = 0; which <= STRANGERS; which++) {
        world w;
        loose_leaf leaf;
        person stranger;
        span packages[3];
        key_package_secrets secrets;
        make_world(&w, "", "");
        packages[0] = published(&w);
        make_stranger(&stranger, &leaf, which);
        packages[1] = make_package(&leaf, &secrets);
        /* The last has no stranger: so the others were refused for him. */
        assert_ok(inbox(&w, welcome_event(&w, (extension_list){0}, packages, which == STRANGERS ? 1 : 2)));
        if (which != STRANGERS)
            assert_told(&w, "welcome_refused");
        assert_int_equal(conversations_of(&w), which == STRANGERS ? 2 : 1); /* one the client is making itself */
        forget_world(&w);
    }
}

/* ---------------------------------------------------------------- what no feature uses, by whoever may do all else */

/* Certified, or even one's own leaf anew: nobody joins by himself. */
static void an_external_commit(void **state) {
    for (int resync = 0; resync < 2; resync++) {
        world w;
        person nurse;
        loose_leaf leaf;
        start(&w);
        make_staff(&nurse, &root, FOUNDER_RIGHTS);
        person *p = resync ? &w.keeper : &nurse;
        make_leaf(&leaf, subject_of(p), &p->key, encoded_chain(p));
        before(&w);
        refused_commit(&w, p, external_commit(&w, &leaf, resync));
    }
}

static void changed_extensions(void **state) {
    for (int proposed = 0; proposed < 2; proposed++) {
        world w;
        span message;
        extension one = {EXTENSION_REQUIRED_CAPABILITIES, hex("000000")};
        extension_list list = {&one, 1};
        start(&w);
        commit_params params = {.extensions = &list, .force_path = true};
        if (proposed) {
            assert_ok(group_propose_extensions(w.insider.group, &list, &heap, &message));
            refused_proposal(&w, &w.insider, message);
        } else {
            before(&w);
            refused_commit(&w, &w.keeper, commit_by(&w.keeper, &params, false));
        }
    }
}

static void a_re_init(void **state) {
    for (int proposed = 0; proposed < 2; proposed++) {
        world w;
        span message;
        uint8_t id[GROUP_ID_SIZE] = {7};
        re_init next = {.group_id = SPAN(id), .version = 1, .cipher_suite = SUITE_XWING};
        start(&w);
        commit_params params = {.re_init = &next};
        if (proposed) {
            assert_ok(group_propose_re_init(w.insider.group, &next, &heap, &message));
            refused_proposal(&w, &w.insider, message);
        } else {
            before(&w);
            refused_commit(&w, &w.keeper, commit_by(&w.keeper, &params, false));
        }
    }
}

static err find_any_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    (void)ctx;
    (void)id;
    *value = span_text("a pre-shared key of thirty-two b");
    (void)a;
    return OK;
}

/* One that the client does not know, and one that it does: of an epoch of the group itself. */
static void a_psk(void **state) {
    enum { EXTERNAL, RESUMPTION, PROPOSED, CASES };
    for (int which = 0; which < CASES; which++) {
        world w;
        span message;
        start(&w);
        psk_id id = {.type = PSK_EXTERNAL, .external_id = span_text("known to two")};
        if (which != EXTERNAL)
            id = (psk_id){.type = PSK_RESUMPTION,
                          .usage = PSK_USAGE_APPLICATION,
                          .group_id = group_id(w.keeper.group),
                          .epoch = group_epoch(w.keeper.group)};
        commit_params params = {.psks = &id, .psk_count = 1, .force_path = true};
        if (which == PROPOSED) {
            assert_ok(group_propose_psk(w.insider.group, &id, &heap, &message));
            refused_proposal(&w, &w.insider, message);
            continue;
        }
        w.keeper.group->host.find_psk = find_any_psk;
        before(&w);
        refused_commit(&w, &w.keeper, commit_by(&w.keeper, &params, false));
    }
}

/* Even of somebody certified, by members, and by himself. */
static void a_proposed_member(void **state) {
    for (int by_himself = 0; by_himself < 2; by_himself++) {
        world w;
        person nurse;
        span message;
        start(&w);
        make_staff(&nurse, &root, STAFF_RIGHTS);
        make_key_package(&nurse);
        external_proposer by = {.suite = suite_find(SUITE_XWING),
                                .group_id = group_id(w.keeper.group),
                                .epoch = group_epoch(w.keeper.group),
                                .signer = &nurse.key};
        if (by_himself)
            assert_ok(external_propose_join(&by, nurse.key_package, &heap, &message));
        else
            assert_ok(group_propose_add(w.insider.group, nurse.key_package, &heap, &message));
        refused_proposal(&w, by_himself ? &nurse : &w.insider, message);
    }
}

static void a_proposed_removal(void **state) {
    world w;
    span message;
    start(&w);
    assert_ok(group_propose_remove(w.insider.group, 0, &heap, &message));
    refused_proposal(&w, &w.insider, message);
}

static void a_proposed_update(void **state) {
    world w;
    span message;
    start(&w);
    assert_ok(group_propose_update(w.insider.group, NULL, &heap, &message));
    refused_proposal(&w, &w.insider, message);
}

/* A group that names external senders lets somebody in through the back door: it is not joined. */
static void a_group_with_external_senders(void **state) {
    world w;
    span packages[2], data;
    external_sender outside = {.signature_key = signature_key_public(&other_root),
                               .credential = {.type = CREDENTIAL_BASIC, .identity = span_text("outside")}};
    external_sender_list list = {&outside, 1};
    make_world(&w, "", "");
    packages[0] = published(&w);
    assert_ok(WIRE_ENCODE(&heap, wire_external_sender_list, &list, &data));
    extension senders = {EXTENSION_EXTERNAL_SENDERS, data};
    assert_ok(inbox(&w, welcome_event(&w, (extension_list){&senders, 1}, packages, 1)));
    assert_told(&w, "welcome_refused");
    assert_int_equal(conversations_of(&w), 1);
    forget_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_add),
        cmocka_unit_test(by_proposed_add),
        cmocka_unit_test(by_update),
        cmocka_unit_test(by_commit_path),
        cmocka_unit_test(by_external_commit),
        cmocka_unit_test(by_welcome),
        cmocka_unit_test(an_external_commit),
        cmocka_unit_test(changed_extensions),
        cmocka_unit_test(a_re_init),
        cmocka_unit_test(a_psk),
        cmocka_unit_test(a_proposed_member),
        cmocka_unit_test(a_proposed_removal),
        cmocka_unit_test(a_proposed_update),
        cmocka_unit_test(a_group_with_external_senders),
    };
    world_init();
    int failed = cmocka_run_group_tests_name("client_policy", tests, NULL, NULL);
    arena_free(&heap);
    return failed;
}
