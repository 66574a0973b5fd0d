#include "outage.h"

#include "log.h"

#define TOLD_MS 60000

static void tell(outage *o, int64_t now_ms) {
    log_line(LOG_ERROR, "event=batch-failed requests=%llu transactions=%llu", (unsigned long long)o->requests,
             (unsigned long long)o->transactions);
    o->told_ms = now_ms;
    o->transactions = o->requests = 0;
}

void outage_note(outage *o, bool stored, size_t requests, int64_t now_ms) {
    if (stored) {
        if (o->lasts && o->requests > 0)
            tell(o, now_ms);
        if (o->lasts)
            log_line(LOG_INFO, "event=batches-stored-again after_ms=%lld", (long long)(now_ms - o->begun_ms));
        o->lasts = false;
        return;
    }
    o->transactions++;
    o->requests += requests;
    if (o->lasts && now_ms - o->told_ms < TOLD_MS)
        return;
    if (!o->lasts)
        o->begun_ms = now_ms;
    o->lasts = true;
    tell(o, now_ms);
}
