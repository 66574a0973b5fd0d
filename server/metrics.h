/* metrics.h: what the operator may know of the relay's work: counts, sizes, durations. Counters in, Prometheus' text format
 * (version 0.0.4) out; nothing of a person, a clinic or an address. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "json.h"

#define METRICS_CALLS_MAX 96 /* more than there are calls, and the few names of the front's own */
#define METRICS_BOUNDS 12

typedef struct metrics_histogram {
    uint64_t bucket[METRICS_BOUNDS + 1]; /* the last: beyond every bound */
    double sum;
} metrics_histogram;

typedef struct metrics_call {
    const char *method, *call; /* static strings; their text is the name */
    uint64_t status[6];        /* by the status's first digit */
} metrics_call;

typedef struct metrics {
    metrics_call call[METRICS_CALLS_MAX];
    size_t calls;
    metrics_histogram batch_requests, commit_seconds;
    uint64_t batches_failed, connections_refused, overload_refused;
} metrics;

/* What is true at the moment of writing; a negative number is not known and left out. */
typedef struct metrics_now {
    const char *version;
    int64_t uptime_ms, connections, waiting, queue_limit, ready, database_bytes, unflushed;
    const struct push_counts *pushes; /* NULL: none are sent */
} metrics_now;

void metrics_answered(metrics *m, const char *method, const char *call, int status);
/* One transaction of so many requests; `stored`: it was committed, which took so long. */
void metrics_batch(metrics *m, size_t requests, bool stored, int64_t commit_us);
/* Appends the whole page; t->failed when memory is short. */
void metrics_write(const metrics *m, const metrics_now *now, text *t);

#endif
