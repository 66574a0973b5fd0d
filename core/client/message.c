/* message.c: texts, receipts, names and shared history: what is said in a conversation, going out and coming in. */
#include "client/builder.h"
#include "client/state.h"
#include "crypto/random.h"

#include "base/text.h"

#define RECEIPTS_AT_ONCE 200
#define HISTORY_MAX 500     /* texts shared with a device that joins later */
#define HISTORY_CHUNK 24576 /* bytes of text in one message of history */
#define HISTORY_CHUNK_ENTRIES 50
#define MISSING_MAX 1024 /* gaps remembered at once: as many generations as MLS would read ahead */
#define NAMES_MAX 64
/* A job's reference: the text's id, then the counter in its content; of other contents the counter only. */
#define REFERENCE_PLACE 8
#define REFERENCE_TEXT (MESSAGE_ID_SIZE + REFERENCE_PLACE)
#define RESENT_MAX 3 /* times a text goes out again for those who could not read it */

const char *message_state_name(message_state s) {
    static const char *const names[] = {"sending", "sent", "delivered", "read", "failed", "received", "seen"};
    return (unsigned)s < sizeof names / sizeof names[0] ? names[s] : "failed";
}

static void changed(client *c, int64_t conversation, span message_id) {
    client_event(c, EVENT_MESSAGE, conversation, message_id, NULL, NULL, -1);
}

/* ---- going out */

static err take_chain_step(client *c, int64_t conversation, content *o) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT counter, previous FROM conversation WHERE id = ?");
    query_bind_int(&q, conversation);
    if (query_row(&q)) {
        span previous = query_blob(&q, 1);
        o->counter = (uint64_t)query_int(&q, 0) + 1;
        e = previous.n == CONTENT_HASH_SIZE ? OK : ERR_STORE_CORRUPT;
        if (e == OK)
            memcpy(o->previous, previous.p, CONTENT_HASH_SIZE);
    }
    TRY(query_end(&q));
    return e;
}

static err keep_chain_step(client *c, int64_t conversation, const content *o, span encoded) {
    query q;
    uint8_t hash[CONTENT_HASH_SIZE];
    sha256(encoded, hash);
    query_init(&q, c->store, "UPDATE conversation SET counter = ?, previous = ? WHERE id = ?");
    query_bind_int(&q, (int64_t)o->counter);
    query_bind_blob(&q, SPAN(hash));
    query_bind_int(&q, conversation);
    return query_end(&q);
}

/* name: the client message id by which the relay tells the same from another. */
static err queue_message(client *c, int64_t conversation, const content *o, span name, span group, span message) {
    builder path;
    builder_init(&path, &c->scratch, 160);
    builder_text(&path, "/v1/groups/");
    builder_base64url(&path, group);
    builder_text(&path, "/messages?id=");
    builder_base64url(&path, name);
    const char *text = builder_string(&path);
    if (!text)
        return ERR_ARENA;
    uint8_t reference[REFERENCE_TEXT];
    for (int i = 0; i < REFERENCE_PLACE; i++)
        reference[MESSAGE_ID_SIZE + i] = (uint8_t)(o->counter >> (56 - 8 * i));
    memcpy(reference, o->id, MESSAGE_ID_SIZE);
    return job_add(c, conversation, JOB_MESSAGE,
                   o->kind == CONTENT_TEXT ? SPAN(reference) : span_of(reference + MESSAGE_ID_SIZE, REFERENCE_PLACE),
                   "POST", text, "message/mls", message);
}

static err send_content(client *c, int64_t conversation, content *o, span name) {
    open_group *slot;
    span encoded, message;
    size_t mark = arena_mark(&c->scratch);
    o->version = CONTENT_VERSION;
    if (o->kind != CONTENT_TEXT) { /* a text has its id from when it was written */
        random_bytes(o->id, sizeof o->id);
        o->sent_ms = (uint64_t)client_now(c);
    }
    TRY(take_chain_step(c, conversation, o));
    TRY(WIRE_ENCODE(&c->scratch, wire_content, o, &encoded));
    TRY(keep_chain_step(c, conversation, o, encoded));
    TRY(groups_open(c, conversation, &slot));
    TRY(group_protect(slot->group, encoded, SPAN_NONE, &c->scratch, &message));
    TRY(queue_message(c, conversation, o, name, group_id(slot->group), message));
    arena_release(&c->scratch, mark);
    return OK;
}

/* What the relay refused for good leaves a gap in our chain: the others learn of it before they see it. Sent with the next
 * content and not at once: a relay that refuses this too must not be asked for ever. */
