/* core/mls/ratchet_tree.h, treekem.h, validate.h: trees by themselves. Both suites. */
#include "mls/key_package.h"
#include "mls/treekem.h"
#include "mls/validate.h"
#include "support/check.h"
#include "crypto/random.h"

static const suite *suite_under_test;
static arena scratch;
static const group_context context = {.version = MLS_VERSION};

typedef struct client {
    signature_key signer;
    kem_key_pair pair;
    span leaf; /* encoded, source key_package */
} client;

static client new_client(void) {
    client c;
    uint8_t seed[SIGNATURE_SEED_SIZE];
    random_bytes(seed, sizeof seed);
    signature_key_from_seed(seed, &c.signer);
    assert_ok(suite_generate_key_pair(suite_under_test, &c.pair));
    leaf_params params = {.identity = span_text("x"), .signer = &c.signer, .not_after = UINT64_MAX};
    leaf_node leaf;
    assert_ok(leaf_node_from_params(suite_under_test, &params, &scratch, &leaf));
    leaf.source = LEAF_KEY_PACKAGE;
    leaf.encryption_key = span_of(c.pair.public_key, suite_under_test->kem_public_size);
    assert_ok(leaf_node_sign(&c.signer, &leaf, NULL, &scratch, &c.leaf));
    return c;
}

#define MAX 16
typedef struct wood {
    ratchet_tree tree;
    client clients[MAX];
    private_path keys[MAX];
    uint32_t n;
} wood;

static void plant(wood *w, uint32_t n) {
    *w = (wood){.n = n};
    assert_ok(ratchet_tree_init(&w->tree, suite_under_test, 1));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t leaf;
        w->clients[i] = new_client();
        assert_ok(ratchet_tree_add_leaf(&w->tree, w->clients[i].leaf, &scratch, &leaf));
        assert_int_equal(leaf, i);
        w->keys[i].known[0] = true;
        memcpy(w->keys[i].keys[0], w->clients[i].pair.private_key, KEM_PRIVATE_SIZE);
    }
}

/* Leaf `from` updates its path; `added` get no secret. All others follow. */
static void update(wood *w, uint32_t from, const uint32_t *added, size_t added_count, update_path *out) {
    treekem_path path;
    update_path made = {0};
    kem_key_pair pair;
    leaf_node leaf = *ratchet_tree_leaf(&w->tree, from);
    span encoded, salt = span_text("context");
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    assert_ok(treekem_generate(&w->tree, from, &path));
    leaf.source = LEAF_COMMIT;
    leaf.encryption_key = span_of(pair.public_key, suite_under_test->kem_public_size);
    leaf.parent_hash = span_of(path.leaf_parent_hash, path.leaf_parent_hash_size);
    leaf_place place = {SPAN_NONE, from};
    assert_ok(leaf_node_sign(&w->clients[from].signer, &leaf, &place, &scratch, &encoded));
    assert_ok(ratchet_tree_set_leaf(&w->tree, from, encoded, &scratch));
    assert_ok(treekem_encrypt(&w->tree, &path, added, added_count, salt, &scratch, &made));
    w->keys[from] = path.keys;
    w->keys[from].known[0] = true;
    memcpy(w->keys[from].keys[0], pair.private_key, KEM_PRIVATE_SIZE);
    for (uint32_t i = 0; i < w->n; i++) {
        secret commit_secret;
        bool is_added = false;
        for (size_t k = 0; k < added_count; k++)
            is_added |= added[k] == i;
        if (i == from || is_added || ratchet_tree_leaf(&w->tree, i) == NULL)
            continue;
        assert_ok(
            treekem_decrypt(&w->tree, from, &made, i, added, added_count, salt, &scratch, &w->keys[i], &commit_secret));
        assert_span(secret_span(&commit_secret), secret_span(&path.commit_secret));
    }
    for (size_t k = 0; k < added_count; k++)
        assert_ok(treekem_join(&w->tree, from, added[k], secret_span(treekem_secret_for(&path, added[k])),
                               &w->keys[added[k]]));
    if (out != NULL)
        *out = made;
    treekem_path_wipe(&path);
}

static void fell(wood *w) {
    ratchet_tree_wipe(&w->tree);
    arena_reset(&scratch);
}

