/* core/mls/external.h: external commits, external senders and joiners' proposals (RFC 9420 §8.3, §12.1.8, §12.4.3.2), and
 * handshakes as PublicMessages. Every test runs with both suites. */
#include "mls/external.h"
#include "mls/validate.h"
#include "support/mls_party.h"

/* --- joining by an external commit --- */

static span info_of(member *m, bool with_tree) {
    span info;
    assert_ok(group_make_info(m->group, with_tree, &m->arena, &info));
    info = keep(info);
    member_reset(m);
    return info;
}

/* Its message is on the heap. */
static err join_with(member *m, external_join_params *params, span *commit) {
    leaf_params leaf = member_leaf(m);
    params->leaf = &leaf;
    err e = group_join_external(&m->host, params, &m->arena, commit, &m->group);
    if (e == OK)
        *commit = keep(*commit);
    member_reset(m);
    return e;
}

static span join_from(party *p, size_t who, member *m, bool resync) {
    span info = info_of(&p->m[who], true), commit;
    assert_ok(join_with(m, &(external_join_params){.group_info = info, .resync = resync}, &commit));
    drop(info);
    return commit;
}

static void take_commit(party *p, member *from, span commit) {
    for (size_t i = 0; i < MAX; i++) {
        member *m = &p->m[i];
        incoming in;
        if (m == from || m->group == NULL)
            continue;
        assert_ok(group_process(m->group, commit, &m->arena, &in));
        assert_ok(group_merge_commit(m->group, in.staged, &m->arena));
        member_reset(m);
    }
    for (size_t i = 0; i < MAX; i++)
        if (p->m[i].group != NULL)
            assert_span(group_epoch_authenticator(p->m[i].group), group_epoch_authenticator(from->group));
}

static void a_client_joins_by_an_external_commit(void **state) {
    (void)state;
    for (int apart = 0; apart < 2; apart++) {
        party p;
        party_open(&p, 3);
        uint32_t gone = 1;
        commit_with(&p, 0, &(commit_params){.removes = &gone, .remove_count = 1});
        span info = info_of(&p.m[2], !apart), tree, commit;
        assert_ok(group_write_tree(p.m[2].group, &p.m[2].arena, &tree));
        external_join_params params = {
            .group_info = info, .ratchet_tree = apart ? tree : SPAN_NONE, .aad = span_text("let me in")};
        assert_ok(join_with(&p.m[3], &params, &commit));
        assert_int_equal(group_own_leaf(p.m[3].group), 1); /* the leftmost blank one */
        assert_int_equal(group_epoch(p.m[3].group), 3);
        incoming in;
        assert_ok(group_process(p.m[0].group, commit, &p.m[0].arena, &in));
        assert_int_equal(in.kind, INCOMING_COMMIT);
        assert_int_equal(in.from, SENDER_NEW_MEMBER_COMMIT);
        assert_int_equal(in.sender, 1);
        assert_span(in.sender_leaf->credential.identity, span_text("dan"));
        assert_span(in.aad, span_text("let me in"));
        assert_true(staged_commit_external(in.staged));
        assert_int_equal(staged_commit_sender(in.staged), 1);
        assert_int_equal(staged_commit_added(in.staged, NULL, 0), 0);
        assert_int_equal(staged_commit_context(in.staged)->epoch, 3);
        group_drop_commit(p.m[0].group, in.staged);
        take_commit(&p, &p.m[3], commit);
        for (size_t i = 0; i < 4; i++)
            member_reload(&p.m[i]);
        span hello = say(&p.m[3], "hello");
        assert_ok(hear(&p.m[0], hello, "hello"));
        assert_err(hear(&p.m[3], hello, ""), ERR_STATE);
        heal(&p, 3);
        heal(&p, 0);
        drop(hello);
        drop(info);
        drop(commit);
        party_close(&p);
    }
}

static void a_full_tree_grows_for_the_joiner(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    heal(&p, 1);
    span commit = join_from(&p, 0, &p.m[4], false);
    assert_int_equal(group_own_leaf(p.m[4].group), 4);
    take_commit(&p, &p.m[4], commit);
    drop(commit);
    commit = join_from(&p, 4, &p.m[5], false);
    take_commit(&p, &p.m[5], commit);
    heal(&p, 2);
    drop(commit);
    party_close(&p);
}

static const leaf_node *previous_seen;
static err sees_previous(void *ctx, const leaf_node *leaf, const leaf_node *previous) {
    (void)ctx, (void)leaf;
    previous_seen = previous;
    return OK;
}

