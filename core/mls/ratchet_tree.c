#include "mls/ratchet_tree.h"

#include <assert.h>
#include <stdlib.h>

#include "mls/owned.h"

/* --- nodes --- */

void wire_tree_node(wire *w, tree_node *o) {
    wire_u8(w, &o->type);
    switch (o->type) {
    case NODE_LEAF: wire_leaf_node(w, &o->leaf); break;
    case NODE_PARENT: wire_parent_node(w, &o->parent); break;
    default: wire_fail(w, ERR_MALFORMED);
    }
}

static void wire_leaf_tree_node(wire *w, tree_node *o) {
    o->type = NODE_LEAF;
    wire_leaf_node(w, &o->leaf);
}

err tree_node_new_leaf(span encoded, arena *a, tree_node **out) {
    if (encoded.n > TREE_LEAF_MAX)
        return ERR_TOO_LARGE;
    return OWNED_DECODE(encoded, wire_leaf_tree_node, tree_node, a, out);
}

static err new_parent(span encryption_key, span parent_hash, const u32_list *unmerged, tree_node **out) {
    tree_node *node = calloc(1, sizeof *node + encryption_key.n + parent_hash.n);
    if (node == NULL)
        return ERR_NO_MEMORY;
    uint8_t *bytes = (uint8_t *)(node + 1);
    node->type = NODE_PARENT;
    if (encryption_key.n > 0)
        memcpy(bytes, encryption_key.p, encryption_key.n);
    if (parent_hash.n > 0)
        memcpy(bytes + encryption_key.n, parent_hash.p, parent_hash.n);
    node->parent.encryption_key = span_of(bytes, encryption_key.n);
    node->parent.parent_hash = span_of(bytes + encryption_key.n, parent_hash.n);
    if (unmerged->n > 0) {
        node->parent.unmerged_leaves.p = malloc(unmerged->n * sizeof(uint32_t));
        if (node->parent.unmerged_leaves.p == NULL) {
            free(node);
            return ERR_NO_MEMORY;
        }
        memcpy(node->parent.unmerged_leaves.p, unmerged->p, unmerged->n * sizeof(uint32_t));
        node->parent.unmerged_leaves.n = node->unmerged_capacity = unmerged->n;
    }
    *out = node;
    return OK;
}

void tree_node_free(tree_node *node) {
    if (node != NULL && node->type == NODE_PARENT)
        free(node->parent.unmerged_leaves.p);
    free(node);
}

span ratchet_tree_key(const tree_node *node) {
    return node->type == NODE_LEAF ? node->leaf.encryption_key : node->parent.encryption_key;
}

