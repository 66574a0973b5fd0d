#include "mls/validate.h"

/* --- one leaf --- */

typedef struct leaf_tbs {
    span body;
    bool placed;
    leaf_place place;
} leaf_tbs;

static void wire_leaf_tbs(wire *w, leaf_tbs *o) {
    wire_rest(w, &o->body);
    if (o->placed) {
        wire_opaque(w, &o->place.group_id);
        wire_u32(w, &o->place.leaf);
    }
}

/* §7.2: LeafNodeTBS has group_id and leaf_index unless the source is key_package. */
static err verify_leaf_signature(const leaf_node *leaf, const leaf_place *place, arena *a) {
    size_t mark = arena_mark(a);
    leaf_tbs input = {.body = leaf->body, .placed = leaf->source != LEAF_KEY_PACKAGE};
    if (input.placed) {
        if (place == NULL)
            return ERR_INVALID;
        input.place = *place;
    }
    span tbs;
    TRY(WIRE_ENCODE(a, wire_leaf_tbs, &input, &tbs));
    err e = signature_verify_with_label(leaf->signature_key, "LeafNodeTBS", tbs, leaf->signature, a);
    arena_release(a, mark);
    return e;
}

err validate_supports_context(const leaf_node *leaf, const group_context *context, arena *a) {
    size_t mark = arena_mark(a);
    const capabilities *can = &leaf->capabilities;
    for (size_t i = 0; i < context->extensions.n; i++) {
        const extension *x = &context->extensions.p[i];
        /* §12.1.7, §13: members support every extension of the GroupContext. */
        if (!extension_is_default(x->type) && !u16_list_has(&can->extensions, x->type))
            return ERR_UNSUPPORTED;
        if (x->type != EXTENSION_REQUIRED_CAPABILITIES)
            continue;
        /* §7.3, §11.1: what is required and not default MUST be listed. */
        required_capabilities required = {0};
        TRY(WIRE_DECODE(x->data, a, wire_required_capabilities, &required));
        for (size_t j = 0; j < required.extensions.n; j++)
            if (!extension_is_default(required.extensions.p[j]) &&
                !u16_list_has(&can->extensions, required.extensions.p[j]))
                return ERR_UNSUPPORTED;
        for (size_t j = 0; j < required.proposals.n; j++)
            if (!proposal_is_default(required.proposals.p[j]) &&
                !u16_list_has(&can->proposals, required.proposals.p[j]))
                return ERR_UNSUPPORTED;
        for (size_t j = 0; j < required.credentials.n; j++)
            if (!u16_list_has(&can->credentials, required.credentials.p[j]))
                return ERR_UNSUPPORTED;
    }
    arena_release(a, mark);
    return OK;
}

/* §13.4: "an extension type appears at most once in a list" */
static err check_list(const extension_list *list) {
    if (list->n > GROUP_EXTENSIONS_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < list->n; i++)
        if (extension_find(&(extension_list){list->p, i}, list->p[i].type) != NULL)
            return ERR_INVALID;
    return OK;
}

err validate_extensions(const extension_list *list, arena *a) {
    TRY(check_list(list));
    size_t mark = arena_mark(a);
    const extension *x = extension_find(list, EXTENSION_REQUIRED_CAPABILITIES);
    if (x != NULL) {
        required_capabilities required = {0};
        TRY(WIRE_DECODE(x->data, a, wire_required_capabilities, &required));
        if (required.extensions.n > GROUP_EXTENSIONS_MAX || required.proposals.n > GROUP_EXTENSIONS_MAX ||
            required.credentials.n > GROUP_EXTENSIONS_MAX)
            return ERR_LIMIT;
    }
    x = extension_find(list, EXTENSION_EXTERNAL_SENDERS);
    if (x != NULL) {
        external_sender_list senders = {0};
        TRY(WIRE_DECODE(x->data, a, wire_external_sender_list, &senders));
        for (size_t i = 0; i < senders.n; i++)
            if (senders.p[i].signature_key.n != SIGNATURE_PUBLIC_SIZE)
                return ERR_KEY;
    }
    arena_release(a, mark);
    return OK;
}

