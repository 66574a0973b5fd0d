/* OpenSSL has a type of this name, and base/err.h a value. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <fido.h>
#include <fido/eddsa.h>
#include <fido/es256.h>
#undef ERR_STATE
#include <stdio.h>
#include <string.h>

#include "webauthn.h"

#include "base/secret.h"
#include "crypto/sha256.h"
#include "json.h"

/* §6.1: flags of the authenticator data */
enum { FLAG_USER_PRESENT = 1, FLAG_USER_VERIFIED = 4 };

void webauthn_party_of(const char *origin, char party[WEBAUTHN_ORIGIN_MAX]) {
    static const char SECURE[] = "https://", LOCAL[] = "http://localhost";
    size_t secure = sizeof SECURE - 1, local = sizeof LOCAL - 1;
    const char *host = strncmp(origin, SECURE, secure) == 0 ? origin + secure : "";
    if (strncmp(origin, LOCAL, local) == 0 && (origin[local] == 0 || origin[local] == ':'))
        host = origin + strlen("http://");
    size_t n = strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-"), rest = n;
    if (host[n] == ':')
        rest = n + 1 + strspn(host + n + 1, "0123456789");
    bool good = n > 0 && host[rest] == 0 && rest != n + 1 && n < WEBAUTHN_ORIGIN_MAX;
    (void)snprintf(party, WEBAUTHN_ORIGIN_MAX, "%.*s", good ? (int)n : 0, host);
}

/* §7.1 steps 7 to 11, §7.2 steps 11 to 14. */
static const char *check_client_data(span client_data, const char *type, const char *origin,
                                     const uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE], arena *a) {
    json j;
    uint8_t given[WEBAUTHN_CHALLENGE_SIZE];
    const char *fault = NULL;
    json_open(&j, client_data, a);
    span given_type = json_text(&j, "type", 32), given_origin = json_text(&j, "origin", WEBAUTHN_ORIGIN_MAX);
    json_fixed(&j, "challenge", given, sizeof given);
    if (j.fault[0] != 0)
        fault = "the client data are not in their form";
    else if (!span_equal(given_type, span_text(type)))
        fault = "the client data are of another type";
    else if (!span_equal(given_origin, span_text(origin)) || json_is_true(&j, "crossOrigin"))
        fault = "the client data are of another origin";
    else if (!secret_equal(SPAN(given), span_of(challenge, WEBAUTHN_CHALLENGE_SIZE)))
        fault = "the client data hold another challenge";
    json_close(&j);
    return fault;
}

/* ---- a credential that was made */

static bool is_made_for(const fido_cred_t *cred, span authenticator_data, const char *party) {
    uint8_t hash[32];
    sha256(span_text(party), hash);
    uint8_t both = FLAG_USER_PRESENT | FLAG_USER_VERIFIED;
    return authenticator_data.n >= sizeof hash && memcmp(authenticator_data.p, hash, sizeof hash) == 0 &&
           (fido_cred_flags(cred) & both) == both;
}

static bool take_credential(const fido_cred_t *cred, arena *a, webauthn_credential *out) {
    size_t key_size = fido_cred_pubkey_len(cred), id_size = fido_cred_id_len(cred);
    if (fido_cred_id_ptr(cred) == NULL || id_size == 0 || id_size > WEBAUTHN_ID_MAX || key_size > sizeof out->key ||
        fido_cred_pubkey_ptr(cred) == NULL)
        return false;
    *out = (webauthn_credential){.algorithm = fido_cred_type(cred), .key_size = key_size};
    memcpy(out->key, fido_cred_pubkey_ptr(cred), key_size);
    out->counter = fido_cred_sigcount(cred);
    return arena_copy(a, span_of(fido_cred_id_ptr(cred), id_size), &out->id) == OK;
}

