#include "nonce.h"

#include <stdlib.h>

#include <sodium/randombytes.h>

#include "crypto/sha256.h"

#define DIGEST_SIZE 8 /* one in 10^12 requests is taken for another of the same minute, and is signed anew */
#define MINUTES 32    /* of the ring; more than there are between the oldest and the newest that a request can be of */
#define MINUTES_BEFORE (NONCE_KEEP_S / 60 + 1)
#define SET_SLOTS_MIN 1024
#define FREE 0
#define TAKEN_BACK 1 /* and no digest is one of these two */

/* The digests of a minute: open addressing, at most half full. A device chooses its nonces, so where a digest's slot is depends on a
 * secret: multiply-shift with a random odd key. */
typedef struct nonce_set {
    int64_t minute;
    uint64_t key;
    uint64_t *slots;
    size_t room, used; /* used: those taken back, too */
} nonce_set;

typedef struct nonce_clinic {
    uint8_t clinic[ID_SIZE];
    int64_t number, mark; /* of the last row; number 0: there is none */
    db_rows rows;
} nonce_clinic;

/* What the batch has taken. */
typedef struct nonce_taken {
    size_t clinic; /* of the batch's */
    int64_t minute;
    uint64_t digest;
} nonce_taken;

struct nonces {
    nonce_set sets[MINUTES];
    uint64_t key;
    nonce_clinic *clinics;
    nonce_taken *taken;
    size_t clinics_count, clinics_room, taken_count, taken_room;
};

err nonces_open(nonces **out) {
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return ERR_NO_MEMORY;
    randombytes_buf(&(*out)->key, sizeof(*out)->key);
    (*out)->key |= 1;
    return OK;
}

void nonces_close(nonces *o) {
    if (o == NULL)
        return;
    for (size_t i = 0; i < MINUTES; i++)
        free(o->sets[i].slots);
    free(o->clinics);
    free(o->taken);
    free(o);
}

/* ---- the set of a minute */

static uint64_t *slot_of(const nonce_set *s, uint64_t digest) {
    size_t i = (size_t)(digest * s->key >> 32) & (s->room - 1);
    while (s->slots[i] != FREE && s->slots[i] != digest)
        i = (i + 1) & (s->room - 1);
    return &s->slots[i];
}

static bool grow(nonce_set *s) {
    nonce_set larger = {.minute = s->minute, .key = s->key, .room = s->room != 0 ? 2 * s->room : SET_SLOTS_MIN};
    if (larger.room > 2 * (size_t)NONCES_A_MINUTE_MAX)
        return false;
    larger.slots = calloc(larger.room, sizeof *larger.slots);
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < s->room; i++)
        if (s->slots[i] > TAKEN_BACK) {
            *slot_of(&larger, s->slots[i]) = s->slots[i];
            larger.used++;
        }
    free(s->slots);
    *s = larger;
    return true;
}

/* The set of a minute around now; NULL: another minute has its place, or it is too far off. */
static nonce_set *set_of(nonces *o, int64_t minute, int64_t now) {
    nonce_set *s = &o->sets[(uint64_t)minute % MINUTES];
    if (minute < now - MINUTES_BEFORE || minute >= now - MINUTES_BEFORE + MINUTES)
        return NULL;
    if (s->minute != minute) {
        if (s->minute >= now - MINUTES_BEFORE && s->minute < now - MINUTES_BEFORE + MINUTES)
            return NULL;
        free(s->slots);
        *s = (nonce_set){.minute = minute, .key = o->key};
    }
    return s;
}

typedef enum added { ADDED, WAS_THERE, NO_ROOM } added;

static added add(nonces *o, int64_t minute, int64_t now, uint64_t digest) {
    nonce_set *s = set_of(o, minute, now);
    if (s == NULL || (2 * (s->used + 1) > s->room && !grow(s)))
        return NO_ROOM;
    uint64_t *slot = slot_of(s, digest);
    if (*slot == digest)
        return WAS_THERE;
    *slot = digest;
    s->used++;
    return ADDED;
}

/* ---- rows */

static uint64_t number_of(const uint8_t p[DIGEST_SIZE]) {
    uint64_t v = 0;
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        v = v << 8 | p[i];
    return v > TAKEN_BACK ? v : v + 2;
}

