/* core/mls: the extensions of the GroupContext and what leaves say that they support (RFC 9420 §7.2, §11.1, §12.1.7, §13).
 * Every test runs with both suites. */
#include "mls/validate.h"
#include "support/mls_party.h"

#define GROUP_EXTENSION 0xf201
#define MEMBER_EXTENSION 0xf202
#define SOME_PROPOSAL 0xf203
#define SOME_CREDENTIAL 0xf204

static uint16_t types[] = {GROUP_EXTENSION, 0x0a0a /* GREASE */};
static uint16_t proposals[] = {SOME_PROPOSAL, 0x1a1a};
static uint16_t credentials[] = {CREDENTIAL_X509, SOME_CREDENTIAL, 0x2a2a};

static void supports_all_types(member *m) {
    m->extension_types = (u16_list){types, 2};
    m->proposal_types = (u16_list){proposals, 2};
    m->credential_types = (u16_list){credentials, 3};
}

/* dan and those after him do not. */
static void some_support_them(member *m) {
    if (strcmp(m->name, "dan") < 0)
        supports_all_types(m);
}

static const uint8_t demands_of_all[] = {2, GROUP_EXTENSION >> 8, GROUP_EXTENSION & 0xff,
                                         2, SOME_PROPOSAL >> 8,   SOME_PROPOSAL & 0xff,
                                         2, SOME_CREDENTIAL >> 8, SOME_CREDENTIAL & 0xff};
static const uint8_t demands[3][5] = {
    {2, GROUP_EXTENSION >> 8, GROUP_EXTENSION & 0xff, 0, 0},
    {0, 2, SOME_PROPOSAL >> 8, SOME_PROPOSAL & 0xff, 0},
    {0, 0, 2, SOME_CREDENTIAL >> 8, SOME_CREDENTIAL & 0xff},
};
static const uint8_t default_demands[] = {2, 0, 1, 2, 0, 1, 2, 0, 1}; /* application_id, add, basic: all have them */

static extension required(span data) { return (extension){EXTENSION_REQUIRED_CAPABILITIES, data}; }

/* --- creating --- */

static err create_with(extension_list extensions, void (*equip)(member *m)) {
    member m;
    member_init(&m, suite_under_test, "anna");
    if (equip != NULL)
        equip(&m);
    leaf_params leaf = member_leaf(&m);
    group_params params = {suite_under_test, span_text("group"), extensions, &leaf};
    err e = group_create(&m.host, &params, &m.arena, &m.group);
    if (e == OK)
        assert_int_equal(group_present_context(m.group)->extensions.n, extensions.n);
    else
        assert_int_equal(m.records.count, 0);
    member_free(&m);
    return e;
}

static void a_group_is_created_with_extensions_that_its_creator_supports(void **state) {
    (void)state;
    extension list[2] = {{.type = GROUP_EXTENSION, .data = span_text("anything")}, required(SPAN(demands_of_all))};
    assert_ok(create_with((extension_list){list, 2}, supports_all_types));
    assert_err(create_with((extension_list){list, 1}, NULL), ERR_UNSUPPORTED);
    for (size_t i = 0; i < 3; i++) {
        list[0] = required(SPAN(demands[i]));
        assert_err(create_with((extension_list){list, 1}, NULL), ERR_UNSUPPORTED);
        assert_ok(create_with((extension_list){list, 1}, supports_all_types));
    }
    list[0] = required(SPAN(default_demands));
    assert_ok(create_with((extension_list){list, 1}, NULL));
    list[1] = list[0];
    assert_err(create_with((extension_list){list, 2}, NULL), ERR_INVALID);
}

static const struct {
    uint16_t type;
    uint8_t size, bytes[8];
    err expected;
} malformed[] = {
    {EXTENSION_REQUIRED_CAPABILITIES, 2, {0, 0}, ERR_TRUNCATED},
    {EXTENSION_REQUIRED_CAPABILITIES, 4, {0, 0, 0, 0}, ERR_TRAILING},
    {EXTENSION_REQUIRED_CAPABILITIES, 4, {1, 0, 0, 0}, ERR_TRUNCATED},
    {EXTENSION_EXTERNAL_SENDERS, 2, {1, 0}, ERR_TRUNCATED},
    {EXTENSION_EXTERNAL_SENDERS, 6, {5, 1, 7, 0, 1, 0}, ERR_KEY},
};

