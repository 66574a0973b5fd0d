# Which pieces of libsodium are compiled, and how. Included by the Makefile. No autotools: the list below is short, and
# configure cannot know what wasm is best served with.

SODIUM_DIR := build/third/libsodium/src/libsodium

# Paths under src/libsodium. A folder's variants for other processors compile to nothing where they do not apply.
SODIUM_FILES := \
  crypto_aead/chacha20poly1305/aead_chacha20poly1305 \
  crypto_aead/xchacha20poly1305/aead_xchacha20poly1305 \
  crypto_auth/hmacsha256/auth_hmacsha256 \
  crypto_auth/hmacsha512/auth_hmacsha512 \
  crypto_core/ed25519/core_ed25519 \
  crypto_core/ed25519/ref10/ed25519_ref10 \
  crypto_core/hchacha20/core_hchacha20 \
  crypto_core/keccak1600/keccak1600 \
  crypto_core/keccak1600/armsha3/keccak1600_armsha3 \
  crypto_core/keccak1600/ref/keccak1600_ref \
  crypto_generichash/blake2b/generichash_blake2 \
  crypto_generichash/blake2b/ref/blake2b-compress-avx2 \
  crypto_generichash/blake2b/ref/blake2b-compress-ref \
  crypto_generichash/blake2b/ref/blake2b-compress-sse41 \
  crypto_generichash/blake2b/ref/blake2b-compress-ssse3 \
  crypto_generichash/blake2b/ref/blake2b-ref \
  crypto_generichash/blake2b/ref/generichash_blake2b \
  crypto_generichash/crypto_generichash \
  crypto_hash/sha256/hash_sha256 \
  crypto_hash/sha256/cp/hash_sha256_cp \
  crypto_hash/sha3/hash_sha3 \
  crypto_hash/sha512/hash_sha512 \
  crypto_hash/sha512/cp/hash_sha512_cp \
  crypto_kdf/hkdf/kdf_hkdf_sha256 \
  crypto_kdf/hkdf/kdf_hkdf_sha512 \
  crypto_kem/mlkem768/kem_mlkem768 \
  crypto_kem/mlkem768/ref/kem_mlkem768_ref \
  crypto_kem/xwing/kem_xwing \
  crypto_onetimeauth/poly1305/onetimeauth_poly1305 \
  crypto_onetimeauth/poly1305/donna/poly1305_donna \
  crypto_onetimeauth/poly1305/sse2/poly1305_sse2 \
  crypto_pwhash/argon2/argon2 \
  crypto_pwhash/argon2/argon2-core \
  crypto_pwhash/argon2/argon2-encoding \
  crypto_pwhash/argon2/argon2-fill-block-avx2 \
  crypto_pwhash/argon2/argon2-fill-block-avx512f \
  crypto_pwhash/argon2/argon2-fill-block-neon \
  crypto_pwhash/argon2/argon2-fill-block-ref \
  crypto_pwhash/argon2/argon2-fill-block-ssse3 \
  crypto_pwhash/argon2/argon2-fill-block-wasm32 \
  crypto_pwhash/argon2/blake2b-long \
  crypto_pwhash/argon2/pwhash_argon2id \
  crypto_scalarmult/crypto_scalarmult \
  crypto_scalarmult/curve25519/scalarmult_curve25519 \
  crypto_scalarmult/curve25519/ref10/x25519_ref10 \
  crypto_scalarmult/curve25519/sandy2x/curve25519_sandy2x \
  crypto_scalarmult/curve25519/sandy2x/fe51_invert \
  crypto_scalarmult/curve25519/sandy2x/fe_frombytes_sandy2x \
  crypto_secretstream/xchacha20poly1305/secretstream_xchacha20poly1305 \
  crypto_sign/crypto_sign \
  crypto_sign/ed25519/sign_ed25519 \
  crypto_sign/ed25519/ref10/keypair \
  crypto_sign/ed25519/ref10/open \
  crypto_sign/ed25519/ref10/sign \
  crypto_stream/chacha20/stream_chacha20 \
  crypto_stream/chacha20/dolbeau/chacha20_dolbeau-avx2 \
  crypto_stream/chacha20/dolbeau/chacha20_dolbeau-ssse3 \
  crypto_stream/chacha20/ref/chacha20_ref \
  crypto_verify/verify \
  crypto_xof/shake128/xof_shake128 \
  crypto_xof/shake128/ref/shake128_ref \
  crypto_xof/shake256/xof_shake256 \
  crypto_xof/shake256/ref/shake256_ref \
  sodium/codecs \
  sodium/core \
  sodium/utils

