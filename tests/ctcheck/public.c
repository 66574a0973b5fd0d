/* public.c: what comes out of secrets and is public by design. The linker puts each __wrap_ function here in the place of the
 * one it names (--wrap), so that the core's code runs as it is and its public results stop being marked. Every PUBLIC needs a
 * reason; whatever is not named here stays secret. */
#if __has_include(<valgrind/memcheck.h>)
#include "base/text.h"
#include "crypto/kem.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "crypto/signature.h"
#include "ctcheck.h"
#include "mls/framing.h"
#include "mls/key_schedule.h"
#include "mls/psk.h"
#include "wire/wire.h"

#define WRAPPED(result, name, ...)                                                                                     \
    result __real_##name(__VA_ARGS__);                                                                                 \
    result __wrap_##name(__VA_ARGS__);                                                                                 \
    result __wrap_##name(__VA_ARGS__)

/* Not public but the source of all that is secret: up to 16 bytes are nonces, salts, ids, which are sent in the clear
 * (random.h); more are keys. */
WRAPPED(void, random_bytes, void *out, size_t n) {
    __real_random_bytes(out, n);
    if (n > 16)
        SECRET(out, n);
}

/* --- whether something was refused is seen by all: by an error, or by no message --- */

WRAPPED(int, crypto_verify_16, const unsigned char *x, const unsigned char *y) {
    int result = __real_crypto_verify_16(x, y);
    PUBLIC(&result, sizeof result);
    return result;
}

WRAPPED(bool, secret_equal, span a, span b) {
    bool equal = __real_secret_equal(a, b);
    PUBLIC(&equal, sizeof equal);
    return equal;
}

WRAPPED(bool, secret_is_zero, span a) {
    bool zero = __real_secret_is_zero(a);
    PUBLIC(&zero, sizeof zero);
    return zero;
}

/* -1 for points of low order, whatever the scalar, and the point is public. */
WRAPPED(int, crypto_scalarmult_curve25519, unsigned char *q, const unsigned char *n, const unsigned char *p) {
    int result = __real_crypto_scalarmult_curve25519(q, n, p);
    PUBLIC(&result, sizeof result);
    return result;
}

/* Whether text was well formed. */
WRAPPED(err, hex_read, uint8_t *out, size_t size, span text) {
    err e = __real_hex_read(out, size, text);
    PUBLIC(&e, sizeof e);
    return e;
}

WRAPPED(err, base64url_read, uint8_t *out, size_t size, span text) {
    err e = __real_base64url_read(out, size, text);
    PUBLIC(&e, sizeof e);
    return e;
}

/* --- public keys --- */

WRAPPED(err, suite_public_key, const suite *s, const uint8_t *private_key, uint8_t *public_key) {
    err e = __real_suite_public_key(s, private_key, public_key);
    PUBLIC(public_key, s->kem_public_size);
    return e;
}

WRAPPED(err, suite_derive_key_pair, const suite *s, span ikm, kem_key_pair *pair) {
    err e = __real_suite_derive_key_pair(s, ikm, pair);
    PUBLIC(pair->public_key, s->kem_public_size);
    return e;
}

WRAPPED(err, suite_generate_key_pair, const suite *s, kem_key_pair *pair) {
    err e = __real_suite_generate_key_pair(s, pair);
    PUBLIC(pair->public_key, s->kem_public_size);
    return e;
}

WRAPPED(void, signature_key_from_seed, const uint8_t *seed, signature_key *key) {
    __real_signature_key_from_seed(seed, key);
    PUBLIC(key->b + 32, 32);
}

/* The plaintext that is opened next is read by a parser: see below. */
static bool parsed;

/* --- signatures, KEM outputs, ciphertexts, tags: sent to the relay --- */

WRAPPED(void, signature_sign, const signature_key *key, span message, uint8_t *signature) {
    __real_signature_sign(key, message, signature);
    PUBLIC(signature, ED25519_SIGNATURE_SIZE);
}

WRAPPED(err, signature_sign_with_label, const signature_key *key, const char *label, span content, arena *a,
        uint8_t *signature) {
    err e = __real_signature_sign_with_label(key, label, content, a, signature);
    PUBLIC(signature, ED25519_SIGNATURE_SIZE);
    return e;
}

WRAPPED(err, kem_encapsulate, const suite *s, span public_key, uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    err e = __real_kem_encapsulate(s, public_key, kem_output, shared);
    PUBLIC(kem_output, s->kem_output_size);
    return e;
}

