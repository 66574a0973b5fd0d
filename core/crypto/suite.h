/* suite.h: the cipher suites and the RFC's labelled functions over them (RFC 9420 §5.1, §5.2, §8). Everything below
 * takes the suite first and works on sizes from it, so no other module names an algorithm.
 *
 *   0x0003  MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519
 *   0xF00E  MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519 (private use; hybrid X25519 + ML-KEM-768), our default
 *   0x0054  what ts-mls 1.x calls 0xF00E: the same algorithms; the number still enters every label's context */
#ifndef CRYPTO_SUITE_H
#define CRYPTO_SUITE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

enum { SUITE_X25519 = 0x0003, SUITE_XWING = 0xF00E, SUITE_XWING_TS_MLS = 0x0054 };

#define AEAD_KEY_SIZE 32 /* Nk of ChaCha20-Poly1305 */
#define AEAD_NONCE_SIZE 12
#define AEAD_TAG_SIZE 16
#define SIGNATURE_SIZE 64 /* Ed25519 */
#define SIGNATURE_PUBLIC_SIZE 32
#define SIGNATURE_SEED_SIZE 32
#define HASH_MAX 64
#define KEM_PUBLIC_MAX 1216 /* X-Wing Npk */
#define KEM_OUTPUT_MAX 1120 /* X-Wing Nenc */
#define KEM_PRIVATE_SIZE 32 /* both suites: an X25519 scalar, an X-Wing seed */

typedef struct suite {
    uint16_t id;
    uint16_t kem_id, kdf_id, aead_id; /* HPKE registry values, for the suite_id of HPKE's labels (RFC 9180 §5.1) */
    uint8_t hash_size;                /* Nh, also KDF.Nh */
    uint16_t kem_public_size;
    uint16_t kem_output_size;
} suite;

/* Lets libsodium choose its fastest code for this processor. To be called once before the rest, in one thread; without
 * it everything works, several times slower. */
void crypto_init(void);

/* NULL for an unknown or unsupported suite. Static memory. */
const suite *suite_find(uint16_t id);

/* --- hash, MAC, KDF --- */
void suite_hash(const suite *s, span data, uint8_t *out /* hash_size */);
/* Hash over several pieces, without joining them. */
void suite_hash_parts(const suite *s, const span *parts, size_t count, uint8_t *out);
void suite_mac(const suite *s, span key, span data, uint8_t *out /* hash_size */);
/* HKDF (RFC 5869). Outputs are secrets of hash_size, or `n` bytes. */
void suite_extract(const suite *s, span salt, span ikm, secret *prk);
MUST_USE err suite_expand(const suite *s, span prk, span info, uint8_t *out, size_t n);
/* RFC 9420 §8: ExpandWithLabel, DeriveSecret; §9: DeriveTreeSecret. Labels are given without "MLS 1.0 ". */
MUST_USE err suite_expand_with_label(const suite *s, span key, const char *label, span context, uint8_t *out, size_t n);
/* Several of one key and context: the key enters HMAC once, which is a good part of the cost. No output may be the key. */
typedef struct labelled_output {
    const char *label;
    uint8_t *out;
    size_t n;
} labelled_output;
MUST_USE err suite_expand_with_labels(const suite *s, span key, span context, const labelled_output *outputs,
                                      size_t count);
MUST_USE err suite_derive_secret(const suite *s, span key, const char *label, secret *out);
MUST_USE err suite_derive_tree_secret(const suite *s, span key, const char *label, uint32_t generation, uint8_t *out,
                                      size_t n);
MUST_USE err suite_derive_tree_secrets(const suite *s, span key, uint32_t generation, const labelled_output *outputs,
                                       size_t count);
/* RFC 9420 §5.2: RefHash; label whole, as in "MLS 1.0 KeyPackage Reference". */
void suite_ref_hash(const suite *s, const char *label, span value, uint8_t *out /* hash_size */);

/* --- AEAD --- out holds plaintext.n + AEAD_TAG_SIZE bytes; may be the same memory as the input. */
MUST_USE err suite_aead_seal(const suite *s, const uint8_t *key, const uint8_t *nonce, span aad, span plaintext,
                             uint8_t *out);
/* out holds ciphertext.n - AEAD_TAG_SIZE bytes and is wiped on ERR_DECRYPT. */
MUST_USE err suite_aead_open(const suite *s, const uint8_t *key, const uint8_t *nonce, span aad, span ciphertext,
                             uint8_t *out);

/* --- KEM --- */
typedef struct kem_key_pair {
    uint8_t private_key[KEM_PRIVATE_SIZE];
    uint8_t public_key[KEM_PUBLIC_MAX];
} kem_key_pair;
/* DeriveKeyPair (RFC 9180 §7.1.3; for X-Wing seed = SHAKE256(ikm, 32)). */
MUST_USE err suite_derive_key_pair(const suite *s, span ikm, kem_key_pair *pair);
/* From 32 fresh random bytes. */
MUST_USE err suite_generate_key_pair(const suite *s, kem_key_pair *pair);
/* The public key of a private key. */
MUST_USE err suite_public_key(const suite *s, const uint8_t *private_key, uint8_t *public_key);
/* ERR_KEY unless public_key.n is the suite's and the key is usable (no low-order X25519 point). */
MUST_USE err suite_check_public_key(const suite *s, span public_key);

/* --- HPKE base mode, single shot (RFC 9180 §6.1) --- */
/* kem_output receives suite.kem_output_size bytes, ciphertext plaintext.n + AEAD_TAG_SIZE. */
MUST_USE err hpke_seal(const suite *s, span public_key, span info, span aad, span plaintext, uint8_t *kem_output,
                       uint8_t *ciphertext);
MUST_USE err hpke_open(const suite *s, const uint8_t *private_key, span kem_output, span info, span aad,
                       span ciphertext, uint8_t *plaintext);
/* RFC 9420 §5.1.3: EncryptWithLabel, DecryptWithLabel: empty aad, info = EncryptContext. */
MUST_USE err suite_encrypt_with_label(const suite *s, span public_key, const char *label, span context, span plaintext,
                                      uint8_t *kem_output, uint8_t *ciphertext);
MUST_USE err suite_decrypt_with_label(const suite *s, const uint8_t *private_key, const char *label, span context,
                                      span kem_output, span ciphertext, uint8_t *plaintext);
/* The same to many recipients: label and context go in once, and with them what of HPKE's key schedule does not depend on
 * the recipient. The Welcome's context is the whole encrypted GroupInfo. */
#define HPKE_CONTEXT_MAX (1 + 2 * HASH_MAX)
typedef struct encrypt_context {
    const suite *s;
    uint8_t b[HPKE_CONTEXT_MAX]; /* RFC 9180 §5.1: key_schedule_context; not secret */
} encrypt_context;
void suite_encrypt_context(const suite *s, const char *label, span context, encrypt_context *out);
MUST_USE err suite_encrypt_in_context(const encrypt_context *c, span public_key, span plaintext, uint8_t *kem_output,
                                      uint8_t *ciphertext);
/* HPKE's secret export (RFC 9180 §5.3) for external joins (RFC 9420 §8.3): sender and receiver side. */
MUST_USE err hpke_send_export(const suite *s, span public_key, span info, span exporter_context, uint8_t *kem_output,
                              uint8_t *out, size_t n);
MUST_USE err hpke_receive_export(const suite *s, const uint8_t *private_key, span kem_output, span info,
                                 span exporter_context, uint8_t *out, size_t n);

#endif
