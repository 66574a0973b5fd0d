/* randombytes.c for the core, native and wasm: stands in for libsodium's randombytes/ folder.
 *
 * libsodium's own code for Emscripten calls JavaScript once for each byte (67 us for 32 bytes); this asks the host once,
 * whatever the size. Natively the host is a test or a simulator, which decides by its seed what the core draws.
 * The relay does not use this file but libsodium's, which reads the operating system's generator. */
#include "host.h"
#include "randombytes.h"

void randombytes_buf(void *const buf, const size_t size) {
    if (size > 0) {
        host_random(buf, size);
    }
}

uint32_t randombytes_random(void) {
    uint32_t word;
    host_random(&word, sizeof word);
    return word;
}

uint32_t randombytes_uniform(const uint32_t upper_bound) {
    uint32_t smallest, word;
    if (upper_bound < 2) {
        return 0;
    }
    /* Words below 2^32 mod upper_bound are thrown away, so that the rest divides evenly. */
    smallest = (1U + ~upper_bound) % upper_bound;
    do {
        word = randombytes_random();
    } while (word < smallest);
    return word % upper_bound;
}

void randombytes_stir(void) {}
