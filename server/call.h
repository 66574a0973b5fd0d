/* call.h: what the calls_*.c share: one request under way. A call reads its input, asks and changes the database and
 * returns answer(…) or problem(…). A problem undoes what the call changed, unless it said keep_changes. */
#ifndef SERVER_CALL_H
#define SERVER_CALL_H

#include "client/audit_log.h"
#include "db.h"
#include "directory.h"
#include "json.h"
#include "limits.h"
#include "problem.h"
#include "relay.h"
#include "signature_check.h"

typedef struct relay_wakes_list {
    wake *p;
    size_t n, room;
} relay_wakes_list;

/* The end of a clinic's audit chain, while a batch runs. */
typedef struct audit_head {
    int64_t number; /* of the last entry; 0: there is none */
    uint8_t hash[32];
    int64_t signed_number, signed_at; /* the newest checkpoint */
    bool changed;
} audit_head;

/* A clinic that the batch under way has locked. What changes here is written once, when the batch ends. */
typedef struct batch_clinic {
    uint8_t clinic[ID_SIZE], root_key[ED25519_PUBLIC_SIZE];
    int64_t seq;         /* the newest number given out */
    int64_t mark;        /* another one whenever something has changed that directories remember */
    uint64_t generation; /* of what the directory holds of the clinic */
    audit_head audit;
    bool seq_changed, mark_changed;
    bool has_policy; /* it has set rules for sessions */
    /* What it takes (use.h): as it was read, and what the batch has changed since. */
    int64_t use[USE_KINDS], use_change[USE_KINDS];
} batch_clinic;

/* A call opens one; or two, if what was remembered of its device was wrong. */
#define CLINICS_A_BATCH_MAX (2 * BATCH_MAX)

typedef enum who_asks {
    WHO_ANYBODY, /* unsigned */
    WHO_CLINIC,  /* the root key in the body */
    WHO_ENROLS,  /* the last key of the chain in the body */
    WHO_DEVICE,
    WHO_DEVICE_LOCKED, /* also one that needs a session and has none */
    WHO_INVITE,        /* the invite whose id is in the path */
    WHO_DEVICE_OR_INVITE
} who_asks;

struct call;

struct relay {
    db *db;
    struct call *calls; /* BATCH_MAX, of the requests that are being handled */
    signature_key audit_key;
    batch_clinic clinics[CLINICS_A_BATCH_MAX];
    size_t clinics_count;
    directory *directory;
    struct nonces *nonces;
    relay_options options;
    char origin[ORIGIN_MAX];          /* of the staff's console; empty: not known */
    struct rate_table *rates;         /* of devices, invites and clinics: whose signature was verified */
    struct rate_table *address_rates; /* apart, so that many addresses do not make it forget the others */
    struct verifiers *verifiers;
    arena scratch; /* one request's memory */
    relay_wakes_list wakes;
    relay_wakes_list push_words[2]; /* heard of others: push_word - 1 */
    int64_t now_ms;
    /* Calls of the batch under way that promised nothing, and all else that must be on the medium before they are answered. */
    size_t unpromising, promises;
    _Atomic uint64_t batches_unflushed; /* the metrics are another thread's */
    /* relay_tidy goes round the tables of used message ids, of claimed key packages, and of devices. */
    uint8_t tidy_sent[3 * ID_SIZE], tidy_inbox[2 * ID_SIZE], tidy_invitation[2 * ID_SIZE];
    uint8_t tidy_clinic[ID_SIZE], tidy_device[ID_SIZE], tidy_digest[32];
};

