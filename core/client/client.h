/* client.h: what the command layer calls. One client is one account on one device: its keys, conversations, outbox and
 * inbox. Sans-IO: a call may leave requests, events and a timer in `effects`, which the host carries out after the
 * call's transaction was committed.
 *
 * Every call that touches the store runs inside the one transaction that client_begin / client_finish make. All views
 * returned live in the given arena. Ids in views are raw bytes; the command layer writes them as base64url. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/arena.h"
#include "base/secret.h"
#include "client/audit_log.h"

#define GROUP_ID_SIZE 32
#define MESSAGE_ID_SIZE 16
#define TEXT_MAX 16384     /* bytes of a text message: some eight printed pages */
#define NAME_MAX_BYTES 200 /* a person's or clinic's name */
#define PIN_MIN 4          /* characters; the stretched key and the slowing carry the rest (account_lock.h) */
#define PIN_MAX 64

typedef struct client client;

/* ---------------------------------------------------------------- effects */
typedef struct http_header {
    const char *name, *value;
    struct http_header *next;
} http_header;

typedef struct http_request {
    uint64_t id;        /* to answer with client_http_reply */
    const char *method; /* "GET", "POST", "PUT", "DELETE" */
    const char *path;   /* path and query, to be put behind the relay's origin */
    http_header *headers;
    span body;  /* p == NULL: none */
    bool waits; /* a long poll: it may take wait_s + 10 s; the host ends it when the account is locked */
    struct http_request *next;
} http_request;

typedef enum event_kind {
    EVENT_ACCOUNT,      /* code: "open", "locked", "enrolled", "revoked" */
    EVENT_CONNECTION,   /* code: "online", "offline" */
    EVENT_CONVERSATION, /* a conversation is new or its members, names or level changed */
    EVENT_MESSAGE,      /* a message is new or its state changed */
    EVENT_NOTICE,       /* code, text: something the user must know (notice.h) */
    EVENT_INVITATION,   /* code: "opened", "failed", "accepted" (one we hold), or "changed" (one we issued) */
    EVENT_AUDIT /* code: "checked" (the log's checkpoints were compared), "page" (of a walk is there, or it ended) */
} event_kind;

typedef struct event {
    event_kind kind;
    int64_t conversation; /* 0: none */
    span message_id;      /* EVENT_MESSAGE */
    const char *code;     /* a word for programs */
    const char *text;     /* plain words for people, or NULL */
    int64_t number;       /* EVENT_INVITATION failed: attempts left, or -1 */
    struct event *next;
} event;

typedef struct effects {
    arena *arena;
    http_request *requests, **requests_end;
    event *events, **events_end;
    int64_t timer_ms; /* call client_tick after so long at the latest; -1: no need */
} effects;

/* ---------------------------------------------------------------- handle */
/* `store_path` as in sotto_open; copied. ERR_NO_MEMORY. */
MUST_USE err client_new(const char *store_path, client **out);
/* Locks and frees. */
void client_free(client *c);

/* Begins the transaction of one command (none while no account is open). `a` is the command's arena. */
MUST_USE err client_begin(client *c, arena *a, effects *fx);
/* Commits when result is OK, else rolls back and puts the memory back in step with the store. Returns the outcome. */
MUST_USE err client_finish(client *c, err result);
/* When there was not even the memory to see which command it is, instead of both; or to tell of the requests that it led to,
 * after them. It may have been the answer to any request, or have made some of which nobody heard: all that are out count as
 * unanswered, and are made again after the timer. */
void client_unheard(client *c, effects *fx);
#define CLIENT_AGAIN_MS 5000 /* after a failure of this machine */

/* ---------------------------------------------------------------- account */
typedef enum account_state { ACCOUNT_NONE, ACCOUNT_LOCKED, ACCOUNT_OPEN, ACCOUNT_DAMAGED } account_state;

