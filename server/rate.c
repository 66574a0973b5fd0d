#include "rate.h"

#include <stdlib.h>

#define WAYS 8      /* places that an id may have */
#define TOKEN 60000 /* a token in the bucket's unit: so that a millisecond adds `per_minute` units */

typedef struct bucket {
    uint8_t id[16];
    int64_t at; /* when `units` was right, ms */
    uint64_t units;
    uint8_t kind; /* 0: empty */
} bucket;

struct rate_table {
    uint64_t secret;
    size_t sets;
    bucket *buckets;
};

err rate_open(size_t slots, uint64_t secret, rate_table **out) {
    rate_table *t = calloc(1, sizeof *t);
    *out = t;
    if (t == NULL)
        return ERR_NO_MEMORY;
    for (t->sets = 1; t->sets * WAYS < slots;)
        t->sets *= 2;
    t->secret = secret;
    t->buckets = calloc(t->sets * WAYS, sizeof *t->buckets);
    if (t->buckets == NULL) {
        free(t);
        *out = NULL;
        return ERR_NO_MEMORY;
    }
    return OK;
}

void rate_close(rate_table *t) {
    if (t != NULL)
        free(t->buckets);
    free(t);
}

static uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

static bucket *find(rate_table *t, rate_kind kind, const uint8_t id[16], uint32_t per_minute, int64_t now_ms) {
    uint64_t a, b;
    memcpy(&a, id, 8);
    memcpy(&b, id + 8, 8);
    bucket *set = t->buckets + (mix(mix(a ^ t->secret) ^ b ^ (uint64_t)kind) & (t->sets - 1)) * WAYS, *oldest = set;
    for (bucket *e = set; e < set + WAYS; e++) {
        if (e->kind == kind && memcmp(e->id, id, 16) == 0)
            return e;
        if (oldest->kind != 0 && (e->kind == 0 || e->at < oldest->at))
            oldest = e;
    }
    *oldest = (bucket){.kind = (uint8_t)kind, .at = now_ms, .units = (uint64_t)per_minute * TOKEN};
    memcpy(oldest->id, id, 16);
    return oldest;
}

uint32_t rate_take(rate_table *t, rate_kind kind, const uint8_t id[16], uint32_t per_minute, int64_t now_ms) {
    if (per_minute == 0)
        return 0;
    bucket *e = find(t, kind, id, per_minute, now_ms);
    uint64_t full = (uint64_t)per_minute * TOKEN;
    if (now_ms > e->at) { /* a clock set back adds nothing */
        uint64_t passed = (uint64_t)(now_ms - e->at);
        e->units = passed >= 60000 ? full : e->units + passed * per_minute;
        if (e->units > full)
            e->units = full;
    }
    e->at = now_ms;
    if (e->units < TOKEN)
        return (uint32_t)((TOKEN - e->units + (uint64_t)per_minute * 1000 - 1) / ((uint64_t)per_minute * 1000));
    e->units -= TOKEN;
    return 0;
}
