/* who.h: who asks, and whether he may ask now: rates, the clinic and the key, the signature, the nonce, the session. */
#ifndef SERVER_WHO_H
#define SERVER_WHO_H

#include "call.h"
#include "rate.h"

/* Takes from a bucket of the relay; an address's and the others' are apart. True: too many, and the problem is written. */
bool who_is_slowed(call *c, rate_kind kind, const uint8_t id[16], uint32_t per_minute, const char *detail);
/* The signature's form and its time. False: a problem is written. */
bool who_head_in_form(call *c);
/* Identifies the devices of a batch together: their clinics are found before anything is locked, their signatures verified side by
 * side, and their nonces taken. The others are left to who_authenticate, and those that are refused are done. */
void who_identify_all(relay *r, call *calls, size_t n);
/* True when the request is by whom it says it is, now, for the first time, and with a session where the clinic wants one. Else a problem
 * is written, or the database failed. A call whose nonce was asked for with those of its batch was identified then; another of the
 * batch may have changed what its device may do. */
bool who_authenticate(call *c);

#endif
