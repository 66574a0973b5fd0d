/* rate.h: token buckets by device, invite, clinic or address, in bounded memory. A bucket holds a minute's worth; what has not been
 * used for longest is forgotten when its place is needed. */
#ifndef SERVER_RATE_H
#define SERVER_RATE_H

#include "base/err.h"
#include "base/span.h"

typedef enum rate_kind {
    RATE_OF_DEVICE = 1,
    RATE_OF_ADDRESS = 2,
    RATE_OF_ENROLMENT = 3,
    RATE_OF_INVITE = 4,
    RATE_OF_CLINIC = 5
} rate_kind;
typedef struct rate_table rate_table;

/* `slots` is rounded up to a power of two; ERR_NO_MEMORY. `secret` keeps others from choosing ids that share a place. */
MUST_USE err rate_open(size_t slots, uint64_t secret, rate_table **out);
void rate_close(rate_table *t);
/* Takes one token of `per_minute` (0: no limit). Returns 0, or the seconds until there is one. */
uint32_t rate_take(rate_table *t, rate_kind kind, const uint8_t id[16], uint32_t per_minute, int64_t now_ms);

#endif
