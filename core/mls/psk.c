#include "mls/psk.h"

#include "crypto/random.h"

err psk_with_nonce(const suite *s, const psk_id *id, arena *a, psk_id *out) {
    *out = *id;
    if (id->nonce.n > 0)
        return OK;
    uint8_t *nonce = arena_take(a, s->hash_size, 1);
    if (nonce == NULL)
        return ERR_ARENA;
    random_bytes(nonce, s->hash_size);
    out->nonce = span_of(nonce, s->hash_size);
    return OK;
}

bool psk_same_id(const psk_id *a, const psk_id *b) {
    if (a->type != b->type || !span_equal(a->nonce, b->nonce))
        return false;
    if (a->type == PSK_EXTERNAL)
        return span_equal(a->external_id, b->external_id);
    return a->usage == b->usage && a->epoch == b->epoch && span_equal(a->group_id, b->group_id);
}

err psk_check_list(const suite *s, const psk_id_list *ids, const psk_id **link) {
    if (link != NULL)
        *link = NULL;
    if (ids->n > GROUP_PSKS_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < ids->n; i++) {
        const psk_id *id = &ids->p[i];
        /* §12.1.4: invalid if "the psk_nonce is not of length KDF.Nh" */
        if (id->nonce.n != s->hash_size)
            return ERR_PROPOSAL;
        /* §12.2: "multiple PreSharedKey proposals that reference the same PreSharedKeyID" */
        for (size_t j = 0; j < i; j++)
            if (psk_same_id(id, &ids->p[j]))
                return ERR_PROPOSAL;
        if (!psk_is_link(id))
            continue;
        /* §12.1.4: usage reinit and branch only while a group is re-initialised or branched; §12.4.3.1: "verify that it is
         * the only such PSK" */
        if (link == NULL || *link != NULL)
            return ERR_PROPOSAL;
        *link = id;
    }
    return OK;
}

err psk_find(const psk_source *from, const psk_id *id, arena *a, span *value) {
    group *const groups[] = {from->own, from->parent};
    for (size_t i = 0; i < 2 && id->type == PSK_RESUMPTION; i++) {
        if (groups[i] == NULL || !span_equal(id->group_id, groups[i]->context->group_id))
            continue;
        err e = group_find_resumption(groups[i], id->epoch, a, value);
        if (e != ERR_NOT_FOUND)
            return e;
    }
    return from->host->find_psk != NULL ? from->host->find_psk(from->host->ctx, id, a, value) : ERR_PSK;
}

err psk_list_secret(const psk_source *from, const suite *s, const psk_id_list *ids, arena *a, secret *out) {
    size_t mark = arena_mark(a);
    span *values = ARENA_ARRAY(a, span, ids->n);
    if (values == NULL)
        return ERR_ARENA;
    err e = OK;
    for (size_t i = 0; i < ids->n && e == OK; i++)
        e = psk_find(from, &ids->p[i], a, &values[i]);
    if (e == OK)
        e = key_schedule_psk(s, ids->p, values, ids->n, a, out);
    arena_release(a, mark); /* wipes the values */
    return e;
}
