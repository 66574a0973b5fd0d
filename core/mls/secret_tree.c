#include "mls/secret_tree.h"

#include <assert.h>
#include <stdlib.h>

typedef struct skipped_key {
    uint32_t generation;
    uint8_t key[AEAD_KEY_SIZE];
    uint8_t nonce[AEAD_NONCE_SIZE];
} skipped_key;

typedef struct ratchet {
    uint32_t generation; /* the next one, which `secret` gives */
    uint32_t floor;      /* skipped keys below were dropped by the limit */
    secret secret;
    skipped_key *skipped; /* by generation, ascending */
    size_t count, capacity;
} ratchet;

/* A leaf's first use: the node secrets that replace the consumed ones, and its two ratchets. */
typedef struct derivation {
    unsigned level;                  /* of the ancestor whose secret was there */
    secret siblings[TREE_MAX_LEVEL]; /* at levels below it, the side away from the leaf */
    secret ratchets[2];              /* by kind */
} derivation;

static bool stored(const secret_tree *t) { return t->records != NULL && t->records->get != NULL; }
static uint32_t ratchet_index(uint32_t leaf, ratchet_kind kind) { return 2 * leaf + (uint32_t)kind; }
static record_key node_key(const secret_tree *t, uint32_t node) { return (record_key){RECORD_TREE, node, t->epoch}; }
static record_key ratchet_key(const secret_tree *t, uint32_t index) {
    return (record_key){RECORD_RATCHET, index, t->epoch};
}

/* --- records --- */

static void wire_skipped_key(wire *w, skipped_key *o) {
    wire_u32(w, &o->generation);
    wire_fixed(w, o->key, sizeof o->key);
    wire_fixed(w, o->nonce, sizeof o->nonce);
}

static void wire_secret(wire *w, secret *o) {
    size_t n = o->n;
    wire_opaque_into(w, o->b, sizeof o->b, &n);
    o->n = (uint8_t)n;
}

typedef struct ratchet_record {
    ratchet *ratchet;
    struct {
        skipped_key *p;
        size_t n;
    } skipped;
} ratchet_record;

static void wire_ratchet_record(wire *w, ratchet_record *o) {
    wire_u32(w, &o->ratchet->generation);
    wire_u32(w, &o->ratchet->floor);
    wire_secret(w, &o->ratchet->secret);
    WIRE_VEC(w, o->skipped, wire_skipped_key);
}

static err put_ratchet(secret_tree *t, uint32_t index, ratchet *r, arena *a) {
    if (!stored(t))
        return OK;
    ratchet_record record = {.ratchet = r, .skipped = {r->skipped, r->count}};
    size_t mark = arena_mark(a);
    span value;
    TRY(WIRE_ENCODE(a, wire_ratchet_record, &record, &value));
    err e = t->records->put(t->records->ctx, ratchet_key(t, index), value);
    arena_release(a, mark);
    return e;
}

/* --- memory --- */

/* Leaves it without keys. */
static void ratchet_wipe(ratchet *r) {
    if (r->skipped != NULL)
        wipe(r->skipped, r->capacity * sizeof *r->skipped);
    free(r->skipped);
    wipe(r, sizeof *r);
}

static void ratchet_free(ratchet *r) {
    if (r != NULL)
        ratchet_wipe(r);
    free(r);
}

/* Room for `count` skipped keys. Not realloc, which would leave a copy behind. */
static err ratchet_reserve(ratchet *r, size_t count) {
    if (count <= r->capacity)
        return OK;
    size_t capacity = r->capacity == 0 ? 8 : r->capacity;
    while (capacity < count)
        capacity *= 2;
    skipped_key *larger = calloc(capacity, sizeof *larger);
    if (larger == NULL)
        return ERR_NO_MEMORY;
    if (r->count > 0)
        memcpy(larger, r->skipped, r->count * sizeof *larger);
    if (r->skipped != NULL)
        wipe(r->skipped, r->capacity * sizeof *r->skipped);
    free(r->skipped);
    r->skipped = larger;
    r->capacity = capacity;
    return OK;
}

