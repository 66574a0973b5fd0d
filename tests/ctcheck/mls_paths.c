/* mls_paths.c: core/mls with the members' entropy secret, and so every key that follows from it. Records are in memory
 * and keep the marks: what a group loads from them is as secret as what it saved. */
#if __has_include(<valgrind/memcheck.h>)
#include "crypto/random.h"
#include "ctcheck.h"
#include "mls/framing.h"
#include "mls/group_state.h"
#include "support/mls_member.h"

static void must_be_secret_epoch(const group *g) {
    const epoch_secrets *e = &g->secrets;
    const secret *all[] = {&e->sender_data,
                           &e->exporter,
                           &e->external,
                           &e->confirmation_key,
                           &e->membership_key,
                           &e->resumption_psk,
                           &e->epoch_authenticator,
                           &e->init};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        must_be_secret(all[i]->b, all[i]->n);
    for (unsigned level = 0; level < TREE_MAX_PATH; level++)
        if (g->keys.known[level])
            must_be_secret(g->keys.keys[level], KEM_PRIVATE_SIZE);
}

/* --- the parts by themselves --- */

static void key_schedule(const suite *s) {
    arena a;
    MUST(arena_init(&a, 1 << 16) == OK);
    secret init = {.n = s->hash_size}, commit = init, psk = init, joiner, welcome;
    random_bytes(init.b, init.n);
    random_bytes(commit.b, commit.n);
    uint8_t psks[2][32], key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE];
    random_bytes(psks, sizeof psks);
    const psk_id ids[2] = {{.type = PSK_EXTERNAL, .external_id = span_text("one"), .nonce = span_text("n")},
                           {.type = PSK_EXTERNAL, .external_id = span_text("two"), .nonce = span_text("n")}};
    const span values[2] = {SPAN(psks[0]), SPAN(psks[1])};
    MUST(key_schedule_psk(s, ids, values, 2, &a, &psk) == OK);
    must_be_secret(psk.b, psk.n);
    MUST(key_schedule_joiner(s, secret_span(&init), secret_span(&commit), span_text("context"), &joiner) == OK);
    must_be_secret(joiner.b, joiner.n);
    epoch_secrets epoch;
    MUST(key_schedule_epoch(s, secret_span(&joiner), secret_span(&psk), span_text("context"), &welcome, &epoch) == OK);
    must_be_secret(epoch.init.b, epoch.init.n);
    MUST(key_schedule_welcome_key(s, secret_span(&welcome), key, nonce) == OK);
    must_be_secret(key, sizeof key);
    uint8_t exported[32];
    MUST(key_schedule_export(s, secret_span(&epoch.exporter), "label", span_text("context"), exported, 32) == OK);
    must_be_secret(exported, sizeof exported);
    kem_key_pair pair;
    MUST(key_schedule_external(s, secret_span(&epoch.external), &pair) == OK);
    must_be_secret(pair.private_key, sizeof pair.private_key);
    arena_free(&a);
}

static void confirmation_and_membership_tags(const suite *s) {
    arena a;
    MUST(arena_init(&a, 1 << 16) == OK);
    secret key = {.n = s->hash_size};
    random_bytes(key.b, key.n);
    uint8_t tag[HASH_MAX];
    confirmation_tag_make(s, secret_span(&key), span_text("transcript"), tag);
    MUST(confirmation_tag_check(s, secret_span(&key), span_text("transcript"), span_of(tag, s->hash_size)) == OK);
    tag[0] ^= 1;
    MUST(confirmation_tag_check(s, secret_span(&key), span_text("transcript"), span_of(tag, s->hash_size)) ==
         ERR_CONFIRMATION);
    framed_tbs tbs = {.bytes = span_text("to be signed")};
    framed_content_auth auth = {.content_type = CONTENT_PROPOSAL, .signature = span_text("signature")};
    MUST(framing_check_membership(s, secret_span(&key), &tbs, &auth, span_of(tag, s->hash_size), &a) ==
         ERR_MEMBERSHIP_TAG);
    arena_free(&a);
}

