/* tree-operations, tree-validation, treekem. */
#include "mls/key_package.h"
#include "mls/treekem.h"
#include "mls/validate.h"
#include "vectors.h"

/* --- tree-operations --- */

static outcome operate(vector_case *c, ratchet_tree *t) {
    proposal p = {0};
    uint32_t leaf;
    EXPECT_OK(WIRE_DECODE(field_hex(c, c->json, "proposal"), &c->arena, wire_proposal, &p));
    switch (p.type) {
    case PROPOSAL_ADD: EXPECT_OK(ratchet_tree_add_leaf(t, p.add.leaf.encoded, &c->arena, &leaf)); break;
    case PROPOSAL_UPDATE:
        EXPECT_OK(ratchet_tree_update_leaf(t, (uint32_t)field_number(c->json, "proposal_sender"), p.update.encoded,
                                           &c->arena));
        break;
    case PROPOSAL_REMOVE: EXPECT_OK(ratchet_tree_remove_leaf(t, p.remove)); break;
    default: return failed(c, "proposal %u", p.type);
    }
    uint8_t hash[HASH_MAX];
    span after;
    EXPECT_OK(ratchet_tree_root_hash(t, hash));
    EXPECT_SPAN(span_of(hash, t->suite->hash_size), field_hex(c, c->json, "tree_hash_after"));
    EXPECT_OK(ratchet_tree_write(t, &c->arena, &after));
    EXPECT_SPAN(after, field_hex(c, c->json, "tree_after"));
    return PASSED;
}

outcome check_tree_operations(vector_case *c) {
    ratchet_tree base, overlay;
    uint8_t hash[HASH_MAX];
    EXPECT_OK(ratchet_tree_read(&base, c->suite, field_hex(c, c->json, "tree_before"), &c->arena));
    EXPECT_OK(ratchet_tree_root_hash(&base, hash));
    EXPECT_SPAN(span_of(hash, c->suite->hash_size), field_hex(c, c->json, "tree_hash_before"));
    /* On an overlay as a commit does it, then in place. */
    ratchet_tree_overlay(&overlay, &base);
    outcome o = operate(c, &overlay);
    ratchet_tree_wipe(&overlay);
    if (o == PASSED)
        o = operate(c, &base);
    ratchet_tree_wipe(&base);
    return o;
}

/* --- tree-validation --- */

static outcome validate(vector_case *c, ratchet_tree *t) {
    const cJSON *hashes = cJSON_GetObjectItem(c->json, "tree_hashes"),
                *resolutions = cJSON_GetObjectItem(c->json, "resolutions");
    uint8_t hash[HASH_MAX];
    EXPECT(cJSON_GetArraySize(hashes) == (int)tree_width(t->leaf_count), "tree_hashes");
    for (uint32_t i = 0; i < tree_width(t->leaf_count); i++) {
        EXPECT_OK(ratchet_tree_hash(t, i, hash));
        EXPECT(span_equal(span_of(hash, t->suite->hash_size), value_hex(c, cJSON_GetArrayItem(hashes, (int)i))),
               "tree hash of node %u", i);
        const cJSON *expected = cJSON_GetArrayItem(resolutions, (int)i), *node;
        u32_list resolution;
        EXPECT_OK(ratchet_tree_resolution(t, i, &c->arena, &resolution));
        EXPECT(cJSON_GetArraySize(expected) == (int)resolution.n, "resolution of node %u", i);
        size_t k = 0;
        cJSON_ArrayForEach(node, expected)
            EXPECT(resolution.p[k++] == (uint32_t)node->valuedouble, "resolution of node %u", i);
    }
    group_context context = {
        .version = MLS_VERSION, .cipher_suite = c->suite->id, .group_id = field_hex(c, c->json, "group_id")};
    EXPECT_OK(validate_tree(t, &context, &c->arena));
    span again;
    EXPECT_OK(ratchet_tree_write(t, &c->arena, &again));
    EXPECT_SPAN(again, field_hex(c, c->json, "tree"));
    return PASSED;
}

