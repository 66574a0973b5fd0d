/* inbox.c: the relay's events, applied in the transaction that also moves the cursor: what was applied is never asked
 * for again, what was not is. One event that cannot be applied is told to the user and does not hold up the others. */
#include "client/relay_json.h"
#include "client/state.h"

#define EVENTS_MAX 256 /* the relay's own limit */

/* What the user is told when a message or commit could not be taken. NOTICE_NONE: nothing. */
static notice_code notice_of(err e, bool commit) {
    switch (e) {
    case ERR_REPLAY: return NOTICE_REPLAYED;
    case ERR_EPOCH_GONE: return commit ? NOTICE_REPLAYED : NOTICE_TOO_OLD;
    case ERR_WRONG_EPOCH: return NOTICE_EPOCH_MISSING;
    case ERR_EPOCH_EXPIRED: return NOTICE_TOO_LATE;
    case ERR_TOO_FAR_AHEAD: return NOTICE_TOO_FAR_AHEAD;
    case ERR_KEY_DROPPED: return NOTICE_SKIPPED;
    case ERR_PROPOSAL:
    case ERR_CERTIFICATE:
    case ERR_EXPIRED:
    case ERR_REVOKED: return commit ? NOTICE_MEMBER_REFUSED : NOTICE_CHANGE_REFUSED;
    case ERR_SENDER: return commit ? NOTICE_MEMBER_REFUSED : NOTICE_ALTERED;
    case ERR_UNSUPPORTED: return NOTICE_NEWER_VERSION;
    default: return NOTICE_ALTERED;
    }
}

/* A limit on what is kept was reached: nothing is wrong with the message, but its key is gone for good (DESIGN §6). */
static bool key_is_gone(err e) {
    return e == ERR_EPOCH_GONE || e == ERR_EPOCH_EXPIRED || e == ERR_TOO_FAR_AHEAD || e == ERR_KEY_DROPPED;
}

static err apply_message(client *c, int64_t conversation, const json *event) {
    span data, id, sender;
    incoming in;
    certificate_chain chain;
    open_group *slot;
    TRY(json_bytes(event, "data", &c->scratch, &data));
    TRY(json_bytes(event, "id", &c->scratch, &id));
    TRY(json_bytes(event, "sender", &c->scratch, &sender));
    if (span_equal(
            sender,
            SPAN(c->device_id))) /* our own, come back: it is at the relay. We cannot open it: its key is gone. */
        return message_echo(c, id);
    TRY(groups_open(c, conversation, &slot));
    TRY(group_process(slot->group, data, &c->scratch, &in));
    if (in.kind == INCOMING_PROPOSAL) /* Sotto's changes are commits by value: no proposal is ever kept */
        return ERR_PROPOSAL;
    if (in.kind != INCOMING_APPLICATION) {
        group_drop_commit(slot->group, in.staged);
        return ERR_INVALID;
    }
    TRY(leaf_chain(c, in.sender_leaf,
                   &chain)); /* who sent it, says the group; what the relay says counts for nothing */
    return message_receive(c, conversation, certificate_chain_holder(&chain), in.plaintext);
}

static err apply_group_event(client *c, const json *event, bool commit) {
    span group, data, id;
    int64_t conversation;
    conversation_state state;
    TRY(json_bytes(event, "group", &c->scratch, &group));
    err e = conversation_find(c, group, &conversation);
    if (e == ERR_NOT_FOUND)
        return OK; /* a group that we never joined or whose making was given up */
    TRY(e);
    TRY(conversation_get_state(c, conversation, &state));
    if (state == CONVERSATION_LEFT || state == CONVERSATION_BROKEN)
        return OK;
    TRY(store_savepoint(c->store));
    if (commit) {
        e = json_bytes(event, "data", &c->scratch, &data);
        if (e == OK)
            e = membership_commit(c, conversation, data);
    } else {
        e = apply_message(c, conversation, event);
    }
    if (e == OK)
        return store_savepoint_release(c->store);
    store_savepoint_rollback(c->store);
    groups_close(c, conversation); /* its memory may be ahead of the store now */
    if (is_ours(e))
        return e;
    notice_code code = notice_of(e, commit);
    if (code == NOTICE_MEMBER_REFUSED)
        TRY(conversation_set_state(c, conversation, CONVERSATION_BROKEN));
    if (!commit && key_is_gone(e)) {
        TRY(json_bytes(event, "id", &c->scratch, &id));
        return message_unreadable(c, conversation, id, code);
    }
    return client_notice(c, conversation, code);
}