static void path_secrets_are_not_encrypted_to_leaves_added_in_the_same_commit(void **state) {
    (void)state;
    wood w;
    plant(&w, 4);
    for (uint32_t i = 0; i < 4; i++)
        update(&w, i, NULL, 0, NULL);
    uint32_t added[2];
    for (size_t i = 0; i < 2; i++) {
        w.clients[4 + i] = new_client();
        w.keys[4 + i].known[0] = true;
        memcpy(w.keys[4 + i].keys[0], w.clients[4 + i].pair.private_key, KEM_PRIVATE_SIZE);
        assert_ok(ratchet_tree_add_leaf(&w.tree, w.clients[4 + i].leaf, &scratch, &added[i]));
    }
    w.n = 6;
    update_path path;
    update(&w, 0, added, 2, &path);
    assert_int_equal(path.nodes.n, 3); /* the root's copath is the new leaves alone, yet the node is there */
    assert_int_equal(path.nodes.p[0].encrypted_path_secret.n, 1);
    assert_int_equal(path.nodes.p[1].encrypted_path_secret.n, 1);
    assert_int_equal(path.nodes.p[2].encrypted_path_secret.n, 0);
    for (uint32_t i = 0; i < 6; i++) /* and they can all go on from there */
        update(&w, i, NULL, 0, NULL);
    fell(&w);
}

static void hashes_of_an_overlay_and_of_the_merged_tree_are_those_of_a_fresh_one(void **state) {
    (void)state;
    wood w;
    plant(&w, 9);
    update(&w, 3, NULL, 0, NULL);
    uint8_t before[HASH_MAX], staged[HASH_MAX], merged[HASH_MAX], fresh[HASH_MAX];
    size_t n = suite_under_test->hash_size;
    assert_ok(ratchet_tree_root_hash(&w.tree, before));
    ratchet_tree overlay, again, from_bytes;
    ratchet_tree_overlay(&overlay, &w.tree);
    uint32_t leaf;
    client c = new_client();
    assert_ok(ratchet_tree_remove_leaf(&overlay, 8)); /* the tree is halved */
    assert_int_equal(overlay.leaf_count, 8);
    assert_ok(ratchet_tree_remove_leaf(&overlay, 2));
    assert_ok(ratchet_tree_add_leaf(&overlay, c.leaf, &scratch, &leaf));
    assert_int_equal(leaf, 2);
    c = new_client();
    assert_ok(ratchet_tree_add_leaf(&overlay, c.leaf, &scratch, &leaf)); /* and doubled again */
    assert_int_equal(leaf, 8);
    assert_ok(ratchet_tree_root_hash(&overlay, staged));
    assert_ok(ratchet_tree_root_hash(&w.tree, fresh));
    assert_memory_equal(before, fresh, n); /* the base did not change */
    span bytes, saved;
    assert_ok(ratchet_tree_write(&overlay, &scratch, &bytes));
    assert_ok(ratchet_tree_read(&from_bytes, suite_under_test, bytes, &scratch));
    assert_ok(ratchet_tree_root_hash(&from_bytes, fresh));
    assert_memory_equal(staged, fresh, n);
    assert_ok(ratchet_tree_save(&overlay, &scratch, &saved));
    ratchet_tree_overlay(&again, &w.tree);
    assert_ok(ratchet_tree_restore(&again, saved, &scratch));
    assert_ok(ratchet_tree_root_hash(&again, fresh));
    assert_memory_equal(staged, fresh, n);
    index_map replaced = {0};
    ratchet_tree_wipe(&overlay);
    assert_ok(ratchet_tree_merge(&w.tree, &again, NULL, 0, &replaced, &scratch));
    assert_ok(ratchet_tree_root_hash(&w.tree, merged));
    assert_memory_equal(staged, merged, n);
    assert_int_equal(replaced.count, 2);
    tree_node *old;
    size_t cursor = 0;
    while ((old = index_map_next(&replaced, &cursor, &leaf)) != NULL)
        tree_node_free(old);
    index_map_free(&replaced);
    ratchet_tree_wipe(&from_bytes);
    fell(&w);
}

static err validate(wood *w) {
    group_context c = context;
    c.cipher_suite = suite_under_test->id;
    return validate_tree(&w->tree, &c, &scratch);
}

static void a_parent_that_was_swapped_is_found(void **state) {
    (void)state;
    wood w;
    plant(&w, 8);
    for (uint32_t i = 0; i < 8; i += 3)
        update(&w, i, NULL, 0, NULL);
    assert_ok(validate(&w));
    tree_node *parent = w.tree.slots[tree_root(8)].node;
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    span mine = span_of(pair.public_key, suite_under_test->kem_public_size), good = parent->parent.encryption_key;
    parent->parent.encryption_key = mine;
    assert_err(validate(&w), ERR_PARENT_HASH);
    parent->parent.encryption_key = good;
    assert_ok(validate(&w));
    tree_node *leaf = w.tree.slots[0].node;
    span hash = leaf->leaf.parent_hash;
    leaf->leaf.parent_hash = span_of(hash.p, hash.n - 1);
    assert_err(ratchet_tree_verify_parent_hashes(&w.tree, &scratch), ERR_PARENT_HASH);
    leaf->leaf.parent_hash = hash;
    fell(&w);
}

