/* outage.h: says in the log that the database takes nothing: when that begins, once a minute while it lasts, and when it is over. */
#ifndef SERVER_OUTAGE_H
#define SERVER_OUTAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct outage {
    bool lasts;
    int64_t begun_ms, told_ms;
    uint64_t transactions, requests; /* that failed since it was told last */
} outage;

/* A transaction with so many requests was stored, or was not. */
void outage_note(outage *o, bool stored, size_t requests, int64_t now_ms);

#endif
