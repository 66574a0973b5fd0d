/* ratchet_tree.h: the public side of the ratchet tree (RFC 9420 §4, §7.7 to §7.9): its nodes, their hashes, adding,
 * updating and removing leaves.
 *
 * A group holds one base tree. A staged commit holds an overlay over it: only the slots that the commit changes. So
 * a commit costs what it changes, and dropping it frees the overlay. Leaf contents are immutable once made; a parent
 * is changed only in the tree that made it. */
#ifndef MLS_RATCHET_TREE_H
#define MLS_RATCHET_TREE_H

#include "crypto/suite.h"
#include "mls/index_map.h"
#include "mls/records.h"
#include "mls/tree_index.h"
#include "mls/tree_math.h"
#include "mls/types.h"

/* A LeafNode longer than this is refused: it would not fit the scratch that a single node is loaded with. */
#define TREE_LEAF_MAX 32768

typedef struct tree_node {
    uint8_t type; /* node_type; 0 marks a blank in the leaves kept of past epochs */
    union {
        leaf_node leaf;
        parent_node parent;
    };
    size_t unmerged_capacity;
} tree_node;

typedef struct tree_slot {
    tree_node *node; /* NULL: blank */
    bool owned;      /* false: the node belongs to the tree underneath */
    bool loaded;     /* false: the record was not read yet (a base tree's slot only) */
    bool hashed;
    uint8_t hash[HASH_MAX]; /* tree hash of the subtree (§7.8) */
} tree_slot;

typedef struct ratchet_tree {
    const suite *suite;
    uint32_t leaf_count;             /* a power of two */
    uint32_t first_blank;            /* no leaf before it is blank */
    tree_slot *slots;                /* base: tree_width(leaf_count) of them */
    const struct ratchet_tree *base; /* overlay */
    index_map changes;               /* overlay: node -> tree_slot * */
    const group_records *records;    /* base: where unloaded slots are; NULL when all are loaded */
    tree_index *index;               /* base: see ratchet_tree_index */
} ratchet_tree;

/* --- life --- */
MUST_USE err ratchet_tree_init(ratchet_tree *t, const suite *s, uint32_t leaf_count);
/* A base tree whose nodes are in records. */
MUST_USE err ratchet_tree_attach(ratchet_tree *t, const suite *s, uint32_t leaf_count, const group_records *records);
/* The base must be loaded and outlive the overlay. */
void ratchet_tree_overlay(ratchet_tree *t, const ratchet_tree *base);
void ratchet_tree_wipe(ratchet_tree *t);
/* Reads all nodes that are not in memory yet. */
MUST_USE err ratchet_tree_load(ratchet_tree *t, arena *a);
/* Reads one leaf by itself; NULL when blank or out of range. */
MUST_USE err ratchet_tree_load_leaf(ratchet_tree *t, uint32_t leaf, arena *a, const leaf_node **out);
/* §12.4.3.3: the ratchet_tree extension. Reading checks the form: kinds of nodes, no blank at the end. */
MUST_USE err ratchet_tree_read(ratchet_tree *t, const suite *s, span bytes, arena *a);
MUST_USE err ratchet_tree_write(const ratchet_tree *t, arena *a, span *bytes);
/* Moves an overlay's changes into its base and to the records. The leaves that were replaced go to `replaced` (leaf ->
 * tree_node *, a node of type 0 for a blank), which then owns them. The overlay is empty afterwards. */
MUST_USE err ratchet_tree_merge(ratchet_tree *base, ratchet_tree *overlay, const group_records *records,
                                uint64_t old_epoch, index_map *replaced, arena *a);
/* An overlay's changes as bytes, and back into an empty overlay over the same base. */
MUST_USE err ratchet_tree_save(const ratchet_tree *t, arena *a, span *bytes);
MUST_USE err ratchet_tree_restore(ratchet_tree *t, span bytes, arena *a);
/* Writes every node of a new base tree. */
MUST_USE err ratchet_tree_store(const ratchet_tree *t, const group_records *records, arena *a);