static err apply_welcome(client *c, const json *event) {
    span group, data;
    TRY(json_bytes(event, "group", &c->scratch, &group));
    TRY(json_bytes(event, "data", &c->scratch, &data));
    TRY(store_savepoint(c->store));
    err e = membership_welcome(c, group, data);
    if (e == OK)
        return store_savepoint_release(c->store);
    store_savepoint_rollback(c->store);
    groups_close(c, 0);
    if (is_ours(e))
        return e;
    return client_notice(c, 0, e == ERR_REPLAY ? NOTICE_REPLAYED : NOTICE_WELCOME_REFUSED);
}

static err apply_invitation(client *c, const json *event) {
    span id, state;
    int64_t attempts_left = 0;
    TRY(json_bytes(event, "invitation", &c->scratch, &id));
    TRY(json_text(event, "state", &state));
    if (json_int(event, "attempts_left", &attempts_left) != OK)
        attempts_left = 0;
    static const char *const states[] = {"used", "wrong-check", "locked"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (span_equal(state, span_text(states[i])))
            return invitation_set_state(c, id, states[i], attempts_left);
    return OK;
}

static err apply_device(client *c, const json *event) {
    span chain;
    TRY(json_bytes(event, "chain", &c->scratch, &chain));
    return directory_device_event(c, chain);
}

static err apply_event(client *c, const json *event) {
    span kind;
    TRY(json_text(event, "kind", &kind));
    if (span_equal(kind, span_text("message")))
        return apply_group_event(c, event, false);
    if (span_equal(kind, span_text("commit")))
        return apply_group_event(c, event, true);
    if (span_equal(kind, span_text("welcome")))
        return apply_welcome(c, event);
    if (span_equal(kind, span_text("invitation")))
        return apply_invitation(c, event);
    if (span_equal(kind, span_text("device")))
        return apply_device(c, event);
    /* What was lost may have told of a new roster, too. Lost messages show as missing, lost commits by what cannot be read then. */
    bool gap = span_equal(kind, span_text("gap"));
    if (gap || span_equal(kind, span_text("roster")))
        c->roster_wanted = true;
    if (gap)
        return client_notice(c, 0, NOTICE_GAP);
    return OK; /* kinds of later versions */
}

err inbox_reply(client *c, span body) {
    json *root = NULL;
    int64_t start = c->cursor, before = start;
    bool order = false;
    err e = json_open(body, &root);
    if (is_ours(e))
        return e;
    const json *events = json_member(root, "events");
    if (e != OK || !json_is_array(events)) {
        json_close(root);
        return client_notice(c, 0, NOTICE_ANSWER_MALFORMED);
    }
    size_t count = json_count(events);
    for (size_t i = 0; i < count && i < EVENTS_MAX && e == OK; i++) {
        const json *event = json_element(events, i);
        int64_t seq;
        size_t mark = arena_mark(&c->scratch);
        e = json_int(event, "seq", &seq);
        if (e == OK) {
            order = order || seq <= before;
            before = seq;
            e = apply_event(c, event);
            if (seq > c->cursor)
                c->cursor = seq;
        }
        arena_release(&c->scratch, mark);
        if (e != OK && !is_ours(e)) /* the event itself makes no sense */
            e = client_notice(c, 0, err_class_of(e) == ERR_CLASS_MALFORMED ? NOTICE_ANSWER_MALFORMED : NOTICE_REFUSED);
    }
    json_close(root);
    if (e == OK && order)
        e = client_notice(c, 0, NOTICE_ORDER);
    if (e == OK && c->cursor != start)
        e = setting_put_int(c, "cursor", c->cursor);
    if (e == OK)
        e = message_send_receipts(c);
    if (e != OK)
        c->cursor = start;
    return e;
}