static err load_ratchet(secret_tree *t, uint32_t index, arena *a, ratchet **out) {
    size_t mark = arena_mark(a);
    span value;
    TRY(t->records->get(t->records->ctx, ratchet_key(t, index), a, &value));
    ratchet *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_NO_MEMORY;
    ratchet_record record = {.ratchet = r};
    err e;
    e = WIRE_DECODE(value, a, wire_ratchet_record, &record);
    TRY_OUT(e == OK || e == ERR_ARENA ? e : ERR_STORE_CORRUPT); /* a lack of memory is no damage */
    TRY_OUT(r->secret.n == t->suite->hash_size ? OK : ERR_STORE_CORRUPT);
    TRY_OUT(ratchet_reserve(r, record.skipped.n));
    for (size_t i = 0; i < record.skipped.n; i++)
        r->skipped[i] = record.skipped.p[i];
    r->count = record.skipped.n;
    TRY_OUT(index_map_put(&t->ratchets, index, r));
    *out = r;
    r = NULL;
out:
    ratchet_free(r);
    arena_release(a, mark);
    return e;
}

/* NULL when the leaf was not used yet. */
static err find_ratchet(secret_tree *t, uint32_t index, arena *a, ratchet **out) {
    *out = index_map_get(&t->ratchets, index);
    if (*out != NULL || !stored(t))
        return OK;
    err e = load_ratchet(t, index, a, out);
    return e == ERR_NOT_FOUND ? OK : e;
}

static err put_node(secret_tree *t, uint32_t node, const secret *value) {
    secret *s = index_map_get(&t->nodes, node);
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL)
            return ERR_NO_MEMORY;
        err e = index_map_put(&t->nodes, node, s);
        if (e != OK) {
            free(s);
            return e;
        }
    }
    *s = *value;
    return OK;
}

static err find_node(secret_tree *t, uint32_t node, arena *a, secret *out) {
    secret *s = index_map_get(&t->nodes, node);
    if (s != NULL) {
        *out = *s;
        return s->n > 0 ? OK : ERR_NOT_FOUND;
    }
    if (!stored(t))
        return ERR_NOT_FOUND;
    size_t mark = arena_mark(a);
    span value;
    TRY(t->records->get(t->records->ctx, node_key(t, node), a, &value));
    if (value.n != t->suite->hash_size)
        return ERR_STORE_CORRUPT;
    secret_set(out, value);
    arena_release(a, mark);
    return OK;
}

/* --- life --- */

void secret_tree_attach(secret_tree *t, const suite *s, const group_records *records, uint64_t epoch,
                        uint32_t leaf_count) {
    *t = (secret_tree){.suite = s, .records = records, .epoch = epoch, .leaf_count = leaf_count};
}

err secret_tree_init(secret_tree *t, const suite *s, const group_records *records, uint64_t epoch, uint32_t leaf_count,
                     secret *encryption_secret, arena *a) {
    (void)a;
    secret_tree_attach(t, s, records, epoch, leaf_count);
    uint32_t root = tree_root(leaf_count);
    err e = put_node(t, root, encryption_secret);
    if (e == OK && stored(t))
        e = records->put(records->ctx, node_key(t, root), secret_span(encryption_secret));
    secret_wipe(encryption_secret);
    return e;
}

void secret_tree_wipe(secret_tree *t) {
    size_t cursor = 0;
    uint32_t key;
    secret *s;
    while ((s = index_map_next(&t->nodes, &cursor, &key)) != NULL) {
        secret_wipe(s);
        free(s);
    }
    index_map_free(&t->nodes);
    cursor = 0;
    ratchet *r;
    while ((r = index_map_next(&t->ratchets, &cursor, &key)) != NULL)
        ratchet_free(r);
    index_map_free(&t->ratchets);
}

/* --- §9: from the tree to a leaf's ratchets --- */

static err derive_leaf(secret_tree *t, uint32_t leaf, arena *a, derivation **out) {
    derivation *d = ARENA_NEW(a, derivation);
    if (d == NULL)
        return ERR_ARENA;
    unsigned depth = tree_depth(t->leaf_count);
    uint32_t node = tree_leaf_node(leaf);
    secret current = {0};
    err e = ERR_NOT_FOUND;
    for (d->level = 0; d->level <= depth; d->level++) {
        e = find_node(t, tree_ancestor(node, d->level), a, &current);
        if (e != ERR_NOT_FOUND)
            break;
    }
    if (e == ERR_NOT_FOUND) /* all consumed, and the ratchets were deleted: they are not kept for this leaf */
        e = ERR_EPOCH_GONE;
    for (unsigned level = d->level; e == OK && level > 0; level--) {
        bool right = (node >> level & 1) != 0;
        secret child = {.n = t->suite->hash_size};
        d->siblings[level - 1].n = t->suite->hash_size;
        e = suite_expand_with_label(t->suite, secret_span(&current), "tree", span_text(right ? "right" : "left"),
                                    child.b, child.n);
        if (e == OK)
            e = suite_expand_with_label(t->suite, secret_span(&current), "tree", span_text(right ? "left" : "right"),
                                        d->siblings[level - 1].b, t->suite->hash_size);
        current = child;
        secret_wipe(&child);
    }
    static const char *const labels[] = {[RATCHET_HANDSHAKE] = "handshake", [RATCHET_APPLICATION] = "application"};
    for (size_t kind = 0; e == OK && kind < 2; kind++) {
        d->ratchets[kind].n = t->suite->hash_size;
        e = suite_expand_with_label(t->suite, secret_span(&current), labels[kind], SPAN_NONE, d->ratchets[kind].b,
                                    t->suite->hash_size);
    }
    secret_wipe(&current);
    if (e != OK)
        wipe(d, sizeof *d);
    *out = d;
    return e;
}

