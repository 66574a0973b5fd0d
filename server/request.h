/* request.h: what the HTTP front hands to the relay's logic and gets back. Neither knows of the other's world: no
 * sockets here, no HTTP library, no database. */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "base/span.h"
#include "client/certificate.h"

typedef enum http_method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_OTHER } http_method;

/* All spans live until the request is answered. Absent headers are SPAN_NONE. */
typedef struct request {
    http_method method;
    span path;      /* "/v1/…", as it was sent but for percent-encoding, which no path of ours needs */
    span query;     /* without "?"; empty when there is none */
    span authority; /* Host, lower case */
    span signature_input, signature, content_digest, content_type;
    span body;
    span range;          /* Range; not signed, for it only says which part of a blob is wanted */
    bool event_stream;   /* Accept: text/event-stream */
    uint8_t address[16]; /* IPv6 or mapped IPv4; for rates; of it the audit log keeps the /24 or /48 */
} request;

/* An inbox that had nothing to say yet. */
typedef struct inbox_wait {
    uint8_t clinic[ID_SIZE], device[ID_SIZE];
    int64_t after;
    int64_t limit;
    int64_t seconds;
} inbox_wait;

typedef enum response_then {
    THEN_ANSWER, /* send it */
    THEN_WAIT,   /* park the request; relay_inbox_answer when the device is woken or time is up */
    THEN_STREAM  /* send the head of an event stream, then what relay_inbox_stream gives, again at each wake-up */
} response_then;

typedef struct response {
    int status;
    const char *type; /* of the body; NULL: no body */
    char *body;       /* malloc'ed, the receiver frees it */
    size_t body_size;
    bool accept_ranges;     /* Accept-Ranges: bytes */
    char content_range[64]; /* empty: no Content-Range header */
    uint32_t retry_after_s; /* 0: no Retry-After header */
    response_then then;
    inbox_wait wait;
} response;

void response_free(response *rs);

#endif
