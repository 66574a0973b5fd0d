/* faults.h: what a machine may refuse, refused at will: the n-th piece of heap, of arena, the n-th step of SQL, the n-th file
 * operation. And whether all heap was given back. A program includes this in one file and is linked with FAULT_WRAPS
 * (Makefile), which leads the calls below here; what the support files and the test itself take is never refused. */
#ifndef SUPPORT_FAULTS_H
#define SUPPORT_FAULTS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "crypto/seal.h"
#include "sqlite3.h"
#include "support/host.h"

typedef enum fault_kind {
    FAULT_NONE,
    FAULT_HEAP,
    FAULT_ARENA,
    FAULT_STEP, /* as when a disk is full */
    FAULT_FILE, /* the medium fails: the store stops until it is opened again */
    FAULT_FULL, /* a write finds no room */
    FAULT_KINDS
} fault_kind;
static const char *const fault_names[] = {"none", "heap", "arena", "SQL step", "file operation", "full disk"};

#define FAULT_ARENAS 16

static struct {
    fault_kind kind;
    long at, seen; /* of the kind, since faults_arm */
    bool inside;   /* in the code under test */
    int host;      /* in the host's functions */
    long live;     /* pieces of heap that the code under test holds */
    arena *full;   /* the arena that ended at the n-th request */
    size_t size;   /* its size in truth */
    struct {
        arena *a;
        size_t high;
    } highs[FAULT_ARENAS]; /* the most that each had in use since faults_enter */
} faults;

/* From here to faults_leave the code under test runs, and its n-th request of the kind fails. n = 0: none, they are counted. */
static inline void faults_enter(fault_kind kind, long n) {
    faults.kind = kind;
    faults.at = n;
    faults.seen = 0;
    memset(faults.highs, 0, sizeof faults.highs);
    faults.inside = true;
    if (kind == FAULT_FILE || kind == FAULT_FULL) {
        faults.seen = -host_operations();
        host_fail_with(kind == FAULT_FILE ? HOST_EIO : HOST_EFULL);
        host_fail_after(n);
    }
}

static inline void fault_make_room(void) {
    if (faults.full != NULL)
        faults.full->size = faults.size;
    faults.full = NULL;
}

/* How many requests of the kind there were; it failed when there were n. */
static inline long faults_leave(void) {
    faults.inside = false;
    if (faults.kind == FAULT_FILE || faults.kind == FAULT_FULL)
        faults.seen += host_operations();
    host_fail_after(0);
    fault_make_room();
    return faults.seen;
}

static bool fault_due(fault_kind kind) {
    if (!faults.inside || faults.host > 0 || faults.kind != kind)
        return false;
    return ++faults.seen == faults.at;
}

static void *counted(void *p) {
    faults.live += p != NULL && faults.inside && faults.host == 0;
    return p;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__real_arena_take(arena *a, size_t count, size_t size);
err __real_arena_copy(arena *a, span s, span *copy);
void __real_arena_free(arena *a);
int __real_sqlite3_step(sqlite3_stmt *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
void *__wrap_arena_take(arena *a, size_t count, size_t size);
err __wrap_arena_copy(arena *a, span s, span *copy);
void __wrap_arena_free(arena *a);
int __wrap_sqlite3_step(sqlite3_stmt *s);

void *__wrap_malloc(size_t n) { return fault_due(FAULT_HEAP) ? NULL : counted(__real_malloc(n)); }
void *__wrap_calloc(size_t count, size_t n) { return fault_due(FAULT_HEAP) ? NULL : counted(__real_calloc(count, n)); }
void *__wrap_realloc(void *p, size_t n) {
    if (fault_due(FAULT_HEAP))
        return NULL;
    return p == NULL ? counted(__real_realloc(NULL, n)) : __real_realloc(p, n);
}
void __wrap_free(void *p) {
    faults.live -= p != NULL && faults.inside && faults.host == 0;
    __real_free(p);
}
/* An arena has one size: the n-th request that goes beyond all before finds it full, and from then on it ends there. */
static size_t *fault_high(arena *a) {
    size_t i = 0;
    while (i + 1 < FAULT_ARENAS && faults.highs[i].a != NULL && faults.highs[i].a != a)
        i++;
    if (faults.highs[i].a != a) {
        faults.highs[i].a = a;
        faults.highs[i].high = a->used;
    }
    return &faults.highs[i].high;
}
static void fault_arena(arena *a, size_t n) {
    if (!faults.inside || a->used + n <= *fault_high(a) || !fault_due(FAULT_ARENA))
        return;
    faults.full = a;
    faults.size = a->size;
    a->size = a->used > *fault_high(a) ? a->used : *fault_high(a);
}
void *__wrap_arena_take(arena *a, size_t count, size_t size) {
    fault_arena(a, count * size + (count * size == 0));
    void *p = __real_arena_take(a, count, size);
    if (faults.inside && a->used > *fault_high(a))
        *fault_high(a) = a->used;
    return p;
}
err __wrap_arena_copy(arena *a, span s, span *copy) {
    fault_arena(a, s.n + (s.n == 0));
    err e = __real_arena_copy(a, s, copy);
    if (faults.inside && a->used > *fault_high(a))
        *fault_high(a) = a->used;
    return e;
}
void __wrap_arena_free(arena *a) {
    *fault_high(a) = 0;
    if (a == faults.full)
        fault_make_room();
    __real_arena_free(a);
}
int __wrap_sqlite3_step(sqlite3_stmt *s) { return fault_due(FAULT_STEP) ? SQLITE_FULL : __real_sqlite3_step(s); }

/* A PIN is stretched for as long as it takes a thief dear; the same code for less serves here. */
err __real_stretch(span text, const uint8_t *salt, stretch_cost cost, uint8_t *out, size_t n);
err __wrap_stretch(span text, const uint8_t *salt, stretch_cost cost, uint8_t *out, size_t n);
err __wrap_stretch(span text, const uint8_t *salt, stretch_cost cost, uint8_t *out, size_t n) {
    (void)cost;
    return __real_stretch(text, salt, (stretch_cost){1, 8}, out, n);
}

/* Short values are drawn ahead (crypto/random.c); here at once, so that a command repeated draws what it drew before. */
void __wrap_random_bytes(void *out, size_t n);
void __wrap_random_bytes(void *out, size_t n) {
    if (n > 0)
        host_random(out, n);
}

/* The host's functions are a machine of their own. */
#define FAULT_HOST(type, name, params, args)                                                                           \
    type __real_##name params;                                                                                         \
    type __wrap_##name params;                                                                                         \
    type __wrap_##name params {                                                                                        \
        faults.host++;                                                                                                 \
        type result = __real_##name args;                                                                              \
        faults.host--;                                                                                                 \
        return result;                                                                                                 \
    }
FAULT_HOST(int32_t, host_file_open, (const char *path, size_t n, int32_t flags), (path, n, flags))
FAULT_HOST(int32_t, host_file_close, (int32_t fd), (fd))
FAULT_HOST(int32_t, host_file_read, (int32_t fd, void *buf, size_t n, double offset), (fd, buf, n, offset))
FAULT_HOST(int32_t, host_file_write, (int32_t fd, const void *buf, size_t n, double offset), (fd, buf, n, offset))
FAULT_HOST(int32_t, host_file_truncate, (int32_t fd, double size), (fd, size))
FAULT_HOST(int32_t, host_file_sync, (int32_t fd), (fd))
FAULT_HOST(int32_t, host_file_delete, (const char *path, size_t n), (path, n))

#endif
