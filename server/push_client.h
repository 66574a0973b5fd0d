/* push_client.h: sends pushes (RFC 8030) by libcurl, in a thread of its own: looking names up, TLS handshakes and slow push services
 * cost the relay's loop nothing. All that knows libcurl is in push_client.c. */
#ifndef SERVER_PUSH_CLIENT_H
#define SERVER_PUSH_CLIENT_H

#include "limits.h"
#include "push_endpoint.h"
#include "push_key.h"
#include "request.h"

typedef enum push_outcome {
    PUSH_SENT,   /* the push service took it */
    PUSH_GONE,   /* there is no such subscription any more */
    PUSH_AGAIN,  /* not now: it is too much, or the push service can't be reached */
    PUSH_REFUSED /* and would be again */
} push_outcome;

typedef struct push_job {
    uint8_t clinic[ID_SIZE], device[ID_SIZE];
    char endpoint[PUSH_ENDPOINT_MAX + 1]; /* a secret of the device's */
    int64_t expires_s;                    /* of the token */
    /* Afterwards: */
    push_outcome outcome;
    int status;            /* of the answer; 0: there was none */
    int64_t retry_after_s; /* 0: not said */
    struct push_job *next;
} push_job;

typedef struct push_client_options {
    const char *contact; /* of the operator, for push services */
    push_allowed allowed;
} push_client_options;

typedef struct push_client push_client;

/* Starts the thread. Options and key must outlive it. Certificates are checked against the system's, or those of the file that the
 * environment's SSL_CERT_FILE names. ERR_NO_MEMORY, ERR_HOST. */
MUST_USE err push_client_open(const push_client_options *options, const push_key *key, push_client **out);
void push_client_close(push_client *c);
/* Takes a job from malloc. At most PUSH_FLIGHT_MAX are under way; the caller counts. */
void push_client_send(push_client *c, push_job *job);
/* One that has ended, to be freed; NULL: none. */
push_job *push_client_done(push_client *c);

#endif
