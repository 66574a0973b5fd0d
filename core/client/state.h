/* state.h: what the files of this folder share: the client's struct, and the functions they call of each other. Not for
 * anyone outside the folder. */
#ifndef CLIENT_STATE_H
#define CLIENT_STATE_H

#include "client/client.h"
#include "client/content.h"
#include "client/invite.h"
#include "client/notice.h"
#include "client/request.h"
#include "mls/group.h"
#include "store/store.h"

#define PATH_MAX_BYTES 256
#define ORIGIN_MAX_BYTES 300
#define SCRATCH_SIZE (8u << 20) /* bounds what one command may decode: a Welcome for 1000 members is 4 MiB */
#define GROUP_CACHE 8           /* groups kept open between commands */
#define INFLIGHT_MAX 16         /* requests out at once */
#define STAFF_RIGHTS (RIGHT_MESSAGE | RIGHT_INVITE_PATIENT)
#define FOUNDER_RIGHTS (RIGHT_MESSAGE | RIGHT_INVITE_PATIENT | RIGHT_INVITE_STAFF | RIGHT_ROSTER | RIGHT_AUDIT)

/* Stored: never renumber. */
typedef enum conversation_state {
    CONVERSATION_CREATING = 0,
    CONVERSATION_ACTIVE = 1,
    CONVERSATION_LEFT = 2,
    CONVERSATION_BROKEN = 3
} conversation_state;

/* Stored: never renumber. */
typedef enum job_kind {
    JOB_CLINIC = 1,
    JOB_DEVICE = 2,
    JOB_KEY_PACKAGES = 3,
    JOB_ROSTER = 4,
    JOB_INVITATION = 5,
    JOB_WITHDRAW = 6,
    JOB_COMMIT = 7,
    JOB_MESSAGE = 8
} job_kind;
#define LANE_ACCOUNT 0

typedef enum request_kind {
    REQUEST_NONE,
    REQUEST_JOB,
    REQUEST_INBOX,
    REQUEST_ROSTER,
    REQUEST_CLAIM,      /* of key packages, for a conversation */
    REQUEST_INVITATION, /* reading the one we hold */
    REQUEST_ENROL,
    REQUEST_DESCRIPTION,
    REQUEST_CHECKPOINT, /* of the audit log */
    REQUEST_ENTRIES     /* of the audit log */
} request_kind;

typedef struct inflight {
    uint64_t id;
    request_kind kind;
    int64_t job;          /* REQUEST_JOB */
    int64_t lane;         /* REQUEST_JOB */
    int64_t conversation; /* REQUEST_CLAIM */
    uint64_t number;      /* REQUEST_CHECKPOINT: 0: the newest; REQUEST_ENTRIES: those after it */
} inflight;

typedef struct open_group {
    client *client;
    int64_t conversation; /* 0: free */
    uint64_t used;        /* when last, in calls */
    group *group;
    staged_commit *staged; /* ours, waiting for its echo */
} open_group;

/* What a check of the audit log asks next. */
typedef enum audit_step {
    AUDIT_STEP_REST, /* nothing, until it is time again */
    AUDIT_STEP_DESCRIPTION,
    AUDIT_STEP_NEWEST,
    AUDIT_STEP_KEPT, /* whether the checkpoint that we keep still stands */
    AUDIT_STEP_HEARD /* those that others told us of */
} audit_step;

typedef enum audit_walk_state { WALK_NONE, WALK_CHECKING, WALK_READING, WALK_DONE, WALK_FAILED } audit_walk_state;

typedef struct audit_walk {
    audit_walk_state state; /* once `page` was taken */
    const char *reason;     /* WALK_FAILED */
    uint64_t at, target;
    bool linked; /* `hash` is of the entry `at` (zeroes: there is none) */
    bool counts; /* it goes on from the first entry, or from where such a walk has come to */
    uint8_t hash[AUDIT_HASH_SIZE];
    audit_entry *page; /* entries that wait to be taken; NULL: none */
    size_t page_count;
} audit_walk;

typedef struct audit_state {
    audit_step step;
    bool offered;
    uint8_t newest[AUDIT_CHECKPOINT_SIZE]; /* at KEPT: what the relay calls the newest */
    int64_t check_ms;                      /* at REST: when to check again */
    int64_t retry_ms;                      /* else: nothing is asked before */
    int64_t checked_ms;                    /* when checkpoints were compared last */
    audit_walk walk;
} audit_state;

