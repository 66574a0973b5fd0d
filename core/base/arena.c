#include "base/arena.h"

#include <assert.h>
#include <stdlib.h>

#include "base/secret.h"

#define ALIGNMENT 8

/* Under ASan what is not given out is poisoned, with a gap after each piece, so that running over the end of one is
 * caught as it would be on the heap. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define GAP 16
#define GIVE(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define TAKE_BACK(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#else
#define GAP 0
#define GIVE(p, n) ((void)0)
#define TAKE_BACK(p, n) ((void)0)
#endif

err arena_init(arena *a, size_t size) {
    *a = (arena){0};
    uint8_t *base = malloc(size);
    if (base == NULL)
        return ERR_NO_MEMORY;
    a->base = base;
    a->size = size;
    TAKE_BACK(a->base, a->size);
    return OK;
}

void arena_over(arena *a, void *memory, size_t size) {
    size_t skip = (size_t)(-(uintptr_t)memory) & (ALIGNMENT - 1);
    if (skip > size)
        skip = size;
    *a = (arena){.base = (uint8_t *)memory + skip, .size = size - skip};
}

void *arena_take(arena *a, size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n) || n > SIZE_MAX - ALIGNMENT - GAP)
        return NULL;
    /* A piece of no bytes takes some all the same, so that no two pieces have one address. */
    size_t whole = (n + GAP + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (whole == 0)
        whole = ALIGNMENT;
    if (whole > a->size - a->used)
        return NULL;
    uint8_t *piece = a->base + a->used;
    a->used += whole;
    if (a->used > a->high)
        a->high = a->used;
    GIVE(piece, n);
    memset(piece, 0, n);
    return piece;
}

err arena_copy(arena *a, span s, span *copy) {
    uint8_t *p = arena_take(a, s.n, 1);
    if (p == NULL)
        return ERR_ARENA;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    *copy = span_of(p, s.n);
    return OK;
}

void arena_release(arena *a, size_t mark) {
    assert(mark <= a->used);
    GIVE(a->base + mark, a->used - mark);
    wipe(a->base + mark, a->used - mark);
    TAKE_BACK(a->base + mark, a->used - mark);
    a->used = mark;
}

void arena_reset(arena *a) { arena_release(a, 0); }

void arena_free(arena *a) {
    arena_reset(a);
    GIVE(a->base, a->size);
    free(a->base);
    *a = (arena){0};
}
