#include "mls/group_state.h"

#include <stdlib.h>

#include "mls/owned.h"

/* First octet of a GROUP record and of a saved commit: their format. 1 is read still: it had no ReInit and no joined epoch. */
#define STATE_VERSION 2

/* --- life --- */

err group_new(const group_host *host, const suite *s, const signature_key *signer, group **out) {
    group *g = calloc(1, sizeof *g);
    if (g == NULL)
        return ERR_NO_MEMORY;
    g->host = *host;
    g->suite = s;
    g->signer = *signer;
    *out = g;
    return OK;
}

void group_forget_proposals(group *g) {
    for (size_t i = 0; i < g->proposal_count; i++)
        free(g->proposals[i].proposal);
    if (g->proposals != NULL)
        wipe(g->proposals, g->proposal_capacity * sizeof *g->proposals);
    free(g->proposals);
    g->proposals = NULL;
    g->proposal_count = g->proposal_capacity = 0;
}

void past_epoch_free(past_epoch *p) {
    if (p == NULL)
        return;
    secret_tree_wipe(&p->messages);
    size_t cursor = 0;
    uint32_t leaf;
    tree_node *node;
    while ((node = index_map_next(&p->leaves, &cursor, &leaf)) != NULL)
        tree_node_free(node);
    index_map_free(&p->leaves);
    free(p->context);
    wipe(p, sizeof *p);
    free(p);
}

void group_close(group *g) {
    if (g == NULL)
        return;
    ratchet_tree_wipe(&g->tree);
    secret_tree_wipe(&g->messages);
    for (size_t i = 0; i < GROUP_PAST_EPOCHS; i++)
        past_epoch_free(g->past[i]);
    group_forget_proposals(g);
    if (g->resumption != NULL)
        wipe(g->resumption, g->host.resumption_epochs * sizeof *g->resumption);
    free(g->resumption);
    free(g->re_init);
    free(g->context);
    wipe(g, sizeof *g);
    free(g);
}

err staged_commit_new(group *g, uint32_t committer, staged_commit **out) {
    staged_commit *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NO_MEMORY;
    ratchet_tree_overlay(&c->tree, &g->tree);
    c->base_epoch = g->context->epoch;
    memcpy(c->base_authenticator, g->secrets.epoch_authenticator.b, g->suite->hash_size);
    c->sender = committer;
    *out = c;
    return OK;
}

void staged_commit_free(staged_commit *c) {
    if (c == NULL)
        return;
    ratchet_tree_wipe(&c->tree);
    free(c->context);
    free(c->re_init);
    free(c->added);
    free(c->removed);
    wipe(c, sizeof *c);
    free(c);
}

static err copy_indexes(const u32_list *list, uint32_t **out, size_t *count) {
    *count = list->n;
    if (list->n == 0)
        return OK;
    *out = malloc(list->n * sizeof **out);
    if (*out == NULL)
        return ERR_NO_MEMORY;
    memcpy(*out, list->p, list->n * sizeof **out);
    return OK;
}

err staged_commit_set_members(staged_commit *c, const u32_list *added, const u32_list *removed) {
    TRY(copy_indexes(added, &c->added, &c->added_count));
    return copy_indexes(removed, &c->removed, &c->removed_count);
}

/* --- RECORD_GROUP --- */

static void wire_secret(wire *w, secret *o) {
    size_t n = o->n;
    wire_opaque_into(w, o->b, sizeof o->b, &n);
    o->n = (uint8_t)n;
}

static void wire_epoch_secrets(wire *w, epoch_secrets *o) {
    wire_secret(w, &o->sender_data);
    wire_secret(w, &o->encryption);
    wire_secret(w, &o->exporter);
    wire_secret(w, &o->external);
    wire_secret(w, &o->confirmation_key);
    wire_secret(w, &o->membership_key);
    wire_secret(w, &o->resumption_psk);
    wire_secret(w, &o->epoch_authenticator);
    wire_secret(w, &o->init);
}

