/* kdf.h: the suite's hash, HMAC and HKDF over several pieces, for the labelled functions of MLS (kdf.c) and of HPKE
 * (hpke.c, kem.c), which put short prefixes before inputs of any length: nothing is joined, nothing takes heap. */
#ifndef CRYPTO_KDF_H
#define CRYPTO_KDF_H

#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

/* Which hash is meant follows from its size: 32 is SHA-256, 64 SHA-512. */
void kdf_extract(size_t hash_size, span salt, const span *ikm, size_t count, secret *prk);
/* ERR_TOO_LARGE for more than 255 blocks (RFC 5869 §2.3); `out` is zeroed then. */
MUST_USE err kdf_expand(size_t hash_size, span prk, const span *info, size_t count, uint8_t *out, size_t n);

/* An opaque<V> as MLS puts before its labels: length and "MLS 1.0 ", to be followed by the label itself. */
#define LABEL_PREFIX_MAX (4 + 8)
size_t kdf_label_prefix(const char *label, uint8_t out[LABEL_PREFIX_MAX]);
/* The length that stands before an opaque<V>; its size. */
#define LENGTH_MAX 4
size_t kdf_length(size_t n, uint8_t out[LENGTH_MAX]);

#endif
