/* index_map.h: a small hash table from 32-bit indexes to pointers, for the sparse parts of trees: an overlay's changed
 * nodes, the node secrets that are left, the senders that have a ratchet. Nothing is ever taken out singly. */
#ifndef MLS_INDEX_MAP_H
#define MLS_INDEX_MAP_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct index_map {
    uint32_t *keys;
    void **values; /* NULL: free place */
    size_t count;
    size_t size; /* a power of two, or 0 */
} index_map;

/* NULL when there is none. */
void *index_map_get(const index_map *m, uint32_t key);
/* Puts a non-NULL value, in place of one that is there. ERR_NO_MEMORY changes nothing. */
MUST_USE err index_map_put(index_map *m, uint32_t key, void *value);
/* Makes room for that many more, so that putting them can't fail. */
MUST_USE err index_map_reserve(index_map *m, size_t more);
/* Walks the entries in no particular order: start with *cursor 0; NULL at the end. */
void *index_map_next(const index_map *m, size_t *cursor, uint32_t *key);
/* Frees the table, not the values. */
void index_map_free(index_map *m);

#endif
