/* The relay's logic over a database in memory, and over one that fails at any chosen statement. */
#include "../../server/limits.h"
#include "../../server/push_key.h"
#include "../../server/relay.h"
#include "crypto/random.h"
#include "support/check.h"
#include "support/relay_request.h"

#define NOW_MS 1790000000000ll

/* ---- a database that fails: the nth query, or the commit, says the disk is full */

typedef struct failing_db {
    db base;
    db *inner;
    int until; /* queries before the failure; negative: never */
    bool commit_fails;
    int flushed, unflushed; /* commits */
    bool later,
        lost; /* statements whose result nobody asks for fail when the transaction is to end, as in a pipeline */
} failing_db;

static err f_begin(db *d) { return ((failing_db *)d)->inner->driver->begin(((failing_db *)d)->inner); }
static err f_commit(db *d) {
    failing_db *f = (failing_db *)d;
    f->flushed++;
    return f->commit_fails || f->lost ? ERR_STORE_FULL : f->inner->driver->commit(f->inner);
}
static err f_commit_unflushed(db *d) {
    failing_db *f = (failing_db *)d;
    f->unflushed++;
    return f->commit_fails || f->lost ? ERR_STORE_FULL : f->inner->driver->commit_unflushed(f->inner);
}
static void f_rollback(db *d) {
    ((failing_db *)d)->lost = false;
    ((failing_db *)d)->inner->driver->rollback(((failing_db *)d)->inner);
}
static err f_savepoint(db *d) { return ((failing_db *)d)->inner->driver->savepoint(((failing_db *)d)->inner); }
static err f_release(db *d) { return ((failing_db *)d)->inner->driver->release(((failing_db *)d)->inner); }
static err f_rollback_to(db *d, bool made) {
    if (((failing_db *)d)->lost)
        return ERR_STORE_FULL;
    return ((failing_db *)d)->inner->driver->rollback_to(((failing_db *)d)->inner, made);
}
static err f_query(db *d, const char *sql, const db_value *values, size_t n, void **statement) {
    failing_db *f = (failing_db *)d;
    if (f->until == 0)
        return ERR_STORE_FULL;
    if (f->until > 0)
        f->until--;
    return f->inner->driver->query(f->inner, sql, values, n, statement);
}
static err f_run_later(db *d, const char *sql, const db_value *values, size_t n) {
    failing_db *f = (failing_db *)d;
    void *statement = NULL;
    bool row = false;
    err e = f_query(d, sql, values, n, &statement);
    if (e == OK) {
        e = f->inner->driver->next(f->inner, statement, &row);
        f->inner->driver->end(f->inner, statement);
    }
    f->lost |= e != OK && f->later;
    return f->later ? OK : e;
}
static err f_next(db *d, void *s, bool *row) {
    return ((failing_db *)d)->inner->driver->next(((failing_db *)d)->inner, s, row);
}
static void f_end(db *d, void *s) { ((failing_db *)d)->inner->driver->end(((failing_db *)d)->inner, s); }
static int64_t f_changes(db *d) { return ((failing_db *)d)->inner->driver->changes(((failing_db *)d)->inner); }

static db_driver driver;
static failing_db store;
static relay *r;
static signature_key root, device;
static uint8_t clinic[ID_SIZE], device_name[ID_SIZE];

/* ---- requests as a client would make them */

static request signed_request(http_method method, const char *path, const char *query, span body,
                              const signature_key *key, const uint8_t keyid[ID_SIZE]) {
    return signed_request_at(NOW_MS, method, path, query, body, key, keyid);
}

static int ask_at(const request *rq, int64_t now_ms) {
    response rs;
    assert_true(relay_batch_begin(r, now_ms));
    relay_handle(r, rq, &rs);
    bool stored = relay_batch_end(r);
    if (!stored)
        relay_unavailable(&rs);
    int status = rs.status;
    response_free(&rs);
    return status;
}

static int ask(const request *rq) { return ask_at(rq, NOW_MS); }

static char json_body[4096];
static request make_clinic(void) {
    char key[44] = {0};
    base64url_write(key, signature_key_public(&root));
    snprintf(json_body, sizeof json_body, "{\"root_key\":\"%s\"}", key);
    return signed_request(METHOD_POST, "/v1/clinics", "", span_text(json_body), &root, clinic);
}

static request enrol(void) {
    static uint8_t memory[8192];
    arena a;
    span bytes;
    char chain[1000] = {0};
    certificate c = {
        .kind = CERTIFICATE_STAFF, .rights = 31, .not_before = NOW_MS / 1000 - 9, .not_after = NOW_MS / 1000 + 9};
    certificate_chain list = {&c, 1};
    memcpy(c.clinic_id, clinic, ID_SIZE);
    memcpy(c.subject_key, signature_key_public(&device).p, 32);
    assert_ok(certificate_issue(&c, &root));
    arena_over(&a, memory, sizeof memory);
    assert_ok(WIRE_ENCODE(&a, wire_certificate_chain, &list, &bytes));
    base64url_write(chain, bytes);
    snprintf(json_body, sizeof json_body, "{\"chain\":\"%s\"}", chain);
    return signed_request(METHOD_POST, "/v1/devices", "", span_text(json_body), &device, device_name);
}

static request publish(void) {
    snprintf(json_body, sizeof json_body, "{\"key_packages\":[\"AAAA\",\"BBBB\"],\"last_resort\":\"CCCC\"}");
    return signed_request(METHOD_PUT, "/v1/key-packages", "", span_text(json_body), &device, device_name);
}