static void unmerged_leaves_are_sorted_there_and_in_every_node_between(void **state) {
    (void)state;
    wood w;
    plant(&w, 8);
    update(&w, 0, NULL, 0, NULL);
    update(&w, 7, NULL, 0, NULL);
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 1));
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 2));
    update(&w, 3, NULL, 0, NULL);
    update(&w, 0, NULL, 0, NULL);
    uint32_t leaf;
    for (int i = 0; i < 2; i++) {
        client c = new_client();
        assert_ok(ratchet_tree_add_leaf(&w.tree, c.leaf, &scratch, &leaf));
    }
    assert_ok(validate(&w));
    u32_list *root = &w.tree.slots[tree_root(8)].node->parent.unmerged_leaves;
    assert_int_equal(root->n, 2);
    assert_int_equal(root->p[0], 1);
    assert_int_equal(root->p[1], 2);
    root->p[0] = 2;
    root->p[1] = 1;
    assert_err(validate(&w), ERR_INVALID);
    root->p[0] = root->p[1] = 1;
    assert_err(validate(&w), ERR_INVALID);
    root->p[1] = 200;
    assert_err(validate(&w), ERR_INVALID);
    root->p[1] = 2;
    assert_ok(validate(&w));
    u32_list *between = &w.tree.slots[tree_ancestor(2, 2)].node->parent.unmerged_leaves;
    assert_int_equal(between->n, 2);
    between->n = 1;
    assert_err(validate(&w), ERR_INVALID);
    between->n = 2;
    fell(&w);
}

static void keys_used_twice_are_found(void **state) {
    (void)state;
    wood w;
    plant(&w, 3);
    uint32_t leaf;
    assert_ok(ratchet_tree_add_leaf(&w.tree, w.clients[1].leaf, &scratch, &leaf));
    assert_err(validate_tree_members(&w.tree, &scratch), ERR_DUPLICATE_KEY);
    assert_ok(ratchet_tree_remove_leaf(&w.tree, leaf));
    assert_ok(validate_tree_members(&w.tree, &scratch));
    ratchet_tree overlay;
    ratchet_tree_overlay(&overlay, &w.tree);
    assert_ok(ratchet_tree_add_leaf(&overlay, w.clients[1].leaf, &scratch, &leaf));
    assert_err(validate_tree_members(&overlay, &scratch), ERR_DUPLICATE_KEY);
    ratchet_tree_wipe(&overlay);
    fell(&w);
}

static void merge(ratchet_tree *base, ratchet_tree *overlay) {
    index_map replaced = {0};
    uint32_t leaf;
    tree_node *old;
    size_t cursor = 0;
    assert_ok(ratchet_tree_merge(base, overlay, NULL, 0, &replaced, &scratch));
    while ((old = index_map_next(&replaced, &cursor, &leaf)) != NULL)
        tree_node_free(old);
    index_map_free(&replaced);
}

/* Clients come, go and take each other's places. A key is refused while it is in the tree, and only then: the index follows
 * every merge, finds nothing that is gone, and outlives being made anew. */
