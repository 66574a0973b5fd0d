/* directory.h: what a relay remembers of clinics, devices and groups from one batch to the next, in bounded memory, so that a
 * message need not ask the database for it.
 *
 * The clinic of a device and its key never change. All else may be changed by another relay on the same database. So it is of a
 * generation: each clinic has a mark in the database, which every such change sets anew, and its generation ends when the mark that
 * is read under the clinic's lock is another than the one seen last. What this relay changes itself it forgets by name. */
#ifndef SERVER_DIRECTORY_H
#define SERVER_DIRECTORY_H

#include "base/err.h"
#include "limits.h"
#include "request.h"

typedef struct directory directory;

typedef struct known_device {
    uint8_t id[ID_SIZE], clinic[ID_SIZE];
    uint64_t generation; /* of all that follows; 0: not known yet */
    uint8_t key[ED25519_PUBLIC_SIZE];
    uint32_t rights;
    bool revoked;
    int64_t not_after;
} known_device;

typedef struct known_group {
    uint8_t id[GROUP_BYTES], clinic[ID_SIZE];
    uint64_t generation;
    int64_t epoch;
    size_t count; /* members that are not revoked */
    uint8_t members[GROUP_REMEMBERED_MAX][ID_SIZE];
} known_group;

/* `secret` keeps others from choosing names that share a place. ERR_NO_MEMORY. */
MUST_USE err directory_open(uint64_t secret, directory **out);
void directory_close(directory *d);

/* The generation of a clinic that was locked and has this mark. */
uint64_t directory_generation(directory *d, const uint8_t clinic[ID_SIZE], int64_t mark);
/* This relay has changed the clinic and forgotten what it changed: the mark is another, the rest stays true. */
void directory_marked(directory *d, const uint8_t clinic[ID_SIZE], int64_t mark);
/* Ends the clinic's generation; returns the next one. */
uint64_t directory_forget_clinic(directory *d, const uint8_t clinic[ID_SIZE]);
/* True once for each clinic and minute, as far as it is remembered. */
bool directory_minute_begins(directory *d, const uint8_t clinic[ID_SIZE], int64_t minute);

/* The last row of a clinic's nonces that is in memory (nonce.h); number 0: none is. */
void directory_nonces(directory *d, const uint8_t clinic[ID_SIZE], int64_t *number, int64_t *mark);
void directory_nonces_are(directory *d, const uint8_t clinic[ID_SIZE], int64_t number, int64_t mark);

/* NULL: not known. Pointers are good until the next device, or group, is added. */
known_device *directory_device(directory *d, const uint8_t id[ID_SIZE]);
known_group *directory_group(directory *d, const uint8_t id[GROUP_BYTES]);
/* The place for one, with its name and nothing else, in place of the one that was added longest ago. */
known_device *directory_add_device(directory *d, const uint8_t id[ID_SIZE]);
known_group *directory_add_group(directory *d, const uint8_t id[GROUP_BYTES]);
void directory_forget_device(directory *d, const uint8_t id[ID_SIZE]);
void directory_forget_group(directory *d, const uint8_t id[GROUP_BYTES]);

/* What was read in a transaction that failed may never have been. */
void directory_forget_all(directory *d);

#endif
