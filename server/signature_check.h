/* signature_check.h: RFC 9421 signatures in exactly the form of PROTOCOL.md, and RFC 9530 digests. Strict on purpose: one
 * spelling is accepted, so there is nothing that two parsers could read in two ways. */
#ifndef SERVER_SIGNATURE_CHECK_H
#define SERVER_SIGNATURE_CHECK_H

#include "base/arena.h"
#include "request.h"

#define NONCE_SIZE 16

typedef struct signed_head {
    span parameters; /* the text after "sotto=": what the signature covers as @signature-params */
    uint64_t created;
    uint8_t nonce[NONCE_SIZE];
    uint8_t keyid[ID_SIZE];
    uint8_t signature[ED25519_SIGNATURE_SIZE];
    bool covers_digest;
    uint8_t digest[32]; /* SHA-256 of the content, once it was verified */
} signed_head;

/* Reads the two headers. On failure *fault says, in one sentence, what is not in its form. ERR_MALFORMED. */
MUST_USE err signature_head_read(const request *rq, signed_head *head, const char **fault);
/* Checks the digest over the body, which it leaves in head->digest, and the signature over the request. ERR_SIGNATURE with *fault
 * set. */
MUST_USE err signature_head_verify(const request *rq, signed_head *head, const uint8_t key[ED25519_PUBLIC_SIZE],
                                   const char **fault);

/* The method as it stands in the signature: "GET"; NULL for one that no call has. */
const char *method_name(http_method m);

#endif
