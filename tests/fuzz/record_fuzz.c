/* What a group reads from its own store (core/mls/group_state.c): its records, and a commit of its own that was saved. They
 * come from encrypted, authenticated pages, so whoever damages them has the key or a broken disk: what must hold is that
 * it ends in an error or in a group that can be used, and never in a crash.
 *
 * Byte 0: which record, or the saved commit; then changes of 4 bytes: offset (2), what (0: xor, 1: set, 2: cut here, 3: a byte
 * more), value. */
#include "fuzz.h"

#include <string.h>

#include "mls/group_state.h"
#include "support/host.h"
#include "support/mls_member.h"

enum { MEMBERS = 4, CHANGE = 4 };

static member people[MEMBERS];
static memory_records saved; /* of the last one */
static span saved_commit, message, others_commit;

#define MUST(expression) REQUIRE((expression) == OK)

static span commit_of(member *m, bool merge) {
    commit_output out;
    staged_commit *staged;
    MUST(group_stage_commit(m->group, &(commit_params){.force_path = true}, &m->arena, &out, &staged));
    span commit = keep(out.commit);
    if (merge)
        MUST(group_merge_commit(m->group, staged, &m->arena));
    else
        group_drop_commit(m->group, staged);
    member_reset(m);
    return commit;
}

static void process(member *m, span bytes) {
    incoming in;
    MUST(group_process(m->group, bytes, &m->arena, &in));
    if (in.kind == INCOMING_COMMIT)
        MUST(group_merge_commit(m->group, in.staged, &m->arena));
    member_reset(m);
}

/* A group with a past epoch, ratchets in use and a proposal that waits. */
static void make_group(void) {
    static const char *const names[MEMBERS] = {"anna", "ben", "cleo", "dan"};
    span adds[MEMBERS];
    for (size_t i = 0; i < MEMBERS; i++) {
        member_init(&people[i], suite_find(SUITE_X25519), names[i]);
        member_make_key_package(&people[i]);
        adds[i] = people[i].key_package;
    }
    member *anna = &people[0], *last = &people[MEMBERS - 1];
    commit_output out;
    staged_commit *staged;
    member_create_group(anna, "kept");
    MUST(group_stage_commit(anna->group, &(commit_params){.adds = adds + 1, .add_count = MEMBERS - 1}, &anna->arena,
                            &out, &staged));
    MUST(group_merge_commit(anna->group, staged, &anna->arena));
    for (size_t i = 1; i < MEMBERS; i++)
        MUST(member_join(&people[i], out.welcome, SPAN_NONE));
    member_reset(anna);
    for (size_t i = 0; i < 2; i++) {
        span commit = commit_of(&people[i], true);
        for (size_t k = 0; k < MEMBERS; k++)
            if (k != i)
                process(&people[k], commit);
        free((void *)(uintptr_t)commit.p);
    }
    span proposal, text;
    MUST(group_propose_update(people[1].group, NULL, &people[1].arena, &proposal));
    process(last, proposal);
    MUST(group_protect(anna->group, span_text("one"), SPAN_NONE, &anna->arena, &text));
    process(last, text);
    MUST(group_protect(anna->group, span_text("two"), SPAN_NONE, &anna->arena, &text));
    message = keep(text);
    others_commit = commit_of(anna, false);
    MUST(group_stage_commit(last->group, &(commit_params){.force_path = true}, &last->arena, &out, &staged));
    MUST(staged_commit_save(staged, &last->arena, &text));
    saved_commit = keep(text);
    group_drop_commit(last->group, staged);
    memory_records_copy(&saved, &last->records);
    group_close(last->group);
    last->group = NULL;
    member_reset(last);
}

static span damaged(span s, const uint8_t *data, size_t size) {
    size_t n = s.n, limit = s.n + size;
    uint8_t *p = malloc(limit + 1);
    REQUIRE(p != NULL);
    if (n > 0)
        memcpy(p, s.p, n);
    for (; size >= CHANGE && n > 0; data += CHANGE, size -= CHANGE) {
        size_t at = (data[0] | (size_t)data[1] << 8) % n;
        switch (data[2] % 4) {
        case 0: p[at] ^= data[3]; break;
        case 1: p[at] = data[3]; break;
        case 2: n = at; break;
        default:
            memmove(p + at + 1, p + at, n - at);
            p[at] = data[3];
            n += n < limit;
        }
    }
    span exact = keep(span_of(p, n));
    free(p);
    return exact;
}

/* All that reads records, whatever it says. */
static void use(member *m) {
    incoming in;
    commit_output out;
    staged_commit *staged;
    const leaf_node *leaf;
    span bytes;
    for (uint32_t i = 0; i < 8; i++)
        (void)!group_member(m->group, i, &leaf);
    (void)!group_process(m->group, message, &m->arena, &in);
    (void)!group_protect(m->group, span_text("mine"), SPAN_NONE, &m->arena, &bytes);
    (void)!group_write_tree(m->group, &m->arena, &bytes);
    if (group_stage_commit(m->group, &(commit_params){.use_proposals = true}, &m->arena, &out, &staged) == OK)
        group_drop_commit(m->group, staged);
    if (group_process(m->group, others_commit, &m->arena, &in) == OK)
        (void)!group_merge_commit(m->group, in.staged, &m->arena);
    (void)!group_expire(m->group);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    if (!made) {
        crypto_init();
        host_seed_random(1);
        make_group();
        made = true;
    }
    if (size == 0)
        return 0;
    host_seed_random(2);
    member *m = &people[MEMBERS - 1];
    memory_records_copy(&m->records, &saved);
    size_t which = data[0] % (saved.count + 1);
    if (which < saved.count) {
        memory_record *r = &m->records.all[which];
        span bytes = damaged(span_of(r->value, r->size), data + 1, size - 1);
        free(r->value);
        r->value = (uint8_t *)(uintptr_t)bytes.p;
        r->size = bytes.n;
    }
    if (group_load(&m->host, &m->signer, &m->arena, &m->group) != OK) {
        m->group = NULL;
    } else if (which < saved.count) {
        use(m);
    } else {
        staged_commit *staged;
        span bytes = damaged(saved_commit, data + 1, size - 1);
        if (staged_commit_restore(m->group, bytes, &m->arena, &staged) == OK) {
            uint32_t leaves[8];
            (void)staged_commit_added(staged, leaves, 8);
            (void)!group_merge_commit(m->group, staged, &m->arena);
        }
        free((void *)(uintptr_t)bytes.p);
    }
    group_close(m->group);
    m->group = NULL;
    member_reset(m);
    return 0;
}

/* Whole changes, at all places alike: records are longer than most inputs. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    size_t limit = (max_size - 1) / CHANGE, n = size > 0 ? (size - 1) / CHANGE : 0;
    if (max_size < 1 + CHANGE)
        return size;
    if (size == 0)
        data[0] = 0;
    uint32_t random = seed * 2654435761u;
    if (n > limit)
        n = limit;
    if (random % 4 == 0 || n == 0) {
        n += n < limit;
        uint8_t *p = data + 1 + (n - 1) * CHANGE;
        p[0] = (uint8_t)(random >> 8);
        p[1] = (uint8_t)(random >> 16) & 7;
        p[2] = (uint8_t)(random >> 20);
        p[3] = (uint8_t)(random >> 24);
    } else if (random % 4 == 1) {
        data[0] = (uint8_t)(random >> 8);
    } else if (random % 4 == 2) {
        n -= n > 1;
    } else {
        (void)LLVMFuzzerMutate(data, 1 + n * CHANGE, 1 + n * CHANGE);
    }
    return 1 + n * CHANGE;
}
