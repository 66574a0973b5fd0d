/* audit.h: the log of accesses: who, what, when, from where, with what outcome. Each clinic has a hash chain of its own, and
 * checkpoints of it that the relay signs. PROTOCOL.md, "Audit", has the structs. An entry is written in its request's
 * transaction, but outside the savepoint that a refusal goes back to. */
#ifndef SERVER_AUDIT_H
#define SERVER_AUDIT_H

#include "call.h"

#define AUDIT_HASH_SIZE 32

/* What was asked for. Numbers are part of the stored format: they are never given anew. */
typedef enum audit_call {
    AUDIT_NOTHING = 0, /* no access to anything protected */
    AUDIT_CREATE_CLINIC = 1,
    AUDIT_ENROL = 2,
    AUDIT_READ_DEVICE = 3,
    AUDIT_REVOKE = 4,
    AUDIT_PUBLISH_KEY_PACKAGES = 5,
    AUDIT_CLAIM_KEY_PACKAGES = 6,
    AUDIT_COMMIT = 7,
    AUDIT_MESSAGE = 8,
    AUDIT_INBOX = 9, /* only when it gave or took something */
    AUDIT_INVITE = 10,
    AUDIT_LIST_INVITATIONS = 11,
    AUDIT_READ_INVITATION = 12,
    AUDIT_WITHDRAW = 13,
    AUDIT_PUBLISH_ROSTER = 14,
    AUDIT_READ_ROSTER = 15,
    AUDIT_READ_AUDIT = 16,
    AUDIT_CLIENT_EVENT = 17,
    AUDIT_WITHDRAW_MESSAGE = 18,
    AUDIT_PUT_BLOB = 19,
    AUDIT_READ_BLOB = 20,
    AUDIT_DELETE_BLOB = 21,
    AUDIT_PUT_PUSH = 22,
    AUDIT_DELETE_PUSH = 23,
    AUDIT_RESTORED = 128 /* by the operator: the database was put back from a copy */
} audit_call;

enum audit_who { AUDIT_BY_DEVICE = 1, AUDIT_BY_INVITE = 2, AUDIT_BY_CLINIC = 3, AUDIT_BY_OPERATOR = 4 };

typedef struct audit_entry {
    uint64_t number, at;
    uint8_t who; /* audit_who */
    uint8_t keyid[ID_SIZE];
    uint8_t call; /* audit_call */
    uint8_t object[AUDIT_OBJECT_MAX];
    size_t object_size;
    uint16_t status;
    uint8_t problem[AUDIT_PROBLEM_MAX]; /* its name; empty when the request was not refused */
    size_t problem_size;
    uint8_t network[6]; /* the address's /24 (3 bytes) or /48 (6) */
    size_t network_size;
    span sealed; /* of a client's own event */
    uint8_t previous[AUDIT_HASH_SIZE];
} audit_entry;

void wire_audit_entry(wire *w, audit_entry *e);

typedef struct audit_checkpoint {
    uint8_t clinic[ID_SIZE];
    uint64_t number;
    uint8_t hash[AUDIT_HASH_SIZE];
    uint64_t at;
    uint8_t signature[ED25519_SIGNATURE_SIZE];
} audit_checkpoint;

/* SHA-256("Sotto audit 1" || entry). */
void audit_hash(span entry, uint8_t out[AUDIT_HASH_SIZE]);
/* ERR_SIGNATURE. */
MUST_USE err audit_checkpoint_verify(const audit_checkpoint *p, span public_key);

/* The key of the relays on this database, made when there is none. */
MUST_USE err audit_key_open(db *d, signature_key *key);
/* The public half, for verification only. ERR_NOT_FOUND when there is none yet. */
MUST_USE err audit_key_public(db *d, uint8_t out[ED25519_PUBLIC_SIZE]);

/* Adds the request's entry; the clinic must be open. */
void audit_note(call *c, audit_call what);
/* The same for several requests of a batch for one thing, in their order. */
void audit_note_all(call *const *calls, size_t n, audit_call what);
/* Signs the end of the chain when that is due: something was added, and a minute has passed. */
void audit_sign_when_due(relay *r, batch_clinic *b);
/* Writes the end of the chain if the batch has lengthened it. */
void audit_write_head(relay *r, batch_clinic *b);

/* For operators: walks the chains and says on stdout what is wrong with them. clinic: one only, or NULL; checkpoints: a file with
 * one a line as JSON, or NULL. *faults: how many. */
MUST_USE err audit_verify_run(db *d, const char *clinic, const char *checkpoints, size_t *faults);

#endif
