#include "client/audit_log.h"

#include "crypto/sha256.h"

#define LABEL_SIZE 32 /* room for each label */

void wire_audit_entry(wire *w, audit_entry *e) {
    wire_u64(w, &e->number);
    wire_u64(w, &e->at);
    wire_u8(w, &e->who);
    wire_fixed(w, e->keyid, sizeof e->keyid);
    wire_u8(w, &e->call);
    wire_opaque_into(w, e->object, sizeof e->object, &e->object_size);
    wire_u16(w, &e->status);
    wire_opaque_into(w, e->problem, sizeof e->problem, &e->problem_size);
    wire_opaque_into(w, e->network, sizeof e->network, &e->network_size);
    wire_opaque(w, &e->sealed);
    wire_fixed(w, e->previous, sizeof e->previous);
}

void audit_hash(span entry, uint8_t out[AUDIT_HASH_SIZE]) {
    static const char LABEL[] = "Sotto audit 1";
    uint8_t content[LABEL_SIZE + AUDIT_ENTRY_MAX];
    size_t label = sizeof LABEL - 1, n = entry.n < AUDIT_ENTRY_MAX ? entry.n : AUDIT_ENTRY_MAX;
    memcpy(content, LABEL, label);
    if (n > 0)
        memcpy(content + label, entry.p, n);
    sha256(span_of(content, label + n), out);
}

static void wire_checkpoint_signed(wire *w, audit_checkpoint *p) {
    wire_fixed(w, p->clinic, sizeof p->clinic);
    wire_u64(w, &p->number);
    wire_fixed(w, p->hash, sizeof p->hash);
    wire_u64(w, &p->at);
}

void wire_audit_checkpoint(wire *w, audit_checkpoint *p) {
    wire_checkpoint_signed(w, p);
    wire_fixed(w, p->signature, sizeof p->signature);
}

#define CHECKPOINT_CONTENT_SIZE (LABEL_SIZE + AUDIT_CHECKPOINT_SIZE)

/* What the signature covers. */
static span checkpoint_content(const audit_checkpoint *p, uint8_t *out, size_t size) {
    static const char LABEL[] = "Sotto checkpoint 1";
    audit_checkpoint copy = *p;
    wire w;
    memcpy(out, LABEL, sizeof LABEL - 1);
    wire_write_init(&w, out + sizeof LABEL - 1, size - (sizeof LABEL - 1));
    wire_checkpoint_signed(&w, &copy);
    return span_of(out, sizeof LABEL - 1 + w.at);
}

void audit_checkpoint_sign(audit_checkpoint *p, const signature_key *key) {
    uint8_t content[CHECKPOINT_CONTENT_SIZE];
    signature_sign(key, checkpoint_content(p, content, sizeof content), p->signature);
}

err audit_checkpoint_verify(const audit_checkpoint *p, span public_key) {
    uint8_t content[CHECKPOINT_CONTENT_SIZE];
    return signature_verify(public_key, checkpoint_content(p, content, sizeof content), SPAN(p->signature));
}