static void the_index_of_keys_follows_every_merge(void **state) {
    (void)state;
    enum { CLIENTS = 12, STEPS = 400, NOWHERE = -1 };
    client clients[CLIENTS];
    int at[CLIENTS], members = 1;
    ratchet_tree t, overlay;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = new_client();
        at[i] = i == 0 ? 0 : NOWHERE;
    }
    assert_ok(ratchet_tree_init(&t, suite_under_test, 1));
    assert_ok(ratchet_tree_set_leaf(&t, 0, clients[0].leaf, &scratch));
    for (int step = 0; step < STEPS; step++) {
        uint8_t random[3];
        random_bytes(random, sizeof random);
        int who = random[0] % CLIENTS, other = random[1] % CLIENTS, before = at[who];
        uint32_t leaf;
        err expected = before == NOWHERE ? OK : ERR_DUPLICATE_KEY;
        size_t mark = arena_mark(&scratch);
        ratchet_tree_overlay(&overlay, &t);
        switch (random[2] % 4) {
        case 0: /* comes */
            assert_ok(ratchet_tree_add_leaf(&overlay, clients[who].leaf, &scratch, &leaf));
            at[who] = (int)leaf;
            break;
        case 1: /* goes */
            expected = OK;
            if (before == NOWHERE || members == 1)
                break;
            assert_ok(ratchet_tree_remove_leaf(&overlay, (uint32_t)before));
            at[who] = NOWHERE;
            break;
        case 2: /* takes the other's place; one's own is as good */
            if (at[other] == NOWHERE) {
                expected = OK;
                break;
            }
            assert_ok(ratchet_tree_set_leaf(&overlay, (uint32_t)at[other], clients[who].leaf, &scratch));
            if (other == who)
                expected = OK;
            else if (expected == OK) {
                at[who] = at[other];
                at[other] = NOWHERE;
            }
            break;
        default: /* his key in a parent, which goes again with the overlay */
            if (t.leaf_count == 1) {
                expected = OK;
                break;
            }
            assert_ok(ratchet_tree_set_parent(
                &overlay, 1, span_of(clients[who].pair.public_key, suite_under_test->kem_public_size), SPAN_NONE));
            assert_err(validate_tree_members(&overlay, &scratch), expected);
            ratchet_tree_wipe(&overlay);
            ratchet_tree_overlay(&overlay, &t);
            expected = OK;
        }
        assert_err(validate_tree_members(&overlay, &scratch), expected);
        if (expected == OK) {
            merge(&t, &overlay);
        } else {
            ratchet_tree_wipe(&overlay);
            at[who] = before;
        }
        members = 0;
        for (int i = 0; i < CLIENTS; i++)
            members += at[i] != NOWHERE;
        const tree_index *index;
        assert_ok(ratchet_tree_index(&t, &index));
        assert_int_equal(index->type_count, 1);
        assert_int_equal(index->types[0].members, members);
        arena_release(&scratch, mark);
    }
    ratchet_tree_wipe(&t);
}

static void trees_of_wrong_form_are_refused(void **state) {
    (void)state;
    wood w;
    plant(&w, 3);
    span bytes;
    ratchet_tree t;
    assert_ok(ratchet_tree_write(&w.tree, &scratch, &bytes));
    assert_err(ratchet_tree_read(&t, suite_under_test, hex("00"), &scratch), ERR_INVALID);   /* no node */
    assert_err(ratchet_tree_read(&t, suite_under_test, hex("0100"), &scratch), ERR_INVALID); /* a blank at the end */
    assert_err(ratchet_tree_read(&t, suite_under_test, hex("050102000000"), &scratch),
               ERR_INVALID); /* a parent first */
    for (size_t i = 0; i < bytes.n; i += 1 + bytes.n / 64)
        assert_true(ratchet_tree_read(&t, suite_under_test, span_of(bytes.p, i), &scratch) != OK);
    fell(&w);
}

/* --- what went wrong elsewhere (tests/README.md) --- */

/* mls-rs #315: a check that ended with the first parent that was in order. Each is swapped in turn. */
static void every_parent_hash_is_checked_and_not_only_the_first(void **state) {
    (void)state;
    wood w;
    plant(&w, 8);
    for (uint32_t i = 0; i < 8; i += 2)
        update(&w, i, NULL, 0, NULL);
    assert_ok(validate(&w));
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(suite_under_test, &pair));
    for (uint32_t node = 1; node < tree_width(8); node += 2) {
        parent_node *parent = &w.tree.slots[node].node->parent;
        span good = parent->encryption_key;
        parent->encryption_key = span_of(pair.public_key, suite_under_test->kem_public_size);
        assert_err(validate(&w), ERR_PARENT_HASH);
        parent->encryption_key = good;
    }
    assert_ok(validate(&w));
    fell(&w);
}

/* mls-rs #360: a parent hash that was emptied passed as one that need not be there. */
static void an_empty_parent_hash_is_none(void **state) {
    (void)state;
    wood w;
    plant(&w, 8);
    for (uint32_t i = 0; i < 8; i += 2)
        update(&w, i, NULL, 0, NULL);
    for (uint32_t node = 0; node < tree_width(8); node++) {
        tree_node *n = w.tree.slots[node].node;
        span *hash = n->type == NODE_PARENT ? &n->parent.parent_hash : &n->leaf.parent_hash, good = *hash;
        if (good.n == 0) /* the root's, and those of leaves that never committed */
            continue;
        *hash = SPAN_NONE;
        assert_err(ratchet_tree_verify_parent_hashes(&w.tree, &scratch), ERR_PARENT_HASH);
        *hash = good;
    }
    assert_ok(validate(&w));
    fell(&w);
}

