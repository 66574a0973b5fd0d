/* tree_math.h: node numbers of a full binary tree laid out in an array (RFC 9420 §4.1.3, appendix C). Leaf i is node
 * 2i; a node's level is the number of its trailing one bits; trees always have a power of two of leaves. */
#ifndef MLS_TREE_MATH_H
#define MLS_TREE_MATH_H

#include <stdbool.h>
#include <stdint.h>

/* 65,536 members. The RFC allows 2^32; every table below is bounded by this instead, and a tree that claims more is
 * refused before anything is sized by it. */
#define TREE_MAX_LEVEL 16
#define TREE_MAX_LEAVES (1u << TREE_MAX_LEVEL)
/* Nodes on the way from a leaf (level 0) to the root of the largest tree, both included. */
#define TREE_MAX_PATH (TREE_MAX_LEVEL + 1)

static inline uint32_t tree_leaf_node(uint32_t leaf) { return 2 * leaf; }
static inline bool tree_is_leaf(uint32_t node) { return (node & 1) == 0; }
static inline uint32_t tree_node_leaf(uint32_t node) { return node / 2; }
static inline unsigned tree_level(uint32_t node) { return node == UINT32_MAX ? 32 : (unsigned)__builtin_ctz(~node); }
static inline uint32_t tree_width(uint32_t leaf_count) { return leaf_count == 0 ? 0 : 2 * leaf_count - 1; }
static inline uint32_t tree_root(uint32_t leaf_count) { return leaf_count - 1; }
/* Level of the root: the length of a direct path. */
static inline unsigned tree_depth(uint32_t leaf_count) { return tree_level(tree_root(leaf_count)); }

/* The children of a parent node (level at least 1). */
static inline uint32_t tree_left(uint32_t node) { return node ^ (1u << (tree_level(node) - 1)); }
static inline uint32_t tree_right(uint32_t node) { return node ^ (3u << (tree_level(node) - 1)); }
/* The node at that level above (or at) a node: its ancestor whatever the tree's size. */
static inline uint32_t tree_ancestor(uint32_t node, unsigned level) {
    return (uint32_t)(((uint64_t)node >> (level + 1) << (level + 1)) | ((1u << level) - 1));
}
static inline uint32_t tree_parent(uint32_t node) { return tree_ancestor(node, tree_level(node) + 1); }
static inline uint32_t tree_sibling(uint32_t node) {
    uint32_t parent = tree_parent(node);
    return node < parent ? tree_right(parent) : tree_left(parent);
}
/* Is the leaf in the subtree under the node? */
static inline bool tree_covers(uint32_t node, uint32_t leaf) {
    return tree_ancestor(tree_leaf_node(leaf), tree_level(node)) == node;
}
/* The first leaf under a node, and the one after the last. */
static inline uint32_t tree_first_leaf(uint32_t node) { return (node - ((1u << tree_level(node)) - 1)) / 2; }
static inline uint32_t tree_end_leaf(uint32_t node) { return tree_first_leaf(node) + (1u << tree_level(node)); }
/* Level of the lowest common ancestor of two leaves. */
static inline unsigned tree_common_level(uint32_t a, uint32_t b) {
    return a == b ? 0 : 32 - (unsigned)__builtin_clz(a ^ b);
}

#endif
