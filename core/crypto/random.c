#include "crypto/random.h"

#include "host.h"

void random_bytes(void *out, size_t n) {
    if (n > 0)
        host_random(out, n);
}
