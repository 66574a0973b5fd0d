#include "audit.h"

#include <sodium/randombytes.h>

#include "base/secret.h"
#include "base/text.h"

void audit_sign_when_due(relay *r, batch_clinic *b) {
    audit_head *head = &b->audit;
    /* A clock that was ahead, and was set right, must not keep checkpoints away until it is there again. */
    int64_t since = r->now_ms - head->signed_at;
    if (head->number == head->signed_number ||
        (head->signed_number != 0 && since < AUDIT_CHECKPOINT_MS && since > -AUDIT_CHECKPOINT_MS))
        return;
    audit_checkpoint p = {.number = (uint64_t)head->number, .at = (uint64_t)r->now_ms};
    memcpy(p.clinic, b->clinic, ID_SIZE);
    memcpy(p.hash, head->hash, sizeof p.hash);
    audit_checkpoint_sign(&p, &r->audit_key);
    DB_RUN_LATER(r->db,
                 "INSERT INTO audit_checkpoints (clinic, number, hash, at, signature) VALUES ($1, $2, $3, $4, $5)",
                 db_id(b->clinic), db_i(head->number), db_b(SPAN(p.hash)), db_i(r->now_ms), db_b(SPAN(p.signature)));
    head->signed_number = head->number;
    head->signed_at = r->now_ms;
    head->changed = true;
    r->promises++; /* whoever has seen it holds the log to it */
}

/* ---- the relay's key */

static bool read_seed(db *d, uint8_t seed[ED25519_SEED_SIZE]) {
    db_rows r = DB_QUERY(d, "SELECT seed FROM audit_key WHERE number = $1", db_i(1));
    bool found = db_next(&r) && db_bytes(&r, 0).n == ED25519_SEED_SIZE;
    if (found)
        memcpy(seed, db_bytes(&r, 0).p, ED25519_SEED_SIZE);
    db_end(&r);
    return found;
}

err audit_key_open(db *d, signature_key *key) {
    uint8_t seed[ED25519_SEED_SIZE];
    TRY(db_begin(d));
    if (!read_seed(d, seed) && !db_failed(d)) {
        /* Relays that start together: one of them makes it. */
        randombytes_buf(seed, sizeof seed);
        DB_RUN_LATER(d, "INSERT INTO audit_key (number, seed) VALUES ($1, $2) ON CONFLICT DO NOTHING", db_i(1),
                     db_b(SPAN(seed)));
        (void)read_seed(d, seed);
    }
    err e = db_commit(d);
    if (e == OK)
        signature_key_from_seed(seed, key);
    wipe(seed, sizeof seed);
    return e;
}

err audit_key_public(db *d, uint8_t out[ED25519_PUBLIC_SIZE]) {
    uint8_t seed[ED25519_SEED_SIZE];
    signature_key key;
    if (!read_seed(d, seed))
        return db_failed(d) ? d->error : ERR_NOT_FOUND;
    signature_key_from_seed(seed, &key);
    memcpy(out, signature_key_public(&key).p, ED25519_PUBLIC_SIZE);
    wipe(seed, sizeof seed);
    wipe(&key, sizeof key);
    return OK;
}

/* ---- entries. The chain's end is in memory while a batch runs: it is under the clinic's lock until then. */

static void put_network(audit_entry *e, const uint8_t address[16]) {
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 §2.5.5.2 */
    bool four = memcmp(address, MAPPED, sizeof MAPPED) == 0;
    e->network_size = four ? 3 : 6;
    memcpy(e->network, address + (four ? 12 : 0), e->network_size);
}

static void put_object(const call *c, audit_entry *e) {
    size_t n = c->id.n * 3 / 4;
    if (c->object_size > 0) {
        memcpy(e->object, c->object, c->object_size);
        e->object_size = c->object_size;
    } else if (n > 0 && n <= sizeof e->object && base64url_read(e->object, n, c->id) == OK) {
        e->object_size = n;
    }
}

static span make_entry(call *c, audit_call what, uint8_t bytes[AUDIT_ENTRY_MAX]) {
    wire w;
    audit_head *head = &c->state->audit;
    audit_entry e = {.number = (uint64_t)head->number + 1,
                     .at = (uint64_t)c->now_ms,
                     .call = (uint8_t)what,
                     .status = (uint16_t)c->rs->status,
                     .sealed = c->rs->status < 400 ? c->sealed : SPAN_NONE};
    bool by_clinic = what == AUDIT_CREATE_CLINIC;
    e.who = (uint8_t)(by_clinic ? AUDIT_BY_CLINIC : c->is_invite ? AUDIT_BY_INVITE : AUDIT_BY_DEVICE);
    memcpy(e.keyid, by_clinic ? c->clinic : c->device, ID_SIZE);
    put_object(c, &e);
    if (c->rs->status >= 400 && c->problem != NULL) {
        e.problem_size = strlen(c->problem) < sizeof e.problem ? strlen(c->problem) : sizeof e.problem;
        memcpy(e.problem, c->problem, e.problem_size);
    }
    put_network(&e, c->rq->address);
    memcpy(e.previous, head->hash, sizeof e.previous);
    wire_write_init(&w, bytes, AUDIT_ENTRY_MAX);
    wire_audit_entry(&w, &e);
    span entry = span_of(bytes, w.at);
    audit_hash(entry, head->hash);
    head->number++;
    head->changed = true;
    return entry;
}

static db_many ENTRIES = {
    .head = "INSERT INTO audit_entries (clinic, number, entry) VALUES ", .tail = "", .columns = 3};

void audit_note(call *c, audit_call what) {
    uint8_t bytes[AUDIT_ENTRY_MAX];
    if (c->state == NULL || db_failed(c->db))
        return;
    span entry = make_entry(c, what, bytes);
    db_value row[] = {db_id(c->clinic), db_i(c->state->audit.number), db_b(entry)};
    db_many_run_later(c->db, &ENTRIES, row, 1);
}

void audit_note_all(call *const *calls, size_t n, audit_call what) {
    uint8_t bytes[AUDIT_ENTRY_MAX];
    db_value rows[BATCH_MAX][3];
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        call *c = calls[i];
        span entry = make_entry(c, what, bytes), copy;
        bool together = arena_copy(c->arena, entry, &copy) == OK;
        db_value *row = rows[k];
        row[0] = db_id(c->clinic);
        row[1] = db_i(c->state->audit.number);
        row[2] = db_b(together ? copy : entry);
        if (together)
            k++;
        else
            db_many_run_later(c->db, &ENTRIES, row, 1);
    }
    if (k > 0)
        db_many_run_later(calls[0]->db, &ENTRIES, rows[0], k);
}

void audit_write_head(relay *r, batch_clinic *b) {
    audit_head *head = &b->audit;
    if (!head->changed)
        return;
    audit_sign_when_due(r, b);
    DB_RUN_LATER(r->db,
                 "INSERT INTO audit_heads (clinic, number, hash, signed_number, signed_at) VALUES ($1, $2, $3, $4, $5) "
                 "ON CONFLICT (clinic) DO UPDATE SET number = excluded.number, hash = excluded.hash, "
                 "signed_number = excluded.signed_number, signed_at = excluded.signed_at",
                 db_id(b->clinic), db_i(head->number), db_b(SPAN(head->hash)), db_i(head->signed_number),
                 db_i(head->signed_at));
    head->changed = false;
}
