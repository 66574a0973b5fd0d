#include "client/roster.h"

static void wire_member(wire *w, roster_member *o) {
    wire_fixed(w, o->device_id, sizeof o->device_id);
    wire_certificate_chain(w, &o->chain);
}

static void wire_revocation(wire *w, roster_revocation *o) {
    wire_fixed(w, o->device_id, sizeof o->device_id);
    wire_u64(w, &o->at_ms);
}

static void wire_roster(wire *w, roster *o) {
    wire_u16(w, &o->version);
    if (wire_reading(w) && o->version != ROSTER_VERSION)
        wire_fail(w, ERR_UNSUPPORTED);
    wire_fixed(w, o->clinic_id, sizeof o->clinic_id);
    wire_u64(w, &o->number);
    wire_u64(w, &o->issued_ms);
    WIRE_VEC(w, o->members, wire_member);
    WIRE_VEC(w, o->revoked, wire_revocation);
    wire_fixed(w, o->signature, sizeof o->signature);
}

/* "Sotto roster 1" and the encoded roster up to its signature. */
static err signed_part(span bytes, arena *a, span *message) {
    static const char label[] = "Sotto roster 1";
    size_t label_size = sizeof label - 1;
    if (bytes.n < ED25519_SIGNATURE_SIZE)
        return ERR_TRUNCATED;
    size_t body = bytes.n - ED25519_SIGNATURE_SIZE;
    uint8_t *p = arena_take(a, label_size + body, 1);
    if (!p)
        return ERR_ARENA;
    memcpy(p, label, label_size);
    memcpy(p + label_size, bytes.p, body);
    *message = span_of(p, label_size + body);
    return OK;
}

err roster_issue(roster *r, const signature_key *root, arena *a, span *bytes) {
    r->version = ROSTER_VERSION;
    clinic_id_of(signature_key_public(root).p, r->clinic_id);
    TRY(WIRE_ENCODE(a, wire_roster, r, bytes));
    span message;
    TRY(signed_part(*bytes, a, &message));
    signature_sign(root, message, r->signature);
    return WIRE_ENCODE(a, wire_roster, r, bytes);
}

err roster_read(span bytes, const uint8_t root_key[ED25519_PUBLIC_SIZE], arena *a, roster *r) {
    TRY(WIRE_DECODE(bytes, a, wire_roster, r));
    uint8_t clinic_id[ID_SIZE];
    clinic_id_of(root_key, clinic_id);
    if (memcmp(clinic_id, r->clinic_id, ID_SIZE) != 0)
        return ERR_CERTIFICATE;
    span message;
    TRY(signed_part(bytes, a, &message));
    TRY(signature_verify(span_of(root_key, ED25519_PUBLIC_SIZE), message, SPAN(r->signature)));
    if (r->number == 0 || r->number > INT64_MAX || r->issued_ms > INT64_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < r->members.n; i++) {
        const roster_member *m = &r->members.p[i];
        TRY(certificate_chain_check(&m->chain, root_key, 0));
        const certificate *holder = certificate_chain_holder(&m->chain);
        uint8_t device_id[ID_SIZE];
        device_id_of(holder->subject_key, device_id);
        if (memcmp(device_id, m->device_id, ID_SIZE) != 0)
            return ERR_CERTIFICATE;
        if (holder->kind != CERTIFICATE_STAFF && holder->kind != CERTIFICATE_AGENT)
            return ERR_CERTIFICATE;
    }
    return OK;
}