/* The invitation that is being opened or was accepted and is not yet an account. */
typedef struct held_invitation {
    invite_link link;
    invite_keys keys;
    uint8_t root_key[ED25519_PUBLIC_SIZE];
    uint8_t clinic_name[NAME_MAX_BYTES], inviter[NAME_MAX_BYTES], greeting[1024], name[NAME_MAX_BYTES];
    size_t clinic_name_size, inviter_size, greeting_size, name_size;
    uint8_t chain[CHAIN_MAX * 256]; /* encoded; ends in the invite's certificate */
    size_t chain_size;
    uint8_t device_chain[CHAIN_MAX * 256]; /* the same, then our device's */
    size_t device_chain_size;
    uint8_t enrols, level;
    int64_t attempts_left;
    bool opened, accepted, clock_corrected;
    notice_code failure;
    uint8_t check[INVITE_CHECK_SIZE];
    uint8_t device_seed[ED25519_SEED_SIZE];
    int64_t cursor;
    uint8_t relay[ORIGIN_MAX_BYTES];
    size_t relay_size;
} held_invitation;

struct client {
    char db_path[PATH_MAX_BYTES + 8], key_path[PATH_MAX_BYTES + 8];
    bool memory; /* sotto_open had no path */
    store *store;
    bool in_transaction;
    arena scratch; /* for decoding and MLS; reset at each command, released after each event */
    effects *fx;
    uint64_t calls;

    /* the account, while open */
    bool open, kept, founder, enrolled;
    bool stopped;  /* the relay says that we are revoked: it is asked now and then whether it still does */
    bool was_open; /* when the command began */
    bool making;   /* this command makes the account: client_finish does what makes it count */
    uint8_t kind;
    uint32_t rights;
    uint8_t clinic_id[ID_SIZE], subject_id[ID_SIZE], device_id[ID_SIZE];
    uint8_t root_key[ED25519_PUBLIC_SIZE];
    signature_key device_key, root;
    uint8_t chain[CHAIN_MAX * 256];
    size_t chain_size;
    uint8_t name[NAME_MAX_BYTES], clinic_name[NAME_MAX_BYTES], relay[ORIGIN_MAX_BYTES];
    size_t name_size, clinic_name_size, relay_size;
    int64_t cursor;        /* the inbox is applied up to here */
    int64_t roster_number; /* of the newest roster seen */
    int64_t roster_ms;     /* when the clinic issued it, by its clock: it is not earlier now */

    held_invitation *held;

    /* the network */
    bool online;
    int64_t clock_offset_ms; /* the relay's clock less ours */
    uint64_t next_request;
    inflight inflight[INFLIGHT_MAX];
    uint32_t failures;       /* requests that failed in a row */
    uint32_t shut_out;       /* answers in a row that say that we are revoked, or not known */
    int64_t retry_at_ms;     /* nothing is asked before */
    int64_t inbox_retry_ms;  /* nor the inbox before this */
    int64_t inbox_asked_ms;  /* when it was asked last */
    uint32_t inbox_idle;     /* answers in a row that brought nothing and took no time */
    bool inbox_waits;        /* it was asked to wait for news */
    int64_t roster_retry_ms; /* when to ask for the roster again */
    int64_t claim_retry_ms;  /* when to look again whose key packages to ask for; 0: at once */
    int64_t claim_roster;    /* the roster that this is about */
    bool roster_wanted;
    audit_state audit;

    open_group groups[GROUP_CACHE];
};

/* Errors of this machine, as opposed to of what came: nothing may be concluded from them. An arena's end is no such error:
 * it is the limit of what one answer may ask of us. */
static inline bool is_ours(err e) {
    return e != ERR_ARENA && (err_class_of(e) == ERR_CLASS_STORE || err_class_of(e) == ERR_CLASS_HOST);
}

/* ---- client.c */
int64_t client_now(const client *c); /* this machine's clock, ms */
uint64_t
client_now_seconds(const client *c); /* the relay's clock as far as we know it, for certificates and lifetimes */
void client_event(client *c, event_kind kind, int64_t conversation, span message_id, const char *code, const char *text,
                  int64_t number);
bool client_has_right(const client *c, uint32_t right);
/* Records a notice, in the conversation too (when there is one), and tells the user. */
MUST_USE err client_notice(client *c, int64_t conversation, notice_code code);

/* ---- account.c */
MUST_USE err setting_put(client *c, const char *name, span value);
MUST_USE err setting_put_int(client *c, const char *name, int64_t value);
/* ERR_NOT_FOUND when it is not there. */
MUST_USE err setting_get(client *c, const char *name, uint8_t *out, size_t max, size_t *n);
MUST_USE err setting_get_int(client *c, const char *name, int64_t *value);
void account_forget(client *c); /* wipes all that is in memory */
/* After the commit of the transaction that made the account: from here on it counts. */
MUST_USE err account_made(client *c);
/* After a rollback: reads again what a command may have changed in memory before it failed. */
MUST_USE err account_reload(client *c);

