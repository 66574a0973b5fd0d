/* chacha20_reference.h: ChaCha20 (RFC 8439 §2.4) written as plainly as can be, and its comparison with libsodium's.
 *
 * libsodium's fast variants take 4 or 8 blocks at a time, so a wrong one agrees on short messages: LLVM 14 compiled the
 * 4-way variant wrongly for wasm and RFC 8439's vector of 114 bytes did not show it. */
#ifndef SOTTO_TEST_CHACHA20_REFERENCE_H
#define SOTTO_TEST_CHACHA20_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

enum { CHACHA20_COMPARE_MAX = 4200 };

/* XORs n bytes of `in` with the key stream from block `counter` on, into `out`. */
void chacha20_reference(uint8_t *out, const uint8_t *in, size_t n, const uint8_t nonce[12], uint32_t counter,
                        const uint8_t key[32]);

/* Compares crypto_stream_chacha20_ietf_xor_ic with the above for every length from 0 to CHACHA20_COMPARE_MAX.
 * Returns the first length that differs, or -1 when all agree. */
int chacha20_first_difference(void);

#endif
