/* calls_blob.c: encrypted attachments. A blob is pieces, rows of `blob_pieces`, so that any relay on the database can take the
 * next one and a backup holds them. Its id is 32 random bytes that members learn inside MLS: who knows it may read. */
#include <stdio.h>
#include <stdlib.h>

#include "call.h"

typedef struct blob_row {
    uint8_t device[ID_SIZE];
    int64_t size, stored;
} blob_row;

static bool find_blob(call *c, const uint8_t id[BLOB_ID_BYTES], blob_row *row) {
    db_rows r = DB_QUERY(c->db, "SELECT device, size, stored FROM blobs WHERE clinic = $1 AND blob = $2",
                         db_id(c->clinic), db_b(span_of(id, BLOB_ID_BYTES)));
    bool found = db_next(&r);
    if (found) {
        memcpy(row->device, db_bytes(&r, 0).p, ID_SIZE);
        row->size = db_integer(&r, 1);
        row->stored = db_integer(&r, 2);
    }
    db_end(&r);
    return found;
}

static bool state_answer(call *c, const blob_row *row) {
    text_put(&c->out, "{");
    text_member_integer(&c->out, "offset", row->stored);
    text_member_integer(&c->out, "length", row->size);
    text_put(&c->out, "}");
    return answer(c, 200);
}

void blob_forget(db *d, span clinic, span id) {
    uint8_t device[ID_SIZE];
    db_rows r =
        DB_QUERY(d, "DELETE FROM blobs WHERE clinic = $1 AND blob = $2 RETURNING size, device", db_b(clinic), db_b(id));
    bool found = db_next(&r);
    int64_t size = found ? db_integer(&r, 0) : 0;
    if (found)
        memcpy(device, db_bytes(&r, 1).p, ID_SIZE);
    while (found && db_next(&r))
        ;
    if (!found)
        return;
    DB_RUN_LATER(d, "DELETE FROM blob_pieces WHERE clinic = $1 AND blob = $2", db_b(clinic), db_b(id));
    DB_RUN_LATER(d, "UPDATE blob_use SET bytes = bytes - $2 WHERE clinic = $1", db_b(clinic), db_i(size));
    DB_RUN_LATER(d, "UPDATE blob_shares SET bytes = bytes - $3 WHERE clinic = $1 AND device = $2", db_b(clinic),
                 db_id(device), db_i(size));
    DB_RUN_LATER(d, "DELETE FROM blob_shares WHERE clinic = $1 AND device = $2 AND bytes <= 0", db_b(clinic),
                 db_id(device));
}

/* ---- upload */

/* The whole length counts from the first piece on, so that what was begun can be ended. */
static bool begin_blob(call *c, const uint8_t id[BLOB_ID_BYTES], int64_t size) {
    db_value clinic = db_id(c->clinic);
    DB_RUN_LATER(c->db, "INSERT INTO blob_use (clinic, bytes) VALUES ($1, 0) ON CONFLICT DO NOTHING", clinic);
    if (DB_RUN(c->db, "UPDATE blob_use SET bytes = bytes + $2 WHERE clinic = $1 AND bytes + $2 <= $3", clinic,
               db_i(size), db_i(c->relay->options.blob_quota)) != 1) {
        (void)problem_more(c, PROBLEM_OVER_QUOTA, "the clinic's blobs would take more than they may", "limit",
                           c->relay->options.blob_quota);
        return false;
    }
    /* One device alone can't use all of it up. */
    int64_t share = c->relay->options.blob_share > 0 ? c->relay->options.blob_share : SEQUENCE_MAX;
    DB_RUN_LATER(c->db, "INSERT INTO blob_shares (clinic, device, bytes) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
                 clinic, db_id(c->device));
    if (DB_RUN(c->db,
               "UPDATE blob_shares SET bytes = bytes + $3 WHERE clinic = $1 AND device = $2 AND bytes + $3 <= $4",
               clinic, db_id(c->device), db_i(size), db_i(share)) != 1) {
        (void)problem_more(c, PROBLEM_OVER_QUOTA, "this device's blobs would take more than its share", "limit", share);
        return false;
    }
    DB_RUN_LATER(c->db,
                 "INSERT INTO blobs (clinic, blob, device, size, stored, created) VALUES ($1, $2, $3, $4, 0, $5)",
                 clinic, db_b(span_of(id, BLOB_ID_BYTES)), db_id(c->device), db_i(size), db_i(c->now_ms));
    return true;
}

