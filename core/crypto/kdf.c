#include "crypto/kdf.h"

#include <assert.h>
#include <sodium/crypto_auth_hmacsha256.h>
#include <sodium/crypto_auth_hmacsha512.h>
#include <sodium/crypto_hash_sha256.h>
#include <sodium/crypto_hash_sha512.h>

#include "crypto/suite.h"
#include "wire/wire.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- hash --- */

void suite_hash_parts(const suite *s, const span *parts, size_t count, uint8_t *out) {
    if (s->hash_size == 32) {
        crypto_hash_sha256_state state;
        (void)crypto_hash_sha256_init(&state);
        for (size_t i = 0; i < count; i++)
            (void)crypto_hash_sha256_update(&state, parts[i].p, parts[i].n);
        (void)crypto_hash_sha256_final(&state, out);
    } else {
        crypto_hash_sha512_state state;
        (void)crypto_hash_sha512_init(&state);
        for (size_t i = 0; i < count; i++)
            (void)crypto_hash_sha512_update(&state, parts[i].p, parts[i].n);
        (void)crypto_hash_sha512_final(&state, out);
    }
}

void suite_hash(const suite *s, span data, uint8_t *out) { suite_hash_parts(s, &data, 1, out); }

/* --- HMAC --- */

typedef union hmac {
    crypto_auth_hmacsha256_state sha256;
    crypto_auth_hmacsha512_state sha512;
} hmac;

static void hmac_init(hmac *h, size_t hash_size, span key) {
    if (hash_size == 32)
        (void)crypto_auth_hmacsha256_init(&h->sha256, key.p, key.n);
    else
        (void)crypto_auth_hmacsha512_init(&h->sha512, key.p, key.n);
}

static void hmac_update(hmac *h, size_t hash_size, span data) {
    if (hash_size == 32)
        (void)crypto_auth_hmacsha256_update(&h->sha256, data.p, data.n);
    else
        (void)crypto_auth_hmacsha512_update(&h->sha512, data.p, data.n);
}

static void hmac_final(hmac *h, size_t hash_size, uint8_t *out) {
    if (hash_size == 32)
        (void)crypto_auth_hmacsha256_final(&h->sha256, out);
    else
        (void)crypto_auth_hmacsha512_final(&h->sha512, out);
}

/* Only what the hash used: SHA-512's states are twice as large. */
static void hmac_wipe(hmac *h, size_t hash_size) { wipe(h, hash_size == 32 ? sizeof h->sha256 : sizeof h->sha512); }

void suite_mac(const suite *s, span key, span data, uint8_t *out) {
    hmac h;
    hmac_init(&h, s->hash_size, key);
    hmac_update(&h, s->hash_size, data);
    hmac_final(&h, s->hash_size, out);
    hmac_wipe(&h, s->hash_size);
}

/* --- HKDF (RFC 5869) --- */

void kdf_extract(size_t hash_size, span salt, const span *ikm, size_t count, secret *prk) {
    uint8_t out[HASH_MAX];
    hmac h;
    hmac_init(&h, hash_size, salt);
    for (size_t i = 0; i < count; i++)
        hmac_update(&h, hash_size, ikm[i]);
    hmac_final(&h, hash_size, out);
    hmac_wipe(&h, hash_size);
    /* By way of `out`, since the salt or the key material may be *prk itself. */
    secret_set(prk, span_of(out, hash_size));
    wipe(out, hash_size);
}

/* HKDF-Expand with a key that is in HMAC's state already. */
static err expand_keyed(size_t hash_size, const hmac *keyed, const span *info, size_t count, uint8_t *out, size_t n) {
    if (n > 255 * hash_size) {
        memset(out, 0, n);
        return ERR_TOO_LARGE;
    }
    uint8_t block[HASH_MAX];
    hmac h;
    uint8_t number = 0;
    for (size_t at = 0; at < n; at += hash_size) {
        h = *keyed;
        if (number > 0)
            hmac_update(&h, hash_size, span_of(block, hash_size));
        for (size_t i = 0; i < count; i++)
            hmac_update(&h, hash_size, info[i]);
        number++;
        hmac_update(&h, hash_size, span_of(&number, 1));
        hmac_final(&h, hash_size, block);
        memcpy(out + at, block, n - at < hash_size ? n - at : hash_size);
    }
    hmac_wipe(&h, hash_size);
    wipe(block, sizeof block);
    return OK;
}