static int64_t rows(const char *sql) {
    db_rows q = db_query_values(&store.base, sql, NULL, 0);
    int64_t n = db_next(&q) ? db_integer(&q, 0) : -1;
    db_end(&q);
    return n;
}

static int set_up(void **state) {
    uint8_t seed[32] = {1};
    store = (failing_db){.until = -1};
    assert_ok(db_open_sqlite(":memory:", false, &store.inner));
    driver = *store.inner->driver;
    driver.begin = f_begin, driver.commit = f_commit, driver.rollback = f_rollback, driver.savepoint = f_savepoint,
    driver.release = f_release;
    driver.commit_unflushed = f_commit_unflushed, driver.rollback_to = f_rollback_to, driver.query = f_query,
    driver.next = f_next, driver.end = f_end, driver.changes = f_changes, driver.run_later = f_run_later;
    store.base.driver = &driver;
    signature_key_from_seed(seed, &root);
    seed[0] = 2;
    signature_key_from_seed(seed, &device);
    clinic_id_of(signature_key_public(&root).p, clinic);
    device_id_of(signature_key_public(&device).p, device_name);
    assert_ok(
        relay_open(&store.base, &(relay_options){.clinics_open = true, .blob_days = 7, .retention_days = 60}, &r));
    return 0;
}

static int tear_down(void **state) {
    relay_close(r);
    db_close(store.inner);
    return 0;
}

static void a_batch_is_stored_as_one(void **state) {
    response rs[3];
    request rq = make_clinic();
    assert_true(relay_batch_begin(r, NOW_MS));
    relay_handle(r, &rq, &rs[0]);
    rq = enrol();
    relay_handle(r, &rq, &rs[1]);
    rq = publish();
    relay_handle(r, &rq, &rs[2]);
    assert_int_equal(rs[0].status, 201);
    assert_int_equal(rs[1].status, 201);
    assert_int_equal(rs[2].status, 200);
    assert_true(relay_batch_end(r));
    for (int i = 0; i < 3; i++)
        response_free(&rs[i]);
    assert_int_equal(rows("SELECT COUNT(*) FROM key_packages"), 2);
}

static void a_refused_request_undoes_only_itself(void **state) {
    response rs;
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    rq = enrol();
    assert_int_equal(ask(&rq), 201);
    assert_true(relay_batch_begin(r, NOW_MS));
    rq = publish();
    relay_handle(r, &rq, &rs);
    assert_int_equal(rs.status, 200);
    response_free(&rs);
    /* 100 more are over the limit: they were inserted before that was seen */
    size_t n = (size_t)snprintf(json_body, sizeof json_body, "{\"key_packages\":[\"AAAA\"");
    for (int i = 0; i < 99; i++)
        n += (size_t)snprintf(json_body + n, sizeof json_body - n, ",\"D%c%cA\"", 'A' + i % 26, 'A' + i / 26);
    snprintf(json_body + n, sizeof json_body - n, "]}");
    rq = signed_request(METHOD_PUT, "/v1/key-packages", "", span_text(json_body), &device, device_name);
    relay_handle(r, &rq, &rs);
    assert_int_equal(rs.status, 413);
    response_free(&rs);
    assert_true(relay_batch_end(r));
    assert_int_equal(rows("SELECT COUNT(*) FROM key_packages"), 2);
}

static void a_failing_commit_stores_nothing(void **state) {
    request rq = make_clinic();
    store.commit_fails = true;
    assert_int_equal(ask(&rq), 503);
    store.commit_fails = false;
    assert_int_equal(rows("SELECT COUNT(*) FROM clinics"), 0);
    assert_int_equal(rows("SELECT COUNT(*) FROM nonces"), 0);
    rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
}

/* Whatever statement fails, the answer is 503, nothing is stored, and the next try succeeds. */
static void any_statement_may_fail(void **state) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    request (*const CALLS[])(void) = {enrol, publish};
    static const int GOOD[] = {201, 200};
    static const char *const COUNT[] = {"SELECT COUNT(*) FROM devices", "SELECT COUNT(*) FROM key_packages"};
    for (int k = 0; k < 2; k++) {
        int fails = 0;
        for (int at = 0; at < 100; at++) {
            store.until = at / 2;
            store.later = at % 2 == 1;
            rq = CALLS[k]();
            int status = ask(&rq);
            store.until = -1;
            store.later = false;
            if (status == GOOD[k])
                break;
            assert_int_equal(status, 503);
            assert_int_equal(rows(COUNT[k]), 0);
            assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), 0);
            fails++;
        }
        assert_true(fails >= 5 && fails < 100);
        assert_true(rows(COUNT[k]) > 0);
    }
}

/* ---- messages */

#define MESSAGES 5
static const uint8_t GROUP[32] = {7};

/* A group whose one member is the device. */
static void make_group(void) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    rq = enrol();
    assert_int_equal(ask(&rq), 201);
    db *d = &store.base;
    DB_RUN(d, "INSERT INTO mls_groups (clinic, group_id, epoch) VALUES ($1, $2, 1)", db_id(clinic), db_b(SPAN(GROUP)));
    DB_RUN(d, "INSERT INTO members (clinic, group_id, device, active) VALUES ($1, $2, $3, 1)", db_id(clinic),
           db_b(SPAN(GROUP)), db_id(device_name));
    assert_false(db_failed(d));
}

/* Signed requests whose strings stay. */
typedef struct kept_request {
    request rq;
    char texts[3][600], path[80], query[40];
    uint8_t body[64];
} kept_request;