/* Does the leaf's handshake ratchet still matter? */
static int first_kind(const secret_tree *t) { return t->ended ? RATCHET_APPLICATION : RATCHET_HANDSHAKE; }

/* Memory for a derivation, all of it, before anything is changed. New places hold no secret yet. */
typedef struct places {
    secret *siblings[TREE_MAX_LEVEL];
    secret *consumed;
    ratchet *ratchets[2];
} places;

static void places_free(places *p) {
    for (size_t i = 0; i < TREE_MAX_LEVEL; i++)
        free(p->siblings[i]);
    free(p->consumed);
    free(p->ratchets[0]);
    free(p->ratchets[1]);
}

static err places_take(secret_tree *t, const derivation *d, places *p) {
    TRY(index_map_reserve(&t->nodes, d->level + 1));
    TRY(index_map_reserve(&t->ratchets, 2));
    *p = (places){.consumed = calloc(1, sizeof(secret))};
    bool got = p->consumed != NULL;
    for (unsigned level = 0; level < d->level; level++)
        got &= (p->siblings[level] = calloc(1, sizeof(secret))) != NULL;
    for (int kind = first_kind(t); kind <= RATCHET_APPLICATION; kind++)
        got &= (p->ratchets[kind] = calloc(1, sizeof(ratchet))) != NULL;
    if (!got)
        places_free(p);
    return got ? OK : ERR_NO_MEMORY;
}

/* Room was reserved. */
static void set_node(secret_tree *t, uint32_t node, secret *place, const secret *value) {
    secret *old = index_map_get(&t->nodes, node);
    if (old != NULL) {
        *old = *value;
        free(place);
        return;
    }
    *place = *value;
    err e = index_map_put(&t->nodes, node, place);
    assert(e == OK);
    (void)e;
}

/* Puts a derivation in place: siblings and ratchets in, consumed secrets out (§9.2). Can't fail; the records follow. */
static void accept_derivation(secret_tree *t, uint32_t leaf, const derivation *d, places *p) {
    static const secret none;
    uint32_t node = tree_leaf_node(leaf);
    for (unsigned level = 0; level < d->level; level++)
        set_node(t, tree_sibling(tree_ancestor(node, level)), p->siblings[level], &d->siblings[level]);
    set_node(t, tree_ancestor(node, d->level), p->consumed, &none);
    for (int kind = first_kind(t); kind <= RATCHET_APPLICATION; kind++) {
        p->ratchets[kind]->secret = d->ratchets[kind];
        err e = index_map_put(&t->ratchets, ratchet_index(leaf, (ratchet_kind)kind), p->ratchets[kind]);
        assert(e == OK);
        (void)e;
    }
}

static err store_derivation(secret_tree *t, uint32_t leaf, const derivation *d) {
    if (!stored(t))
        return OK;
    uint32_t node = tree_leaf_node(leaf);
    for (unsigned level = 0; level < d->level; level++)
        TRY(t->records->put(t->records->ctx, node_key(t, tree_sibling(tree_ancestor(node, level))),
                            secret_span(&d->siblings[level])));
    return t->records->del(t->records->ctx, node_key(t, tree_ancestor(node, d->level)));
}

/* --- §9.1: the ratchet --- */

/* The key and nonce of a generation; then *r is the next one's secret. */
static err step_ratchet(const suite *s, secret *r, uint32_t generation, uint8_t *key, uint8_t *nonce) {
    secret next = {.n = s->hash_size};
    const labelled_output outputs[] = {
        {"key", key, AEAD_KEY_SIZE}, {"nonce", nonce, AEAD_NONCE_SIZE}, {"secret", next.b, next.n}};
    err e = suite_derive_tree_secrets(s, secret_span(r), generation, outputs, 3);
    *r = next;
    secret_wipe(&next);
    return e;
}