static uint8_t wire_version(wire *w) {
    uint8_t version = STATE_VERSION;
    wire_u8(w, &version);
    if (version == 0 || version > STATE_VERSION)
        wire_fail(w, ERR_STORE_NEWER);
    return version;
}

/* optional<ReInit>, as bytes. */
static void wire_ended(wire *w, span *o) {
    bool present = o->n > 0;
    wire_bool(w, &present);
    if (present)
        wire_opaque(w, o);
}

static err records_put(group *g, record_key key, span value) {
    return g->host.records.put(g->host.records.ctx, key, value);
}

static err records_del(group *g, record_key key) { return g->host.records.del(g->host.records.ctx, key); }

/* A record that does not decode was damaged; a lack of memory is no damage. */
static err stored_error(err e) {
    return err_class_of(e) == ERR_CLASS_MALFORMED || err_class_of(e) == ERR_CLASS_INVALID ? ERR_STORE_CORRUPT : e;
}

static err encode_re_init(const re_init *r, arena *a, span *out) {
    *out = SPAN_NONE;
    return r != NULL ? WIRE_ENCODE(a, wire_re_init, r, out) : OK;
}

static err decode_re_init(span bytes, arena *a, re_init **out) {
    return bytes.n > 0 ? stored_error(OWNED_DECODE(bytes, wire_re_init, re_init, a, out)) : OK;
}

typedef struct group_record {
    uint16_t suite_id;
    uint32_t own_leaf;
    bool removed;
    uint32_t leaf_count, first_blank;
    span context;
    epoch_secrets secrets;
    uint8_t interim[HASH_MAX], tag[HASH_MAX];
    span signer; /* public key */
    uint64_t joined;
    span re_init;
} group_record;

static void wire_group_record(wire *w, group_record *o) {
    uint8_t version = wire_version(w);
    wire_u16(w, &o->suite_id);
    wire_u32(w, &o->own_leaf);
    wire_bool(w, &o->removed);
    wire_u32(w, &o->leaf_count);
    wire_u32(w, &o->first_blank);
    wire_opaque(w, &o->context);
    wire_epoch_secrets(w, &o->secrets);
    wire_fixed(w, o->interim, sizeof o->interim);
    wire_fixed(w, o->tag, sizeof o->tag);
    wire_opaque(w, &o->signer);
    o->joined = version < 2 ? UINT64_MAX : o->joined; /* not known */
    if (version < 2)
        return;
    wire_u64(w, &o->joined);
    wire_ended(w, &o->re_init);
}

static const record_key group_key = {RECORD_GROUP, 0, 0};

err group_put(group *g, arena *a) {
    if (!group_stored(g))
        return OK;
    size_t mark = arena_mark(a);
    group_record *r = ARENA_NEW(a, group_record);
    if (r == NULL)
        return ERR_ARENA;
    r->suite_id = g->suite->id;
    r->own_leaf = g->own_leaf;
    r->removed = g->removed;
    r->leaf_count = g->tree.leaf_count;
    r->first_blank = g->tree.first_blank;
    r->context = g->context->encoded;
    r->secrets = g->secrets;
    memcpy(r->interim, g->interim, sizeof r->interim);
    memcpy(r->tag, g->confirmation_tag, sizeof r->tag);
    r->signer = signature_key_public(&g->signer);
    r->joined = g->joined;
    span value;
    err e = encode_re_init(g->re_init, a, &r->re_init);
    if (e == OK)
        e = WIRE_ENCODE(a, wire_group_record, r, &value);
    if (e == OK)
        e = records_put(g, group_key, value);
    arena_release(a, mark);
    return e;
}