static void who_lost_his_state_replaces_himself(void **state) {
    (void)state;
    party p;
    party_open(&p, 4);
    p.m[0].host.check_leaf = sees_previous;
    member_reload(&p.m[0]);
    group_close(p.m[2].group);
    memory_records_free(&p.m[2].records);
    p.m[2].group = NULL;
    span commit = join_from(&p, 1, &p.m[2], true);
    assert_int_equal(group_own_leaf(p.m[2].group), 2);
    incoming in;
    uint32_t removed[2];
    previous_seen = NULL;
    assert_ok(group_process(p.m[0].group, commit, &p.m[0].arena, &in));
    assert_int_equal(staged_commit_removed(in.staged, removed, 2), 1);
    assert_int_equal(removed[0], 2);
    assert_non_null(previous_seen);
    assert_span(previous_seen->credential.identity, span_text("cleo"));
    group_drop_commit(p.m[0].group, in.staged);
    take_commit(&p, &p.m[2], commit);
    heal(&p, 2);
    /* A stranger has nothing to replace. */
    span info = info_of(&p.m[0], true), none;
    assert_err(join_with(&p.m[5], &(external_join_params){.group_info = info, .resync = true}, &none), ERR_NOT_FOUND);
    assert_null(p.m[5].group);
    assert_int_equal(p.m[5].records.count, 0);
    drop(info);
    drop(commit);
    party_close(&p);
}

static void the_old_state_of_who_came_back_is_removed(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    member again;
    member_init(&again, suite_under_test, "cleo");
    again.signer = p.m[2].signer;
    span commit = join_from(&p, 0, &again, true);
    incoming in;
    assert_ok(group_process(p.m[2].group, commit, &p.m[2].arena, &in));
    assert_true(staged_commit_removes_us(in.staged));
    assert_null(staged_commit_context(in.staged));
    assert_ok(group_merge_commit(p.m[2].group, in.staged, &p.m[2].arena));
    drop(commit);
    member_free(&again);
    party_close(&p);
}

static err knows_all(void *ctx, const psk_id *id, arena *a, span *value) {
    (void)ctx, (void)id, (void)a;
    *value = span_text("known to all");
    return OK;
}
static void equip_psk(member *m) { m->host.find_psk = knows_all; }

static void a_psk_may_stand_in_an_external_commit(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 2, equip_psk);
    psk_id id = {.type = PSK_EXTERNAL, .external_id = span_text("invitation")};
    span info = info_of(&p.m[0], true), commit;
    assert_ok(join_with(&p.m[2], &(external_join_params){.group_info = info, .psks = &id, .psk_count = 1}, &commit));
    p.m[1].host.find_psk = NULL;
    member_reload(&p.m[1]);
    expect_refused(&p.m[1], commit, ERR_PSK);
    p.m[1].host.find_psk = knows_all;
    member_reload(&p.m[1]);
    take_commit(&p, &p.m[2], commit);
    drop(info);
    drop(commit);
    party_close(&p);
}

static err no_joiners(void *ctx, const group *g, const leaf_node *committer, const staged_commit *staged) {
    (void)ctx, (void)g;
    return staged_commit_external(staged) && span_equal(committer->credential.identity, span_text("dan")) ? ERR_SENDER
                                                                                                          : OK;
}

static void check_commit_is_asked_about_the_joiner(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    p.m[1].host.check_commit = no_joiners;
    member_reload(&p.m[1]);
    span commit = join_from(&p, 0, &p.m[3], false);
    expect_refused(&p.m[1], commit, ERR_SENDER);
    drop(commit);
    p.m[4].host.check_commit = no_joiners; /* and of the joiner's own host: he is not dan */
    commit = join_from(&p, 0, &p.m[4], false);
    drop(commit);
    party_close(&p);
}

static void an_external_commit_that_lost_is_given_up(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span commit = join_from(&p, 0, &p.m[2], false);
    group *lost = p.m[2].group;
    p.m[2].group = NULL;
    heal(&p, 0);
    expect_refused(&p.m[1], commit, ERR_WRONG_EPOCH);
    group_close(lost);
    memory_records_free(&p.m[2].records);
    span again = join_from(&p, 0, &p.m[2], false);
    take_commit(&p, &p.m[2], again);
    drop(commit);
    drop(again);
    party_close(&p);
}

/* --- hostile GroupInfos --- */

/* m[0]'s GroupInfo, changed by `spoil` before it is signed. */
static span spoiled_info(party *p, void (*spoil)(member *m, group_info *info)) {
    member *m = &p->m[0];
    group_info info = {0};
    uint8_t signature[SIGNATURE_SIZE];
    span encoded, tbs;
    assert_ok(group_make_info(m->group, true, &m->arena, &encoded));
    assert_ok(WIRE_DECODE(encoded, &m->arena, wire_group_info, &info));
    spoil(m, &info);
    assert_ok(WIRE_ENCODE(&m->arena, wire_group_info_body, &info, &tbs));
    assert_ok(signature_sign_with_label(&m->signer, "GroupInfoTBS", tbs, &m->arena, signature));
    info.signature = SPAN(signature);
    assert_ok(WIRE_ENCODE(&m->arena, wire_group_info, &info, &encoded));
    encoded = keep(encoded);
    member_reset(m);
    return encoded;
}

