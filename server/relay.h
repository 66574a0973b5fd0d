/* relay.h: the relay's logic. Pure: a request in, a response and wake-ups out, over a database. No sockets, no files,
 * no clock: the caller says what time it is. Requests are handled in batches, each batch one transaction:
 *
 *     relay_batch_begin(r, now);  relay_handle_all(r, requests, responses, n) …;  relay_batch_end(r)
 *
 * Nothing may be answered before relay_batch_end returned true. When it returns false, nothing of the batch was stored, and every
 * response of it must be replaced by relay_unavailable. */
#ifndef SERVER_RELAY_H
#define SERVER_RELAY_H

#include "db.h"
#include "json.h"
#include "limits.h"
#include "push_endpoint.h"
#include "request.h"
#include "use.h"

typedef struct relay_options {
    bool clinics_open;                              /* may anybody make a clinic here */
    uint32_t rate_device, rate_address, rate_enrol; /* a minute; 0: no limit */
    uint32_t rate_invite, rate_clinic;              /* likewise */
    int64_t quota[USE_KINDS];                       /* of a clinic; 0: no limit */
    int64_t blob_quota, blob_days;                  /* bytes of a clinic; days that a blob is kept */
    int64_t blob_share;                             /* bytes of blobs that one device has begun; 0: no limit */
    int64_t retention_days;                         /* that events wait for a device; clinics may have their own */
    const char *authority;                          /* the one Host that requests may be for; NULL: any */
    const uint8_t *push_key;                        /* PUSH_PUBLIC_SIZE bytes; NULL: there are no pushes */
    push_allowed push_allowed;
    const char *origin; /* of the staff's console, for WebAuthn; NULL: https:// and the authority, if there is one */
} relay_options;

typedef struct relay relay;

/* Borrows the database. ERR_NO_MEMORY. */
MUST_USE err relay_open(db *d, const relay_options *options, relay **out);
void relay_close(relay *r);

/* False when the database can't begin: answer relay_unavailable. */
MUST_USE bool relay_batch_begin(relay *r, int64_t now_ms);
/* Requests that are under way at the same time, at most BATCH_MAX: none of them was asked after another was answered, so they are
 * handled in whatever order is cheap. Always fills the responses. */
void relay_handle_all(relay *r, const request *const *requests, response *const *responses, size_t n);
void relay_handle(relay *r, const request *rq, response *rs);
MUST_USE bool relay_batch_end(relay *r);
/* Batches so far that did not wait for the medium, since nothing of them was promised to anybody. */
uint64_t relay_batches_unflushed(const relay *r);
void relay_unavailable(response *rs);
/* The pattern of the path of the call that a request is for; static. NULL: there is no such call. */
const char *relay_call_of(const request *rq);
/* Outside a batch. Does the database take a write now? */
bool relay_ready(relay *r, int64_t now_ms);

/* Devices that got something in the last batch, once for each value of `push`. Valid until the next batch begins. */
typedef enum wake_push {
    WAKE_ONLY,      /* nothing to ring for */
    WAKE_PUSH,      /* a message or welcome by another device */
    WAKE_SUBSCRIBED /* it has a new subscription */
} wake_push;
typedef struct wake {
    uint8_t device[ID_SIZE];
    wake_push push;
    uint8_t clinic[ID_SIZE]; /* set where push is not WAKE_ONLY */
    int64_t seq;             /* of what is to be rung for */
} wake;
const wake *relay_wakes(const relay *r, size_t *count);

/* Other relays on the same database. The descriptor is readable when one of them may have something for a device that waits here
 * (-1: there are no others); it changes when the database was gone. relay_hear takes that in, outside a batch, and fills
 * relay_wakes; true: something was missed, so everybody who waits must be looked at. To be called every second or so besides. */
int relay_descriptor(relay *r);
bool relay_hear(relay *r);

/* Pushes; all outside a batch. What relays on one database say to each other about devices: */
typedef enum push_word {
    PUSH_WHO_WAITS = 1, /* "does one of these wait at yours?" */
    PUSH_WAITS_HERE = 2 /* "these wait at mine" */
} push_word;
void relay_push_tell(relay *r, push_word word, const wake *devices, size_t n);
/* What others have said of that kind; valid until the next relay_hear. */
const wake *relay_push_heard(const relay *r, push_word word, size_t *count);
/* Has a device a subscription, and not read the event `seq`? Then its endpoint is in `endpoint`, with a NUL. */
typedef enum push_found { PUSH_NO_SUBSCRIPTION, PUSH_HAS_READ, PUSH_WANTED, PUSH_LOOKUP_FAILED } push_found;
push_found relay_push_find(relay *r, const uint8_t clinic[ID_SIZE], const uint8_t device[ID_SIZE], int64_t seq,
                           char endpoint[PUSH_ENDPOINT_MAX + 1]);
/* Forgets subscriptions that their push services do not know, unless the device has another by now. */
typedef struct push_gone {
    const uint8_t *clinic, *device;
    const char *endpoint;
} push_gone;
void relay_push_drop(relay *r, const push_gone *gone, size_t n);

/* Outside a batch. Answers a parked inbox: true when there is something to say, or `last` asks for an answer anyhow. */
bool relay_inbox_answer(relay *r, const inbox_wait *wait, bool last, int64_t now_ms, response *rs);
/* Outside a batch. Appends the events of an event stream and moves wait->after. False: the stream must end. */
bool relay_inbox_stream(relay *r, inbox_wait *wait, int64_t now_ms, text *out);

/* Outside a batch, every second or so: delivers messages whose time has come, of one clinic, and fills relay_wakes. True: there may
 * be more. */
bool relay_deliver_due(relay *r, int64_t now_ms);

/* Small upkeep, to be called every few seconds outside a batch: forgets what is older than it need be remembered. */
void relay_tidy(relay *r, int64_t now_ms);

#endif
