/* audit_verify.c: what an operator asks of the audit log: is it whole? Reads only; a relay may serve at the same time. */
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "base/text.h"

#define ROWS_AT_ONCE 500
#define CHECKPOINTS_GIVEN_MAX 4096
#define LINE_SIZE 1024
#define MEMORY_SIZE (64 * 1024)

typedef struct row {
    int64_t number; /* of the key, not of the entry */
    uint8_t hash[AUDIT_HASH_SIZE], previous[AUDIT_HASH_SIZE];
    uint64_t inside; /* the entry's own number */
    bool readable;
    bool restored; /* the operator put a copy back, that ended with entry `kept` */
    int64_t kept;
} row;

typedef struct verification {
    db *db;
    uint8_t key[ED25519_PUBLIC_SIZE];
    audit_checkpoint *given;
    size_t given_count;
    size_t faults;

    /* One clinic's. */
    uint8_t clinic[ID_SIZE];
    int64_t last;    /* number of the last row */
    int64_t entries; /* rows seen */
    bool broken;     /* a fault of the chain itself was found, which explains a hash that differs from a checkpoint's */
    int64_t rewritten;
    row rows[ROWS_AT_ONCE];
} verification;

static void found(verification *v, const char *what, int64_t number, const char *text) {
    char clinic[BASE64URL_SIZE(ID_SIZE)];
    base64url_write(clinic, SPAN(v->clinic));
    printf("%.*s %s at %lld: %s\n", (int)sizeof clinic, clinic, what, (long long)number, text);
    v->faults++;
}

static void broken(verification *v, const char *what, int64_t number, const char *text) {
    v->broken = true;
    found(v, what, number, text);
}

/* ---- checkpoints */

static bool differs(const row *rows, size_t n, int64_t number, span hash) {
    for (size_t i = 0; i < n; i++)
        if (rows[i].number == number)
            return !span_equal(SPAN(rows[i].hash), hash);
    return false;
}

static void meets(verification *v, size_t n, int64_t number, span hash) {
    if (v->rewritten == 0 && differs(v->rows, n, number, hash))
        v->rewritten = number;
}

/* Holds the rows that were read against the end of the chain, the stored checkpoints and those given. */
static void compare(verification *v, size_t n) {
    if (n == 0)
        return;
    db_rows r = DB_QUERY(
        v->db, "SELECT number, hash FROM audit_checkpoints WHERE clinic = $1 AND number >= $2 AND number <= $3",
        db_id(v->clinic), db_i(v->rows[0].number), db_i(v->rows[n - 1].number));
    while (db_next(&r))
        meets(v, n, db_integer(&r, 0), db_bytes(&r, 1));
    for (size_t i = 0; i < v->given_count; i++)
        if (memcmp(v->given[i].clinic, v->clinic, ID_SIZE) == 0)
            meets(v, n, (int64_t)v->given[i].number, SPAN(v->given[i].hash));
}

static void take_checkpoint(const db_rows *r, audit_checkpoint *p) {
    *p = (audit_checkpoint){.number = (uint64_t)db_integer(r, 0), .at = (uint64_t)db_integer(r, 2)};
    if (db_bytes(r, 1).n == sizeof p->hash)
        memcpy(p->hash, db_bytes(r, 1).p, sizeof p->hash);
    if (db_bytes(r, 3).n == sizeof p->signature)
        memcpy(p->signature, db_bytes(r, 3).p, sizeof p->signature);
}

/* Signatures of the stored ones; returns the newest's number. */
static int64_t stored_checkpoints(verification *v) {
    int64_t newest = 0;
    db_rows r =
        DB_QUERY(v->db, "SELECT number, hash, at, signature FROM audit_checkpoints WHERE clinic = $1 ORDER BY number",
                 db_id(v->clinic));
    while (db_next(&r)) {
        audit_checkpoint p;
        take_checkpoint(&r, &p);
        memcpy(p.clinic, v->clinic, ID_SIZE);
        newest = (int64_t)p.number;
        if (audit_checkpoint_verify(&p, SPAN(v->key)) != OK)
            found(v, "forgery", newest, "a stored checkpoint is not signed by the relay's key");
        for (size_t i = 0; i < v->given_count; i++)
            if (memcmp(v->given[i].clinic, v->clinic, ID_SIZE) == 0 && v->given[i].number == p.number &&
                memcmp(v->given[i].hash, p.hash, sizeof p.hash) != 0)
                found(v, "fork", newest, "the checkpoint given and the one stored have one number and two hashes");
    }
    return newest;
}