static void keep_message(kept_request *k, uint8_t id, uint8_t content, uint64_t epoch) {
    uint8_t name[16] = {id};
    char text[44] = {0};
    base64url_write(text, SPAN(GROUP));
    snprintf(k->path, sizeof k->path, "/v1/groups/%s/messages", text);
    memset(text, 0, sizeof text);
    base64url_write(text, SPAN(name));
    snprintf(k->query, sizeof k->query, "id=%s", text);
    /* RFC 9420 §6.3: version, wire format, group id, epoch, content type, and three vectors */
    uint8_t *p = k->body;
    memset(p, 0, sizeof k->body);
    p[1] = 1, p[3] = 2, p[4] = 32;
    memcpy(p + 5, GROUP, 32);
    p[44] = (uint8_t)epoch, p[45] = 1, p[47] = 1, p[48] = content, p[49] = 1, p[50] = 9;
    k->rq = signed_request(METHOD_POST, k->path, k->query, span_of(k->body, 51), &device, device_name);
    memcpy(k->texts, request_texts, sizeof request_texts);
    k->rq.signature_input = span_text(k->texts[0]);
    k->rq.signature = span_text(k->texts[1]);
    k->rq.content_digest = span_text(k->texts[2]);
    k->rq.content_type = span_text("message/mls");
}

static char answers[MESSAGES][200];

/* All in one batch; their statuses. */
static void ask_all(kept_request *list, size_t n, int *statuses) {
    const request *rq[MESSAGES];
    response bodies[MESSAGES], *rs[MESSAGES];
    for (size_t i = 0; i < n; i++)
        rq[i] = &list[i].rq, rs[i] = &bodies[i];
    assert_true(relay_batch_begin(r, NOW_MS));
    relay_handle_all(r, rq, rs, n);
    bool stored = relay_batch_end(r);
    for (size_t i = 0; i < n; i++) {
        if (!stored)
            relay_unavailable(rs[i]);
        statuses[i] = rs[i]->status;
        snprintf(answers[i], sizeof answers[i], "%.*s", (int)rs[i]->body_size, rs[i]->body);
        response_free(rs[i]);
    }
}

static void messages_of_a_batch_are_each_answered_for_themselves(void **state) {
    static kept_request list[MESSAGES];
    int status[MESSAGES];
    make_group();
    keep_message(&list[0], 1, 5, 1);
    keep_message(&list[1], 1, 5, 1); /* the same again */
    keep_message(&list[2], 1, 6, 1); /* its id for another */
    keep_message(&list[3], 2, 5, 2); /* of an epoch that is not reached */
    list[4] = list[0];               /* the same request */
    ask_all(list, 5, status);
    static const int WANTED[] = {200, 200, 409, 409, 401};
    for (int i = 0; i < 5; i++)
        assert_int_equal(status[i], WANTED[i]);
    assert_string_equal(answers[0], answers[1]);
    assert_non_null(strstr(answers[2], "id-reused"));
    assert_non_null(strstr(answers[3], "wrong-epoch"));
    assert_non_null(strstr(answers[4], "replayed"));
    assert_int_equal(rows("SELECT COUNT(*) FROM events WHERE kind = 1"), 1);
    assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), 1);
    assert_int_equal(rows("SELECT COUNT(*) FROM sent s JOIN events e ON e.seq = s.seq"), 1);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_entries"), 2 + 4); /* the same again is none */
    keep_message(&list[0], 3, 5, 1);
    list[0].rq.signature = list[1].rq.signature;
    keep_message(&list[1], 4, 5, 1);
    ask_all(list, 2, status);
    assert_int_equal(status[0], 401);
    assert_int_equal(status[1], 200);
    assert_int_equal(rows("SELECT MAX(seq) FROM events"), rows("SELECT seq FROM clinics"));
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_entries"), 2 + 5);
}

/* Whatever statement fails, at once or only when the transaction is to end, all get 503 and nothing is stored. */
static void any_statement_of_messages_may_fail(void **state) {
    static kept_request list[MESSAGES];
    int status[MESSAGES], fails = 0;
    make_group();
    for (int later = 0; later < 2; later++) {
        int64_t entries = rows("SELECT COUNT(*) FROM audit_entries"), events = rows("SELECT COUNT(*) FROM events");
        for (int at = 0; at < 100; at++, fails++) {
            for (int i = 0; i < MESSAGES; i++)
                keep_message(&list[i], (uint8_t)(10 * later + i), 5, 1);
            store.later = later == 1;
            store.until = at;
            ask_all(list, MESSAGES, status);
            store.until = -1;
            store.later = false;
            for (int i = 1; i < MESSAGES; i++)
                assert_int_equal(status[i], status[0]);
            if (status[0] == 200)
                break;
            assert_int_equal(status[0], 503);
            assert_int_equal(rows("SELECT COUNT(*) FROM events"), events);
            assert_int_equal(rows("SELECT COUNT(*) FROM sent"), later * MESSAGES);
            assert_int_equal(rows("SELECT COUNT(*) FROM audit_entries"), entries);
        }
        assert_int_equal(rows("SELECT COUNT(*) FROM events"), events + MESSAGES);
        assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), (later + 1) * MESSAGES);
        assert_int_equal(rows("SELECT COUNT(*) FROM audit_entries"), entries + MESSAGES);
    }
    assert_true(fails >= 16);
}

/* ---- what is flushed */

static int ask_inbox(int64_t now_ms) {
    request rq = signed_request_at(now_ms, METHOD_GET, "/v1/inbox", "after=0", SPAN_NONE, &device, device_name);
    return ask_at(&rq, now_ms);
}