static void spoil_nothing(member *m, group_info *info) { (void)m, (void)info; }
static void spoil_tree_hash(member *m, group_info *info) {
    (void)m;
    static uint8_t zeros[HASH_MAX];
    info->context.tree_hash = span_of(zeros, info->context.tree_hash.n);
}
static void spoil_signer(member *m, group_info *info) {
    (void)m;
    info->signer = 1;
}
static void spoil_signer_out_of_range(member *m, group_info *info) {
    (void)m;
    info->signer = 0xffffffff;
}
static void spoil_external_pub(member *m, group_info *info) {
    (void)m;
    info->extensions.n = 1; /* the tree stands first */
}
static void spoil_external_pub_key(member *m, group_info *info) {
    (void)m;
    static const uint8_t short_key[] = {2, 0, 0};
    info->extensions.p[1].data = SPAN(short_key);
}
static void spoil_tag(member *m, group_info *info) {
    (void)m;
    info->confirmation_tag.n--;
}
static void spoil_extension_twice(member *m, group_info *info) {
    extension *list = ARENA_ARRAY(&m->arena, extension, 3);
    list[0] = info->extensions.p[0];
    list[1] = list[2] = info->extensions.p[1];
    info->extensions = (extension_list){list, 3};
}
static void spoil_context_extension_twice(member *m, group_info *info) {
    extension *list = ARENA_ARRAY(&m->arena, extension, 2);
    list[0].type = list[1].type = EXTENSION_APPLICATION_ID;
    info->context.extensions = (extension_list){list, 2};
}
static void spoil_required(member *m, group_info *info) {
    static const uint8_t demands[] = {2, 0xaa, 0xaa, 0, 0};
    extension *x = ARENA_NEW(&m->arena, extension);
    *x = (extension){EXTENSION_REQUIRED_CAPABILITIES, SPAN(demands)};
    info->context.extensions = (extension_list){x, 1};
}
static void spoil_suite(member *m, group_info *info) {
    (void)m;
    info->context.cipher_suite = 0x0001;
}
static void spoil_version(member *m, group_info *info) {
    (void)m;
    info->context.version = 2;
}

static void hostile_group_infos_are_refused(void **state) {
    (void)state;
    static const struct {
        void (*spoil)(member *m, group_info *info);
        err expected;
    } cases[] = {
        {spoil_tree_hash, ERR_TREE_HASH},        {spoil_signer, ERR_SIGNATURE},
        {spoil_signer_out_of_range, ERR_SENDER}, {spoil_external_pub, ERR_NOT_FOUND},
        {spoil_external_pub_key, ERR_KEY},       {spoil_tag, ERR_INVALID},
        {spoil_extension_twice, ERR_INVALID},    {spoil_context_extension_twice, ERR_INVALID},
        {spoil_required, ERR_UNSUPPORTED},       {spoil_suite, ERR_UNSUPPORTED},
        {spoil_version, ERR_UNSUPPORTED},        {spoil_nothing, OK},
    };
    party p;
    party_open(&p, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        span info = spoiled_info(&p, cases[i].spoil), commit = SPAN_NONE;
        assert_err(join_with(&p.m[2], &(external_join_params){.group_info = info}, &commit), cases[i].expected);
        assert_true(cases[i].expected == OK || p.m[2].records.count == 0);
        drop(info);
        drop(commit);
    }
    span info = info_of(&p.m[1], false), commit;
    group_close(p.m[2].group);
    p.m[2].group = NULL;
    assert_err(join_with(&p.m[2], &(external_join_params){.group_info = info}, &commit), ERR_NOT_FOUND); /* no tree */
    drop(info);
    party_close(&p);
}

/* --- hostile external commits --- */

static proposal_or_ref external_init(void) {
    static uint8_t output[KEM_OUTPUT_MAX] = {9};
    proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_EXTERNAL_INIT}};
    entry.proposal.kem_output = span_of(output, suite_under_test->kem_output_size);
    return entry;
}

/* A joiner's commit onto m[0]'s epoch, signed by `m`. */
static span joiners(party *p, member *m, const commit *body) {
    framed_content content = content_of(&p->m[0], CONTENT_COMMIT);
    content.sender = (sender){.type = SENDER_NEW_MEMBER_COMMIT};
    content.commit = *body;
    m->group = p->m[0].group; /* for the group's id and context alone */
    span message = send_content(m, &content, false, m->group->context->encoded);
    m->group = NULL;
    return message;
}

static void expect_joiner_refusal(party *p, member *m, const commit *body, err expected) {
    expect_refused(&p->m[1], joiners(p, m, body), expected);
    member_reset(m);
}

/* A leaf for that place; what stands in the arena of m lives until its reset. */
static leaf_node joiners_leaf(party *p, member *m, uint32_t place_of, span encryption_key, arena *a) {
    leaf_params params = member_leaf(m);
    leaf_node leaf;
    span encoded;
    leaf_place place = {p->m[0].group->context->group_id, place_of};
    assert_ok(leaf_node_from_params(suite_under_test, &params, a, &leaf));
    leaf.source = LEAF_COMMIT;
    leaf.encryption_key = encryption_key;
    assert_ok(leaf_node_sign(&m->signer, &leaf, &place, a, &encoded));
    return leaf;
}

