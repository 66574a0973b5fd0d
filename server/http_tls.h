/* http_tls.h: the relay's own TLS: its certificate, taken anew without dropping a connection. OpenSSL does the protocol inside
 * libwebsockets; here is only which certificate a new connection gets, and what versions and ciphers there are. */
#ifndef SERVER_HTTP_TLS_H
#define SERVER_HTTP_TLS_H

#include <stdint.h>

#include "base/err.h"

/* TLS 1.2: forward secrecy and AEAD only (RFC 9325 §4.2). TLS 1.3 has nothing else. */
#define TLS_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

typedef struct tls_identity tls_identity;

/* Reads a certificate with its chain and its key, both PEM. Logs what is wrong; ERR_HOST, and ERR_NO_MEMORY. */
MUST_USE err tls_open(const char *certificate_file, const char *key_file, tls_identity **out);
void tls_close(tls_identity *t);
/* When its certificate ends, in seconds since 1970; 0: that can't be read. */
int64_t tls_expires(const tls_identity *t);
/* Reads the files again. When anything is wrong with them the old ones stay in use, and the log says so. */
void tls_reload(tls_identity *t);
/* Makes an SSL_CTX (libwebsockets') use it for every connection that begins from now on. */
void tls_use(tls_identity *t, void *ssl_ctx);

#endif
