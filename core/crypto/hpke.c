#include "crypto/hpke_label.h"
#include "crypto/kem.h"
#include "wire/wire.h"

/* RFC 9180, base mode only and one message a context: the sequence number is always 0, so it cannot wrap
 * (GHSA-g433-pq76-6cmf) and the nonce is base_nonce itself. */

#define MODE_BASE 0

typedef struct suite_id {
    uint8_t b[10];
} suite_id;

/* suite_id = "HPKE" | I2OSP(kem_id, 2) | I2OSP(kdf_id, 2) | I2OSP(aead_id, 2) */
static suite_id suite_id_of(const suite *s) {
    return (suite_id){{'H', 'P', 'K', 'E', (uint8_t)(s->kem_id >> 8), (uint8_t)s->kem_id, (uint8_t)(s->kdf_id >> 8),
                       (uint8_t)s->kdf_id, (uint8_t)(s->aead_id >> 8), (uint8_t)s->aead_id}};
}

/* key_schedule_context = mode | psk_id_hash | info_hash, with no psk: neither depends on the recipient. */
static void schedule_context(const suite *s, const span *info, size_t info_count, uint8_t out[HPKE_CONTEXT_MAX]) {
    const suite_id id = suite_id_of(s);
    secret part;
    out[0] = MODE_BASE;
    hpke_labeled_extract(s->hash_size, SPAN(id.b), SPAN_NONE, "psk_id_hash", NULL, 0, &part);
    memcpy(out + 1, part.b, s->hash_size);
    hpke_labeled_extract(s->hash_size, SPAN(id.b), SPAN_NONE, "info_hash", info, info_count, &part);
    memcpy(out + 1 + s->hash_size, part.b, s->hash_size);
}

/* What the key schedule has made once the shared secret went in, and from which the rest is expanded. */
typedef struct schedule {
    const suite *s;
    suite_id id;
    secret secret;
    span context;
} schedule;

static void schedule_wipe(schedule *k) { secret_wipe(&k->secret); }

/* RFC 9180 §5.1. Wipes the shared secret; the context must outlive the schedule. */
static void schedule_init(schedule *k, const suite *s, uint8_t shared[KEM_SECRET_SIZE], const uint8_t *context) {
    k->s = s;
    k->id = suite_id_of(s);
    k->context = span_of(context, 1 + 2 * (size_t)s->hash_size);
    hpke_labeled_extract(s->hash_size, SPAN(k->id.b), span_of(shared, KEM_SECRET_SIZE), "secret", NULL, 0, &k->secret);
    wipe(shared, KEM_SECRET_SIZE);
}

static err schedule_expand(const schedule *k, const char *label, uint8_t *out, size_t n) {
    return hpke_labeled_expand(k->s->hash_size, SPAN(k->id.b), secret_span(&k->secret), label, &k->context, 1, out, n);
}

typedef struct key_nonce {
    uint8_t key[AEAD_KEY_SIZE];
    uint8_t nonce[AEAD_NONCE_SIZE];
} key_nonce;

static err schedule_key_nonce(const schedule *k, key_nonce *kn) {
    TRY(schedule_expand(k, "key", kn->key, sizeof kn->key));
    return schedule_expand(k, "base_nonce", kn->nonce, sizeof kn->nonce);
}

/* RFC 9180 §5.3 */
static err schedule_export(const schedule *k, span exporter_context, uint8_t *out, size_t n) {
    uint8_t exporter[HASH_MAX];
    size_t hash_size = k->s->hash_size;
    TRY(schedule_expand(k, "exp", exporter, hash_size));
    err e = hpke_labeled_expand(hash_size, SPAN(k->id.b), span_of(exporter, hash_size), "sec", &exporter_context, 1,
                                out, n);
    wipe(exporter, sizeof exporter);
    return e;
}

static err seal_in(const suite *s, const uint8_t *context, span public_key, span aad, span plaintext,
                   uint8_t *kem_output, uint8_t *ciphertext) {
    uint8_t shared[KEM_SECRET_SIZE];
    TRY(kem_encapsulate(s, public_key, kem_output, shared));
    schedule k;
    key_nonce kn;
    schedule_init(&k, s, shared, context);
    err e = schedule_key_nonce(&k, &kn);
    if (e == OK)
        e = suite_aead_seal(s, kn.key, kn.nonce, aad, plaintext, ciphertext);
    schedule_wipe(&k);
    wipe(&kn, sizeof kn);
    return e;
}

