/* crypto_paths.c: core/base and core/crypto with every key secret. */
#if __has_include(<valgrind/memcheck.h>)
#include "base/text.h"
#include "crypto/hpke_label.h"
#include "crypto/kem.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "crypto/signature.h"
#include "ctcheck.h"

static const uint8_t context_bytes[200] = {1, 2, 3};
#define CONTEXT SPAN(context_bytes)

/* Keys and other secrets of the suite's size. */
static secret fresh(const suite *s) {
    secret key = {.n = s->hash_size};
    random_bytes(key.b, key.n);
    return key;
}

static void labelled_functions(const suite *s) {
    secret key = fresh(s), salt = fresh(s), out;
    uint8_t bytes[150];
    suite_extract(s, secret_span(&salt), secret_span(&key), &out);
    must_be_secret(out.b, out.n);
    MUST(suite_expand(s, secret_span(&key), CONTEXT, bytes, sizeof bytes) == OK);
    must_be_secret(bytes, sizeof bytes);
    MUST(suite_expand_with_label(s, secret_span(&key), "label", CONTEXT, bytes, sizeof bytes) == OK);
    MUST(suite_derive_secret(s, secret_span(&key), "label", &out) == OK);
    must_be_secret(out.b, out.n);
    MUST(suite_derive_tree_secret(s, secret_span(&key), "key", 7, bytes, AEAD_KEY_SIZE) == OK);
    must_be_secret(bytes, AEAD_KEY_SIZE);
    suite_mac(s, secret_span(&key), CONTEXT, bytes);
    must_be_secret(bytes, s->hash_size);
    suite_hash(s, secret_span(&key), bytes);
    must_be_secret(bytes, s->hash_size);
    derive_key(secret_span(&key), "label", bytes, sizeof bytes);
    must_be_secret(bytes, sizeof bytes);
}

static void aead(const suite *s) {
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE], plain[300], sealed[316], opened[300];
    random_bytes(key, sizeof key);
    random_bytes(nonce, sizeof nonce);
    random_bytes(plain, sizeof plain);
    SECRET(nonce, sizeof nonce); /* of a ratchet, where it is as secret as the key */
    MUST(suite_aead_seal(s, key, nonce, CONTEXT, SPAN(plain), sealed) == OK);
    MUST(suite_aead_open(s, key, nonce, CONTEXT, SPAN(sealed), opened) == OK);
    must_be_secret(opened, 256);
    sealed[sizeof sealed - 1] ^= 1;
    MUST(suite_aead_open(s, key, nonce, CONTEXT, SPAN(sealed), opened) == ERR_DECRYPT);
}

static void sealed_values(const suite *s) {
    uint8_t key[SEAL_KEY_SIZE], plain[100], sealed[100 + SEAL_OVERHEAD], opened[100];
    random_bytes(key, sizeof key);
    random_bytes(plain, sizeof plain);
    seal(key, CONTEXT, SPAN(plain), sealed);
    MUST(unseal(key, CONTEXT, SPAN(sealed), opened) == OK);
    must_be_secret(opened, sizeof opened);
    sealed[40] ^= 1;
    MUST(unseal(key, CONTEXT, SPAN(sealed), opened) == ERR_DECRYPT);
}

static void comparisons(const suite *s) {
    uint8_t a[64], b[64];
    random_bytes(a, sizeof a);
    memcpy(b, a, sizeof b);
    MUST(secret_equal(SPAN(a), SPAN(b)));
    b[63] ^= 1;
    MUST(!secret_equal(SPAN(a), SPAN(b)));
    MUST(!secret_is_zero(SPAN(a)));
}

static void key_pairs(const suite *s) {
    kem_key_pair pair;
    secret ikm = fresh(s);
    uint8_t public_key[KEM_PUBLIC_MAX];
    MUST(suite_generate_key_pair(s, &pair) == OK);
    must_be_secret(pair.private_key, sizeof pair.private_key);
    MUST(suite_public_key(s, pair.private_key, public_key) == OK);
    MUST(memcmp(public_key, pair.public_key, s->kem_public_size) == 0);
    MUST(suite_derive_key_pair(s, secret_span(&ikm), &pair) == OK);
    must_be_secret(pair.private_key, sizeof pair.private_key);
}

static void encapsulation(const suite *s) {
    kem_key_pair pair;
    uint8_t output[KEM_OUTPUT_MAX], sent[KEM_SECRET_SIZE], received[KEM_SECRET_SIZE];
    MUST(suite_generate_key_pair(s, &pair) == OK);
    MUST(kem_encapsulate(s, span_of(pair.public_key, s->kem_public_size), output, sent) == OK);
    must_be_secret(sent, sizeof sent);
    MUST(kem_decapsulate(s, pair.private_key, span_of(output, s->kem_output_size), received) == OK);
    must_be_secret(received, sizeof received);
    MUST(secret_equal(SPAN(sent), SPAN(received)));
    /* X-Wing rejects implicitly (FIPS 203 §6.3): a ciphertext that is none gives another secret, in the same time. */
    output[3] ^= 1;
    MUST(kem_decapsulate(s, pair.private_key, span_of(output, s->kem_output_size), received) == OK);
    must_be_secret(received, sizeof received);
    MUST(!secret_equal(SPAN(sent), SPAN(received)));
}

