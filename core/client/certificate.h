/* certificate.h: who may be in a clinic's conversations. Every device's key hangs by a chain of small signed structs
 * from the clinic's root key, whose fingerprint a patient's browser learned from the link and not from the relay.
 *
 *   clinic root -> staff or agent device -> invite -> patient (or further staff) device
 *
 * An invite is a key pair made from the seed in a link: its certificate says "whoever holds this key may enrol a device
 * as this subject until then, after this check". The device proves it by a certificate signed with the invite's key.
 * The relay links this file: it checks chains, and can issue none. */
#ifndef CLIENT_CERTIFICATE_H
#define CLIENT_CERTIFICATE_H

#include "crypto/signature.h"
#include "wire/wire.h"

#define ID_SIZE 16  /* of clinics, subjects, devices, invites: half a SHA-256, 128 bits */
#define CHAIN_MAX 9 /* root's own, and four invitations deep: staff inviting staff inviting staff inviting a patient */
#define CERTIFICATE_VERSION 1

/* The private-use leaf extension in which a member's chain travels (RFC 9420 §17.3: 0xF000-0xFFFF). */
#define EXTENSION_CERTIFICATES 0xF050

typedef enum certificate_kind {
    CERTIFICATE_STAFF = 1,
    CERTIFICATE_AGENT = 2,
    CERTIFICATE_INVITE = 3,
    CERTIFICATE_PATIENT = 4
} certificate_kind;

/* What the holder may do. A certificate's rights are a subset of its issuer's, save that inviting grants nothing to itself. */
enum certificate_right {
    RIGHT_MESSAGE = 1,        /* take part in conversations */
    RIGHT_INVITE_PATIENT = 2, /* issue invites that enrol patients */
    RIGHT_INVITE_STAFF = 4,   /* issue invites that enrol staff and agents */
    RIGHT_ROSTER = 8,         /* be told of new devices, add members, revoke devices */
    RIGHT_AUDIT = 16          /* read the audit log */
};

/* The check that stood before an enrolment; a higher number is surer (FEATURES 55). */
enum check_level { CHECK_LINK = 0, CHECK_BIRTH_DATE = 1, CHECK_CODE = 2, CHECK_DESK = 3 };

typedef struct certificate {
    uint16_t version;
    uint8_t clinic_id[ID_SIZE];
    uint8_t kind;   /* certificate_kind */
    uint8_t enrols; /* of an invite: the kind it may enrol; else 0 */
    uint8_t level;  /* check_level asked for (invite) or passed (patient, invited staff) */
    uint8_t issuer_key[ED25519_PUBLIC_SIZE];
    uint8_t subject_key[ED25519_PUBLIC_SIZE];
    uint8_t subject_id[ID_SIZE];
    uint32_t rights;
    uint64_t not_before, not_after;            /* seconds since 1970 */
    uint8_t signature[ED25519_SIGNATURE_SIZE]; /* by issuer_key over "Sotto certificate 1" and all fields above */
} certificate;

typedef struct certificate_chain {
    certificate *p; /* p[0] is signed by the root, p[n - 1] is the holder's */
    size_t n;
} certificate_chain;

/* Visitors. The chain is one vector: certificate chain<V>. */
void wire_certificate(wire *w, certificate *c);
void wire_certificate_chain(wire *w, certificate_chain *c);

/* Fills version and issuer_key and signs. The other fields are the caller's. */
MUST_USE err certificate_issue(certificate *c, const signature_key *issuer);

/* Checks the whole chain against the clinic's root key:
 *  - 1..CHAIN_MAX certificates, each signed by the one before (the first by the root), all of one clinic;
 *  - root issues staff and agents; staff and agents issue invites, with RIGHT_INVITE_PATIENT or RIGHT_INVITE_STAFF as
 *    `enrols` demands; an invite issues one certificate of the kind, subject, level and at most the rights it says; a
 *    patient issues nothing; rights never grow (a patient's are RIGHT_MESSAGE at most);
 *  - each certificate begins within its issuer's time of validity; and the last is valid at `now_seconds`
 *    (0: not checked, for looking at history).
 * ERR_CERTIFICATE, ERR_EXPIRED or ERR_SIGNATURE. */
MUST_USE err certificate_chain_check(const certificate_chain *chain, const uint8_t root_key[ED25519_PUBLIC_SIZE],
                                     uint64_t now_seconds);
static inline const certificate *certificate_chain_holder(const certificate_chain *chain) {
    return &chain->p[chain->n - 1];
}

/* Names are hashes of keys: SHA-256(label || key), cut to 16 bytes. */
void clinic_id_of(const uint8_t root_key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]);
void device_id_of(const uint8_t key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]);
void invite_id_of(const uint8_t key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]);

#endif
