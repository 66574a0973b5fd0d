/* request.h: HTTP requests to the relay, signed with a device's key (RFC 9421, RFC 9530; server/PROTOCOL.md). */
#ifndef CLIENT_REQUEST_H
#define CLIENT_REQUEST_H

#include "client/client.h"
#include "crypto/signature.h"

typedef struct request_signer {
    const signature_key *key;
    uint8_t key_id[ID_SIZE]; /* of the device, invite or clinic */
    span origin;             /* of the relay: "https://host[:port]" */
    int64_t now_ms;          /* the relay's clock as far as we know it */
} request_signer;

/* ERR_MALFORMED unless it is "http://host[:port]" or "https://host[:port]" without a path. */
MUST_USE err request_origin_check(span origin);
/* Appends a request to the effects, signed unless signer is NULL. method, path and type are static or in the arena; body is copied into it. */
MUST_USE err request_emit(effects *fx, const request_signer *signer, uint64_t id, const char *method, const char *path,
                          const char *type, span body, bool waits);

#endif
