/* signature.h: Ed25519 (RFC 8032), the one signature of every suite, plain and with RFC 9420's labels. Apart from
 * suite.h so that the relay can link verification and nothing else. A private key is its 32-byte seed. */
#ifndef CRYPTO_SIGNATURE_H
#define CRYPTO_SIGNATURE_H

#include "base/arena.h"
#include "base/secret.h"

#define ED25519_SEED_SIZE 32
#define ED25519_PUBLIC_SIZE 32
#define ED25519_SIGNATURE_SIZE 64

/* A key ready for use: libsodium's 64-byte form (seed and public key), so that signing derives nothing again. */
typedef struct signature_key {
    uint8_t b[64];
} signature_key;

void signature_key_from_seed(const uint8_t *seed, signature_key *key);
static inline span signature_key_public(const signature_key *key) { return span_of(key->b + 32, 32); }

void signature_sign(const signature_key *key, span message, uint8_t *signature);
/* ERR_SIGNATURE when it does not verify, the key is of small order or a length is wrong. */
MUST_USE err signature_verify(span public_key, span message, span signature);

/* SignWithLabel, VerifyWithLabel (RFC 9420 §5.1.2). The label without "MLS 1.0 ". The arena holds SignContent for the call. */
MUST_USE err signature_sign_with_label(const signature_key *key, const char *label, span content, arena *a,
                                       uint8_t *signature);
MUST_USE err signature_verify_with_label(span public_key, const char *label, span content, span signature, arena *a);

#endif