static err check_extensions(const extension_list *list, const capabilities *can) {
    TRY(check_list(list));
    for (size_t i = 0; i < list->n; i++) {
        uint16_t type = list->p[i].type;
        /* §7.3: "the ID for each extension in the extensions field is listed in capabilities.extensions" (§7.2: but
         * not the default ones) */
        if (!extension_is_default(type) && !u16_list_has(&can->extensions, type))
            return ERR_UNSUPPORTED;
    }
    return OK;
}

err validate_leaf(const suite *s, const leaf_node *leaf, uint8_t source, const leaf_place *place,
                  const group_context *context, arena *a) {
    if (leaf->encoded.n > TREE_LEAF_MAX)
        return ERR_TOO_LARGE;
    /* §7.3: "Verify that the leaf_node_source field is set to" what the place demands */
    if (source != 0 && leaf->source != source)
        return ERR_INVALID;
    TRY(suite_check_public_key(s, leaf->encryption_key));
    if (leaf->signature_key.n != SIGNATURE_PUBLIC_SIZE)
        return ERR_KEY;
    /* §7.2: a leaf lists its own credential type; §7.3: it is compatible with the group's version and suite. */
    const capabilities *can = &leaf->capabilities;
    if (!u16_list_has(&can->credentials, leaf->credential.type) || !u16_list_has(&can->versions, MLS_VERSION) ||
        !u16_list_has(&can->cipher_suites, s->id))
        return ERR_UNSUPPORTED;
    TRY(check_extensions(&leaf->extensions, can));
    if (context != NULL)
        TRY(validate_supports_context(leaf, context, a));
    return verify_leaf_signature(leaf, place, a);
}

err validate_lifetime(const leaf_node *leaf, uint64_t now_seconds) {
    if (leaf->source != LEAF_KEY_PACKAGE)
        return OK;
    const lifetime *l = &leaf->lifetime;
    if (l->not_before > l->not_after || l->not_after - l->not_before > LIFETIME_MAX_SECONDS)
        return ERR_INVALID;
    bool begun = l->not_before <= LIFETIME_SKEW_SECONDS || l->not_before - LIFETIME_SKEW_SECONDS <= now_seconds;
    bool ended = now_seconds >= LIFETIME_SKEW_SECONDS && now_seconds - LIFETIME_SKEW_SECONDS > l->not_after;
    return begun && !ended ? OK : ERR_EXPIRED;
}

err validate_key_package(const suite *s, const key_package *kp, const group_context *context, arena *a) {
    /* §10.1: "Verify that the cipher suite and protocol version of the KeyPackage match those in the GroupContext" */
    if (kp->version != MLS_VERSION || kp->cipher_suite != s->id)
        return ERR_UNSUPPORTED;
    TRY(validate_leaf(s, &kp->leaf, LEAF_KEY_PACKAGE, NULL, context, a));
    TRY(check_extensions(&kp->extensions, &kp->leaf.capabilities));
    TRY(suite_check_public_key(s, kp->init_key));
    /* "Verify that the value of leaf_node.encryption_key is different from the value of the init_key field" */
    if (span_equal(kp->init_key, kp->leaf.encryption_key))
        return ERR_DUPLICATE_KEY;
    return signature_verify_with_label(kp->leaf.signature_key, "KeyPackageTBS", kp->body, kp->signature, a);
}

/* --- all members: unique keys, credential types --- */

typedef struct key_set {
    span *keys;  /* n = 0: free place */
    size_t size; /* a power of two */
} key_set;

static err key_set_init(key_set *set, size_t count, arena *a) {
    set->size = 16;
    while (set->size < 2 * count)
        set->size *= 2;
    set->keys = ARENA_ARRAY(a, span, set->size);
    return set->keys != NULL ? OK : ERR_ARENA;
}

