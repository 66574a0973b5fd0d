#include "groups.h"

#include <stdlib.h>

#include "mls/group_state.h"
#include "party.h"

/* A commit that adds a thousand members of suite 0xF00E, with its Welcome and all in between. */
#define FIRST_ARENA (48u << 20)

typedef struct member_keys {
    signature_key signer;
    key_package_secrets secrets;
    span key_package;
} member_keys;

typedef struct device {
    const suite *suite;
    party party;
    arena scratch;
    member_keys *members; /* FIRST: all but the last; LAST: its own alone */
    size_t count;
    span out[GROUPS_BYTES], in[GROUPS_BYTES];
} device;

static device devices[2];

static err keep(span *place, span s) {
    free((void *)(uintptr_t)place->p);
    uint8_t *copy = malloc(s.n + 1);
    *place = SPAN_NONE;
    if (copy == NULL)
        return ERR_NO_MEMORY;
    memcpy(copy, s.p, s.n);
    *place = span_of(copy, s.n);
    return OK;
}

static err make_keys(device *d, member_keys *m) {
    span encoded;
    party_signer(&m->signer);
    leaf_params leaf = party_leaf(&m->signer);
    TRY(key_package_create(d->suite, &leaf, false, &d->scratch, &encoded, &m->secrets));
    TRY(keep(&m->key_package, encoded));
    arena_reset(&d->scratch);
    return OK;
}

EXPORT int groups_begin(int which, int id, int members, int stored) {
    device *d = &devices[which];
    crypto_init();
    d->suite = suite_find((uint16_t)id);
    d->count = which == GROUPS_FIRST ? (size_t)members - 1 : 1;
    d->members = calloc(d->count, sizeof *d->members);
    MUST(d->suite != NULL && d->members != NULL ? OK : ERR_NO_MEMORY);
    MUST(arena_init(&d->scratch, which == GROUPS_FIRST ? FIRST_ARENA : SCRATCH_SIZE));
    MUST(party_init(&d->party, stored != 0));
    for (size_t i = 0; i < d->count; i++)
        MUST(make_keys(d, &d->members[i]));
    d->party.signer = d->members[0].signer;
    MUST(keep(&d->out[GROUPS_KEY_PACKAGE], d->members[0].key_package));
    return 0;
}

EXPORT void groups_end(int which) {
    device *d = &devices[which];
    party_free(&d->party);
    for (size_t i = 0; i < d->count; i++)
        free((void *)(uintptr_t)d->members[i].key_package.p);
    free(d->members);
    for (int i = 0; i < GROUPS_BYTES; i++) {
        free((void *)(uintptr_t)d->out[i].p);
        free((void *)(uintptr_t)d->in[i].p);
    }
    arena_free(&d->scratch);
    *d = (device){0};
}

static err stage_and_merge(device *d, group *g, const commit_params *params) {
    commit_output out;
    staged_commit *staged;
    TRY(group_stage_commit(g, params, &d->scratch, &out, &staged));
    TRY(group_merge_commit(g, staged, &d->scratch));
    TRY(keep(&d->out[GROUPS_COMMIT], out.commit));
    return keep(&d->out[GROUPS_WELCOME], out.welcome);
}

static err create(device *d, group **out) {
    leaf_params leaf = party_leaf(&d->party.signer);
    group_params params = {.suite = d->suite, .group_id = span_text("bench"), .leaf = &leaf};
    return group_create(&d->party.host, &params, &d->scratch, out);
}

static span key_package_of(const device *d, size_t i) {
    return i < d->count ? d->members[i].key_package : d->in[GROUPS_KEY_PACKAGE];
}

static err fill(device *d) {
    TRY(create(d, &d->party.group));
    span *adds = ARENA_ARRAY(&d->scratch, span, d->count);
    if (adds == NULL)
        return ERR_ARENA;
    for (size_t i = 0; i < d->count; i++)
        adds[i] = key_package_of(d, i + 1);
    return stage_and_merge(d, d->party.group, &(commit_params){.adds = adds, .add_count = d->count});
}

static err one_by_one(device *d) {
    group *g;
    err e = create(d, &g);
    for (size_t i = 1; e == OK && i <= d->count; i++) {
        span add = key_package_of(d, i);
        e = stage_and_merge(d, g, &(commit_params){.adds = &add, .add_count = 1});
        arena_reset(&d->scratch);
    }
    group_close(g);
    return e;
}

static err join(device *d) {
    join_params params = {.welcome = d->in[GROUPS_WELCOME],
                          .key_package = d->members[0].key_package,
                          .secrets = &d->members[0].secrets,
                          .signer = &d->party.signer};
    return group_join(&d->party.host, &params, &d->scratch, &d->party.group);
}

static err process(device *d) {
    incoming in;
    TRY(group_process(d->party.group, d->in[GROUPS_COMMIT], &d->scratch, &in));
    return group_merge_commit(d->party.group, in.staged, &d->scratch);
}

static err reload(device *d) {
    group_close(d->party.group);
    return group_load(&d->party.host, &d->party.signer, &d->scratch, &d->party.group);
}

EXPORT int groups_run(int which, int step) {
    device *d = &devices[which];
    MUST(party_begin(&d->party));
    switch (step) {
    case GROUPS_FILL: MUST(fill(d)); break;
    case GROUPS_ONE_BY_ONE: MUST(one_by_one(d)); break;
    case GROUPS_JOIN: MUST(join(d)); break;
    case GROUPS_COMMIT_PATH: MUST(stage_and_merge(d, d->party.group, &(commit_params){.force_path = true})); break;
    case GROUPS_PROCESS: MUST(process(d)); break;
    case GROUPS_RELOAD: MUST(reload(d)); break;
    default: return __LINE__;
    }
    MUST(party_commit(&d->party));
    arena_reset(&d->scratch);
    return 0;
}

EXPORT int groups_act(int leaf) {
    device *d = &devices[GROUPS_FIRST];
    group *g = d->party.group;
    if (d->party.client.store != NULL || (size_t)leaf >= d->count)
        return __LINE__;
    g->own_leaf = (uint32_t)leaf;
    g->signer = d->members[leaf].signer;
    g->keys = (private_path){.known = {true}};
    memcpy(g->keys.keys[0], d->members[leaf].secrets.encryption_key, KEM_PRIVATE_SIZE);
    return 0;
}

EXPORT uint8_t *groups_in(int which, int what, size_t n) {
    span *place = &devices[which].in[what];
    free((void *)(uintptr_t)place->p);
    uint8_t *room = malloc(n + 1);
    *place = span_of(room, n);
    return room;
}

EXPORT const uint8_t *groups_out(int which, int what) { return devices[which].out[what].p; }
EXPORT size_t groups_out_size(int which, int what) { return devices[which].out[what].n; }

static double number(device *d, const char *sql) {
    query q;
    double value = 0;
    query_init(&q, d->party.client.store, sql);
    if (query_row(&q))
        value = (double)query_int(&q, 0);
    return query_end(&q) == OK ? value : -1;
}

EXPORT double groups_figure(int which, int figure) {
    device *d = &devices[which];
    if (figure == GROUPS_ARENA)
        return (double)d->scratch.high;
    if (d->party.client.store == NULL)
        return -1;
    return figure == GROUPS_RECORDS
               ? number(d, "SELECT coalesce(sum(length(value)), 0) FROM record")
               : number(d, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
}