static void known_extensions_must_be_well_formed(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        extension x = {malformed[i].type, span_of(malformed[i].bytes, malformed[i].size)};
        extension_list list = {&x, 1};
        assert_err(create_with(list, NULL), malformed[i].expected);
        proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS}};
        entry.proposal.extensions = list;
        commit body = commit_of(&entry, 1);
        expect_refusal(&p, &body, malformed[i].expected);
        expect_proposal_refusal(&p, &entry.proposal, malformed[i].expected);
        span message;
        assert_err(group_propose_extensions(p.m[0].group, &list, &p.m[0].arena, &message), malformed[i].expected);
    }
    party_close(&p);
}

/* --- changing (§12.1.7) --- */

static void extensions_are_replaced_as_a_whole(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, supports_all_types);
    extension list[2] = {{.type = GROUP_EXTENSION, .data = span_text("one")}, required(SPAN(demands_of_all))};
    extension_list both = {list, 2}, none = {0};
    span message;
    assert_ok(group_propose_extensions(p.m[1].group, &both, &p.m[1].arena, &message));
    deliver_proposal(&p, &p.m[1], message);
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p.m[0].group, &(commit_params){.use_proposals = true}, &p.m[0].arena, &out, &staged));
    assert_true(staged_commit_extensions_changed(staged));
    assert_int_equal(staged_commit_context(staged)->extensions.n, 2);
    span saved;
    assert_ok(staged_commit_save(staged, &p.m[0].arena, &saved));
    group_drop_commit(p.m[0].group, staged);
    assert_ok(staged_commit_restore(p.m[0].group, saved, &p.m[0].arena, &staged));
    assert_true(staged_commit_extensions_changed(staged));
    deliver(&p, &p.m[0], &out, staged);
    for (size_t i = 0; i < 3; i++) {
        member_reload(&p.m[i]);
        const extension *x = extension_find(&group_present_context(p.m[i].group)->extensions, GROUP_EXTENSION);
        assert_non_null(x);
        assert_span(x->data, span_text("one"));
    }
    /* Who joins is in the same epoch. */
    member_make_key_package(&p.m[3]);
    commit_with(&p, 2, &(commit_params){.adds = &p.m[3].key_package, .add_count = 1});
    assert_int_equal(group_present_context(p.m[3].group)->extensions.n, 2);
    commit_with(&p, 3, &(commit_params){.extensions = &none});
    assert_int_equal(group_present_context(p.m[1].group)->extensions.n, 0);
    heal(&p, 1);
    party_close(&p);
}

/* The last of several proposals is the one that is committed. */
static void one_proposal_of_several_is_committed(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 2, supports_all_types);
    extension x = {.type = GROUP_EXTENSION, .data = span_text("one")};
    extension_list list = {&x, 1};
    span message;
    for (int i = 0; i < 2; i++) {
        assert_ok(group_propose_extensions(p.m[1].group, &list, &p.m[1].arena, &message));
        deliver_proposal(&p, &p.m[1], message);
        x.data = span_text("two");
    }
    commit_with(&p, 0, &(commit_params){.use_proposals = true});
    assert_span(group_present_context(p.m[1].group)->extensions.p[0].data, span_text("two"));
    party_close(&p);
}

static void every_member_who_stays_or_comes_must_support_them(void **state) {
    (void)state;
    extension lists[4] = {
        {.type = GROUP_EXTENSION}, required(SPAN(demands[0])), required(SPAN(demands[1])), required(SPAN(demands[2]))};
    for (size_t i = 0; i < 4; i++) {
        party p;
        party_open_with(&p, 4, some_support_them); /* dan is the fourth */
        extension_list list = {&lists[i], 1};
        commit_output out;
        staged_commit *staged;
        span message;
        proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS}};
        entry.proposal.extensions = list;
        commit body = commit_of(&entry, 1);
        assert_err(
            group_stage_commit(p.m[0].group, &(commit_params){.extensions = &list}, &p.m[0].arena, &out, &staged),
            ERR_UNSUPPORTED);
        assert_err(group_propose_extensions(p.m[0].group, &list, &p.m[0].arena, &message), ERR_UNSUPPORTED);
        expect_refusal(&p, &body, ERR_UNSUPPORTED);
        expect_proposal_refusal(&p, &entry.proposal, ERR_UNSUPPORTED);
        /* With his removal it may be, but not with eva, who has no more. */
        uint32_t dan = 3;
        commit_params params = {.extensions = &list, .removes = &dan, .remove_count = 1};
        member_make_key_package(&p.m[4]);
        params.adds = &p.m[4].key_package;
        params.add_count = 1;
        assert_err(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &out, &staged), ERR_UNSUPPORTED);
        params.add_count = 0;
        commit_with(&p, 0, &params);
        params = (commit_params){.adds = &p.m[4].key_package, .add_count = 1};
        assert_err(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &out, &staged), ERR_UNSUPPORTED);
        /* Nor may a member forget what he could: by a path, by an Update. */
        leaf_params less = member_leaf(&p.m[1]);
        less.extension_types = less.proposal_types = less.credential_types = (u16_list){0};
        params = (commit_params){.leaf = &less};
        assert_err(group_stage_commit(p.m[1].group, &params, &p.m[1].arena, &out, &staged), ERR_UNSUPPORTED);
        assert_err(group_propose_update(p.m[1].group, &less, &p.m[1].arena, &message), ERR_UNSUPPORTED);
        heal(&p, 1);
        party_close(&p);
    }
}

