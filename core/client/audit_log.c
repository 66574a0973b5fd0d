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

void wire_audit_checkpoint(wire *w, audit_checkpoint *p) {
    wire_fixed(w, p->clinic, sizeof p->clinic);
    wire_u64(w, &p->number);
    wire_fixed(w, p->hash, sizeof p->hash);
    wire_u64(w, &p->at);
    wire_fixed(w, p->signature, sizeof p->signature);
}

static void encode(const audit_checkpoint *p, uint8_t out[AUDIT_CHECKPOINT_SIZE]) {
    audit_checkpoint copy = *p;
    wire w;
    wire_write_init(&w, out, AUDIT_CHECKPOINT_SIZE);
    wire_audit_checkpoint(&w, &copy);
}

/* What the signature covers. */
static span checkpoint_content(const uint8_t p[AUDIT_CHECKPOINT_SIZE],
                               uint8_t out[LABEL_SIZE + AUDIT_CHECKPOINT_SIZE]) {
    static const char LABEL[] = "Sotto checkpoint 1";
    size_t label = sizeof LABEL - 1, n = AUDIT_CHECKPOINT_SIZE - ED25519_SIGNATURE_SIZE;
    memcpy(out, LABEL, label);
    memcpy(out + label, p, n);
    return span_of(out, label + n);
}

void audit_checkpoint_sign(audit_checkpoint *p, const signature_key *key) {
    uint8_t encoded[AUDIT_CHECKPOINT_SIZE], content[LABEL_SIZE + AUDIT_CHECKPOINT_SIZE];
    encode(p, encoded);
    signature_sign(key, checkpoint_content(encoded, content), p->signature);
}

err audit_checkpoint_verify_encoded(const uint8_t p[AUDIT_CHECKPOINT_SIZE], span public_key) {
    uint8_t content[LABEL_SIZE + AUDIT_CHECKPOINT_SIZE];
    return signature_verify(public_key, checkpoint_content(p, content),
                            span_of(p + AUDIT_CHECKPOINT_SIZE - ED25519_SIGNATURE_SIZE, ED25519_SIGNATURE_SIZE));
}

err audit_checkpoint_verify(const audit_checkpoint *p, span public_key) {
    uint8_t encoded[AUDIT_CHECKPOINT_SIZE];
    encode(p, encoded);
    return audit_checkpoint_verify_encoded(encoded, public_key);
}
