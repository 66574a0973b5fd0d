/* span.h: bytes that somebody else owns. A span never outlives the buffer it looks into. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct span {
    const uint8_t *p;
    size_t n;
} span;

static inline span span_of(const void *p, size_t n) { return (span){(const uint8_t *)p, n}; }
static inline span span_text(const char *text) { return (span){(const uint8_t *)text, strlen(text)}; }
/* The bytes of an array. Does not compile for a pointer, whose own size it would take. */
#define SPAN(array)                                                                                                    \
    span_of((array), sizeof(array) +                                                                                   \
                         0 * sizeof(struct {                                                                           \
                             _Static_assert(!__builtin_types_compatible_p(__typeof__(array), __typeof__(&(array)[0])), \
                                            "SPAN of a pointer");                                                      \
                             char unused;                                                                              \
                         }))
#define SPAN_NONE ((span){NULL, 0})

/* Compares in variable time: never for secrets, tags or MACs (secret.h has secret_equal). */
static inline bool span_equal(span a, span b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
/* memcmp's order, a shorter prefix first. */
static inline int span_compare(span a, span b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

#endif