err group_get(group *g, arena *a) {
    span value;
    TRY(g->host.records.get(g->host.records.ctx, group_key, a, &value));
    group_record *r = ARENA_NEW(a, group_record);
    if (r == NULL)
        return ERR_ARENA;
    TRY(stored_error(WIRE_DECODE(value, a, wire_group_record, r)));
    g->suite = suite_find(r->suite_id);
    bool power = r->leaf_count != 0 && (r->leaf_count & (r->leaf_count - 1)) == 0;
    if (g->suite == NULL || !power || r->leaf_count > TREE_MAX_LEAVES || r->own_leaf >= r->leaf_count)
        return ERR_STORE_CORRUPT;
    /* The key the caller signs with must be that of our leaf, or nobody would believe us. */
    if (!r->removed && !span_equal(r->signer, signature_key_public(&g->signer)))
        return ERR_KEY;
    TRY(stored_error(OWNED_DECODE(r->context, wire_group_context, group_context, a, &g->context)));
    TRY(decode_re_init(r->re_init, a, &g->re_init));
    g->own_leaf = r->own_leaf;
    g->removed = r->removed;
    g->joined = r->joined;
    g->secrets = r->secrets;
    memcpy(g->interim, r->interim, sizeof g->interim);
    memcpy(g->confirmation_tag, r->tag, sizeof g->confirmation_tag);
    TRY(ratchet_tree_attach(&g->tree, g->suite, r->leaf_count, &g->host.records));
    g->tree.first_blank = r->first_blank;
    secret_tree_attach(&g->messages, g->suite, &g->host.records, g->context->epoch, r->leaf_count);
    return OK;
}

err group_load(const group_host *host, const signature_key *signer, arena *a, group **out) {
    group *g;
    TRY(group_new(host, NULL, signer, &g));
    size_t mark = arena_mark(a);
    err e = host->records.get == NULL ? ERR_NOT_FOUND : group_get(g, a);
    arena_release(a, mark);
    if (e != OK) {
        group_close(g);
        return e;
    }
    *out = g;
    return OK;
}

/* --- RECORD_PRIVATE: by the node's number --- */

static record_key private_key_of(const group *g, unsigned level) {
    return (record_key){RECORD_PRIVATE, tree_ancestor(tree_leaf_node(g->own_leaf), level), 0};
}

err group_put_keys(group *g, const private_path *before, arena *a) {
    (void)a;
    if (!group_stored(g))
        return OK;
    for (unsigned level = 0; level < TREE_MAX_PATH; level++) {
        bool known = g->keys.known[level], was = before != NULL && before->known[level];
        span key = span_of(g->keys.keys[level], KEM_PRIVATE_SIZE);
        if (known && !(was && secret_equal(key, span_of(before->keys[level], KEM_PRIVATE_SIZE))))
            TRY(records_put(g, private_key_of(g, level), key));
        else if (!known && was)
            TRY(records_del(g, private_key_of(g, level)));
    }
    return OK;
}

err group_load_keys(group *g, arena *a) {
    if (!group_stored(g) || g->keys_loaded)
        return OK;
    for (unsigned level = 0; level <= tree_depth(g->tree.leaf_count); level++) {
        size_t mark = arena_mark(a);
        span value;
        err e = g->host.records.get(g->host.records.ctx, private_key_of(g, level), a, &value);
        g->keys.known[level] = e == OK;
        if (e == OK && value.n == KEM_PRIVATE_SIZE)
            memcpy(g->keys.keys[level], value.p, KEM_PRIVATE_SIZE);
        else if (e == OK)
            e = ERR_STORE_CORRUPT;
        arena_release(a, mark);
        if (e != OK && e != ERR_NOT_FOUND)
            return e;
    }
    g->keys_loaded = true;
    return OK;
}

err group_store_new(group *g, arena *a) {
    g->past_loaded = g->proposals_loaded = true; /* there are none */
    g->joined = g->context->epoch;
    TRY(secret_tree_init(&g->messages, g->suite, &g->host.records, g->context->epoch, g->tree.leaf_count,
                         &g->secrets.encryption, a));
    if (!group_stored(g))
        return OK;
    TRY(ratchet_tree_store(&g->tree, &g->host.records, a));
    TRY(group_put_keys(g, NULL, a));
    return group_put(g, a);
}

/* --- RECORD_PROPOSAL --- */

typedef struct proposal_record {
    uint8_t reference[HASH_MAX];
    sender from;
    bool has_keys;
    update_keys keys;
    span proposal;
} proposal_record;

