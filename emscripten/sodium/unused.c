/* unused.c: what sodium_init() would set up of primitives that are not compiled in.
 *
 * sodium_init() chooses an implementation for each primitive that has several. Salsa20 and AEGIS have no use here, so they
 * are left out of the source list in emscripten/sodium.mk; these stand for their choosers and nothing can reach them. */
int _crypto_stream_salsa20_pick_best_implementation(void);
int _crypto_aead_aegis128l_pick_best_implementation(void);
int _crypto_aead_aegis256_pick_best_implementation(void);

int _crypto_stream_salsa20_pick_best_implementation(void) { return 0; }

int _crypto_aead_aegis128l_pick_best_implementation(void) { return 0; }

int _crypto_aead_aegis256_pick_best_implementation(void) { return 0; }
