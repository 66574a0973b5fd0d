/* The module as it is, which tells the test of every secret the moment it is made: every function that makes one is led here
 * at the link (KEY_LIFE_WRAPS in the Makefile). tests/node/key-life.test.mjs then looks for them in memory and on disk. */
#include <stdlib.h>
#include <string.h>

#include "client/state.h"
#include "crypto/hpke_label.h"
#include "crypto/kem.h"
#include "crypto/suite.h"
#include "host.h"
#include "sotto.h"
#include "store/store.h"

/* The host copies it out of the module's memory. */
HOST_IMPORT("test_secret") void test_secret(const char *label, size_t label_size, const void *p, size_t n);
/* A value that is in the store now. */
HOST_IMPORT("test_live") void test_live(const void *p, size_t n);

static void tell(const char *label, const void *p, size_t n) { test_secret(label, strlen(label), p, n); }

#define WRAP(type, name, params)                                                                                       \
    type __real_##name params;                                                                                         \
    type __wrap_##name params;                                                                                         \
    type __wrap_##name params

WRAP(void, suite_extract, (const suite *s, span salt, span ikm, secret *prk)) {
    __real_suite_extract(s, salt, ikm, prk);
    tell("extract", prk->b, prk->n);
}

WRAP(err, suite_expand_with_label,
     (const suite *s, span key, const char *label, span context, uint8_t *out, size_t n)) {
    err e = __real_suite_expand_with_label(s, key, label, context, out, n);
    tell(label, out, n);
    return e;
}

WRAP(err, suite_expand_with_labels,
     (const suite *s, span key, span context, const labelled_output *outputs, size_t count)) {
    err e = __real_suite_expand_with_labels(s, key, context, outputs, count);
    for (size_t i = 0; i < count; i++)
        tell(outputs[i].label, outputs[i].out, outputs[i].n);
    return e;
}

WRAP(err, suite_derive_secret, (const suite *s, span key, const char *label, secret *out)) {
    err e = __real_suite_derive_secret(s, key, label, out);
    tell(label, out->b, out->n);
    return e;
}

WRAP(err, suite_derive_tree_secrets,
     (const suite *s, span key, uint32_t generation, const labelled_output *outputs, size_t count)) {
    static const char *const of_messages[] = {"message key", "message nonce", "ratchet secret"};
    err e = __real_suite_derive_tree_secrets(s, key, generation, outputs, count);
    for (size_t i = 0; i < count; i++)
        tell(i < 3 ? of_messages[i] : "tree", outputs[i].out, outputs[i].n);
    return e;
}

WRAP(err, suite_derive_key_pair, (const suite *s, span ikm, kem_key_pair *pair)) {
    err e = __real_suite_derive_key_pair(s, ikm, pair);
    tell("derived private key", pair->private_key, KEM_PRIVATE_SIZE);
    return e;
}

WRAP(err, suite_generate_key_pair, (const suite *s, kem_key_pair *pair)) {
    err e = __real_suite_generate_key_pair(s, pair);
    tell("private key", pair->private_key, KEM_PRIVATE_SIZE);
    return e;
}

WRAP(err, kem_encapsulate, (const suite *s, span public_key, uint8_t *output, uint8_t *shared)) {
    err e = __real_kem_encapsulate(s, public_key, output, shared);
    tell("KEM secret", shared, KEM_SECRET_SIZE);
    return e;
}

WRAP(err, kem_decapsulate, (const suite *s, const uint8_t *private_key, span output, uint8_t *shared)) {
    err e = __real_kem_decapsulate(s, private_key, output, shared);
    tell("KEM secret", shared, KEM_SECRET_SIZE);
    return e;
}

WRAP(void, hpke_labeled_extract,
     (size_t hash_size, span id, span salt, const char *label, const span *ikm, size_t count, secret *prk)) {
    __real_hpke_labeled_extract(hash_size, id, salt, label, ikm, count, prk);
    if (strcmp(label, "secret") == 0 || strcmp(label, "eae_prk") == 0 || strcmp(label, "dkp_prk") == 0)
        tell("HPKE secret", prk->b, prk->n);
}

WRAP(err, hpke_labeled_expand,
     (size_t hash_size, span id, span prk, const char *label, const span *info, size_t count, uint8_t *out, size_t n)) {
    err e = __real_hpke_labeled_expand(hash_size, id, prk, label, info, count, out, n);
    tell("HPKE key", out, n);
    return e;
}

WRAP(err, suite_decrypt_with_label,
     (const suite *s, const uint8_t *private_key, const char *label, span context, span kem_output, span ciphertext,
      uint8_t *plaintext)) {
    err e = __real_suite_decrypt_with_label(s, private_key, label, context, kem_output, ciphertext, plaintext);
    if (e == OK && strcmp(label, "UpdatePathNode") == 0)
        tell("path", plaintext, ciphertext.n - 16);
    return e;
}

WRAP(err, store_open, (const char *path, const uint8_t *key, bool create, const store_schema *schema, store **out)) {
    if (path[0] != 0)
        tell("store key", key, STORE_KEY_SIZE);
    return __real_store_open(path, key, create, schema, out);
}

/* Every value of an open account in which a secret may stand. */
__attribute__((used)) void key_life_live(sotto *handle) {
    store *s = (*(client **)handle)->store; /* its first member (sotto.c) */
    static const char *const sql[] = {"SELECT value FROM record", "SELECT staged FROM pending_commit",
                                      "SELECT secrets FROM key_package", "SELECT value FROM setting"};
    for (size_t i = 0; s != NULL && i < sizeof sql / sizeof *sql; i++) {
        query q;
        query_init(&q, s, sql[i]);
        while (query_row(&q)) {
            span value = query_blob(&q, 0);
            test_live(value.p, value.n);
        }
        if (query_end(&q) != OK)
            abort();
    }
}

/* A control: 32 bytes that nobody wipes, in memory that was given back. The test must find them. */
__attribute__((used)) void key_life_plant(void) {
    static const char text[] = "\x51"
                               "planted: nobody wipes this......";
    volatile char *p = malloc(64);
    for (size_t i = 0; i < sizeof text; i++)
        p[16 + i] = text[i] ^ 0x20;
    char copy[32];
    for (size_t i = 0; i < sizeof copy; i++)
        copy[i] = text[i] ^ 0x20;
    tell("planted", copy, sizeof copy);
    memset(copy, 0, sizeof copy);
    __asm__ __volatile__("" : : "r"(copy) : "memory");
}
