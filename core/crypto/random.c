#include "crypto/random.h"

#include "base/secret.h"
#include "host.h"

/* Asking the host crosses into JavaScript and costs as much as hashing a message, so what is short (nonces, ids, reuse
 * guards) comes out of a few bytes drawn ahead. Keys are longer than this and are always fresh from the host. */
#define SHORT 16
#define AHEAD 256

void random_bytes(void *out, size_t n) {
    static uint8_t ahead[AHEAD];
    static size_t left;
    if (n > SHORT)
        host_random(out, n);
    if (n == 0 || n > SHORT)
        return;
    if (left < n) {
        host_random(ahead, AHEAD);
        left = AHEAD;
    }
    left -= n;
    memcpy(out, ahead + left, n);
    wipe(ahead + left, n); /* what was drawn is nowhere else */
}