static size_t key_place(const key_set *set, span key) {
    /* Keys are random, so any four of their bytes spread well; one who makes many alike only slows his own group. */
    uint32_t h = 0;
    for (size_t i = 0; i < 4 && i < key.n; i++)
        h = h << 8 | key.p[i];
    size_t at = h & (set->size - 1);
    while (set->keys[at].n != 0 && !span_equal(set->keys[at], key))
        at = (at + 1) & (set->size - 1);
    return at;
}

static bool key_set_has(const key_set *set, span key) { return set->keys[key_place(set, key)].n != 0; }

static err key_set_add(key_set *set, span key) {
    size_t at = key_place(set, key);
    if (key.n == 0 || set->keys[at].n != 0)
        return ERR_DUPLICATE_KEY;
    set->keys[at] = key;
    return OK;
}

/* Has a node that the overlay leaves as it is this key? */
static bool base_has(const ratchet_tree *t, const tree_index *index, tree_key kind, span key) {
    size_t cursor = 0;
    uint32_t node;
    while (tree_index_find(index, kind, key, &cursor, &node)) {
        const tree_node *old = ratchet_tree_node(t->base, node);
        if (old == NULL || !ratchet_tree_keeps(t, node))
            continue;
        if (span_equal(kind == TREE_KEY_SIGNATURE ? old->leaf.signature_key : ratchet_tree_key(old), key))
            return true;
    }
    return false;
}

static err check_keys_unique(const ratchet_tree *t, const tree_index *index, arena *a) {
    size_t cursor = 0, fresh = 0;
    uint32_t number;
    const tree_node *node;
    while (ratchet_tree_next_new(t, &cursor, &number) != NULL)
        fresh++;
    key_set sets[2];
    TRY(key_set_init(&sets[TREE_KEY_ENCRYPTION], fresh, a));
    TRY(key_set_init(&sets[TREE_KEY_SIGNATURE], fresh, a));
    for (cursor = 0; (node = ratchet_tree_next_new(t, &cursor, &number)) != NULL;) {
        span keys[2] = {ratchet_tree_key(node), node->type == NODE_LEAF ? node->leaf.signature_key : SPAN_NONE};
        for (int kind = 0; kind < (node->type == NODE_LEAF ? 2 : 1); kind++) {
            TRY(key_set_add(&sets[kind], keys[kind]));
            if (t->base != NULL && base_has(t, index, (tree_key)kind, keys[kind]))
                return ERR_DUPLICATE_KEY;
        }
    }
    return OK;
}

static bool supports_all(const leaf_node *leaf, const tree_index *in_use) {
    for (size_t i = 0; i < in_use->type_count; i++)
        if (!u16_list_has(&leaf->capabilities.credentials, in_use->types[i].type))
            return false;
    return true;
}

/* §7.3: "the credential type is supported by all members of the group ... and the capabilities field of this LeafNode
 * indicates support for all the credential types currently in use by other members" */
static err check_credential_types(const ratchet_tree *t, const tree_index *index) {
    tree_index in_use = {0}; /* of which the types are used */
    size_t cursor = 0;
    uint32_t number;
    const leaf_node *leaf;
    const tree_node *node;
    if (t->base != NULL) {
        memcpy(in_use.types, index->types, sizeof in_use.types);
        in_use.type_count = index->type_count;
        while ((leaf = ratchet_tree_next_replaced(t, &cursor)) != NULL)
            tree_index_remove_type(&in_use, leaf->credential.type);
    }
    size_t known = in_use.type_count;
    for (cursor = 0; (node = ratchet_tree_next_new(t, &cursor, &number)) != NULL;)
        if (node->type == NODE_LEAF)
            TRY(tree_index_add_type(&in_use, node->leaf.credential.type));
    if (in_use.type_count > known) { /* one that some may not know */
        for (uint32_t i = 0; i < t->leaf_count; i++)
            if ((leaf = ratchet_tree_leaf(t, i)) != NULL && !supports_all(leaf, &in_use))
                return ERR_UNSUPPORTED;
        return OK;
    }
    for (cursor = 0; (node = ratchet_tree_next_new(t, &cursor, &number)) != NULL;)
        if (node->type == NODE_LEAF && !supports_all(&node->leaf, &in_use))
            return ERR_UNSUPPORTED;
    return OK;
}