static err send_withdrawn(client *c, int64_t conversation) {
    query q;
    content o = {.kind = CONTENT_WITHDRAWN};
    size_t mark = arena_mark(&c->scratch);
    o.withdrawn.p = ARENA_ARRAY(&c->scratch, content_counter, RECEIPTS_AT_ONCE);
    if (!o.withdrawn.p)
        return ERR_ARENA;
    query_init(&q, c->store,
               "DELETE FROM withdrawn WHERE conversation = ?1 AND counter IN"
               " (SELECT counter FROM withdrawn WHERE conversation = ?1 LIMIT 200) RETURNING counter");
    query_bind_int(&q, conversation);
    while (o.withdrawn.n < RECEIPTS_AT_ONCE && query_row(&q))
        o.withdrawn.p[o.withdrawn.n++].n = (uint64_t)query_int(&q, 0);
    TRY(query_end(&q));
    if (o.withdrawn.n)
        TRY(send_content(c, conversation, &o, SPAN(o.id)));
    arena_release(&c->scratch, mark);
    return OK;
}

err message_send_content(client *c, int64_t conversation, content *o) {
    TRY(send_withdrawn(c, conversation));
    TRY(send_content(c, conversation, o, SPAN(o->id)));
    return o->kind == CONTENT_TEXT || o->kind == CONTENT_RECEIPT ? audit_tell(c, conversation, o->counter) : OK;
}

static err withdraw(client *c, int64_t conversation, int64_t counter) {
    query q;
    query_init(&q, c->store, "INSERT INTO withdrawn (conversation, counter) VALUES (?, ?) ON CONFLICT DO NOTHING");
    query_bind_int(&q, conversation);
    query_bind_int(&q, counter);
    return query_end(&q);
}

static err send_text(client *c, int64_t conversation, span id, span text, int64_t sent_ms) {
    content o = {.kind = CONTENT_TEXT, .text = text, .sent_ms = (uint64_t)sent_ms};
    memcpy(o.id, id.p, MESSAGE_ID_SIZE);
    return message_send_content(c, conversation, &o);
}

err client_message_send(client *c, effects *fx, int64_t conversation, span text, uint8_t *id) {
    query q;
    conversation_state state;
    int64_t now = client_now(c);
    (void)fx;
    if (text.n == 0 || text.n > TEXT_MAX)
        return ERR_TOO_LARGE;
    if (!utf8_valid(text))
        return ERR_UTF8;
    TRY(conversation_get_state(c, conversation, &state));
    if (state != CONVERSATION_ACTIVE && state != CONVERSATION_CREATING)
        return ERR_STATE;
    random_bytes(id, MESSAGE_ID_SIZE);
    query_init(&q, c->store,
               "INSERT INTO message (id, conversation, message_id, kind, device_id, subject_id, own, text, state, "
               "sent_ms, received_ms)"
               " VALUES ((SELECT coalesce(max(id), 1099511627776) + 1 FROM message), ?, ?, 0, ?, ?, 1, ?, 0, ?, ?)");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, span_of(id, MESSAGE_ID_SIZE));
    query_bind_blob(&q, SPAN(c->device_id));
    query_bind_blob(&q, SPAN(c->subject_id));
    query_bind_text(&q, text);
    query_bind_int(&q, now);
    query_bind_int(&q, now);
    TRY(query_end(&q));
    changed(c, conversation, span_of(id, MESSAGE_ID_SIZE));
    return state == CONVERSATION_ACTIVE ? send_text(c, conversation, span_of(id, MESSAGE_ID_SIZE), text, now) : OK;
}

/* The oldest text that is to be sent and has no job yet. */
static err next_unsent(client *c, int64_t conversation, uint8_t *id, span *text, int64_t *sent_ms) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store,
               "SELECT message_id, text, sent_ms FROM message m WHERE conversation = ? AND state = 0"
               " AND NOT EXISTS (SELECT 1 FROM job WHERE job.lane = m.conversation AND job.kind = 8 AND "
               "substr(job.reference, 1, 16) = m.message_id)"
               " ORDER BY id LIMIT 1");
    query_bind_int(&q, conversation);
    if (query_row(&q)) {
        memcpy(id, query_blob(&q, 0).p, MESSAGE_ID_SIZE);
        e = arena_copy(&c->scratch, query_text(&q, 1), text);
        *sent_ms = query_int(&q, 2);
    }
    TRY(query_end(&q));
    return e;
}