static void wire_proposal_record(wire *w, proposal_record *o) {
    wire_fixed(w, o->reference, sizeof o->reference);
    wire_u32(w, o->from.type == SENDER_EXTERNAL ? &o->from.index : &o->from.leaf);
    wire_bool(w, &o->has_keys);
    if (o->has_keys)
        wire_fixed(w, o->keys.leaf, sizeof o->keys.leaf);
    wire_opaque(w, &o->proposal);
    /* A member's with no new signer ends here, as all did in records of before. */
    if (wire_reading(w) ? w->at == w->size : o->from.type == SENDER_MEMBER && !o->keys.new_signer) {
        o->from.type = SENDER_MEMBER;
        return;
    }
    wire_u8(w, &o->from.type);
    if (wire_reading(w) && o->from.type == SENDER_EXTERNAL)
        o->from.index = o->from.leaf;
    wire_bool(w, &o->keys.new_signer);
    if (o->keys.new_signer)
        wire_fixed(w, o->keys.signer.b, sizeof o->keys.signer.b);
}

err group_put_proposal(group *g, size_t index, arena *a) {
    if (!group_stored(g))
        return OK;
    const pending_proposal *p = &g->proposals[index];
    size_t mark = arena_mark(a);
    proposal_record *r = ARENA_NEW(a, proposal_record);
    if (r == NULL)
        return ERR_ARENA;
    *r = (proposal_record){.from = p->from, .has_keys = p->has_keys, .keys = p->keys, .proposal = p->proposal->encoded};
    memcpy(r->reference, p->reference, sizeof r->reference);
    span value;
    err e = WIRE_ENCODE(a, wire_proposal_record, r, &value);
    if (e == OK)
        e = records_put(g, (record_key){RECORD_PROPOSAL, (uint32_t)index, g->context->epoch}, value);
    arena_release(a, mark);
    return e;
}

/* Room for one more. A key may be among them, so no realloc. */
static err reserve_proposal(group *g) {
    if (g->proposal_count < g->proposal_capacity)
        return OK;
    if (g->proposal_count == GROUP_PROPOSALS_MAX)
        return ERR_LIMIT;
    size_t capacity = g->proposal_capacity == 0 ? 8 : 2 * g->proposal_capacity;
    pending_proposal *larger = calloc(capacity, sizeof *larger);
    if (larger == NULL)
        return ERR_NO_MEMORY;
    if (g->proposals != NULL) {
        memcpy(larger, g->proposals, g->proposal_count * sizeof *larger);
        wipe(g->proposals, g->proposal_capacity * sizeof *g->proposals);
        free(g->proposals);
    }
    g->proposals = larger;
    g->proposal_capacity = capacity;
    return OK;
}

static err append_proposal(group *g, const uint8_t *reference, size_t reference_size, const sender *from, span encoded,
                           const update_keys *keys, arena *a) {
    TRY(reserve_proposal(g));
    pending_proposal *p = &g->proposals[g->proposal_count];
    *p = (pending_proposal){.from = *from, .has_keys = keys != NULL};
    memcpy(p->reference, reference, reference_size);
    if (keys != NULL)
        p->keys = *keys;
    TRY(OWNED_DECODE(encoded, wire_proposal, proposal, a, &p->proposal));
    g->proposal_count++;
    return OK;
}

static void forget_last_proposal(group *g) {
    pending_proposal *p = &g->proposals[--g->proposal_count];
    free(p->proposal);
    wipe(p, sizeof *p);
}

typedef struct proposal_visit {
    group *group;
    arena *arena;
} proposal_visit;

static err visit_proposal(void *ctx, record_key key, span value) {
    (void)key;
    proposal_visit *v = ctx;
    size_t mark = arena_mark(v->arena);
    proposal_record *r = ARENA_NEW(v->arena, proposal_record);
    if (r == NULL)
        return ERR_ARENA;
    err e = stored_error(WIRE_DECODE(value, v->arena, wire_proposal_record, r));
    if (e == OK)
        e = append_proposal(v->group, r->reference, sizeof r->reference, &r->from, r->proposal,
                            r->has_keys ? &r->keys : NULL, v->arena);
    arena_release(v->arena, mark);
    return e;
}