static void hpke(const suite *s) {
    kem_key_pair pair;
    secret plain = fresh(s);
    uint8_t output[KEM_OUTPUT_MAX], sealed[HASH_MAX + AEAD_TAG_SIZE], opened[HASH_MAX];
    MUST(suite_generate_key_pair(s, &pair) == OK);
    const span key = span_of(pair.public_key, s->kem_public_size), kem_output = span_of(output, s->kem_output_size),
               ciphertext = span_of(sealed, (size_t)plain.n + AEAD_TAG_SIZE);
    MUST(hpke_seal(s, key, CONTEXT, CONTEXT, secret_span(&plain), output, sealed) == OK);
    MUST(hpke_open(s, pair.private_key, kem_output, CONTEXT, CONTEXT, ciphertext, opened) == OK);
    must_be_secret(opened, plain.n);
    sealed[0] ^= 1;
    MUST(hpke_open(s, pair.private_key, kem_output, CONTEXT, CONTEXT, ciphertext, opened) == ERR_DECRYPT);
    MUST(suite_encrypt_with_label(s, key, "UpdatePathNode", CONTEXT, secret_span(&plain), output, sealed) == OK);
    MUST(suite_decrypt_with_label(s, pair.private_key, "UpdatePathNode", CONTEXT, kem_output, ciphertext, opened) ==
         OK);
    must_be_secret(opened, plain.n);
    MUST(hpke_send_export(s, key, CONTEXT, CONTEXT, output, opened, plain.n) == OK);
    must_be_secret(opened, plain.n);
    MUST(hpke_receive_export(s, pair.private_key, kem_output, CONTEXT, CONTEXT, opened, plain.n) == OK);
    must_be_secret(opened, plain.n);
}

static void signing(const suite *s) {
    uint8_t seed[ED25519_SEED_SIZE], signature[ED25519_SIGNATURE_SIZE];
    signature_key key;
    arena a;
    MUST(arena_init(&a, 4096) == OK);
    random_bytes(seed, sizeof seed);
    signature_key_from_seed(seed, &key);
    must_be_secret(key.b, 32);
    signature_sign(&key, CONTEXT, signature);
    MUST(signature_verify(signature_key_public(&key), CONTEXT, SPAN(signature)) == OK);
    MUST(signature_sign_with_label(&key, "label", CONTEXT, &a, signature) == OK);
    MUST(signature_verify_with_label(signature_key_public(&key), "label", CONTEXT, SPAN(signature), &a) == OK);
    arena_free(&a);
}

/* The store's key as hex, a link's seed as base64url. */
static void keys_as_text(const suite *s) {
    uint8_t key[32], back[32];
    char text[BASE64URL_SIZE(32) + HEX_SIZE(32)];
    random_bytes(key, sizeof key);
    hex_write(text, SPAN(key));
    must_be_secret(text, HEX_SIZE(32));
    MUST(hex_read(back, sizeof back, span_of(text, HEX_SIZE(32))) == OK);
    must_be_secret(back, sizeof back);
    base64url_write(text, SPAN(key));
    must_be_secret(text, BASE64URL_SIZE(32));
    MUST(base64url_read(back, sizeof back, span_of(text, BASE64URL_SIZE(32))) == OK);
    MUST(secret_equal(SPAN(key), SPAN(back)));
}

static void stretching(const suite *s) {
    char pin[6] = "135790";
    uint8_t salt[STRETCH_SALT_SIZE] = {1}, out[32];
    SECRET(pin, sizeof pin);
    MUST(stretch(span_of(pin, sizeof pin), salt, STRETCH_COST, out, sizeof out) == OK);
    must_be_secret(out, sizeof out);
}

const path crypto_paths[] = {
    {"hash, MAC, HKDF and labelled functions", labelled_functions, true},
    {"AEAD sealed, opened, refused", aead, true},
    {"key pairs generated and derived", key_pairs, true},
    {"KEM encapsulated, decapsulated, rejected implicitly", encapsulation, true},
    {"HPKE sealed, opened, refused, exported", hpke, true},
    {"signing", signing, false},
    {"sealed values", sealed_values, false},
    {"tags and keys compared", comparisons, false},
    {"keys as hex and base64url", keys_as_text, false},
    {"Argon2id", stretching, false},
    {0},
};
#endif
