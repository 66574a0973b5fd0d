/* totp.h: one-time codes by RFC 6238 as authenticator apps make them: HMAC-SHA-1, 30 s, 6 digits. */
#ifndef SERVER_TOTP_H
#define SERVER_TOTP_H

#include "base/span.h"

#define TOTP_SECRET_SIZE 20 /* RFC 4226 §4, R6: 160 bits are recommended */
#define TOTP_DIGITS 6
#define TOTP_STEP_S 30

/* The code of a time step, with a 0 at its end. False: OpenSSL failed. */
bool totp_code(const uint8_t secret[TOTP_SECRET_SIZE], uint64_t step, char code[TOTP_DIGITS + 1]);
/* The step whose code this is: now's, the one before or the one after, above `last` (each code counts once; RFC 6238 §5.2). 0: none.
 * Compares in constant time. */
int64_t totp_find(const uint8_t secret[TOTP_SECRET_SIZE], int64_t now_s, int64_t last, const char code[TOTP_DIGITS]);

#endif