/* ---- enrol.c */
MUST_USE err enrol_invitation_reply(client *c, int status, span body);
MUST_USE err enrol_device_reply(client *c, int status, span body);
void enrol_forget(client *c);
void enrol_failed(client *c, notice_code code); /* what is held stays, to be tried again */

/* ---- invitation.c: those that we issued */
MUST_USE err invitation_set_state(client *c, span id, const char *state, int64_t attempts_left);
MUST_USE err invitation_registered(client *c, span id, bool taken);

/* ---- directory.c: people and devices */
/* The chain in a leaf's extension, decoded into the scratch arena; ERR_CERTIFICATE when there is none. */
MUST_USE err leaf_chain(client *c, const leaf_node *leaf, certificate_chain *chain);
/* group_host.check_leaf: a chain to our root, for this very key and subject, not revoked. */
MUST_USE err directory_check_leaf(client *c, const leaf_node *leaf, const leaf_node *previous);
MUST_USE err directory_add_device(client *c, const certificate_chain *chain, bool listed);
/* A name that somebody was told. sure: by the person, or by whom it is for to say; else it does not replace another. */
MUST_USE err directory_add_person(client *c, const uint8_t subject_id[ID_SIZE], uint8_t kind, span name, bool sure);
/* The name into the arena, empty when not known. */
MUST_USE err directory_name(client *c, span subject_id, arena *a, span *name);
MUST_USE err directory_kind(client *c, span device_id, uint8_t *kind); /* ERR_NOT_FOUND */
MUST_USE err directory_is_revoked(client *c, span device_id, bool *revoked);
/* The founder's work: makes the next roster of all listed devices and queues it. */
MUST_USE err directory_publish_roster(client *c);
/* A roster from the relay; a forged or older one becomes a notice. */
MUST_USE err directory_roster_reply(client *c, int status, span body);
/* A `device` event: the founder checks and lists it. */
MUST_USE err directory_device_event(client *c, span chain);

/* ---- groups.c: open groups and their records */
MUST_USE err groups_open(client *c, int64_t conversation, open_group **out);
MUST_USE err groups_slot(client *c, int64_t conversation, open_group **out); /* a free slot, for creating or joining */
group_host groups_host(open_group *slot);
void groups_close(client *c, int64_t conversation); /* 0: all */
MUST_USE err groups_delete_records(client *c, int64_t conversation);
/* The hash of our commit that waits for its echo; ERR_NOT_FOUND. */
MUST_USE err groups_pending(client *c, int64_t conversation, uint8_t hash[32]);
MUST_USE err groups_has_pending(client *c, int64_t conversation, bool *has);
MUST_USE err groups_drop_pending(client *c, int64_t conversation);
/* Brings it into slot->staged; then merges it. */
MUST_USE err groups_restore_pending(client *c, int64_t conversation, open_group **slot);
MUST_USE err groups_merge_pending(client *c, int64_t conversation);

/* ---- membership.c: who is in a conversation, and commits */
MUST_USE err membership_check_commit(client *c, const group *g, const leaf_node *committer,
                                     const staged_commit *staged);
MUST_USE err membership_create_care(client *c); /* a patient's conversation, in state creating */
MUST_USE err membership_claim_reply(client *c, int64_t conversation, int status, span body);
MUST_USE err membership_claim_anew(client *c); /* key packages that were asked for in vain may be asked for at once */
MUST_USE err membership_commit_refused(client *c, int64_t conversation,
                                       int status); /* the relay's answer to JOB_COMMIT */
MUST_USE err membership_welcome(client *c, span group_id, span welcome);
MUST_USE err membership_commit(client *c, int64_t conversation, span commit);
/* Asks for what the next step of a creating or outdated conversation needs. */
MUST_USE err membership_pursue(client *c);
MUST_USE err membership_publish_key_packages(client *c);

/* ---- conversation.c */
MUST_USE err conversation_find(client *c, span group_id, int64_t *id); /* ERR_NOT_FOUND */
MUST_USE err conversation_insert(client *c, span group_id, conversation_state state, span subject_id, uint8_t level,
                                 int64_t *id);
MUST_USE err conversation_get_state(client *c, int64_t id, conversation_state *state);
MUST_USE err conversation_set_state(client *c, int64_t id, conversation_state state);
MUST_USE err conversation_group_id(client *c, int64_t id, uint8_t out[GROUP_ID_SIZE]);