err message_flush(client *c, int64_t conversation) {
    uint8_t id[MESSAGE_ID_SIZE];
    span text;
    int64_t sent_ms;
    for (;;) {
        size_t mark = arena_mark(&c->scratch);
        err e = next_unsent(c, conversation, id, &text, &sent_ms);
        if (e == ERR_NOT_FOUND)
            return OK;
        TRY(e);
        TRY(send_text(c, conversation, SPAN(id), text, sent_ms));
        arena_release(&c->scratch, mark);
    }
}

/* Moves a message on; the SQL bounds the states that may change to `state`. within: a conversation that it binds, or 0. */
static err advance(client *c, int64_t within, span message_id, message_state state, const char *sql) {
    query q;
    int64_t conversation = 0;
    query_init(&q, c->store, sql);
    query_bind_int(&q, state);
    query_bind_blob(&q, message_id);
    if (within)
        query_bind_int(&q, within);
    if (query_row(&q))
        conversation = query_int(&q, 0);
    TRY(query_end(&q));
    if (conversation)
        changed(c, conversation, message_id);
    return OK;
}

err message_echo(client *c, span message_id) {
    return advance(
        c, 0, message_id, MESSAGE_SENT,
        "UPDATE message SET state = ? WHERE message_id = ? AND own = 1 AND state = 0 RETURNING conversation");
}

/* References of an earlier version end after the id, or are none. */
static span reference_text(span reference) {
    return reference.n >= MESSAGE_ID_SIZE ? span_of(reference.p, MESSAGE_ID_SIZE) : SPAN_NONE;
}

err message_taken(client *c, span reference) {
    span id = reference_text(reference);
    return id.n ? message_echo(c, id) : OK;
}

static err set_failed(client *c, span message_id, const char *reason) {
    query q;
    int64_t conversation = 0;
    query_init(&q, c->store,
               "UPDATE message SET state = 4, reason = ? WHERE message_id = ? AND own = 1 AND state = 0 RETURNING "
               "conversation");
    query_bind_text(&q, span_text(reason));
    query_bind_blob(&q, message_id);
    if (query_row(&q))
        conversation = query_int(&q, 0);
    TRY(query_end(&q));
    if (conversation)
        changed(c, conversation, message_id);
    return OK;
}

err message_refused(client *c, int64_t conversation, span reference, const char *reason) {
    span id = reference_text(reference);
    uint64_t counter = 0;
    if (id.n)
        TRY(set_failed(c, id, reason));
    if (reference.n != REFERENCE_PLACE && reference.n != REFERENCE_TEXT)
        return OK;
    for (size_t i = reference.n - REFERENCE_PLACE; i < reference.n; i++)
        counter = counter << 8 | reference.p[i];
    return withdraw(c, conversation, (int64_t)counter);
}

err client_message_retry(client *c, effects *fx, span id) {
    query q;
    int64_t conversation = 0;
    conversation_state state;
    (void)fx;
    query_init(&q, c->store,
               "UPDATE message SET state = 0, reason = NULL WHERE message_id = ? AND own = 1 AND state = 4 RETURNING "
               "conversation");
    query_bind_blob(&q, id);
    if (query_row(&q))
        conversation = query_int(&q, 0);
    TRY(query_end(&q));
    if (!conversation)
        return ERR_NOT_FOUND;
    TRY(conversation_get_state(c, conversation, &state));
    if (state != CONVERSATION_ACTIVE && state != CONVERSATION_CREATING)
        return ERR_STATE;
    changed(c, conversation, id);
    return state == CONVERSATION_ACTIVE ? message_flush(c, conversation) : OK;
}

/* ---- receipts */

