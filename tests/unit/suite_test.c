/* core/crypto: the suites' hash, MAC, KDF, labels, AEAD and keys. HPKE has hpke_test.c. */
#include <sodium/crypto_scalarmult_curve25519.h>

#include "crypto/kem.h"
#include "crypto/random.h"
#include "crypto/suite.h"
#include "support/check.h"
#include "support/host.h"

static const uint16_t IDS[] = {SUITE_XWING, SUITE_X25519, SUITE_XWING_TS_MLS};
#define SUITES (sizeof IDS / sizeof *IDS)

static void suites_have_the_sizes_of_their_algorithms(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        assert_non_null(s);
        assert_int_equal(s->id, IDS[i]);
        bool xwing = IDS[i] != SUITE_X25519;
        assert_int_equal(s->kem_id, xwing ? 0x647a : 0x0020);
        assert_int_equal(s->kdf_id, xwing ? 0x0003 : 0x0001);
        assert_int_equal(s->aead_id, 0x0003);
        assert_int_equal(s->hash_size, xwing ? 64 : 32);
        assert_int_equal(s->kem_public_size, xwing ? 1216 : 32);
        assert_int_equal(s->kem_output_size, xwing ? 1120 : 32);
    }
    unsigned known = 0;
    for (unsigned id = 0; id <= 0xffff; id++)
        known += suite_find((uint16_t)id) != NULL;
    assert_int_equal(known, SUITES);
}

/* --- hash and HMAC --- */