static void secret_tree_ratchets(const suite *s) {
    arena a;
    MUST(arena_init(&a, 1 << 20) == OK);
    memory_records kept = {0};
    group_records records = memory_records_interface(&kept);
    secret encryption = {.n = s->hash_size};
    random_bytes(encryption.b, encryption.n);
    secret_tree t;
    secret_tree_step step;
    MUST(secret_tree_init(&t, s, &records, 3, 8, &encryption, &a) == OK);
    static const uint32_t generations[] = {0, 5, 2, 6}; /* in order, ahead, late */
    for (size_t i = 0; i < 4; i++) {
        MUST(secret_tree_prepare(&t, 5, RATCHET_APPLICATION, generations[i], &a, &step) == OK);
        must_be_secret(step.key, sizeof step.key);
        must_be_secret(step.nonce, sizeof step.nonce);
        MUST(secret_tree_accept(&t, &step, &a) == OK);
        if (i == 1) { /* again from the records */
            secret_tree_wipe(&t);
            secret_tree_attach(&t, s, &records, 3, 8);
        }
    }
    MUST(secret_tree_end_epoch(&t, 0, &a) == OK);
    secret_tree_wipe(&t);
    memory_records_free(&kept);
    arena_free(&a);
}

/* --- a whole life --- */

#define MEMBERS 4

typedef struct life {
    member m[MEMBERS];
} life;

/* One that all have, out of band. */
static err find_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    static const uint8_t word[32] = {3, 1, 4, 1, 5};
    (void)ctx, (void)id;
    TRY(arena_copy(a, SPAN(word), value));
    SECRET((void *)(uintptr_t)value->p, value->n);
    return OK;
}

/* `open`: handshakes as PublicMessages, with membership tags. */
static life *begin(const suite *s, bool open) {
    static const char *const names[] = {"anna", "ben", "cleo", "dora"};
    life *l = calloc(1, sizeof *l);
    MUST(l != NULL);
    for (size_t i = 0; i < MEMBERS; i++) {
        member_init(&l->m[i], s, names[i]);
        l->m[i].host.find_psk = find_psk;
        l->m[i].host.public_handshakes = open;
    }
    member_create_group(&l->m[0], "group");
    must_be_secret_epoch(l->m[0].group);
    return l;
}

static void end(life *l) {
    for (size_t i = 0; i < MEMBERS; i++)
        member_free(&l->m[i]);
    free(l);
}

/* One commits, saved and restored in between; all others who are in process it; those who are added join. */
static void make_commit(life *l, size_t by, const commit_params *params) {
    member *m = &l->m[by];
    commit_output out;
    staged_commit *staged;
    span saved;
    MUST(group_stage_commit(m->group, params, &m->arena, &out, &staged) == OK);
    MUST(staged_commit_save(staged, &m->arena, &saved) == OK);
    saved = keep(saved);
    span message = keep(out.commit), welcome = keep(out.welcome);
    group_drop_commit(m->group, staged);
    member_reload(m);
    MUST(staged_commit_restore(m->group, saved, &m->arena, &staged) == OK);
    MUST(group_merge_commit(m->group, staged, &m->arena) == OK);
    must_be_secret_epoch(m->group);
    member_reset(m);
    for (size_t i = 0; i < MEMBERS; i++) {
        member *other = &l->m[i];
        if (i == by || other->group == NULL)
            continue;
        incoming in;
        MUST(group_process(other->group, message, &other->arena, &in) == OK && in.kind == INCOMING_COMMIT);
        bool gone = staged_commit_removes_us(in.staged);
        MUST(group_merge_commit(other->group, in.staged, &other->arena) == OK);
        if (!gone)
            must_be_secret_epoch(other->group);
        member_reset(other);
        if (gone) {
            group_close(other->group);
            other->group = NULL;
        }
    }
    for (size_t i = 0; welcome.n > 0 && i < MEMBERS; i++) {
        if (l->m[i].group != NULL || l->m[i].key_package.n == 0)
            continue;
        MUST(member_join(&l->m[i], welcome, SPAN_NONE) == OK);
        must_be_secret_epoch(l->m[i].group);
    }
    free((void *)(uintptr_t)saved.p);
    free((void *)(uintptr_t)message.p);
    free((void *)(uintptr_t)welcome.p);
}

static void add(life *l, size_t members) {
    span adds[MEMBERS - 1];
    for (size_t i = 1; i < members; i++) {
        member_make_key_package(&l->m[i]);
        must_be_secret(l->m[i].secrets.init_key, KEM_PRIVATE_SIZE);
        adds[i - 1] = l->m[i].key_package;
    }
    make_commit(l, 0, &(commit_params){.adds = adds, .add_count = members - 1, .force_path = true});
}

