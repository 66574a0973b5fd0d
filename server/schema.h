/* schema.h: the tables, in SQL that SQLite and PostgreSQL share (BYTEA and BIGINT mean the right thing to both). Every
 * table's key begins with the clinic, which makes the clinic the unit of sharding; `directory` alone, written once a device or
 * invite and never changed, leads from a name to its clinic.
 *
 * A version that was released is never edited: what changes is appended as steps of the next one. */
#ifndef SERVER_SCHEMA_H
#define SERVER_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#define SCHEMA_VERSION 4

typedef struct schema_step {
    int version;    /* the step belongs to the migration to this version */
    bool clustered; /* small rows, read by ranges of the key: SQLite keeps them in the key's order (WITHOUT ROWID) */
    const char *sql;
} schema_step;

extern const schema_step SCHEMA[];
extern const size_t SCHEMA_STEPS;
/* For doctor and the tests: each table and its order. NULL ends it. Rows of `nonces` come and go with any request. */
extern const char *const SCHEMA_TABLES[][2];

#endif
