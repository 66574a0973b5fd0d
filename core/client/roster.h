/* roster.h: which staff and agent devices a clinic has, and which devices it revoked: a numbered list, signed by the
 * clinic's root key. A patient adds exactly the listed devices to the conversation; the relay can hold a roster back,
 * but cannot invent one, and an older one than was seen is refused. */
#ifndef CLIENT_ROSTER_H
#define CLIENT_ROSTER_H

#include "client/certificate.h"

#define ROSTER_VERSION 1

typedef struct roster_member {
    uint8_t device_id[ID_SIZE];
    certificate_chain chain;
} roster_member;

typedef struct roster_revocation {
    uint8_t device_id[ID_SIZE];
    uint64_t at_ms;
} roster_revocation;

typedef struct roster {
    uint16_t version;
    uint8_t clinic_id[ID_SIZE];
    uint64_t number; /* from 1, one more each time */
    uint64_t issued_ms;
    struct {
        roster_member *p;
        size_t n;
    } members;
    struct {
        roster_revocation *p;
        size_t n;
    } revoked;
    uint8_t signature[ED25519_SIGNATURE_SIZE]; /* root's, over "Sotto roster 1" and all before */
} roster;

/* Encodes and signs with the clinic's root key. */
MUST_USE err roster_issue(roster *r, const signature_key *root, arena *a, span *bytes);
/* Reads, checks the signature and every member's chain (kind staff or agent, device id of its key). */
MUST_USE err roster_read(span bytes, const uint8_t root_key[ED25519_PUBLIC_SIZE], arena *a, roster *r);

#endif