static void only_reads_are_committed_without_a_flush(void **state) {
    static kept_request list[2];
    int status[2];
    make_group();
    keep_message(&list[0], 1, 5, 1);
    ask_all(list, 1, status);
    store.flushed = store.unflushed = 0;
    assert_int_equal(ask_inbox(NOW_MS), 200);
    assert_int_equal(store.flushed, 0);
    assert_int_equal(store.unflushed, 1);
    assert_int_equal(relay_batches_unflushed(r), 1);
    /* Beside a message, also one that is refused. */
    for (int refused = 0; refused < 2; refused++) {
        keep_message(&list[0], (uint8_t)(2 + refused), 5, 1 + (uint64_t)refused);
        list[1].rq = signed_request(METHOD_GET, "/v1/inbox", "after=0", SPAN_NONE, &device, device_name);
        ask_all(list, 2, status);
        assert_int_equal(status[0], refused ? 409 : 200);
        assert_int_equal(status[1], 200);
        assert_int_equal(store.flushed, 1 + refused);
    }
    /* Any other call, though it reads only. */
    request rq = signed_request(METHOD_GET, "/v1/audit/checkpoint", "", SPAN_NONE, &device, device_name);
    assert_int_equal(ask(&rq), 200);
    rq = signed_request(METHOD_GET, "/v1/audit", "", SPAN_NONE, &device, device_name);
    assert_int_equal(ask(&rq), 200);
    assert_int_equal(store.flushed, 4);
    rq = signed_request(METHOD_GET, "/v1/inbox", "after=99", SPAN_NONE, &device, device_name);
    assert_int_equal(ask(&rq), 400);
    assert_int_equal(store.flushed, 5);
    assert_int_equal(store.unflushed, 1);
    /* A read that makes a checkpoint of the audit log. */
    int64_t made = rows("SELECT COUNT(*) FROM audit_checkpoints");
    assert_int_equal(ask_inbox(NOW_MS + 5000), 200);
    assert_int_equal(store.unflushed, 2);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_checkpoints"), made);
    DB_RUN(&store.base, "UPDATE audit_heads SET signed_at = signed_at - $1", db_i(60000));
    assert_int_equal(ask_inbox(NOW_MS + 6000), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_checkpoints"), made + 1);
    assert_int_equal(store.unflushed, 2);
    assert_int_equal(store.flushed, 6);
    /* What happens by itself. */
    assert_true(relay_ready(r, NOW_MS));
    assert_int_equal(store.flushed, 7);
}

static void a_nonce_counts_once(void **state) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    assert_int_equal(ask(&rq), 401);
    rq = make_clinic();
    assert_int_equal(ask(&rq), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_entries"), 3);
}

/* Another relay on the same database, or this one after a restart: what it is asked it finds in the rows. */
static void nonces_are_known_to_others(void **state) {
    static kept_request list[3];
    int status[3];
    relay *one = r, *two = NULL;
    make_group();
    assert_ok(
        relay_open(&store.base, &(relay_options){.clinics_open = true, .blob_days = 7, .retention_days = 60}, &two));
    for (uint8_t i = 0; i < 3; i++)
        keep_message(&list[i], (uint8_t)(1 + i), 5, 1);
    for (int i = 0; i < 3; i++) {
        r = i % 2 == 0 ? one : two;
        ask_all(&list[i], 1, status);
        assert_int_equal(status[0], 200);
        r = i % 2 == 0 ? two : one;
        ask_all(list, (size_t)i + 1, status);
        for (int k = 0; k <= i; k++)
            assert_int_equal(status[k], 401);
    }
    int64_t stored = rows("SELECT COUNT(*) FROM nonces");
    assert_int_equal(rows("SELECT MAX(number) FROM nonces"), stored);
    /* The database was set back, and goes on with numbers that were given before: the second relay looks at all of it. */
    DB_RUN(&store.base, "DELETE FROM nonces WHERE number >= $1", db_i(stored - 1));
    relay_close(one);
    assert_ok(
        relay_open(&store.base, &(relay_options){.clinics_open = true, .blob_days = 7, .retention_days = 60}, &one));
    r = one;
    for (uint8_t i = 0; i < 3; i++) {
        keep_message(&list[i], (uint8_t)(11 + i), 5, 1);
        ask_all(&list[i], 1, status);
        assert_int_equal(status[0], 200);
    }
    assert_true(rows("SELECT MAX(number) FROM nonces") > stored);
    r = two;
    ask_all(list, 3, status);
    for (int i = 0; i < 3; i++)
        assert_int_equal(status[i], 401);
    relay_close(two);
    r = one;
}

/* A batch that was not stored has used no nonce up. */
static void nonces_of_a_failed_batch_are_good(void **state) {
    static kept_request list[2];
    int status[2];
    make_group();
    keep_message(&list[0], 1, 5, 1);
    keep_message(&list[1], 2, 5, 1);
    for (int at = -1; at < 12; at++) {
        store.commit_fails = at < 0;
        store.until = at;
        ask_all(list, 2, status);
        store.commit_fails = false;
        store.until = -1;
        if (status[0] == 200)
            break;
        assert_int_equal(status[0], 503);
        assert_int_equal(status[1], 503);
    }
    ask_all(list, 2, status);
    int good = status[0];
    ask_all(list, 2, status);
    assert_true(good == 200 || good == 401);
    assert_int_equal(status[0], 401);
    assert_int_equal(status[1], 401);
    assert_int_equal(rows("SELECT COUNT(*) FROM events WHERE kind = 1"), 2);
}

/* A minute in which more was asked than is remembered takes no more, and no other is touched. */
static void what_cannot_be_remembered_is_refused(void **state) {
    make_group();
    size_t size = (size_t)NONCES_A_MINUTE_MAX * 8;
    uint8_t *digests = malloc(size);
    assert_non_null(digests);
    for (size_t i = 0; i < size; i++)
        digests[i] = i % 8 == 3   ? (uint8_t)(i >> 19)
                     : i % 8 == 4 ? (uint8_t)(i >> 11)
                     : i % 8 == 5 ? (uint8_t)(i >> 3)
                                  : 7;
    DB_RUN(&store.base, "INSERT INTO nonces (clinic, number, mark, minute, digests) VALUES ($1, $2, $3, $4, $5)",
           db_id(clinic), db_i(1000), db_i(1), db_i(NOW_MS / 60000), db_b(span_of(digests, size)));
    free(digests);
    assert_int_equal(ask_inbox(NOW_MS), 503);
    assert_int_equal(ask_inbox(NOW_MS), 503);
    DB_RUN(&store.base, "UPDATE nonces SET minute = minute + $1 WHERE number = $2", db_i(1), db_i(1000));
    relay_close(r);
    assert_ok(
        relay_open(&store.base, &(relay_options){.clinics_open = true, .blob_days = 7, .retention_days = 60}, &r));
    assert_int_equal(ask_inbox(NOW_MS), 200);
    request rq = signed_request_at(NOW_MS + 60000, METHOD_GET, "/v1/inbox", "after=0", SPAN_NONE, &device, device_name);
    assert_int_equal(ask_at(&rq, NOW_MS), 503);
    assert_int_equal(ask_inbox(NOW_MS), 200);
}

/* When a minute begins, once: a request pays for its own nonce only. The newest row always stays. */
static void old_nonces_go(void **state) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    assert_int_equal(rows("SELECT COUNT(*) FROM nonces"), 1);
    DB_RUN(&store.base, "UPDATE nonces SET minute = minute - $1", db_i(12));
    rq = make_clinic();
    assert_int_equal(ask_at(&rq, NOW_MS + 60000), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM nonces"), 1);
    assert_int_equal(rows("SELECT MIN(number) FROM nonces"), 2);
    DB_RUN(&store.base, "UPDATE nonces SET minute = minute - $1", db_i(12));
    rq = make_clinic();
    assert_int_equal(ask_at(&rq, NOW_MS + 60000), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM nonces"), 2);
    rq = make_clinic();
    assert_int_equal(ask_at(&rq, NOW_MS + 120000), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM nonces"), 2);
    assert_int_equal(rows("SELECT MIN(number) FROM nonces"), 3);
}

/* Those of a minute go in no other's place, and a batch of several minutes is several rows. */
static void minutes_are_apart(void **state) {
    static const int64_t AWAY[] = {-300000, -60000, 0, 60000, 300000};
    static char texts[5][3][600];
    request rq[5];
    make_group();
    for (int round = 0; round < 2; round++) {
        int64_t before = rows("SELECT COUNT(*) FROM nonces");
        assert_true(relay_batch_begin(r, NOW_MS));
        for (int i = 0; i < 5; i++) {
            response rs;
            if (round == 0) {
                rq[i] = signed_request_at(NOW_MS + AWAY[i], METHOD_GET, "/v1/inbox", "after=0", SPAN_NONE, &device,
                                          device_name);
                memcpy(texts[i], request_texts, sizeof request_texts);
                rq[i].signature_input = span_text(texts[i][0]);
                rq[i].signature = span_text(texts[i][1]);
            }
            relay_handle(r, &rq[i], &rs);
            assert_int_equal(rs.status, round == 0 ? 200 : 401);
            response_free(&rs);
        }
        assert_true(relay_batch_end(r));
        assert_int_equal(rows("SELECT COUNT(*) FROM nonces"), before + (round == 0 ? 5 : 0));
    }
}

/* ---- what happens by itself */

/* The group, and a message that waits in it. */
static void schedule_one(void) {
    static const uint8_t ID[16] = {8};
    db *d = &store.base;
    make_group();
    DB_RUN(d,
           "INSERT INTO scheduled (clinic, device, message_id, deliver_at, group_id, data) VALUES ($1, $2, $3, $4, $5, "
           "$6)",
           db_id(clinic), db_id(device_name), db_id(ID), db_i(NOW_MS), db_b(SPAN(GROUP)), db_b(span_text("body")));
    DB_RUN(d, "INSERT INTO sent (clinic, device, message_id, digest, seq, at) VALUES ($1, $2, $3, $3, 0, $4)",
           db_id(clinic), db_id(device_name), db_id(ID), db_i(NOW_MS));
    assert_false(db_failed(d));
}

/* Whatever fails, a message that is due is delivered once or waits on. */
static void a_message_that_is_due_comes_once(void **state) {
    size_t n = 0;
    int fails = 0;
    schedule_one();
    assert_false(relay_deliver_due(r, NOW_MS - 1));
    assert_int_equal(rows("SELECT COUNT(*) FROM scheduled"), 1);
    store.commit_fails = true;
    assert_false(relay_deliver_due(r, NOW_MS));
    store.commit_fails = false;
    for (int at = 0; at < 100; at++, fails++) {
        store.until = at;
        bool done = relay_deliver_due(r, NOW_MS);
        store.until = -1;
        store.base.error = OK;
        (void)relay_wakes(r, &n);
        if (done)
            break;
        assert_int_equal(n, 0);
        assert_int_equal(rows("SELECT COUNT(*) FROM scheduled"), 1);
        assert_int_equal(rows("SELECT COUNT(*) FROM events"), 0);
        assert_int_equal(rows("SELECT COUNT(*) FROM sent WHERE seq = 0"), 1);
    }
    assert_true(fails >= 8);
    assert_int_equal(n, 1);
    assert_int_equal(rows("SELECT COUNT(*) FROM scheduled"), 0);
    assert_int_equal(rows("SELECT COUNT(*) FROM events WHERE kind = 1"), 1);
    assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), 1);
    assert_int_equal(rows("SELECT COUNT(*) FROM sent s JOIN events e ON e.seq = s.seq"), 1);
    assert_false(relay_deliver_due(r, NOW_MS));
}

/* A relay that was away for longer than ids are remembered: what waits keeps its id, and so is sent once. */
static void what_waits_is_remembered_however_overdue(void **state) {
    schedule_one();
    relay_tidy(r, NOW_MS + 40 * 24ll * 3600 * 1000);
    assert_int_equal(rows("SELECT COUNT(*) FROM sent WHERE seq = 0"), 1);
    assert_true(relay_deliver_due(r, NOW_MS));
    assert_int_equal(rows("SELECT COUNT(*) FROM sent s JOIN events e ON e.seq = s.seq"), 1);
    relay_tidy(r, NOW_MS + 40 * 24ll * 3600 * 1000);
    assert_int_equal(rows("SELECT COUNT(*) FROM sent"), 0);
}

/* The newest to ring `whom` for; 0: nothing. */
static int64_t rung_for(uint8_t whom) {
    size_t n = 0, times = 0;
    int64_t seq = 0;
    const wake *w = relay_wakes(r, &n);
    for (size_t i = 0; i < n; i++)
        if (w[i].push == WAKE_PUSH && w[i].device[0] == whom) {
            seq = w[i].seq;
            times++;
        }
    assert_true(times <= 1);
    return seq;
}

/* Who is rung for a number that no event has would seem to have read it, and not be rung at all. */
static void nobody_is_rung_for_what_was_sent_before(void **state) {
    static kept_request list[MESSAGES];
    static const uint8_t POINT[PUSH_PUBLIC_SIZE], OTHER[ID_SIZE] = {1};
    int status[MESSAGES];
    relay_close(r);
    assert_ok(relay_open(&store.base, &(relay_options){.clinics_open = true, .push_key = POINT}, &r));
    make_group();
    DB_RUN(&store.base, "INSERT INTO members (clinic, group_id, device, active) VALUES ($1, $2, $3, 1)", db_id(clinic),
           db_b(SPAN(GROUP)), db_id(OTHER));
    for (uint8_t i = 0; i < 3; i++)
        keep_message(&list[i], i, 5, 1);
    ask_all(list, 3, status);
    assert_int_equal(rung_for(1), rows("SELECT MAX(seq) FROM events"));
    keep_message(&list[0], 3, 5, 1);
    keep_message(&list[1], 0, 5, 1); /* its answer was lost */
    ask_all(list, 2, status);
    assert_int_equal(status[1], 200);
    assert_int_equal(rung_for(1), rows("SELECT MAX(seq) FROM events"));
    keep_message(&list[0], 3, 5, 1);
    ask_all(list, 1, status);
    assert_int_equal(status[0], 200);
    assert_int_equal(rung_for(1), 0);
}

/* A clock that was ahead for a while must not keep checkpoints away until it is there again. */
static void checkpoints_go_on_when_the_clock_was_ahead(void **state) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_checkpoints"), 1);
    rq = make_clinic();
    assert_int_equal(ask(&rq), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_checkpoints"), 1);
    DB_RUN(&store.base, "UPDATE audit_heads SET signed_at = $1", db_i(NOW_MS + 365 * 24ll * 3600 * 1000));
    rq = make_clinic();
    assert_int_equal(ask(&rq), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_checkpoints"), 2);
    rq = make_clinic();
    assert_int_equal(ask(&rq), 200);
    assert_int_equal(rows("SELECT COUNT(*) FROM audit_checkpoints"), 2);
}

static void store_blob(uint8_t name, int64_t size, int64_t stored, int64_t created) {
    uint8_t id[32] = {name};
    DB_RUN(&store.base,
           "INSERT INTO blobs (clinic, blob, device, size, stored, created) VALUES ($1, $2, $3, $4, $5, $6)",
           db_id(clinic), db_b(SPAN(id)), db_id(device_name), db_i(size), db_i(stored), db_i(created));
    DB_RUN(&store.base, "INSERT INTO blob_pieces (clinic, blob, at, data) VALUES ($1, $2, 0, $3)", db_id(clinic),
           db_b(SPAN(id)), db_b(span_text("piece")));
    DB_RUN(&store.base,
           "INSERT INTO blob_use (clinic, bytes) VALUES ($1, $2) ON CONFLICT (clinic) DO UPDATE SET bytes = bytes + $2",
           db_id(clinic), db_i(size));
    assert_false(db_failed(&store.base));
}

static void old_blobs_and_uploads_are_forgotten(void **state) {
    const int64_t HOUR = 3600000, DAY = 24 * HOUR;
    store_blob(1, 10, 10, NOW_MS - 8 * DAY);  /* older than they are kept */
    store_blob(2, 20, 20, NOW_MS - 6 * DAY);  /* complete */
    store_blob(3, 40, 5, NOW_MS - 25 * HOUR); /* begun too long ago */
    store_blob(4, 80, 5, NOW_MS - 23 * HOUR);
    relay_tidy(r, NOW_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM blobs"), 2);
    assert_int_equal(rows("SELECT COUNT(*) FROM blob_pieces"), 2);
    assert_int_equal(rows("SELECT SUM(size) FROM blobs"), 100);
    assert_int_equal(rows("SELECT bytes FROM blob_use"), 100);
    store.until = 9; /* the disk fails while one goes: all of it stays, or none */
    relay_tidy(r, NOW_MS + 2 * DAY);
    store.until = -1;
    store.base.error = OK;
    assert_true(rows("SELECT COUNT(*) FROM blobs") == rows("SELECT COUNT(*) FROM blob_pieces"));
    assert_true(rows("SELECT COALESCE(SUM(size), 0) FROM blobs") == rows("SELECT bytes FROM blob_use"));
    relay_tidy(r, NOW_MS + 2 * DAY);
    assert_int_equal(rows("SELECT COUNT(*) FROM blobs"), 0);
    assert_int_equal(rows("SELECT bytes FROM blob_use"), 0);
}

/* ---- retention */

#define DAY_MS (24ll * 3600 * 1000)

static void add_device(uint8_t name) {
    uint8_t id[ID_SIZE] = {name};
    DB_RUN(&store.base,
           "INSERT INTO devices (clinic, device, public_key, chain, kind, rights, not_after, enrolled, revoked) "
           "VALUES ($1, $2, $2, $2, 4, 1, 0, 0, 0)",
           db_id(clinic), db_id(id));
}

/* Events 1 to 300; the device waits for all of them, device 1 for every third, device 2 for none. The first 200 are `days` old. */
static void fill_inboxes(int64_t days) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    rq = enrol();
    assert_int_equal(ask(&rq), 201);
    db *d = &store.base;
    uint8_t other[ID_SIZE] = {1};
    add_device(1);
    add_device(2);
    DB_RUN(d, "DELETE FROM events WHERE clinic = $1", db_id(clinic));
    DB_RUN(d, "DELETE FROM deliveries WHERE clinic = $1", db_id(clinic));
    DB_RUN(d, "UPDATE clinics SET seq = 300 WHERE clinic = $1", db_id(clinic));
    for (int i = 1; i <= 300; i++) {
        DB_RUN(d,
               "INSERT INTO events (clinic, seq, waiting, kind, at, group_id, sender, ref, number, data) "
               "VALUES ($1, $2, $3, 1, $4, $1, $1, $1, 0, $5)",
               db_id(clinic), db_i(i), db_i(i % 3 == 0 ? 2 : 1), db_i(NOW_MS - (i <= 200 ? days * DAY_MS : 0) + i),
               db_b(span_text("body")));
        DB_RUN(d, "INSERT INTO deliveries (clinic, device, seq) VALUES ($1, $2, $3)", db_id(clinic), db_id(device_name),
               db_i(i));
        if (i % 3 == 0)
            DB_RUN(d, "INSERT INTO deliveries (clinic, device, seq) VALUES ($1, $2, $3)", db_id(clinic), db_id(other),
                   db_i(i));
    }
    DB_RUN(d, "UPDATE clinic_use SET stored = 4 * 300 + 256 * 400 WHERE clinic = $1", db_id(clinic));
    assert_false(db_failed(d));
}

/* Every event has as many who wait as inboxes that it is in, every delivery has its event, and what they take is what is noted. */
static void check_inboxes_fit(void) {
    assert_int_equal(rows("SELECT COUNT(*) FROM events e WHERE waiting <> (SELECT COUNT(*) FROM deliveries d WHERE "
                          "d.clinic = e.clinic AND d.seq = e.seq)"),
                     0);
    assert_int_equal(rows("SELECT COUNT(*) FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM events e WHERE "
                          "e.clinic = d.clinic AND e.seq = d.seq)"),
                     0);
    assert_int_equal(
        rows("SELECT stored FROM clinic_use"),
        rows("SELECT COALESCE(SUM(LENGTH(data)), 0) + 256 * (SELECT COUNT(*) FROM deliveries) FROM events"));
}

static void inbox_says(const char *query, const char *wanted) {
    response rs;
    request rq = signed_request(METHOD_GET, "/v1/inbox", query, SPAN_NONE, &device, device_name);
    assert_true(relay_batch_begin(r, NOW_MS));
    relay_handle(r, &rq, &rs);
    assert_true(relay_batch_end(r));
    assert_int_equal(rs.status, 200);
    if (strstr(rs.body, wanted) != rs.body)
        fail_msg("%.200s", rs.body);
    response_free(&rs);
}

static void what_nobody_fetches_goes_and_leaves_a_gap(void **state) {
    char wanted[100];
    fill_inboxes(60);
    relay_tidy(r, NOW_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 300);
    relay_tidy(r, NOW_MS + DAY_MS);
    check_inboxes_fit();
    /* a gap each: at 200 for the device, at 198 for device 1 */
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 102);
    assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), 102 + 34);
    assert_int_equal(
        rows("SELECT COUNT(*) FROM events WHERE kind = 8 AND seq IN (198, 200) AND data IS NULL AND group_id IS "
             "NULL AND sender IS NULL AND ref IS NULL"),
        2);
    assert_int_equal(rows("SELECT COUNT(*) FROM events WHERE seq <= 200 AND data IS NOT NULL"), 0);
    for (int i = 0; i < 3; i++)
        relay_tidy(r, NOW_MS + DAY_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), 102 + 34);
    snprintf(wanted, sizeof wanted,
             "{\"events\":[{\"seq\":200,\"kind\":\"gap\",\"at\":%lld},{\"seq\":201,\"kind\":\"message\"",
             NOW_MS - 60 * DAY_MS + 200);
    inbox_says("after=0", wanted);
    inbox_says("after=199", wanted);
    /* the gap moves with what goes later, and goes when it is acknowledged */
    relay_tidy(r, NOW_MS + 61 * DAY_MS);
    check_inboxes_fit();
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 1);
    inbox_says("after=200", "{\"events\":[{\"seq\":300,\"kind\":\"gap\"");
    inbox_says("after=300", "{\"events\":[],\"next\":300");
    check_inboxes_fit();
    assert_int_equal(rows("SELECT COUNT(*) FROM deliveries"), 1);
}

