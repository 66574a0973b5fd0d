/* mls_party.h: up to eight members of one group for tests, what they do to each other, and messages that break the rules.
 * The including test sets suite_under_test. */
#ifndef SUPPORT_MLS_PARTY_H
#define SUPPORT_MLS_PARTY_H

#include "mls/group_state.h"
#include "mls/key_package.h"
#include "support/check.h"
#include "support/mls_member.h"

static const suite *suite_under_test;

#define MAX 8
typedef struct party {
    member m[MAX];
    size_t n;
} party;

static inline void everyone_agrees(party *p) {
    for (size_t i = 1; i < p->n; i++)
        if (p->m[i].group != NULL && p->m[0].group != NULL)
            assert_span(group_epoch_authenticator(p->m[i].group), group_epoch_authenticator(p->m[0].group));
}

/* m[0] creates the group and adds the others in one commit; leaf i is m[i]'s. `equip` is called for each of the eight before. */
static inline void party_open_with(party *p, size_t n, void (*equip)(member *m)) {
    *p = (party){.n = n};
    static const char *const names[MAX] = {"anna", "ben", "cleo", "dan", "eva", "finn", "gil", "hana"};
    span adds[MAX];
    for (size_t i = 0; i < MAX; i++) {
        member_init(&p->m[i], suite_under_test, names[i]);
        if (equip != NULL)
            equip(&p->m[i]);
    }
    member_create_group(&p->m[0], "party");
    for (size_t i = 1; i < n; i++) {
        member_make_key_package(&p->m[i]);
        adds[i - 1] = p->m[i].key_package;
    }
    if (n < 2)
        return;
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p->m[0].group, &(commit_params){.adds = adds, .add_count = n - 1}, &p->m[0].arena,
                                 &out, &staged));
    assert_ok(group_merge_commit(p->m[0].group, staged, &p->m[0].arena));
    for (size_t i = 1; i < n; i++)
        assert_ok(member_join(&p->m[i], out.welcome, SPAN_NONE));
    everyone_agrees(p);
    member_reset(&p->m[0]);
}

static inline void party_open(party *p, size_t n) { party_open_with(p, n, NULL); }

static inline void party_close(party *p) {
    for (size_t i = 0; i < MAX; i++)
        member_free(&p->m[i]);
}

static inline span say(member *m, const char *text) {
    span message;
    assert_ok(group_protect(m->group, span_text(text), SPAN_NONE, &m->arena, &message));
    message = keep(message);
    member_reset(m);
    return message;
}

static inline err hear(member *m, span message, const char *text) {
    incoming in;
    err e = group_process(m->group, message, &m->arena, &in);
    if (e == OK) {
        assert_int_equal(in.kind, INCOMING_APPLICATION);
        assert_span(in.plaintext, span_text(text));
    }
    member_reset(m);
    return e;
}

static inline void drop(span s) { free((void *)(uintptr_t)s.p); }

/* Merges one's own and has all others (but `except`) process it. The Welcome goes to who has a key package and no group. */
static inline void deliver(party *p, member *from, const commit_output *out, staged_commit *staged) {
    for (size_t i = 0; i < MAX; i++) {
        member *m = &p->m[i];
        incoming in;
        if (m == from || m->group == NULL)
            continue;
        assert_ok(group_process(m->group, out->commit, &m->arena, &in));
        bool gone = staged_commit_removes_us(in.staged);
        assert_ok(group_merge_commit(m->group, in.staged, &m->arena));
        member_reset(m);
        if (gone) {
            group_close(m->group);
            m->group = NULL;
            memory_records_free(&m->records);
        }
    }
    assert_ok(group_merge_commit(from->group, staged, &from->arena));
    for (size_t i = 0; out->welcome.n > 0 && i < MAX; i++) {
        member *m = &p->m[i];
        if (m->group == NULL && m->key_package.n > 0)
            (void)!member_join(m, out->welcome, SPAN_NONE);
    }
    member_reset(from);
    everyone_agrees(p);
}

static inline void commit_with(party *p, size_t who, const commit_params *params) {
    commit_output out;
    staged_commit *staged;
    member *m = &p->m[who];
    assert_ok(group_stage_commit(m->group, params, &m->arena, &out, &staged));
    deliver(p, m, &out, staged);
}

static inline void heal(party *p, size_t who) { commit_with(p, who, &(commit_params){.force_path = true}); }

