#include "mls/tree_index.h"

#include <stdlib.h>

void tree_index_clear(tree_index *x) {
    free(x->entries);
    *x = (tree_index){0};
}

/* Keys are random, so any four of their bytes spread well; one who makes many alike only slows his own group. */
static uint32_t hash_of(span key) {
    uint32_t h = 0;
    for (size_t i = 0; i < 4 && i < key.n; i++)
        h = h << 8 | key.p[i];
    return h;
}

static void enter(tree_index *x, tree_index_entry entry) {
    size_t i = entry.hash & (x->size - 1);
    while (x->entries[i].node != 0)
        i = (i + 1) & (x->size - 1);
    x->entries[i] = entry;
    x->count++;
}

static err grow(tree_index *x) {
    tree_index larger = *x;
    larger.size = x->size == 0 ? 64 : 2 * x->size;
    larger.count = 0;
    larger.entries = calloc(larger.size, sizeof *larger.entries);
    if (larger.entries == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < x->size; i++)
        if (x->entries[i].node != 0)
            enter(&larger, x->entries[i]);
    free(x->entries);
    *x = larger;
    return OK;
}

static uint32_t name(tree_key kind, uint32_t node) { return 1 + 2 * node + (uint32_t)kind; }

err tree_index_add_key(tree_index *x, tree_key kind, span key, uint32_t node) {
    if (2 * (x->count + 1) > x->size)
        TRY(grow(x));
    enter(x, (tree_index_entry){hash_of(key), name(kind, node)});
    return OK;
}

bool tree_index_find(const tree_index *x, tree_key kind, span key, size_t *cursor, uint32_t *node) {
    if (x->size == 0)
        return false;
    uint32_t hash = hash_of(key);
    for (;;) {
        const tree_index_entry *entry = &x->entries[(hash + *cursor) & (x->size - 1)];
        if (entry->node == 0)
            return false;
        ++*cursor;
        *node = (entry->node - 1) / 2;
        if (entry->hash == hash && entry->node == name(kind, *node))
            return true;
    }
}

err tree_index_add_type(tree_index *x, uint16_t type) {
    size_t i = 0;
    while (i < x->type_count && x->types[i].type != type)
        i++;
    if (i == CREDENTIAL_TYPES_MAX)
        return ERR_LIMIT;
    if (i == x->type_count)
        x->types[x->type_count++] = (credential_count){.type = type};
    x->types[i].members++;
    return OK;
}

void tree_index_remove_type(tree_index *x, uint16_t type) {
    for (size_t i = 0; i < x->type_count; i++) {
        if (x->types[i].type != type)
            continue;
        if (--x->types[i].members == 0)
            x->types[i] = x->types[--x->type_count];
        return;
    }
}