/* --- looking (all loaded) --- */
/* NULL: blank or out of range. */
const tree_node *ratchet_tree_node(const ratchet_tree *t, uint32_t node);
const leaf_node *ratchet_tree_leaf(const ratchet_tree *t, uint32_t leaf);
/* Walks the nodes that this tree made: an overlay's new ones, all of a base tree. Start with *cursor 0; NULL at the end. */
const tree_node *ratchet_tree_next_new(const ratchet_tree *t, size_t *cursor, uint32_t *node);
/* Walks the members whose leaves an overlay replaces or removes; as above. */
const leaf_node *ratchet_tree_next_replaced(const ratchet_tree *t, size_t *cursor);
/* Is the base's node still in the overlay's tree, as it was? */
bool ratchet_tree_keeps(const ratchet_tree *t, uint32_t node);
/* Of the base tree. Built when it is first asked for, and kept up by merging. */
MUST_USE err ratchet_tree_index(const ratchet_tree *t, const tree_index **out);
bool ratchet_tree_unmerged_has(const u32_list *unmerged, uint32_t leaf);
/* A parent's or leaf's HPKE public key; the node must not be blank. */
span ratchet_tree_key(const tree_node *node);
/* §4.1.1: the resolution of a node, in the arena, as node indexes. */
MUST_USE err ratchet_tree_resolution(const ratchet_tree *t, uint32_t node, arena *a, u32_list *out);
bool ratchet_tree_resolution_empty(const ratchet_tree *t, uint32_t node);
/* §4.1.2: the filtered direct path of a leaf: nodes bottom up, and for each the child on the copath. */
size_t ratchet_tree_filtered_path(const ratchet_tree *t, uint32_t leaf, uint32_t path[TREE_MAX_LEVEL],
                                  uint32_t copath[TREE_MAX_LEVEL]);

/* --- changing --- `encoded` is a LeafNode, already validated; it is copied. */
MUST_USE err ratchet_tree_add_leaf(ratchet_tree *t, span encoded, arena *a, uint32_t *leaf);   /* §12.1.1 */
MUST_USE err ratchet_tree_update_leaf(ratchet_tree *t, uint32_t leaf, span encoded, arena *a); /* §12.1.2 */
MUST_USE err ratchet_tree_remove_leaf(ratchet_tree *t, uint32_t leaf);                         /* §12.1.3 */
/* A leaf as it is, without blanking its path: the first leaf of a group, a commit's. */
MUST_USE err ratchet_tree_set_leaf(ratchet_tree *t, uint32_t leaf, span encoded, arena *a);
MUST_USE err ratchet_tree_set_parent(ratchet_tree *t, uint32_t node, span encryption_key, span parent_hash);
MUST_USE err ratchet_tree_blank_path(ratchet_tree *t, uint32_t leaf);

/* --- hashes (§7.8, §7.9) --- */
/* Of the subtree under a node; kept until something under it changes. */
MUST_USE err ratchet_tree_hash(ratchet_tree *t, uint32_t node, uint8_t *out);
static inline err ratchet_tree_root_hash(ratchet_tree *t, uint8_t *out) {
    return ratchet_tree_hash(t, tree_root(t->leaf_count), out);
}
/* The parent hash of a parent node's contents with regard to the sibling (copath child) of the child it is for. */
MUST_USE err ratchet_tree_parent_hash(ratchet_tree *t, const parent_node *parent, uint32_t sibling, uint8_t *out);
/* §7.9.2, for every non-blank parent. */
MUST_USE err ratchet_tree_verify_parent_hashes(ratchet_tree *t, arena *a);

/* --- nodes by themselves, for records --- */
void wire_tree_node(wire *w, tree_node *o);
MUST_USE err tree_node_new_leaf(span encoded, arena *a, tree_node **out);
void tree_node_free(tree_node *node);

#endif
