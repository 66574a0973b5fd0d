/* client.c: the handle, the frame around every command, and what a command leaves behind for the host. */
#include "client/state.h"

#include "crypto/random.h"
#include "host.h"

#include <stdlib.h>

#define NOTICES_AN_HOUR 20 /* of one kind in one conversation */

err client_new(const char *store_path, client **out) {
    *out = NULL;
    if (strlen(store_path) >= PATH_MAX_BYTES)
        return ERR_TOO_LARGE;
    crypto_init();
    client *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    err e = arena_init(&c->scratch, SCRATCH_SIZE);
    if (e != OK) {
        free(c);
        return e;
    }
    c->memory = store_path[0] == 0;
    if (!c->memory) {
        size_t n = strlen(store_path);
        memcpy(c->db_path, store_path, n);
        memcpy(c->db_path + n, ".db", 4);
        memcpy(c->key_path, store_path, n);
        memcpy(c->key_path + n, ".key", 5);
    }
    *out = c;
    return OK;
}

void client_free(client *c) {
    if (!c)
        return;
    client_account_lock(c);
    enrol_forget(c);
    arena_free(&c->scratch);
    wipe(c, sizeof *c);
    free(c);
}

err client_begin(client *c, arena *a, effects *fx) {
    *fx = (effects){.arena = a, .timer_ms = -1};
    fx->requests_end = &fx->requests;
    fx->events_end = &fx->events;
    c->fx = fx;
    c->calls++;
    c->was_open = c->open;
    arena_reset(&c->scratch);
    if (c->open) {
        TRY(store_begin(c->store));
        c->in_transaction = true;
    }
    return OK;
}

/* After a rollback. A medium that failed stops the store until it is opened again (store.h): then the account must be locked,
 * or no command would work any more, not even the one that locks. */
static err recover(client *c) {
    TRY(store_begin(c->store));
    err e = account_reload(c);
    store_rollback(c->store);
    return e;
}

err client_finish(client *c, err result) {
    if (result == OK && c->open)
        result = sync_pump(c);
    if (c->in_transaction) {
        if (result == OK)
            result = store_commit(c->store);
        if (result == OK && c->making)
            result = account_made(c);
        if (result != OK) {
            store_rollback(c->store);
            groups_close(c, 0); /* what is in memory may be ahead of the store now */
            if (!c->was_open || recover(c) != OK)
                account_forget(c); /* an account that this command opened or made was never given to anyone */
        }
        c->in_transaction = c->making = false;
    } else if (result != OK && c->was_open) { /* the transaction could not begin */
        sync_unheard(c);
        if (recover(c) != OK)
            account_forget(c);
    }
    if (result != OK && c->fx) { /* nothing of a command that failed may go out or be told */
        for (http_request *r = c->fx->requests; r; r = r->next)
            for (size_t i = 0; i < INFLIGHT_MAX; i++)
                if (c->inflight[i].id == r->id)
                    c->inflight[i] = (inflight){0};
        c->fx->requests = NULL;
        c->fx->requests_end = &c->fx->requests;
        c->fx->events = NULL;
        c->fx->events_end = &c->fx->events;
        if (c->open) { /* the answer that could not be taken in has to be asked for again */
            c->fx->timer_ms = CLIENT_AGAIN_MS;
            if (is_ours(result))
                audit_undone(c);
        } else if (c->was_open) {
            client_event(c, EVENT_ACCOUNT, 0, SPAN_NONE, "locked", NULL, -1);
        }
    }
    arena_reset(&c->scratch);
    c->fx = NULL;
    return result;
}

void client_unheard(client *c, effects *fx) {
    c->fx = fx;
    sync_unheard(c);
    if (c->open)
        fx->timer_ms = CLIENT_AGAIN_MS;
    c->fx = NULL;
}

int64_t client_now(const client *c) {
    (void)c;
    return (int64_t)host_now();
}