err group_load_proposals(group *g, arena *a) {
    if (!group_stored(g) || g->proposals_loaded)
        return OK;
    proposal_visit v = {g, a};
    err e = g->host.records.each(g->host.records.ctx, RECORD_PROPOSAL, g->context->epoch, a, visit_proposal, &v);
    if (e != OK)
        group_forget_proposals(g);
    g->proposals_loaded = e == OK;
    return e;
}

err group_add_proposal(group *g, const uint8_t *reference, const sender *from, span encoded, const update_keys *keys,
                       arena *a) {
    TRY(group_load_proposals(g, a));
    TRY(append_proposal(g, reference, g->suite->hash_size, from, encoded, keys, a));
    err e = group_put_proposal(g, g->proposal_count - 1, a);
    if (e != OK)
        forget_last_proposal(g);
    return e;
}

err group_undo_proposal(group *g) {
    forget_last_proposal(g);
    if (!group_stored(g))
        return OK;
    return records_del(g, (record_key){RECORD_PROPOSAL, (uint32_t)g->proposal_count, g->context->epoch});
}

/* --- RECORD_EPOCH --- */

typedef struct epoch_record {
    uint64_t ended;
    uint32_t leaf_count;
    span context;
    secret sender_data, resumption_psk;
} epoch_record;

static void wire_epoch_record(wire *w, epoch_record *o) {
    wire_u64(w, &o->ended);
    wire_u32(w, &o->leaf_count);
    wire_opaque(w, &o->context);
    wire_secret(w, &o->sender_data);
    wire_secret(w, &o->resumption_psk);
}

static err put_epoch(group *g, const past_epoch *p, arena *a) {
    size_t mark = arena_mark(a);
    epoch_record *r = ARENA_NEW(a, epoch_record);
    if (r == NULL)
        return ERR_ARENA;
    *r = (epoch_record){.ended = p->ended,
                        .leaf_count = p->messages.leaf_count,
                        .context = p->context->encoded,
                        .sender_data = p->sender_data,
                        .resumption_psk = p->resumption_psk};
    span value;
    err e = WIRE_ENCODE(a, wire_epoch_record, r, &value);
    if (e == OK)
        e = records_put(g, (record_key){RECORD_EPOCH, 0, p->epoch}, value);
    arena_release(a, mark);
    return e;
}

static err get_epoch(group *g, uint64_t epoch, arena *a, past_epoch **out) {
    size_t mark = arena_mark(a);
    span value;
    TRY(g->host.records.get(g->host.records.ctx, (record_key){RECORD_EPOCH, 0, epoch}, a, &value));
    past_epoch *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NO_MEMORY;
    err e = OK;
    epoch_record *r = ARENA_NEW(a, epoch_record);
    TRY_OUT(r != NULL ? OK : ERR_ARENA);
    TRY_OUT(stored_error(WIRE_DECODE(value, a, wire_epoch_record, r)));
    TRY_OUT(r->leaf_count == 0 || r->leaf_count > TREE_MAX_LEAVES ? ERR_STORE_CORRUPT : OK);
    TRY_OUT(stored_error(OWNED_DECODE(r->context, wire_group_context, group_context, a, &p->context)));
    p->epoch = epoch;
    p->ended = r->ended;
    p->sender_data = r->sender_data;
    p->resumption_psk = r->resumption_psk;
    secret_tree_attach(&p->messages, g->suite, &g->host.records, epoch, r->leaf_count);
    p->messages.ended = true;
    *out = p;
    p = NULL;
out:
    past_epoch_free(p);
    arena_release(a, mark);
    return e;
}

err group_load_past(group *g, arena *a) {
    if (!group_stored(g) || g->past_loaded)
        return OK;
    for (uint64_t back = 1; back <= GROUP_PAST_EPOCHS && back <= g->context->epoch; back++) {
        if (g->past[back - 1] != NULL)
            continue;
        err e = get_epoch(g, g->context->epoch - back, a, &g->past[back - 1]);
        if (e != OK && e != ERR_NOT_FOUND)
            return e;
    }
    g->past_loaded = true;
    return OK;
}

