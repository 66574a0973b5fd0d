/* webauthn.h: credentials and assertions of Web Authentication (Level 2), user verification required. What is in them is parsed and
 * checked by libfido2; here is only what it leaves to the relying party: the client data, and which algorithms. */
#ifndef SERVER_WEBAUTHN_H
#define SERVER_WEBAUTHN_H

#include "base/arena.h"

#define WEBAUTHN_CHALLENGE_SIZE 32
#define WEBAUTHN_ID_MAX 1023 /* §5.8.3: of a credential id */
#define WEBAUTHN_ORIGIN_MAX 300
#define WEBAUTHN_CLIENT_DATA_MAX 2048
#define WEBAUTHN_AUTHENTICATOR_DATA_MAX 2048 /* a credential id with its key, and extensions */
#define WEBAUTHN_SIGNATURE_MAX 128           /* ECDSA over P-256 in DER: 72 */

typedef struct webauthn_credential {
    int64_t algorithm; /* COSE: -7 ES256, -8 EdDSA */
    span id;           /* in the arena */
    uint8_t key[64];   /* as libfido2 has it: x || y, or Ed25519's 32 bytes */
    size_t key_size;
    int64_t counter;
} webauthn_credential;

/* The relying party's id, which is the host of its origin. Empty: the origin is none that WebAuthn knows: https://host[:port], or
 * http://localhost[:port]. */
void webauthn_party_of(const char *origin, char party[WEBAUTHN_ORIGIN_MAX]);

/* Both return NULL or what is wrong, as plain text of ours. Attestation statements are not looked at: no list of makers would be held
 * against them, and the first assertion proves the key. */
const char *webauthn_created(const char *origin, const uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE], span client_data,
                             span authenticator_data, arena *a, webauthn_credential *out);
/* Also checks the counter and, when all is good, moves it. */
const char *webauthn_asserted(const char *origin, const uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE], span client_data,
                              span authenticator_data, span signature, arena *a, webauthn_credential *c);

#endif
