#include "command/views_json.h"

const char *kind_name(uint8_t kind) {
    switch (kind) {
    case CERTIFICATE_STAFF: return "staff";
    case CERTIFICATE_AGENT: return "agent";
    case CERTIFICATE_PATIENT: return "patient";
    default: return NULL;
    }
}

uint8_t kind_of(span name) {
    if (span_equal(name, span_text("patient")))
        return CERTIFICATE_PATIENT;
    return span_equal(name, span_text("agent")) ? CERTIFICATE_AGENT : CERTIFICATE_STAFF;
}

const char *check_name(uint8_t level) {
    switch (level) {
    case CHECK_BIRTH_DATE: return "birth_date";
    case CHECK_CODE: return "code";
    case CHECK_DESK: return "desk";
    default: return "none";
    }
}

uint8_t check_of(span name) {
    if (span_equal(name, span_text("birth_date")))
        return CHECK_BIRTH_DATE;
    return span_equal(name, span_text("code")) ? CHECK_CODE : CHECK_LINK;
}

void write_nothing(json_writer *w) {
    writer_open(w, '{');
    writer_close(w, '}');
}

void put_count(json_writer *w, const char *name, int64_t count) {
    writer_key(w, name);
    if (count < 0)
        writer_null(w);
    else
        writer_number(w, count);
}

static void put_rights(json_writer *w, uint32_t rights) {
    static const struct {
        uint32_t right;
        const char *name;
    } names[] = {
        {RIGHT_MESSAGE, "message"},
        {RIGHT_INVITE_PATIENT, "invite_patient"},
        {RIGHT_INVITE_STAFF, "invite_staff"},
        {RIGHT_ROSTER, "roster"},
        {RIGHT_AUDIT, "audit"},
    };
    writer_key(w, "rights");
    writer_open(w, '[');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (rights & names[i].right)
            writer_word(w, names[i].name);
    writer_close(w, ']');
}

err write_me(const command_call *call) {
    json_writer *w = call->result;
    me_view me;
    TRY(client_me(call->client, call->arena, &me));
    writer_open(w, '{');
    writer_put_word(w, "kind", kind_name(me.kind));
    writer_put_base64url(w, "clinic", SPAN(me.clinic_id));
    writer_put_base64url(w, "subject", SPAN(me.subject_id));
    writer_put_base64url(w, "device", SPAN(me.device_id));
    writer_put_base64url(w, "fingerprint", SPAN(me.fingerprint));
    writer_put_text(w, "name", me.name);
    writer_put_text(w, "clinic_name", me.clinic_name);
    writer_put_text(w, "relay", me.relay);
    put_rights(w, me.rights);
    writer_put_bool(w, "founder", me.founder);
    writer_put_bool(w, "kept", me.kept);
    writer_put_bool(w, "online", me.online);
    writer_close(w, '}');
    return OK;
}

static void write_person(json_writer *w, const person_view *p) {
    writer_open(w, '{');
    writer_put_base64url(w, "subject", SPAN(p->subject_id));
    writer_put_base64url(w, "device", SPAN(p->device_id));
    writer_put_word(w, "kind", kind_name(p->kind));
    writer_put_text(w, "name", p->name);
    writer_put_bool(w, "own", p->own);
    writer_close(w, '}');
}

void write_message(json_writer *w, const message_view *m) {
    bool notice = m->kind == ENTRY_NOTICE;
    writer_open(w, '{');
    writer_put_word(w, "kind", notice ? "notice" : "text");
    writer_put_base64url(w, "id", SPAN(m->id));
    writer_put_decimal(w, "order", m->order);
    writer_key(w, "sender");
    if (notice)
        writer_null(w);
    else
        write_person(w, &m->sender);
    writer_put_text(w, "text", m->text);
    writer_put_word(w, "code", notice ? m->code : NULL);
    writer_put_word(w, "state", message_state_name(m->state));
    writer_put_word(w, "reason", m->state == MESSAGE_FAILED ? m->reason : NULL);
    writer_put_number(w, "sent_ms", m->sent_ms);
    writer_put_number(w, "received_ms", m->received_ms);
    writer_put_bool(w, "shared", m->shared);
    writer_close(w, '}');
}

void write_conversation(json_writer *w, const conversation_view *c) {
    writer_open(w, '{');
    writer_put_decimal(w, "conversation", c->id);
    writer_put_base64url(w, "group", SPAN(c->group_id));
    writer_put_text(w, "title", c->title);
    writer_put_word(w, "state", c->state);
    writer_put_word(w, "check", check_name(c->level));
    writer_put_unsigned(w, "epoch", c->epoch);
    writer_put_hex(w, "authenticator", SPAN(c->authenticator));
    writer_put_number(w, "unread", c->unread);
    writer_key(w, "members");
    writer_open(w, '[');
    for (size_t i = 0; i < c->member_count; i++)
        write_person(w, &c->members[i]);
    writer_close(w, ']');
    writer_key(w, "last");
    if (c->has_last)
        write_message(w, &c->last);
    else
        writer_null(w);
    writer_close(w, '}');
}

void write_notice(json_writer *w, const notice_view *n) {
    writer_open(w, '{');
    writer_put_word(w, "code", n->code);
    writer_put_word(w, "text", n->text);
    writer_key(w, "conversation");
    if (n->conversation != 0)
        writer_decimal(w, n->conversation);
    else
        writer_null(w);
    writer_put_number(w, "at_ms", n->at_ms);
    writer_close(w, '}');
}

void write_invitation(json_writer *w, const issued_invitation *i) {
    writer_open(w, '{');
    writer_put_base64url(w, "invitation", SPAN(i->id));
    writer_put_base64url(w, "subject", SPAN(i->subject_id));
    writer_put_text(w, "name", i->name);
    writer_put_word(w, "enrols", kind_name(i->enrols));
    writer_put_word(w, "check", check_name(i->level));
    writer_put_word(w, "state", i->state);
    put_count(w, "attempts_left", i->attempts_left);
    writer_put_number(w, "created_ms", i->created_ms);
    writer_put_number(w, "expires_ms", i->expires_ms);
    writer_close(w, '}');
}