const char *webauthn_created(const char *origin, const uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE], span client_data,
                             span authenticator_data, arena *a, webauthn_credential *out) {
    static const int ALGORITHMS[] = {COSE_ES256, COSE_EDDSA};
    char party[WEBAUTHN_ORIGIN_MAX];
    const char *fault = check_client_data(client_data, "webauthn.create", origin, challenge, a);
    if (fault != NULL)
        return fault;
    webauthn_party_of(origin, party);
    fault = "the authenticator data hold no credential with ES256 or EdDSA";
    for (size_t i = 0; i < sizeof ALGORITHMS / sizeof *ALGORITHMS; i++) {
        /* libfido2 wants to be told the algorithm before it reads a key. */
        fido_cred_t *cred = fido_cred_new();
        if (cred != NULL && fido_cred_set_type(cred, ALGORITHMS[i]) == FIDO_OK &&
            fido_cred_set_authdata_raw(cred, authenticator_data.p, authenticator_data.n) == FIDO_OK &&
            take_credential(cred, a, out)) {
            fault = is_made_for(cred, authenticator_data, party)
                        ? NULL
                        : "the credential is for another relying party, or its user was not verified";
            i = sizeof ALGORITHMS;
        }
        fido_cred_free(&cred);
    }
    return fault;
}

/* ---- an assertion */

static int verify(const fido_assert_t *assertion, const webauthn_credential *c) {
    int e = FIDO_ERR_INVALID_ARGUMENT;
    if (c->algorithm == COSE_ES256) {
        es256_pk_t *key = es256_pk_new();
        if (key != NULL && (e = es256_pk_from_ptr(key, c->key, c->key_size)) == FIDO_OK)
            e = fido_assert_verify(assertion, 0, COSE_ES256, key);
        es256_pk_free(&key);
    } else if (c->algorithm == COSE_EDDSA) {
        eddsa_pk_t *key = eddsa_pk_new();
        if (key != NULL && (e = eddsa_pk_from_ptr(key, c->key, c->key_size)) == FIDO_OK)
            e = fido_assert_verify(assertion, 0, COSE_EDDSA, key);
        eddsa_pk_free(&key);
    }
    return e;
}

const char *webauthn_asserted(const char *origin, const uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE], span client_data,
                              span authenticator_data, span signature, arena *a, webauthn_credential *c) {
    char party[WEBAUTHN_ORIGIN_MAX];
    uint8_t hash[32];
    const char *fault = check_client_data(client_data, "webauthn.get", origin, challenge, a);
    if (fault != NULL)
        return fault;
    webauthn_party_of(origin, party);
    sha256(client_data, hash);
    fido_assert_t *assertion = fido_assert_new();
    if (assertion == NULL || fido_assert_set_rp(assertion, party) != FIDO_OK ||
        fido_assert_set_clientdata_hash(assertion, hash, sizeof hash) != FIDO_OK ||
        fido_assert_set_up(assertion, FIDO_OPT_TRUE) != FIDO_OK ||
        fido_assert_set_uv(assertion, FIDO_OPT_TRUE) != FIDO_OK || fido_assert_set_count(assertion, 1) != FIDO_OK ||
        fido_assert_set_authdata_raw(assertion, 0, authenticator_data.p, authenticator_data.n) != FIDO_OK ||
        fido_assert_set_sig(assertion, 0, signature.p, signature.n) != FIDO_OK)
        fault = "the authenticator data are not in their form";
    else if (verify(assertion, c) != FIDO_OK)
        fault = "the assertion does not verify, is for another relying party, or its user was not verified";
    if (fault == NULL) {
        /* §7.2 step 21: 0 stays 0 for authenticators that do not count. */
        int64_t counter = fido_assert_sigcount(assertion, 0);
        if ((counter != 0 || c->counter != 0) && counter <= c->counter)
            fault = "the authenticator's counter went back: there may be two of it";
        else
            c->counter = counter;
    }
    fido_assert_free(&assertion);
    return fault;
}