typedef struct account_status {
    account_state state;
    bool kept;           /* false: "this visit only", in memory */
    bool invited;        /* an invitation is being opened (client_invitation_open) */
    uint32_t wrong_pins; /* since the last right one */
    int64_t wait_ms;     /* until the next PIN may be tried */
} account_status;
/* Needs no transaction. ACCOUNT_DAMAGED when a part of the account's files is missing: never made anew by itself. */
MUST_USE err client_account_status(client *c, account_status *out);

typedef struct me_view {
    uint8_t kind; /* certificate_kind */
    uint8_t clinic_id[ID_SIZE], subject_id[ID_SIZE], device_id[ID_SIZE];
    uint8_t fingerprint[32]; /* SHA-256 of the clinic's root key */
    span name, clinic_name, relay;
    uint32_t rights;
    bool founder; /* holds the root key */
    bool kept;
    bool online;
} me_view;
MUST_USE err client_me(client *c, arena *a, me_view *out);

/* Makes a clinic: a root key, the founder's device and account. relay: origin "https://host[:port]". pin.n == 0: in
 * memory only. kind: CERTIFICATE_STAFF or CERTIFICATE_AGENT. ERR_EXISTS when the store holds an account. */
MUST_USE err client_clinic_create(client *c, effects *fx, span relay, span clinic_name, span name, uint8_t kind,
                                  span pin);
/* Keeps the account that client_invitation_accept enrolled. pin.n == 0: in memory, "this visit only". */
MUST_USE err client_account_create(client *c, effects *fx, span pin);
/* ERR_PIN (counted on disk before it returns), ERR_TOO_SOON (wait: see status), ERR_STORE_*. */
MUST_USE err client_account_unlock(client *c, effects *fx, span pin);
void client_account_lock(client *c);
MUST_USE err client_account_change_pin(client *c, span old_pin, span new_pin);

/* ---------------------------------------------------------------- invitations */
typedef struct invitation_view {
    span clinic_name, inviter; /* who invites; from the sealed invitation, empty until opened */
    span greeting;             /* first words of the clinic, may be empty */
    span name;                 /* of the staff member invited; empty for a patient */
    uint8_t enrols, level;     /* certificate_kind, check_level asked for */
    int64_t attempts_left;     /* -1: not known */
    bool opened;
    const char *failure; /* NULL or a notice code: "link_damaged", "invitation_used", "invitation_locked", … */
    const char *failure_text;
} invitation_view;
/* `fragment`: what follows # in the link. relay as above. Emits GET invitation; EVENT_INVITATION when answered.
 * ERR_MALFORMED for a damaged link (checksum inside). Any earlier opened one is forgotten. */
MUST_USE err client_invitation_open(client *c, effects *fx, span relay, span fragment);
MUST_USE err client_invitation_view(client *c, arena *a, invitation_view *out);
/* factor: date of birth in any usual form, code, or empty when level is CHECK_LINK; name: how the one who enrols wants to
 * be called (staff; patients keep the name that the clinic gave). EVENT_INVITATION accepted or failed follows. */
MUST_USE err client_invitation_accept(client *c, effects *fx, span factor, span name);

typedef struct issued_invitation {
    uint8_t id[ID_SIZE];
    uint8_t subject_id[ID_SIZE];
    uint8_t enrols, level;
    span name;
    const char *state; /* sending, open, wrong-check, used, locked, withdrawn, expired */
    int64_t attempts_left;
    int64_t created_ms, expires_ms;
    span link; /* only from client_invitation_create */
    span code; /* only from client_invitation_create with CHECK_CODE and no factor given */
} issued_invitation;
/* Makes an invite key, seals the invitation and queues it for the relay. name: the patient's (or staff member's) name. factor:
 * the date of birth (CHECK_BIRTH_DATE), the code (CHECK_CODE; empty: one is made), empty (CHECK_LINK). subject: SPAN_NONE
 * for a new person, or the subject id of one known (a new link after a lost phone). */