static proposal_or_ref extensions_of(extension *list, size_t n) {
    proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS}};
    entry.proposal.extensions = (extension_list){list, n};
    return entry;
}

static void hostile_changes_of_extensions_are_refused(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, supports_all_types);
    static extension many[GROUP_EXTENSIONS_MAX + 1];
    extension x[2] = {{.type = GROUP_EXTENSION}, {.type = GROUP_EXTENSION}};
    proposal_or_ref list[2] = {extensions_of(x, 1), extensions_of(x, 1)};
    commit body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_PROPOSAL); /* no path */
    body.has_path = true;
    body.path.leaf = *ratchet_tree_leaf(&p.m[0].group->tree, 0);
    expect_refusal(&p, &body, ERR_INVALID); /* all well but the path */
    body.proposals.n = 2;
    expect_refusal(&p, &body, ERR_PROPOSAL); /* two of them */
    body.proposals.n = 1;
    list[0] = extensions_of(x, 2);
    expect_refusal(&p, &body, ERR_INVALID); /* one type twice */
    expect_proposal_refusal(&p, &list[0].proposal, ERR_INVALID);
    for (size_t i = 0; i <= GROUP_EXTENSIONS_MAX; i++)
        many[i].type = (uint16_t)(0xf300 + i);
    list[0] = extensions_of(many, GROUP_EXTENSIONS_MAX + 1);
    expect_refusal(&p, &body, ERR_LIMIT);
    static uint8_t long_demands[4 + 2 * (GROUP_EXTENSIONS_MAX + 1)];
    long_demands[0] = 0x40 | (2 * (GROUP_EXTENSIONS_MAX + 1)) >> 8;
    long_demands[1] = (2 * (GROUP_EXTENSIONS_MAX + 1)) & 0xff;
    x[0] = required(SPAN(long_demands));
    list[0] = extensions_of(x, 1);
    expect_refusal(&p, &body, ERR_LIMIT);
    heal(&p, 1);
    party_close(&p);
}

/* A path whose leaf does not support what the group has is refused by the others, whatever its maker's code says. */
static void a_path_and_an_update_must_support_the_extensions(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, supports_all_types);
    extension x = {.type = GROUP_EXTENSION};
    commit_with(&p, 0, &(commit_params){.extensions = &(extension_list){&x, 1}});
    group *g = p.m[0].group;
    leaf_params less = member_leaf(&p.m[0]);
    less.extension_types = (u16_list){0};
    kem_key_pair pair;
    leaf_node leaf;
    leaf_place place = {g->context->group_id, 0};
    span encoded;
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    assert_ok(leaf_node_from_params(suite_under_test, &less, &a, &leaf));
    leaf.encryption_key = span_of(pair.public_key, suite_under_test->kem_public_size);
    leaf.source = LEAF_COMMIT;
    assert_ok(leaf_node_sign(&g->signer, &leaf, &place, &a, &encoded));
    commit body = {.has_path = true, .path = {.leaf = leaf}};
    expect_refusal(&p, &body, ERR_UNSUPPORTED);
    leaf.source = LEAF_UPDATE;
    assert_ok(leaf_node_sign(&g->signer, &leaf, &place, &a, &encoded));
    proposal update = {.type = PROPOSAL_UPDATE};
    update.update = leaf;
    expect_proposal_refusal(&p, &update, ERR_UNSUPPORTED);
    arena_free(&a);
    heal(&p, 1);
    party_close(&p);
}