outcome check_tree_validation(vector_case *c) {
    ratchet_tree t;
    EXPECT_OK(ratchet_tree_read(&t, c->suite, field_hex(c, c->json, "tree"), &c->arena));
    outcome o = validate(c, &t);
    ratchet_tree_wipe(&t);
    return o;
}

/* --- treekem --- */

/* The private key that a path secret gives its node. */
static err node_private(const suite *s, span path_secret, kem_key_pair *pair) {
    secret node_secret;
    TRY(suite_derive_secret(s, path_secret, "node", &node_secret));
    return suite_derive_key_pair(s, secret_span(&node_secret), pair);
}

static outcome read_private(vector_case *c, const ratchet_tree *t, const cJSON *leaf, private_path *out) {
    kem_key_pair pair;
    span priv = field_hex(c, leaf, "encryption_priv");
    *out = (private_path){0};
    EXPECT(priv.n == KEM_PRIVATE_SIZE, "encryption_priv");
    out->known[0] = true;
    memcpy(out->keys[0], priv.p, priv.n);
    const cJSON *p;
    cJSON_ArrayForEach(p, cJSON_GetObjectItem(leaf, "path_secrets")) {
        uint32_t node = (uint32_t)field_number(p, "node");
        EXPECT_OK(node_private(t->suite, field_hex(c, p, "path_secret"), &pair));
        const tree_node *content = ratchet_tree_node(t, node);
        EXPECT(content != NULL, "node %u is blank", node);
        EXPECT_SPAN(ratchet_tree_key(content), span_of(pair.public_key, t->suite->kem_public_size));
        out->known[tree_level(node)] = true;
        memcpy(out->keys[tree_level(node)], pair.private_key, KEM_PRIVATE_SIZE);
    }
    return PASSED;
}

static outcome encode_context(vector_case *c, ratchet_tree *t, span *out) {
    uint8_t *hash = arena_take(&c->arena, HASH_MAX, 1);
    EXPECT(hash != NULL, "memory");
    EXPECT_OK(ratchet_tree_root_hash(t, hash));
    group_context context = {
        .version = MLS_VERSION,
        .cipher_suite = c->suite->id,
        .group_id = field_hex(c, c->json, "group_id"),
        .epoch = field_number(c->json, "epoch"),
        .tree_hash = span_of(hash, c->suite->hash_size),
        .confirmed_transcript_hash = field_hex(c, c->json, "confirmed_transcript_hash"),
    };
    EXPECT_OK(WIRE_ENCODE(&c->arena, wire_group_context, &context, out));
    return PASSED;
}

/* Every leaf but the sender's decrypts a path; `secrets` are the expected path secrets, NULL where only the commit
 * secret is known. */
static outcome all_decrypt(vector_case *c, const ratchet_tree *before, const ratchet_tree *after, uint32_t from,
                           const update_path *path, span context, span commit_secret, const cJSON *secrets) {
    const cJSON *leaf;
    cJSON_ArrayForEach(leaf, cJSON_GetObjectItem(c->json, "leaves_private")) {
        uint32_t index = (uint32_t)field_number(leaf, "index");
        if (index == from)
            continue;
        private_path own;
        secret got;
        kem_key_pair pair;
        outcome o = read_private(c, before, leaf, &own);
        if (o != PASSED)
            return o;
        EXPECT_OK(treekem_decrypt(after, from, path, index, NULL, 0, context, &c->arena, &own, &got));
        EXPECT_SPAN(secret_span(&got), commit_secret);
        if (secrets == NULL)
            continue;
        EXPECT_OK(node_private(c->suite, value_hex(c, cJSON_GetArrayItem(secrets, (int)index)), &pair));
        unsigned level = tree_common_level(from, index);
        EXPECT(own.known[level] && memcmp(own.keys[level], pair.private_key, KEM_PRIVATE_SIZE) == 0,
               "path secret of leaf %u", index);
    }
    return PASSED;
}