static void hostile_external_commits_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    member *joiner = &p.m[4];
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    span key = span_of(pair.public_key, suite_under_test->kem_public_size);
    proposal_or_ref list[3] = {external_init()};
    commit body = commit_of(list, 1);
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL); /* no path */
    body.has_path = true;
    body.path.leaf = joiners_leaf(&p, joiner, 3, key, &a);
    expect_joiner_refusal(&p, joiner, &body, ERR_INVALID); /* all well but the path's nodes */

    list[1] = external_init();
    body.proposals.n = 2;
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL); /* two ExternalInits */
    body.proposals.n = 0;
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL); /* none */
    body.proposals.n = 2;
    member_make_key_package(&p.m[5]);
    list[1] = add_of(&p.m[5], &a);
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL);
    list[1] = (proposal_or_ref){.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_UPDATE}};
    list[1].proposal.update = *ratchet_tree_leaf(&p.m[0].group->tree, 2);
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL);
    list[1] = (proposal_or_ref){.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS}};
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL);
    list[1] = (proposal_or_ref){.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_REINIT}};
    list[1].proposal.re_init = (re_init){.version = 1};
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL);
    /* A member's proposal, even of a kind that might stand there by value. */
    span proposed;
    psk_id psk = {.type = PSK_EXTERNAL, .external_id = span_text("x")};
    assert_ok(group_propose_psk(p.m[2].group, &psk, &p.m[2].arena, &proposed));
    deliver_proposal(&p, &p.m[2], proposed);
    assert_ok(ratchet_tree_load(&p.m[0].group->tree, &p.m[0].arena));
    list[1] = (proposal_or_ref){.type = PROPOSAL_BY_REFERENCE};
    assert_ok(
        arena_copy(&a, span_of(p.m[2].group->proposals[0].reference, suite_under_test->hash_size), &list[1].reference));
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL);

    list[1] = remove_of(2);
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL); /* cleo is not eva */
    list[1] = remove_of(9);
    expect_joiner_refusal(&p, joiner, &body, ERR_PROPOSAL); /* nobody */
    member again;
    member_init(&again, suite_under_test, "cleo");
    list[1] = remove_of(2);
    body.path.leaf = joiners_leaf(&p, &again, 2, key, &a);
    expect_joiner_refusal(&p, &again, &body, ERR_INVALID); /* all well but the path's nodes */
    list[2] = list[1];
    list[1] = remove_of(0);
    body.proposals.n = 3;
    expect_joiner_refusal(&p, &again, &body, ERR_PROPOSAL); /* two Removes */
    list[1] = list[2];
    body.proposals.n = 2;
    body.path.leaf = joiners_leaf(&p, &again, 2, ratchet_tree_leaf(&p.m[0].group->tree, 2)->encryption_key, &a);
    expect_joiner_refusal(&p, &again, &body, ERR_DUPLICATE_KEY); /* the key that the leaf had */

    body.proposals.n = 1;
    body.path.leaf = joiners_leaf(&p, joiner, 2, key, &a);
    expect_joiner_refusal(&p, joiner, &body, ERR_SIGNATURE); /* signed for another place */
    body.path.leaf = joiners_leaf(&p, &again, 3, key, &a);
    expect_joiner_refusal(&p, joiner, &body, ERR_SIGNATURE); /* another's leaf */
    body.path.leaf = joiners_leaf(&p, joiner, 3, key, &a);
    body.path.leaf.source = LEAF_KEY_PACKAGE;
    expect_joiner_refusal(&p, joiner, &body, ERR_INVALID);
    member_free(&again);
    arena_free(&a);
    heal(&p, 1);
    party_close(&p);
}

/* A joiner's commit that is right in all but its last step is refused there: keys that are in the group already. The path has
 * a node for each of two levels, as it must in a group of three. */
