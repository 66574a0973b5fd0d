/* push_key.h: the relay's key for push services and what is signed with it: VAPID (RFC 8292). One key pair of all relays on a
 * database, made when there is none: a subscription is for this key (applicationServerKey of the Push API). */
#ifndef SERVER_PUSH_KEY_H
#define SERVER_PUSH_KEY_H

#include "db.h"

#define PUSH_PUBLIC_SIZE 65 /* an uncompressed point of P-256 */
/* "vapid t=…, k=…": the origin and the contact in base64url, and some 400 characters. */
#define PUSH_AUTHORIZATION_MAX 1600

typedef struct push_key push_key;

/* ERR_HOST when what is stored is no key. */
MUST_USE err push_key_open(db *d, push_key **out);
void push_key_close(push_key *k);
const uint8_t *push_key_public(const push_key *k); /* PUSH_PUBLIC_SIZE bytes; live as long as the key */

/* True for a contact that push services take (RFC 8292 §2.1): mailto: or https: of a host with a dot, plain ASCII. */
bool push_contact_is_good(const char *contact);
/* The value of the header Authorization for one audience, with its NUL. ERR_TOO_LARGE, ERR_HOST. */
MUST_USE err push_key_authorize(const push_key *k, span audience, const char *contact, int64_t expires_s,
                                char out[PUSH_AUTHORIZATION_MAX]);

#endif
