#include "db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    d->savepoint = SAVEPOINT_NONE;
    stick(d, d->driver->begin(d));
    return d->error;
}

static err commit_by(db *d, err (*commit)(db *)) {
    if (d->error == OK)
        stick(d, commit(d));
    err e = d->error;
    if (e != OK)
        db_rollback(d);
    return e;
}

err db_commit(db *d) { return commit_by(d, d->driver->commit); }
err db_commit_unflushed(db *d) {
    return commit_by(d, d->driver->commit_unflushed != NULL ? d->driver->commit_unflushed : d->driver->commit);
}

void db_rollback(db *d) {
    d->driver->rollback(d);
    d->error = OK;
    d->savepoint = SAVEPOINT_NONE;
}

void db_lock(db *d, span clinic) {
    if (d->error == OK && d->driver->lock != NULL)
        stick(d, d->driver->lock(d, clinic));
}

void db_savepoint(db *d) { d->savepoint = SAVEPOINT_WANTED; }

void db_release(db *d) {
    if (d->error == OK && d->savepoint == SAVEPOINT_MADE)
        stick(d, d->driver->release(d));
    if (d->error == OK)
        d->savepoint = SAVEPOINT_NONE;
}

void db_rollback_to(db *d) {
    d->error = d->driver->rollback_to(d, d->savepoint == SAVEPOINT_MADE);
    d->savepoint = SAVEPOINT_NONE;
}

static void before_statement(db *d, const char *sql) {
    if (d->error != OK || d->savepoint != SAVEPOINT_WANTED || strncmp(sql, "SELECT", 6) == 0)
        return;
    stick(d, d->driver->savepoint(d));
    if (d->error == OK)
        d->savepoint = SAVEPOINT_MADE;
}

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
    before_statement(d, sql);
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

void db_run_later_values(db *d, const char *sql, const db_value *values, size_t n) {
    if (d->driver->run_later == NULL) {
        (void)db_run_values(d, sql, values, n);
        return;
    }
    before_statement(d, sql);
    if (d->error == OK)
        stick(d, d->driver->run_later(d, sql, values, n));
}

/* ---- many rows */

/* "head ($1, $2), ($3, $4) tail"; NULL: out of memory. It lives as long as the program, for its address is its name. */
static const char *sql_of(db_many *many, size_t size) {
    size_t rows = (size_t)1 << size,
           room = strlen(many->head) + strlen(many->tail) + rows * (4 + many->columns * 8) + 1;
    if (many->sql[size] != NULL)
        return many->sql[size];
    char *sql = malloc(room);
    if (sql == NULL)
        return NULL;
    size_t n = (size_t)snprintf(sql, room, "%s", many->head);
    for (size_t i = 0; i < rows * many->columns; i++)
        n += (size_t)snprintf(sql + n, room - n, "%s$%zu%s",
                              i % many->columns != 0 ? ", "
                              : i == 0               ? "("
                                                     : ", (",
                              i + 1, (i + 1) % many->columns == 0 ? ")" : "");
    (void)snprintf(sql + n, room - n, "%s", many->tail);
    many->sql[size] = sql;
    return sql;
}

/* The largest size that `rows` fill. */
static size_t size_for(size_t rows) {
    size_t size = 0;
    while (size + 1 < DB_MANY_SIZES && (size_t)2 << size <= rows)
        size++;
    return size;
}

void db_many_run_later(db *d, db_many *many, const db_value *values, size_t rows) {
    for (size_t size; rows > 0 && d->error == OK; rows -= (size_t)1 << size) {
        size = size_for(rows);
        size_t n = many->columns << size;
        const char *sql = sql_of(many, size);
        if (sql == NULL)
            stick(d, ERR_NO_MEMORY);
        else
            db_run_later_values(d, sql, values, n);
        values += n;
    }
}

db_many_rows db_many_query(db *d, db_many *many, const db_value *values, size_t rows) {
    db_many_rows r = {.n = 0};
    if (rows > DB_MANY_MAX)
        stick(d, ERR_LIMIT);
    /* Each size comes once at most, so that no statement is begun while it still runs. */
    for (size_t size; rows > 0 && d->error == OK; rows -= (size_t)1 << size) {
        size = size_for(rows);
        size_t n = many->columns << size;
        const char *sql = sql_of(many, size);
        if (sql == NULL)
            stick(d, ERR_NO_MEMORY);
        else
            r.part[r.n++] = db_query_values(d, sql, values, n);
        values += n;
    }
    return r;
}

db_rows *db_many_next(db_many_rows *r) {
    for (size_t i = 0; i < r->n; i++)
        if (db_next(&r->part[i]))
            return &r->part[i];
    return NULL;
}

int64_t db_integer(const db_rows *r, int column) { return r->db->driver->integer(r->statement, column); }
span db_bytes(const db_rows *r, int column) { return r->db->driver->bytes(r->statement, column); }
bool db_is_null(const db_rows *r, int column) { return r->db->driver->is_null(r->statement, column); }