static void keys_of_an_external_commit_are_new_to_the_group(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    for (int kind = 0; kind < 3; kind++) {
        member joiner;
        member_init(&joiner, suite_under_test, "eva");
        span info = info_of(&p.m[0], true), commit_bytes;
        if (kind == 0)
            joiner.signer = p.m[2].signer; /* a member's signature key */
        leaf_params leaf = member_leaf(&joiner);
        external_join_params params = {.group_info = info, .leaf = &leaf};
        if (kind == 0) {
            assert_err(group_join_external(&joiner.host, &params, &joiner.arena, &commit_bytes, &joiner.group),
                       ERR_DUPLICATE_KEY); /* not by one's own code either */
        }
        const group *g = p.m[0].group;
        kem_key_pair pairs[3];
        update_path_node nodes[2] = {0};
        for (size_t i = 0; i < 3; i++)
            assert_ok(suite_generate_key_pair(suite_under_test, &pairs[i]));
        for (size_t i = 0; i < 2; i++)
            nodes[i].encryption_key = span_of(pairs[i].public_key, suite_under_test->kem_public_size);
        span own_key = span_of(pairs[2].public_key, suite_under_test->kem_public_size);
        if (kind == 1)
            own_key = ratchet_tree_leaf(&g->tree, 1)->encryption_key;
        if (kind == 2)
            nodes[1].encryption_key = ratchet_tree_leaf(&g->tree, 1)->encryption_key;
        /* The parent hash that such a path has. */
        ratchet_tree t;
        ratchet_tree_overlay(&t, &g->tree);
        uint32_t place_of;
        leaf_node at = joiners_leaf(&p, &joiner, 3, own_key, &a);
        span encoded;
        assert_ok(WIRE_ENCODE(&a, wire_leaf_node, &at, &encoded));
        assert_ok(ratchet_tree_add_leaf(&t, encoded, &a, &place_of));
        assert_int_equal(place_of, 3);
        uint32_t path[TREE_MAX_LEVEL], copath[TREE_MAX_LEVEL];
        assert_int_equal(ratchet_tree_filtered_path(&t, 3, path, copath), 2);
        assert_ok(ratchet_tree_blank_path(&t, 3));
        uint8_t hash[HASH_MAX];
        assert_ok(ratchet_tree_set_parent(&t, path[1], nodes[1].encryption_key, SPAN_NONE));
        assert_ok(ratchet_tree_parent_hash(&t, &ratchet_tree_node(&t, path[1])->parent, copath[1], hash));
        assert_ok(
            ratchet_tree_set_parent(&t, path[0], nodes[0].encryption_key, span_of(hash, suite_under_test->hash_size)));
        assert_ok(ratchet_tree_parent_hash(&t, &ratchet_tree_node(&t, path[0])->parent, copath[0], hash));
        at.parent_hash = span_of(hash, suite_under_test->hash_size);
        leaf_place place = {g->context->group_id, 3};
        assert_ok(leaf_node_sign(&joiner.signer, &at, &place, &a, &encoded));
        ratchet_tree_wipe(&t);
        proposal_or_ref list[1] = {external_init()};
        commit body = commit_of(list, 1);
        body.has_path = true;
        body.path.leaf = at;
        body.path.nodes.p = nodes;
        body.path.nodes.n = 2;
        expect_joiner_refusal(&p, &joiner, &body, ERR_DUPLICATE_KEY);
        drop(info);
        member_free(&joiner);
        arena_reset(&a);
    }
    arena_free(&a);
    party_close(&p);
}

static void only_a_commit_and_only_of_this_epoch_comes_from_a_joiner(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    framed_content content = content_of(&p.m[0], CONTENT_PROPOSAL);
    content.sender.type = SENDER_NEW_MEMBER_COMMIT;
    content.proposal.type = PROPOSAL_REMOVE;
    span context = p.m[0].group->context->encoded;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, context), ERR_SENDER);
    /* Signed by his own key, but without the GroupContext. */
    span commit = join_from(&p, 0, &p.m[2], false);
    incoming in;
    assert_ok(group_process(p.m[1].group, commit, &p.m[1].arena, &in));
    group_drop_commit(p.m[1].group, in.staged);
    mls_message m = {0};
    assert_ok(WIRE_DECODE(commit, &p.m[1].arena, wire_mls_message, &m));
    framed_tbs tbs;
    framed_content_auth *auth = &m.public_message.auth;
    assert_ok(framing_tbs(FORMAT_PUBLIC_MESSAGE, &m.public_message.content, SPAN_NONE, &p.m[1].arena, &tbs));
    assert_ok(framing_sign(&p.m[2].signer, &tbs, &p.m[1].arena, auth));
    span again;
    assert_ok(WIRE_ENCODE(&p.m[1].arena, wire_mls_message, &m, &again));
    assert_err(group_process(p.m[1].group, again, &p.m[1].arena, &in), ERR_SIGNATURE);
    drop(commit);
    party_close(&p);
}

static void an_external_commit_altered_anywhere_is_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span commit = join_from(&p, 0, &p.m[3], false);
    uint8_t *bytes = (uint8_t *)(uintptr_t)commit.p;
    incoming in;
    for (size_t i = 0; i < commit.n; i += 1 + commit.n / 300) {
        bytes[i] ^= 0x10;
        assert_true(group_process(p.m[1].group, commit, &p.m[1].arena, &in) != OK);
        member_reset(&p.m[1]);
        bytes[i] ^= 0x10;
    }
    take_commit(&p, &p.m[3], commit);
    drop(commit);
    party_close(&p);
}

/* --- external senders (§12.1.8) --- */

static signature_key clinic;
static extension senders_extension;

