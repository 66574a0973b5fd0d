/* OpenSSL has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#undef ERR_STATE

#include "push_key.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "base/text.h"
#include "limits.h"

#define SCALAR_SIZE 32
#define STORED_SIZE (SCALAR_SIZE + PUSH_PUBLIC_SIZE) /* so that nothing is computed when it is read */
#define TOKEN_PART_MAX 600                           /* header or claims */

struct push_key {
    EVP_PKEY *pair;
    uint8_t point[PUSH_PUBLIC_SIZE];
};

/* ---- the key */

static bool make(uint8_t stored[STORED_SIZE]) {
    BIGNUM *scalar = NULL;
    size_t n = 0;
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    bool good = pair != NULL && EVP_PKEY_get_bn_param(pair, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) == 1 &&
                BN_bn2binpad(scalar, stored, SCALAR_SIZE) == SCALAR_SIZE &&
                EVP_PKEY_get_octet_string_param(pair, OSSL_PKEY_PARAM_PUB_KEY, stored + SCALAR_SIZE, PUSH_PUBLIC_SIZE,
                                                &n) == 1 &&
                n == PUSH_PUBLIC_SIZE && stored[SCALAR_SIZE] == 4; /* uncompressed */
    BN_clear_free(scalar);
    EVP_PKEY_free(pair);
    return good;
}

static EVP_PKEY *read_pair(const uint8_t stored[STORED_SIZE]) {
    EVP_PKEY *pair = NULL;
    BIGNUM *scalar = BN_secure_new();
    OSSL_PARAM *parameters = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL), *check = NULL;
    if (build != NULL && ctx != NULL && BN_bin2bn(stored, SCALAR_SIZE, scalar) != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, scalar) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, stored + SCALAR_SIZE, PUSH_PUBLIC_SIZE) == 1 &&
        (parameters = OSSL_PARAM_BLD_to_param(build)) != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &pair, EVP_PKEY_KEYPAIR, parameters) == 1)
        check = EVP_PKEY_CTX_new_from_pkey(NULL, pair, NULL);
    if (check == NULL || EVP_PKEY_pairwise_check(check) != 1) {
        EVP_PKEY_free(pair);
        pair = NULL;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    BN_clear_free(scalar);
    return pair;
}

static bool read_stored(db *d, uint8_t stored[STORED_SIZE]) {
    db_rows r = DB_QUERY(d, "SELECT secret FROM push_key WHERE number = $1", db_i(1));
    bool found = db_next(&r) && db_bytes(&r, 0).n == STORED_SIZE;
    if (found)
        memcpy(stored, db_bytes(&r, 0).p, STORED_SIZE);
    db_end(&r);
    return found;
}

err push_key_open(db *d, push_key **out) {
    uint8_t stored[STORED_SIZE] = {0};
    *out = NULL;
    push_key *k = calloc(1, sizeof *k);
    if (k == NULL)
        return ERR_NO_MEMORY;
    err e = db_begin(d);
    if (e == OK) {
        if (!read_stored(d, stored) && !db_failed(d) && make(stored)) {
            /* Relays that start together: one of them makes it. */
            DB_RUN(d, "INSERT INTO push_key (number, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING", db_i(1),
                   db_b(SPAN(stored)));
            (void)read_stored(d, stored);
        }
        e = db_commit(d);
    }
    if (e == OK && (k->pair = read_pair(stored)) == NULL)
        e = ERR_HOST;
    memcpy(k->point, stored + SCALAR_SIZE, sizeof k->point);
    wipe(stored, sizeof stored);
    if (e != OK) {
        push_key_close(k);
        return e;
    }
    *out = k;
    return OK;
}

void push_key_close(push_key *k) {
    if (k != NULL)
        EVP_PKEY_free(k->pair);
    free(k);
}

const uint8_t *push_key_public(const push_key *k) { return k->point; }

/* ---- tokens */

bool push_contact_is_good(const char *contact) {
    const char *host = NULL;
    size_t n = strlen(contact);
    if (n > PUSH_CONTACT_MAX)
        return false;
    if (strncmp(contact, "mailto:", 7) == 0) {
        host = strchr(contact + 7, '@');
        if (host == NULL || host == contact + 7)
            return false;
        host++;
    } else if (strncmp(contact, "https://", 8) == 0) {
        host = contact + 8;
    } else {
        return false;
    }
    for (const char *p = contact; *p != 0; p++)
        if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\') /* it goes into JSON as it stands */
            return false;
    size_t size = strcspn(host, "/?#");
    const char *dot = memchr(host, '.', size);
    return dot != NULL && dot > host && dot + 1 < host + size && memchr(host, '@', size) == NULL;
}

static err sign(const push_key *k, span content, uint8_t out[2 * SCALAR_SIZE]) {
    uint8_t der[80];
    size_t n = sizeof der;
    const uint8_t *p = der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *pair = NULL;
    if (ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pair) == 1 &&
        EVP_DigestSign(ctx, der, &n, content.p, content.n) == 1)
        pair = d2i_ECDSA_SIG(NULL, &p, (long)n);
    /* RFC 7518 §3.4: r and s, each of 32 bytes. */
    bool good = pair != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, SCALAR_SIZE) == SCALAR_SIZE &&
                BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + SCALAR_SIZE, SCALAR_SIZE) == SCALAR_SIZE;
    ECDSA_SIG_free(pair);
    EVP_MD_CTX_free(ctx);
    return good ? OK : ERR_HOST;
}

typedef struct line {
    char *p;
    size_t n;
    bool full;
} line;

static void put(line *l, const char *s, size_t n) {
    if (l->full || n >= PUSH_AUTHORIZATION_MAX - l->n) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->n, s, n);
    l->n += n;
    l->p[l->n] = 0;
}

static void put_base64url(line *l, span bytes) {
    char coded[BASE64URL_SIZE(TOKEN_PART_MAX)];
    base64url_write(coded, bytes);
    put(l, coded, BASE64URL_SIZE(bytes.n));
}

err push_key_authorize(const push_key *k, span audience, const char *contact, int64_t expires_s,
                       char out[PUSH_AUTHORIZATION_MAX]) {
    static const char HEAD[] = "vapid t=", HEADER[] = "{\"typ\":\"JWT\",\"alg\":\"ES256\"}";
    char claims[TOKEN_PART_MAX];
    uint8_t signature[2 * SCALAR_SIZE];
    line l = {.p = out};
    int n = snprintf(claims, sizeof claims, "{\"aud\":\"%.*s\",\"exp\":%lld,\"sub\":\"%s\"}", (int)audience.n,
                     (const char *)audience.p, (long long)expires_s, contact);
    if (n < 0 || (size_t)n >= sizeof claims)
        return ERR_TOO_LARGE;
    put(&l, HEAD, sizeof HEAD - 1);
    size_t token = l.n;
    put_base64url(&l, span_text(HEADER));
    put(&l, ".", 1);
    put_base64url(&l, span_of(claims, (size_t)n));
    if (l.full)
        return ERR_TOO_LARGE;
    TRY(sign(k, span_of(out + token, l.n - token), signature));
    put(&l, ".", 1);
    put_base64url(&l, SPAN(signature));
    put(&l, ", k=", 4);
    put_base64url(&l, span_of(k->point, sizeof k->point));
    return l.full ? ERR_TOO_LARGE : OK;
}
