#include "crypto/kem.h"

#include <assert.h>
#include <sodium/crypto_kem_xwing.h>
#include <sodium/crypto_scalarmult_curve25519.h>
#include <sodium/crypto_xof_shake256.h>

#include "crypto/hpke_label.h"
#include "crypto/random.h"

#define POINT_SIZE 32
#define MLKEM_PUBLIC_SIZE 1184

_Static_assert(crypto_kem_xwing_PUBLICKEYBYTES == KEM_PUBLIC_MAX, "X-Wing Npk");
_Static_assert(crypto_kem_xwing_CIPHERTEXTBYTES == KEM_OUTPUT_MAX, "X-Wing Nenc");
_Static_assert(crypto_kem_xwing_SEEDBYTES == KEM_PRIVATE_SIZE, "X-Wing Nsk");
_Static_assert(crypto_kem_xwing_SHAREDSECRETBYTES == KEM_SECRET_SIZE, "X-Wing Nsecret");

/* --- DHKEM(X25519, HKDF-SHA256), RFC 9180 §4.1 --- */

/* suite_id = "KEM" | I2OSP(0x0020, 2) */
#define DHKEM_ID span_of("KEM\x00\x20", 5)
#define DHKEM_HASH_SIZE 32

/* shared_secret = ExtractAndExpand(dh, enc | pkRm), into which `dh` is wiped. */
static err dhkem_secret(uint8_t dh[POINT_SIZE], const uint8_t *kem_output, const uint8_t *public_key,
                        uint8_t shared[KEM_SECRET_SIZE]) {
    const span ikm = span_of(dh, POINT_SIZE);
    const span context[] = {span_of(kem_output, POINT_SIZE), span_of(public_key, POINT_SIZE)};
    secret prk;
    hpke_labeled_extract(DHKEM_HASH_SIZE, DHKEM_ID, SPAN_NONE, "eae_prk", &ikm, 1, &prk);
    wipe(dh, POINT_SIZE);
    err e = hpke_labeled_expand(DHKEM_HASH_SIZE, DHKEM_ID, secret_span(&prk), "shared_secret", context, 2, shared,
                                KEM_SECRET_SIZE);
    secret_wipe(&prk);
    return e;
}

/* RFC 9180 §7.1.4: an all-zero result means a point of low order and must be refused. libsodium does; so do we. */
static err x25519(const uint8_t *scalar, const uint8_t *point, uint8_t dh[POINT_SIZE]) {
    if (crypto_scalarmult_curve25519(dh, scalar, point) != 0 || secret_is_zero(span_of(dh, POINT_SIZE)))
        return ERR_KEY;
    return OK;
}

static err dhkem_encapsulate(const uint8_t *public_key, uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    uint8_t ephemeral[KEM_PRIVATE_SIZE], dh[POINT_SIZE];
    random_bytes(ephemeral, sizeof ephemeral);
    (void)crypto_scalarmult_curve25519_base(kem_output, ephemeral);
    err e = x25519(ephemeral, public_key, dh);
    wipe(ephemeral, sizeof ephemeral);
    return e != OK ? e : dhkem_secret(dh, kem_output, public_key, shared);
}

static err dhkem_decapsulate(const uint8_t *private_key, const uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    uint8_t public_key[POINT_SIZE], dh[POINT_SIZE];
    TRY(x25519(private_key, kem_output, dh));
    (void)crypto_scalarmult_curve25519_base(public_key, private_key);
    return dhkem_secret(dh, kem_output, public_key, shared);
}

/* RFC 9180 §7.1.3 */
static err dhkem_derive(span ikm, uint8_t *private_key) {
    secret prk;
    hpke_labeled_extract(DHKEM_HASH_SIZE, DHKEM_ID, SPAN_NONE, "dkp_prk", &ikm, 1, &prk);
    err e =
        hpke_labeled_expand(DHKEM_HASH_SIZE, DHKEM_ID, secret_span(&prk), "sk", NULL, 0, private_key, KEM_PRIVATE_SIZE);
    secret_wipe(&prk);
    return e;
}

/* --- X-Wing: the shared secret goes straight to the key schedule (draft-ietf-hpke-pq), no ExtractAndExpand --- */

