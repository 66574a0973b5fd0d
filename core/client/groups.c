/* groups.c: MLS groups between commands: their records in the store, a few of them kept open, and the one commit of ours
 * that may be waiting for its echo. */
#include "client/state.h"

/* ---- records (mls/records.h over the table `record`) */

static err record_get(void *ctx, record_key key, arena *a, span *value) {
    const open_group *slot = ctx;
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, slot->client->store,
               "SELECT value FROM record WHERE conversation = ? AND kind = ? AND epoch = ? AND idx = ?");
    query_bind_int(&q, slot->conversation);
    query_bind_int(&q, key.kind);
    query_bind_int(&q, (int64_t)key.epoch);
    query_bind_int(&q, key.index);
    if (query_row(&q))
        e = arena_copy(a, query_blob(&q, 0), value);
    TRY(query_end(&q));
    return e;
}

static err record_put(void *ctx, record_key key, span value) {
    const open_group *slot = ctx;
    query q;
    query_init(&q, slot->client->store,
               "INSERT INTO record (conversation, kind, epoch, idx, value) VALUES (?, ?, ?, ?, ?)"
               " ON CONFLICT (conversation, kind, epoch, idx) DO UPDATE SET value = excluded.value");
    query_bind_int(&q, slot->conversation);
    query_bind_int(&q, key.kind);
    query_bind_int(&q, (int64_t)key.epoch);
    query_bind_int(&q, key.index);
    query_bind_blob(&q, value.p ? value : span_of("", 0)); /* a leaf that was blank has an empty record, not none */
    return query_end(&q);
}

static err record_del(void *ctx, record_key key) {
    const open_group *slot = ctx;
    query q;
    query_init(&q, slot->client->store,
               "DELETE FROM record WHERE conversation = ? AND kind = ? AND epoch = ? AND idx = ?");
    query_bind_int(&q, slot->conversation);
    query_bind_int(&q, key.kind);
    query_bind_int(&q, (int64_t)key.epoch);
    query_bind_int(&q, key.index);
    return query_end(&q);
}

static err record_del_epoch(void *ctx, record_kind kind, uint64_t epoch) {
    const open_group *slot = ctx;
    query q;
    query_init(&q, slot->client->store, "DELETE FROM record WHERE conversation = ? AND kind = ? AND epoch = ?");
    query_bind_int(&q, slot->conversation);
    query_bind_int(&q, kind);
    query_bind_int(&q, (int64_t)epoch);
    return query_end(&q);
}

static err record_each(void *ctx, record_kind kind, uint64_t epoch, arena *a,
                       err (*visit)(void *visit_ctx, record_key key, span value), void *visit_ctx) {
    const open_group *slot = ctx;
    query q;
    err e = OK;
    (void)a; /* a value lives until the next row, which is as long as visit may use it */
    query_init(&q, slot->client->store,
               "SELECT idx, value FROM record WHERE conversation = ? AND kind = ? AND epoch = ? ORDER BY idx");
    query_bind_int(&q, slot->conversation);
    query_bind_int(&q, kind);
    query_bind_int(&q, (int64_t)epoch);
    while (e == OK && query_row(&q))
        e = visit(visit_ctx, (record_key){kind, (uint32_t)query_int(&q, 0), epoch}, query_blob(&q, 1));
    err ended = query_end(&q);
    return e != OK ? e : ended;
}

/* ---- what a group asks of us */

static uint64_t host_clock(void *ctx) {
    const open_group *slot = ctx;
    return client_now_seconds(slot->client) * 1000;
}

static err host_check_leaf(void *ctx, const leaf_node *leaf, const leaf_node *previous) {
    client *c = ((open_group *)ctx)->client;
    size_t mark = arena_mark(&c->scratch);
    err e = directory_check_leaf(c, leaf, previous);
    arena_release(&c->scratch, mark);
    return e;
}

static err host_check_commit(void *ctx, const group *g, const leaf_node *committer, const staged_commit *staged) {
    client *c = ((open_group *)ctx)->client;
    size_t mark = arena_mark(&c->scratch);
    err e = membership_check_commit(c, g, committer, staged);
    arena_release(&c->scratch, mark);
    return e;
}

