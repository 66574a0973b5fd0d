/* audit_log.h: the relay's log of accesses as it travels: entries, their hash chain, and the checkpoints that the relay signs
 * (server/PROTOCOL.md, "Audit"). Both sides link this file: the relay writes with it, clients check with it. */
#ifndef CLIENT_AUDIT_LOG_H
#define CLIENT_AUDIT_LOG_H

#include "client/certificate.h"

#define AUDIT_HASH_SIZE 32
#define AUDIT_SEALED_MAX 4096 /* a client's own event: who looked at what, sealed */
#define AUDIT_OBJECT_MAX 32   /* a group's id is the longest name */
#define AUDIT_PROBLEM_MAX 24  /* the longest name of a problem has 17 characters */
/* AUDIT_SEALED_MAX with its length, and 200 bytes for all other fields, which take 163 at most. */
#define AUDIT_ENTRY_MAX (AUDIT_SEALED_MAX + 200)

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
    AUDIT_SET_POLICY = 32,
    AUDIT_REGISTER_VERIFIER = 33,
    AUDIT_REMOVE_VERIFIER = 34,
    AUDIT_RESET_VERIFIERS = 35,
    AUDIT_BEGIN_SESSION = 36,
    AUDIT_END_SESSION = 37,
    AUDIT_SET_RETENTION = 38,
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

/* Encoded: what the signature covers, and the signature. Clients keep and tell it so. */
#define AUDIT_CHECKPOINT_SIZE 128
void wire_audit_checkpoint(wire *w, audit_checkpoint *p);

/* SHA-256("Sotto audit 1" || entry); of an entry longer than AUDIT_ENTRY_MAX only the beginning counts: there is none. */
void audit_hash(span entry, uint8_t out[AUDIT_HASH_SIZE]);
/* Signs all fields but the signature, under "Sotto checkpoint 1". */
void audit_checkpoint_sign(audit_checkpoint *p, const signature_key *key);
/* ERR_SIGNATURE. */
MUST_USE err audit_checkpoint_verify(const audit_checkpoint *p, span public_key);
/* The same of an encoded one. */
MUST_USE err audit_checkpoint_verify_encoded(const uint8_t p[AUDIT_CHECKPOINT_SIZE], span public_key);

#endif
