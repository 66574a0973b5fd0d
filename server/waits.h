/* waits.h: who waits for which device's events. Entries live inside the waiting connection; the table only links them. */
#ifndef SERVER_WAITS_H
#define SERVER_WAITS_H

#include "request.h"

typedef struct waiter {
    inbox_wait wait;
    struct waiter *next, **link; /* link NULL: not in the table */
} waiter;

#define WAITS_BUCKETS 16384
typedef struct waits {
    waiter *bucket[WAITS_BUCKETS]; /* newest first */
    size_t count;
} waits;

/* Adds one. When the device then has more than WAITS_A_DEVICE_MAX, its oldest is taken out and returned, to be ended. */
waiter *waits_add(waits *w, waiter *entry);
void waits_remove(waits *w, waiter *entry);
/* The first waiter of a device, and the next after one; NULL at the end. */
waiter *waits_of(const waits *w, const uint8_t device[ID_SIZE]);
waiter *waits_next(const waiter *entry);

#endif
