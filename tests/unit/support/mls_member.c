#include "support/mls_member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/random.h"

#define ARENA_SIZE (24u << 20)

/* Without cmocka, so that fuzzers and benchmarks can use members too. */
static void must(err e, const char *what) {
    if (e == OK)
        return;
    fprintf(stderr, "mls_member: %s: %s\n", what, err_name(e));
    abort();
}
#define MUST(expression) must((expression), #expression)

static uint64_t member_now(void *ctx) { return ((member *)ctx)->now; }

void member_init(member *m, const suite *s, const char *name) {
    *m = (member){.suite = s, .now = MEMBER_NOW_MS};
    strncpy(m->name, name, sizeof m->name - 1);
    uint8_t seed[SIGNATURE_SEED_SIZE];
    random_bytes(seed, sizeof seed);
    signature_key_from_seed(seed, &m->signer);
    MUST(arena_init(&m->arena, ARENA_SIZE));
    m->host = (group_host){.ctx = m, .now = member_now, .records = memory_records_interface(&m->records)};
}

void member_free(member *m) {
    group_close(m->group);
    memory_records_free(&m->records);
    arena_free(&m->arena);
    free((void *)(uintptr_t)m->key_package.p);
    *m = (member){0};
}

leaf_params member_leaf(const member *m) {
    return (leaf_params){.identity = span_text(m->name),
                         .credential = m->credential,
                         .signer = &m->signer,
                         .extension_types = m->extension_types,
                         .proposal_types = m->proposal_types,
                         .credential_types = m->credential_types,
                         .not_before = MEMBER_NOW_MS / 1000 - 100,
                         .not_after = MEMBER_NOW_MS / 1000 + 90 * 86400};
}

void member_make_key_package(member *m) {
    leaf_params leaf = member_leaf(m);
    span encoded;
    MUST(key_package_create(m->suite, &leaf, false, &m->arena, &encoded, &m->secrets));
    free((void *)(uintptr_t)m->key_package.p);
    m->key_package = keep(encoded);
    member_reset(m);
}

void member_create_group(member *m, const char *id) {
    if (m->in_memory)
        m->host.records = (group_records){0};
    leaf_params leaf = member_leaf(m);
    group_params params = {
        .suite = m->suite, .group_id = span_text(id), .extensions = m->group_extensions, .leaf = &leaf};
    MUST(group_create(&m->host, &params, &m->arena, &m->group));
    member_reset(m);
}

err member_join(member *m, span encoded_welcome, span tree) {
    if (m->in_memory)
        m->host.records = (group_records){0};
    join_params join = {.welcome = encoded_welcome,
                        .ratchet_tree = tree,
                        .key_package = m->key_package,
                        .secrets = &m->secrets,
                        .signer = &m->signer};
    err e = group_join(&m->host, &join, &m->arena, &m->group);
    member_reset(m);
    return e;
}

void member_reload(member *m) {
    if (m->in_memory || m->group == NULL)
        return;
    group_close(m->group);
    m->group = NULL;
    MUST(group_load(&m->host, &m->signer, &m->arena, &m->group));
    member_reset(m);
}

void member_reset(member *m) { arena_reset(&m->arena); }

span keep(span s) {
    uint8_t *copy = malloc(s.n + 1);
    if (copy == NULL)
        abort();
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    return span_of(copy, s.n);
}