static err receipt_due(client *c, int64_t conversation, span message_id, message_state state) {
    query q;
    query_init(&q, c->store,
               "INSERT INTO receipt_due (conversation, message_id, state) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, message_id);
    query_bind_int(&q, state);
    return query_end(&q);
}

static err send_receipts(client *c, int64_t conversation, message_state state) {
    query q;
    content o = {.kind = CONTENT_RECEIPT, .receipt_state = (uint8_t)state};
    o.receipts.p = ARENA_ARRAY(&c->scratch, content_id, RECEIPTS_AT_ONCE);
    if (!o.receipts.p)
        return ERR_ARENA;
    query_init(
        &q, c->store,
        "DELETE FROM receipt_due WHERE conversation = ?1 AND state = ?2 AND message_id IN"
        " (SELECT message_id FROM receipt_due WHERE conversation = ?1 AND state = ?2 LIMIT 200) RETURNING message_id");
    query_bind_int(&q, conversation);
    query_bind_int(&q, state);
    while (o.receipts.n < RECEIPTS_AT_ONCE && query_row(&q)) {
        span id = query_blob(&q, 0);
        if (id.n == MESSAGE_ID_SIZE)
            memcpy(o.receipts.p[o.receipts.n++].b, id.p, MESSAGE_ID_SIZE);
    }
    TRY(query_end(&q));
    return o.receipts.n ? message_send_content(c, conversation, &o) : OK;
}

err message_send_receipts(client *c) {
    for (;;) {
        query q;
        int64_t conversation = 0;
        message_state state = MESSAGE_DELIVERED;
        size_t mark = arena_mark(&c->scratch);
        query_init(&q, c->store,
                   "SELECT r.conversation, r.state FROM receipt_due r JOIN conversation k ON k.id = r.conversation "
                   "WHERE k.state = 1"
                   " ORDER BY r.conversation, r.state LIMIT 1");
        if (query_row(&q)) {
            conversation = query_int(&q, 0);
            state = (message_state)query_int(&q, 1);
        }
        TRY(query_end(&q));
        if (!conversation)
            return OK;
        TRY(send_receipts(c, conversation, state));
        arena_release(&c->scratch, mark);
    }
}

err client_conversation_read(client *c, effects *fx, int64_t conversation, int64_t order) {
    query q;
    bool any = false;
    conversation_state state;
    (void)fx;
    TRY(conversation_get_state(c, conversation, &state));
    query_init(
        &q, c->store,
        "INSERT INTO receipt_due (conversation, message_id, state) SELECT conversation, message_id, 3 FROM message"
        " WHERE conversation = ?1 AND state = 5 AND kind = 0 AND id <= ?2 ON CONFLICT DO NOTHING");
    query_bind_int(&q, conversation);
    query_bind_int(&q, order);
    TRY(query_end(&q));
    query_init(&q, c->store,
               "UPDATE message SET state = 6 WHERE conversation = ? AND state = 5 AND id <= ? RETURNING 1");
    query_bind_int(&q, conversation);
    query_bind_int(&q, order);
    while (query_row(&q))
        any = true;
    TRY(query_end(&q));
    if (!any)
        return OK;
    client_event(c, EVENT_CONVERSATION, conversation, SPAN_NONE, NULL, NULL, -1);
    return message_send_receipts(c);
}

/* ---- what could not be read */

err message_unreadable(client *c, int64_t conversation, span message_id, notice_code code) {
    query q;
    query_init(&q, c->store, "SELECT 1 FROM message WHERE message_id = ? AND conversation = ?");
    query_bind_blob(&q, message_id);
    query_bind_int(&q, conversation);
    bool read_before = query_row(&q);
    TRY(query_end(&q));
    if (read_before)
        return client_notice(c, conversation, NOTICE_REPLAYED);
    if (message_id.n == MESSAGE_ID_SIZE)
        TRY(receipt_due(c, conversation, message_id, MESSAGE_FAILED));
    return client_notice(c, conversation, code);
}

/* Somebody could not read our text: it goes out again, under its own name for the members (who has it shows it once) and
 * a new one for the relay, which knows the old one by its bytes. */
static err send_again(client *c, int64_t conversation, span id) {
    query q;
    content o = {.kind = CONTENT_TEXT};
    uint8_t name[MESSAGE_ID_SIZE];
    err e = ERR_NOT_FOUND;
    query_init(
        &q, c->store,
        "SELECT text, sent_ms FROM message m WHERE message_id = ? AND conversation = ? AND device_id = ? AND kind = 0"
        " AND state IN (1, 2, 3) AND NOT EXISTS (SELECT 1 FROM resent r WHERE r.message_id = m.message_id AND times >= "
        "?)");
    query_bind_blob(&q, id);
    query_bind_int(&q, conversation);
    query_bind_blob(&q, SPAN(c->device_id));
    query_bind_int(&q, RESENT_MAX);
    if (query_row(&q)) {
        e = arena_copy(&c->scratch, query_text(&q, 0), &o.text);
        o.sent_ms = (uint64_t)query_int(&q, 1);
    }
    TRY(query_end(&q));
    if (e != OK)
        return e == ERR_NOT_FOUND ? OK : e;
    query_init(&q, c->store,
               "INSERT INTO resent (message_id, times) VALUES (?, 1) ON CONFLICT (message_id) DO UPDATE SET times = "
               "times + 1");
    query_bind_blob(&q, id);
    TRY(query_end(&q));
    memcpy(o.id, id.p, MESSAGE_ID_SIZE);
    random_bytes(name, sizeof name);
    TRY(send_withdrawn(c, conversation));
    return send_content(c, conversation, &o, SPAN(name));
}

/* ---- names and history, for those who do not know them */

err message_send_names(client *c, int64_t conversation) {
    query q;
    content o = {.kind = CONTENT_PROFILE};
    err e = OK;
    if (c->kind == CERTIFICATE_PATIENT) /* a patient's name is what the clinic knows her by */
        return OK;
    o.people.p = ARENA_ARRAY(&c->scratch, content_person, NAMES_MAX);
    if (!o.people.p)
        return ERR_ARENA;
    query_init(&q, c->store,
               "SELECT subject_id, kind, name FROM person WHERE kind IN (1, 2) OR subject_id = (SELECT subject_id FROM "
               "conversation WHERE id = ?)"
               " ORDER BY kind DESC LIMIT 64");
    query_bind_int(&q, conversation);
    while (e == OK && o.people.n < NAMES_MAX && query_row(&q)) {
        span subject = query_blob(&q, 0);
        content_person *p = &o.people.p[o.people.n++];
        p->kind = (uint8_t)query_int(&q, 1);
        if (subject.n == ID_SIZE)
            memcpy(p->subject_id, subject.p, ID_SIZE);
        e = arena_copy(&c->scratch, query_text(&q, 2), &p->name);
    }
    TRY(query_end(&q));
    TRY(e);
    return o.people.n ? message_send_content(c, conversation, &o) : OK;
}

/* One message of history: texts older than *before, newest first until it is full. */
static err share_chunk(client *c, int64_t conversation, const uint8_t device_id[ID_SIZE], int64_t *before,
                       size_t *left) {
    query q;
    content o = {.kind = CONTENT_HISTORY};
    size_t bytes = 0;
    err e = OK;
    memcpy(o.target, device_id, ID_SIZE);
    o.entries.p = ARENA_ARRAY(&c->scratch, content_entry, HISTORY_CHUNK_ENTRIES);
    if (!o.entries.p)
        return ERR_ARENA;
    query_init(&q, c->store,
               "SELECT id, message_id, device_id, subject_id, sent_ms, text FROM message WHERE conversation = ? AND id "
               "< ? AND kind = 0 AND state <> 4"
               " ORDER BY id DESC LIMIT 50");
    query_bind_int(&q, conversation);
    query_bind_int(&q, *before);
    while (e == OK && *left && o.entries.n < HISTORY_CHUNK_ENTRIES && bytes < HISTORY_CHUNK && query_row(&q)) {
        content_entry *entry = &o.entries.p[o.entries.n++];
        span id = query_blob(&q, 1), device = query_blob(&q, 2), subject = query_blob(&q, 3);
        *before = query_int(&q, 0);
        if (id.n != MESSAGE_ID_SIZE || device.n != ID_SIZE || subject.n != ID_SIZE) {
            e = ERR_STORE_CORRUPT;
            break;
        }
        memcpy(entry->id, id.p, MESSAGE_ID_SIZE);
        memcpy(entry->device_id, device.p, ID_SIZE);
        memcpy(entry->subject_id, subject.p, ID_SIZE);
        entry->sent_ms = (uint64_t)query_int(&q, 4);
        e = arena_copy(&c->scratch, query_text(&q, 5), &entry->text);
        bytes += entry->text.n;
        (*left)--;
    }
    TRY(query_end(&q));
    TRY(e);
    if (!o.entries.n) {
        *left = 0;
        return OK;
    }
    return message_send_content(c, conversation, &o);
}

err message_share_history(client *c, int64_t conversation, const uint8_t device_id[ID_SIZE]) {
    int64_t before = INT64_MAX;
    size_t left = HISTORY_MAX;
    while (left) {
        size_t mark = arena_mark(&c->scratch);
        TRY(share_chunk(c, conversation, device_id, &before, &left));
        arena_release(&c->scratch, mark);
    }
    return OK;
}

/* ---- coming in */

static err put_sender(client *c, int64_t conversation, span device_id, int64_t counter, span hash) {
    query q;
    query_init(&q, c->store,
               "INSERT INTO sender (conversation, device_id, counter, hash) VALUES (?, ?, ?, ?)"
               " ON CONFLICT (conversation, device_id) DO UPDATE SET counter = excluded.counter, hash = excluded.hash");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, device_id);
    query_bind_int(&q, counter);
    query_bind_blob(&q, hash);
    return query_end(&q);
}

