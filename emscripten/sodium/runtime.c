/* runtime.c for wasm: stands in for libsodium's sodium/runtime.c.
 *
 * A wasm module cannot ask which instructions there are: what it was compiled for is there, or it would not have loaded.
 * SSSE3 is claimed because Emscripten compiles its intrinsics to 128-bit wasm SIMD, and ChaCha20 is 2.7 times as fast with
 * them. Nothing else is: the SSE2 Poly1305 and the SSE4.1 BLAKE2b are slower in wasm than plain C, and Argon2 picks its
 * own wasm SIMD code at compile time. */
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
