/* treekem.h: the private side of the ratchet tree: path secrets, UpdatePaths made and read (RFC 9420 §7.4 to §7.6). */
#ifndef MLS_TREEKEM_H
#define MLS_TREEKEM_H

#include "mls/ratchet_tree.h"

/* The private keys a member knows: its leaf's (level 0) and those of its ancestors by level. An ancestor's index
 * depends on leaf and level alone, so the table stays right when the tree grows or shrinks. */
typedef struct private_path {
    bool known[TREE_MAX_PATH];
    uint8_t keys[TREE_MAX_PATH][KEM_PRIVATE_SIZE];
} private_path;

/* A commit's path while it is being made. Secret; wiped by treekem_path_wipe. */
typedef struct treekem_path {
    size_t count; /* nodes of the filtered direct path */
    uint32_t nodes[TREE_MAX_LEVEL], copath[TREE_MAX_LEVEL];
    secret secrets[TREE_MAX_LEVEL]; /* path_secret[0..count-1] */
    secret commit_secret;
    private_path keys; /* ours after the commit; level 0 is the caller's */
    uint8_t leaf_parent_hash[HASH_MAX];
    size_t leaf_parent_hash_size; /* 0 when the path is empty */
} treekem_path;

/* §7.4, §7.5: blanks the direct path of `leaf` in the tree, puts fresh keys on its filtered direct path and computes
 * parent hashes. The caller then makes the leaf with leaf_parent_hash and sets it. */
MUST_USE err treekem_generate(ratchet_tree *t, uint32_t leaf, treekem_path *path);
/* §7.6: encrypts the path secrets to the copath, but not to the leaves just added (they get theirs by the Welcome).
 * `context`: the provisional GroupContext, encoded. Fills update->nodes, in the arena. */
MUST_USE err treekem_encrypt(const ratchet_tree *t, const treekem_path *path, const uint32_t *added, size_t added_count,
                             span context, arena *a, update_path *update);
/* The path secret a new member at `leaf` learns in the Welcome: that of the lowest path node above him (§12.4.3.1). */
const secret *treekem_secret_for(const treekem_path *path, uint32_t leaf);
void treekem_path_wipe(treekem_path *path);

/* §7.5 for the receiver: puts the public keys of a path into the tree and checks the leaf's parent hash (§7.9.2). The
 * leaf is already validated. */
MUST_USE err treekem_apply(ratchet_tree *t, uint32_t committer, const update_path *update, arena *a);
/* Decrypts the path secret for us, derives the keys above, compares them with the public ones, and gives the commit
 * secret. `own` is changed to what we know after. `t` has the path applied; `added` as in treekem_encrypt. */
MUST_USE err treekem_decrypt(const ratchet_tree *t, uint32_t committer, const update_path *update, uint32_t own_leaf,
                             const uint32_t *added, size_t added_count, span context, arena *a, private_path *own,
                             secret *commit_secret);
/* A joiner's: from the path secret in the GroupSecrets, the keys from the common ancestor with the committer up. */
MUST_USE err treekem_join(const ratchet_tree *t, uint32_t committer, uint32_t own_leaf, span path_secret,
                          private_path *own);
/* Forgets keys of ancestors that are blank. */
void treekem_forget_blank(const ratchet_tree *t, uint32_t own_leaf, private_path *own);

#endif