typedef struct call {
    relay *relay;
    db *db;
    arena *arena;
    const struct route *way; /* NULL: there is no such call */
    who_asks who;            /* is to ask */
    bool done;               /* the answer is there */
    const request *rq;
    response *rs;
    json json; /* of calls whose body is JSON */
    text out;  /* the answer's body */
    span id;   /* the {id} of the path, as text */
    span second_id;
    int64_t now_ms;
    bool keep_changes;
    /* What it wrote may be forgotten when the power fails, though it was answered; nothing that any other call has written or shown. */
    bool promises_nothing;
    bool over_wakes; /* memory for a wake-up ran out */

    /* For the audit log. */
    bool authenticated;
    bool not_audited;    /* this one is no access */
    bool audited;        /* it has its entry */
    const char *problem; /* the name of the last problem */
    uint8_t object[AUDIT_OBJECT_MAX];
    size_t object_size; /* 0: the id of the path, if it has one */
    span sealed;

    /* Who asks; which of these is set depends on the call. */
    signed_head head;
    bool revoked; /* these two may be used only once the signature was verified */
    int64_t not_after;
    enum {
        NONCE_NOT_ASKED,
        NONCE_ASKED,
        NONCE_NEW,
        NONCE_NO_ROOM
    } nonce; /* ASKED: it was there already; NO_ROOM: whether it was can't be known, or not be remembered */
    batch_clinic *state;
    uint8_t clinic[ID_SIZE];
    uint8_t root_key[ED25519_PUBLIC_SIZE];
    uint8_t device[ID_SIZE]; /* also an invite's id */
    uint8_t key[ED25519_PUBLIC_SIZE];
    uint32_t rights;
    bool is_invite;
    certificate_chain chain; /* of POST /v1/devices */
    span chain_bytes;
} call;

/* ---- outcomes; all return true so that a call can say `return problem(…)`. */
bool answer(call *c, int status);
bool problem(call *c, problem_kind kind, const char *detail);
bool problem_more(call *c, problem_kind kind, const char *detail, const char *extra, int64_t value);
__attribute__((format(printf, 3, 4))) bool problem_text(call *c, problem_kind kind, const char *format, ...);
/* True when the JSON read so far has a fault; then the problem is written. */
bool json_faulty(call *c);

/* ---- input */
static inline int64_t now_s(const call *c) { return c->now_ms / 1000; }
/* The path's {id} as n bytes; false: the problem is written. */
bool path_id(call *c, uint8_t *out, size_t n);
/* A query parameter: false when it is absent. Given twice or in another form: the problem is written and *bad set. */
bool query_find(const call *c, const char *name, span *value, bool *twice);
bool query_integer(call *c, const char *name, int64_t missing, int64_t min, int64_t max, int64_t *v);
/* Decodes and checks a chain against the root; false: the problem is written. */
bool chain_read(call *c, span bytes, certificate_chain *chain);
bool chain_verify(call *c, const certificate_chain *chain);

/* ---- the audit log: what a call is about, when its path does not name it; at most AUDIT_OBJECT_MAX bytes. */
void call_object(call *c, span name);
void call_object_number(call *c, int64_t number);

/* ---- events. A clinic's events have one sequence; event_next takes the next number of it. */
typedef enum event_kind {
    EVENT_MESSAGE = 1,
    EVENT_COMMIT = 2,
    EVENT_WELCOME = 3,
    EVENT_DEVICE = 4,
    EVENT_INVITATION = 5,
    EVENT_ROSTER = 6,
    EVENT_UNDELIVERED = 7,
    EVENT_GAP = 8 /* of a number whose event was deleted before it was fetched, and others before it */
} event_kind;

typedef struct event {
    event_kind kind;
    span group_id, sender, ref, data; /* SPAN_NONE: none */
    int64_t number;
} event;

/* The clinic must be open. */
int64_t event_next(call *c);
/* Puts a sequence number into inboxes and remembers whom to wake; they return to how many. */
int64_t deliver_to(call *c, int64_t seq, const uint8_t device[ID_SIZE]);
int64_t deliver_to_members(call *c, int64_t seq, span group_id);
int64_t deliver_to_roster_keepers(call *c, int64_t seq, const uint8_t except[ID_SIZE]);
int64_t deliver_to_all(call *c, int64_t seq);
/* Stores the body once for all who wait for it; stores nothing when nobody does. */
void event_store(call *c, int64_t seq, int64_t waiting, const event *e);
/* Takes everything up to `after` out of a device's inbox, and bodies that nobody waits for any more. False: there was nothing. */
bool inbox_acknowledge(call *c, const uint8_t device[ID_SIZE], int64_t after);
void wake_device(call *c, const uint8_t device[ID_SIZE]);
bool wakes_add(relay_wakes_list *list, const uint8_t device[ID_SIZE]); /* false: out of memory */
/* The event that was delivered since relay->wakes had `from` entries is worth a push to all but the call's device. */
void push_wanted(call *c, size_t from, int64_t seq);
void push_forget(call *c, const uint8_t device[ID_SIZE]); /* its subscription */
void push_word_heard(relay *r, span told);