/* As a joiner gets it. */
static void validate_as_sent(wood *w) {
    span bytes;
    ratchet_tree sent;
    group_context c = context;
    c.cipher_suite = suite_under_test->id;
    assert_ok(ratchet_tree_write(&w->tree, &scratch, &bytes));
    assert_ok(ratchet_tree_read(&sent, suite_under_test, bytes, &scratch));
    assert_ok(validate_tree(&sent, &c, &scratch));
    ratchet_tree_wipe(&sent);
}

/* mlspp #430: with nobody under the root's left child, the root is on nobody's filtered path. */
static void parent_hashes_hold_when_half_the_tree_is_empty(void **state) {
    (void)state;
    wood w;
    plant(&w, 4);
    update(&w, 0, NULL, 0, NULL);
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 0));
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 1));
    update(&w, 2, NULL, 0, NULL);
    assert_null(w.tree.slots[tree_root(4)].node);
    validate_as_sent(&w);
    update(&w, 3, NULL, 0, NULL);
    validate_as_sent(&w);
    fell(&w);
}

/* mls-rs #342, #352: the original hash of a subtree was not computed anew where a blank node stood over one whose unmerged
 * leaves had changed since. Here the sibling of the path from leaf 0 to the root has one: 5 is unmerged under a blank. */
static void a_blank_does_not_hide_the_unmerged_leaves_below_it(void **state) {
    (void)state;
    wood w;
    plant(&w, 8);
    update(&w, 0, NULL, 0, NULL);
    update(&w, 4, NULL, 0, NULL);
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 7)); /* blanks [4..7] and the root */
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 5));
    update(&w, 4, NULL, 0, NULL);
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 6)); /* and again, but not [4, 5] */
    update(&w, 0, NULL, 0, NULL);                    /* its path's parent hash covers the blank [4..7] */
    validate_as_sent(&w);
    uint32_t leaf;
    w.clients[5] = new_client();
    assert_ok(ratchet_tree_add_leaf(&w.tree, w.clients[5].leaf, &scratch, &leaf));
    assert_int_equal(leaf, 5);
    assert_null(w.tree.slots[tree_ancestor(tree_leaf_node(5), 2)].node);
    validate_as_sent(&w);
    fell(&w);
}

/* 0 to n - 1, the same in every run. */
static uint32_t chance(uint32_t *state, uint32_t n) {
    *state = *state * 1103515245u + 12345u;
    return (*state >> 16) % n;
}

/* The same by chance, over and over: adds and removes in any order, with and without a path (mls-rs #362), and each member
 * opens the ciphertext that is his: the resolution is counted without the leaves that the commit adds (mls-rs #39). */
static void any_adds_and_removes_leave_a_tree_that_all_can_use(void **state) {
    (void)state;
    uint32_t dice = 1;
    wood w;
    plant(&w, 5);
    for (int step = 0; step < 60; step++) {
        uint32_t added[2], leaf, members = 0, from = MAX;
        size_t count = 0;
        for (uint32_t n = chance(&dice, 3); n > 0; n--) {
            leaf = chance(&dice, w.n);
            if (ratchet_tree_leaf(&w.tree, leaf) != NULL)
                assert_ok(ratchet_tree_remove_leaf(&w.tree, leaf));
        }
        bool with_path = chance(&dice, 3) > 0; /* as a commit of adds alone may be */
        for (uint32_t i = 0; i < w.tree.leaf_count; i++)
            if (ratchet_tree_leaf(&w.tree, i) != NULL && ++members && (from == MAX || chance(&dice, 4) == 0))
                from = i;
        for (uint32_t n = chance(&dice, 3); n > 0 && members + count < MAX / 2; n--) {
            client c = new_client();
            assert_ok(ratchet_tree_add_leaf(&w.tree, c.leaf, &scratch, &leaf));
            assert_true(leaf < MAX);
            w.clients[leaf] = c;
            w.keys[leaf] = (private_path){.known[0] = true};
            memcpy(w.keys[leaf].keys[0], c.pair.private_key, KEM_PRIVATE_SIZE);
            w.n = leaf >= w.n ? leaf + 1 : w.n;
            added[count++] = leaf;
        }
        for (uint32_t i = 0; i < MAX; i++)
            if (i < w.tree.leaf_count)
                treekem_forget_blank(&w.tree, i, &w.keys[i]);
        if (from == MAX && count == 0)
            break;
        if (from != MAX && with_path)
            update(&w, from, added, count, NULL); /* every other member decrypts, or the test fails there */
        validate_as_sent(&w);
    }
    fell(&w);
}