static err prepare_skipped(const ratchet *r, uint32_t generation, secret_tree_step *step) {
    if (generation < r->floor)
        return ERR_KEY_DROPPED;
    for (size_t i = 0; i < r->count; i++) {
        if (r->skipped[i].generation != generation)
            continue;
        memcpy(step->key, r->skipped[i].key, sizeof step->key);
        memcpy(step->nonce, r->skipped[i].nonce, sizeof step->nonce);
        step->was_skipped = true;
        return OK;
    }
    return ERR_REPLAY;
}

/* `next`: the generation is the ratchet's own, whatever *step says. */
static err prepare(secret_tree *t, uint32_t leaf, ratchet_kind kind, bool next, uint32_t wanted, arena *a,
                   secret_tree_step *step) {
    *step = (secret_tree_step){.leaf = leaf, .kind = kind};
    if (leaf >= t->leaf_count)
        return ERR_SENDER;
    if (t->ended && kind == RATCHET_HANDSHAKE)
        return ERR_EPOCH_GONE;
    TRY(find_ratchet(t, ratchet_index(leaf, kind), a, &step->ratchet));
    uint32_t generation = 0;
    if (step->ratchet != NULL) {
        if (step->ratchet->secret.n == 0)
            return ERR_EPOCH_GONE;
        generation = step->ratchet->generation;
        step->next = step->ratchet->secret;
    } else {
        TRY(derive_leaf(t, leaf, a, &step->derivation));
        step->next = step->derivation->ratchets[kind];
    }
    err e = OK;
    step->generation = next ? generation : wanted;
    if (step->generation < generation)
        TRY_OUT(prepare_skipped(step->ratchet, step->generation, step));
    if (step->was_skipped)
        goto out;
    if (step->generation == UINT32_MAX) /* the counter must not wrap (§9.1) */
        TRY_OUT(ERR_LIMIT);
    if (step->generation - generation > GROUP_FORWARD_GENERATIONS)
        TRY_OUT(ERR_TOO_FAR_AHEAD);
    if (step->generation > generation) {
        step->skipped_count = step->generation - generation;
        step->skipped = ARENA_ARRAY(a, skipped_key, step->skipped_count);
        TRY_OUT(step->skipped != NULL ? OK : ERR_ARENA);
    }
    for (size_t i = 0; generation < step->generation; i++, generation++) {
        step->skipped[i].generation = generation;
        TRY_OUT(step_ratchet(t->suite, &step->next, generation, step->skipped[i].key, step->skipped[i].nonce));
    }
    TRY_OUT(step_ratchet(t->suite, &step->next, generation, step->key, step->nonce));
out:
    if (e != OK)
        secret_tree_step_wipe(step);
    return e;
}

err secret_tree_prepare(secret_tree *t, uint32_t leaf, ratchet_kind kind, uint32_t generation, arena *a,
                        secret_tree_step *step) {
    return prepare(t, leaf, kind, false, generation, a, step);
}

err secret_tree_prepare_next(secret_tree *t, uint32_t leaf, ratchet_kind kind, arena *a, secret_tree_step *step) {
    return prepare(t, leaf, kind, true, 0, a, step);
}

/* Takes the key of a skipped generation out of the ratchet. */
static void drop_skipped(ratchet *r, uint32_t generation) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->skipped[i].generation != generation)
            continue;
        memmove(r->skipped + i, r->skipped + i + 1, (r->count - i - 1) * sizeof *r->skipped);
        r->count--;
        wipe(r->skipped + r->count, sizeof *r->skipped);
        return;
    }
}

/* Of all that would be kept, the newest GROUP_SKIPPED_KEYS stay. Room was reserved. */
static void add_skipped(ratchet *r, const skipped_key *more, size_t count) {
    if (count == 0)
        return;
    size_t total = r->count + count;
    size_t excess = total > GROUP_SKIPPED_KEYS ? total - GROUP_SKIPPED_KEYS : 0;
    size_t drop_old = excess < r->count ? excess : r->count, drop_new = excess - drop_old;
    if (drop_old > 0) {
        r->floor = r->skipped[drop_old - 1].generation + 1;
        size_t left = r->count - drop_old;
        memmove(r->skipped, r->skipped + drop_old, left * sizeof *r->skipped);
        wipe(r->skipped + left, drop_old * sizeof *r->skipped);
        r->count = left;
    }
    if (drop_new > 0)
        r->floor = more[drop_new - 1].generation + 1;
    memcpy(r->skipped + r->count, more + drop_new, (count - drop_new) * sizeof *more);
    r->count += count - drop_new;
}