static err xwing_encapsulate(const uint8_t *public_key, uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    /* ML-KEM's and X25519's randomness in one call to the host; libsodium's crypto_kem_xwing_enc would use its own. */
    uint8_t seed[64];
    random_bytes(seed, sizeof seed);
    int failed = crypto_kem_xwing_enc_deterministic(kem_output, shared, public_key, seed);
    wipe(seed, sizeof seed);
    return failed ? ERR_KEY : OK;
}

static err xwing_decapsulate(const uint8_t *private_key, const uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    return crypto_kem_xwing_dec(shared, kem_output, private_key) != 0 ? ERR_KEY : OK;
}

/* --- public keys --- */

/* The u-coordinates of the points whose order divides 8, on the curve and its twist, and the two of them that have a
 * second spelling (p + 0, p + 1). The top bit of the last byte is not looked at (RFC 7748 §5). They are public, so they
 * are compared in variable time: much cheaper than the multiplication that would show the same. */
static const uint8_t LOW_ORDER[][POINT_SIZE] = {
    {0},
    {1},
    {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
     0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
    {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
     0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

static bool low_order(const uint8_t *point) {
    for (size_t i = 0; i < sizeof LOW_ORDER / sizeof *LOW_ORDER; i++)
        if (memcmp(point, LOW_ORDER[i], POINT_SIZE - 1) == 0 && (point[31] & 0x7f) == LOW_ORDER[i][31])
            return true;
    return false;
}

/* FIPS 203 §7.2, "modulus check": every 12-bit coefficient of t is below q = 3329. libsodium checks it when encapsulating,
 * which is too late for a key that others will use, and does not expose it. */
static bool mlkem_coefficients_valid(const uint8_t *public_key) {
    for (size_t i = 0; i < MLKEM_PUBLIC_SIZE - 32; i += 3) {
        unsigned low = public_key[i] | (public_key[i + 1] & 15u) << 8;
        unsigned high = public_key[i + 1] >> 4 | (unsigned)public_key[i + 2] << 4;
        if (low >= 3329 || high >= 3329)
            return false;
    }
    return true;
}

err suite_check_public_key(const suite *s, span public_key) {
    if (public_key.n != s->kem_public_size)
        return ERR_KEY;
    if (s->kem_id == KEM_XWING && !mlkem_coefficients_valid(public_key.p))
        return ERR_KEY;
    /* X-Wing's X25519 half stands last. */
    return low_order(public_key.p + public_key.n - POINT_SIZE) ? ERR_KEY : OK;
}

/* --- by suite --- */

err kem_encapsulate(const suite *s, span public_key, uint8_t *kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    TRY(suite_check_public_key(s, public_key));
    return s->kem_id == KEM_XWING ? xwing_encapsulate(public_key.p, kem_output, shared)
                                  : dhkem_encapsulate(public_key.p, kem_output, shared);
}

err kem_decapsulate(const suite *s, const uint8_t *private_key, span kem_output, uint8_t shared[KEM_SECRET_SIZE]) {
    if (kem_output.n != s->kem_output_size)
        return ERR_KEY;
    return s->kem_id == KEM_XWING ? xwing_decapsulate(private_key, kem_output.p, shared)
                                  : dhkem_decapsulate(private_key, kem_output.p, shared);
}

err suite_public_key(const suite *s, const uint8_t *private_key, uint8_t *public_key) {
    if (s->kem_id == KEM_XWING) {
        uint8_t same[KEM_PRIVATE_SIZE];
        (void)crypto_kem_xwing_seed_keypair(public_key, same, private_key);
        wipe(same, sizeof same);
    } else {
        (void)crypto_scalarmult_curve25519_base(public_key, private_key);
    }
    return OK;
}

err suite_derive_key_pair(const suite *s, span ikm, kem_key_pair *pair) {
    if (s->kem_id == KEM_XWING)
        /* SHAKE256(ikm, 32), as @hpke/hybridkem-x-wing does; draft-ietf-hpke-pq has a labelled form instead. */
        (void)crypto_xof_shake256(pair->private_key, KEM_PRIVATE_SIZE, ikm.p, ikm.n);
    else
        TRY(dhkem_derive(ikm, pair->private_key));
    return suite_public_key(s, pair->private_key, pair->public_key);
}

err suite_generate_key_pair(const suite *s, kem_key_pair *pair) {
    random_bytes(pair->private_key, sizeof pair->private_key);
    return suite_public_key(s, pair->private_key, pair->public_key);
}
