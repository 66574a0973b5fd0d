#include "command/arguments.h"
#include "command/views_json.h"

/* ---- the state of the log */

static void write_alarm(json_writer *w, const audit_alarm_view *v) {
    writer_open(w, '{');
    writer_put_word(w, "fault", audit_fault_name(v->fault));
    writer_put_number(w, "number", v->number);
    writer_put_number(w, "at_ms", v->at_ms);
    writer_put_base64url(w, "device", v->device_id);
    writer_put_base64url(w, "kept", v->kept);
    writer_put_base64url(w, "other", v->other);
    writer_close(w, '}');
}

err command_audit_status(const command_call *call) {
    json_writer *w = call->result;
    audit_view v;
    TRY(client_audit(call->client, call->arena, &v));
    writer_open(w, '{');
    writer_put_bool(w, "offered", v.offered);
    writer_put_base64url(w, "key", v.key);
    writer_put_base64url(w, "checkpoint", v.newest);
    writer_put_number(w, "checked_ms", v.checked_ms);
    writer_key(w, "alarms");
    writer_open(w, '[');
    for (size_t i = 0; i < v.alarm_count; i++)
        write_alarm(w, &v.alarms[i]);
    writer_close(w, ']');
    writer_close(w, '}');
    return OK;
}

err command_audit_check(const command_call *call) {
    TRY(client_audit_check(call->client, call->fx));
    write_nothing(call->result);
    return OK;
}

/* ---- its entries */

static const char *who_name(uint8_t who) {
    return who == AUDIT_BY_INVITE ? "invite" : who == AUDIT_BY_CLINIC ? "clinic" : "device";
}

static void write_entry(json_writer *w, const audit_entry *e) {
    writer_open(w, '{');
    writer_put_number(w, "number", (int64_t)e->number);
    writer_put_number(w, "at_ms", (int64_t)e->at);
    writer_put_word(w, "who", who_name(e->who));
    writer_put_base64url(w, "id", SPAN(e->keyid));
    writer_put_number(w, "call", e->call);
    writer_put_base64url(w, "object", span_of(e->object, e->object_size));
    writer_put_number(w, "status", e->status);
    writer_put_text(w, "problem", span_of(e->problem, e->problem_size));
    writer_put_base64url(w, "network", span_of(e->network, e->network_size));
    writer_close(w, '}');
}

err command_audit_walk(const command_call *call) {
    TRY(client_audit_walk(call->client, call->fx, argument_number(call, "after", -1)));
    write_nothing(call->result);
    return OK;
}

err command_audit_page(const command_call *call) {
    json_writer *w = call->result;
    audit_page_view v;
    TRY(client_audit_page(call->client, call->arena, &v));
    writer_open(w, '{');
    writer_put_word(w, "state", v.state);
    writer_put_word(w, "reason", v.reason);
    writer_put_number(w, "number", v.number);
    writer_put_number(w, "target", v.target);
    writer_key(w, "entries");
    writer_open(w, '[');
    for (size_t i = 0; i < v.count; i++)
        write_entry(w, &v.entries[i]);
    writer_close(w, ']');
    writer_close(w, '}');
    return OK;
}