/* Those given, against each other and the key; returns the highest number among the clinic's. */
static int64_t given_checkpoints(verification *v) {
    int64_t newest = 0;
    for (size_t i = 0; i < v->given_count; i++) {
        const audit_checkpoint *p = &v->given[i];
        if (memcmp(p->clinic, v->clinic, ID_SIZE) != 0)
            continue;
        if ((int64_t)p->number > newest)
            newest = (int64_t)p->number;
        if (audit_checkpoint_verify(p, SPAN(v->key)) != OK)
            found(v, "forgery", (int64_t)p->number, "a checkpoint given is not signed by the relay's key");
        for (size_t k = 0; k < i; k++)
            if (memcmp(v->given[k].clinic, p->clinic, ID_SIZE) == 0 && v->given[k].number == p->number &&
                memcmp(v->given[k].hash, p->hash, sizeof p->hash) != 0)
                found(v, "fork", (int64_t)p->number, "two checkpoints given have one number and two hashes");
    }
    return newest;
}

/* ---- the chain */

static void read_row(row *out, const db_rows *r) {
    audit_entry e = {0};
    span bytes = db_bytes(r, 1);
    *out = (row){.number = db_integer(r, 0)};
    audit_hash(bytes, out->hash);
    wire w;
    wire_read_init(&w, bytes, NULL); /* no field of it is an array */
    wire_audit_entry(&w, &e);
    out->readable = wire_end(&w) == OK;
    out->inside = e.number;
    memcpy(out->previous, e.previous, sizeof out->previous);
    out->restored = out->readable && e.call == AUDIT_RESTORED && e.who == AUDIT_BY_OPERATOR && e.object_size == 8;
    for (size_t i = 0; i < 8 && out->restored; i++)
        out->kept = (int64_t)((uint64_t)out->kept << 8 | e.object[i]);
}

/* No fault of the log: it says itself that entries are gone. Whoever holds a checkpoint of them is told. */
static void pass_restore(verification *v, const row *at) {
    char clinic[BASE64URL_SIZE(ID_SIZE)];
    base64url_write(clinic, SPAN(v->clinic));
    printf("%.*s restored at %lld: the database was put back from a copy that ended with entry %lld\n",
           (int)sizeof clinic, clinic, (long long)at->number, (long long)at->kept);
    for (size_t i = 0; i < v->given_count; i++) {
        const audit_checkpoint *p = &v->given[i];
        if (memcmp(p->clinic, v->clinic, ID_SIZE) == 0 && (int64_t)p->number > at->kept &&
            (int64_t)p->number < at->number)
            found(v, "truncation", at->kept + 1, "the restoring cut off what the checkpoint given was made of");
    }
    /* The copy ended before there was any of these: somebody has cut the log and called it restoring. */
    db_rows r =
        DB_QUERY(v->db, "SELECT COUNT(*) FROM audit_checkpoints WHERE clinic = $1 AND number > $2 AND number < $3",
                 db_id(v->clinic), db_i(at->kept), db_i(at->number));
    if (db_next(&r) && db_integer(&r, 0) > 0)
        found(v, "truncation", at->kept + 1,
              "a stored checkpoint was made of what the restoring is said to have cut off");
    db_end(&r);
}

