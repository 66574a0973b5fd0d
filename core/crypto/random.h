/* random.h: fresh random bytes from the host. Up to 16 come out of some drawn ahead: nonces and ids, never keys. */
#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include "base/span.h"
#include "crypto/sha256.h"

void random_bytes(void *out, size_t n);

#endif
