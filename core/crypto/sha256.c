#include "crypto/sha256.h"

#include <sodium/crypto_hash_sha256.h>

void sha256(span data, uint8_t out[32]) { (void)crypto_hash_sha256(out, data.p, data.n); }
