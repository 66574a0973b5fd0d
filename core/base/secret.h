/* secret.h: bytes that must not be logged, compared in variable time, or left behind. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/span.h"

/* The longest symmetric secret of any suite: a SHA-512 output. */
#define SECRET_MAX 64

/* A symmetric secret by value. The function that consumes one wipes it (RFC 9420 §9.2). */
typedef struct secret {
    uint8_t n;
    uint8_t b[SECRET_MAX];
} secret;

/* Overwrites memory in a way that the compiler may not remove. */
void wipe(void *memory, size_t n);
static inline void secret_wipe(secret *s) { wipe(s, sizeof *s); }
static inline span secret_span(const secret *s) { return span_of(s->b, s->n); }
/* Copies at most SECRET_MAX bytes; longer input is a bug and asserted. */
void secret_set(secret *s, span value);
/* Constant time in the contents; lengths are public and must be equal (GHSA-8x3w-qj7j-gqhf). */
bool secret_equal(span a, span b);
/* True when every byte is zero, in constant time. */
bool secret_is_zero(span a);

#endif