/* --- leaves (§7.2, §7.3, §13.5) --- */

static void grease_and_unknown_types_are_carried(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 3, supports_all_types);
    heal(&p, 1);
    const leaf_node *ben;
    assert_ok(group_member(p.m[2].group, 1, &ben));
    assert_true(u16_list_has(&ben->capabilities.extensions, 0x0a0a));
    assert_true(u16_list_has(&ben->capabilities.extensions, EXTENSION_LAST_RESORT));
    assert_int_equal(ben->capabilities.proposals.n, 2);
    assert_true(u16_list_has(&ben->capabilities.proposals, 0x1a1a));
    assert_int_equal(ben->capabilities.credentials.n, 4);
    assert_true(u16_list_has(&ben->capabilities.credentials, 0x2a2a));
    /* A leaf extension of an unknown type, listed. */
    extension grease = {.type = 0x3a3a, .data = span_text("grease")};
    leaf_params leaf = member_leaf(&p.m[0]);
    leaf.extensions = (extension_list){&grease, 1};
    commit_with(&p, 0, &(commit_params){.leaf = &leaf});
    const leaf_node *anna;
    assert_ok(group_member(p.m[1].group, 0, &anna));
    assert_span(extension_find(&anna->extensions, 0x3a3a)->data, span_text("grease"));
    party_close(&p);
}

static void certificates_of_x509_are_carried(void **state) {
    (void)state;
    party p;
    party_open_with(&p, 2, supports_all_types);
    span chain[] = {span_text("leaf certificate"), span_text("its issuer's")};
    credential x509 = {.type = CREDENTIAL_X509, .certificates = {chain, 2}};
    p.m[2].credential = &x509;
    member_make_key_package(&p.m[2]);
    commit_output out;
    staged_commit *staged;
    commit_params params = {.adds = &p.m[2].key_package, .add_count = 1};
    /* §7.3: he must understand the credentials that the others have. */
    assert_err(group_stage_commit(p.m[0].group, &params, &p.m[0].arena, &out, &staged), ERR_UNSUPPORTED);
    uint16_t basic[] = {CREDENTIAL_BASIC};
    p.m[2].credential_types = (u16_list){basic, 1};
    member_make_key_package(&p.m[2]);
    commit_with(&p, 0, &(commit_params){.adds = &p.m[2].key_package, .add_count = 1});
    const leaf_node *him;
    member_reload(&p.m[1]);
    assert_ok(group_member(p.m[1].group, 2, &him));
    assert_int_equal(him->credential.type, CREDENTIAL_X509);
    assert_int_equal(him->credential.certificates.n, 2);
    assert_span(him->credential.certificates.p[1], span_text("its issuer's"));
    heal(&p, 2);
    party_close(&p);
}

static void a_group_that_does_not_know_a_credential_type_lets_nobody_in_with_it(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    span chain[] = {span_text("leaf certificate")};
    credential x509 = {.type = CREDENTIAL_X509, .certificates = {chain, 1}};
    uint16_t basic[] = {CREDENTIAL_BASIC};
    p.m[2].credential = &x509;
    p.m[2].credential_types = (u16_list){basic, 1};
    member_make_key_package(&p.m[2]);
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    proposal_or_ref list[1] = {add_of(&p.m[2], &a)};
    commit body = commit_of(list, 1);
    expect_refusal(&p, &body, ERR_UNSUPPORTED);
    arena_free(&a);
    party_close(&p);
}

/* A leaf of m[3] with something wrong, in a key package that is signed rightly. */
static void expect_add_refusal(party *p, void (*spoil)(leaf_node *leaf, key_package *kp), err expected) {
    member *m = &p->m[3];
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    member_make_key_package(m);
    proposal_or_ref entry = add_of(m, &a);
    key_package *kp = &entry.proposal.add;
    span encoded, tbs;
    uint8_t signature[SIGNATURE_SIZE];
    spoil(&kp->leaf, kp);
    assert_ok(leaf_node_sign(&m->signer, &kp->leaf, NULL, &a, &encoded));
    assert_ok(WIRE_ENCODE(&a, wire_key_package_body, kp, &tbs));
    assert_ok(signature_sign_with_label(&m->signer, "KeyPackageTBS", tbs, &a, signature));
    kp->signature = SPAN(signature);
    commit body = commit_of(&entry, 1);
    expect_refusal(p, &body, expected);
    expect_proposal_refusal(p, &entry.proposal, expected == ERR_CONFIRMATION ? OK : expected);
    arena_free(&a);
}