MUST_USE err client_invitation_create(client *c, effects *fx, uint8_t enrols, span name, uint8_t level, span factor,
                                      uint32_t days, span subject, arena *a, issued_invitation *out);
MUST_USE err client_invitations(client *c, arena *a, issued_invitation **out, size_t *count);
MUST_USE err client_invitation_withdraw(client *c, effects *fx, span id);

/* ---------------------------------------------------------------- conversations and messages */
typedef enum message_state {
    MESSAGE_SENDING,   /* in the outbox */
    MESSAGE_SENT,      /* the relay has it on disk */
    MESSAGE_DELIVERED, /* another member's device has it */
    MESSAGE_READ,      /* another person looked at it */
    MESSAGE_FAILED,    /* will not be sent again by itself; `reason` says why */
    MESSAGE_RECEIVED,  /* another's, not yet read here */
    MESSAGE_SEEN       /* another's, read here */
} message_state;
const char *message_state_name(message_state s); /* lower case */

typedef struct person_view {
    uint8_t subject_id[ID_SIZE];
    uint8_t device_id[ID_SIZE];
    uint8_t kind; /* certificate_kind */
    span name;    /* empty while not known */
    bool own;
} person_view;

typedef enum entry_kind { ENTRY_TEXT, ENTRY_NOTICE } entry_kind;

typedef struct message_view {
    entry_kind kind;
    uint8_t id[MESSAGE_ID_SIZE];
    int64_t order;      /* rising in the order of the conversation; for paging with `before` */
    person_view sender; /* ENTRY_TEXT */
    span text;          /* of the message, or the notice's plain words */
    const char *code;   /* ENTRY_NOTICE: notice code */
    message_state state;
    const char *reason; /* of MESSAGE_FAILED; plain words */
    int64_t sent_ms, received_ms;
    bool shared; /* came by history sharing, on the word of the member that shared it */
} message_view;

typedef struct conversation_view {
    int64_t id;
    uint8_t group_id[GROUP_ID_SIZE];
    span title;        /* staff: the patient's name; patient: the clinic's name */
    const char *state; /* "creating", "active", "left", "broken" */
    uint8_t level;     /* check_level the patient passed */
    uint64_t epoch;
    uint8_t authenticator[8]; /* first bytes of the epoch authenticator, to compare by voice */
    int64_t unread;
    person_view *members;
    size_t member_count;
    bool has_last;
    message_view last;
} conversation_view;

MUST_USE err client_conversations(client *c, arena *a, conversation_view **out, size_t *count);
MUST_USE err client_conversation(client *c, arena *a, int64_t id, conversation_view *out);
/* Newest last. before: 0 for the newest `limit` (at most 200), else those with a smaller `order`. */
MUST_USE err client_messages(client *c, arena *a, int64_t conversation, int64_t before, size_t limit,
                             message_view **out, size_t *count);
MUST_USE err client_message(client *c, arena *a, span id, message_view *out);
/* Encrypts at once when the group is ready, else keeps it in the outbox until it is. `id` receives MESSAGE_ID_SIZE bytes. */
MUST_USE err client_message_send(client *c, effects *fx, int64_t conversation, span text, uint8_t *id);
/* Tries a failed one again, under the same id. */
MUST_USE err client_message_retry(client *c, effects *fx, span id);
/* All up to and including `order` was seen by the user; sends read receipts for others' messages. */
MUST_USE err client_conversation_read(client *c, effects *fx, int64_t conversation, int64_t order);

typedef struct notice_view {
    const char *code, *text;
    int64_t conversation; /* 0: about the account */
    int64_t at_ms;
} notice_view;
MUST_USE err client_notices(client *c, arena *a, notice_view **out, size_t *count); /* newest first, at most 100 */

