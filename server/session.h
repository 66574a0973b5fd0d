/* session.h: whether a person is at a device. A clinic's policy says who needs a session, how it begins and when it ends; PROTOCOL.md,
 * "Sessions", has the rules. A session is a row by device, so every relay on the database knows it. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include "call.h"

/* Numbers are stored. */
typedef enum session_method { SESSION_WEBAUTHN = 1, SESSION_TOTP = 2, SESSION_LOCAL = 3 } session_method;
enum policy_staff { STAFF_OFF = 0, STAFF_WEBAUTHN = 1, STAFF_WEBAUTHN_OR_TOTP = 2 };
enum policy_patients { PATIENTS_OFF = 0, PATIENTS_LOCAL = 1 };

typedef struct session_policy {
    int64_t staff, patients; /* policy_staff, policy_patients */
    int64_t staff_idle_s, staff_overall_s, patient_idle_s, patient_overall_s;
} session_policy;

/* What is known of a device's session. */
typedef struct session_state {
    session_policy policy; /* the defaults where the clinic has set none */
    int64_t kind;          /* of the device: certificate_kind */
    bool needed;           /* by the policy: without a live one it may only begin one */
    bool live;
    int64_t method, began, seen, idle_ends, ends; /* when live */
} session_state;

/* False: there is no such device, or the database failed. */
bool session_read(db *d, span clinic, span device, int64_t now_ms, session_state *s);
/* May a session of this device begin in this way, and go on? */
bool session_method_open(const session_state *s, int64_t method);
/* The word of a method in JSON. */
const char *session_method_word(int64_t method);

/* Asked once a request, when its signature, certificate and nonce were found good. False: the device needs a session and has none,
 * the problem is written; or the database failed. */
bool session_allows(call *c);
/* Writes problem `step-up`. */
void session_problem(response *rs, db *d, span clinic, span device, const session_state *s);
/* {"method",…}, the call's answer. */
bool session_answer(call *c, int status, const session_state *s);

/* A device without a verifier may register one until then. */
void registration_open_until(call *c, const uint8_t device[ID_SIZE], int64_t until_ms);
/* Its verifiers, challenge and session go. */
void verification_forget(call *c, const uint8_t device[ID_SIZE]);

#endif