err kdf_expand(size_t hash_size, span prk, const span *info, size_t count, uint8_t *out, size_t n) {
    hmac keyed;
    hmac_init(&keyed, hash_size, prk);
    err e = expand_keyed(hash_size, &keyed, info, count, out, n);
    hmac_wipe(&keyed, hash_size);
    return e;
}

void suite_extract(const suite *s, span salt, span ikm, secret *prk) { kdf_extract(s->hash_size, salt, &ikm, 1, prk); }

err suite_expand(const suite *s, span prk, span info, uint8_t *out, size_t n) {
    return kdf_expand(s->hash_size, prk, &info, 1, out, n);
}

/* --- labels (RFC 9420 §5.1.3, §5.2, §8) --- */

size_t kdf_length(size_t n, uint8_t out[LENGTH_MAX]) {
    assert(n <= WIRE_VECTOR_MAX);
    uint32_t value = (uint32_t)n;
    wire w;
    wire_write_init(&w, out, LENGTH_MAX);
    wire_varint(&w, &value);
    return w.at;
}

size_t kdf_label_prefix(const char *label, uint8_t out[LABEL_PREFIX_MAX]) {
    size_t n = kdf_length(8 + strlen(label), out);
    memcpy(out + n, "MLS 1.0 ", 8);
    return n + 8;
}

/* RFC 9420 §8: struct { uint16 length; opaque label<V>; opaque context<V>; } KDFLabel, label = "MLS 1.0 " + Label */
static err expand_keyed_with_label(const suite *s, const hmac *keyed, span context, const labelled_output *o) {
    /* expand_keyed refuses an n that is too large for `length`. */
    uint8_t head[2 + LABEL_PREFIX_MAX], length[LENGTH_MAX];
    head[0] = (uint8_t)(o->n >> 8);
    head[1] = (uint8_t)o->n;
    size_t head_size = 2 + kdf_label_prefix(o->label, head + 2);
    const span info[] = {span_of(head, head_size), span_text(o->label), span_of(length, kdf_length(context.n, length)),
                         context};
    return expand_keyed(s->hash_size, keyed, info, COUNT(info), o->out, o->n);
}

err suite_expand_with_labels(const suite *s, span key, span context, const labelled_output *outputs, size_t count) {
    hmac keyed;
    err e = OK;
    hmac_init(&keyed, s->hash_size, key);
    for (size_t i = 0; i < count && e == OK; i++)
        e = expand_keyed_with_label(s, &keyed, context, &outputs[i]);
    hmac_wipe(&keyed, s->hash_size);
    return e;
}

err suite_expand_with_label(const suite *s, span key, const char *label, span context, uint8_t *out, size_t n) {
    return suite_expand_with_labels(s, key, context, &(labelled_output){label, out, n}, 1);
}

err suite_derive_secret(const suite *s, span key, const char *label, secret *out) {
    uint8_t derived[HASH_MAX];
    TRY(suite_expand_with_label(s, key, label, SPAN_NONE, derived, s->hash_size));
    /* The key may be *out itself. */
    secret_set(out, span_of(derived, s->hash_size));
    wipe(derived, sizeof derived);
    return OK;
}

err suite_derive_tree_secrets(const suite *s, span key, uint32_t generation, const labelled_output *outputs,
                              size_t count) {
    const uint8_t context[4] = {(uint8_t)(generation >> 24), (uint8_t)(generation >> 16), (uint8_t)(generation >> 8),
                                (uint8_t)generation};
    return suite_expand_with_labels(s, key, SPAN(context), outputs, count);
}

err suite_derive_tree_secret(const suite *s, span key, const char *label, uint32_t generation, uint8_t *out, size_t n) {
    return suite_derive_tree_secrets(s, key, generation, &(labelled_output){label, out, n}, 1);
}

/* RFC 9420 §5.2: struct { opaque label<V>; opaque value<V>; } RefHashInput */
void suite_ref_hash(const suite *s, const char *label, span value, uint8_t *out) {
    uint8_t label_length[LENGTH_MAX], value_length[LENGTH_MAX];
    span text = span_text(label);
    const span parts[] = {span_of(label_length, kdf_length(text.n, label_length)), text,
                          span_of(value_length, kdf_length(value.n, value_length)), value};
    suite_hash_parts(s, parts, COUNT(parts), out);
}