static extension two_extensions[2] = {{.type = EXTENSION_APPLICATION_ID}, {.type = EXTENSION_APPLICATION_ID}};
static uint16_t other_number[] = {0xf111};

static void spoil_leaf_extension_unlisted(leaf_node *leaf, key_package *kp) {
    (void)kp;
    static extension unlisted = {.type = MEMBER_EXTENSION};
    leaf->extensions = (extension_list){&unlisted, 1};
}
static void spoil_leaf_extension_twice(leaf_node *leaf, key_package *kp) {
    (void)kp;
    leaf->extensions = (extension_list){two_extensions, 2};
}
static void spoil_kp_extension_twice(leaf_node *leaf, key_package *kp) {
    (void)leaf;
    kp->extensions = (extension_list){two_extensions, 2};
}
static void spoil_kp_extension_unlisted(leaf_node *leaf, key_package *kp) {
    (void)leaf;
    static extension unlisted = {.type = MEMBER_EXTENSION};
    kp->extensions = (extension_list){&unlisted, 1};
}
static void spoil_versions(leaf_node *leaf, key_package *kp) {
    (void)kp;
    leaf->capabilities.versions = (u16_list){other_number, 1};
}
static void spoil_suites(leaf_node *leaf, key_package *kp) {
    (void)kp;
    leaf->capabilities.cipher_suites = (u16_list){other_number, 1};
}
static void spoil_credentials(leaf_node *leaf, key_package *kp) {
    (void)kp;
    leaf->capabilities.credentials = (u16_list){other_number, 1};
}
static void spoil_init_key_same(leaf_node *leaf, key_package *kp) { kp->init_key = leaf->encryption_key; }
static void spoil_init_key_short(leaf_node *leaf, key_package *kp) {
    (void)leaf;
    kp->init_key.n--;
}
static void spoil_encryption_key_short(leaf_node *leaf, key_package *kp) {
    (void)kp;
    leaf->encryption_key.n--;
}
static void spoil_source(leaf_node *leaf, key_package *kp) {
    (void)kp;
    leaf->source = LEAF_UPDATE;
}
static void spoil_version(leaf_node *leaf, key_package *kp) {
    (void)leaf;
    kp->version = 2;
}
static void spoil_lifetime(leaf_node *leaf, key_package *kp) {
    (void)kp;
    uint64_t before = leaf->lifetime.not_before;
    leaf->lifetime.not_before = leaf->lifetime.not_after;
    leaf->lifetime.not_after = before;
}

