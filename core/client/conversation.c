/* conversation.c: the list of conversations and how they look from outside. */
#include "client/state.h"

err conversation_find(client *c, span group_id, int64_t *id) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT id FROM conversation WHERE group_id = ?");
    query_bind_blob(&q, group_id);
    if (query_row(&q)) {
        *id = query_int(&q, 0);
        e = OK;
    }
    TRY(query_end(&q));
    return e;
}

err conversation_insert(client *c, span group_id, conversation_state state, span subject_id, uint8_t level,
                        int64_t *id) {
    static const uint8_t none[CONTENT_HASH_SIZE];
    query q;
    query_init(&q, c->store,
               "INSERT INTO conversation (group_id, subject_id, state, level, created_ms, previous) VALUES (?, ?, ?, "
               "?, ?, ?)");
    query_bind_blob(&q, group_id);
    query_bind_blob(&q, subject_id);
    query_bind_int(&q, state);
    query_bind_int(&q, level);
    query_bind_int(&q, client_now(c));
    query_bind_blob(&q, SPAN(none));
    TRY(query_end(&q));
    *id = store_last_id(c->store);
    client_event(c, EVENT_CONVERSATION, *id, SPAN_NONE, NULL, NULL, -1);
    return OK;
}

err conversation_get_state(client *c, int64_t id, conversation_state *state) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT state FROM conversation WHERE id = ?");
    query_bind_int(&q, id);
    if (query_row(&q)) {
        *state = (conversation_state)query_int(&q, 0);
        e = OK;
    }
    TRY(query_end(&q));
    return e;
}

err conversation_set_state(client *c, int64_t id, conversation_state state) {
    query q;
    query_init(&q, c->store, "UPDATE conversation SET state = ? WHERE id = ?");
    query_bind_int(&q, state);
    query_bind_int(&q, id);
    TRY(query_end(&q));
    client_event(c, EVENT_CONVERSATION, id, SPAN_NONE, NULL, NULL, -1);
    return OK;
}

err conversation_group_id(client *c, int64_t id, uint8_t out[GROUP_ID_SIZE]) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT group_id FROM conversation WHERE id = ?");
    query_bind_int(&q, id);
    if (query_row(&q)) {
        span value = query_blob(&q, 0);
        e = value.n == GROUP_ID_SIZE ? OK : ERR_STORE_CORRUPT;
        if (e == OK)
            memcpy(out, value.p, GROUP_ID_SIZE);
    }
    TRY(query_end(&q));
    return e;
}

static const char *state_word(int64_t state) {
    switch (state) {
    case CONVERSATION_CREATING: return "creating";
    case CONVERSATION_ACTIVE: return "active";
    case CONVERSATION_LEFT: return "left";
    default: return "broken";
    }
}

static err view_members(client *c, arena *a, conversation_view *v) {
    open_group *slot;
    TRY(groups_open(c, v->id, &slot));
    group *g = slot->group;
    uint32_t leaves = group_leaf_count(g);
    v->epoch = group_epoch(g);
    span authenticator = group_epoch_authenticator(g);
    memcpy(v->authenticator, authenticator.p,
           authenticator.n < sizeof v->authenticator ? authenticator.n : sizeof v->authenticator);
    v->members = ARENA_ARRAY(a, person_view, leaves ? leaves : 1);
    if (!v->members)
        return ERR_ARENA;
    for (uint32_t i = 0; i < leaves; i++) {
        const leaf_node *leaf;
        certificate_chain chain;
        TRY(group_member(g, i, &leaf));
        if (!leaf)
            continue;
        size_t mark = arena_mark(&c->scratch);
        TRY(leaf_chain(c, leaf, &chain));
        const certificate *holder = certificate_chain_holder(&chain);
        person_view *p = &v->members[v->member_count++];
        memcpy(p->subject_id, holder->subject_id, ID_SIZE);
        device_id_of(holder->subject_key, p->device_id);
        p->kind = holder->kind;
        p->own = i == group_own_leaf(g);
        arena_release(&c->scratch, mark);
        TRY(directory_name(c, SPAN(p->subject_id), a, &p->name));
    }
    return OK;
}

static err view_unread_and_last(client *c, arena *a, conversation_view *v) {
    query q;
    message_view *last;
    size_t count;
    query_init(&q, c->store,
               "SELECT count(*) FROM message WHERE conversation = ? AND state = 5"); /* MESSAGE_RECEIVED */
    query_bind_int(&q, v->id);
    if (query_row(&q))
        v->unread = query_int(&q, 0);
    TRY(query_end(&q));
    TRY(client_messages(c, a, v->id, 0, 1, &last, &count));
    v->has_last = count == 1;
    if (count)
        v->last = last[0];
    return OK;
}

err client_conversation(client *c, arena *a, int64_t id, conversation_view *out) {
    query q;
    err e = ERR_NOT_FOUND;
    uint8_t subject_id[ID_SIZE] = {0};
    int64_t state = CONVERSATION_BROKEN;
    *out = (conversation_view){.id = id};
    query_init(&q, c->store, "SELECT group_id, subject_id, state, level FROM conversation WHERE id = ?");
    query_bind_int(&q, id);
    if (query_row(&q)) {
        span group_id = query_blob(&q, 0), subject = query_blob(&q, 1);
        e = group_id.n == GROUP_ID_SIZE ? OK : ERR_STORE_CORRUPT;
        if (e == OK)
            memcpy(out->group_id, group_id.p, GROUP_ID_SIZE);
        if (subject.n == ID_SIZE)
            memcpy(subject_id, subject.p, ID_SIZE);
        state = query_int(&q, 2);
        out->level = (uint8_t)query_int(&q, 3);
    }
    TRY(query_end(&q));
    TRY(e);
    out->state = state_word(state);
    if (c->kind == CERTIFICATE_PATIENT)
        TRY(arena_copy(a, span_of(c->clinic_name, c->clinic_name_size), &out->title));
    else
        TRY(directory_name(c, SPAN(subject_id), a, &out->title));
    if (state == CONVERSATION_ACTIVE || state == CONVERSATION_BROKEN) /* else there is no group, or no longer */
        TRY(view_members(c, a, out));
    return view_unread_and_last(c, a, out);
}

err client_conversations(client *c, arena *a, conversation_view **out, size_t *count) {
    query q;
    size_t max = 0;
    *count = 0;
    query_init(&q, c->store, "SELECT count(*) FROM conversation");
    if (query_row(&q))
        max = (size_t)query_int(&q, 0);
    TRY(query_end(&q));
    *out = ARENA_ARRAY(a, conversation_view, max ? max : 1);
    int64_t *ids = ARENA_ARRAY(a, int64_t, max ? max : 1);
    if (!*out || !ids)
        return ERR_ARENA;
    size_t n = 0;
    query_init(&q, c->store,
               "SELECT id FROM conversation ORDER BY coalesce((SELECT max(m.id) FROM message m WHERE m.conversation = "
               "conversation.id), 0) DESC, id DESC");
    while (n < max && query_row(&q))
        ids[n++] = query_int(&q, 0);
    TRY(query_end(&q));
    for (size_t i = 0; i < n; i++)
        TRY(client_conversation(c, a, ids[i], &(*out)[(*count)++]));
    return OK;
}