# The X25519 of sandy2x is assembler for x86-64 with AVX.
SODIUM_ASM_FILES := $(addprefix crypto_scalarmult/curve25519/sandy2x/,consts fe51_mul fe51_nsquare fe51_pack ladder sandy2x)

# Only the native builds use libsodium's own; wasm has emscripten/sodium/runtime.c.
SODIUM_NATIVE_FILES := sodium/runtime
# Only the relay uses the operating system's generator directly; the core has emscripten/sodium/randombytes.c.
SODIUM_RANDOM_FILES := randombytes/randombytes randombytes/sysrandom/randombytes_sysrandom

SODIUM_FLAGS := -std=gnu11 -w -I$(SODIUM_DIR)/include -I$(SODIUM_DIR)/include/sodium -DCONFIGURED=1 -DMINIMAL=1 \
  -DSODIUM_STATIC=1 -DNATIVE_LITTLE_ENDIAN=1 -DHAVE_STDINT_H=1 -DHAVE_INTTYPES_H=1

# What configure finds on Linux. The variants choose by cpuid when the program runs; each file turns on its instructions
# by a pragma of its own, so no -m flag is needed. On other processors the portable code (or NEON) is used.
SODIUM_NATIVE_FLAGS := -DHAVE_TI_MODE=1 -DHAVE_GCC_MEMORY_FENCES=1 -DHAVE_WEAK_SYMBOLS=1 -DHAVE_ATOMIC_OPS=1 \
  -DHAVE_SYS_MMAN_H=1 -DHAVE_SYS_PARAM_H=1 -DHAVE_SYS_RANDOM_H=1 -DHAVE_GETRANDOM=1 -DHAVE_MMAP=1 -DHAVE_MLOCK=1 \
  -DHAVE_MADVISE=1 -DHAVE_MPROTECT=1 -DHAVE_EXPLICIT_BZERO=1 -DHAVE_POSIX_MEMALIGN=1 -DHAVE_GETPID=1 \
  -DHAVE_NANOSLEEP=1 -DHAVE_CLOCK_GETTIME=1 -DHAVE_SYS_AUXV_H=1 -D_GNU_SOURCE
ifeq ($(shell uname -m),x86_64)
SODIUM_NATIVE_FLAGS += -DHAVE_CPUID=1 -DHAVE_MMINTRIN_H=1 -DHAVE_EMMINTRIN_H=1 -DHAVE_PMMINTRIN_H=1 -DHAVE_TMMINTRIN_H=1 \
  -DHAVE_SMMINTRIN_H=1 -DHAVE_AVXINTRIN_H=1 -DHAVE_AVX2INTRIN_H=1 -DHAVE_AVX512FINTRIN_H=1 -DHAVE_WMMINTRIN_H=1 \
  -DHAVE_INLINE_ASM=1 -DHAVE_AMD64_ASM=1 -DHAVE_AVX_ASM=1
SODIUM_NATIVE_ASM := $(SODIUM_ASM_FILES)
endif

# wasm: never HAVE_TI_MODE (128-bit integers are calls there: X25519 halves, Poly1305 falls to a quarter).
# Without HAVE_EXPLICIT_BZERO sodium_memzero() writes byte by byte, volatile: 13 % of a message.
SODIUM_WASM_FLAGS := -DHAVE_EXPLICIT_BZERO=1
# The SSSE3 ChaCha20, through Emscripten's translation of the intrinsics. Only there: the SSE2 Poly1305 and the SSSE3
# and SSE4.1 BLAKE2b are slower in wasm than plain C.
SODIUM_WASM_CHACHA20_FLAGS := -mssse3 -DHAVE_EMMINTRIN_H=1 -DHAVE_TMMINTRIN_H=1

# ML-KEM at -O3 is 9 kB (gzip) larger than at -O2 and no faster; unrolled, 3 kB and 2 %. (Keccak and ML-KEM at -Os would
# save 5 kB more and cost X-Wing a third of its speed.)
SODIUM_WASM_MLKEM_FLAGS := -O2 -fno-unroll-loops
# Argon2 begins with the portable variant until sodium_init() has chosen; only the wasm SIMD one would ever be chosen here.
# Its memory is kept (emscripten/sodium/runtime.c).
SODIUM_WASM_ARGON2_FLAGS := -Dargon2_fill_segment_ref=argon2_fill_segment_wasm32 \
  -Dmalloc=argon2_malloc -Dfree=argon2_free
