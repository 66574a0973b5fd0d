#include "mls/treekem.h"

#include <assert.h>

#include "crypto/random.h"

/* §7.4: node_secret[n] = DeriveSecret(path_secret[n], "node"), and the key pair from it. */
static err node_key_pair(const suite *s, const secret *path_secret, kem_key_pair *pair) {
    secret node_secret;
    TRY(suite_derive_secret(s, secret_span(path_secret), "node", &node_secret));
    err e = suite_derive_key_pair(s, secret_span(&node_secret), pair);
    secret_wipe(&node_secret);
    return e;
}

/* path_secret[n+1] = DeriveSecret(path_secret[n], "path"). */
static err next_path_secret(const suite *s, const secret *path_secret, secret *next) {
    secret derived;
    TRY(suite_derive_secret(s, secret_span(path_secret), "path", &derived));
    *next = derived;
    secret_wipe(&derived);
    return OK;
}

/* `added` is in ascending order, for blank leaves are filled from the left. */
static bool is_added(const uint32_t *added, size_t count, uint32_t node) {
    if (!tree_is_leaf(node))
        return false;
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (added[middle] < tree_node_leaf(node))
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && added[low] == tree_node_leaf(node);
}

/* The resolution of a copath node less the leaves that this commit adds (§12.4.1, §12.4.2). */
static err recipients(const ratchet_tree *t, uint32_t copath, const uint32_t *added, size_t added_count, arena *a,
                      u32_list *out) {
    TRY(ratchet_tree_resolution(t, copath, a, out));
    size_t n = 0;
    for (size_t i = 0; i < out->n; i++)
        if (!is_added(added, added_count, out->p[i]))
            out->p[n++] = out->p[i];
    out->n = n;
    return OK;
}

/* Parent hashes are made from the top down (§7.9.1); `keys` are the public keys of the path's nodes, bottom up. The
 * one for the leaf goes to leaf_hash, which is empty (*leaf_size 0) when the path is. */
static err set_path(ratchet_tree *t, uint32_t leaf, const uint32_t *nodes, const uint32_t *copath, const span *keys,
                    size_t count, uint8_t *leaf_hash, size_t *leaf_size) {
    TRY(ratchet_tree_blank_path(t, leaf));
    uint8_t hash[HASH_MAX];
    span parent_hash = SPAN_NONE;
    for (size_t i = count; i-- > 0;) {
        TRY(ratchet_tree_set_parent(t, nodes[i], keys[i], parent_hash));
        TRY(ratchet_tree_parent_hash(t, &ratchet_tree_node(t, nodes[i])->parent, copath[i], hash));
        parent_hash = span_of(hash, t->suite->hash_size);
    }
    if (parent_hash.n > 0)
        memcpy(leaf_hash, hash, parent_hash.n);
    *leaf_size = parent_hash.n;
    return OK;
}

err treekem_generate(ratchet_tree *t, uint32_t leaf, treekem_path *path) {
    const suite *s = t->suite;
    *path = (treekem_path){0};
    path->count = ratchet_tree_filtered_path(t, leaf, path->nodes, path->copath);
    uint8_t public_keys[TREE_MAX_LEVEL][KEM_PUBLIC_MAX];
    span keys[TREE_MAX_LEVEL];
    secret current = {.n = s->hash_size};
    random_bytes(current.b, current.n);
    kem_key_pair pair;
    err e = OK;
    for (size_t i = 0; i < path->count; i++) {
        path->secrets[i] = current;
        TRY_OUT(node_key_pair(s, &current, &pair));
        TRY_OUT(next_path_secret(s, &current, &current));
        unsigned level = tree_level(path->nodes[i]);
        path->keys.known[level] = true;
        memcpy(path->keys.keys[level], pair.private_key, KEM_PRIVATE_SIZE);
        memcpy(public_keys[i], pair.public_key, s->kem_public_size);
        keys[i] = span_of(public_keys[i], s->kem_public_size);
    }
    /* Alone in the group nobody else derives it; then it is simply fresh. */
    path->commit_secret = current;
    TRY_OUT(set_path(t, leaf, path->nodes, path->copath, keys, path->count, path->leaf_parent_hash,
                     &path->leaf_parent_hash_size));
out:
    secret_wipe(&current);
    wipe(&pair, sizeof pair);
    if (e != OK)
        treekem_path_wipe(path);
    return e;
}