/* hash: of the row before; *linked: whether that row stands where it belongs, so that a link to it can be judged. */
static void walk_row(verification *v, const row *at, uint8_t hash[AUDIT_HASH_SIZE], bool *linked) {
    bool judged = *linked;
    *linked = true;
    if (at->restored && at->kept == v->last && at->number > v->last) {
        pass_restore(v, at);
    } else if (at->number != v->last + 1) {
        broken(v, "deletion", v->last + 1, at->number == v->last + 2 ? "an entry is missing" : "entries are missing");
        judged = false;
    }
    if (!at->readable) {
        broken(v, "edit", at->number, "the bytes are no entry");
        *linked = judged = false;
    } else if (at->inside != (uint64_t)at->number) {
        broken(v, "reorder", at->number, "another entry stands in this one's place");
        *linked = judged = false;
    }
    if (judged && memcmp(at->previous, hash, AUDIT_HASH_SIZE) != 0)
        broken(v, "edit", at->number - 1, "the entry after it says another hash of it");
    v->last = at->number;
    v->entries++;
    memcpy(hash, at->hash, AUDIT_HASH_SIZE);
}

static void walk(verification *v, int64_t head_number, const uint8_t head_hash[AUDIT_HASH_SIZE]) {
    uint8_t hash[AUDIT_HASH_SIZE] = {0};
    bool linked = true, edited_last = false;
    size_t n;
    do {
        n = 0;
        db_rows r = DB_QUERY(v->db,
                             "SELECT number, entry FROM audit_entries WHERE clinic = $1 AND number > $2 "
                             "ORDER BY number LIMIT $3",
                             db_id(v->clinic), db_i(v->last), db_i(ROWS_AT_ONCE));
        while (n < ROWS_AT_ONCE && db_next(&r))
            read_row(&v->rows[n++], &r);
        db_end(&r);
        for (size_t i = 0; i < n; i++)
            walk_row(v, &v->rows[i], hash, &linked);
        compare(v, n);
        edited_last |= differs(v->rows, n, head_number, span_of(head_hash, AUDIT_HASH_SIZE));
    } while (n == ROWS_AT_ONCE && !db_failed(v->db));
    /* Nothing comes after the last entry but the end of the chain as the relay noted it. */
    if (edited_last && !v->broken && v->rewritten == 0)
        broken(v, "edit", head_number, "the end of the chain has another hash");
}

static void verify_clinic(verification *v) {
    uint8_t head_hash[AUDIT_HASH_SIZE] = {0};
    int64_t head = 0;
    v->last = v->entries = v->rewritten = 0;
    v->broken = false;
    /* The end first: what a relay adds meanwhile only makes the chain longer than this. */
    int64_t given = given_checkpoints(v), stored = stored_checkpoints(v);
    db_rows r = DB_QUERY(v->db, "SELECT number, hash FROM audit_heads WHERE clinic = $1", db_id(v->clinic));
    if (db_next(&r)) {
        head = db_integer(&r, 0);
        if (db_bytes(&r, 1).n == sizeof head_hash)
            memcpy(head_hash, db_bytes(&r, 1).p, sizeof head_hash);
        db_end(&r);
    }
    walk(v, head, head_hash);
    if (db_failed(v->db))
        return;
    if (v->rewritten != 0 && !v->broken)
        found(v, "rewrite", v->rewritten, "the chain holds, but it is not the one that the checkpoint was made of");
    int64_t least = head > stored ? head : stored;
    if (given > least)
        least = given;
    if (v->last < least)
        found(v, "truncation", v->last + 1, "the chain was longer");
}

/* ---- what is asked for */

