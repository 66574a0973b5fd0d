/* audit.h: the log of accesses: who, what, when, from where, with what outcome. Each clinic has a hash chain of its own, and
 * checkpoints of it that the relay signs (client/audit_log.h has the structs). An entry is written in its request's
 * transaction, but outside the savepoint that a refusal goes back to. */
#ifndef SERVER_AUDIT_H
#define SERVER_AUDIT_H

#include "call.h"
#include "client/audit_log.h"

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