static err delete_epoch(group *g, uint64_t epoch) {
    if (!group_stored(g))
        return OK;
    static const record_kind kinds[] = {RECORD_EPOCH, RECORD_TREE, RECORD_RATCHET, RECORD_PAST_LEAF};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        TRY(g->host.records.del_epoch(g->host.records.ctx, kinds[i], epoch));
    return OK;
}

/* --- resumption PSKs: past epochs have theirs; more of them where the host wants it --- */

static err keep_resumption(group *g, uint64_t epoch, const secret *psk) {
    uint32_t wanted = g->host.resumption_epochs;
    if (wanted <= GROUP_PAST_EPOCHS)
        return OK;
    if (group_stored(g)) {
        TRY(records_put(g, (record_key){RECORD_RESUMPTION, 0, epoch}, secret_span(psk)));
        return epoch >= wanted ? records_del(g, (record_key){RECORD_RESUMPTION, 0, epoch - wanted}) : OK;
    }
    if (g->resumption == NULL)
        g->resumption = calloc(wanted, sizeof *g->resumption);
    if (g->resumption == NULL)
        return ERR_NO_MEMORY;
    g->resumption[epoch % wanted] = (kept_resumption){epoch, *psk};
    return OK;
}

err group_find_resumption(group *g, uint64_t epoch, arena *a, span *value) {
    past_epoch *p;
    if (epoch > g->context->epoch || (epoch == g->context->epoch && g->removed))
        return ERR_NOT_FOUND;
    if (epoch == g->context->epoch) {
        *value = secret_span(&g->secrets.resumption_psk);
        return OK;
    }
    err e = group_find_past(g, epoch, a, &p);
    if (e == OK) {
        *value = secret_span(&p->resumption_psk);
        return OK;
    }
    if (e != ERR_EPOCH_GONE && e != ERR_EPOCH_EXPIRED)
        return e;
    uint32_t wanted = g->host.resumption_epochs;
    if (wanted <= GROUP_PAST_EPOCHS || g->context->epoch - epoch > wanted)
        return ERR_NOT_FOUND;
    if (group_stored(g))
        return g->host.records.get(g->host.records.ctx, (record_key){RECORD_RESUMPTION, 0, epoch}, a, value);
    const kept_resumption *kept = g->resumption != NULL ? &g->resumption[epoch % wanted] : NULL;
    if (kept == NULL || kept->epoch != epoch || kept->psk.n == 0)
        return ERR_NOT_FOUND;
    *value = secret_span(&kept->psk);
    return OK;
}

err group_end_epoch(group *g, uint64_t next, arena *a) {
    TRY(group_load_past(g, a));
    TRY(keep_resumption(g, next - 1, &g->secrets.resumption_psk));
    past_epoch *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NO_MEMORY;
    /* place i holds epoch next - 1 - i; the oldest falls off. */
    past_epoch *oldest = g->past[GROUP_PAST_EPOCHS - 1];
    for (size_t i = GROUP_PAST_EPOCHS - 1; i > 0; i--)
        g->past[i] = g->past[i - 1];
    g->past[0] = p;
    if (oldest != NULL) {
        uint64_t epoch = oldest->epoch;
        past_epoch_free(oldest);
        TRY(delete_epoch(g, epoch));
    }
    p->epoch = next - 1;
    p->ended = group_now(g);
    p->context = g->context;
    g->context = NULL;
    p->sender_data = g->secrets.sender_data;
    p->resumption_psk = g->secrets.resumption_psk;
    p->messages = g->messages;
    g->messages = (secret_tree){0};
    TRY(secret_tree_end_epoch(&p->messages, g->own_leaf, a));
    group_forget_proposals(g);
    g->proposals_loaded = true; /* none in the new epoch */
    if (!group_stored(g))
        return OK;
    TRY(g->host.records.del_epoch(g->host.records.ctx, RECORD_PROPOSAL, p->epoch));
    return put_epoch(g, p, a);
}