static void a_clinic_may_keep_longer_than_the_others(void **state) {
    fill_inboxes(61);
    DB_RUN(&store.base, "INSERT INTO retention (clinic, days) VALUES ($1, 90)", db_id(clinic));
    relay_tidy(r, NOW_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 300);
    /* but nobody for less than 30 days */
    DB_RUN(&store.base, "UPDATE retention SET days = 1 WHERE clinic = $1", db_id(clinic));
    relay_tidy(r, NOW_MS - 32 * DAY_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 300);
    relay_tidy(r, NOW_MS - 30 * DAY_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 102);
}

/* Whatever statement fails, inboxes and events fit together, and the next round does the rest. */
static void retention_may_fail_anywhere(void **state) {
    fill_inboxes(61);
    for (int at = 0; at < 60; at++) {
        store.until = at;
        relay_tidy(r, NOW_MS);
        store.until = -1;
        store.base.error = OK;
        check_inboxes_fit();
    }
    for (int i = 0; i < 3; i++)
        relay_tidy(r, NOW_MS);
    check_inboxes_fit();
    assert_int_equal(rows("SELECT COUNT(*) FROM events"), 102);
}

static void add_invitation(uint8_t name, int64_t expires, int64_t state) {
    uint8_t id[ID_SIZE] = {name};
    DB_RUN(&store.base,
           "INSERT INTO invitations (clinic, invitation, public_key, issuer, state, attempts_left, enrols, expires, "
           "created, number, chain, sealed, check_value) VALUES ($1, $2, $2, $2, $4, 5, 4, $3, 0, 1, $2, $2, $2)",
           db_id(clinic), db_id(id), db_i(expires), db_i(state));
}

