/* runtime.c for wasm: stands in for libsodium's sodium/runtime.c.
 *
 * A wasm module cannot ask which instructions there are: what it was compiled for is there, or it would not have loaded.
 * SSSE3 is claimed because Emscripten compiles its intrinsics to 128-bit wasm SIMD, and ChaCha20 is 2.7 times as fast with
 * them. Nothing else is: the SSE2 Poly1305 and the SSE4.1 BLAKE2b are slower in wasm than plain C, and Argon2 picks its
 * own wasm SIMD code at compile time. */
#include <stdlib.h>
#include <string.h>

#include "private/common.h"
#include "runtime.h"

int _sodium_runtime_get_cpu_features(void) { return 0; }

int sodium_runtime_has_ssse3(void) { return 1; }

int sodium_runtime_has_neon(void) { return 0; }

int sodium_runtime_has_armcrypto(void) { return 0; }

int sodium_runtime_has_sse2(void) { return 0; }

int sodium_runtime_has_sse3(void) { return 0; }

int sodium_runtime_has_sse41(void) { return 0; }

int sodium_runtime_has_avx(void) { return 0; }

int sodium_runtime_has_avx2(void) { return 0; }

int sodium_runtime_has_avx512f(void) { return 0; }

int sodium_runtime_has_pclmul(void) { return 0; }

int sodium_runtime_has_aesni(void) { return 0; }

int sodium_runtime_has_rdrand(void) { return 0; }

/* Argon2's memory (argon2-core.c has malloc and free renamed to these). A wasm memory never shrinks, and what else lies on
 * the heap by then would keep the next stretching from using the same place: 64 MiB more each time. So the block is kept. */
void *argon2_malloc(size_t size);
void argon2_free(void *memory);

#define LARGE (1u << 20)

static void *block;
static size_t block_size;
static int block_used;

void *argon2_malloc(size_t size) {
    if (size < LARGE || block_used) {
        return malloc(size);
    }
    if (size > block_size) {
        free(block);
        block = malloc(size);
        block_size = block == NULL ? 0 : size;
    }
    block_used = block != NULL;
    return block;
}

void argon2_free(void *memory) {
    if (memory == NULL || memory != block) {
        free(memory);
        return;
    }
    memset(block, 0, block_size);
    block_used = 0;
}
