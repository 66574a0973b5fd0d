/* tree_index.h: finds the nodes of a base tree by their keys and counts the credential types of its members, so that a
 * commit's few new nodes are held against all others (RFC 9420 §7.3) without a walk through the tree.
 *
 * It answers with candidates: an entry of a node that has changed since stays until the index is made anew, so whoever
 * asks compares the keys. Public data only. */
#ifndef MLS_TREE_INDEX_H
#define MLS_TREE_INDEX_H

#include "base/err.h"
#include "base/span.h"

/* Credential types in use in one group: a handful at most. */
#define CREDENTIAL_TYPES_MAX 16

typedef enum tree_key { TREE_KEY_ENCRYPTION, TREE_KEY_SIGNATURE } tree_key;

typedef struct credential_count {
    uint16_t type;
    uint32_t members;
} credential_count;

typedef struct tree_index_entry {
    uint32_t hash;
    uint32_t node; /* 1 + 2 * node + tree_key; 0: free place */
} tree_index_entry;

typedef struct tree_index {
    bool built;
    tree_index_entry *entries;
    size_t count, size; /* size: a power of two, or 0 */
    credential_count types[CREDENTIAL_TYPES_MAX];
    size_t type_count;
} tree_index;

/* Forgets everything; it is not built then. */
void tree_index_clear(tree_index *x);
MUST_USE err tree_index_add_key(tree_index *x, tree_key kind, span key, uint32_t node);
/* One member more, or one fewer, with a credential of the type. ERR_LIMIT: too many types. */
MUST_USE err tree_index_add_type(tree_index *x, uint16_t type);
void tree_index_remove_type(tree_index *x, uint16_t type);
/* The nodes that had such a key when they were entered, and others whose keys look alike. Start with *cursor 0; false at the
 * end. */
bool tree_index_find(const tree_index *x, tree_key kind, span key, size_t *cursor, uint32_t *node);

#endif
