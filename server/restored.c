#include "restored.h"

#include "audit.h"

/* Numbers go on from the time of the restoring, at this many to the millisecond: more than a clinic can be given, so that what is given
 * before the next restoring is below what is given after it. It stays below 2^53 until the year 2248. */
#define NUMBERS_A_MS 1024
/* Where they are beyond that already, since a clock was set back: more than are given in any time that a copy may be old. */
#define NUMBERS_AHEAD (1ll << 40)

static int64_t number_beyond(int64_t number, int64_t now_ms) {
    int64_t of_now = now_ms * NUMBERS_A_MS;
    return number < of_now ? of_now : number + NUMBERS_AHEAD;
}

static bool next_clinic(db *d, uint8_t clinic[ID_SIZE], int64_t *seq) {
    db_rows r = DB_QUERY(d, "SELECT clinic, seq FROM clinics WHERE clinic > $1 ORDER BY clinic LIMIT 1", db_id(clinic));
    uint8_t next[ID_SIZE];
    bool found = db_next(&r);
    if (found) {
        memcpy(next, db_bytes(&r, 0).p, sizeof next);
        *seq = db_integer(&r, 1);
    }
    db_end(&r);
    if (found)
        memcpy(clinic, next, sizeof next);
    return found;
}

/* Chained to the last entry that there is, whose number it tells; its own leaves out all that clients may have seen. */
static void write_entry(db *d, const uint8_t clinic[ID_SIZE], int64_t now_ms) {
    uint8_t bytes[AUDIT_ENTRY_MAX], hash[AUDIT_HASH_SIZE];
    audit_entry e = {
        .at = (uint64_t)now_ms, .who = AUDIT_BY_OPERATOR, .call = AUDIT_RESTORED, .object_size = 8, .status = 200};
    wire w;
    int64_t last = 0;
    db_rows r = DB_QUERY(d, "SELECT number, hash FROM audit_heads WHERE clinic = $1", db_id(clinic));
    if (db_next(&r)) {
        last = db_integer(&r, 0);
        if (db_bytes(&r, 1).n == sizeof e.previous)
            memcpy(e.previous, db_bytes(&r, 1).p, sizeof e.previous);
    }
    db_end(&r);
    e.number = (uint64_t)number_beyond(last, now_ms);
    memcpy(e.keyid, clinic, sizeof e.keyid);
    for (int i = 0; i < 8; i++)
        e.object[i] = (uint8_t)((uint64_t)last >> (56 - 8 * i));
    wire_write_init(&w, bytes, sizeof bytes);
    wire_audit_entry(&w, &e);
    audit_hash(span_of(bytes, w.at), hash);
    DB_RUN(d, "INSERT INTO audit_entries (clinic, number, entry) VALUES ($1, $2, $3)", db_id(clinic),
           db_i((int64_t)e.number), db_b(span_of(bytes, w.at)));
    DB_RUN(d,
           "INSERT INTO audit_heads (clinic, number, hash, signed_number, signed_at) VALUES ($1, $2, $3, 0, 0) "
           "ON CONFLICT (clinic) DO UPDATE SET number = excluded.number, hash = excluded.hash, signed_number = 0, "
           "signed_at = 0",
           db_id(clinic), db_i((int64_t)e.number), db_b(SPAN(hash)));
}

err database_restored(db *d, int64_t now_ms) {
    uint8_t clinic[ID_SIZE] = {0};
    int64_t seq = 0;
    TRY(db_begin(d));
    while (next_clinic(d, clinic, &seq)) {
        DB_RUN(d, "UPDATE clinics SET seq = $2 WHERE clinic = $1", db_id(clinic), db_i(number_beyond(seq, now_ms)));
        DB_RUN(d, "UPDATE key_packages SET claimed = $2, data = $3 WHERE clinic = $1 AND claimed = 0", db_id(clinic),
               db_i(now_ms), db_b(SPAN_NONE));
        write_entry(d, clinic, now_ms);
    }
    return db_commit(d);
}