/* Where a leaf stands, or would stand, among the unmerged: they are kept in order (§7.1, mls-rs #321). */
static size_t unmerged_place(const u32_list *unmerged, uint32_t leaf) {
    size_t low = 0, high = unmerged->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (unmerged->p[middle] < leaf)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool ratchet_tree_unmerged_has(const u32_list *unmerged, uint32_t leaf) {
    size_t at = unmerged_place(unmerged, leaf);
    return at < unmerged->n && unmerged->p[at] == leaf;
}

/* How many of them are under a node. */
static size_t unmerged_under(const u32_list *unmerged, uint32_t node) {
    return unmerged_place(unmerged, tree_end_leaf(node)) - unmerged_place(unmerged, tree_first_leaf(node));
}

static err unmerged_add(tree_node *node, uint32_t leaf) {
    u32_list *list = &node->parent.unmerged_leaves;
    if (list->n == node->unmerged_capacity) {
        size_t capacity = list->n < 4 ? 8 : 2 * list->n;
        uint32_t *larger = realloc(list->p, capacity * sizeof *larger);
        if (larger == NULL)
            return ERR_NO_MEMORY;
        list->p = larger;
        node->unmerged_capacity = capacity;
    }
    size_t at = unmerged_place(list, leaf);
    memmove(list->p + at + 1, list->p + at, (list->n - at) * sizeof *list->p);
    list->p[at] = leaf;
    list->n++;
    return OK;
}

/* --- slots --- */

/* Outside of the tree's stored part everything is blank. */
static const tree_slot blank = {.loaded = true};

static const tree_slot *slot(const ratchet_tree *t, uint32_t node) {
    if (t->base != NULL) {
        const tree_slot *changed = index_map_get(&t->changes, node);
        if (changed != NULL)
            return changed;
        t = t->base;
    }
    return node < tree_width(t->leaf_count) ? &t->slots[node] : &blank;
}

/* The slot to write to. */
static err change(ratchet_tree *t, uint32_t node, tree_slot **out) {
    assert(node < tree_width(t->leaf_count));
    if (t->base == NULL) {
        tree_index_clear(t->index);
        *out = &t->slots[node];
        return OK;
    }
    *out = index_map_get(&t->changes, node);
    if (*out != NULL)
        return OK;
    tree_slot *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    *copy = *slot(t, node);
    copy->owned = false;
    err e = index_map_put(&t->changes, node, copy);
    if (e != OK) {
        free(copy);
        return e;
    }
    *out = copy;
    return OK;
}

static void slot_set(tree_slot *s, tree_node *node) {
    if (s->owned)
        tree_node_free(s->node);
    s->node = node;
    s->owned = node != NULL;
    s->loaded = true;
    s->hashed = false;
}

const tree_node *ratchet_tree_node(const ratchet_tree *t, uint32_t node) {
    return node < tree_width(t->leaf_count) ? slot(t, node)->node : NULL;
}

const leaf_node *ratchet_tree_leaf(const ratchet_tree *t, uint32_t leaf) {
    const tree_node *node = leaf < t->leaf_count ? ratchet_tree_node(t, tree_leaf_node(leaf)) : NULL;
    return node != NULL ? &node->leaf : NULL;
}

/* --- life --- */

err ratchet_tree_init(ratchet_tree *t, const suite *s, uint32_t leaf_count) {
    assert(leaf_count > 0 && leaf_count <= TREE_MAX_LEAVES);
    *t = (ratchet_tree){.suite = s, .leaf_count = leaf_count};
    t->slots = calloc(tree_width(leaf_count), sizeof *t->slots);
    t->index = calloc(1, sizeof *t->index);
    if (t->slots == NULL || t->index == NULL) {
        free(t->slots);
        free(t->index);
        *t = (ratchet_tree){0};
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < tree_width(leaf_count); i++)
        t->slots[i].loaded = true;
    return OK;
}

err ratchet_tree_attach(ratchet_tree *t, const suite *s, uint32_t leaf_count, const group_records *records) {
    TRY(ratchet_tree_init(t, s, leaf_count));
    t->records = records;
    for (uint32_t i = 0; i < tree_width(leaf_count); i++)
        t->slots[i].loaded = false;
    return OK;
}

void ratchet_tree_overlay(ratchet_tree *t, const ratchet_tree *base) {
    assert(base->base == NULL && base->records == NULL);
    *t = (ratchet_tree){
        .suite = base->suite, .leaf_count = base->leaf_count, .first_blank = base->first_blank, .base = base};
}

void ratchet_tree_wipe(ratchet_tree *t) {
    if (t->slots != NULL) {
        for (uint32_t i = 0; i < tree_width(t->leaf_count); i++)
            slot_set(&t->slots[i], NULL);
        free(t->slots);
        tree_index_clear(t->index);
        free(t->index);
    }
    size_t cursor = 0;
    uint32_t node;
    tree_slot *changed;
    while ((changed = index_map_next(&t->changes, &cursor, &node)) != NULL) {
        slot_set(changed, NULL);
        free(changed);
    }
    index_map_free(&t->changes);
    *t = (ratchet_tree){0};
}

/* --- what is new, what is kept, the index --- */

static bool replaces(const tree_slot *s) { return s->owned || s->node == NULL; }

const tree_node *ratchet_tree_next_new(const ratchet_tree *t, size_t *cursor, uint32_t *node) {
    if (t->base == NULL) {
        while (*cursor < tree_width(t->leaf_count)) {
            *node = (uint32_t)(*cursor)++;
            if (t->slots[*node].node != NULL)
                return t->slots[*node].node;
        }
        return NULL;
    }
    const tree_slot *s;
    while ((s = index_map_next(&t->changes, cursor, node)) != NULL)
        if (s->owned && *node < tree_width(t->leaf_count))
            return s->node;
    return NULL;
}

const leaf_node *ratchet_tree_next_replaced(const ratchet_tree *t, size_t *cursor) {
    uint32_t node;
    const tree_slot *s;
    while (t->base != NULL && (s = index_map_next(&t->changes, cursor, &node)) != NULL) {
        const tree_node *before = ratchet_tree_node(t->base, node);
        if (tree_is_leaf(node) && replaces(s) && before != NULL)
            return &before->leaf;
    }
    return NULL;
}

bool ratchet_tree_keeps(const ratchet_tree *t, uint32_t node) {
    const tree_slot *s = index_map_get(&t->changes, node);
    return node < tree_width(t->leaf_count) && (s == NULL || !replaces(s));
}

static err index_node(tree_index *x, uint32_t number, const tree_node *node) {
    TRY(tree_index_add_key(x, TREE_KEY_ENCRYPTION, ratchet_tree_key(node), number));
    if (node->type != NODE_LEAF)
        return OK;
    TRY(tree_index_add_key(x, TREE_KEY_SIGNATURE, node->leaf.signature_key, number));
    return tree_index_add_type(x, node->leaf.credential.type);
}

err ratchet_tree_index(const ratchet_tree *t, const tree_index **out) {
    const ratchet_tree *base = t->base != NULL ? t->base : t;
    tree_index *x = base->index;
    *out = x;
    /* Made anew also when most entries are of nodes that are no more. */
    if (x->built && x->count <= 4 * (size_t)tree_width(base->leaf_count) + 64)
        return OK;
    assert(base->records == NULL);
    tree_index_clear(x);
    size_t cursor = 0;
    uint32_t number;
    const tree_node *node;
    while ((node = ratchet_tree_next_new(base, &cursor, &number)) != NULL)
        TRY(index_node(x, number, node));
    x->built = true;
    return OK;
}

/* --- records: the hash, then the node unless it is blank --- */

typedef struct node_record {
    size_t hash_size;
    uint8_t hash[HASH_MAX];
    bool present;
    tree_node node;
    span leaf;  /* a leaf's encoding, used as it is when writing, and left undecoded when reading a record */
    bool alone; /* reading: a record by itself, whose rest the leaf is */
} node_record;

static void wire_node_record(wire *w, node_record *o) {
    wire_opaque_into(w, o->hash, sizeof o->hash, &o->hash_size);
    wire_bool(w, &o->present);
    if (!o->present)
        return;
    wire_u8(w, &o->node.type);
    switch (o->node.type) {
    case NODE_LEAF:
        if (o->alone || !wire_reading(w))
            wire_rest(w, &o->leaf);
        else
            wire_leaf_node(w, &o->node.leaf);
        break;
    case NODE_PARENT: wire_parent_node(w, &o->node.parent); break;
    default: wire_fail(w, ERR_MALFORMED);
    }
}

static err record_content(const node_record *record, arena *a, tree_node **out) {
    *out = NULL;
    if (!record->present)
        return OK;
    if (record->node.type == NODE_LEAF)
        return tree_node_new_leaf(record->alone ? record->leaf : record->node.leaf.encoded, a, out);
    return new_parent(record->node.parent.encryption_key, record->node.parent.parent_hash,
                      &record->node.parent.unmerged_leaves, out);
}

static err slot_load(ratchet_tree *t, uint32_t node, span value, arena *a) {
    tree_slot *s = &t->slots[node];
    size_t mark = arena_mark(a);
    node_record *record = ARENA_NEW(a, node_record);
    if (record == NULL)
        return ERR_ARENA;
    record->alone = true;
    err e = WIRE_DECODE(value, a, wire_node_record, record);
    bool fits = e == OK && record->hash_size == t->suite->hash_size &&
                (!record->present || (record->node.type == NODE_LEAF) == tree_is_leaf(node));
    tree_node *content = NULL;
    if (fits)
        e = record_content(record, a, &content);
    if (!fits || e != OK)
        e = e == ERR_ARENA || e == ERR_NO_MEMORY ? e : ERR_STORE_CORRUPT;
    if (e == OK) {
        slot_set(s, content);
        memcpy(s->hash, record->hash, t->suite->hash_size);
        s->hashed = true;
    }
    arena_release(a, mark);
    return e;
}

typedef struct load_visit {
    ratchet_tree *tree;
    arena *arena;
} load_visit;

static err visit_node(void *ctx, record_key key, span value) {
    load_visit *v = ctx;
    if (key.index >= tree_width(v->tree->leaf_count))
        return ERR_STORE_CORRUPT;
    return v->tree->slots[key.index].loaded ? OK : slot_load(v->tree, key.index, value, v->arena);
}

err ratchet_tree_load(ratchet_tree *t, arena *a) {
    if (t->records == NULL)
        return OK;
    load_visit v = {t, a};
    TRY(t->records->each(t->records->ctx, RECORD_NODE, 0, a, visit_node, &v));
    /* No record: a blank leaf or a node whose hash was never needed. */
    for (uint32_t i = 0; i < tree_width(t->leaf_count); i++)
        t->slots[i].loaded = true;
    t->records = NULL;
    return OK;
}

err ratchet_tree_load_leaf(ratchet_tree *t, uint32_t leaf, arena *a, const leaf_node **out) {
    *out = NULL;
    if (leaf >= t->leaf_count)
        return OK;
    uint32_t node = tree_leaf_node(leaf);
    if (t->records != NULL && !t->slots[node].loaded) {
        size_t mark = arena_mark(a);
        span value;
        err e = t->records->get(t->records->ctx, (record_key){RECORD_NODE, node, 0}, a, &value);
        if (e == OK)
            e = slot_load(t, node, value, a);
        else if (e == ERR_NOT_FOUND)
            e = OK;
        arena_release(a, mark);
        TRY(e);
        t->slots[node].loaded = true;
    }
    *out = ratchet_tree_leaf(t, leaf);
    return OK;
}

static err slot_store(const group_records *records, const suite *s, uint32_t node, const tree_slot *from, arena *a) {
    record_key key = {RECORD_NODE, node, 0};
    if (from->node == NULL && tree_is_leaf(node))
        return records->del(records->ctx, key);
    size_t mark = arena_mark(a);
    node_record *record = ARENA_NEW(a, node_record);
    if (record == NULL)
        return ERR_ARENA;
    record->hash_size = s->hash_size;
    memcpy(record->hash, from->hash, s->hash_size);
    record->present = from->node != NULL;
    if (record->present) {
        record->node = *from->node;
        if (from->node->type == NODE_LEAF)
            record->leaf = from->node->leaf.encoded;
    }
    span value;
    err e = WIRE_ENCODE(a, wire_node_record, record, &value);
    if (e == OK)
        e = records->put(records->ctx, key, value);
    arena_release(a, mark);
    return e;
}

err ratchet_tree_store(const ratchet_tree *t, const group_records *records, arena *a) {
    for (uint32_t i = 0; i < tree_width(t->leaf_count); i++)
        if (t->slots[i].hashed)
            TRY(slot_store(records, t->suite, i, &t->slots[i], a));
    return OK;
}

/* Gives the base another number of leaves. Nodes beyond are blank by then. */
static err resize(ratchet_tree *base, uint32_t leaf_count, const group_records *records) {
    uint32_t before = tree_width(base->leaf_count), after = tree_width(leaf_count);
    tree_slot *slots = calloc(after, sizeof *slots);
    if (slots == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < after; i++)
        slots[i] = i < before ? base->slots[i] : blank;
    for (uint32_t i = after; i < before; i++) {
        slot_set(&base->slots[i], NULL);
        err e = records != NULL ? records->del(records->ctx, (record_key){RECORD_NODE, i, 0}) : OK;
        if (e != OK) {
            free(slots);
            return e;
        }
    }
    free(base->slots);
    base->slots = slots;
    base->leaf_count = leaf_count;
    return OK;
}

/* Hands the leaf that a slot loses over to `replaced`, and to the records of the epoch that ends. */
static err keep_replaced(tree_slot *s, uint32_t leaf, const group_records *records, uint64_t old_epoch,
                         index_map *replaced) {
    tree_node *old = s->node;
    if (old == NULL) {
        old = calloc(1, sizeof *old);
        if (old == NULL)
            return ERR_NO_MEMORY;
    }
    err e = index_map_put(replaced, leaf, old);
    if (e != OK) {
        if (s->node == NULL)
            free(old);
        return e;
    }
    s->node = NULL;
    s->owned = false;
    if (records == NULL)
        return OK;
    span encoded = old->type == NODE_LEAF ? old->leaf.encoded : SPAN_NONE;
    return records->put(records->ctx, (record_key){RECORD_PAST_LEAF, leaf, old_epoch}, encoded);
}

err ratchet_tree_merge(ratchet_tree *base, ratchet_tree *overlay, const group_records *records, uint64_t old_epoch,
                       index_map *replaced, arena *a) {
    assert(overlay->base == base);
    if (records != NULL && records->get == NULL)
        records = NULL;
    size_t cursor = 0;
    uint32_t node;
    tree_slot *from;
    /* Leaves first, while the base still has its old size: a removed leaf may lie beyond the new one. */
    while ((from = index_map_next(&overlay->changes, &cursor, &node)) != NULL) {
        if (!tree_is_leaf(node) || node >= tree_width(base->leaf_count))
            continue;
        if (from->node != base->slots[node].node) { /* else only its hash was computed */
            if (base->index->built && base->slots[node].node != NULL)
                tree_index_remove_type(base->index, base->slots[node].node->leaf.credential.type);
            TRY(keep_replaced(&base->slots[node], tree_node_leaf(node), records, old_epoch, replaced));
        }
    }
    if (overlay->leaf_count != base->leaf_count)
        TRY(resize(base, overlay->leaf_count, records));
    base->first_blank = overlay->first_blank;
    for (cursor = 0; (from = index_map_next(&overlay->changes, &cursor, &node)) != NULL;) {
        if (node >= tree_width(base->leaf_count))
            continue;
        tree_slot *to = &base->slots[node];
        if (replaces(from))
            slot_set(to, from->node);
        if (from->owned && base->index->built && index_node(base->index, node, from->node) != OK)
            tree_index_clear(base->index); /* it comes again when it is asked for */
        memcpy(to->hash, from->hash, sizeof to->hash);
        to->hashed = from->hashed;
        from->owned = false; /* it is the base's now */
        if (records != NULL && to->hashed)
            TRY(slot_store(records, base->suite, node, to, a));
    }
    ratchet_tree_wipe(overlay);
    return OK;
}

/* --- an overlay as bytes --- */

typedef struct change_record {
    uint32_t node;
    bool content; /* false: the node is the base's, only its hash is new */
    bool hashed;
    node_record record;
} change_record;

static void wire_change_record(wire *w, change_record *o) {
    wire_u32(w, &o->node);
    wire_bool(w, &o->content);
    wire_bool(w, &o->hashed);
    wire_node_record(w, &o->record);
}

static void change_to_record(const ratchet_tree *t, uint32_t node, const tree_slot *from, change_record *out) {
    *out = (change_record){.node = node, .content = replaces(from), .hashed = from->hashed};
    out->record.hash_size = t->suite->hash_size;
    memcpy(out->record.hash, from->hash, t->suite->hash_size);
    out->record.present = from->owned;
    if (from->owned) {
        out->record.node = *from->node;
        if (from->node->type == NODE_LEAF)
            out->record.leaf = from->node->leaf.encoded;
    }
}

typedef struct overlay_record {
    uint32_t leaf_count, first_blank;
    struct {
        change_record *p;
        size_t n;
    } list;
} overlay_record;

static void wire_overlay_record(wire *w, overlay_record *o) {
    wire_u32(w, &o->leaf_count);
    wire_u32(w, &o->first_blank);
    WIRE_VEC(w, o->list, wire_change_record);
}

err ratchet_tree_save(const ratchet_tree *t, arena *a, span *bytes) {
    overlay_record o = {.leaf_count = t->leaf_count, .first_blank = t->first_blank};
    o.list.p = ARENA_ARRAY(a, change_record, t->changes.count);
    if (o.list.p == NULL)
        return ERR_ARENA;
    size_t cursor = 0;
    uint32_t node;
    const tree_slot *from;
    while ((from = index_map_next(&t->changes, &cursor, &node)) != NULL)
        change_to_record(t, node, from, &o.list.p[o.list.n++]);
    return WIRE_ENCODE(a, wire_overlay_record, &o, bytes);
}

err ratchet_tree_restore(ratchet_tree *t, span bytes, arena *a) {
    assert(t->base != NULL && t->changes.count == 0);
    overlay_record o = {0};
    TRY(WIRE_DECODE(bytes, a, wire_overlay_record, &o));
    bool power = o.leaf_count != 0 && (o.leaf_count & (o.leaf_count - 1)) == 0;
    if (!power || o.leaf_count > TREE_MAX_LEAVES || o.first_blank > o.leaf_count)
        return ERR_STORE_CORRUPT;
    uint32_t larger = o.leaf_count > t->leaf_count ? o.leaf_count : t->leaf_count;
    t->leaf_count = larger; /* a removed leaf may lie beyond the new size */
    for (size_t i = 0; i < o.list.n; i++) {
        change_record *c = &o.list.p[i];
        bool fits = c->node < tree_width(larger) && c->record.hash_size == t->suite->hash_size &&
                    (!c->record.present || (c->record.node.type == NODE_LEAF) == tree_is_leaf(c->node));
        if (!fits)
            return ERR_STORE_CORRUPT;
        tree_slot *s;
        TRY(change(t, c->node, &s));
        if (c->content) {
            tree_node *content;
            TRY(record_content(&c->record, a, &content));
            slot_set(s, content);
        }
        memcpy(s->hash, c->record.hash, t->suite->hash_size);
        s->hashed = c->hashed;
    }
    t->leaf_count = o.leaf_count;
    t->first_blank = o.first_blank;
    return OK;
}

/* --- §12.4.3.3 --- */

err ratchet_tree_read(ratchet_tree *t, const suite *s, span bytes, arena *a) {
    optional_node_list nodes = {0};
    TRY(WIRE_DECODE(bytes, a, wire_optional_node_list, &nodes));
    /* "the last node in the list MUST be non-blank"; an empty list has no group in it. */
    if (nodes.n == 0 || !nodes.p[nodes.n - 1].present)
        return ERR_INVALID;
    if (nodes.n > tree_width(TREE_MAX_LEAVES))
        return ERR_LIMIT;
    uint32_t leaf_count = 1;
    while (tree_width(leaf_count) < nodes.n)
        leaf_count *= 2;
    TRY(ratchet_tree_init(t, s, leaf_count));
    err e = OK;
    for (uint32_t i = 0; i < nodes.n && e == OK; i++) {
        optional_node *o = &nodes.p[i];
        if (!o->present)
            continue;
        tree_node *node = NULL;
        if ((o->type == NODE_LEAF) != tree_is_leaf(i)) /* leaves at even places, parents at odd ones */
            e = ERR_INVALID;
        else if (o->type == NODE_LEAF)
            e = tree_node_new_leaf(o->leaf.encoded, a, &node);
        else
            e = new_parent(o->parent.encryption_key, o->parent.parent_hash, &o->parent.unmerged_leaves, &node);
        if (e == OK)
            slot_set(&t->slots[i], node);
    }
    if (e != OK)
        ratchet_tree_wipe(t);
    return e;
}

/* One optional<Node>; a leaf's bytes are copied as they are. */
static void wire_slot(wire *w, const tree_node *node) {
    bool present = node != NULL;
    wire_bool(w, &present);
    if (!present)
        return;
    uint8_t type = node->type;
    wire_u8(w, &type);
    if (type == NODE_LEAF) {
        span encoded = node->leaf.encoded;
        wire_rest(w, &encoded);
    } else {
        parent_node parent = node->parent;
        wire_parent_node(w, &parent);
    }
}

err ratchet_tree_write(const ratchet_tree *t, arena *a, span *bytes) {
    uint32_t n = tree_width(t->leaf_count);
    while (n > 0 && ratchet_tree_node(t, n - 1) == NULL)
        n--;
    wire w;
    wire_measure_init(&w);
    for (uint32_t i = 0; i < n; i++)
        wire_slot(&w, ratchet_tree_node(t, i));
    TRY(wire_end(&w));
    if (w.at > WIRE_VECTOR_MAX)
        return ERR_TOO_LARGE;
    uint32_t length = (uint32_t)w.at;
    uint8_t *out = arena_take(a, length + 4u, 1);
    if (out == NULL)
        return ERR_ARENA;
    wire_write_init(&w, out, length + 4u);
    wire_varint(&w, &length);
    for (uint32_t i = 0; i < n; i++)
        wire_slot(&w, ratchet_tree_node(t, i));
    *bytes = span_of(out, w.at);
    return wire_end(&w);
}

/* --- §4.1 --- */

bool ratchet_tree_resolution_empty(const ratchet_tree *t, uint32_t node) {
    if (slot(t, node)->node != NULL)
        return false;
    return tree_is_leaf(node) ||
           (ratchet_tree_resolution_empty(t, tree_left(node)) && ratchet_tree_resolution_empty(t, tree_right(node)));
}

/* Counts, and collects where `out` is not NULL. Stops at `limit`. */
static size_t resolve(const ratchet_tree *t, uint32_t node, uint32_t *out, size_t n, size_t limit) {
    if (n >= limit)
        return n;
    const tree_node *content = slot(t, node)->node;
    if (content == NULL) {
        if (tree_is_leaf(node))
            return n;
        n = resolve(t, tree_left(node), out, n, limit);
        return resolve(t, tree_right(node), out, n, limit);
    }
    if (out != NULL)
        out[n] = node;
    n++;
    if (content->type == NODE_PARENT)
        for (size_t i = 0; i < content->parent.unmerged_leaves.n && n < limit; i++, n++)
            if (out != NULL)
                out[n] = tree_leaf_node(content->parent.unmerged_leaves.p[i]);
    return n;
}

err ratchet_tree_resolution(const ratchet_tree *t, uint32_t node, arena *a, u32_list *out) {
    size_t n = resolve(t, node, NULL, 0, SIZE_MAX);
    out->p = ARENA_ARRAY(a, uint32_t, n);
    if (out->p == NULL)
        return ERR_ARENA;
    out->n = resolve(t, node, out->p, 0, n);
    return OK;
}

size_t ratchet_tree_filtered_path(const ratchet_tree *t, uint32_t leaf, uint32_t path[TREE_MAX_LEVEL],
                                  uint32_t copath[TREE_MAX_LEVEL]) {
    size_t n = 0;
    uint32_t node = tree_leaf_node(leaf);
    for (unsigned level = 0; level < tree_depth(t->leaf_count); level++) {
        uint32_t sibling = tree_sibling(tree_ancestor(node, level));
        if (ratchet_tree_resolution_empty(t, sibling))
            continue;
        path[n] = tree_ancestor(node, level + 1);
        copath[n++] = sibling;
    }
    return n;
}

/* --- changing --- */

/* Everything above a changed leaf must be hashed again. */
static err touch(ratchet_tree *t, uint32_t leaf) {
    for (unsigned level = 1; level <= tree_depth(t->leaf_count); level++) {
        tree_slot *s;
        TRY(change(t, tree_ancestor(tree_leaf_node(leaf), level), &s));
        s->hashed = false;
    }
    return OK;
}

static err put_leaf(ratchet_tree *t, uint32_t leaf, tree_node *node) {
    tree_slot *s;
    TRY(change(t, tree_leaf_node(leaf), &s));
    TRY(touch(t, leaf));
    slot_set(s, node);
    return OK;
}

err ratchet_tree_set_leaf(ratchet_tree *t, uint32_t leaf, span encoded, arena *a) {
    tree_node *node;
    TRY(tree_node_new_leaf(encoded, a, &node));
    err e = put_leaf(t, leaf, node);
    if (e != OK)
        tree_node_free(node);
    return e;
}

err ratchet_tree_set_parent(ratchet_tree *t, uint32_t node, span encryption_key, span parent_hash) {
    tree_slot *s;
    tree_node *content;
    TRY(change(t, node, &s));
    TRY(new_parent(encryption_key, parent_hash, &(u32_list){0}, &content));
    slot_set(s, content);
    return OK;
}

err ratchet_tree_blank_path(ratchet_tree *t, uint32_t leaf) {
    for (unsigned level = 1; level <= tree_depth(t->leaf_count); level++) {
        tree_slot *s;
        TRY(change(t, tree_ancestor(tree_leaf_node(leaf), level), &s));
        slot_set(s, NULL);
    }
    return OK;
}

/* §7.7: a new root over the old one and a blank subtree of the same size. */
static err extend(ratchet_tree *t) {
    if (t->leaf_count >= TREE_MAX_LEAVES)
        return ERR_LIMIT;
    if (t->base == NULL)
        return resize(t, 2 * t->leaf_count, NULL);
    t->leaf_count *= 2;
    return OK;
}

err ratchet_tree_add_leaf(ratchet_tree *t, span encoded, arena *a, uint32_t *leaf) {
    while (t->first_blank < t->leaf_count && ratchet_tree_leaf(t, t->first_blank) != NULL)
        t->first_blank++;
    if (t->first_blank == t->leaf_count)
        TRY(extend(t));
    *leaf = t->first_blank;
    TRY(ratchet_tree_set_leaf(t, *leaf, encoded, a));
    /* "For each non-blank intermediate node along the path from the leaf L to the root of the tree, add L's leaf index
     * to the unmerged_leaves list" */
    for (unsigned level = 1; level <= tree_depth(t->leaf_count); level++) {
        tree_slot *s;
        TRY(change(t, tree_ancestor(tree_leaf_node(*leaf), level), &s));
        if (s->node == NULL)
            continue;
        if (!s->owned) {
            tree_node *copy;
            TRY(new_parent(s->node->parent.encryption_key, s->node->parent.parent_hash,
                           &s->node->parent.unmerged_leaves, &copy));
            slot_set(s, copy);
        }
        TRY(unmerged_add(s->node, *leaf));
    }
    return OK;
}

err ratchet_tree_update_leaf(ratchet_tree *t, uint32_t leaf, span encoded, arena *a) {
    TRY(ratchet_tree_set_leaf(t, leaf, encoded, a));
    return ratchet_tree_blank_path(t, leaf);
}

err ratchet_tree_remove_leaf(ratchet_tree *t, uint32_t leaf) {
    TRY(put_leaf(t, leaf, NULL));
    TRY(ratchet_tree_blank_path(t, leaf));
    if (leaf < t->first_blank)
        t->first_blank = leaf;
    /* §7.7: halve the tree while its right half is blank. A leaf that is not blank shows at once. */
    uint32_t count = t->leaf_count;
    while (count > 1 && ratchet_tree_resolution_empty(t, tree_right(tree_root(count))))
        count /= 2;
    if (count == t->leaf_count)
        return OK;
    if (t->base == NULL)
        TRY(resize(t, count, NULL));
    t->leaf_count = count;
    if (t->first_blank > count)
        t->first_blank = count;
    return OK;
}

/* --- §7.8 --- */

static size_t u32_bytes(uint32_t v, uint8_t *out) {
    for (size_t i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (24 - 8 * i));
    return 4;
}

static size_t length_bytes(size_t n, uint8_t *out) {
    wire w;
    uint32_t v = (uint32_t)n;
    wire_write_init(&w, out, 4);
    wire_varint(&w, &v);
    return w.at;
}

static void hash_leaf(const suite *s, uint32_t leaf, const tree_node *node, uint8_t *out) {
    /* TreeHashInput: node type, then LeafNodeHashInput: leaf index, optional<LeafNode>. */
    uint8_t head[6] = {NODE_LEAF};
    (void)u32_bytes(leaf, head + 1);
    head[5] = node != NULL;
    span parts[] = {SPAN(head), node != NULL ? node->leaf.encoded : SPAN_NONE};
    suite_hash_parts(s, parts, 2, out);
}

/* ParentNodeHashInput: optional<ParentNode>, left_hash<V>, right_hash<V>. Unmerged leaves that `without` has are left
 * out (§7.9); it may be NULL. */
static err hash_parent(const suite *s, const tree_node *node, const u32_list *without, const uint8_t *left,
                       const uint8_t *right, uint8_t *out) {
    enum { MAX_INLINE = 64 };
    uint8_t head[2] = {NODE_PARENT, node != NULL};
    uint8_t key_length[4], hash_length[4], list_length[4], left_length[4];
    uint8_t list_inline[4 * MAX_INLINE], *list = list_inline;
    span parts[10];
    size_t n = 0;
    parts[n++] = SPAN(head);
    if (node != NULL) {
        const parent_node *p = &node->parent;
        size_t count = p->unmerged_leaves.n, written = 0;
        if (count > MAX_INLINE) {
            list = malloc(4 * count);
            if (list == NULL)
                return ERR_NO_MEMORY;
        }
        for (size_t i = 0; i < count; i++)
            if (without == NULL || !ratchet_tree_unmerged_has(without, p->unmerged_leaves.p[i]))
                written += u32_bytes(p->unmerged_leaves.p[i], list + written);
        parts[n++] = span_of(key_length, length_bytes(p->encryption_key.n, key_length));
        parts[n++] = p->encryption_key;
        parts[n++] = span_of(hash_length, length_bytes(p->parent_hash.n, hash_length));
        parts[n++] = p->parent_hash;
        parts[n++] = span_of(list_length, length_bytes(written, list_length));
        parts[n++] = span_of(list, written);
    }
    size_t prefix = length_bytes(s->hash_size, left_length);
    uint8_t children[2 * (4 + HASH_MAX)];
    size_t at = 0;
    const uint8_t *const hashes[2] = {left, right};
    for (size_t i = 0; i < 2; i++) {
        memcpy(children + at, left_length, prefix);
        memcpy(children + at + prefix, hashes[i], s->hash_size);
        at += prefix + s->hash_size;
    }
    parts[n++] = span_of(children, at);
    suite_hash_parts(s, parts, n, out);
    if (list != list_inline)
        free(list);
    return OK;
}

err ratchet_tree_hash(ratchet_tree *t, uint32_t node, uint8_t *out) {
    const tree_slot *known = slot(t, node);
    if (!known->hashed) {
        uint8_t left[HASH_MAX], right[HASH_MAX];
        tree_slot *s;
        if (!tree_is_leaf(node)) {
            TRY(ratchet_tree_hash(t, tree_left(node), left));
            TRY(ratchet_tree_hash(t, tree_right(node), right));
        }
        TRY(change(t, node, &s));
        if (tree_is_leaf(node))
            hash_leaf(t->suite, tree_node_leaf(node), s->node, s->hash);
        else
            TRY(hash_parent(t->suite, s->node, NULL, left, right, s->hash));
        s->hashed = true;
        known = s;
    }
    memcpy(out, known->hash, t->suite->hash_size);
    return OK;
}

/* --- §7.9 --- */

/* original_sibling_tree_hash: the tree hash of the subtree without the leaves in `without`, neither as leaves nor in
 * unmerged_leaves lists. Subtrees that none of them is under keep their hash. */
static err original_hash(ratchet_tree *t, uint32_t node, const u32_list *without, uint8_t *out) {
    if (unmerged_under(without, node) == 0)
        return ratchet_tree_hash(t, node, out);
    if (tree_is_leaf(node)) {
        hash_leaf(t->suite, tree_node_leaf(node), NULL, out);
        return OK;
    }
    uint8_t left[HASH_MAX], right[HASH_MAX];
    TRY(original_hash(t, tree_left(node), without, left));
    TRY(original_hash(t, tree_right(node), without, right));
    return hash_parent(t->suite, slot(t, node)->node, without, left, right, out);
}

err ratchet_tree_parent_hash(ratchet_tree *t, const parent_node *parent, uint32_t sibling, uint8_t *out) {
    uint8_t original[HASH_MAX], key_length[4], hash_length[4], original_length[4];
    TRY(original_hash(t, sibling, &parent->unmerged_leaves, original));
    /* ParentHashInput: encryption_key, parent_hash<V>, original_sibling_tree_hash<V> */
    span parts[] = {
        span_of(key_length, length_bytes(parent->encryption_key.n, key_length)),
        parent->encryption_key,
        span_of(hash_length, length_bytes(parent->parent_hash.n, hash_length)),
        parent->parent_hash,
        span_of(original_length, length_bytes(t->suite->hash_size, original_length)),
        span_of(original, t->suite->hash_size),
    };
    suite_hash_parts(t->suite, parts, sizeof parts / sizeof *parts, out);
    return OK;
}

/* §7.9.2, one parent P by its child C: is there a D in the resolution of C, whose parent hash is P's with the other
 * child as sibling, and are all others in the resolution of C those of P's unmerged leaves that are under C? */
static err parent_hash_valid_by(ratchet_tree *t, const parent_node *p, uint32_t child, uint32_t sibling, arena *a,
                                bool *valid) {
    *valid = false;
    size_t unmerged = unmerged_under(&p->unmerged_leaves, child);
    if (resolve(t, child, NULL, 0, unmerged + 2) != unmerged + 1)
        return OK;
    size_t mark = arena_mark(a);
    u32_list resolution;
    TRY(ratchet_tree_resolution(t, child, a, &resolution));
    const tree_node *d = NULL;
    size_t others = 0;
    for (size_t i = 0; i < resolution.n; i++) {
        uint32_t node = resolution.p[i];
        if (tree_is_leaf(node) && ratchet_tree_unmerged_has(&p->unmerged_leaves, tree_node_leaf(node)))
            others++;
        else
            d = slot(t, node)->node;
    }
    arena_release(a, mark);
    if (d == NULL || others != unmerged)
        return OK;
    span claimed = d->type == NODE_PARENT          ? d->parent.parent_hash
                   : d->leaf.source == LEAF_COMMIT ? d->leaf.parent_hash
                                                   : SPAN_NONE;
    if (claimed.n != t->suite->hash_size)
        return OK;
    uint8_t expected[HASH_MAX];
    TRY(ratchet_tree_parent_hash(t, p, sibling, expected));
    *valid = memcmp(expected, claimed.p, claimed.n) == 0;
    return OK;
}

err ratchet_tree_verify_parent_hashes(ratchet_tree *t, arena *a) {
    for (uint32_t node = 1; node < tree_width(t->leaf_count); node += 2) {
        const tree_node *p = slot(t, node)->node;
        if (p == NULL)
            continue;
        uint32_t left = tree_left(node), right = tree_right(node);
        bool valid;
        TRY(parent_hash_valid_by(t, &p->parent, left, right, a, &valid));
        if (!valid)
            TRY(parent_hash_valid_by(t, &p->parent, right, left, a, &valid));
        if (!valid)
            return ERR_PARENT_HASH;
    }
    return OK;
}