/* --- hostile commits: rightly signed and encrypted, wrong in what they say --- */

/* Signed with our key, whatever it says; `sealed`: a PrivateMessage. */
static inline span send_content(member *m, framed_content *content, bool sealed, span context) {
    group *g = m->group;
    uint8_t tag[HASH_MAX] = {0};
    framed_content_auth auth = {.content_type = content->type, .confirmation_tag = span_of(tag, g->suite->hash_size)};
    framed_tbs tbs;
    secret_tree_step step;
    span message;
    ratchet_kind kind = content->type == CONTENT_APPLICATION ? RATCHET_APPLICATION : RATCHET_HANDSHAKE;
    assert_ok(framing_tbs(sealed ? FORMAT_PRIVATE_MESSAGE : FORMAT_PUBLIC_MESSAGE, content, context, &m->arena, &tbs));
    assert_ok(framing_sign(&m->signer, &tbs, &m->arena, &auth));
    if (!sealed) {
        assert_ok(framing_protect_public(g->suite, secret_span(&g->secrets.membership_key), content, &tbs, &auth,
                                         &m->arena, &message));
        return message;
    }
    assert_ok(secret_tree_prepare_next(&g->messages, g->own_leaf, kind, &m->arena, &step));
    assert_ok(framing_protect_private(g->suite, secret_span(&g->secrets.sender_data), &step, content, &auth, &m->arena,
                                      &message));
    assert_ok(secret_tree_accept(&g->messages, &step, &m->arena));
    return message;
}

static inline framed_content content_of(const member *m, content_type type) {
    const group *g = m->group;
    return (framed_content){
        .group_id = g->context->group_id,
        .epoch = g->context->epoch,
        .sender = {.type = SENDER_MEMBER, .leaf = g->own_leaf},
        .type = (uint8_t)type,
    };
}

static inline span hostile(member *m, const commit *body) {
    framed_content content = content_of(m, CONTENT_COMMIT);
    content.commit = *body;
    return send_content(m, &content, true, m->group->context->encoded);
}

/* m must refuse the message with that error, and nothing may have changed there. */
static inline void expect_refused(member *m, span message, err expected) {
    memory_records before = {0};
    memory_records_copy(&before, &m->records);
    incoming in;
    assert_ok(group_load_proposals(m->group, &m->arena));
    size_t proposals = m->group->proposal_count;
    assert_err(group_process(m->group, message, &m->arena, &in), expected);
    assert_true(memory_records_equal(&before, &m->records));
    assert_int_equal(m->group->proposal_count, proposals);
    memory_records_free(&before);
    member_reset(m);
}

/* m[0] sends it; m[1] must refuse it. */
static inline void expect_refusal(party *p, const commit *body, err expected) {
    expect_refused(&p->m[1], hostile(&p->m[0], body), expected);
    member_reset(&p->m[0]);
}

/* The same for a proposal by itself. */
static inline void expect_proposal_refusal(party *p, const proposal *body, err expected) {
    framed_content content = content_of(&p->m[0], CONTENT_PROPOSAL);
    content.proposal = *body;
    expect_refused(&p->m[1], send_content(&p->m[0], &content, true, p->m[0].group->context->encoded), expected);
    member_reset(&p->m[0]);
}

/* Everybody in the group but its sender takes a message in. */
static inline void deliver_proposal(party *p, member *from, span message) {
    incoming in;
    message = keep(message);
    for (size_t i = 0; i < MAX; i++) {
        member *m = &p->m[i];
        if (m == from || m->group == NULL)
            continue;
        assert_ok(group_process(m->group, message, &m->arena, &in));
        assert_int_equal(in.kind, INCOMING_PROPOSAL);
        member_reload(m);
    }
    drop(message);
    if (from != NULL)
        member_reset(from);
}

static inline proposal_or_ref remove_of(uint32_t leaf) {
    proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_REMOVE}};
    entry.proposal.remove = leaf;
    return entry;
}

static inline commit commit_of(proposal_or_ref *list, size_t n) { return (commit){.proposals = {list, n}}; }

static inline proposal_or_ref add_of(member *m, arena *a) {
    proposal_or_ref entry = {.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_ADD}};
    assert_ok(WIRE_DECODE(m->key_package, a, wire_key_package, &entry.proposal.add));
    return entry;
}

#endif