/* openmls #2182: unmerged leaves that do not exist, or are blank, or stand elsewhere. Nothing may loop over them. */
static void unmerged_leaves_that_lead_nowhere_are_refused(void **state) {
    (void)state;
    wood w;
    plant(&w, 8);
    for (uint32_t i = 0; i < 8; i += 2)
        update(&w, i, NULL, 0, NULL);
    assert_ok(ratchet_tree_remove_leaf(&w.tree, 3));
    update(&w, 0, NULL, 0, NULL);
    assert_ok(validate(&w));
    static const uint32_t wrong[] = {3, 8, 4, 0x7fffffff, 0xffffffff}; /* blank, none, not below, far */
    for (uint32_t level = 1; level < 3; level++) {
        parent_node *parent = &w.tree.slots[tree_ancestor(0, level)].node->parent;
        u32_list good = parent->unmerged_leaves, resolution;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            uint32_t list[] = {wrong[i]};
            parent->unmerged_leaves = (u32_list){list, 1};
            assert_err(validate(&w), ERR_INVALID);
            assert_ok(ratchet_tree_resolution(&w.tree, tree_ancestor(0, level), &scratch, &resolution));
            assert_true(resolution.n <= 2);
        }
        parent->unmerged_leaves = good;
    }
    assert_ok(validate(&w));
    fell(&w);
}

/* mlspp #472: the number of leaves follows from what came, and what came is bounded before anything runs over it. */
static void a_leaf_count_from_outside_is_bounded(void **state) {
    (void)state;
    wood w;
    plant(&w, 1);
    size_t blanks = 2 * (size_t)TREE_MAX_LEAVES, leaf = w.clients[0].leaf.n;
    uint8_t *bytes = calloc(blanks + leaf + 8, 1);
    assert_non_null(bytes);
    uint32_t length = (uint32_t)(blanks + 2 + leaf);
    wire out;
    wire_write_init(&out, bytes, 4);
    wire_varint(&out, &length);
    uint8_t *last = bytes + 4 + blanks; /* optional<Node>: blanks are one zero each; at the end a leaf */
    last[0] = 1;
    last[1] = NODE_LEAF;
    memcpy(last + 2, w.clients[0].leaf.p, leaf);
    ratchet_tree t;
    arena large; /* so that it is not for lack of memory */
    assert_ok(arena_init(&large, 128u << 20));
    assert_err(ratchet_tree_read(&t, suite_under_test, span_of(bytes, 4 + length), &large), ERR_LIMIT);
    arena_free(&large);
    free(bytes);
    fell(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_secrets_are_not_encrypted_to_leaves_added_in_the_same_commit),
        cmocka_unit_test(hashes_of_an_overlay_and_of_the_merged_tree_are_those_of_a_fresh_one),
        cmocka_unit_test(a_parent_that_was_swapped_is_found),
        cmocka_unit_test(unmerged_leaves_are_sorted_there_and_in_every_node_between),
        cmocka_unit_test(keys_used_twice_are_found),
        cmocka_unit_test(the_index_of_keys_follows_every_merge),
        cmocka_unit_test(trees_of_wrong_form_are_refused),
        cmocka_unit_test(every_parent_hash_is_checked_and_not_only_the_first),
        cmocka_unit_test(an_empty_parent_hash_is_none),
        cmocka_unit_test(parent_hashes_hold_when_half_the_tree_is_empty),
        cmocka_unit_test(a_blank_does_not_hide_the_unmerged_leaves_below_it),
        cmocka_unit_test(any_adds_and_removes_leave_a_tree_that_all_can_use),
        cmocka_unit_test(unmerged_leaves_that_lead_nowhere_are_refused),
        cmocka_unit_test(a_leaf_count_from_outside_is_bounded),
    };
    if (arena_init(&scratch, 16u << 20) != OK)
        return 1;
    suite_under_test = suite_find(SUITE_XWING);
    int failures = cmocka_run_group_tests_name("mls_tree xwing", tests, NULL, NULL);
    suite_under_test = suite_find(SUITE_X25519);
    failures += cmocka_run_group_tests_name("mls_tree x25519", tests, NULL, NULL);
    arena_free(&scratch);
    return failures;
}