/* All that can fail for lack of memory, before anything is changed: room for the skipped keys, and that the record will
 * fit into the arena. `added` skipped keys are to come to those the ratchet has. */
static err reserve(ratchet *r, size_t added, arena *a) {
    size_t count = r->count + added;
    if (count > GROUP_SKIPPED_KEYS)
        count = GROUP_SKIPPED_KEYS;
    /* Taken and given back: the encoding, which is smaller, then fits. */
    size_t mark = arena_mark(a), fixed = 32 + SECRET_MAX;
    if (arena_take(a, fixed + count * sizeof(skipped_key), 1) == NULL)
        return ERR_ARENA;
    arena_release(a, mark);
    return added > 0 ? ratchet_reserve(r, count) : OK;
}

static void use_key(ratchet *r, const secret_tree_step *step) {
    if (step->was_skipped) {
        drop_skipped(r, step->generation);
        return;
    }
    add_skipped(r, step->skipped, step->skipped_count);
    r->secret = step->next;
    r->generation = step->generation + 1;
}

static err accept_first(secret_tree *t, secret_tree_step *step, arena *a) {
    places p;
    TRY(places_take(t, step->derivation, &p));
    err e = reserve(p.ratchets[step->kind], step->skipped_count, a);
    if (e != OK) {
        ratchet_wipe(p.ratchets[step->kind]);
        places_free(&p);
        return e;
    }
    accept_derivation(t, step->leaf, step->derivation, &p);
    use_key(p.ratchets[step->kind], step);
    TRY(store_derivation(t, step->leaf, step->derivation));
    for (int kind = first_kind(t); kind <= RATCHET_APPLICATION; kind++)
        TRY(put_ratchet(t, ratchet_index(step->leaf, (ratchet_kind)kind), p.ratchets[kind], a));
    return OK;
}

static err accept_next(secret_tree *t, secret_tree_step *step, arena *a) {
    ratchet *r = step->ratchet;
    TRY(reserve(r, step->was_skipped ? 0 : step->skipped_count, a));
    use_key(r, step);
    return put_ratchet(t, ratchet_index(step->leaf, step->kind), r, a);
}

err secret_tree_accept(secret_tree *t, secret_tree_step *step, arena *a) {
    err e = step->derivation != NULL ? accept_first(t, step, a) : accept_next(t, step, a);
    secret_tree_step_wipe(step);
    return e;
}

void secret_tree_step_wipe(secret_tree_step *step) {
    if (step->derivation != NULL)
        wipe(step->derivation, sizeof *step->derivation);
    if (step->skipped != NULL)
        wipe(step->skipped, step->skipped_count * sizeof *step->skipped);
    wipe(step, sizeof *step);
}

/* --- §9.2 --- */

static bool ends_with_epoch(uint32_t index, uint32_t own_leaf) {
    return index % 2 == RATCHET_HANDSHAKE || index / 2 == own_leaf;
}

/* Which stored ratchets end: collected first, for records are not deleted while they are walked. Not in the arena,
 * which `each` may give back between its visits. */
typedef struct ending {
    uint32_t own_leaf;
    uint32_t *indexes;
    size_t count, capacity;
} ending;

static err visit_ratchet(void *ctx, record_key key, span value) {
    (void)value;
    ending *list = ctx;
    if (!ends_with_epoch(key.index, list->own_leaf))
        return OK;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        uint32_t *larger = realloc(list->indexes, capacity * sizeof *larger); /* indexes are no secrets */
        if (larger == NULL)
            return ERR_NO_MEMORY;
        list->indexes = larger;
        list->capacity = capacity;
    }
    list->indexes[list->count++] = key.index;
    return OK;
}

err secret_tree_end_epoch(secret_tree *t, uint32_t own_leaf, arena *a) {
    t->ended = true;
    size_t cursor = 0;
    uint32_t index;
    ratchet *r;
    while ((r = index_map_next(&t->ratchets, &cursor, &index)) != NULL) {
        if (!ends_with_epoch(index, own_leaf))
            continue;
        ratchet_wipe(r); /* the place stays, as a ratchet without a secret: it gives no key any more */
    }
    if (!stored(t))
        return OK;
    ending list = {.own_leaf = own_leaf};
    err e = t->records->each(t->records->ctx, RECORD_RATCHET, t->epoch, a, visit_ratchet, &list);
    for (size_t i = 0; e == OK && i < list.count; i++)
        e = t->records->del(t->records->ctx, ratchet_key(t, list.indexes[i]));
    free(list.indexes);
    return e;
}