static err encrypt_to(const encrypt_context *c, span public_key, const secret *path_secret, arena *a,
                      hpke_ciphertext *out) {
    size_t n = (size_t)path_secret->n + AEAD_TAG_SIZE;
    uint8_t *kem_output = arena_take(a, c->s->kem_output_size, 1), *ciphertext = arena_take(a, n, 1);
    if (kem_output == NULL || ciphertext == NULL)
        return ERR_ARENA;
    out->kem_output = span_of(kem_output, c->s->kem_output_size);
    out->ciphertext = span_of(ciphertext, n);
    return suite_encrypt_in_context(c, public_key, secret_span(path_secret), kem_output, ciphertext);
}

err treekem_encrypt(const ratchet_tree *t, const treekem_path *path, const uint32_t *added, size_t added_count,
                    span context, arena *a, update_path *update) {
    update->nodes.n = path->count;
    update->nodes.p = ARENA_ARRAY(a, update_path_node, path->count);
    if (update->nodes.p == NULL)
        return ERR_ARENA;
    encrypt_context with;
    suite_encrypt_context(t->suite, "UpdatePathNode", context, &with);
    for (size_t i = 0; i < path->count; i++) {
        update_path_node *node = &update->nodes.p[i];
        u32_list to;
        TRY(recipients(t, path->copath[i], added, added_count, a, &to));
        node->encryption_key = ratchet_tree_key(ratchet_tree_node(t, path->nodes[i]));
        node->encrypted_path_secret.n = to.n;
        node->encrypted_path_secret.p = ARENA_ARRAY(a, hpke_ciphertext, to.n);
        if (node->encrypted_path_secret.p == NULL)
            return ERR_ARENA;
        for (size_t j = 0; j < to.n; j++)
            TRY(encrypt_to(&with, ratchet_tree_key(ratchet_tree_node(t, to.p[j])), &path->secrets[i], a,
                           &node->encrypted_path_secret.p[j]));
    }
    return OK;
}

const secret *treekem_secret_for(const treekem_path *path, uint32_t leaf) {
    for (size_t i = 0; i < path->count; i++)
        if (tree_covers(path->nodes[i], leaf))
            return &path->secrets[i];
    return NULL;
}

void treekem_path_wipe(treekem_path *path) { wipe(path, sizeof *path); }

err treekem_apply(ratchet_tree *t, uint32_t committer, const update_path *update, arena *a) {
    uint32_t nodes[TREE_MAX_LEVEL], copath[TREE_MAX_LEVEL];
    span keys[TREE_MAX_LEVEL];
    size_t count = ratchet_tree_filtered_path(t, committer, nodes, copath);
    /* §7.6: one UpdatePathNode for each node of the filtered direct path. */
    if (update->nodes.n != count)
        return ERR_INVALID;
    for (size_t i = 0; i < count; i++) {
        keys[i] = update->nodes.p[i].encryption_key;
        TRY(suite_check_public_key(t->suite, keys[i]));
    }
    uint8_t leaf_hash[HASH_MAX];
    size_t leaf_hash_size;
    TRY(set_path(t, committer, nodes, copath, keys, count, leaf_hash, &leaf_hash_size));
    /* §7.9.2: the leaf's parent hash must be that of the lowest node of the path. */
    if (!span_equal(update->leaf.parent_hash, span_of(leaf_hash, leaf_hash_size)))
        return ERR_PARENT_HASH;
    return ratchet_tree_set_leaf(t, committer, update->leaf.encoded, a);
}

/* From a path node upwards: derives each key pair, compares the public key with the tree's (§7.5: "SHOULD verify"; we
 * always do), keeps the private one. `current` is consumed and becomes the commit secret. */
