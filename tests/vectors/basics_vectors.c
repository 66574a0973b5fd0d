/* tree-math, deserialization, crypto-basics, and HPKE with the KEM of our default suite. */
#include "crypto/signature.h"
#include "mls/tree_math.h"
#include "vectors.h"
#include "wire/wire.h"

/* --- tree-math --- */

static bool is_number(const cJSON *list, uint32_t i, bool expected, uint32_t value) {
    const cJSON *entry = cJSON_GetArrayItem(list, (int)i);
    return expected ? cJSON_IsNumber(entry) && (uint32_t)entry->valuedouble == value : cJSON_IsNull(entry);
}

outcome check_tree_math(vector_case *c) {
    uint32_t n = (uint32_t)field_number(c->json, "n_leaves");
    if (n == 0 || (n & (n - 1)) != 0)
        return skipped(c, "a tree of %u leaves is not full", n);
    uint32_t width = tree_width(n), root = tree_root(n);
    EXPECT(width == field_number(c->json, "n_nodes"), "n_nodes");
    EXPECT(root == field_number(c->json, "root"), "root");
    const cJSON *left = cJSON_GetObjectItem(c->json, "left"), *right = cJSON_GetObjectItem(c->json, "right"),
                *parent = cJSON_GetObjectItem(c->json, "parent"), *sibling = cJSON_GetObjectItem(c->json, "sibling");
    for (uint32_t i = 0; i < width; i++) {
        bool inner = !tree_is_leaf(i), below = i != root;
        EXPECT(is_number(left, i, inner, inner ? tree_left(i) : 0), "left of %u", i);
        EXPECT(is_number(right, i, inner, inner ? tree_right(i) : 0), "right of %u", i);
        EXPECT(is_number(parent, i, below, below ? tree_parent(i) : 0), "parent of %u", i);
        EXPECT(is_number(sibling, i, below, below ? tree_sibling(i) : 0), "sibling of %u", i);
    }
    return PASSED;
}

/* --- deserialization --- */

outcome check_deserialization(vector_case *c) {
    span header = field_hex(c, c->json, "vlbytes_header");
    uint32_t length = 0;
    wire w;
    wire_read_init(&w, header, &c->arena);
    wire_varint(&w, &length);
    EXPECT_OK(wire_end(&w));
    EXPECT(length == field_number(c->json, "length"), "length %u", length);
    uint8_t again[4];
    wire_write_init(&w, again, sizeof again);
    wire_varint(&w, &length);
    EXPECT_OK(wire_end(&w));
    EXPECT_SPAN(span_of(again, w.at), header);
    return PASSED;
}

/* --- crypto-basics --- */

static outcome check_kdf(vector_case *c) {
    const suite *s = c->suite;
    uint8_t out[255];
    const cJSON *t = cJSON_GetObjectItem(c->json, "ref_hash");
    /* RefHash takes its label whole here, without "MLS 1.0 ". */
    suite_ref_hash(s, field_text(t, "label"), field_hex(c, t, "value"), out);
    EXPECT_SPAN(span_of(out, s->hash_size), field_hex(c, t, "out"));

    t = cJSON_GetObjectItem(c->json, "expand_with_label");
    size_t n = (size_t)field_number(t, "length");
    EXPECT_OK(suite_expand_with_label(s, field_hex(c, t, "secret"), field_text(t, "label"), field_hex(c, t, "context"),
                                      out, n));
    EXPECT_SPAN(span_of(out, n), field_hex(c, t, "out"));

    t = cJSON_GetObjectItem(c->json, "derive_secret");
    secret derived;
    EXPECT_OK(suite_derive_secret(s, field_hex(c, t, "secret"), field_text(t, "label"), &derived));
    EXPECT_SPAN(secret_span(&derived), field_hex(c, t, "out"));

    t = cJSON_GetObjectItem(c->json, "derive_tree_secret");
    n = (size_t)field_number(t, "length");
    EXPECT_OK(suite_derive_tree_secret(s, field_hex(c, t, "secret"), field_text(t, "label"),
                                       (uint32_t)field_number(t, "generation"), out, n));
    EXPECT_SPAN(span_of(out, n), field_hex(c, t, "out"));
    return PASSED;
}

static outcome check_sign(vector_case *c) {
    const cJSON *t = cJSON_GetObjectItem(c->json, "sign_with_label");
    span priv = field_hex(c, t, "priv"), pub = field_hex(c, t, "pub"), content = field_hex(c, t, "content");
    uint8_t signature[SIGNATURE_SIZE];
    signature_key key;
    EXPECT(priv.n == SIGNATURE_SEED_SIZE, "priv");
    signature_key_from_seed(priv.p, &key);
    EXPECT_SPAN(signature_key_public(&key), pub);
    EXPECT_OK(
        signature_verify_with_label(pub, field_text(t, "label"), content, field_hex(c, t, "signature"), &c->arena));
    EXPECT_OK(signature_sign_with_label(&key, field_text(t, "label"), content, &c->arena, signature));
    EXPECT_OK(signature_verify_with_label(pub, field_text(t, "label"), content, SPAN(signature), &c->arena));
    return PASSED;
}