static err take_missing(client *c, int64_t conversation, span device_id, int64_t counter, bool *was_missing) {
    query q;
    query_init(&q, c->store, "DELETE FROM missing WHERE conversation = ? AND device_id = ? AND counter = ?");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, device_id);
    query_bind_int(&q, counter);
    TRY(query_end(&q));
    *was_missing = store_changes(c->store) > 0;
    return OK;
}

static err put_missing(client *c, int64_t conversation, span device_id, int64_t from, int64_t to) {
    if (to - from > MISSING_MAX)
        from = to - MISSING_MAX;
    for (int64_t counter = from; counter < to; counter++) {
        query q;
        query_init(&q, c->store,
                   "INSERT INTO missing (conversation, device_id, counter) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
        query_bind_int(&q, conversation);
        query_bind_blob(&q, device_id);
        query_bind_int(&q, counter);
        TRY(query_end(&q));
    }
    return OK;
}

static int64_t withdrawn_between(const content *o, int64_t after, int64_t before) {
    int64_t count = 0;
    for (size_t i = 0; i < o->withdrawn.n; i++)
        count += (int64_t)o->withdrawn.p[i].n > after && (int64_t)o->withdrawn.p[i].n < before;
    return count;
}

/* Does this content follow the one before it from the same device? What does not is told, and shown all the same. */
static err check_chain(client *c, int64_t conversation, span device_id, const content *o, span encoded) {
    query q;
    bool known = false, fits = false, was_missing;
    int64_t last = 0, counter = (int64_t)o->counter;
    uint8_t hash[CONTENT_HASH_SIZE];
    sha256(encoded, hash);
    query_init(&q, c->store, "SELECT counter, hash FROM sender WHERE conversation = ? AND device_id = ?");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, device_id);
    if (query_row(&q)) {
        known = true;
        last = query_int(&q, 0);
        fits = span_equal(query_blob(&q, 1), SPAN(o->previous));
    }
    TRY(query_end(&q));
    if (known && counter <= last) {
        TRY(take_missing(c, conversation, device_id, counter, &was_missing));
        return client_notice(c, conversation, was_missing ? NOTICE_LATE : NOTICE_CHAIN_BROKEN);
    }
    if (known && counter > last + 1) {
        TRY(put_missing(c, conversation, device_id, last + 1, counter));
        if (counter - last - 1 > withdrawn_between(o, last, counter)) /* else receive_withdrawn tells of them */
            TRY(client_notice(c, conversation, NOTICE_MISSING));
    } else if (known && !fits) {
        TRY(client_notice(c, conversation, NOTICE_CHAIN_BROKEN));
    }
    return put_sender(c, conversation, device_id, counter, SPAN(hash));
}