static void say(life *l, size_t from) {
    member *m = &l->m[from];
    char text[100] = "How are you?";
    span message;
    SECRET(text, sizeof text);
    MUST(group_protect(m->group, span_of(text, sizeof text), SPAN_NONE, &m->arena, &message) == OK);
    for (size_t i = 0; i < MEMBERS; i++) {
        member *other = &l->m[i];
        incoming in;
        if (i == from || other->group == NULL)
            continue;
        member_reload(other);
        MUST(group_process(other->group, message, &other->arena, &in) == OK);
        MUST(in.plaintext.n == sizeof text && group_process(other->group, message, &other->arena, &in) == ERR_REPLAY);
        member_reset(other);
    }
    member_reset(m);
}

static void welcome_and_messages(const suite *s) {
    life *l = begin(s, false);
    add(l, MEMBERS);
    say(l, 0);
    say(l, 3);
    end(l);
}

/* Paths: path secrets sealed, opened, climbed. */
static void updates_and_removals(const suite *s) {
    life *l = begin(s, false);
    add(l, MEMBERS);
    make_commit(l, 2, &(commit_params){.force_path = true});
    say(l, 1);
    member *b = &l->m[1];
    span proposal;
    MUST(group_propose_update(b->group, NULL, &b->arena, &proposal) == OK);
    proposal = keep(proposal);
    for (size_t i = 0; i < MEMBERS; i++) {
        incoming in;
        if (i != 1)
            MUST(group_process(l->m[i].group, proposal, &l->m[i].arena, &in) == OK);
    }
    free((void *)(uintptr_t)proposal.p);
    make_commit(l, 3, &(commit_params){.use_proposals = true});
    uint32_t gone = group_own_leaf(l->m[2].group);
    l->m[2].key_package = SPAN_NONE;
    make_commit(l, 0, &(commit_params){.removes = &gone, .remove_count = 1});
    say(l, 3);
    end(l);
}

static void psks(const suite *s) {
    life *l = begin(s, false);
    add(l, 3);
    const psk_id ids[] = {{.type = PSK_EXTERNAL, .external_id = span_text("word")},
                          {.type = PSK_RESUMPTION,
                           .usage = PSK_USAGE_APPLICATION,
                           .group_id = span_text("group"),
                           .epoch = group_epoch(l->m[0].group)}};
    make_commit(l, 1, &(commit_params){.psks = ids, .psk_count = 2});
    say(l, 2);
    end(l);
}

static void external_joins_and_membership_tags(const suite *s) {
    life *l = begin(s, true);
    add(l, 3);
    make_commit(l, 1, &(commit_params){.force_path = true});
    member *dora = &l->m[3];
    leaf_params leaf = member_leaf(dora);
    span info, entry;
    MUST(group_make_info(l->m[0].group, true, &l->m[0].arena, &info) == OK);
    MUST(group_join_external(&dora->host, &(external_join_params){.group_info = info, .leaf = &leaf}, &dora->arena,
                             &entry, &dora->group) == OK);
    must_be_secret_epoch(dora->group);
    for (size_t i = 0; i < 3; i++) {
        member *m = &l->m[i];
        incoming in;
        member_reload(m);
        MUST(group_process(m->group, entry, &m->arena, &in) == OK && in.kind == INCOMING_COMMIT);
        MUST(group_merge_commit(m->group, in.staged, &m->arena) == OK);
        must_be_secret_epoch(m->group);
        member_reset(m);
    }
    member_reset(dora);
    say(l, 3);
    uint8_t exported[32];
    MUST(group_export_secret(dora->group, "label", span_text("context"), exported, sizeof exported) == OK);
    must_be_secret(exported, sizeof exported);
    end(l);
}

const path mls_paths[] = {
    {"key schedule, psk_secret, exporter", key_schedule, true},
    {"confirmation and membership tags", confirmation_and_membership_tags, true},
    {"secret tree and ratchets, in records", secret_tree_ratchets, true},
    {"a group: commit, Welcome, messages, records", welcome_and_messages, true},
    {"a group: paths, Update, Remove, saved commits", updates_and_removals, true},
    {"a group: PSKs", psks, true},
    {"a group: external join, membership tags, exporter", external_joins_and_membership_tags, true},
    {0},
};
#endif
