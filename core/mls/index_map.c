#include "mls/index_map.h"

#include <stdlib.h>

/* Node indexes of a path differ in their low bits in patterns; multiplying spreads them (Knuth's golden ratio). */
static size_t place(const index_map *m, uint32_t key) {
    size_t i = (key * 2654435769u >> 7) & (m->size - 1);
    while (m->values[i] != NULL && m->keys[i] != key)
        i = (i + 1) & (m->size - 1);
    return i;
}

void *index_map_get(const index_map *m, uint32_t key) { return m->size == 0 ? NULL : m->values[place(m, key)]; }

static err grow(index_map *m) {
    index_map larger = {.count = m->count, .size = m->size == 0 ? 16 : 2 * m->size};
    larger.keys = calloc(larger.size, sizeof *larger.keys);
    larger.values = calloc(larger.size, sizeof *larger.values);
    if (larger.keys == NULL || larger.values == NULL) {
        index_map_free(&larger);
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < m->size; i++) {
        if (m->values[i] == NULL)
            continue;
        size_t to = place(&larger, m->keys[i]);
        larger.keys[to] = m->keys[i];
        larger.values[to] = m->values[i];
    }
    index_map_free(m);
    *m = larger;
    return OK;
}

err index_map_reserve(index_map *m, size_t more) {
    while (4 * (m->count + more) > 3 * m->size)
        TRY(grow(m));
    return OK;
}

err index_map_put(index_map *m, uint32_t key, void *value) {
    TRY(index_map_reserve(m, 1));
    size_t i = place(m, key);
    m->count += m->values[i] == NULL;
    m->keys[i] = key;
    m->values[i] = value;
    return OK;
}

void *index_map_next(const index_map *m, size_t *cursor, uint32_t *key) {
    while (*cursor < m->size) {
        size_t i = (*cursor)++;
        if (m->values[i] == NULL)
            continue;
        *key = m->keys[i];
        return m->values[i];
    }
    return NULL;
}

void index_map_free(index_map *m) {
    free(m->keys);
    free(m->values);
    *m = (index_map){0};
}