/* A message of this name stands already. If it is not this device's, somebody took the name to keep this one from being
 * shown: that is told. */
static err check_name_taken(client *c, int64_t conversation, span message_id, span device_id) {
    query q;
    bool same = false;
    query_init(&q, c->store, "SELECT 1 FROM message WHERE message_id = ? AND device_id = ? AND conversation = ?");
    query_bind_blob(&q, message_id);
    query_bind_blob(&q, device_id);
    query_bind_int(&q, conversation);
    same = query_row(&q);
    TRY(query_end(&q));
    return same ? OK : client_notice(c, conversation, NOTICE_CHAIN_BROKEN);
}

static err receive_text(client *c, int64_t conversation, const certificate *sender, span device_id, const content *o) {
    query q;
    bool same_person = memcmp(sender->subject_id, c->subject_id, ID_SIZE) == 0;
    query_init(&q, c->store,
               "INSERT INTO message (id, conversation, message_id, kind, device_id, subject_id, own, text, state, "
               "sent_ms, received_ms)"
               " VALUES ((SELECT coalesce(max(id), 1099511627776) + 1 FROM message), ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)"
               " ON CONFLICT (message_id) DO NOTHING");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, SPAN(o->id));
    query_bind_blob(&q, device_id);
    query_bind_blob(&q, SPAN(sender->subject_id));
    query_bind_int(&q, same_person);
    query_bind_text(&q, o->text);
    query_bind_int(&q, same_person ? MESSAGE_SEEN : MESSAGE_RECEIVED);
    query_bind_int(&q, (int64_t)o->sent_ms);
    query_bind_int(&q, client_now(c));
    TRY(query_end(&q));
    if (store_changes(c->store) == 0) /* shared before by history, or its name was taken by another's */
        return check_name_taken(c, conversation, SPAN(o->id), device_id);
    changed(c, conversation, SPAN(o->id));
    return same_person ? OK : receipt_due(c, conversation, SPAN(o->id), MESSAGE_DELIVERED);
}