static outcome check_encrypt(vector_case *c) {
    const suite *s = c->suite;
    const cJSON *t = cJSON_GetObjectItem(c->json, "encrypt_with_label");
    span priv = field_hex(c, t, "priv"), pub = field_hex(c, t, "pub"), context = field_hex(c, t, "context");
    span plaintext = field_hex(c, t, "plaintext"), ciphertext = field_hex(c, t, "ciphertext");
    const char *label = field_text(t, "label");
    uint8_t out[512], sealed[512], kem_output[KEM_OUTPUT_MAX], public_key[KEM_PUBLIC_MAX];
    EXPECT(priv.n == KEM_PRIVATE_SIZE && plaintext.n + AEAD_TAG_SIZE <= sizeof sealed, "sizes");
    EXPECT_OK(suite_public_key(s, priv.p, public_key));
    EXPECT_SPAN(span_of(public_key, s->kem_public_size), pub);
    EXPECT_OK(suite_decrypt_with_label(s, priv.p, label, context, field_hex(c, t, "kem_output"), ciphertext, out));
    EXPECT_SPAN(span_of(out, plaintext.n), plaintext);
    EXPECT_OK(suite_encrypt_with_label(s, pub, label, context, plaintext, kem_output, sealed));
    EXPECT_OK(suite_decrypt_with_label(s, priv.p, label, context, span_of(kem_output, s->kem_output_size),
                                       span_of(sealed, plaintext.n + AEAD_TAG_SIZE), out));
    EXPECT_SPAN(span_of(out, plaintext.n), plaintext);
    t = cJSON_GetObjectItem(c->json, "derive_key_pair"); /* in the X-Wing set only */
    if (t != NULL) {
        kem_key_pair pair;
        EXPECT_OK(suite_derive_key_pair(s, field_hex(c, t, "ikm"), &pair));
        EXPECT_SPAN(SPAN(pair.private_key), field_hex(c, t, "priv"));
        EXPECT_SPAN(span_of(pair.public_key, s->kem_public_size), field_hex(c, t, "pub"));
    }
    return PASSED;
}

outcome check_crypto_basics(vector_case *c) {
    outcome o = check_kdf(c);
    if (o == PASSED)
        o = check_sign(c);
    return o == PASSED ? check_encrypt(c) : o;
}

/* --- HPKE --- */

outcome check_hpke(vector_case *c) {
    unsigned kem = (unsigned)field_number(c->json, "kem_id"), kdf = (unsigned)field_number(c->json, "kdf_id"),
             aead = (unsigned)field_number(c->json, "aead_id");
    if (kem != 0x647a || (kdf != 1 && kdf != 3) || aead != 3)
        return skipped(c, "HPKE suite %04x, %u, %u", kem, kdf, aead);
    suite s = *suite_find(SUITE_XWING);
    s.kdf_id = (uint16_t)kdf;
    s.hash_size = kdf == 1 ? 32 : 64;
    span priv = field_hex(c, c->json, "skRm"), enc = field_hex(c, c->json, "enc"), info = field_hex(c, c->json, "info");
    EXPECT(priv.n == KEM_PRIVATE_SIZE, "skRm");
    uint8_t public_key[KEM_PUBLIC_MAX], out[512];
    EXPECT_OK(suite_public_key(&s, priv.p, public_key));
    EXPECT_SPAN(span_of(public_key, s.kem_public_size), field_hex(c, c->json, "pkRm"));
    /* One message a context is all that MLS needs: the first. */
    const cJSON *t = cJSON_GetArrayItem(cJSON_GetObjectItem(c->json, "encryptions"), 0);
    span pt = field_hex(c, t, "pt");
    EXPECT(pt.n <= sizeof out, "pt");
    EXPECT_OK(hpke_open(&s, priv.p, enc, info, field_hex(c, t, "aad"), field_hex(c, t, "ct"), out));
    EXPECT_SPAN(span_of(out, pt.n), pt);
    cJSON_ArrayForEach(t, cJSON_GetObjectItem(c->json, "exports")) {
        size_t n = (size_t)field_number(t, "L");
        EXPECT(n <= sizeof out, "L");
        EXPECT_OK(hpke_receive_export(&s, priv.p, enc, info, field_hex(c, t, "exporter_context"), out, n));
        EXPECT_SPAN(span_of(out, n), field_hex(c, t, "exported_value"));
    }
    return PASSED;
}