/* ---- message.c */
/* Fills id (unless set), counter, chain and time, encrypts and queues. */
MUST_USE err message_send_content(client *c, int64_t conversation, content *o);
/* Encrypts what waited until the group was ready. */
MUST_USE err message_flush(client *c, int64_t conversation);
/* A decrypted content of another device. */
MUST_USE err message_receive(client *c, int64_t conversation, const certificate *sender, span plaintext);
MUST_USE err message_send_receipts(client *c); /* what is due in all conversations */
MUST_USE err message_send_names(client *c, int64_t conversation);
MUST_USE err message_share_history(client *c, int64_t conversation, const uint8_t device_id[ID_SIZE]);
/* Our own message came back by the inbox: the relay has it, whatever became of the answer. */
MUST_USE err message_echo(client *c, span message_id);
/* The answer to a JOB_MESSAGE, by its reference: the relay has it; or refused it for good, with the reason in plain words:
 * then the others are told that it will not come. */
MUST_USE err message_taken(client *c, span reference);
MUST_USE err message_refused(client *c, int64_t conversation, span reference, const char *reason);
/* What came under this name can never be read: told, and its sender asked to send it again. */
MUST_USE err message_unreadable(client *c, int64_t conversation, span message_id, notice_code code);

/* ---- jobs.c: requests that survive a crash */
MUST_USE err job_add(client *c, int64_t lane, job_kind kind, span reference, const char *method, const char *path,
                     const char *type, span body);
MUST_USE err job_has(client *c, job_kind kind, span reference, bool *has);
MUST_USE err job_delete_lane(client *c, int64_t lane, job_kind kind);
MUST_USE err jobs_emit(client *c, int64_t *next_ms); /* sends what is due; when the next one is, or -1 */
MUST_USE err job_reply(client *c, const inflight *request, int status, int64_t retry_after_s, span body);

/* ---- inbox.c */
MUST_USE err inbox_reply(client *c, span body);

/* ---- audit.c: the relay's log of accesses, held against what it said before and what it says to others */
void audit_open(client *c);         /* the account was opened: a check is due */
MUST_USE err audit_pump(client *c); /* asks what is due */
/* REQUEST_DESCRIPTION, REQUEST_CHECKPOINT */
MUST_USE err audit_reply(client *c, const inflight *request, int status, span body);
void audit_undone(client *c); /* this machine failed, and the command was rolled back: the check begins anew */
/* After our content of this counter: tells the conversation of the newest checkpoint, now and then. */
MUST_USE err audit_tell(client *c, int64_t conversation, uint64_t counter);
/* A CONTENT_CHECKPOINT of another device. */
MUST_USE err audit_heard(client *c, span device_id, const content *o);
/* Records what was found, once for each fault and number, and tells the user. */
MUST_USE err audit_alarm(client *c, audit_fault fault, uint64_t number, span device_id, span kept, span other);
/* The newest checkpoint that the relay gave us of those up to a number; zeroes when there is none. */
MUST_USE err audit_kept(client *c, uint64_t up_to, uint8_t p[AUDIT_CHECKPOINT_SIZE]);
uint64_t audit_number(const uint8_t checkpoint[AUDIT_CHECKPOINT_SIZE]);
static inline const uint8_t *audit_hash_of(const uint8_t checkpoint[AUDIT_CHECKPOINT_SIZE]) {
    return checkpoint + ID_SIZE + 8;
}
/* Asks for what the path and the number at its end name. */
MUST_USE err audit_ask(client *c, request_kind kind, const char *path, uint64_t number);

/* ---- audit_walk.c: reading the log's entries */
MUST_USE err audit_walk_pump(client *c);
MUST_USE err audit_walk_reply(client *c, const inflight *request, int status, span body);
void audit_walk_undone(client *c);
void audit_walk_forget(client *c);

/* ---- sync.c: the conversation with the relay */
/* Emits whatever should be out now and sets the timer. Called at the end of every command that may have changed that. */
MUST_USE err sync_pump(client *c);
/* Sends one request with the account's key and remembers what it is for. */
MUST_USE err sync_request(client *c, inflight what, const char *method, const char *path, const char *type, span body,
                          bool waits);
MUST_USE err sync_request_as(client *c, const request_signer *signer, inflight what, const char *method,
                             const char *path, const char *type, span body);
/* One without a signature. path: static or in the effects' arena. */
MUST_USE err sync_request_unsigned(client *c, inflight what, const char *method, const char *path);
/* `at` as a candidate for the timer. */
void sync_timer_at(client *c, int64_t at);
/* No request that is out will be answered. */
void sync_unheard(client *c);
bool sync_in_flight(const client *c, request_kind kind, int64_t job_or_conversation);
/* The name of a problem (RFC 9457 type), cut from "urn:sotto:problem:…"; empty when there is none. Into the arena. */
MUST_USE err problem_name(arena *a, span body, span *name);
bool problem_is(span name, const char *expected);

#endif
