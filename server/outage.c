#include "outage.h"

#include <inttypes.h>

#include "limits.h"
#include "log.h"

static void tell(const outage *o, log_level level, const char *event, int64_t now_ms) {
    log_line(level, "event=%s batches=%" PRIu64 " requests=%" PRIu64 " seconds=%" PRId64, event, o->batches,
             o->requests, (now_ms - o->began_ms) / 1000);
}

void outage_batch(outage *o, size_t requests, bool stored, int64_t now_ms) {
    if (stored) {
        if (!o->lasts || now_ms - o->failed_ms < OUTAGE_QUIET_MS)
            return;
        tell(o, LOG_INFO, "batches-stored-again", now_ms);
        *o = (outage){0};
        return;
    }
    bool begins = !o->lasts;
    if (begins)
        *o = (outage){.lasts = true, .began_ms = now_ms};
    o->failed_ms = now_ms;
    o->batches++;
    o->requests += requests;
    if (!begins && now_ms - o->told_ms < OUTAGE_TELL_MS)
        return;
    o->told_ms = now_ms;
    tell(o, LOG_ERROR, begins ? "batch-failed" : "batches-still-failing", now_ms);
}
