#include "client/content.h"

#include "base/text.h"

static void wire_content_id(wire *w, content_id *o) { wire_fixed(w, o->b, sizeof o->b); }

static void wire_content_counter(wire *w, content_counter *o) { wire_u64(w, &o->n); }

static void wire_content_person(wire *w, content_person *o) {
    wire_fixed(w, o->subject_id, sizeof o->subject_id);
    wire_u8(w, &o->kind);
    wire_opaque(w, &o->name);
}

static void wire_content_entry(wire *w, content_entry *o) {
    wire_fixed(w, o->id, sizeof o->id);
    wire_fixed(w, o->device_id, sizeof o->device_id);
    wire_fixed(w, o->subject_id, sizeof o->subject_id);
    wire_u64(w, &o->sent_ms);
    wire_opaque(w, &o->text);
}

void wire_content(wire *w, content *o) {
    wire_u16(w, &o->version);
    if (wire_reading(w) && o->version != CONTENT_VERSION)
        wire_fail(w, ERR_UNSUPPORTED);
    wire_fixed(w, o->id, sizeof o->id);
    wire_u64(w, &o->sent_ms);
    wire_u64(w, &o->counter);
    wire_fixed(w, o->previous, sizeof o->previous);
    wire_u8(w, &o->kind);
    switch (o->kind) {
    case CONTENT_TEXT: wire_opaque(w, &o->text); break;
    case CONTENT_RECEIPT:
        wire_u8(w, &o->receipt_state);
        WIRE_VEC(w, o->receipts, wire_content_id);
        break;
    case CONTENT_PROFILE: WIRE_VEC(w, o->people, wire_content_person); break;
    case CONTENT_HISTORY:
        wire_fixed(w, o->target, sizeof o->target);
        WIRE_VEC(w, o->entries, wire_content_entry);
        break;
    case CONTENT_WITHDRAWN: WIRE_VEC(w, o->withdrawn, wire_content_counter); break;
    case CONTENT_CHECKPOINT:
        wire_fixed(w, o->audit_key, sizeof o->audit_key);
        wire_fixed(w, o->checkpoint, sizeof o->checkpoint);
        break;
    default:
        if (o->kind >= CONTENT_SILENT)
            wire_rest(w, &o->unknown);
        else
            wire_fail(w, ERR_UNSUPPORTED);
    }
}

static bool text_fits(span text, size_t max) { return text.n > 0 && text.n <= max && utf8_valid(text); }

err content_read(span bytes, arena *a, content *o) {
    *o = (content){0}; /* the visitor fills the fields of one kind only */
    TRY(WIRE_DECODE(bytes, a, wire_content, o));
    /* Times and counters become SQLite's signed integers. */
    if (o->sent_ms > INT64_MAX || o->counter == 0 || o->counter > INT64_MAX)
        return ERR_INVALID;
    if (o->kind == CONTENT_TEXT && !text_fits(o->text, TEXT_MAX))
        return ERR_INVALID;
    if (o->kind == CONTENT_RECEIPT && o->receipt_state != MESSAGE_DELIVERED && o->receipt_state != MESSAGE_READ &&
        o->receipt_state != MESSAGE_FAILED)
        return ERR_INVALID;
    for (size_t i = 0; i < o->people.n; i++)
        if (!text_fits(o->people.p[i].name, NAME_MAX_BYTES))
            return ERR_INVALID;
    for (size_t i = 0; i < o->entries.n; i++)
        if (!text_fits(o->entries.p[i].text, TEXT_MAX) || o->entries.p[i].sent_ms > INT64_MAX)
            return ERR_INVALID;
    return OK;
}