static err read_given(verification *v, const char *path) {
    char line[LINE_SIZE];
    arena a = {0};
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return ERR_NOT_FOUND;
    v->given = calloc(CHECKPOINTS_GIVEN_MAX, sizeof *v->given);
    err e = v->given == NULL ? ERR_NO_MEMORY : arena_init(&a, MEMORY_SIZE);
    for (; e == OK && fgets(line, sizeof line, f) != NULL;) {
        json j;
        size_t n = strcspn(line, "\r\n");
        if (n == 0)
            continue;
        if (v->given_count == CHECKPOINTS_GIVEN_MAX) {
            e = ERR_TOO_LARGE;
            break;
        }
        audit_checkpoint *p = &v->given[v->given_count++];
        arena_reset(&a);
        json_open(&j, span_of(line, n), &a);
        json_fixed(&j, "clinic", p->clinic, sizeof p->clinic);
        p->number = (uint64_t)json_integer(&j, "number", 1, SEQUENCE_MAX);
        json_fixed(&j, "hash", p->hash, sizeof p->hash);
        p->at = (uint64_t)json_integer(&j, "at", 0, SEQUENCE_MAX);
        json_fixed(&j, "signature", p->signature, sizeof p->signature);
        if (j.fault[0] != 0) {
            fprintf(stderr, "sotto-relay: line %zu of the checkpoints: %s\n", v->given_count, j.fault);
            e = ERR_MALFORMED;
        }
        json_close(&j);
    }
    if (a.base != NULL)
        arena_free(&a);
    (void)fclose(f);
    return e;
}

/* The next clinic's name after this one; also of those of which only a part is left. */
static bool next_clinic(verification *v) {
    uint8_t after[ID_SIZE];
    memcpy(after, v->clinic, ID_SIZE);
    db_rows r = DB_QUERY(
        v->db,
        "SELECT clinic FROM ("
        "SELECT * FROM (SELECT clinic FROM clinics WHERE clinic > $1 ORDER BY clinic LIMIT 1) AS a"
        " UNION SELECT * FROM (SELECT clinic FROM audit_heads WHERE clinic > $1 ORDER BY clinic LIMIT 1) AS b"
        " UNION SELECT * FROM (SELECT clinic FROM audit_entries WHERE clinic > $1 ORDER BY clinic LIMIT 1) AS c"
        " UNION SELECT * FROM (SELECT clinic FROM audit_checkpoints WHERE clinic > $1 ORDER BY clinic LIMIT 1) AS d"
        ") AS named ORDER BY clinic LIMIT 1",
        db_id(after));
    bool any = db_next(&r) && db_bytes(&r, 0).n == ID_SIZE;
    if (any)
        memcpy(v->clinic, db_bytes(&r, 0).p, ID_SIZE);
    db_end(&r);
    for (size_t i = 0; i < v->given_count; i++) {
        const uint8_t *own = v->given[i].clinic;
        if (memcmp(own, after, ID_SIZE) > 0 && (!any || memcmp(own, v->clinic, ID_SIZE) < 0)) {
            memcpy(v->clinic, own, ID_SIZE);
            any = true;
        }
    }
    return any;
}

static void verify_all(verification *v, const char *only) {
    size_t clinics = 0;
    int64_t entries = 0;
    if (only != NULL) {
        verify_clinic(v);
        clinics = 1;
        entries = v->entries;
    }
    while (only == NULL && next_clinic(v)) {
        verify_clinic(v);
        clinics++;
        entries += v->entries;
    }
    printf("clinics=%zu entries=%lld faults=%zu\n", clinics, (long long)entries, v->faults);
}

err audit_verify_run(db *d, const char *clinic, const char *checkpoints, size_t *faults) {
    verification *v = calloc(1, sizeof *v);
    *faults = 0;
    if (v == NULL)
        return ERR_NO_MEMORY;
    v->db = d;
    err e = OK;
    if (clinic != NULL && base64url_read(v->clinic, ID_SIZE, span_text(clinic)) != OK) {
        fprintf(stderr, "sotto-relay: a clinic's name is base64url of %d bytes\n", ID_SIZE);
        e = ERR_MALFORMED;
    }
    if (e == OK && checkpoints != NULL && (e = read_given(v, checkpoints)) != OK)
        fprintf(stderr, "sotto-relay: the checkpoints can't be read: %s\n", err_text(e));
    if (e == OK && (e = db_begin(d)) == OK) {
        e = audit_key_public(d, v->key);
        if (e == OK)
            verify_all(v, clinic);
        if (e == OK)
            e = d->error;
        db_rollback(d);
    }
    *faults = v->faults;
    free(v->given);
    free(v);
    return e;
}
