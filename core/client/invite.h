/* invite.h: the secret link. All of it hangs by a 32-byte seed that lies in the link's fragment, which no server sees:
 *
 *   seed -> the invite's key pair (its certificate lets it enrol one device)
 *        -> the key that seals the invitation at the relay
 *        -> the salt for stretching the second factor, so that the relay can compare and count but not guess
 *
 *   https://chat.clinic.example/#i=<seed>.<SHA-256 of the root key>.<checksum>      each in base64url */
#ifndef CLIENT_INVITE_H
#define CLIENT_INVITE_H

#include "client/certificate.h"
#include "client/client.h"

#define INVITE_SEED_SIZE 32
#define FINGERPRINT_SIZE 32
#define INVITE_CHECKSUM_SIZE                                                                                           \
    3 /* finds a link that was cut or mistyped: 1 in 16 million slips through to the relay's 404 */
#define INVITE_CHECK_SIZE 32
#define INVITE_CODE_DIGITS 6
#define INVITE_FACTOR_MAX 64

typedef struct invite_link {
    uint8_t seed[INVITE_SEED_SIZE];
    uint8_t fingerprint[FINGERPRINT_SIZE];
} invite_link;

/* Accepts "i=…" with or without "#" before it. ERR_MALFORMED for anything damaged. */
MUST_USE err invite_link_read(span fragment, invite_link *link);
/* "<origin>/#i=…" or "<origin>/staff/#i=…". */
MUST_USE err invite_link_write(const invite_link *link, span origin, bool staff, arena *a, span *text);

typedef struct invite_keys {
    signature_key key;
    uint8_t seal_key[32];
    uint8_t salt[16];
} invite_keys;
void invite_keys_derive(const uint8_t seed[INVITE_SEED_SIZE], invite_keys *keys);

/* What the relay keeps sealed and hands to the invite's key. */
typedef struct sealed_invitation {
    uint16_t version;
    uint8_t root_key[ED25519_PUBLIC_SIZE];
    span clinic_name, inviter, greeting;
    span invitee;            /* of staff; empty for a patient, whose name is told only after the check */
    certificate_chain chain; /* ends in the invite's certificate */
} sealed_invitation;
MUST_USE err invitation_seal(const invite_keys *keys, const sealed_invitation *invitation, arena *a, span *sealed);
/* Opens and checks it against the link: the root key's fingerprint, the chain, the invite's own key. ERR_CERTIFICATE and
 * the like mean that the relay offered something that the clinic did not make. */
MUST_USE err invitation_unseal(const invite_keys *keys, const invite_link *link, span sealed, uint64_t now_seconds,
                               arena *a, sealed_invitation *out);

/* Brings a date of birth or a code to its one form: "1956-04-12" from 1956-04-12, 04/12/1956, 4/12/1956, 04121956,
 * "April 12, 1956", "12 Apr 1956" (numbers with slashes, dots or dashes: month first, unless the first is over 12); a
 * code to its digits and upper-case letters. ERR_MALFORMED when it is neither. `out` holds INVITE_FACTOR_MAX bytes. */
MUST_USE err invite_factor(uint8_t level, span text, uint8_t *out, size_t *n);
/* Argon2id over the factor's one form. */
MUST_USE err invite_check(const invite_keys *keys, span factor, uint8_t out[INVITE_CHECK_SIZE]);
/* A code of INVITE_CODE_DIGITS random digits. */
void invite_code(char out[INVITE_CODE_DIGITS]);

#endif
