/* tidy.c: forgets what is older than it need be remembered. Goes round the tables a little at a time instead of
 * keeping an index by age, which every message would pay for. */
#include "call.h"

#define ROWS_A_ROUND 2000

/* Looks at the next rows of `sent`, deletes those too old. */
static void tidy_sent(relay *r, int64_t before) {
    size_t seen = 0, old = 0;
    uint8_t(*keys)[3 * ID_SIZE] = arena_take(&r->scratch, ROWS_A_ROUND, sizeof *keys);
    if (keys == NULL)
        return;
    uint8_t *at = r->tidy_sent;
    db_rows rows =
        DB_QUERY(r->db,
                 "SELECT clinic, device, message_id, at FROM sent WHERE (clinic, device, message_id) > ($1, $2, $3) "
                 "ORDER BY clinic, device, message_id LIMIT $4",
                 db_id(at), db_id(at + ID_SIZE), db_id(at + 2 * ID_SIZE), db_i(ROWS_A_ROUND));
    uint8_t last[3 * ID_SIZE] = {0};
    while (db_next(&rows)) {
        for (int k = 0; k < 3; k++)
            memcpy(last + k * ID_SIZE, db_bytes(&rows, k).p, ID_SIZE);
        if (db_integer(&rows, 3) < before)
            memcpy(keys[old++], last, sizeof last);
        seen++;
    }
    if (seen < ROWS_A_ROUND)
        memset(last, 0, sizeof last); /* the end: begin again */
    memcpy(at, last, sizeof last);
    if (old == 0 || db_begin(r->db) != OK)
        return;
    for (size_t i = 0; i < old; i++)
        /* Not one that waits, however long it is overdue: its number is to come. Another relay may have been quicker. */
        DB_RUN_LATER(
            r->db, "DELETE FROM sent WHERE clinic = $1 AND device = $2 AND message_id = $3 AND at < $4 AND seq <> $5",
            db_id(keys[i]), db_id(keys[i] + ID_SIZE), db_id(keys[i] + 2 * ID_SIZE), db_i(before), db_i(SENT_WAITING));
    (void)!db_commit(r->db);
}

/* The same for the marks that claimed key packages leave. */
static void tidy_key_packages(relay *r, int64_t before) {
    size_t seen = 0, old = 0;
    uint8_t(*keys)[2 * ID_SIZE + 32] = arena_take(&r->scratch, ROWS_A_ROUND, sizeof *keys);
    if (keys == NULL)
        return;
    db_rows rows = DB_QUERY(
        r->db,
        "SELECT clinic, device, digest, claimed FROM key_packages WHERE (clinic, device, digest) > ($1, $2, $3) "
        "ORDER BY clinic, device, digest LIMIT $4",
        db_id(r->tidy_clinic), db_id(r->tidy_device), db_b(SPAN(r->tidy_digest)), db_i(ROWS_A_ROUND));
    uint8_t last[2 * ID_SIZE + 32] = {0};
    while (db_next(&rows)) {
        memcpy(last, db_bytes(&rows, 0).p, ID_SIZE);
        memcpy(last + ID_SIZE, db_bytes(&rows, 1).p, ID_SIZE);
        memcpy(last + 2 * ID_SIZE, db_bytes(&rows, 2).p, 32);
        if (db_integer(&rows, 3) != 0 && db_integer(&rows, 3) < before)
            memcpy(keys[old++], last, sizeof last);
        seen++;
    }
    if (seen < ROWS_A_ROUND)
        memset(last, 0, sizeof last);
    memcpy(r->tidy_clinic, last, ID_SIZE);
    memcpy(r->tidy_device, last + ID_SIZE, ID_SIZE);
    memcpy(r->tidy_digest, last + 2 * ID_SIZE, 32);
    if (old == 0 || db_begin(r->db) != OK)
        return;
    for (size_t i = 0; i < old; i++)
        DB_RUN_LATER(r->db, "DELETE FROM key_packages WHERE clinic = $1 AND device = $2 AND digest = $3",
                     db_id(keys[i]), db_id(keys[i] + ID_SIZE), db_b(span_of(keys[i] + 2 * ID_SIZE, 32)));
    (void)!db_commit(r->db);
}

/* A round takes the oldest of both kinds, one transaction each: other requests are not kept waiting for gigabytes. */
#define BLOBS_A_ROUND 64

static void tidy_blobs(relay *r, int64_t uploads_before, int64_t before) {
    uint8_t(*keys)[ID_SIZE + BLOB_ID_BYTES] = arena_take(&r->scratch, 2 * BLOBS_A_ROUND, sizeof *keys);
    size_t n = 0;
    if (keys == NULL)
        return;
    for (int unfinished = 0; unfinished < 2; unfinished++) {
        db_rows rows =
            unfinished
                ? DB_QUERY(
                      r->db,
                      "SELECT clinic, blob FROM blobs WHERE stored < size AND created < $1 ORDER BY created LIMIT $2",
                      db_i(uploads_before), db_i(BLOBS_A_ROUND))
                : DB_QUERY(r->db, "SELECT clinic, blob FROM blobs WHERE created < $1 ORDER BY created LIMIT $2",
                           db_i(before), db_i(BLOBS_A_ROUND));
        for (; db_next(&rows); n++) {
            memcpy(keys[n], db_bytes(&rows, 0).p, ID_SIZE);
            memcpy(keys[n] + ID_SIZE, db_bytes(&rows, 1).p, BLOB_ID_BYTES);
        }
    }
    for (size_t i = 0; i < n; i++) {
        span clinic = span_of(keys[i], ID_SIZE), id = span_of(keys[i] + ID_SIZE, BLOB_ID_BYTES);
        if (db_begin(r->db) != OK)
            return;
        db_lock(r->db, clinic);
        /* A second look: meanwhile it may have been deleted, and begun anew, or ended. */
        db_rows rows = DB_QUERY(r->db,
                                "SELECT 1 FROM blobs WHERE clinic = $1 AND blob = $2 AND "
                                "(created < $3 OR (stored < size AND created < $4))",
                                db_b(clinic), db_b(id), db_i(before), db_i(uploads_before));
        bool still = db_next(&rows);
        db_end(&rows);
        if (still)
            blob_forget(r->db, clinic, id);
        if (db_commit(r->db) != OK)
            return;
    }
}

void relay_tidy(relay *r, int64_t now_ms) {
    arena_reset(&r->scratch);
    r->db->error = OK;
    tidy_sent(r, now_ms - MESSAGE_ID_KEEP_MS);
    arena_reset(&r->scratch);
    r->db->error = OK;
    tidy_key_packages(r, now_ms - MESSAGE_ID_KEEP_MS);
    arena_reset(&r->scratch);
    r->db->error = OK;
    retention_tidy(r, now_ms);
    arena_reset(&r->scratch);
    r->db->error = OK;
    tidy_blobs(r, now_ms - BLOB_UPLOAD_MS, now_ms - r->options.blob_days * 24 * 3600 * 1000);
    arena_reset(&r->scratch);
    r->db->error = OK;
}