static err drop_old(group *g) {
    uint64_t now = group_now(g);
    for (size_t i = 0; i < GROUP_PAST_EPOCHS; i++) {
        past_epoch *p = g->past[i];
        if (p == NULL || now <= p->ended || now - p->ended <= GROUP_PAST_EPOCH_MS)
            continue;
        uint64_t epoch = p->epoch;
        g->past[i] = NULL;
        past_epoch_free(p);
        TRY(delete_epoch(g, epoch));
    }
    return OK;
}

err group_expire(group *g) {
    arena scratch;
    TRY(arena_init(&scratch, GROUP_SCRATCH));
    err e = group_load_past(g, &scratch);
    if (e == OK)
        e = drop_old(g);
    arena_free(&scratch);
    return e;
}

err group_find_past(group *g, uint64_t epoch, arena *a, past_epoch **out) {
    *out = NULL;
    TRY(group_load_past(g, a));
    uint64_t back = g->context->epoch - epoch;
    if (epoch >= g->context->epoch || back > GROUP_PAST_EPOCHS)
        return ERR_EPOCH_GONE;
    past_epoch *p = g->past[back - 1];
    uint64_t now = group_now(g);
    if (p == NULL) /* deleted by group_expire, or from before our time */
        return epoch >= g->joined ? ERR_EPOCH_EXPIRED : ERR_EPOCH_GONE;
    if (now > p->ended && now - p->ended > GROUP_PAST_EPOCH_MS)
        return ERR_EPOCH_EXPIRED;
    *out = p;
    return OK;
}