uint64_t client_now_seconds(const client *c) {
    int64_t now = client_now(c) + c->clock_offset_ms;
    if (now < c->roster_ms) /* our clock is behind, or the relay turned it back, so that what ran out looks valid */
        now = c->roster_ms;
    return now < 1000 ? 1 : (uint64_t)(now / 1000);
}

bool client_has_right(const client *c, uint32_t right) { return (c->rights & right) == right; }

void client_event(client *c, event_kind kind, int64_t conversation, span message_id, const char *code, const char *text,
                  int64_t number) {
    for (event *e = c->fx->events; e; e = e->next) /* the same news once a command is enough */
        if (e->kind == kind && e->conversation == conversation && span_equal(e->message_id, message_id) &&
            e->code == code)
            return;
    event *e = ARENA_NEW(c->fx->arena, event);
    span id = SPAN_NONE;
    if (!e || arena_copy(c->fx->arena, message_id, &id) != OK)
        return; /* an event is a hint: the state itself is in the store */
    *e = (event){
        .kind = kind, .conversation = conversation, .message_id = id, .code = code, .text = text, .number = number};
    *c->fx->events_end = e;
    c->fx->events_end = &e->next;
}

/* A relay that repeats its tricks must not fill the store, nor push what people wrote out of sight. */
static err notice_enough(client *c, int64_t conversation, notice_code code, int64_t now, bool *enough) {
    query q;
    *enough = false;
    query_init(
        &q, c->store,
        "SELECT count(*) >= ? FROM (SELECT 1 FROM notice WHERE conversation = ? AND code = ? AND at_ms > ? LIMIT ?1)");
    query_bind_int(&q, NOTICES_AN_HOUR);
    query_bind_int(&q, conversation);
    query_bind_text(&q, span_text(notice_name(code)));
    query_bind_int(&q, now - 3600000);
    if (query_row(&q))
        *enough = query_int(&q, 0) != 0;
    return query_end(&q);
}

err client_notice(client *c, int64_t conversation, notice_code code) {
    query q;
    int64_t now = client_now(c);
    bool enough;
    client_event(c, EVENT_NOTICE, conversation, SPAN_NONE, notice_name(code), notice_text(code), -1);
    TRY(notice_enough(c, conversation, code, now, &enough));
    if (enough)
        return OK;
    query_init(&q, c->store, "INSERT INTO notice (conversation, code, at_ms) VALUES (?, ?, ?)");
    query_bind_int(&q, conversation);
    query_bind_text(&q, span_text(notice_name(code)));
    query_bind_int(&q, now);
    TRY(query_end(&q));
    if (conversation) {
        uint8_t id[MESSAGE_ID_SIZE];
        random_bytes(id, sizeof id);
        query_init(
            &q, c->store,
            "INSERT INTO message (id, conversation, message_id, kind, own, text, code, state, sent_ms, received_ms)"
            " VALUES ((SELECT coalesce(max(id), 1099511627776) + 1 FROM message), ?, ?, 1, 0, '', ?, ?, ?, ?)");
        query_bind_int(&q, conversation);
        query_bind_blob(&q, SPAN(id));
        query_bind_text(&q, span_text(notice_name(code)));
        query_bind_int(&q, MESSAGE_SEEN);
        query_bind_int(&q, now);
        query_bind_int(&q, now);
        TRY(query_end(&q));
    }
    return OK;
}

err client_notices(client *c, arena *a, notice_view **out, size_t *count) {
    query q;
    size_t max = 100;
    *count = 0;
    *out = ARENA_ARRAY(a, notice_view, max);
    if (!*out)
        return ERR_ARENA;
    query_init(&q, c->store, "SELECT conversation, code, at_ms FROM notice ORDER BY id DESC LIMIT 100");
    while (query_row(&q) && *count < max) {
        span name = query_text(&q, 1);
        char copy[40] = {0};
        memcpy(copy, name.p, name.n < sizeof copy ? name.n : sizeof copy - 1);
        notice_code code = notice_find(copy);
        (*out)[(*count)++] = (notice_view){notice_name(code), notice_text(code), query_int(&q, 0), query_int(&q, 2)};
    }
    return query_end(&q);
}