/* A receipt counts when it comes from the other side: clinic for a patient's message, patient for a clinic's; and within
 * its conversation: nobody can say that another patient read something. */
static err receive_receipt(client *c, int64_t conversation, const certificate *sender, const content *o) {
    if (o->receipt_state == MESSAGE_FAILED) {
        for (size_t i = 0; i < o->receipts.n; i++)
            TRY(send_again(c, conversation, SPAN(o->receipts.p[i].b)));
        return OK;
    }
    if ((sender->kind == CERTIFICATE_PATIENT) == (c->kind == CERTIFICATE_PATIENT))
        return OK;
    for (size_t i = 0; i < o->receipts.n; i++)
        TRY(o->receipt_state == MESSAGE_DELIVERED
                ? advance(c, conversation, SPAN(o->receipts.p[i].b), MESSAGE_DELIVERED,
                          "UPDATE message SET state = ?, reason = NULL WHERE message_id = ? AND conversation = ? AND "
                          "own = 1 AND state IN (0, 1, 4) RETURNING conversation")
                : advance(c, conversation, SPAN(o->receipts.p[i].b), MESSAGE_READ,
                          "UPDATE message SET state = ?, reason = NULL WHERE message_id = ? AND conversation = ? AND "
                          "own = 1 AND state IN (0, 1, 2, 4) RETURNING conversation"));
    return OK;
}

static err receive_names(client *c, int64_t conversation, const certificate *sender, const content *o) {
    if (sender->kind != CERTIFICATE_STAFF && sender->kind != CERTIFICATE_AGENT)
        return ERR_SENDER;
    for (size_t i = 0; i < o->people.n; i++) {
        const content_person *p = &o->people.p[i];
        bool ours = memcmp(p->subject_id, c->subject_id, ID_SIZE) == 0;
        if (ours && c->kind != CERTIFICATE_PATIENT)
            continue; /* nobody else names a member of staff */
        /* People name themselves; what another says of them is for those who have not heard it from them. */
        bool own_word = memcmp(p->subject_id, sender->subject_id, ID_SIZE) == 0;
        TRY(directory_add_person(c, p->subject_id, p->kind, p->name, own_word || ours));
        if (ours) {
            memcpy(c->name, p->name.p, p->name.n);
            c->name_size = p->name.n;
            TRY(setting_put(c, "name", p->name));
        }
    }
    client_event(c, EVENT_CONVERSATION, conversation, SPAN_NONE, NULL, NULL, -1);
    return OK;
}

static err receive_history(client *c, int64_t conversation, const certificate *sender, const content *o) {
    if (sender->kind != CERTIFICATE_STAFF && sender->kind != CERTIFICATE_AGENT)
        return ERR_SENDER;
    if (memcmp(o->target, c->device_id, ID_SIZE) != 0)
        return OK;
    for (size_t i = 0; i < o->entries.n; i++) { /* newest first, each below all that stands */
        const content_entry *entry = &o->entries.p[i];
        query q;
        query_init(
            &q, c->store,
            "INSERT INTO message (id, conversation, message_id, kind, device_id, subject_id, own, text, state, "
            "sent_ms, received_ms, shared)"
            " VALUES ((SELECT coalesce(min(id), 1099511627776) - 1 FROM message), ?, ?, 0, ?, ?, ?, ?, 6, ?, ?, 1)"
            " ON CONFLICT (message_id) DO NOTHING");
        query_bind_int(&q, conversation);
        query_bind_blob(&q, SPAN(entry->id));
        query_bind_blob(&q, SPAN(entry->device_id));
        query_bind_blob(&q, SPAN(entry->subject_id));
        query_bind_int(&q, memcmp(entry->subject_id, c->subject_id, ID_SIZE) == 0);
        query_bind_text(&q, entry->text);
        query_bind_int(&q, (int64_t)entry->sent_ms);
        query_bind_int(&q, client_now(c));
        TRY(query_end(&q));
        changed(c, conversation, SPAN(entry->id));
    }
    return OK;
}

static err receive_withdrawn(client *c, int64_t conversation, span device_id, const content *o) {
    bool any = false;
    for (size_t i = 0; i < o->withdrawn.n; i++) {
        bool was_missing;
        TRY(take_missing(c, conversation, device_id, (int64_t)o->withdrawn.p[i].n, &was_missing));
        any = any || was_missing;
    }
    return any ? client_notice(c, conversation, NOTICE_WITHDRAWN) : OK;
}

