/* batch.c: the clinics of the batch under way: each is locked and read once, changed in memory, and written once. */
#include <stdlib.h>

#include <sodium/randombytes.h>

#include "audit.h"

static batch_clinic *find(relay *r, const uint8_t clinic[ID_SIZE]) {
    for (size_t i = r->clinics_count; i-- > 0;)
        if (memcmp(r->clinics[i].clinic, clinic, ID_SIZE) == 0)
            return &r->clinics[i];
    return NULL;
}

static db_rows ask(relay *r, const uint8_t clinic[ID_SIZE]) {
    db_lock(r->db, span_of(clinic, ID_SIZE));
    return DB_QUERY(r->db,
                    "SELECT c.root_key, c.seq, m.mark, h.number, h.hash, h.signed_number, h.signed_at, p.clinic, "
                    "u.stored, u.group_count, u.device_count, u.invitation_count "
                    "FROM clinics c LEFT JOIN audit_heads h ON h.clinic = c.clinic "
                    "LEFT JOIN clinic_marks m ON m.clinic = c.clinic LEFT JOIN policies p ON p.clinic = c.clinic "
                    "LEFT JOIN clinic_use u ON u.clinic = c.clinic "
                    "WHERE c.clinic = $1",
                    db_id(clinic));
}

static batch_clinic *take(relay *r, const uint8_t clinic[ID_SIZE], db_rows rows) {
    batch_clinic *b = NULL;
    if (r->clinics_count < CLINICS_A_BATCH_MAX && db_next(&rows)) {
        b = &r->clinics[r->clinics_count++];
        *b = (batch_clinic){.seq = db_integer(&rows, 1), .mark = db_is_null(&rows, 2) ? 0 : db_integer(&rows, 2)};
        b->has_policy = !db_is_null(&rows, 7);
        for (int k = 0; k < USE_KINDS && !db_is_null(&rows, 8); k++)
            b->use[k] = db_integer(&rows, 8 + k);
        memcpy(b->clinic, clinic, ID_SIZE);
        memcpy(b->root_key, db_bytes(&rows, 0).p, sizeof b->root_key);
        if (!db_is_null(&rows, 3)) {
            b->audit = (audit_head){.number = db_integer(&rows, 3),
                                    .signed_number = db_integer(&rows, 5),
                                    .signed_at = db_integer(&rows, 6)};
            if (db_bytes(&rows, 4).n == sizeof b->audit.hash)
                memcpy(b->audit.hash, db_bytes(&rows, 4).p, sizeof b->audit.hash);
        }
        b->generation = directory_generation(r->directory, clinic, b->mark);
    }
    db_end(&rows);
    return b;
}

bool batch_open(call *c) {
    c->state = find(c->relay, c->clinic);
    if (c->state == NULL)
        c->state = take(c->relay, c->clinic, ask(c->relay, c->clinic));
    if (c->state == NULL)
        return false;
    memcpy(c->root_key, c->state->root_key, sizeof c->root_key);
    return true;
}

static int by_name(const void *a, const void *b) { return memcmp(a, b, ID_SIZE); }

void batch_open_all(relay *r, uint8_t (*clinics)[ID_SIZE], size_t n) {
    /* All relays take them in the same order, so that none waits for one who waits for it. */
    qsort(clinics, n, ID_SIZE, by_name);
    for (size_t i = 0; i < n; i++)
        if ((i == 0 || memcmp(clinics[i], clinics[i - 1], ID_SIZE) != 0) && find(r, clinics[i]) == NULL)
            (void)take(r, clinics[i], ask(r, clinics[i]));
}

void clinic_changed(call *c) {
    randombytes_buf(&c->state->mark, sizeof c->state->mark);
    c->state->mark_changed = true;
}

void batch_write(relay *r) {
    for (size_t i = 0; i < r->clinics_count; i++) {
        batch_clinic *b = &r->clinics[i];
        if (b->seq_changed)
            DB_RUN_LATER(r->db, "UPDATE clinics SET seq = $2 WHERE clinic = $1", db_id(b->clinic), db_i(b->seq));
        if (b->mark_changed) {
            DB_RUN_LATER(r->db,
                         "INSERT INTO clinic_marks (clinic, mark) VALUES ($1, $2) ON CONFLICT (clinic) DO UPDATE SET "
                         "mark = excluded.mark",
                         db_id(b->clinic), db_i(b->mark));
            directory_marked(r->directory, b->clinic, b->mark);
        }
        use_write(r, b);
        audit_write_head(r, b);
    }
    r->clinics_count = 0;
}