WRAPPED(err, suite_aead_seal, const suite *s, const uint8_t *key, const uint8_t *nonce, span aad, span plaintext,
        uint8_t *out) {
    err e = __real_suite_aead_seal(s, key, nonce, aad, plaintext, out);
    PUBLIC(out, plaintext.n + AEAD_TAG_SIZE);
    parsed = false;
    return e;
}

/* It stands in the GroupInfo, and the transcript hash covers it. */
WRAPPED(void, confirmation_tag_make, const suite *s, span confirmation_key, span confirmed, uint8_t *tag) {
    __real_confirmation_tag_make(s, confirmation_key, confirmed, tag);
    PUBLIC(tag, s->hash_size);
}

WRAPPED(void, seal, const uint8_t *key, span aad, span plaintext, uint8_t *out) {
    __real_seal(key, aad, plaintext, out);
    PUBLIC(out, plaintext.n + SEAL_OVERHEAD);
}

/* psk_nonce: part of the PSK's name in the commit. */
WRAPPED(err, psk_with_nonce, const suite *s, const psk_id *id, arena *a, psk_id *out) {
    err e = __real_psk_with_nonce(s, id, a, out);
    if (e == OK)
        PUBLIC(out->nonce.p, out->nonce.n);
    return e;
}

/* --- what is read by parsers, whose time depends on it --- */

/* Messages between members: an MLS handshake or a text. Who could time its parsing learns its kind and its lengths. And the
 * GroupInfo of a Welcome: public keys, names of members and hashes. All other plaintexts stay secret: path secrets above all. */
WRAPPED(err, suite_aead_open, const suite *s, const uint8_t *key, const uint8_t *nonce, span aad, span ciphertext,
        uint8_t *out) {
    err e = __real_suite_aead_open(s, key, nonce, aad, ciphertext, out);
    if (parsed && e == OK)
        PUBLIC(out, ciphertext.n - AEAD_TAG_SIZE);
    parsed = false;
    return e;
}

WRAPPED(err, framing_open_private, const suite *s, private_message *message, const sender_data *sent_by,
        const secret_tree_step *step, arena *a, framed_content *content, framed_content_auth *auth) {
    parsed = true;
    return __real_framing_open_private(s, message, sent_by, step, a, content, auth);
}

/* Its key opens, or seals, one thing: the GroupInfo, next. */
WRAPPED(err, key_schedule_welcome_key, const suite *s, span welcome_secret, uint8_t key[AEAD_KEY_SIZE],
        uint8_t nonce[AEAD_NONCE_SIZE]) {
    err e = __real_key_schedule_welcome_key(s, welcome_secret, key, nonce);
    parsed = true;
    return e;
}

/* Sender and generation choose the ratchet by which the message is opened. Hidden from the relay, known to all members. */
WRAPPED(err, framing_open_sender_data, const suite *s, span sender_data_secret, private_message *message, arena *a,
        sender_data *out) {
    err e = __real_framing_open_sender_data(s, sender_data_secret, message, a, out);
    PUBLIC(out, sizeof *out);
    return e;
}

/* Of GroupSecrets the structure: lengths and whether there is a path secret. joiner_secret and path_secret stay secret; the
 * ids of PSKs, which stand last, are in the commit as well. */
static void publish_structure(span plain) {
    uint8_t *at = (uint8_t *)(uintptr_t)plain.p, *end = at + plain.n;
    for (int i = 0; i < 2; i++) { /* joiner_secret<V>; optional path_secret<V> */
        if (i == 1) {
            PUBLIC(at, 1);
            if (*at++ == 0)
                break;
        }
        PUBLIC(at, 1);
        size_t size = (size_t)1 << (*at >> 6), n = *at & 0x3f;
        PUBLIC(at, size);
        for (size_t k = 1; k < size; k++)
            n = n << 8 | at[k];
        at += size + n;
    }
    PUBLIC(at, (size_t)(end - at));
}

WRAPPED(err, suite_decrypt_with_label, const suite *s, const uint8_t *private_key, const char *label, span context,
        span kem_output, span ciphertext, uint8_t *plaintext) {
    err e = __real_suite_decrypt_with_label(s, private_key, label, context, kem_output, ciphertext, plaintext);
    if (e == OK && strcmp(label, "Welcome") == 0)
        publish_structure(span_of(plaintext, ciphertext.n - AEAD_TAG_SIZE));
    return e;
}

/* --- cost --- */

/* The smallest Argon2id: what it branches on does not depend on how often it does so. */
WRAPPED(err, stretch, span secret_text, const uint8_t *salt, stretch_cost cost, uint8_t *out, size_t n) {
    cost = (stretch_cost){1, 64};
    return __real_stretch(secret_text, salt, cost, out, n);
}
#endif
