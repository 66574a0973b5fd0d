#include "support/memory_records.h"

#include <stdlib.h>
#include <string.h>

static int order(record_key a, record_key b) {
    if (a.kind != b.kind)
        return a.kind < b.kind ? -1 : 1;
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return (a.index > b.index) - (a.index < b.index);
}

/* Where the record is or would be. */
static size_t place(const memory_records *m, record_key key) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (order(m->all[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool at(const memory_records *m, size_t i, record_key key) {
    return i < m->count && order(m->all[i].key, key) == 0;
}

static err fault(memory_records *m) {
    if (m->fail_after > 0 && --m->fail_after == 0)
        return ERR_STORE;
    return OK;
}

static err records_get(void *ctx, record_key key, arena *a, span *value) {
    memory_records *m = ctx;
    TRY(fault(m));
    m->gets++;
    size_t i = place(m, key);
    if (!at(m, i, key))
        return ERR_NOT_FOUND;
    m->bytes_got += m->all[i].size;
    return arena_copy(a, span_of(m->all[i].value, m->all[i].size), value);
}

static err records_put(void *ctx, record_key key, span value) {
    memory_records *m = ctx;
    TRY(fault(m));
    m->puts++;
    m->bytes_put += value.n;
    size_t i = place(m, key);
    uint8_t *copy = malloc(value.n + 1);
    if (value.n > 0)
        memcpy(copy, value.p, value.n);
    if (at(m, i, key)) {
        free(m->all[i].value);
    } else {
        if (m->count == m->capacity) {
            m->capacity = m->capacity == 0 ? 64 : 2 * m->capacity;
            m->all = realloc(m->all, m->capacity * sizeof *m->all);
        }
        memmove(m->all + i + 1, m->all + i, (m->count - i) * sizeof *m->all);
        m->count++;
    }
    m->all[i] = (memory_record){key, copy, value.n};
    return OK;
}

static void remove_at(memory_records *m, size_t i) {
    free(m->all[i].value);
    memmove(m->all + i, m->all + i + 1, (m->count - i - 1) * sizeof *m->all);
    m->count--;
}

static err records_del(void *ctx, record_key key) {
    memory_records *m = ctx;
    TRY(fault(m));
    m->dels++;
    size_t i = place(m, key);
    if (at(m, i, key))
        remove_at(m, i);
    return OK;
}

static err records_del_epoch(void *ctx, record_kind kind, uint64_t epoch) {
    memory_records *m = ctx;
    TRY(fault(m));
    m->dels++;
    size_t i = place(m, (record_key){kind, 0, epoch});
    while (i < m->count && m->all[i].key.kind == kind && m->all[i].key.epoch == epoch)
        remove_at(m, i);
    return OK;
}

static err records_each(void *ctx, record_kind kind, uint64_t epoch, arena *a, err (*visit)(void *, record_key, span),
                        void *visit_ctx) {
    memory_records *m = ctx;
    TRY(fault(m));
    for (size_t i = place(m, (record_key){kind, 0, epoch});
         i < m->count && m->all[i].key.kind == kind && m->all[i].key.epoch == epoch; i++) {
        size_t mark = arena_mark(a);
        span value;
        m->gets++;
        m->bytes_got += m->all[i].size;
        TRY(arena_copy(a, span_of(m->all[i].value, m->all[i].size), &value));
        TRY(visit(visit_ctx, m->all[i].key, value));
        arena_release(a, mark); /* what a visitor takes from the arena is gone after it */
    }
    return OK;
}

group_records memory_records_interface(memory_records *m) {
    return (group_records){m, records_get, records_put, records_del, records_del_epoch, records_each};
}

void memory_records_free(memory_records *m) {
    for (size_t i = 0; i < m->count; i++)
        free(m->all[i].value);
    free(m->all);
    *m = (memory_records){0};
}

void memory_records_copy(memory_records *to, const memory_records *from) {
    memory_records_free(to);
    for (size_t i = 0; i < from->count; i++)
        (void)records_put(to, from->all[i].key, span_of(from->all[i].value, from->all[i].size));
    memory_records_count_anew(to);
}

bool memory_records_equal(const memory_records *a, const memory_records *b) {
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (order(a->all[i].key, b->all[i].key) != 0 || a->all[i].size != b->all[i].size ||
            memcmp(a->all[i].value, b->all[i].value, a->all[i].size) != 0)
            return false;
    return true;
}

void memory_records_count_anew(memory_records *m) { m->puts = m->bytes_put = m->dels = m->gets = m->bytes_got = 0; }

size_t memory_records_of_kind(const memory_records *m, record_kind kind) {
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++)
        n += m->all[i].key.kind == kind;
    return n;
}

bool memory_records_contain(const memory_records *m, span bytes) {
    for (size_t i = 0; i < m->count; i++)
        for (size_t k = 0; k + bytes.n <= m->all[i].size; k++)
            if (memcmp(m->all[i].value + k, bytes.p, bytes.n) == 0)
                return true;
    return false;
}