static void equip_senders(member *m) {
    static uint8_t bytes[256];
    uint8_t seed[SIGNATURE_SEED_SIZE] = {42};
    signature_key_from_seed(seed, &clinic);
    external_sender list[2] = {
        {signature_key_public(&m->signer), {.type = CREDENTIAL_BASIC, .identity = span_text("other")}},
        {signature_key_public(&clinic), {.type = CREDENTIAL_BASIC, .identity = span_text("clinic")}},
    };
    external_sender_list senders = {list, 2};
    span encoded;
    assert_ok(WIRE_ENCODE(&m->arena, wire_external_sender_list, &senders, &encoded));
    memcpy(bytes, encoded.p, encoded.n);
    senders_extension = (extension){EXTENSION_EXTERNAL_SENDERS, span_of(bytes, encoded.n)};
    m->group_extensions = (extension_list){&senders_extension, 1};
    m->host.find_psk = knows_all;
}

static external_proposer the_clinic(const group *g) {
    return (external_proposer){g->suite, span_text("party"), g->context->epoch, &clinic, 1};
}

static void an_external_sender_proposes_all_that_he_may(void **state) {
    (void)state;
    uint8_t nonce[HASH_MAX] = {1};
    extension kept = {0};
    for (int kind = 0; kind < 5; kind++) {
        party p;
        party_open_with(&p, 3, equip_senders);
        kept = senders_extension;
        member_make_key_package(&p.m[3]);
        proposal all[5] = {{.type = PROPOSAL_ADD},
                           {.type = PROPOSAL_REMOVE},
                           {.type = PROPOSAL_PSK},
                           {.type = PROPOSAL_REINIT},
                           {.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS}};
        assert_ok(WIRE_DECODE(p.m[3].key_package, &p.m[7].arena, wire_key_package, &all[0].add));
        all[1].remove = 2;
        all[2].psk = (psk_id){
            .type = PSK_EXTERNAL, .external_id = span_text("x"), .nonce = span_of(nonce, suite_under_test->hash_size)};
        all[3].re_init = (re_init){.group_id = span_text("next"), .version = 1, .cipher_suite = SUITE_X25519};
        all[4].extensions = (extension_list){&kept, 1};
        external_proposer by = the_clinic(p.m[0].group);
        span message;
        assert_ok(external_propose(&by, &all[kind], &p.m[7].arena, &message));
        incoming in;
        assert_ok(group_process(p.m[0].group, message, &p.m[0].arena, &in));
        assert_int_equal(in.from, SENDER_EXTERNAL);
        assert_int_equal(in.sender, 1);
        assert_null(in.sender_leaf);
        assert_int_equal(in.proposal->type, all[kind].type);
        member_reload(&p.m[0]);
        for (size_t i = 1; i < 3; i++) {
            assert_ok(group_process(p.m[i].group, message, &p.m[i].arena, &in));
            member_reload(&p.m[i]);
        }
        commit_output out;
        staged_commit *staged;
        assert_ok(
            group_stage_commit(p.m[0].group, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
        assert_int_equal(staged_commit_added(staged, NULL, 0), kind == 0);
        assert_int_equal(staged_commit_removed(staged, NULL, 0), kind == 1);
        assert_int_equal(staged_commit_psk_count(staged), kind == 2);
        assert_true((staged_commit_re_init(staged) != NULL) == (kind == 3));
        assert_true(staged_commit_extensions_changed(staged) == (kind == 4));
        deliver(&p, &p.m[0], &out, staged);
        assert_true(kind != 0 || p.m[3].group != NULL);
        assert_true(kind != 1 || p.m[2].group == NULL);
        party_close(&p);
    }
}

static void hostile_external_proposals_are_refused(void **state) {
    (void)state;
    party p, q;
    party_open_with(&p, 3, equip_senders);
    arena *a = &p.m[7].arena;
    external_proposer by = the_clinic(p.m[0].group);
    proposal removal = {.type = PROPOSAL_REMOVE}, update = {.type = PROPOSAL_UPDATE};
    removal.remove = 2;
    update.update = *ratchet_tree_leaf(&p.m[0].group->tree, 2);
    span message;
    assert_err(external_propose(&by, &update, a, &message), ERR_PROPOSAL);
    /* Past external_propose's own check. */
    framed_content content = content_of(&p.m[0], CONTENT_PROPOSAL);
    content.sender = (sender){.type = SENDER_EXTERNAL, .index = 1};
    content.proposal = update;
    signature_key mine = p.m[0].signer;
    p.m[0].signer = clinic;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, SPAN_NONE), ERR_PROPOSAL);
    content.proposal = external_init().proposal;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, SPAN_NONE), ERR_PROPOSAL);
    content.proposal = removal;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, p.m[0].group->context->encoded), ERR_SIGNATURE);
    content.type = CONTENT_COMMIT;
    content.commit = (commit){0};
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, SPAN_NONE), ERR_SENDER);
    p.m[0].signer = mine;

    by.index = 2;
    assert_ok(external_propose(&by, &removal, a, &message));
    expect_refused(&p.m[1], message, ERR_SENDER); /* nobody has that index */
    by.index = 0;
    assert_ok(external_propose(&by, &removal, a, &message));
    expect_refused(&p.m[1], message, ERR_SIGNATURE); /* another has it */
    by = the_clinic(p.m[0].group);
    by.epoch++;
    assert_ok(external_propose(&by, &removal, a, &message));
    expect_refused(&p.m[1], message, ERR_WRONG_EPOCH);
    by = the_clinic(p.m[0].group);
    removal.remove = 5;
    assert_ok(external_propose(&by, &removal, a, &message));
    expect_refused(&p.m[1], message, ERR_PROPOSAL); /* a blank leaf */
    /* A group that lists no external senders. */
    party_open(&q, 2);
    removal.remove = 0;
    by = the_clinic(q.m[0].group);
    assert_ok(external_propose(&by, &removal, a, &message));
    expect_refused(&q.m[1], message, ERR_SENDER);
    party_close(&q);
    party_close(&p);
}