err validate_tree_members(const ratchet_tree *t, arena *a) {
    const tree_index *index = NULL;
    if (t->base != NULL)
        TRY(ratchet_tree_index(t, &index));
    size_t mark = arena_mark(a);
    TRY(check_keys_unique(t, index, a));
    arena_release(a, mark);
    return check_credential_types(t, index);
}

/* --- members of two groups (§11.2, §11.3) --- */

/* A credential as a key of the set. */
static err credential_hash(const suite *s, const leaf_node *leaf, arena *a, span *out) {
    credential copy = leaf->credential;
    span encoded;
    TRY(WIRE_ENCODE(a, wire_credential, &copy, &encoded));
    uint8_t *hash = arena_take(a, s->hash_size, 1);
    if (hash == NULL)
        return ERR_ARENA;
    suite_hash(s, encoded, hash);
    *out = span_of(hash, s->hash_size);
    return OK;
}

err validate_members_from(const ratchet_tree *members, const ratchet_tree *of, arena *a) {
    key_set known;
    span hash;
    TRY(key_set_init(&known, of->leaf_count, a));
    for (uint32_t pass = 0; pass < 2; pass++) {
        const ratchet_tree *t = pass == 0 ? of : members;
        for (uint32_t i = 0; i < t->leaf_count; i++) {
            const leaf_node *leaf = ratchet_tree_leaf(t, i);
            if (leaf == NULL)
                continue;
            TRY(credential_hash(of->suite, leaf, a, &hash));
            if (pass == 0)
                known.keys[key_place(&known, hash)] = hash;
            else if (!key_set_has(&known, hash))
                return ERR_INVALID;
        }
    }
    return OK;
}

bool validate_same_credential(const leaf_node *a, const leaf_node *b) {
    const credential *x = &a->credential, *y = &b->credential;
    if (x->type != y->type || !span_equal(x->identity, y->identity) || x->certificates.n != y->certificates.n)
        return false;
    for (size_t i = 0; i < x->certificates.n; i++)
        if (!span_equal(x->certificates.p[i], y->certificates.p[i]))
            return false;
    return true;
}

/* --- a whole tree --- */

/* §12.4.3.1: "For each non-empty parent node, verify that each entry in the node's unmerged_leaves": is a non-blank
 * leaf under it, and stands in every non-blank node between. §7.1: in increasing order. */
static err check_unmerged(const ratchet_tree *t, uint32_t node, const parent_node *parent) {
    for (size_t i = 0; i < parent->unmerged_leaves.n; i++) {
        uint32_t leaf = parent->unmerged_leaves.p[i];
        if (i > 0 && leaf <= parent->unmerged_leaves.p[i - 1])
            return ERR_INVALID;
        if (leaf >= t->leaf_count || !tree_covers(node, leaf) || ratchet_tree_leaf(t, leaf) == NULL)
            return ERR_INVALID;
        for (unsigned level = 1; level < tree_level(node); level++) {
            const tree_node *between = ratchet_tree_node(t, tree_ancestor(tree_leaf_node(leaf), level));
            if (between != NULL && !ratchet_tree_unmerged_has(&between->parent.unmerged_leaves, leaf))
                return ERR_INVALID;
        }
    }
    return OK;
}

err validate_tree(ratchet_tree *t, const group_context *context, arena *a) {
    for (uint32_t i = 0; i < tree_width(t->leaf_count); i++) {
        const tree_node *node = ratchet_tree_node(t, i);
        if (node == NULL)
            continue;
        if (node->type == NODE_LEAF) {
            leaf_place place = {context->group_id, tree_node_leaf(i)};
            TRY(validate_leaf(t->suite, &node->leaf, 0, &place, context, a));
        } else {
            TRY(suite_check_public_key(t->suite, node->parent.encryption_key));
            TRY(check_unmerged(t, i, &node->parent));
        }
    }
    TRY(ratchet_tree_verify_parent_hashes(t, a));
    return validate_tree_members(t, a);
}