group_host groups_host(open_group *slot) {
    return (group_host){
        .ctx = slot,
        .now = host_clock,
        .check_leaf = host_check_leaf,
        .check_commit = host_check_commit,
        .records = {slot, record_get, record_put, record_del, record_del_epoch, record_each},
    };
}

/* ---- the open ones */

static void slot_close(open_group *slot) {
    if (slot->staged)
        group_drop_commit(slot->group, slot->staged);
    group_close(slot->group);
    *slot = (open_group){0};
}

void groups_close(client *c, int64_t conversation) {
    for (size_t i = 0; i < GROUP_CACHE; i++)
        if (c->groups[i].conversation && (!conversation || c->groups[i].conversation == conversation))
            slot_close(&c->groups[i]);
}

err groups_slot(client *c, int64_t conversation, open_group **out) {
    open_group *best = &c->groups[0];
    groups_close(c, conversation);
    for (size_t i = 0; i < GROUP_CACHE; i++)
        if (!c->groups[i].conversation || (best->conversation && c->groups[i].used < best->used))
            best = &c->groups[i];
    if (best->conversation)
        slot_close(best);
    *best = (open_group){.client = c, .conversation = conversation, .used = c->calls};
    *out = best;
    return OK;
}

err groups_open(client *c, int64_t conversation, open_group **out) {
    for (size_t i = 0; i < GROUP_CACHE; i++)
        if (c->groups[i].conversation == conversation && c->groups[i].group) {
            c->groups[i].used = c->calls;
            *out = &c->groups[i];
            return OK;
        }
    TRY(groups_slot(c, conversation, out));
    group_host host = groups_host(*out);
    err e = group_load(&host, &c->device_key, &c->scratch, &(*out)->group);
    if (e != OK)
        **out = (open_group){0};
    return e;
}

err groups_delete_records(client *c, int64_t conversation) {
    query q;
    groups_close(c, conversation);
    query_init(&q, c->store, "DELETE FROM record WHERE conversation = ?");
    query_bind_int(&q, conversation);
    return query_end(&q);
}

/* ---- our commit that is out */

err groups_pending(client *c, int64_t conversation, uint8_t hash[32]) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT hash FROM pending_commit WHERE conversation = ?");
    query_bind_int(&q, conversation);
    if (query_row(&q)) {
        span value = query_blob(&q, 0);
        e = value.n == 32 ? OK : ERR_STORE_CORRUPT;
        if (e == OK)
            memcpy(hash, value.p, 32);
    }
    TRY(query_end(&q));
    return e;
}

err groups_has_pending(client *c, int64_t conversation, bool *has) {
    uint8_t hash[32];
    err e = groups_pending(c, conversation, hash);
    *has = e == OK;
    return e == ERR_NOT_FOUND ? OK : e;
}

static err delete_pending(client *c, int64_t conversation) {
    query q;
    query_init(&q, c->store, "DELETE FROM pending_commit WHERE conversation = ?");
    query_bind_int(&q, conversation);
    return query_end(&q);
}

err groups_drop_pending(client *c, int64_t conversation) {
    for (size_t i = 0; i < GROUP_CACHE; i++)
        if (c->groups[i].conversation == conversation && c->groups[i].staged) {
            group_drop_commit(c->groups[i].group, c->groups[i].staged);
            c->groups[i].staged = NULL;
        }
    return delete_pending(c, conversation);
}

err groups_restore_pending(client *c, int64_t conversation, open_group **out) {
    query q;
    err e = ERR_NOT_FOUND;
    TRY(groups_open(c, conversation, out));
    open_group *slot = *out;
    if (slot->staged)
        return OK;
    query_init(&q, c->store, "SELECT staged FROM pending_commit WHERE conversation = ?");
    query_bind_int(&q, conversation);
    if (query_row(&q)) {
        span saved;
        e = arena_copy(&c->scratch, query_blob(&q, 0), &saved);
        if (e == OK)
            e = staged_commit_restore(slot->group, saved, &c->scratch, &slot->staged);
    }
    TRY(query_end(&q));
    return e;
}

err groups_merge_pending(client *c, int64_t conversation) {
    open_group *slot;
    TRY(groups_restore_pending(c, conversation, &slot));
    staged_commit *staged = slot->staged;
    slot->staged = NULL;
    TRY(group_merge_commit(slot->group, staged, &c->scratch));
    return delete_pending(c, conversation);
}
