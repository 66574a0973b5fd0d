/* verifier.h: what a device's user proves with that it is him: a WebAuthn credential or a secret for one-time codes. */
#ifndef SERVER_VERIFIER_H
#define SERVER_VERIFIER_H

#include "session.h"
#include "totp.h"
#include "webauthn.h"

typedef struct verifier {
    uint8_t id[ID_SIZE];
    int64_t method; /* session_method */
    bool proven;    /* a session has begun with it */
    webauthn_credential credential;
    uint8_t secret[TOTP_SECRET_SIZE];
    int64_t last_step; /* of the last code that counted */
    int64_t attempts;  /* wrong codes since */
    int64_t locked_until;
} verifier;

/* The device's verifier with this credential id; credential.p NULL: its secret for codes. False: there is none. Wipe it after use. */
bool verifier_find(call *c, span credential, verifier *v);
/* Takes the device's challenge, which counts no more then, whatever becomes of the call. False: there is none that is young enough. */
bool challenge_take(call *c, uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE]);

#endif
