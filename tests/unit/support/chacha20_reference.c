#include "chacha20_reference.h"

#include <sodium.h>
#include <string.h>

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    *a += *b, *d = rotate(*d ^ *a, 16);
    *c += *d, *b = rotate(*b ^ *c, 12);
    *a += *b, *d = rotate(*d ^ *a, 8);
    *c += *d, *b = rotate(*b ^ *c, 7);
}

static uint32_t load32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void chacha20_reference(uint8_t *out, const uint8_t *in, size_t n, const uint8_t nonce[12], uint32_t counter,
                        const uint8_t key[32]) {
    uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (int i = 0; i < 8; i++) {
        state[4 + i] = load32(key + 4 * i);
    }
    for (int i = 0; i < 3; i++) {
        state[13 + i] = load32(nonce + 4 * i);
    }
    for (size_t at = 0; at < n; at += 64) {
        uint32_t x[16];
        state[12] = counter++;
        memcpy(x, state, sizeof x);
        for (int i = 0; i < 10; i++) {
            for (int k = 0; k < 4; k++) {
                quarter_round(&x[k], &x[4 + k], &x[8 + k], &x[12 + k]);
            }
            for (int k = 0; k < 4; k++) {
                quarter_round(&x[k], &x[4 + (k + 1) % 4], &x[8 + (k + 2) % 4], &x[12 + (k + 3) % 4]);
            }
        }
        for (size_t i = 0; i < 64 && at + i < n; i++) {
            out[at + i] = in[at + i] ^ (uint8_t)((x[i / 4] + state[i / 4]) >> 8 * (i % 4));
        }
    }
}

int chacha20_first_difference(void) {
    static uint8_t in[CHACHA20_COMPARE_MAX], expected[CHACHA20_COMPARE_MAX], actual[CHACHA20_COMPARE_MAX + 1];
    uint8_t key[32], nonce[12];
    uint32_t counter = 1;
    for (size_t i = 0; i < sizeof in; i++) {
        in[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    for (size_t i = 0; i < sizeof key; i++) {
        key[i] = (uint8_t)(i * 5 + 1);
    }
    for (size_t i = 0; i < sizeof nonce; i++) {
        nonce[i] = (uint8_t)(0xf0 - i);
    }
    chacha20_reference(expected, in, sizeof in, nonce, counter, key);
    for (int n = 0; n <= CHACHA20_COMPARE_MAX; n++) {
        memset(actual, 0xa5, sizeof actual);
        crypto_stream_chacha20_ietf_xor_ic(actual, in, (unsigned long long)n, nonce, counter, key);
        if (memcmp(actual, expected, (size_t)n) != 0 || actual[n] != 0xa5) {
            return n;
        }
    }
    return -1;
}
