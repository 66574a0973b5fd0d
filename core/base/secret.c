#include "base/secret.h"

#include <assert.h>

/* Makes the compiler believe that `memory` is read here: it can neither drop the writes before nor guess its contents. */
#define USED(memory) __asm__ __volatile__("" : : "r"(memory) : "memory")

void wipe(void *memory, size_t n) {
    if (n == 0)
        return;
    memset(memory, 0, n);
    USED(memory);
}

void secret_set(secret *s, span value) {
    assert(value.n <= SECRET_MAX);
    if (value.n > 0)
        memcpy(s->b, value.p, value.n);
    s->n = (uint8_t)value.n;
}

bool secret_equal(span a, span b) {
    if (a.n != b.n)
        return false;
    uint8_t difference = 0;
    for (size_t i = 0; i < a.n; i++) {
        difference |= a.p[i] ^ b.p[i];
        /* Else a compiler that sees that any bit decides may leave the loop early. */
        __asm__ __volatile__("" : "+r"(difference));
    }
    return difference == 0;
}

bool secret_is_zero(span a) {
    uint8_t any = 0;
    for (size_t i = 0; i < a.n; i++) {
        any |= a.p[i];
        __asm__ __volatile__("" : "+r"(any));
    }
    return any == 0;
}