static err open_parts(const suite *s, const uint8_t *private_key, span kem_output, const span *info, size_t info_count,
                      span aad, span ciphertext, uint8_t *plaintext) {
    uint8_t shared[KEM_SECRET_SIZE], context[HPKE_CONTEXT_MAX];
    TRY(kem_decapsulate(s, private_key, kem_output, shared));
    schedule k;
    key_nonce kn;
    schedule_context(s, info, info_count, context);
    schedule_init(&k, s, shared, context);
    err e = schedule_key_nonce(&k, &kn);
    if (e == OK)
        e = suite_aead_open(s, kn.key, kn.nonce, aad, ciphertext, plaintext);
    schedule_wipe(&k);
    wipe(&kn, sizeof kn);
    return e;
}

err hpke_seal(const suite *s, span public_key, span info, span aad, span plaintext, uint8_t *kem_output,
              uint8_t *ciphertext) {
    uint8_t context[HPKE_CONTEXT_MAX];
    schedule_context(s, &info, 1, context);
    return seal_in(s, context, public_key, aad, plaintext, kem_output, ciphertext);
}

err hpke_open(const suite *s, const uint8_t *private_key, span kem_output, span info, span aad, span ciphertext,
              uint8_t *plaintext) {
    return open_parts(s, private_key, kem_output, &info, 1, aad, ciphertext, plaintext);
}

/* RFC 9420 §5.1.3: struct { opaque label<V>; opaque context<V>; } EncryptContext, label = "MLS 1.0 " + Label; in pieces,
 * for the context is a whole GroupContext when path secrets are encrypted. */
typedef struct context_parts {
    uint8_t prefix[LABEL_PREFIX_MAX], length[LENGTH_MAX];
    span parts[4];
} context_parts;

static void context_parts_init(context_parts *c, const char *label, span context) {
    c->parts[0] = span_of(c->prefix, kdf_label_prefix(label, c->prefix));
    c->parts[1] = span_text(label);
    c->parts[2] = span_of(c->length, kdf_length(context.n, c->length));
    c->parts[3] = context;
}

void suite_encrypt_context(const suite *s, const char *label, span context, encrypt_context *out) {
    context_parts c;
    context_parts_init(&c, label, context);
    out->s = s;
    schedule_context(s, c.parts, 4, out->b);
}

err suite_encrypt_in_context(const encrypt_context *c, span public_key, span plaintext, uint8_t *kem_output,
                             uint8_t *ciphertext) {
    return seal_in(c->s, c->b, public_key, SPAN_NONE, plaintext, kem_output, ciphertext);
}

err suite_encrypt_with_label(const suite *s, span public_key, const char *label, span context, span plaintext,
                             uint8_t *kem_output, uint8_t *ciphertext) {
    encrypt_context c;
    suite_encrypt_context(s, label, context, &c);
    return suite_encrypt_in_context(&c, public_key, plaintext, kem_output, ciphertext);
}

err suite_decrypt_with_label(const suite *s, const uint8_t *private_key, const char *label, span context,
                             span kem_output, span ciphertext, uint8_t *plaintext) {
    context_parts c;
    context_parts_init(&c, label, context);
    return open_parts(s, private_key, kem_output, c.parts, 4, SPAN_NONE, ciphertext, plaintext);
}

err hpke_send_export(const suite *s, span public_key, span info, span exporter_context, uint8_t *kem_output,
                     uint8_t *out, size_t n) {
    uint8_t shared[KEM_SECRET_SIZE], context[HPKE_CONTEXT_MAX];
    TRY(kem_encapsulate(s, public_key, kem_output, shared));
    schedule k;
    schedule_context(s, &info, 1, context);
    schedule_init(&k, s, shared, context);
    err e = schedule_export(&k, exporter_context, out, n);
    schedule_wipe(&k);
    return e;
}

err hpke_receive_export(const suite *s, const uint8_t *private_key, span kem_output, span info, span exporter_context,
                        uint8_t *out, size_t n) {
    uint8_t shared[KEM_SECRET_SIZE], context[HPKE_CONTEXT_MAX];
    TRY(kem_decapsulate(s, private_key, kem_output, shared));
    schedule k;
    schedule_context(s, &info, 1, context);
    schedule_init(&k, s, shared, context);
    err e = schedule_export(&k, exporter_context, out, n);
    schedule_wipe(&k);
    return e;
}