static void put_number(uint8_t p[DIGEST_SIZE], uint64_t v) {
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* The clinic is part of it, since the sets are of all clinics. */
static uint64_t digest_of(const call *c) {
    uint8_t bytes[2 * ID_SIZE + sizeof c->head.nonce], hash[32];
    memcpy(bytes, c->clinic, ID_SIZE);
    memcpy(bytes + ID_SIZE, c->head.keyid, ID_SIZE);
    memcpy(bytes + 2 * ID_SIZE, c->head.nonce, sizeof c->head.nonce);
    sha256(SPAN(bytes), hash);
    return number_of(hash);
}

static int64_t minute_of(const call *c) { return (int64_t)(c->head.created / 60); }

/* Of the row that was seen last only its mark. */
static db_rows ask_rows(relay *r, const uint8_t clinic[ID_SIZE], int64_t from) {
    return DB_QUERY(r->db,
                    "SELECT number, mark, minute, CASE WHEN number > $2 THEN digests ELSE NULL END FROM nonces "
                    "WHERE clinic = $1 AND number >= $2 ORDER BY number",
                    db_id(clinic), db_i(from));
}

/* False: what is seen does not go on from what was seen, or can't be remembered. */
static bool take_rows(relay *r, nonce_clinic *b, bool *room) {
    int64_t seen = b->number, now = r->now_ms / 60000;
    bool known = seen == 0;
    *room = true;
    while (*room && db_next(&b->rows)) {
        int64_t number = db_integer(&b->rows, 0), mark = db_integer(&b->rows, 1), minute = db_integer(&b->rows, 2);
        if (!known && (number != seen || mark != b->mark))
            break;
        known = true;
        b->number = number;
        b->mark = mark;
        if (number == seen || minute < now - MINUTES_BEFORE)
            continue;
        span digests = db_bytes(&b->rows, 3);
        for (size_t i = 0; i + DIGEST_SIZE <= digests.n && *room; i += DIGEST_SIZE)
            *room = add(r->nonces, minute, now, number_of(digests.p + i)) != NO_ROOM;
    }
    db_end(&b->rows);
    return known && *room;
}

/* ---- a batch */

static bool make_room(void **p, size_t *room, size_t needed, size_t size) {
    if (needed <= *room)
        return true;
    size_t larger = needed > 2 * *room ? needed : 2 * *room;
    void *q = realloc(*p, larger * size);
    if (q == NULL)
        return false;
    *p = q;
    *room = larger;
    return true;
}

static size_t find(const nonces *o, const uint8_t clinic[ID_SIZE]) {
    size_t i = 0;
    while (i < o->clinics_count && memcmp(o->clinics[i].clinic, clinic, ID_SIZE) != 0)
        i++;
    return i;
}

/* All that is stored of the clinic is in memory then. False: it is not. */
static bool know(relay *r, nonce_clinic *b) {
    bool room;
    if (!take_rows(r, b, &room) && room && !db_failed(r->db)) {
        b->number = b->mark = 0;
        b->rows = ask_rows(r, b->clinic, 0);
        (void)take_rows(r, b, &room);
    }
    return room && !db_failed(r->db);
}

static bool know_clinics(relay *r, call *const *calls, size_t n) {
    nonces *o = r->nonces;
    size_t first = o->clinics_count;
    bool good = make_room((void **)&o->clinics, &o->clinics_room, first + n, sizeof *o->clinics);
    for (size_t i = 0; i < n && good; i++) {
        if (find(o, calls[i]->clinic) < o->clinics_count)
            continue;
        nonce_clinic *b = &o->clinics[o->clinics_count++];
        *b = (nonce_clinic){.number = 0};
        memcpy(b->clinic, calls[i]->clinic, ID_SIZE);
        directory_nonces(r->directory, b->clinic, &b->number, &b->mark);
        b->rows = ask_rows(r, b->clinic, b->number);
        if (!db_pipelined(r->db))
            good = know(r, b);
    }
    for (size_t i = first; i < o->clinics_count && db_pipelined(r->db); i++) {
        if (good)
            good = know(r, &o->clinics[i]);
        else
            db_end(&o->clinics[i].rows);
    }
    if (!good)
        o->clinics_count = first;
    return good;
}

void nonces_begin(relay *r) {
    nonces *o = r->nonces;
    int64_t now = r->now_ms / 60000;
    nonces_end(r, false);
    for (size_t i = 0; i < MINUTES; i++)
        if (o->sets[i].minute < now - MINUTES_BEFORE) {
            free(o->sets[i].slots);
            o->sets[i] = (nonce_set){.minute = o->sets[i].minute, .key = o->key};
        }
}

void nonces_take(relay *r, call *const *calls, size_t n) {
    nonces *o = r->nonces;
    for (size_t i = 0; i < n; i++) {
        /* Of a clinic that may be there, although the call need not look. */
        if (calls[i]->state == NULL)
            (void)batch_open(calls[i]);
        calls[i]->nonce = NONCE_ASKED;
    }
    bool good = know_clinics(r, calls, n) &&
                make_room((void **)&o->taken, &o->taken_room, o->taken_count + n, sizeof *o->taken);
    for (size_t i = 0; i < n && !db_failed(r->db); i++) {
        call *c = calls[i];
        nonce_taken *t = &o->taken[o->taken_count];
        added how = NO_ROOM;
        if (good) {
            *t = (nonce_taken){.clinic = find(o, c->clinic), .minute = minute_of(c), .digest = digest_of(c)};
            how = add(o, t->minute, r->now_ms / 60000, t->digest);
        }
        c->nonce = how == ADDED ? NONCE_NEW : how == WAS_THERE ? NONCE_ASKED : NONCE_NO_ROOM;
        o->taken_count += how == ADDED;
    }
}

static int by_row(const void *a, const void *b) {
    const nonce_taken *one = a, *other = b;
    return one->clinic != other->clinic   ? (one->clinic > other->clinic) - (one->clinic < other->clinic)
           : one->minute != other->minute ? (one->minute > other->minute) - (one->minute < other->minute)
                                          : 0;
}

/* One after the other until one is that may still be asked for: a range at the end of the key. The newest always stays. */
static void tidy(relay *r, const uint8_t clinic[ID_SIZE]) {
    if (directory_minute_begins(r->directory, clinic, r->now_ms / 60000))
        DB_RUN_LATER(r->db,
                     "DELETE FROM nonces WHERE clinic = $1 AND number < (SELECT number FROM nonces WHERE clinic = $1 "
                     "AND minute >= $2 ORDER BY number LIMIT 1)",
                     db_id(clinic), db_i((r->now_ms / 1000 - NONCE_KEEP_S) / 60));
}

void nonces_write(relay *r) {
    static db_many ROWS = {
        .head = "INSERT INTO nonces (clinic, number, mark, minute, digests) VALUES ", .tail = "", .columns = 5};
    nonces *o = r->nonces;
    db_value rows[BATCH_MAX][5];
    uint8_t bytes[BATCH_MAX * DIGEST_SIZE];
    size_t n = 0, row = 0, at = 0;
    if (o->taken_count > 0)
        qsort(o->taken, o->taken_count, sizeof *o->taken, by_row);
    for (size_t i = 0; i < o->taken_count; i++) {
        const nonce_taken *t = &o->taken[i];
        nonce_clinic *b = &o->clinics[t->clinic];
        put_number(bytes + at, t->digest);
        at += DIGEST_SIZE;
        bool full = at == sizeof bytes, last = i + 1 == o->taken_count;
        if (!full && !last && by_row(t, t + 1) == 0)
            continue;
        randombytes_buf(&b->mark, sizeof b->mark);
        const db_value values[] = {db_id(b->clinic), db_i(++b->number), db_i(b->mark), db_i(t->minute),
                                   db_b(span_of(bytes + row, at - row))};
        memcpy(rows[n++], values, sizeof values);
        row = at;
        if (full || last) {
            db_many_run_later(r->db, &ROWS, rows[0], n);
            n = row = at = 0;
        }
        if (last || t[1].clinic != t->clinic)
            tidy(r, b->clinic);
    }
}

void nonces_end(relay *r, bool stored) {
    nonces *o = r->nonces;
    for (size_t i = 0; i < o->clinics_count && stored; i++)
        directory_nonces_are(r->directory, o->clinics[i].clinic, o->clinics[i].number, o->clinics[i].mark);
    for (size_t i = 0; i < o->taken_count && !stored; i++) {
        nonce_set *s = &o->sets[(uint64_t)o->taken[i].minute % MINUTES];
        if (s->minute == o->taken[i].minute && s->room > 0)
            *slot_of(s, o->taken[i].digest) = TAKEN_BACK;
    }
    o->clinics_count = o->taken_count = 0;
}
