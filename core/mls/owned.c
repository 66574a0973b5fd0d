#include "mls/owned.h"

#include <stdlib.h>

err owned_decode(span encoded, wire_visitor *visit, size_t object_size, arena *a, void **out) {
    /* Once in the arena to learn how much the arrays take, once more in the place where they stay. */
    size_t mark = arena_mark(a);
    void *trial = arena_take(a, 1, object_size);
    if (trial == NULL)
        return ERR_ARENA;
    size_t before = arena_mark(a);
    err e = wire_decode(encoded, a, visit, trial);
    /* A vector reads its elements twice and takes scratch for one while it counts, so the most ever needed is the sum
     * of what stays and one element; `high` is not ours alone, so ask for as much again as stays, and a little. */
    size_t stays = arena_mark(a) - before;
    arena_release(a, mark);
    TRY(e);

    size_t aligned = (object_size + 7) & ~(size_t)7, text = (encoded.n + 7) & ~(size_t)7;
    size_t room = 2 * stays + 512;
    uint8_t *block = calloc(1, aligned + text + room);
    if (block == NULL)
        return ERR_NO_MEMORY;
    if (encoded.n > 0)
        memcpy(block + aligned, encoded.p, encoded.n);
    arena own;
    arena_over(&own, block + aligned + text, room);
    e = wire_decode(span_of(block + aligned, encoded.n), &own, visit, block);
    if (e != OK) {
        free(block);
        return e;
    }
    *out = block;
    return OK;
}
