/* outage.h: batches that fail, told to the operator without a line for each: one when it begins, one a minute while it lasts, one when
 * it is over. */
#ifndef SERVER_OUTAGE_H
#define SERVER_OUTAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroes: all is well. */
typedef struct outage {
    bool lasts;
    int64_t began_ms, failed_ms, told_ms; /* failed_ms: the last failure's time */
    uint64_t batches, requests;           /* that failed since it began */
} outage;

/* One batch of so many requests, at a time that only rises; `stored`: it was committed. A full disk fails what writes and not what
 * reads, so it is over with the first batch that is stored OUTAGE_QUIET_MS after the last that was not. */
void outage_batch(outage *o, size_t requests, bool stored, int64_t now_ms);

#endif
