/* arena.h: the memory of one command. Taken in one piece, given out from the bottom, never freed singly, wiped as
 * a whole. Its size is the limit against hostile input: a decoder that asks for more fails with ERR_ARENA. Under ASan what
 * is not given out may not be touched, and there is a gap after each piece. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"
#include "base/span.h"

typedef struct arena {
    uint8_t *base;
    size_t used;
    size_t size;
    size_t high; /* the most ever used: how near commands come to the limit */
} arena;

/* Takes `size` bytes from the heap. ERR_NO_MEMORY when there are none. */
MUST_USE err arena_init(arena *a, size_t size);
/* Lays an arena over memory of the caller's, which keeps owning it; arena_reset wipes it, arena_free must not be called. */
void arena_over(arena *a, void *memory, size_t size);
/* `count` zeroed objects of `size` bytes, aligned to 8; NULL when they do not fit (also when count*size overflows). */
void *arena_take(arena *a, size_t count, size_t size);
#define ARENA_NEW(a, type) ((type *)arena_take((a), 1, sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_take((a), (count), sizeof(type)))
/* Copies `s` into the arena. ERR_ARENA when it does not fit. */
MUST_USE err arena_copy(arena *a, span s, span *copy);
/* Marks and goes back: what was taken since the mark is wiped. */
static inline size_t arena_mark(const arena *a) { return a->used; }
void arena_release(arena *a, size_t mark);
/* Wipes all that is in use and starts again from the bottom. */
void arena_reset(arena *a);
/* Wipes and frees the memory of arena_init. */
void arena_free(arena *a);

#endif
