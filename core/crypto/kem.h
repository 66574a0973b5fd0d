/* kem.h: key encapsulation, for hpke.c: a fresh shared secret and its encapsulation to a public key. */
#ifndef CRYPTO_KEM_H
#define CRYPTO_KEM_H

#include "crypto/suite.h"

/* HPKE registry values (RFC 9180 §7). */
enum { KEM_X25519 = 0x0020, KEM_XWING = 0x647a };
enum { KDF_HKDF_SHA256 = 0x0001, KDF_HKDF_SHA512 = 0x0003 };
enum { AEAD_CHACHA20POLY1305 = 0x0003 };

#define KEM_SECRET_SIZE 32 /* Nsecret of both KEMs: DHKEM's HKDF-SHA256 output, X-Wing's SHA3-256 output */

/* kem_output receives the suite's kem_output_size bytes. ERR_KEY for a public key that is none. */
MUST_USE err kem_encapsulate(const suite *s, span public_key, uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]);
/* ERR_KEY for an output of another size or one that leads to no secret (an X25519 point of low order). */
MUST_USE err kem_decapsulate(const suite *s, const uint8_t *private_key, span kem_output,
                             uint8_t shared[KEM_SECRET_SIZE]);

#endif