static void an_external_sender_removes_even_the_committer_by_another(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, equip_senders);
    external_proposer by = the_clinic(p.m[0].group);
    proposal removal = {.type = PROPOSAL_REMOVE};
    span message;
    assert_ok(external_propose(&by, &removal, &p.m[7].arena, &message));
    deliver_proposal(&p, NULL, message);
    /* The one it removes leaves it to the others. */
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
    assert_int_equal(staged_commit_removed(staged, NULL, 0), 0);
    group_drop_commit(p.m[0].group, staged);
    proposal_or_ref list[1] = {{.type = PROPOSAL_BY_REFERENCE}};
    list[0].reference = span_of(p.m[0].group->proposals[0].reference, suite_under_test->hash_size);
    commit body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* by his own commit he cannot go */
    assert_ok(group_stage_commit(p.m[1].group, &(commit_params){.use_proposals = true}, &p.m[1].arena, &out, &staged));
    incoming in;
    assert_ok(group_process(p.m[0].group, out.commit, &p.m[0].arena, &in));
    assert_true(staged_commit_removes_us(in.staged));
    group_drop_commit(p.m[0].group, in.staged);
    group_drop_commit(p.m[1].group, staged);
    party_close(&p);
}

/* --- a client asks to be added --- */

static void a_client_asks_to_be_added(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    member *m = &p.m[3];
    member_make_key_package(m);
    external_proposer by = {suite_under_test, span_text("party"), 1, &m->signer, 0};
    span message;
    incoming in;
    assert_ok(external_propose_join(&by, m->key_package, &p.m[7].arena, &message));
    assert_ok(group_process(p.m[0].group, message, &p.m[0].arena, &in));
    assert_int_equal(in.from, SENDER_NEW_MEMBER_PROPOSAL);
    assert_span(in.sender_leaf->credential.identity, span_text("dan"));
    assert_ok(group_process(p.m[1].group, message, &p.m[1].arena, &in));
    expect_refused(&p.m[1], message, ERR_REPLAY); /* the same again is not kept again */
    member_make_key_package(m);
    assert_ok(external_propose_join(&by, m->key_package, &p.m[7].arena, &message));
    for (size_t i = 0; i < 2; i++)
        assert_ok(group_process(p.m[i].group, message, &p.m[i].arena, &in)); /* he asked twice: added once */
    member_reload(&p.m[0]);
    member_reload(&p.m[1]);
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[1].group, &(commit_params){.use_proposals = true}, &p.m[1].arena, &out, &staged));
    assert_int_equal(staged_commit_added(staged, NULL, 0), 1);
    group_drop_commit(p.m[1].group, staged);
    /* His second key package is the one that he still has the secrets of. */
    commit_with(&p, 1, &(commit_params){.adds = &m->key_package, .add_count = 1, .use_proposals = true});
    assert_non_null(m->group);
    heal(&p, 3);
    /* Now he is in, a third time changes nothing. */
    by.epoch = group_epoch(p.m[0].group);
    member_make_key_package(m);
    assert_ok(external_propose_join(&by, m->key_package, &p.m[7].arena, &message));
    deliver_proposal(&p, m, message);
    commit_with(&p, 1, &(commit_params){.use_proposals = true});
    party_close(&p);
}

static void hostile_requests_to_be_added_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    member *m = &p.m[3];
    member_make_key_package(m);
    span message;
    arena *a = &p.m[7].arena;
    external_proposer by = {suite_under_test, p.m[0].group->context->group_id, 1, &clinic, 0};
    assert_err(external_propose_join(&by, m->key_package, a, &message), ERR_KEY);
    /* Past its own check: another signs, or another kind is asked for. */
    framed_content content = content_of(&p.m[0], CONTENT_PROPOSAL);
    content.sender = (sender){.type = SENDER_NEW_MEMBER_PROPOSAL};
    content.proposal.type = PROPOSAL_ADD;
    assert_ok(WIRE_DECODE(m->key_package, a, wire_key_package, &content.proposal.add));
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, SPAN_NONE), ERR_SIGNATURE);
    m->group = p.m[0].group;
    expect_refused(&p.m[1], send_content(m, &content, false, m->group->context->encoded), ERR_SIGNATURE);
    content.proposal.add.signature = SPAN_NONE;
    expect_refused(&p.m[1], send_content(m, &content, false, SPAN_NONE), ERR_SIGNATURE); /* a bad key package */
    content.proposal = (proposal){.type = PROPOSAL_REMOVE};
    expect_refused(&p.m[1], send_content(m, &content, false, SPAN_NONE), ERR_SENDER);
    content.type = CONTENT_COMMIT;
    content.commit = (commit){0};
    expect_refused(&p.m[1], send_content(m, &content, false, SPAN_NONE), ERR_SENDER);
    m->group = NULL;
    party_close(&p);
}

