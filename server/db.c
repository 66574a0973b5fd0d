#include "db.h"

static void stick(db *d, err e) {
    if (d->error == OK)
        d->error = e;
}

void db_close(db *d) {
    if (d != NULL)
        d->driver->close(d);
}

err db_begin(db *d) {
    d->error = OK;
    stick(d, d->driver->begin(d));
    return d->error;
}

err db_commit(db *d) {
    if (d->error == OK)
        stick(d, d->driver->commit(d));
    err e = d->error;
    if (e != OK)
        db_rollback(d);
    return e;
}

void db_rollback(db *d) {
    d->driver->rollback(d);
    d->error = OK;
}

void db_lock(db *d, span clinic) {
    if (d->error == OK && d->driver->lock != NULL)
        stick(d, d->driver->lock(d, clinic));
}

void db_savepoint(db *d) {
    if (d->error == OK)
        stick(d, d->driver->savepoint(d));
}

void db_release(db *d) {
    if (d->error == OK)
        stick(d, d->driver->release(d));
}

void db_rollback_to(db *d) { d->error = d->driver->rollback_to(d); }

void db_notify(db *d, span bytes) {
    if (d->error == OK && d->driver->notify != NULL)
        stick(d, d->driver->notify(d, bytes));
}

int db_descriptor(db *d) { return d->driver->descriptor != NULL ? d->driver->descriptor(d) : -1; }

bool db_heard(db *d, uint8_t bytes[NOTIFY_MAX], size_t *n, bool *missed) {
    *missed = false;
    return d->driver->heard != NULL && d->driver->heard(d, bytes, n, missed);
}

db_rows db_query_values(db *d, const char *sql, const db_value *values, size_t n) {
    db_rows r = {.db = d};
    if (d->error == OK)
        stick(d, d->driver->query(d, sql, values, n, &r.statement));
    if (d->error != OK)
        r.statement = NULL;
    return r;
}

void db_end(db_rows *r) {
    if (r->statement != NULL)
        r->db->driver->end(r->db, r->statement);
    r->statement = NULL;
}

bool db_next(db_rows *r) {
    bool row = false;
    if (r->statement != NULL)
        stick(r->db, r->db->driver->next(r->db, r->statement, &row));
    if (!row || r->db->error != OK) {
        db_end(r);
        return false;
    }
    return true;
}

int64_t db_run_values(db *d, const char *sql, const db_value *values, size_t n) {
    db_rows r = db_query_values(d, sql, values, n);
    while (db_next(&r))
        ;
    return d->error == OK ? d->driver->changes(d) : 0;
}

int64_t db_integer(const db_rows *r, int column) { return r->db->driver->integer(r->statement, column); }
span db_bytes(const db_rows *r, int column) { return r->db->driver->bytes(r->statement, column); }
bool db_is_null(const db_rows *r, int column) { return r->db->driver->is_null(r->statement, column); }
