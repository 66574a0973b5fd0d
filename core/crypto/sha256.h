/* sha256.h: SHA-256 for names that are hashes. Apart from suite.h and random.h so that the relay can link it alone. */
#ifndef CRYPTO_SHA256_H
#define CRYPTO_SHA256_H

#include "base/span.h"

void sha256(span data, uint8_t out[32]);

#endif