/* ---------------------------------------------------------------- the clinic's audit log */
/* What can be wrong with it (server/PROTOCOL.md, "Audit"). Stored: never renumber. */
typedef enum audit_fault {
    AUDIT_FAULT_TRUNCATION = 1, /* it was longer */
    AUDIT_FAULT_FORK,           /* one number and two hashes, or a signed checkpoint that the relay denies */
    AUDIT_FAULT_REWRITE,        /* the checkpoint that we keep is gone or another, or the entries do not lead to one */
    AUDIT_FAULT_FORGERY,        /* a checkpoint that the relay's key did not sign, or another clinic's */
    AUDIT_FAULT_KEY_CHANGE,     /* the relay has another key than at the first contact */
    AUDIT_FAULT_DISPUTE,        /* another member knows the relay by another key; or that member lies */
    AUDIT_FAULT_WITHDRAWAL,     /* the relay shows no checkpoints any more */
    AUDIT_FAULT_DELETION,       /* an entry is missing */
    AUDIT_FAULT_EDIT,           /* an entry is not the one that those after it were chained to */
    AUDIT_FAULT_REORDER         /* an entry stands in another's place */
} audit_fault;
/* "truncation"; NULL for none. Static memory. */
const char *audit_fault_name(audit_fault fault);

typedef struct audit_alarm_view {
    audit_fault fault;
    int64_t number; /* of the checkpoint or entry; 0: about no single one */
    int64_t at_ms;
    span device_id; /* of the member who told us of it; empty: nobody had to */
    /* The proof: what stood first, and what contradicts it. AUDIT_CHECKPOINT_SIZE bytes are a checkpoint, ED25519_PUBLIC_SIZE
     * a key of the relay's, others an entry; empty: there is none. */
    span kept, other;
} audit_alarm_view;

typedef struct audit_view {
    bool offered;       /* the relay has such a log, as far as it was asked since the account was opened */
    span key;           /* the relay's, kept since the first contact; empty: none yet */
    span newest;        /* the last checkpoint seen, encoded; empty: none yet */
    int64_t checked_ms; /* when it was compared last, since the account was opened; 0: never */
    audit_alarm_view *alarms;
    size_t alarm_count; /* newest first */
} audit_view;
MUST_USE err client_audit(client *c, arena *a, audit_view *out);
/* Compares the checkpoints now and not only twice a day; EVENT_AUDIT "checked" tells of its end. Ends a walk. */
MUST_USE err client_audit_check(client *c, effects *fx);

#define AUDIT_PAGE_MAX 256
typedef struct audit_page_view {
    const char *state;    /* once these were taken: "none", "checking", "reading", "done", "failed" */
    const char *reason;   /* of failed: an audit_fault's name, or "forbidden", "refused", "interrupted" */
    int64_t number;       /* the walk came to this entry */
    int64_t target;       /* of so many; 0 while not known */
    audit_entry *entries; /* without `sealed` */
    size_t count;         /* at most AUDIT_PAGE_MAX */
} audit_page_view;
/* Walks the entries after `after` (-1: after those that were walked before) up to the newest checkpoint, page by page, and checks
 * that they are chained and lead there: what stands in them is certain once the walk is done. The next page is asked for when
 * one was taken. One walk at a time: a new one ends the one before, as client_audit_check does. ERR_SENDER without RIGHT_AUDIT. */
MUST_USE err client_audit_walk(client *c, effects *fx, int64_t after);
/* Takes the page that is there, and says how far the walk is. */
MUST_USE err client_audit_page(client *c, arena *a, audit_page_view *out);

/* ---------------------------------------------------------------- network */
/* The host's answer to a request: status 0 when it could not be carried out (offline, timed out, aborted). `retry_after_s`: -1 none. */
MUST_USE err client_http_reply(client *c, effects *fx, uint64_t id, int status, int64_t retry_after_s, span body);
/* Time has passed: sends what is due. */
MUST_USE err client_tick(client *c, effects *fx);
/* A hint from the machine; online: try at once. */
MUST_USE err client_network(client *c, effects *fx, bool online);

#endif