static outcome process_path(vector_case *c, const ratchet_tree *base, ratchet_tree *t, const cJSON *test) {
    uint32_t from = (uint32_t)field_number(test, "sender");
    update_path path = {0};
    uint8_t hash[HASH_MAX];
    span context;
    EXPECT_OK(WIRE_DECODE(field_hex(c, test, "update_path"), &c->arena, wire_update_path, &path));
    leaf_place place = {field_hex(c, c->json, "group_id"), from};
    EXPECT_OK(validate_leaf(c->suite, &path.leaf, LEAF_COMMIT, &place, NULL, &c->arena));
    EXPECT_OK(treekem_apply(t, from, &path, &c->arena));
    EXPECT_OK(ratchet_tree_root_hash(t, hash));
    EXPECT_SPAN(span_of(hash, c->suite->hash_size), field_hex(c, test, "tree_hash_after"));
    EXPECT_OK(validate_tree_members(t, &c->arena));
    outcome o = encode_context(c, t, &context);
    return o != PASSED ? o
                       : all_decrypt(c, base, t, from, &path, context, field_hex(c, test, "commit_secret"),
                                     cJSON_GetObjectItem(test, "path_secrets"));
}

/* A path of our own from the same sender, which the others must be able to read. */
static outcome create_path(vector_case *c, const ratchet_tree *base, ratchet_tree *t, uint32_t from,
                           span signature_priv) {
    treekem_path made;
    kem_key_pair pair;
    signature_key signer;
    update_path path = {0};
    span encoded, context;
    EXPECT(signature_priv.n == SIGNATURE_SEED_SIZE, "signature_priv");
    signature_key_from_seed(signature_priv.p, &signer);
    leaf_node leaf = *ratchet_tree_leaf(base, from);
    EXPECT_OK(suite_generate_key_pair(c->suite, &pair));
    EXPECT_OK(treekem_generate(t, from, &made));
    leaf.source = LEAF_COMMIT;
    leaf.encryption_key = span_of(pair.public_key, c->suite->kem_public_size);
    leaf.parent_hash = span_of(made.leaf_parent_hash, made.leaf_parent_hash_size);
    leaf_place place = {field_hex(c, c->json, "group_id"), from};
    EXPECT_OK(leaf_node_sign(&signer, &leaf, &place, &c->arena, &encoded));
    EXPECT_OK(ratchet_tree_set_leaf(t, from, encoded, &c->arena));
    EXPECT_OK(ratchet_tree_verify_parent_hashes(t, &c->arena));
    outcome o = encode_context(c, t, &context);
    if (o != PASSED)
        return o;
    EXPECT_OK(treekem_encrypt(t, &made, NULL, 0, context, &c->arena, &path));
    return all_decrypt(c, base, t, from, &path, context, secret_span(&made.commit_secret), NULL);
}

static span signature_priv_of(vector_case *c, uint32_t index) {
    const cJSON *leaf;
    cJSON_ArrayForEach(leaf, cJSON_GetObjectItem(c->json, "leaves_private")) {
        if ((uint32_t)field_number(leaf, "index") == index)
            return field_hex(c, leaf, "signature_priv");
    }
    return SPAN_NONE;
}

outcome check_treekem(vector_case *c) {
    ratchet_tree base, overlay;
    EXPECT_OK(ratchet_tree_read(&base, c->suite, field_hex(c, c->json, "ratchet_tree"), &c->arena));
    outcome o = PASSED;
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(c->json, "update_paths")) {
        if (o != PASSED)
            break;
        ratchet_tree_overlay(&overlay, &base);
        o = process_path(c, &base, &overlay, test);
        ratchet_tree_wipe(&overlay);
        if (o != PASSED)
            break;
        uint32_t from = (uint32_t)field_number(test, "sender");
        ratchet_tree_overlay(&overlay, &base);
        o = create_path(c, &base, &overlay, from, signature_priv_of(c, from));
        ratchet_tree_wipe(&overlay);
    }
    ratchet_tree_wipe(&base);
    return o;
}