/* The very piece that stands there: its answer was lost. */
static bool is_stored_piece(call *c, const uint8_t id[BLOB_ID_BYTES], int64_t offset) {
    db_rows r = DB_QUERY(c->db, "SELECT data FROM blob_pieces WHERE clinic = $1 AND blob = $2 AND at = $3",
                         db_id(c->clinic), db_b(span_of(id, BLOB_ID_BYTES)), db_i(offset));
    bool same = db_next(&r) && span_equal(db_bytes(&r, 0), c->rq->body);
    db_end(&r);
    return same;
}

bool call_blob_put(call *c) {
    uint8_t id[BLOB_ID_BYTES];
    int64_t size = 0, offset = 0, n = (int64_t)c->rq->body.n;
    blob_row row = {0};
    if (!path_id(c, id, sizeof id) || !query_integer(c, "length", -1, 1, SEQUENCE_MAX, &size) ||
        !query_integer(c, "offset", -1, 0, SEQUENCE_MAX, &offset))
        return true;
    if ((c->rights & RIGHT_MESSAGE) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to take part in conversations");
    if (size > BLOB_MAX)
        return problem_more(c, PROBLEM_TOO_LARGE, "the blob is larger than this relay takes", "limit", BLOB_MAX);
    if (n == 0)
        return problem(c, PROBLEM_MALFORMED, "the body is missing; a piece of the blob is expected");
    if (offset > size || n > size - offset)
        return problem(c, PROBLEM_MALFORMED, "the piece goes beyond the blob's length");
    if (n < BLOB_PIECE_MIN && offset + n < size)
        return problem_text(c, PROBLEM_MALFORMED, "a piece but the last must be of %d bytes or more", BLOB_PIECE_MIN);
    if (find_blob(c, id, &row)) {
        if (memcmp(row.device, c->device, ID_SIZE) != 0)
            return problem(c, PROBLEM_FORBIDDEN, "this blob is another device's");
        if (row.size != size)
            return problem(c, PROBLEM_ID_REUSED, "this id was used for a blob of another length");
    } else {
        row.size = size;
        if (offset == 0 && !db_failed(c->db) && !begin_blob(c, id, size))
            return true;
    }
    if (offset != row.stored) {
        if (offset < row.stored && is_stored_piece(c, id, offset))
            return state_answer(c, &row);
        return problem_more(c, PROBLEM_WRONG_OFFSET, "the upload goes on elsewhere", "offset", row.stored);
    }
    DB_RUN_LATER(c->db, "INSERT INTO blob_pieces (clinic, blob, at, data) VALUES ($1, $2, $3, $4)", db_id(c->clinic),
                 db_b(SPAN(id)), db_i(offset), db_b(c->rq->body));
    row.stored += n;
    DB_RUN_LATER(c->db, "UPDATE blobs SET stored = $3 WHERE clinic = $1 AND blob = $2", db_id(c->clinic),
                 db_b(SPAN(id)), db_i(row.stored));
    return state_answer(c, &row);
}

bool call_blob_state(call *c) {
    uint8_t id[BLOB_ID_BYTES];
    blob_row row;
    if (!path_id(c, id, sizeof id))
        return true;
    return find_blob(c, id, &row) ? state_answer(c, &row)
                                  : problem(c, PROBLEM_NOT_FOUND, "the clinic has no such blob");
}

bool call_blob_delete(call *c) {
    uint8_t id[BLOB_ID_BYTES];
    blob_row row;
    if (!path_id(c, id, sizeof id))
        return true;
    if (!find_blob(c, id, &row))
        return problem(c, PROBLEM_NOT_FOUND, "the clinic has no such blob");
    if (memcmp(row.device, c->device, ID_SIZE) != 0 && (c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to delete others' blobs");
    blob_forget(c->db, SPAN(c->clinic), SPAN(id));
    return answer(c, 204);
}

/* ---- reading */

typedef enum range_kind { RANGE_NONE, RANGE_GOOD, RANGE_UNSATISFIABLE } range_kind;

/* Digits up to `end` or a character that is none. False: there are none, or too many. */
static bool range_number(const uint8_t **p, const uint8_t *end, int64_t *v) {
    const uint8_t *start = *p;
    for (*v = 0; *p < end && **p >= '0' && **p <= '9' && *p - start < 16; (*p)++)
        *v = *v * 10 + (**p - '0');
    return *p > start && (*p == end || **p == '-');
}

/* RFC 9110 §14.1.2: one range of bytes; first and last of it. Others are ignored, as §14.2 allows. */
static range_kind range_read(span s, int64_t size, int64_t *first, int64_t *last) {
    static const char UNIT[] = "bytes=";
    const size_t unit = sizeof UNIT - 1;
    if (s.n <= unit || memcmp(s.p, UNIT, unit) != 0)
        return RANGE_NONE;
    const uint8_t *p = s.p + unit, *end = s.p + s.n;
    *last = size - 1;
    if (*p == '-') { /* the last so many */
        int64_t n = 0;
        p++;
        if (!range_number(&p, end, &n) || p != end)
            return RANGE_NONE;
        *first = n < size ? size - n : 0;
        return n > 0 ? RANGE_GOOD : RANGE_UNSATISFIABLE;
    }
    if (!range_number(&p, end, first) || p == end)
        return RANGE_NONE;
    p++;
    if (p < end && (!range_number(&p, end, last) || p != end || *last < *first))
        return RANGE_NONE;
    if (*last > size - 1)
        *last = size - 1;
    return *first < size ? RANGE_GOOD : RANGE_UNSATISFIABLE;
}

/* Bytes first to last, at most BLOB_PIECE_MAX of them, out of the pieces that hold them. NULL: the database failed or there is no memory. */
static char *read_bytes(call *c, const uint8_t id[BLOB_ID_BYTES], int64_t first, int64_t last) {
    char *bytes = malloc((size_t)(last - first + 1));
    int64_t got = first;
    if (bytes == NULL)
        return NULL;
    db_rows r = DB_QUERY(c->db,
                         "SELECT at, data FROM blob_pieces WHERE clinic = $1 AND blob = $2 AND at > $3 AND at <= $4 "
                         "ORDER BY at",
                         db_id(c->clinic), db_b(span_of(id, BLOB_ID_BYTES)), db_i(first - BLOB_PIECE_MAX), db_i(last));
    while (db_next(&r)) {
        int64_t at = db_integer(&r, 0);
        span data = db_bytes(&r, 1);
        int64_t end = at + (int64_t)data.n;
        if (end <= got || at > got)
            continue;
        if (end > last + 1)
            end = last + 1;
        memcpy(bytes + (got - first), data.p + (got - at), (size_t)(end - got));
        got = end;
    }
    db_end(&r);
    if (got == last + 1 && !db_failed(c->db))
        return bytes;
    free(bytes);
    return NULL;
}

bool call_blob_get(call *c) {
    uint8_t id[BLOB_ID_BYTES];
    blob_row row;
    int64_t first = 0, last = 0;
    if (!path_id(c, id, sizeof id))
        return true;
    if (!find_blob(c, id, &row) || row.stored < row.size)
        return problem(c, PROBLEM_NOT_FOUND, "the clinic has no such blob, or it is not complete");
    range_kind range = range_read(c->rq->range, row.size, &first, &last);
    if (range == RANGE_UNSATISFIABLE) {
        (void)problem_more(c, PROBLEM_BAD_RANGE, "the range begins beyond the blob's end", "length", row.size);
        (void)snprintf(c->rs->content_range, sizeof c->rs->content_range, "bytes */%lld", (long long)row.size);
        return true;
    }
    if (range == RANGE_NONE) {
        if (row.size > BLOB_PIECE_MAX)
            return problem_text(c, PROBLEM_MALFORMED, "a blob of more than %d bytes is read by one Range of bytes",
                                BLOB_PIECE_MAX);
        last = row.size - 1;
    }
    /* Less than was asked for, as RFC 9110 §15.3.7 allows: Content-Range says what it is. */
    if (last - first >= BLOB_PIECE_MAX)
        last = first + BLOB_PIECE_MAX - 1;
    char *bytes = read_bytes(c, id, first, last);
    if (bytes == NULL) {
        relay_unavailable(c->rs);
        return true;
    }
    *c->rs = (response){.status = range == RANGE_GOOD ? 206 : 200,
                        .type = "application/octet-stream",
                        .body = bytes,
                        .body_size = (size_t)(last - first + 1),
                        .accept_ranges = true};
    if (range == RANGE_GOOD)
        (void)snprintf(c->rs->content_range, sizeof c->rs->content_range, "bytes %lld-%lld/%lld", (long long)first,
                       (long long)last, (long long)row.size);
    return true;
}
