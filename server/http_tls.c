/* OpenSSL has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/err.h>
#include <openssl/ssl.h>
#undef ERR_STATE

#include "http_tls.h"

#include <stdlib.h>
#include <time.h>

#include "log.h"

struct tls_identity {
    const char *certificate_file, *key_file;
    SSL_CTX *read; /* what the files held when they were last good */
};

/* OpenSSL's reasons are words of its own; they name no content of the files. */
static void say(const char *what) {
    unsigned long code = ERR_get_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    log_line(LOG_ERROR, "event=tls message=\"%s: %s\"", what, reason != NULL ? reason : "not usable");
    ERR_clear_error();
}

/* An encrypted key would make OpenSSL ask at the terminal. */
static int no_password(char *out, int size, int writing, void *ctx) {
    (void)out;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

static SSL_CTX *read_files(const tls_identity *t) {
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    if (c == NULL)
        return NULL;
    SSL_CTX_set_default_passwd_cb(c, no_password);
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(c, t->certificate_file) != 1)
        say("can't use the certificate");
    else if (SSL_CTX_use_PrivateKey_file(c, t->key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(c) != 1)
        say("can't use the key with this certificate");
    else
        return c;
    SSL_CTX_free(c);
    return NULL;
}

err tls_open(const char *certificate_file, const char *key_file, tls_identity **out) {
    tls_identity *t = calloc(1, sizeof *t);
    *out = NULL;
    if (t == NULL)
        return ERR_NO_MEMORY;
    t->certificate_file = certificate_file;
    t->key_file = key_file;
    t->read = read_files(t);
    if (t->read == NULL) {
        free(t);
        return ERR_HOST;
    }
    *out = t;
    return OK;
}

int64_t tls_expires(const tls_identity *t) {
    struct tm end;
    X509 *own = SSL_CTX_get0_certificate(t->read);
    return own != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(own), &end) == 1 ? (int64_t)timegm(&end) : 0;
}

void tls_close(tls_identity *t) {
    if (t != NULL)
        SSL_CTX_free(t->read);
    free(t);
}

void tls_reload(tls_identity *t) {
    SSL_CTX *fresh = read_files(t);
    if (fresh == NULL) {
        log_line(LOG_ERROR, "event=tls message=\"the certificate in use stays\"");
        return;
    }
    SSL_CTX_free(t->read);
    t->read = fresh;
    log_line(LOG_INFO, "event=tls message=\"the certificate was read anew\"");
}

/* A connection takes its certificate when its ClientHello is there; those under way keep theirs. */
static int choose(SSL *ssl, void *ctx) {
    const tls_identity *t = ctx;
    STACK_OF(X509) *chain = NULL;
    X509 *own = SSL_CTX_get0_certificate(t->read);
    EVP_PKEY *key = SSL_CTX_get0_privatekey(t->read);
    (void)SSL_CTX_get0_chain_certs(t->read, &chain);
    SSL_certs_clear(ssl);
    return SSL_use_cert_and_key(ssl, own, key, chain, 1);
}

void tls_use(tls_identity *t, void *ssl_ctx) {
    SSL_CTX *c = ssl_ctx;
    (void)SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    (void)SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_cert_cb(c, choose, t);
}