/* ---- the clinics of the batch under way */
/* Locks the call's clinic and reads its row, once a batch: c->state and c->root_key. False: there is none, or the database failed. */
bool batch_open(call *c);
/* The same for several, where that is known before; it sorts them. */
void batch_open_all(relay *r, uint8_t (*clinics)[ID_SIZE], size_t n);
/* Devices' rights and certificates, groups' epochs and members: who changes one of them forgets it in the directory and says so here,
 * so that other relays ask anew. */
void clinic_changed(call *c);
/* Writes what has changed of all clinics of the batch, and closes them. */
void batch_write(relay *r);

/* ---- groups and what is sent to them */
typedef struct group_facts {
    bool exists, member; /* member: the call's device is one, and not revoked */
    int64_t epoch;
} group_facts;

group_facts find_group(call *c, const uint8_t group_id[GROUP_BYTES]);
struct private_message;
/* The one MLSMessage that a call takes: a PrivateMessage of this group. False: the problem is written. */
bool mls_read(call *c, span bytes, const uint8_t group_id[GROUP_BYTES], const char *what, struct private_message *out);
/* Has the caller the right to take part in conversations? False: the problem is written. */
bool may_message(call *c);

typedef struct message_input {
    uint8_t group_id[GROUP_BYTES], id[MESSAGE_ID_BYTES], digest[32];
    int64_t deliver_at; /* 0: now */
} message_input;

/* What stands in `sent` instead of a sequence number. */
enum { SENT_WAITING = 0, SENT_NEVER = -1 /* withdrawn, or it could not be delivered */ };

/* Takes a batch's messages together; who sent them was verified. Those that it leaves undone must be run by themselves. */
void messages_take(relay *r, call *const *calls, size_t n);
/* Gives a message of the call's device to all members; returns its sequence number. */
int64_t message_deliver(call *c, const message_input *in, span data);
/* Remembers the id and answers. */
bool message_sent(call *c, const message_input *in, int64_t seq);
/* Puts the call's body by until its time. */
bool schedule_message(call *c, const message_input *in);
/* Of a device that is revoked. */
void schedule_forget_all(call *c, const uint8_t device[ID_SIZE]);

/* Takes a blob away, its pieces and its part of the quota. The clinic must be locked. */
void blob_forget(db *d, span clinic, span id);

/* Part of relay_tidy: deletes what no device fetched within its clinic's period. */
void retention_tidy(relay *r, int64_t now_ms);

enum invitation_state { INVITATION_OPEN = 0, INVITATION_USED = 1, INVITATION_LOCKED = 2, INVITATION_WITHDRAWN = 3 };

/* ---- the calls */
bool call_well_known(call *c);
bool call_clinic_create(call *c);
bool call_roster_put(call *c);
bool call_roster_get(call *c);
bool call_device_enrol(call *c);
bool call_device_revoke(call *c);
bool call_device_get(call *c);
bool call_key_packages_put(call *c);
bool call_key_packages_get(call *c);
bool call_key_packages_claim(call *c);
bool call_commit(call *c);
bool call_message(call *c);
bool call_message_withdraw(call *c);
bool call_blob_put(call *c);
bool call_blob_get(call *c);
bool call_blob_state(call *c);
bool call_blob_delete(call *c);
bool call_inbox(call *c);
bool call_invitation_create(call *c);
bool call_invitation_get(call *c);
bool call_invitation_list(call *c);
bool call_invitation_withdraw(call *c);
bool call_audit_checkpoint(call *c);
bool call_audit_read(call *c);
bool call_audit_add(call *c);
bool call_push_put(call *c);
bool call_push_delete(call *c);
bool call_retention_get(call *c);
bool call_retention_put(call *c);
bool call_retention_delete(call *c);
bool call_policy_get(call *c);
bool call_policy_put(call *c);
bool call_verifier_list(call *c);
bool call_verifier_register(call *c);
bool call_verifier_remove(call *c);
bool call_verifier_reset(call *c);
bool call_session_challenge(call *c);
bool call_session_get(call *c);
bool call_session_begin(call *c);
bool call_session_prolong(call *c);
bool call_session_end(call *c);

#endif
