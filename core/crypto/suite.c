#include "crypto/suite.h"

#include <assert.h>
#include <sodium/core.h>

#include "crypto/kem.h"

/* Identifiers from the HPKE registries (RFC 9180 §7; KEM 0x647a is X-Wing, draft-connolly-cfrg-xwing-kem). */
static const suite SUITES[] = {
    {SUITE_XWING, KEM_XWING, KDF_HKDF_SHA512, AEAD_CHACHA20POLY1305, 64, 1216, 1120},
    {SUITE_X25519, KEM_X25519, KDF_HKDF_SHA256, AEAD_CHACHA20POLY1305, 32, 32, 32},
    {SUITE_XWING_TS_MLS, KEM_XWING, KDF_HKDF_SHA512, AEAD_CHACHA20POLY1305, 64, 1216, 1120},
};

const suite *suite_find(uint16_t id) {
    for (size_t i = 0; i < sizeof SUITES / sizeof *SUITES; i++)
        if (SUITES[i].id == id)
            return &SUITES[i];
    return NULL;
}

void crypto_init(void) {
    /* Fails only where its lock between threads does. */
    int started = sodium_init();
    assert(started >= 0);
}