static void hostile_key_packages_are_refused(void **state) {
    (void)state;
    static const struct {
        void (*spoil)(leaf_node *leaf, key_package *kp);
        err expected;
    } cases[] = {
        {spoil_leaf_extension_unlisted, ERR_UNSUPPORTED},
        {spoil_leaf_extension_twice, ERR_INVALID},
        {spoil_kp_extension_twice, ERR_INVALID},
        {spoil_kp_extension_unlisted, ERR_UNSUPPORTED},
        {spoil_versions, ERR_UNSUPPORTED},
        {spoil_suites, ERR_UNSUPPORTED},
        {spoil_credentials, ERR_UNSUPPORTED},
        {spoil_init_key_same, ERR_DUPLICATE_KEY},
        {spoil_init_key_short, ERR_KEY},
        {spoil_encryption_key_short, ERR_KEY},
        {spoil_source, ERR_INVALID},
        {spoil_version, ERR_UNSUPPORTED},
        {spoil_lifetime, ERR_INVALID},
    };
    party p;
    party_open(&p, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_add_refusal(&p, cases[i].spoil, cases[i].expected);
    heal(&p, 1);
    party_close(&p);
}

/* --- an Update to another signature key --- */

static void an_update_may_bring_a_new_signature_key(void **state) {
    (void)state;
    for (int reload = 0; reload < 2; reload++) {
        party p;
        party_open(&p, 3);
        member fresh;
        member_init(&fresh, suite_under_test, "ben");
        leaf_params leaf = member_leaf(&fresh);
        span update;
        assert_ok(group_propose_update(p.m[1].group, &leaf, &p.m[1].arena, &update));
        deliver_proposal(&p, &p.m[1], update);
        if (reload)
            member_reload(&p.m[1]);
        commit_with(&p, 0, &(commit_params){.use_proposals = true});
        p.m[1].signer = fresh.signer;
        if (reload)
            member_reload(&p.m[1]);
        span text = say(&p.m[1], "with the new key");
        assert_ok(hear(&p.m[2], text, "with the new key"));
        heal(&p, 1);
        drop(text);
        member_free(&fresh);
        party_close(&p);
    }
}

/* --- what other versions wrote --- */

/* Rewrites the GROUP record as version 1 had it: without joined epoch and ReInit. */
static void a_group_of_version_one_is_read(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    memory_record *r = NULL;
    for (size_t i = 0; i < p.m[1].records.count; i++)
        if (p.m[1].records.all[i].key.kind == RECORD_GROUP)
            r = &p.m[1].records.all[i];
    assert_non_null(r);
    assert_int_equal(r->value[0], 2);
    r->value[0] = 1;
    r->size -= 8 + 1;
    member_reload(&p.m[1]);
    assert_null(group_re_init(p.m[1].group));
    span text = say(&p.m[0], "hello");
    assert_ok(hear(&p.m[1], text, "hello"));
    heal(&p, 1);
    member_reload(&p.m[1]);
    heal(&p, 0);
    drop(text);
    r = NULL;
    for (size_t i = 0; i < p.m[1].records.count; i++)
        if (p.m[1].records.all[i].key.kind == RECORD_GROUP)
            r = &p.m[1].records.all[i];
    for (int version = 0; version < 4; version += 3) {
        r->value[0] = (uint8_t)version;
        group *g;
        assert_err(group_load(&p.m[1].host, &p.m[1].signer, &p.m[1].arena, &g), ERR_STORE_NEWER);
    }
    party_close(&p);
}

static void refusals_are_counted_by_their_limit(void **state) {
    (void)state;
    party p;
    party_open(&p, 2);
    const group_refusals *n = group_count_refusals(p.m[1].group);
    span first = say(&p.m[0], "first"), last = SPAN_NONE;
    for (unsigned i = 0; i < GROUP_FORWARD_GENERATIONS; i++) {
        drop(last);
        last = say(&p.m[0], "last");
    }
    span beyond = say(&p.m[0], "beyond");
    assert_err(hear(&p.m[1], beyond, ""), ERR_TOO_FAR_AHEAD);
    assert_int_equal(n->too_far_ahead, 1);
    assert_ok(hear(&p.m[1], last, "last"));
    assert_err(hear(&p.m[1], first, ""), ERR_KEY_DROPPED);
    assert_int_equal(n->key_dropped, 1);
    heal(&p, 0);
    p.m[1].now += GROUP_PAST_EPOCH_MS + 1;
    assert_err(hear(&p.m[1], last, ""), ERR_EPOCH_EXPIRED);
    assert_int_equal(n->epoch_expired, 1);
    for (int i = 0; i < GROUP_PAST_EPOCHS; i++)
        heal(&p, 0);
    assert_err(hear(&p.m[1], last, ""), ERR_EPOCH_GONE);
    assert_int_equal(n->epoch_gone, 1);
    assert_int_equal(n->too_far_ahead + n->key_dropped + n->epoch_expired, 3);
    drop(first);
    drop(last);
    drop(beyond);
    party_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_is_created_with_extensions_that_its_creator_supports),
        cmocka_unit_test(known_extensions_must_be_well_formed),
        cmocka_unit_test(extensions_are_replaced_as_a_whole),
        cmocka_unit_test(one_proposal_of_several_is_committed),
        cmocka_unit_test(every_member_who_stays_or_comes_must_support_them),
        cmocka_unit_test(hostile_changes_of_extensions_are_refused),
        cmocka_unit_test(a_path_and_an_update_must_support_the_extensions),
        cmocka_unit_test(grease_and_unknown_types_are_carried),
        cmocka_unit_test(certificates_of_x509_are_carried),
        cmocka_unit_test(a_group_that_does_not_know_a_credential_type_lets_nobody_in_with_it),
        cmocka_unit_test(hostile_key_packages_are_refused),
        cmocka_unit_test(an_update_may_bring_a_new_signature_key),
        cmocka_unit_test(a_group_of_version_one_is_read),
        cmocka_unit_test(refusals_are_counted_by_their_limit),
    };
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_extensions xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    return failures + cmocka_run_group_tests_name("mls_extensions x25519", tests, NULL, NULL);
}