static void what_an_old_invitation_said_goes(void **state) {
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    add_invitation(1, NOW_MS / 1000 - 61 * 86400, 0);
    add_invitation(2, NOW_MS / 1000 - 61 * 86400, 1);
    add_invitation(3, NOW_MS / 1000 - 59 * 86400, 1);
    for (int i = 0; i < 2; i++)
        relay_tidy(r, NOW_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM invitations"), 3);
    /* What asked for a check still does, and nothing is right. */
    assert_int_equal(rows("SELECT COUNT(*) FROM invitations WHERE LENGTH(sealed) = 0 AND LENGTH(check_value) = 0"), 2);
    relay_tidy(r, NOW_MS + 2 * DAY_MS);
    assert_int_equal(rows("SELECT COUNT(*) FROM invitations WHERE LENGTH(sealed) = 0 AND LENGTH(check_value) = 0"), 3);
}

/* Addresses cost nothing to have, devices do: those that are slowed stay so, however many addresses ask. */
static void a_flood_of_addresses_frees_nobody(void **state) {
    relay_close(r);
    assert_ok(
        relay_open(&store.base, &(relay_options){.clinics_open = true, .rate_device = 3, .rate_address = 1000}, &r));
    request rq = make_clinic();
    assert_int_equal(ask(&rq), 201);
    rq = enrol();
    assert_int_equal(ask(&rq), 201);
    for (int i = 0; i < 3; i++) {
        rq = publish();
        assert_int_equal(ask(&rq), i < 2 ? 200 : 429);
    }
    response rs;
    assert_true(relay_batch_begin(r, NOW_MS + 1000));
    for (uint32_t i = 0; i < 4 * RATE_SLOTS; i++) {
        rq = (request){.method = METHOD_GET, .path = span_text("/v1/nothing")};
        memcpy(rq.address, &i, sizeof i);
        relay_handle(r, &rq, &rs);
        assert_int_equal(rs.status, 404);
        response_free(&rs);
    }
    assert_true(relay_batch_end(r));
    rq = publish();
    assert_int_equal(ask(&rq), 429);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_is_stored_as_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_request_undoes_only_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_commit_stores_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_statement_may_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(messages_of_a_batch_are_each_answered_for_themselves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_statement_of_messages_may_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_reads_are_committed_without_a_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nonce_counts_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonces_are_known_to_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonces_of_a_failed_batch_are_good, set_up, tear_down),
        cmocka_unit_test_setup_teardown(minutes_are_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_remembered_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_nonces_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_message_that_is_due_comes_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_waits_is_remembered_however_overdue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_is_rung_for_what_was_sent_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_go_on_when_the_clock_was_ahead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_nobody_fetches_goes_and_leaves_a_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clinic_may_keep_longer_than_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_an_old_invitation_said_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(retention_may_fail_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_addresses_frees_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_blobs_and_uploads_are_forgotten, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("relay_batch", tests, NULL, NULL);
}