static void hashes_match_fips_180(void **state) {
    uint8_t out[64];
    suite_hash(suite_find(SUITE_X25519), span_text("abc"), out);
    assert_span(span_of(out, 32), hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    sha256(span_text("abc"), out);
    assert_span(span_of(out, 32), hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    sha256(SPAN_NONE, out);
    assert_span(span_of(out, 32), hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    suite_hash(suite_find(SUITE_XWING), span_text("abc"), out);
    assert_span(SPAN(out), hex("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                               "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"));
}

static void hashing_in_parts_is_hashing_the_whole(void **state) {
    uint8_t whole[64], parts[64], data[300];
    memset(data, 0x6b, sizeof data);
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        suite_hash(s, SPAN(data), whole);
        for (size_t cut = 0; cut <= sizeof data; cut += 7) {
            const span two[] = {span_of(data, cut), SPAN_NONE, span_of(data + cut, sizeof data - cut)};
            suite_hash_parts(s, two, 3, parts);
            assert_memory_equal(parts, whole, s->hash_size);
        }
    }
}

static void macs_match_rfc_4231(void **state) {
    uint8_t out[64], key[131];
    memset(key, 0x0b, 20);
    suite_mac(suite_find(SUITE_X25519), span_of(key, 20), span_text("Hi There"), out);
    assert_span(span_of(out, 32), hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
    suite_mac(suite_find(SUITE_XWING), span_of(key, 20), span_text("Hi There"), out);
    assert_span(SPAN(out), hex("87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
                               "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"));
    memset(key, 0xaa, sizeof key); /* longer than a block: hashed first */
    const span text = span_text("Test Using Larger Than Block-Size Key - Hash Key First");
    suite_mac(suite_find(SUITE_X25519), SPAN(key), text, out);
    assert_span(span_of(out, 32), hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    suite_mac(suite_find(SUITE_XWING), SPAN(key), text, out);
    assert_span(SPAN(out), hex("80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
                               "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"));
}

/* --- HKDF --- */

static void hkdf_matches_rfc_5869(void **state) {
    const suite *s = suite_find(SUITE_X25519);
    secret prk;
    uint8_t out[82];
    suite_extract(s, hex("000102030405060708090a0b0c"), hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), &prk);
    assert_span(secret_span(&prk), hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"));
    assert_ok(suite_expand(s, secret_span(&prk), hex("f0f1f2f3f4f5f6f7f8f9"), out, 42));
    assert_span(span_of(out, 42),
                hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"));
    uint8_t ikm[80], salt[80], info[80];
    for (int i = 0; i < 80; i++) {
        ikm[i] = (uint8_t)i;
        salt[i] = (uint8_t)(0x60 + i);
        info[i] = (uint8_t)(0xb0 + i);
    }
    suite_extract(s, SPAN(salt), SPAN(ikm), &prk);
    assert_ok(suite_expand(s, secret_span(&prk), SPAN(info), out, 82));
    assert_span(SPAN(out),
                hex("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
                    "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"));
    suite_extract(s, SPAN_NONE, hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), &prk);
    assert_span(secret_span(&prk), hex("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"));
    assert_ok(suite_expand(s, secret_span(&prk), SPAN_NONE, out, 42));
    assert_span(span_of(out, 42),
                hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"));
    /* The same input with SHA-512, from pyca/cryptography. */
    const suite *large = suite_find(SUITE_XWING);
    suite_extract(large, SPAN(salt), SPAN(ikm), &prk);
    assert_ok(suite_expand(large, secret_span(&prk), SPAN(info), out, 82));
    assert_span(SPAN(out),
                hex("ce6c97192805b346e6161e821ed165673b84f400a2b514b2fe23d84cd189ddf1b695b48cbd1c8388441137b3"
                    "ce28f16aa64ba33ba466b24df6cfcb021ecff235f6a2056ce3af1de44d572097a8505d9e7a93"));
}

static void hkdf_gives_255_blocks_and_no_more(void **state) {
    static const char *longest[] = {"cfb9b955be4adb750ca7c54070ef12f869e4ca9455bb1a525ec4d0851cac3a6d",
                                    "f3393e29c32fbee239807fc3fcbfc92b673d994c64dcd5477ada746e109c7056"};
    static uint8_t out[255 * 64 + 1];
    uint8_t ikm[80], salt[80], info[80], hash[32];
    for (int i = 0; i < 80; i++) {
        ikm[i] = (uint8_t)i;
        salt[i] = (uint8_t)(0x60 + i);
        info[i] = (uint8_t)(0xb0 + i);
    }
    for (int i = 0; i < 2; i++) {
        const suite *s = suite_find(i ? SUITE_XWING : SUITE_X25519);
        secret prk;
        size_t n = 255 * (size_t)s->hash_size;
        suite_extract(s, SPAN(salt), SPAN(ikm), &prk);
        assert_ok(suite_expand(s, secret_span(&prk), SPAN(info), out, n));
        sha256(span_of(out, n), hash);
        assert_span(SPAN(hash), hex(longest[i]));
        assert_err(suite_expand(s, secret_span(&prk), SPAN(info), out, n + 1), ERR_TOO_LARGE);
        assert_true(secret_is_zero(span_of(out, n + 1)));
        /* A shorter output is a prefix of a longer one, whatever the number of blocks. */
        uint8_t all[200], part[200];
        assert_ok(suite_expand(s, secret_span(&prk), SPAN(info), all, sizeof all));
        for (size_t k = 0; k < sizeof all; k++) {
            assert_ok(suite_expand(s, secret_span(&prk), SPAN(info), part, k));
            assert_memory_equal(part, all, k);
        }
    }
}

static void extract_and_derive_may_replace_their_input(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        secret a, b, same;
        memset(&a, 7, sizeof a);
        a.n = s->hash_size;
        same = a;
        suite_extract(s, secret_span(&a), span_text("ikm"), &b);
        suite_extract(s, secret_span(&same), span_text("ikm"), &same);
        assert_span(secret_span(&same), secret_span(&b));
        same = a;
        suite_extract(s, span_text("salt"), secret_span(&a), &b);
        suite_extract(s, span_text("salt"), secret_span(&same), &same);
        assert_span(secret_span(&same), secret_span(&b));
        assert_ok(suite_derive_secret(s, secret_span(&a), "label", &b));
        same = a;
        assert_ok(suite_derive_secret(s, secret_span(&same), "label", &same));
        assert_span(secret_span(&same), secret_span(&b));
    }
}

/* --- MLS labels: the official crypto-basics of suite 3, and the generated ones of 0x0054 --- */

static void labelled_functions_match_crypto_basics_of_suite_3(void **state) {
    const suite *s = suite_find(SUITE_X25519);
    uint8_t out[32];
    secret derived;
    suite_ref_hash(s, "RefHash", hex("4f0c86f9c82fba0a896bd7eecf79a29856e98a7e4f13b9f841ae285d70ed8b68"), out);
    assert_span(SPAN(out), hex("f11019703c8b630060839b12a475fd39c6a30f8a866790ff46a35f9c65e1df3c"));
    assert_ok(suite_expand_with_label(
        s, hex("55aa3ae5242564782567ce097beafe19510230660008b2cc064a78387fa16f36"), "ExpandWithLabel",
        hex("2e07148f4340c62a55e7608c20d73fddf1f3b8dafb2c7ef24eceb70e136c0d8c"), out, 32));
    assert_span(SPAN(out), hex("1df5ba7996a34f75d717916a094a14083c03a75e80f0330a8095f5f11cfe1e1f"));
    assert_ok(suite_derive_secret(s, hex("cae460c779ebaa3e81c061a371486dff1ed1ff273bea369cc0fc46550b83c407"),
                                  "DeriveSecret", &derived));
    assert_span(secret_span(&derived), hex("aad859818ca5f2a9896d4d3ee2dccc0cefcd69b666bdb16b52f1de15fb1a5567"));
    assert_ok(suite_derive_tree_secret(s, hex("c994e257b53f726087ddd7121876f558f1fbd6f807e5ff010830d618d7bab6f2"),
                                       "DeriveTreeSecret", 2694881440, out, 32));
    assert_span(SPAN(out), hex("2095d6a81ab87095d1df26f6bdf012ec06f197e418381c1795a7b758603c936d"));
}

static void labelled_functions_match_the_xwing_suites(void **state) {
    static const char *key = "19405e0cc798be6eb7fb544bd84ad147c9f3cc5a0c63c071b1d333a0c163d192"
                             "300574439cf6f81abc16a5397564d07663803197d140ef891e7f6fa9173fab4f";
    for (int i = 0; i < 2; i++) {
        const suite *s = suite_find(i ? SUITE_XWING : SUITE_XWING_TS_MLS);
        uint8_t out[64];
        secret derived;
        suite_ref_hash(s, "RefHash",
                       hex("d50385e0ca50407afdceacdaf5a176382b248369a0c02a0c71020414fcf88b72"
                           "38c937ac8c55b5995e1b58e1848738f0698772587fed0b20aabadd7ba82ee240"),
                       out);
        assert_span(SPAN(out), hex("74aa193a8220796a6d2d95b4c3f46e6dc9569457edb68eeb9f08df8b0c1d5099"
                                   "c2d3f01303590453410f7bc80f85efbc051dc9c3646673b43cd23b032edd9add"));
        assert_ok(suite_expand_with_label(s, hex(key), "ExpandWithLabel",
                                          hex("85a923599d3c3e30c10954fc3a6468ad5f654e52008eb5ce742b7c56ce1d4c3b"
                                              "fda58788a600a56f5ae5ca92416aa49dbd5f012610b3eca98dc5f4f2534214a1"),
                                          out, 32));
        assert_span(span_of(out, 32), hex("15ccab27c45072ca3191e716eca386f3a8a90386333ae70cff4627056e8e9bf2"));
        assert_ok(suite_derive_secret(s, hex(key), "DeriveSecret", &derived));
        assert_span(secret_span(&derived), hex("2d8f7abb25bd43b0485aa144385bd76468715f9ee4b5875b3e0d44c585dd6444"
                                               "3d7a4c0e2bb9dc9342352c0d232a64caee7ca28078f94591b7c3a81bf2397044"));
        assert_ok(suite_derive_tree_secret(s, hex(key), "DeriveTreeSecret", 0, out, 32));
        assert_span(span_of(out, 32), hex("8b263a79ac4cfd982b7503510a2f7735cf732c40b480ce9a87b0f6e3d14a4eb2"));
    }
}

/* KDFLabel built by hand at the steps of its lengths: a label with prefix of 0x3f and 0x40, contexts to 0x4000. */
static void several_outputs_are_those_of_one_by_one(void **state) {
    for (int i = 0; i < 2; i++) {
        const suite *s = suite_find(i ? SUITE_XWING : SUITE_X25519);
        uint8_t key[HASH_MAX], a[32], b[12], c[200], one[200];
        random_bytes(key, sizeof key);
        const labelled_output outputs[] = {{"key", a, sizeof a}, {"nonce", b, sizeof b}, {"secret", c, sizeof c}};
        const span k = span_of(key, s->hash_size), context = span_text("context");
        assert_ok(suite_expand_with_labels(s, k, context, outputs, 3));
        for (size_t n = 0; n < 3; n++) {
            assert_ok(suite_expand_with_label(s, k, outputs[n].label, context, one, outputs[n].n));
            assert_memory_equal(one, outputs[n].out, outputs[n].n);
        }
        assert_ok(suite_derive_tree_secrets(s, k, 0x01020304, outputs, 3));
        for (size_t n = 0; n < 3; n++) {
            assert_ok(suite_derive_tree_secret(s, k, outputs[n].label, 0x01020304, one, outputs[n].n));
            assert_memory_equal(one, outputs[n].out, outputs[n].n);
        }
    }
}

static void labels_of_every_size_of_length(void **state) {
    static const size_t contexts[] = {0, 0x3f, 0x40, 0x3fff, 0x4000, 20000};
    static uint8_t info[32768], context[20000];
    memset(context, 0xc7, sizeof context);
    const suite *s = suite_find(SUITE_X25519);
    const span key = span_text("0123456789abcdef0123456789abcdef");
    for (size_t label_size = 0; label_size < 70; label_size++) {
        for (size_t c = 0; c < sizeof contexts / sizeof *contexts; c++) {
            char label[80] = {0};
            memset(label, 'L', label_size);
            size_t whole = 8 + label_size, n = 0, size = contexts[c];
            info[n++] = 300 >> 8;
            info[n++] = 300 & 0xff;
            if (whole >= 0x40)
                info[n++] = 0x40;
            info[n++] = (uint8_t)whole;
            memcpy(info + n, "MLS 1.0 ", 8);
            memcpy(info + n + 8, label, label_size);
            n += whole;
            if (size >= 0x4000) {
                info[n++] = 0x80;
                info[n++] = 0;
                info[n++] = (uint8_t)(size >> 8);
            } else if (size >= 0x40) {
                info[n++] = (uint8_t)(0x40 | size >> 8);
            }
            info[n++] = (uint8_t)size;
            memcpy(info + n, context, size);
            n += size;
            uint8_t expected[300], out[300];
            assert_ok(suite_expand(s, key, span_of(info, n), expected, 300));
            assert_ok(suite_expand_with_label(s, key, label, span_of(context, size), out, 300));
            assert_memory_equal(out, expected, 300);
        }
    }
    static uint8_t large[UINT16_MAX + 1];
    assert_err(suite_expand_with_label(s, key, "", SPAN_NONE, large, sizeof large), ERR_TOO_LARGE);
    assert_err(suite_expand_with_label(s, key, "", SPAN_NONE, large, 255 * 32 + 1), ERR_TOO_LARGE);
    assert_true(secret_is_zero(SPAN(large)));
}

/* --- AEAD --- */

static const char *RFC_8439_TEXT =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
    "future, sunscreen would be it.";
#define RFC_8439_KEY "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"

static void aead_matches_rfc_8439(void **state) {
    const span text = span_text(RFC_8439_TEXT), aad = hex("50515253c0c1c2c3c4c5c6c7");
    const uint8_t *key = hex(RFC_8439_KEY).p, *nonce = hex("070000004041424344454647").p;
    const span expected = hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69"
                              "da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad67594"
                              "5585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        uint8_t sealed[130], opened[114];
        assert_ok(suite_aead_seal(s, key, nonce, aad, text, sealed));
        assert_span(SPAN(sealed), expected);
        assert_ok(suite_aead_open(s, key, nonce, aad, SPAN(sealed), opened));
        assert_span(SPAN(opened), text);
        /* In place. */
        memcpy(sealed, text.p, text.n);
        assert_ok(suite_aead_seal(s, key, nonce, aad, span_of(sealed, text.n), sealed));
        assert_span(SPAN(sealed), expected);
        assert_ok(suite_aead_open(s, key, nonce, aad, SPAN(sealed), sealed));
        assert_span(span_of(sealed, text.n), text);
    }
}

static void aead_refuses_any_change_and_wipes(void **state) {
    const suite *s = suite_find(SUITE_X25519);
    uint8_t key[32], nonce[12] = {1}, aad[3] = "ad", text[20] = "twenty characters..", sealed[36], opened[20];
    memset(key, 3, sizeof key);
    assert_ok(suite_aead_seal(s, key, nonce, SPAN(aad), SPAN(text), sealed));
    struct {
        uint8_t *p;
        size_t n;
    } inputs[] = {{sealed, sizeof sealed}, {aad, sizeof aad}, {nonce, sizeof nonce}, {key, sizeof key}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        for (size_t bit = 0; bit < 8 * inputs[i].n; bit++) {
            inputs[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            memset(opened, 0xee, sizeof opened);
            assert_err(suite_aead_open(s, key, nonce, SPAN(aad), SPAN(sealed), opened), ERR_DECRYPT);
            assert_true(secret_is_zero(SPAN(opened)));
            inputs[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    assert_ok(suite_aead_open(s, key, nonce, SPAN(aad), SPAN(sealed), opened));
    assert_err(suite_aead_open(s, key, nonce, span_of(aad, 2), SPAN(sealed), opened), ERR_DECRYPT);
}

static void aead_tags_cut_short_are_refused(void **state) { /* GHSA-8x3w-qj7j-gqhf */
    const suite *s = suite_find(SUITE_X25519);
    uint8_t key[32] = {1}, nonce[12] = {0}, sealed[16 + 8], opened[24];
    assert_ok(suite_aead_seal(s, key, nonce, SPAN_NONE, span_text("8 bytes."), sealed));
    for (size_t n = 0; n < sizeof sealed; n++)
        assert_err(suite_aead_open(s, key, nonce, SPAN_NONE, span_of(sealed, n), opened), ERR_DECRYPT);
    assert_err(suite_aead_open(s, key, nonce, SPAN_NONE, SPAN_NONE, opened), ERR_DECRYPT);
    assert_ok(suite_aead_seal(s, key, nonce, SPAN_NONE, SPAN_NONE, sealed));
    assert_ok(suite_aead_open(s, key, nonce, SPAN_NONE, span_of(sealed, 16), opened));
}

/* --- keys --- */

static void x25519_matches_rfc_7748(void **state) {
    const suite *s = suite_find(SUITE_X25519);
    uint8_t public_key[32];
    /* §5.2, the iterated test's first step: the base point by the scalar 9. */
    assert_ok(
        suite_public_key(s, hex("0900000000000000000000000000000000000000000000000000000000000000").p, public_key));
    assert_span(SPAN(public_key), hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
    /* §6.1, Bob. */
    assert_ok(
        suite_public_key(s, hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb").p, public_key));
    assert_span(SPAN(public_key), hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
}

static void xwing_matches_its_draft(void **state) {
    /* draft-connolly-cfrg-xwing-kem, appendix C, first vector: seed, eseed and ss. */
    const suite *s = suite_find(SUITE_XWING);
    const uint8_t *seed = hex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26").p;
    const span eseed = hex("3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2"
                           "35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2");
    const span ss = hex("d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384");
    uint8_t public_key[KEM_PUBLIC_MAX], output[KEM_OUTPUT_MAX], shared[KEM_SECRET_SIZE];
    assert_ok(suite_public_key(s, seed, public_key));
    unsigned long calls = host_random_calls();
    host_set_random(eseed.p, eseed.n);
    assert_ok(kem_encapsulate(s, SPAN(public_key), output, shared));
    assert_int_equal(host_random_calls() - calls, 1); /* WASM-NOTES 7: each call crosses into JavaScript */
    assert_span(SPAN(shared), ss);
    memset(shared, 0, sizeof shared);
    assert_ok(kem_decapsulate(s, seed, SPAN(output), shared));
    assert_span(SPAN(shared), ss);
}

static void key_pairs_are_derived_as_specified(void **state) {
    kem_key_pair pair;
    uint8_t hash[32];
    /* RFC 9180 §A.2.1: ikmR, skRm, pkRm. */
    assert_ok(suite_derive_key_pair(suite_find(SUITE_X25519),
                                    hex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df"), &pair));
    assert_span(SPAN(pair.private_key), hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"));
    assert_span(span_of(pair.public_key, 32), hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"));
    /* crypto-basics.suite84.json, case 0; of the public key its SHA-256. */
    for (int i = 0; i < 2; i++) {
        assert_ok(suite_derive_key_pair(suite_find(i ? SUITE_XWING : SUITE_XWING_TS_MLS),
                                        hex("d90dfbdcccf3e2bfdb40617ca465f495b178c53e131cbce99846bd77832cacea"
                                            "3132609b8a37976d5e3bcdf22c30fe57e589abd490a489f076a2a6ce9bc0a2c6"),
                                        &pair));
        assert_span(SPAN(pair.private_key), hex("4be3d03e765a4b871d098f8aed5e9bacf4c1d718c3e8d5847bb774d3abf03043"));
        sha256(SPAN(pair.public_key), hash);
        assert_span(SPAN(hash), hex("9888dd3bbd67f5db22d2251e42594bec03acd8f33b3a8676f94bf91e3cebaf00"));
    }
}

static void generated_key_pairs_come_from_the_host(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        kem_key_pair pair, other;
        uint8_t random[32], public_key[KEM_PUBLIC_MAX];
        memset(random, 0x42, sizeof random);
        unsigned long calls = host_random_calls();
        host_set_random(random, sizeof random);
        assert_ok(suite_generate_key_pair(s, &pair));
        assert_int_equal(host_random_calls() - calls, 1);
        assert_memory_equal(pair.private_key, random, 32);
        assert_ok(suite_public_key(s, random, public_key));
        assert_memory_equal(pair.public_key, public_key, s->kem_public_size);
        assert_ok(suite_check_public_key(s, span_of(pair.public_key, s->kem_public_size)));
        assert_ok(suite_generate_key_pair(s, &other));
        assert_memory_not_equal(pair.private_key, other.private_key, 32);
    }
}

static void public_keys_of_another_length_are_refused(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        uint8_t key[KEM_PUBLIC_MAX + 1] = {0}, output[KEM_OUTPUT_MAX], shared[KEM_SECRET_SIZE];
        kem_key_pair pair;
        assert_ok(suite_generate_key_pair(s, &pair));
        memcpy(key, pair.public_key, s->kem_public_size);
        size_t n = s->kem_public_size;
        assert_ok(suite_check_public_key(s, span_of(key, n)));
        assert_err(suite_check_public_key(s, span_of(key, n - 1)), ERR_KEY);
        assert_err(suite_check_public_key(s, span_of(key, n + 1)), ERR_KEY);
        assert_err(suite_check_public_key(s, SPAN_NONE), ERR_KEY);
        assert_err(kem_encapsulate(s, span_of(key, n - 1), output, shared), ERR_KEY);
        assert_err(kem_decapsulate(s, pair.private_key, span_of(output, s->kem_output_size - 1u), shared), ERR_KEY);
        assert_err(kem_decapsulate(s, pair.private_key, SPAN_NONE, shared), ERR_KEY);
    }
}

/* Every u-coordinate that multiplication leads to zero; the last three are second spellings. */
static const char *LOW_ORDER[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void x25519_points_of_low_order_are_refused(void **state) { /* GHSA-g433-pq76-6cmf: all-zero result */
    const suite *x25519 = suite_find(SUITE_X25519), *xwing = suite_find(SUITE_XWING);
    kem_key_pair pair, hybrid;
    uint8_t output[KEM_OUTPUT_MAX], shared[KEM_SECRET_SIZE], sealed[KEM_OUTPUT_MAX];
    assert_ok(suite_generate_key_pair(x25519, &pair));
    assert_ok(suite_generate_key_pair(xwing, &hybrid));
    assert_ok(kem_encapsulate(xwing, SPAN(hybrid.public_key), output, shared));
    for (size_t i = 0; i < 2 * sizeof LOW_ORDER / sizeof *LOW_ORDER; i++) {
        uint8_t point[32], dh[32];
        memcpy(point, hex(LOW_ORDER[i / 2]).p, 32);
        point[31] |= i % 2 ? 0x80 : 0; /* the bit that X25519 ignores */
        assert_int_not_equal(crypto_scalarmult_curve25519(dh, pair.private_key, point), 0);
        assert_err(suite_check_public_key(x25519, SPAN(point)), ERR_KEY);
        assert_err(kem_encapsulate(x25519, SPAN(point), sealed, shared), ERR_KEY);
        assert_err(kem_decapsulate(x25519, pair.private_key, SPAN(point), shared), ERR_KEY);
        /* The X25519 half of the hybrid, in a key and in an encapsulation. */
        kem_key_pair bad = hybrid;
        memcpy(bad.public_key + 1184, point, 32);
        assert_err(suite_check_public_key(xwing, SPAN(bad.public_key)), ERR_KEY);
        assert_err(kem_encapsulate(xwing, SPAN(bad.public_key), sealed, shared), ERR_KEY);
        memcpy(sealed, output, sizeof sealed);
        memcpy(sealed + 1088, point, 32);
        assert_err(kem_decapsulate(xwing, hybrid.private_key, SPAN(sealed), shared), ERR_KEY);
    }
    /* Its neighbours are no such points. */
    uint8_t two[32] = {2};
    assert_ok(suite_check_public_key(x25519, SPAN(two)));
    two[15] = 1;
    two[0] = 0;
    assert_ok(suite_check_public_key(x25519, SPAN(two)));
}

static void mlkem_coefficients_beyond_the_modulus_are_refused(void **state) { /* FIPS 203 §7.2 */
    const suite *s = suite_find(SUITE_XWING);
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(s, &pair));
    for (size_t i = 0; i < 768; i++) {
        kem_key_pair bad = pair;
        uint8_t *three = bad.public_key + i / 2 * 3;
        for (unsigned v = 3328; v <= 3329; v++) {
            if (i % 2 == 0) {
                three[0] = (uint8_t)v;
                three[1] = (uint8_t)((three[1] & 0xf0) | v >> 8);
            } else {
                three[1] = (uint8_t)((three[1] & 0x0f) | v << 4);
                three[2] = (uint8_t)(v >> 4);
            }
            assert_err(suite_check_public_key(s, SPAN(bad.public_key)), v == 3329 ? ERR_KEY : OK);
        }
    }
    memset(pair.public_key, 0xff, 3);
    uint8_t output[KEM_OUTPUT_MAX], shared[KEM_SECRET_SIZE];
    assert_err(kem_encapsulate(s, SPAN(pair.public_key), output, shared), ERR_KEY);
}

static void random_bytes_are_the_hosts(void **state) {
    uint8_t a[48] = {0}, b[48];
    unsigned long calls = host_random_calls();
    random_bytes(a, 0);
    assert_int_equal(host_random_calls(), calls);
    assert_true(secret_is_zero(SPAN(a)));
    memset(b, 0x77, sizeof b);
    host_set_random(b, sizeof b);
    random_bytes(a, sizeof a);
    assert_memory_equal(a, b, sizeof a);
    random_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_int_equal(host_random_calls(), calls + 2);
}

static void short_random_bytes_are_drawn_ahead_and_given_once(void **state) {
    uint8_t drawn[40][16];
    unsigned long calls = host_random_calls();
    for (size_t i = 0; i < 40; i++)
        random_bytes(drawn[i], sizeof drawn[i]);
    assert_true(host_random_calls() - calls <= 3);
    for (size_t i = 0; i < 40; i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(drawn[i], drawn[k], sizeof drawn[i]);
    uint8_t key[32];
    calls = host_random_calls();
    random_bytes(key, sizeof key); /* a key is always fresh */
    assert_int_equal(host_random_calls(), calls + 1);
}

static int start(void **state) {
    crypto_init();
    crypto_init(); /* again does nothing */
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suites_have_the_sizes_of_their_algorithms),
        cmocka_unit_test(hashes_match_fips_180),
        cmocka_unit_test(hashing_in_parts_is_hashing_the_whole),
        cmocka_unit_test(macs_match_rfc_4231),
        cmocka_unit_test(hkdf_matches_rfc_5869),
        cmocka_unit_test(hkdf_gives_255_blocks_and_no_more),
        cmocka_unit_test(extract_and_derive_may_replace_their_input),
        cmocka_unit_test(labelled_functions_match_crypto_basics_of_suite_3),
        cmocka_unit_test(labelled_functions_match_the_xwing_suites),
        cmocka_unit_test(several_outputs_are_those_of_one_by_one),
        cmocka_unit_test(labels_of_every_size_of_length),
        cmocka_unit_test(aead_matches_rfc_8439),
        cmocka_unit_test(aead_refuses_any_change_and_wipes),
        cmocka_unit_test(aead_tags_cut_short_are_refused),
        cmocka_unit_test(x25519_matches_rfc_7748),
        cmocka_unit_test(xwing_matches_its_draft),
        cmocka_unit_test(key_pairs_are_derived_as_specified),
        cmocka_unit_test(generated_key_pairs_come_from_the_host),
        cmocka_unit_test(public_keys_of_another_length_are_refused),
        cmocka_unit_test(x25519_points_of_low_order_are_refused),
        cmocka_unit_test(mlkem_coefficients_beyond_the_modulus_are_refused),
        cmocka_unit_test(random_bytes_are_the_hosts),
        cmocka_unit_test(short_random_bytes_are_drawn_ahead_and_given_once),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