/* --- handshakes in the open (§6.2) --- */

static void equip_public(member *m) { m->host.public_handshakes = true; }

static void handshakes_go_as_public_messages_where_wanted(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, equip_public);
    span update;
    mls_message m = {0};
    assert_ok(group_propose_update(p.m[1].group, NULL, &p.m[1].arena, &update));
    assert_ok(WIRE_DECODE(update, &p.m[1].arena, wire_mls_message, &m));
    assert_int_equal(m.wire_format, FORMAT_PUBLIC_MESSAGE);
    deliver_proposal(&p, &p.m[1], update);
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
    assert_ok(WIRE_DECODE(out.commit, &p.m[0].arena, wire_mls_message, &m));
    assert_int_equal(m.wire_format, FORMAT_PUBLIC_MESSAGE);
    incoming in;
    assert_err(group_process(p.m[0].group, out.commit, &p.m[0].arena, &in), ERR_STATE); /* one's own, echoed */
    deliver(&p, &p.m[0], &out, staged);
    heal(&p, 1); /* he has the new leaf's key */
    span text = say(&p.m[1], "sealed");
    assert_ok(WIRE_DECODE(text, &p.m[0].arena, wire_mls_message, &m));
    assert_int_equal(m.wire_format, FORMAT_PRIVATE_MESSAGE); /* §6: application data MUST be */
    drop(text);
    party_close(&p);
}

static void hostile_public_messages_are_refused(void **state) {
    (void)state;
    party p;
    party_open(&p, 3);
    span context = p.m[0].group->context->encoded;
    framed_content content = content_of(&p.m[0], CONTENT_APPLICATION);
    content.application_data = span_text("in the open");
    mls_message m = {.version = MLS_VERSION, .wire_format = FORMAT_PUBLIC_MESSAGE};
    framed_tbs tbs;
    span message;
    m.public_message.auth.content_type = CONTENT_APPLICATION;
    m.public_message.content = content;
    assert_ok(framing_tbs(FORMAT_PUBLIC_MESSAGE, &content, context, &p.m[0].arena, &tbs));
    assert_ok(framing_sign(&p.m[0].signer, &tbs, &p.m[0].arena, &m.public_message.auth));
    assert_ok(WIRE_ENCODE(&p.m[0].arena, wire_mls_message, &m, &message));
    expect_refused(&p.m[1], message, ERR_INVALID);
    content = content_of(&p.m[0], CONTENT_PROPOSAL);
    content.proposal.type = PROPOSAL_REMOVE;
    content.proposal.remove = 2;
    secret membership = p.m[0].group->secrets.membership_key;
    p.m[0].group->secrets.membership_key.b[0] ^= 1;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, context), ERR_MEMBERSHIP_TAG);
    p.m[0].group->secrets.membership_key = membership;
    p.m[0].signer = p.m[2].signer;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, context), ERR_SIGNATURE);
    content.sender.leaf = 7;
    expect_refused(&p.m[1], send_content(&p.m[0], &content, false, context), ERR_SENDER);
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_joins_by_an_external_commit),
        cmocka_unit_test(a_full_tree_grows_for_the_joiner),
        cmocka_unit_test(who_lost_his_state_replaces_himself),
        cmocka_unit_test(the_old_state_of_who_came_back_is_removed),
        cmocka_unit_test(a_psk_may_stand_in_an_external_commit),
        cmocka_unit_test(check_commit_is_asked_about_the_joiner),
        cmocka_unit_test(an_external_commit_that_lost_is_given_up),
        cmocka_unit_test(hostile_group_infos_are_refused),
        cmocka_unit_test(hostile_external_commits_are_refused),
        cmocka_unit_test(keys_of_an_external_commit_are_new_to_the_group),
        cmocka_unit_test(only_a_commit_and_only_of_this_epoch_comes_from_a_joiner),
        cmocka_unit_test(an_external_commit_altered_anywhere_is_refused),
        cmocka_unit_test(an_external_sender_proposes_all_that_he_may),
        cmocka_unit_test(hostile_external_proposals_are_refused),
        cmocka_unit_test(an_external_sender_removes_even_the_committer_by_another),
        cmocka_unit_test(a_client_asks_to_be_added),
        cmocka_unit_test(hostile_requests_to_be_added_are_refused),
        cmocka_unit_test(handshakes_go_as_public_messages_where_wanted),
        cmocka_unit_test(hostile_public_messages_are_refused),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_external xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_external x25519", tests, NULL, NULL);
}
