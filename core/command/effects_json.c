#include "command/effects_json.h"

#include "command/frame.h"

static void write_request(json_writer *w, const http_request *r, int64_t *bodies) {
    writer_open(w, '{');
    writer_put_unsigned(w, "id", r->id);
    writer_put_word(w, "method", r->method);
    writer_put_word(w, "path", r->path);
    writer_key(w, "headers");
    writer_open(w, '{');
    for (const http_header *h = r->headers; h != NULL; h = h->next)
        writer_put_word(w, h->name, h->value);
    writer_close(w, '}');
    if (r->body.p != NULL)
        writer_put_number(w, "body", (*bodies)++);
    if (r->waits)
        writer_put_bool(w, "waits", true);
    writer_close(w, '}');
}

static const char *event_name(event_kind kind) {
    switch (kind) {
    case EVENT_ACCOUNT: return "account";
    case EVENT_CONNECTION: return "connection";
    case EVENT_CONVERSATION: return "conversation";
    case EVENT_MESSAGE: return "message";
    case EVENT_NOTICE: return "notice";
    case EVENT_INVITATION: return "invitation";
    case EVENT_AUDIT: return "audit";
    }
    return NULL;
}

static void write_event(json_writer *w, const event *e) {
    writer_open(w, '{');
    writer_put_word(w, "event", event_name(e->kind));
    if (e->conversation != 0)
        writer_put_decimal(w, "conversation", e->conversation);
    if (e->message_id.n > 0)
        writer_put_base64url(w, "message", e->message_id);
    if (e->code != NULL)
        writer_put_word(w, "code", e->code);
    if (e->text != NULL)
        writer_put_word(w, "text", e->text);
    if (e->kind == EVENT_INVITATION && e->number >= 0)
        writer_put_number(w, "attempts_left", e->number);
    writer_close(w, '}');
}

void effects_write_header(json_writer *w, const effects *fx) {
    int64_t bodies = 0;
    if (fx->requests != NULL) {
        writer_key(w, "http");
        writer_open(w, '[');
        for (const http_request *r = fx->requests; r != NULL; r = r->next)
            write_request(w, r, &bodies);
        writer_close(w, ']');
    }
    if (fx->events != NULL) {
        writer_key(w, "events");
        writer_open(w, '[');
        for (const event *e = fx->events; e != NULL; e = e->next)
            write_event(w, e);
        writer_close(w, ']');
    }
    if (fx->timer_ms >= 0)
        writer_put_number(w, "timer", fx->timer_ms);
}

void effects_write_attachments(buffer *b, const effects *fx) {
    for (const http_request *r = fx->requests; r != NULL; r = r->next)
        if (r->body.p != NULL)
            frame_attachment(b, r->body);
}