static err climb(const ratchet_tree *t, const uint32_t *nodes, size_t from, size_t count, secret *current,
                 private_path *own) {
    kem_key_pair pair;
    err e = OK;
    for (size_t i = from; i < count; i++) {
        TRY_OUT(node_key_pair(t->suite, current, &pair));
        span known = ratchet_tree_key(ratchet_tree_node(t, nodes[i]));
        if (!span_equal(known, span_of(pair.public_key, t->suite->kem_public_size)))
            TRY_OUT(ERR_KEY);
        unsigned level = tree_level(nodes[i]);
        own->known[level] = true;
        memcpy(own->keys[level], pair.private_key, KEM_PRIVATE_SIZE);
        TRY_OUT(next_path_secret(t->suite, current, current));
    }
out:
    wipe(&pair, sizeof pair);
    return e;
}

err treekem_decrypt(const ratchet_tree *t, uint32_t committer, const update_path *update, uint32_t own_leaf,
                    const uint32_t *added, size_t added_count, span context, arena *a, private_path *own,
                    secret *commit_secret) {
    uint32_t nodes[TREE_MAX_LEVEL], copath[TREE_MAX_LEVEL];
    size_t count = ratchet_tree_filtered_path(t, committer, nodes, copath), at = 0;
    while (at < count && !tree_covers(copath[at], own_leaf))
        at++;
    if (at == count || update->nodes.n != count)
        return ERR_INVALID;
    u32_list to;
    TRY(recipients(t, copath[at], added, added_count, a, &to));
    const update_path_node *node = &update->nodes.p[at];
    /* §7.6: "The length of the encrypted_path_secret vector MUST be equal to the length of the resolution of the
     * copath node (excluding new leaf nodes)" */
    if (node->encrypted_path_secret.n != to.n)
        return ERR_INVALID;
    /* Of the resolution, the node above us whose private key we know. */
    size_t mine = 0;
    unsigned level = 0;
    for (; mine < to.n; mine++) {
        level = tree_level(to.p[mine]);
        if (tree_covers(to.p[mine], own_leaf) && own->known[level])
            break;
    }
    if (mine == to.n)
        return ERR_DECRYPT;
    const hpke_ciphertext *sealed = &node->encrypted_path_secret.p[mine];
    secret current = {.n = t->suite->hash_size};
    err e = OK;
    if (sealed->ciphertext.n != (size_t)current.n + AEAD_TAG_SIZE)
        return ERR_DECRYPT;
    TRY_OUT(suite_decrypt_with_label(t->suite, own->keys[level], "UpdatePathNode", context, sealed->kem_output,
                                     sealed->ciphertext, current.b));
    /* All above the common ancestor is new or blank. */
    for (unsigned l = tree_level(nodes[at]); l < TREE_MAX_PATH; l++)
        own->known[l] = false;
    TRY_OUT(climb(t, nodes, at, count, &current, own));
    *commit_secret = current;
out:
    secret_wipe(&current);
    return e;
}

err treekem_join(const ratchet_tree *t, uint32_t committer, uint32_t own_leaf, span path_secret, private_path *own) {
    /* The path that the committer updated: all non-blank nodes above the common ancestor are on it. */
    uint32_t nodes[TREE_MAX_LEVEL];
    size_t count = 0;
    if (path_secret.n != t->suite->hash_size || committer == own_leaf)
        return ERR_INVALID;
    for (unsigned level = tree_common_level(committer, own_leaf); level <= tree_depth(t->leaf_count); level++) {
        uint32_t node = tree_ancestor(tree_leaf_node(own_leaf), level);
        if (ratchet_tree_node(t, node) != NULL)
            nodes[count++] = node;
    }
    /* §12.4.3.1: the secret is for the lowest node above both; it can't be blank. */
    if (count == 0 || tree_level(nodes[0]) != tree_common_level(committer, own_leaf))
        return ERR_INVALID;
    secret current;
    secret_set(&current, path_secret);
    err e = climb(t, nodes, 0, count, &current, own);
    secret_wipe(&current);
    return e;
}

void treekem_forget_blank(const ratchet_tree *t, uint32_t own_leaf, private_path *own) {
    for (unsigned level = 1; level < TREE_MAX_PATH; level++) {
        bool there = level <= tree_depth(t->leaf_count) &&
                     ratchet_tree_node(t, tree_ancestor(tree_leaf_node(own_leaf), level)) != NULL;
        if (own->known[level] && !there) {
            own->known[level] = false;
            wipe(own->keys[level], KEM_PRIVATE_SIZE);
        }
    }
}