/* Reads RECORD_PAST_LEAF into the epoch's map; NULL when the leaf did not change when that epoch ended. */
static err past_leaf(group *g, past_epoch *p, uint32_t leaf, arena *a, tree_node **out) {
    *out = index_map_get(&p->leaves, leaf);
    if (*out != NULL || !group_stored(g))
        return OK;
    size_t mark = arena_mark(a);
    span value;
    err e = g->host.records.get(g->host.records.ctx, (record_key){RECORD_PAST_LEAF, leaf, p->epoch}, a, &value);
    tree_node *node = NULL;
    if (e == OK && value.n > 0) {
        e = stored_error(tree_node_new_leaf(value, a, &node));
    } else if (e == OK) {
        node = calloc(1, sizeof *node);
        e = node == NULL ? ERR_NO_MEMORY : OK;
    }
    arena_release(a, mark);
    if (e == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    e = index_map_put(&p->leaves, leaf, node);
    if (e != OK)
        tree_node_free(node);
    else
        *out = node;
    return e;
}

err group_leaf_in_epoch(group *g, uint64_t epoch, uint32_t leaf, arena *a, const leaf_node **out) {
    *out = NULL;
    for (uint64_t e = epoch; e < g->context->epoch; e++) {
        past_epoch *p = g->past[g->context->epoch - e - 1];
        tree_node *node = NULL;
        if (p != NULL)
            TRY(past_leaf(g, p, leaf, a, &node));
        if (node != NULL) {
            *out = node->type == NODE_LEAF ? &node->leaf : NULL;
            return OK;
        }
    }
    return ratchet_tree_load_leaf(&g->tree, leaf, a, out);
}

/* --- a staged commit as bytes --- */

typedef struct staged_record {
    uint64_t base_epoch;
    uint8_t base_authenticator[HASH_MAX];
    uint32_t sender;
    span tree, context;
    epoch_secrets secrets;
    uint8_t interim[HASH_MAX], tag[HASH_MAX];
    private_path keys;
    u32_list added, removed;
    bool new_signer;
    signature_key signer;
    bool extensions_changed;
    uint32_t psk_count;
    span re_init;
} staged_record;

static void wire_staged_record(wire *w, staged_record *o) {
    uint8_t version = wire_version(w);
    wire_u64(w, &o->base_epoch);
    wire_fixed(w, o->base_authenticator, sizeof o->base_authenticator);
    wire_u32(w, &o->sender);
    wire_opaque(w, &o->tree);
    wire_opaque(w, &o->context);
    wire_epoch_secrets(w, &o->secrets);
    wire_fixed(w, o->interim, sizeof o->interim);
    wire_fixed(w, o->tag, sizeof o->tag);
    for (size_t i = 0; i < TREE_MAX_PATH; i++) {
        wire_bool(w, &o->keys.known[i]);
        if (o->keys.known[i])
            wire_fixed(w, o->keys.keys[i], KEM_PRIVATE_SIZE);
    }
    WIRE_VEC(w, o->added, wire_u32);
    WIRE_VEC(w, o->removed, wire_u32);
    wire_bool(w, &o->new_signer);
    if (o->new_signer)
        wire_fixed(w, o->signer.b, sizeof o->signer.b);
    if (version < 2)
        return;
    wire_bool(w, &o->extensions_changed);
    wire_u32(w, &o->psk_count);
    wire_ended(w, &o->re_init);
}

err staged_commit_save(const staged_commit *c, arena *a, span *bytes) {
    if (!c->own) /* another's arrives again with the relay's log */
        return ERR_STATE;
    staged_record *r = ARENA_NEW(a, staged_record);
    if (r == NULL)
        return ERR_ARENA;
    r->base_epoch = c->base_epoch;
    memcpy(r->base_authenticator, c->base_authenticator, sizeof r->base_authenticator);
    r->sender = c->sender;
    TRY(ratchet_tree_save(&c->tree, a, &r->tree));
    r->context = c->context->encoded;
    r->secrets = c->secrets;
    memcpy(r->interim, c->interim, sizeof r->interim);
    memcpy(r->tag, c->confirmation_tag, sizeof r->tag);
    r->keys = c->keys;
    r->added = (u32_list){c->added, c->added_count};
    r->removed = (u32_list){c->removed, c->removed_count};
    r->new_signer = c->new_signer;
    r->signer = c->signer;
    r->extensions_changed = c->extensions_changed;
    r->psk_count = (uint32_t)c->psk_count;
    err e = encode_re_init(c->re_init, a, &r->re_init);
    if (e == OK)
        e = WIRE_ENCODE(a, wire_staged_record, r, bytes);
    wipe(r, sizeof *r);
    return e;
}

err staged_commit_restore(group *g, span bytes, arena *a, staged_commit **out) {
    if (g->pending != NULL)
        return ERR_PENDING_COMMIT;
    staged_record *r = ARENA_NEW(a, staged_record);
    if (r == NULL)
        return ERR_ARENA;
    TRY(stored_error(WIRE_DECODE(bytes, a, wire_staged_record, r)));
    /* Only onto the epoch it was made in: not merely its number, for a group may have been re-created. */
    if (group_check_open(g) != OK || r->base_epoch != g->context->epoch ||
        !secret_equal(span_of(r->base_authenticator, g->suite->hash_size),
                      secret_span(&g->secrets.epoch_authenticator)))
        return ERR_WRONG_EPOCH;
    TRY(ratchet_tree_load(&g->tree, a));
    staged_commit *c;
    TRY(staged_commit_new(g, r->sender, &c));
    err e;
    c->own = true;
    TRY_OUT(stored_error(ratchet_tree_restore(&c->tree, r->tree, a)));
    TRY_OUT(stored_error(OWNED_DECODE(r->context, wire_group_context, group_context, a, &c->context)));
    c->secrets = r->secrets;
    memcpy(c->interim, r->interim, sizeof c->interim);
    memcpy(c->confirmation_tag, r->tag, sizeof c->confirmation_tag);
    c->keys = r->keys;
    c->new_signer = r->new_signer;
    c->signer = r->signer;
    c->extensions_changed = r->extensions_changed;
    c->psk_count = r->psk_count;
    TRY_OUT(decode_re_init(r->re_init, a, &c->re_init));
    TRY_OUT(staged_commit_set_members(c, &r->added, &r->removed));
    g->pending = c;
    *out = c;
    c = NULL;
out:
    wipe(r, sizeof *r);
    staged_commit_free(c);
    return e;
}