err message_receive(client *c, int64_t conversation, const certificate *sender, span plaintext) {
    content o;
    uint8_t device_id[ID_SIZE];
    TRY(content_read(plaintext, &c->scratch, &o));
    device_id_of(sender->subject_key, device_id);
    TRY(check_chain(c, conversation, SPAN(device_id), &o, plaintext));
    switch (o.kind) {
    case CONTENT_TEXT: return receive_text(c, conversation, sender, SPAN(device_id), &o);
    case CONTENT_RECEIPT: return receive_receipt(c, conversation, sender, &o);
    case CONTENT_PROFILE: return receive_names(c, conversation, sender, &o);
    case CONTENT_HISTORY: return receive_history(c, conversation, sender, &o);
    case CONTENT_WITHDRAWN: return receive_withdrawn(c, conversation, SPAN(device_id), &o);
    case CONTENT_CHECKPOINT: return audit_heard(c, SPAN(device_id), &o);
    default: return OK; /* a silent kind of a later version */
    }
}

/* ---- looking */

static err read_view(client *c, query *q, arena *a, message_view *v) {
    span id = query_blob(q, 1), device = query_blob(q, 3), subject = query_blob(q, 4), code = query_text(q, 7);
    *v = (message_view){.kind = query_int(q, 2) ? ENTRY_NOTICE : ENTRY_TEXT, .order = query_int(q, 0)};
    if (id.n == MESSAGE_ID_SIZE)
        memcpy(v->id, id.p, MESSAGE_ID_SIZE);
    if (device.n == ID_SIZE)
        memcpy(v->sender.device_id, device.p, ID_SIZE);
    if (subject.n == ID_SIZE)
        memcpy(v->sender.subject_id, subject.p, ID_SIZE);
    v->sender.own = query_int(q, 5) != 0;
    v->sender.kind = (uint8_t)query_int(q, 13);
    TRY(arena_copy(a, query_text(q, 12), &v->sender.name));
    TRY(arena_copy(a, query_text(q, 6), &v->text));
    if (v->kind == ENTRY_NOTICE) {
        char name[40] = {0};
        memcpy(name, code.p, code.n < sizeof name ? code.n : sizeof name - 1);
        notice_code found = notice_find(name);
        v->code = notice_name(found);
        v->text = span_text(notice_text(found));
    }
    v->state = (message_state)query_int(q, 8);
    v->sent_ms = query_int(q, 10);
    v->received_ms = query_int(q, 11);
    v->shared = query_int(q, 14) != 0;
    if (!query_is_null(q, 9)) {
        span reason;
        char *text = arena_take(a, query_text(q, 9).n + 1, 1);
        if (!text)
            return ERR_ARENA;
        reason = query_text(q, 9);
        memcpy(text, reason.p, reason.n);
        v->reason = text;
    }
    (void)c;
    return OK;
}

#define VIEW_COLUMNS                                                                                                   \
    "SELECT m.id, m.message_id, m.kind, m.device_id, m.subject_id, m.own, m.text, m.code, m.state, m.reason, "         \
    "m.sent_ms, m.received_ms,"                                                                                        \
    " p.name, coalesce(d.kind, p.kind, 0), m.shared FROM message m LEFT JOIN person p ON p.subject_id = m.subject_id"  \
    " LEFT JOIN device d ON d.device_id = m.device_id "

err client_messages(client *c, arena *a, int64_t conversation, int64_t before, size_t limit, message_view **out,
                    size_t *count) {
    query q;
    err e = OK;
    *count = 0;
    if (limit == 0 || limit > 200)
        limit = 200;
    *out = ARENA_ARRAY(a, message_view, limit);
    if (!*out)
        return ERR_ARENA;
    query_init(&q, c->store, VIEW_COLUMNS "WHERE m.conversation = ? AND m.id < ? ORDER BY m.id DESC LIMIT ?");
    query_bind_int(&q, conversation);
    query_bind_int(&q, before ? before : INT64_MAX);
    query_bind_int(&q, (int64_t)limit);
    while (e == OK && *count < limit && query_row(&q))
        e = read_view(c, &q, a, &(*out)[(*count)++]);
    TRY(query_end(&q));
    TRY(e);
    for (size_t i = 0, j = *count; i + 1 < j; i++) { /* oldest first */
        message_view swap = (*out)[i];
        (*out)[i] = (*out)[--j];
        (*out)[j] = swap;
    }
    return OK;
}

err client_message(client *c, arena *a, span id, message_view *out) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, VIEW_COLUMNS "WHERE m.message_id = ?");
    query_bind_blob(&q, id);
    if (query_row(&q))
        e = read_view(c, &q, a, out);
    TRY(query_end(&q));
    return e;
}
