/* The whole core when the machine refuses: a clinic's session (a clinic is made, staff and a patient are invited and enrol,
 * conversations, messages, receipts, members who join later, messages that come late, restarts) between real cores and the
 * relay's own logic, in which each command of each of them is first tried with the n-th piece of heap, step of SQL or file
 * operation refused. Each try is a process of its own, which
 *   - reads the store as a restart would: it is as before the command or, where the command went through, as after it;
 *   - lets no request out of a command that failed;
 *   - repeats the command without a refusal: it goes through, and leaves the store as it would have been;
 *   - carries the session on until nothing moves (every fourth try): everybody shows the same texts once, with no notice;
 *   - closes everything: all heap was given back.
 * For each kind of refusal some n of each command are taken, with SOTTO_LONG=1 all of them. */
#include <cJSON.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/relay.h"
#include "client/account_lock.h"
#include "crypto/sha256.h"
#include "sotto.h"
#include "support/check.h"
#include "support/disk.h"
#include "support/faults.h"

#define PIN "271828"
#define PENDING_MAX 16
#define START_MS 1790000000000ll
#define SAMPLES 1 /* of each kind in each command, unless SOTTO_LONG=1 */

/* ---------------------------------------------------------------- parties */

typedef struct bytes {
    uint8_t *p;
    size_t n;
} bytes;

typedef struct pending {
    char id[24]; /* empty: free */
    bool parked; /* at the relay, until there is news */
    inbox_wait wait;
    http_method method;
    char path[400], query[100], signature_input[500], signature[200], digest[120], type[60];
    bytes body;
} pending;

typedef struct party {
    const char *name;
    disk *disk;
    sotto *s;
    pending pending[PENDING_MAX];
    int64_t tick_at; /* 0: not */
} party;

static party founder = {.name = "founder"}, nurse = {.name = "nurse"}, patient = {.name = "patient"},
             doctor = {.name = "doctor"};
static party *const all[] = {&founder, &nurse, &patient, &doctor};
#define PARTIES (sizeof all / sizeof *all)

static relay *the_relay;
static int64_t now;
static bool within_try;    /* this process makes one try and ends */
static bool medium_failed; /* in this try */
static long tries[FAULT_KINDS], commands, places[FAULT_KINDS];

/* A try has no cmocka around it. */
static const char *trying = "";
#define REQUIRE(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s: ", trying);                                                                           \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, " (line %d)\n", __LINE__);                                                                 \
            if (within_try)                                                                                            \
                _exit(1);                                                                                              \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)

static void text_into(char *out, size_t size, const char *text) {
    REQUIRE(text == NULL || strlen(text) < size, "too long: %s", text);
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static void forget(pending *p) {
    free(p->body.p);
    *p = (pending){0};
}

static void forget_all(party *p) {
    for (size_t i = 0; i < PENDING_MAX; i++)
        forget(&p->pending[i]);
    p->tick_at = 0;
}

/* ---------------------------------------------------------------- frames */

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, size_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static bytes frame_of(const char *header, bytes attachment) {
    size_t n = strlen(header), more = attachment.p != NULL ? 4 + attachment.n : 0;
    bytes f = {malloc(8 + n + more), 8 + n + more};
    put_u32(f.p, f.n - 4);
    put_u32(f.p + 4, n);
    memcpy(f.p + 8, header, n);
    if (more > 0) {
        put_u32(f.p + 8 + n, attachment.n);
        if (attachment.n > 0)
            memcpy(f.p + 12 + n, attachment.p, attachment.n);
    }
    return f;
}

static const char *text_of(const cJSON *object, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

typedef struct reply {
    cJSON *json;
    const uint8_t *frame; /* until the next call */
} reply;

static reply call(party *p, bytes frame, fault_kind kind, long n, long *seen) {
    reply r;
    host_set_disk(p->disk);
    faults_enter(kind, n);
    r.frame = sotto_call(p->s, frame.p, frame.n);
    *seen = faults_leave();
    r.json = cJSON_ParseWithLength((const char *)r.frame + 8, u32_at(r.frame + 4));
    REQUIRE(r.json != NULL, "a reply is no JSON");
    return r;
}

static const char *error_of(const reply *r) {
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(r->json, "error");
    return e != NULL ? text_of(e, "code") : NULL;
}

static http_method method_of(const char *name) {
    return strcmp(name, "GET") == 0    ? METHOD_GET
           : strcmp(name, "POST") == 0 ? METHOD_POST
           : strcmp(name, "PUT") == 0  ? METHOD_PUT
                                       : METHOD_DELETE;
}

/* Takes the requests and the timer out of a reply. */
static void take_effects(party *p, const reply *r) {
    const uint8_t *attachments[PENDING_MAX], *at = r->frame + 8 + u32_at(r->frame + 4);
    size_t count = 0;
    for (const uint8_t *end = r->frame + 4 + u32_at(r->frame); at < end && count < PENDING_MAX; at += 4 + u32_at(at))
        attachments[count++] = at;
    const cJSON *request, *list = cJSON_GetObjectItemCaseSensitive(r->json, "http");
    cJSON_ArrayForEach(request, list) {
        size_t i = 0;
        while (i < PENDING_MAX && p->pending[i].id[0] != 0)
            i++;
        REQUIRE(i < PENDING_MAX, "too many requests");
        pending *q = &p->pending[i];
        const cJSON *headers = cJSON_GetObjectItemCaseSensitive(request, "headers"),
                    *body = cJSON_GetObjectItemCaseSensitive(request, "body"),
                    *id = cJSON_GetObjectItemCaseSensitive(request, "id");
        if (cJSON_IsString(id))
            text_into(q->id, sizeof q->id, id->valuestring);
        else
            snprintf(q->id, sizeof q->id, "%.0f", cJSON_GetNumberValue(id));
        q->method = method_of(text_of(request, "method"));
        text_into(q->path, sizeof q->path, text_of(request, "path"));
        char *query = strchr(q->path, '?');
        if (query != NULL) {
            *query = 0;
            text_into(q->query, sizeof q->query, query + 1);
        }
        text_into(q->signature, sizeof q->signature, text_of(headers, "Signature"));
        text_into(q->signature_input, sizeof q->signature_input, text_of(headers, "Signature-Input"));
        text_into(q->digest, sizeof q->digest, text_of(headers, "Content-Digest"));
        text_into(q->type, sizeof q->type, text_of(headers, "Content-Type"));
        if (body != NULL) {
            const uint8_t *from = attachments[body->valueint];
            q->body = (bytes){malloc(u32_at(from) + 1), u32_at(from)};
            memcpy(q->body.p, from + 4, q->body.n);
        }
    }
    const cJSON *timer = cJSON_GetObjectItemCaseSensitive(r->json, "timer");
    if (timer != NULL && (p->tick_at == 0 || now + timer->valueint < p->tick_at)) /* as glue/host.mjs does */
        p->tick_at = now + timer->valueint + 1;
}

/* ---------------------------------------------------------------- the store, as a restart finds it */

/* One seed a command, so that a repetition draws what the first try drew. */
static void seed_random(long command) {
    static uint8_t stream[65536];
    uint64_t x = 0x9e3779b97f4a7c15ull * (uint64_t)(command + 1);
    for (size_t i = 0; i < sizeof stream; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        stream[i] = (uint8_t)(x >> 32);
    }
    host_set_random(stream, sizeof stream);
}

static void hash_more(uint8_t digest[32], const void *p, size_t n) {
    static uint8_t joined[1 << 20];
    REQUIRE(n + 32 <= sizeof joined, "a value is too large");
    memcpy(joined, digest, 32);
    if (n > 0)
        memcpy(joined + 32, p, n);
    sha256(span_of(joined, n + 32), digest);
}

static void hash_table(uint8_t digest[32], sqlite3 *db, const char *table) {
    char sql[100];
    sqlite3_stmt *s;
    snprintf(sql, sizeof sql, "SELECT * FROM \"%s\"", table);
    REQUIRE(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    while (sqlite3_step(s) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            int type = sqlite3_column_type(s, i);
            hash_more(digest, &type, sizeof type);
            hash_more(digest, sqlite3_column_blob(s, i), (size_t)sqlite3_column_bytes(s, i));
        }
    REQUIRE(sqlite3_finalize(s) == SQLITE_OK, "%s", sqlite3_errmsg(db));
}

/* A digest of every row, zeros while there is no account. */
static void digest_of(party *p, uint8_t digest[32]) {
    uint8_t key[4 + STORE_KEY_SIZE] = "raw:";
    lock_status lock;
    disk *copy = disk_copy(p->disk);
    memset(digest, 0, 32);
    host_set_disk(copy);
    err e = account_lock_status("a.key", &lock);
    if (e == OK && lock.exists && lock.finished) {
        sqlite3 *db;
        sqlite3_stmt *tables;
        REQUIRE(account_lock_open("a.key", span_text(PIN), key + 4) == OK, "the key file does not open");
        REQUIRE(sqlite3_open_v2("a.db", &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
        REQUIRE(sqlite3_key_v2(db, "main", key, sizeof key) == SQLITE_OK, "%s", sqlite3_errmsg(db));
        REQUIRE(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK, "%s",
                sqlite3_errmsg(db));
        REQUIRE(sqlite3_prepare_v2(db, "SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name", -1,
                                   &tables, NULL) == SQLITE_OK,
                "%s", sqlite3_errmsg(db));
        digest[0] = 1;
        while (sqlite3_step(tables) == SQLITE_ROW)
            hash_table(digest, db, (const char *)sqlite3_column_text(tables, 0));
        REQUIRE(sqlite3_finalize(tables) == SQLITE_OK, "%s", sqlite3_errmsg(db));
        sqlite3_close(db);
    } else {
        REQUIRE(e == OK || e == ERR_STORE_CORRUPT, "the key file: %s", err_name(e));
    }
    host_set_disk(p->disk);
    disk_free(copy);
}

/* ---------------------------------------------------------------- the session's machinery */

static void try_all(party *p, bytes frame);
static void open_again(party *p);

/* One command, first under refusals. Its result; the caller deletes it. */
static cJSON *command(party *p, const char *header, bytes attachment) {
    long seen;
    bytes f = frame_of(header, attachment);
    if (!within_try) {
        trying = header;
        try_all(p, f);
    }
    seed_random(commands++);
    reply r = call(p, f, FAULT_NONE, 0, &seen);
    if (medium_failed && error_of(&r) != NULL && strncmp(error_of(&r), "store", 5) == 0) {
        /* It failed after the commit, while the WAL was copied: the next command finds the store stopped. */
        medium_failed = false;
        cJSON_Delete(r.json);
        open_again(p);
        r = call(p, f, FAULT_NONE, 0, &seen);
    }
    free(f.p);
    REQUIRE(error_of(&r) == NULL, "%s: %s gives %s", p->name, header, error_of(&r));
    take_effects(p, &r);
    return r.json;
}

static void perform(party *p, const char *header) { cJSON_Delete(command(p, header, (bytes){0})); }

static void answer(party *p, pending *q, const response *rs) {
    char header[200];
    bool body = rs->body != NULL;
    snprintf(header, sizeof header, "{\"command\":\"http.reply\",\"args\":{\"id\":\"%s\",\"status\":%d%s}}", q->id,
             rs->status, body ? ",\"body\":0" : "");
    forget(q);
    cJSON_Delete(command(p, header, body ? (bytes){(uint8_t *)rs->body, rs->body_size} : (bytes){0}));
}

/* Carries one request to the relay or its news back. False: nothing to do. */
static bool carry(party *p, pending *q) {
    response rs;
    if (q->id[0] == 0)
        return false;
    host_set_disk(NULL);
    if (q->parked) {
        if (!relay_inbox_answer(the_relay, &q->wait, false, now, &rs))
            return false;
    } else {
        request rq = {.method = q->method,
                      .path = span_text(q->path),
                      .query = span_text(q->query),
                      .authority = span_text("relay.test"),
                      .signature_input = q->signature_input[0] ? span_text(q->signature_input) : SPAN_NONE,
                      .signature = q->signature[0] ? span_text(q->signature) : SPAN_NONE,
                      .content_digest = q->digest[0] ? span_text(q->digest) : SPAN_NONE,
                      .content_type = q->type[0] ? span_text(q->type) : SPAN_NONE,
                      .body = q->body.p != NULL ? span_of(q->body.p, q->body.n) : SPAN_NONE};
        REQUIRE(relay_batch_begin(the_relay, now), "the relay can't begin");
        relay_handle(the_relay, &rq, &rs);
        REQUIRE(relay_batch_end(the_relay), "the relay can't end");
        if (getenv("SOTTO_FAULT_TRACE") != NULL && !within_try)
            fprintf(stderr, "# %s %s: %d %.*s\n", p->name, q->path, rs.status, (int)rs.body_size,
                    rs.body ? rs.body : "");
        if (rs.then == THEN_WAIT) {
            q->parked = true;
            q->wait = rs.wait;
            response_free(&rs);
            return false;
        }
    }
    answer(p, q, &rs);
    response_free(&rs);
    return true;
}

static bool carry_all(party *p) {
    bool moved = false;
    for (size_t i = 0; p->s != NULL && i < PENDING_MAX; i++)
        moved |= carry(p, &p->pending[i]);
    return moved;
}

/* Until nothing moves any more for `who`, or for all (NULL); timers of less than a minute are waited for. */
static void settle(party *who) {
    for (int round = 0; round < 200; round++) {
        bool moved = false;
        for (size_t i = 0; i < PARTIES; i++)
            if (who == NULL || who == all[i])
                moved |= carry_all(all[i]);
        if (moved)
            continue;
        party *next = NULL;
        for (size_t i = 0; i < PARTIES; i++)
            if ((who == NULL || who == all[i]) && all[i]->s != NULL && all[i]->tick_at != 0 &&
                all[i]->tick_at < now + 60000 && (next == NULL || all[i]->tick_at < next->tick_at))
                next = all[i];
        if (next == NULL)
            return;
        if (next->tick_at > now)
            now = next->tick_at;
        host_set_now((double)now);
        next->tick_at = 0;
        perform(next, "{\"command\":\"tick\"}");
    }
    REQUIRE(false, "it does not come to rest");
}

static void open_party(party *p) {
    bytes f = frame_of("{\"store\":\"a\"}", (bytes){0});
    host_set_disk(p->disk);
    faults_enter(FAULT_NONE, 0);
    p->s = sotto_open(f.p, f.n);
    faults_leave();
    free(f.p);
    REQUIRE(p->s != NULL, "sotto_open");
}

static void close_party(party *p) {
    host_set_disk(p->disk);
    faults_enter(FAULT_NONE, 0);
    sotto_close(p->s);
    faults_leave();
    p->s = NULL;
    forget_all(p);
}

/* ---------------------------------------------------------------- what people see */

typedef struct view {
    char text[6000];
    size_t n;
} view;

static void see(view *v, const char *format, ...) {
    va_list list;
    va_start(list, format);
    v->n += (size_t)vsnprintf(v->text + v->n, sizeof v->text - v->n, format, list);
    va_end(list);
    REQUIRE(v->n < sizeof v->text, "too much to see");
}

static void look(party *p, view *v) {
    char header[200];
    cJSON *status = command(p, "{\"command\":\"account.status\"}", (bytes){0});
    const char *state = text_of(cJSON_GetObjectItemCaseSensitive(status, "result"), "state");
    bool open = strcmp(state, "open") == 0;
    see(v, "%s %s\n", p->name, state);
    cJSON_Delete(status);
    if (!open)
        return;
    cJSON *list = command(p, "{\"command\":\"conversation.list\"}", (bytes){0});
    const cJSON *c, *m;
    cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(list, "result")) {
        char *epoch = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(c, "epoch"));
        see(v, " [%s] %s epoch %s, %d members\n", text_of(c, "title"), text_of(c, "state"), epoch,
            cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(c, "members")));
        cJSON_free(epoch);
        snprintf(header, sizeof header, "{\"command\":\"message.list\",\"args\":{\"conversation\":\"%s\"}}",
                 text_of(c, "conversation"));
        cJSON *messages = command(p, header, (bytes){0});
        cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(messages, "result"))
            see(v, "  %s: %s %s\n", text_of(m, "kind"), text_of(m, "text"), text_of(m, "state"));
        cJSON_Delete(messages);
    }
    cJSON_Delete(list);
    cJSON *notices = command(p, "{\"command\":\"notice.list\"}", (bytes){0});
    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(notices, "result"))
        see(v, " notice %s\n", text_of(m, "code"));
    cJSON_Delete(notices);
}

/* ---------------------------------------------------------------- tries */

typedef struct outcome {
    long seen, live;
    uint8_t digest[32];
    view view;
} outcome;

static bool all_of_them(void) {
    const char *wanted = getenv("SOTTO_LONG");
    return wanted != NULL && strcmp(wanted, "0") != 0;
}

/* Everything at rest, and what is left of the heap when all is closed. */
static void finish_try(outcome *o, bool go_on) {
    if (go_on)
        settle(NULL);
    for (size_t i = 0; go_on && i < PARTIES; i++)
        if (all[i]->s != NULL)
            look(all[i], &o->view);
    for (size_t i = 0; i < PARTIES; i++)
        if (all[i]->s != NULL)
            close_party(all[i]);
    o->live = faults.live;
}

static bool is_result(const outcome *expected, const uint8_t digest[32]) {
    return memcmp(expected->digest, digest, 32) == 0;
}

/* The account was closed by a medium that failed, or never opened: opens it where it can be. */
static void open_again(party *p) {
    cJSON *status = command(p, "{\"command\":\"account.status\"}", (bytes){0});
    bool locked = strcmp(text_of(cJSON_GetObjectItemCaseSensitive(status, "result"), "state"), "locked") == 0;
    cJSON_Delete(status);
    if (!locked)
        return;
    forget_all(p);
    perform(p, "{\"command\":\"account.unlock\",\"args\":{\"pin\":\"" PIN "\"}}");
}

static void one_try(party *p, bytes frame, fault_kind kind, long n, const uint8_t before[32], const outcome *expected) {
    static char name[400];
    static outcome o;
    uint8_t digest[32];
    const long number = commands;
    /* open_again unlocks; an answer that was not taken in is asked for again by the core itself. */
    bool retries = strncmp(trying, "{\"command\":\"account.unlock", 26) != 0 &&
                   strncmp(trying, "{\"command\":\"http.reply", 22) != 0;
    snprintf(name, sizeof name, "%s: %.100s: %s %ld", p->name, trying, fault_names[kind], n);
    trying = name;
    seed_random(number);
    reply r = call(p, frame, kind, n, &o.seen);
    medium_failed = kind == FAULT_FILE || kind == FAULT_FULL;
    REQUIRE(o.seen >= n, "only %ld of %ld", o.seen, n);
    const char *error = error_of(&r);
    digest_of(p, digest);
    bool unchanged = memcmp(digest, before, 32) == 0, done = is_result(expected, digest);
    if (kind == FAULT_ARENA) /* an event that is too large for us is told and left out: not as before, nor as after */
        REQUIRE(error == NULL || unchanged, "%s, but the store changed", error);
    else if (error != NULL &&
             strcmp(error, "store") == 0) /* of a sync that failed nobody knows before the next start */
        REQUIRE(unchanged || done, "%s, and the store is neither as before nor as after", error);
    else
        REQUIRE(error != NULL ? unchanged : done, "%s, and the store is %s", error != NULL ? error : "went through",
                unchanged ? "as before"
                : done    ? "as after"
                          : "neither as before nor as after");
    if (error != NULL) {
        REQUIRE(cJSON_GetObjectItemCaseSensitive(r.json, "http") == NULL, "%s, but requests went out", error);
        take_effects(p, &r); /* its timer */
        open_again(p);
        if (!retries)
            goto settled;
        if (done && !unchanged) /* what was done is not to be done again */
            goto settled;
        seed_random(number);
        cJSON_Delete(r.json);
        r = call(p, frame, FAULT_NONE, 0, &o.seen);
        REQUIRE(error_of(&r) == NULL, "again: %s", error_of(&r));
        if (kind != FAULT_FILE && kind != FAULT_ARENA) {
            digest_of(p, digest);
            REQUIRE(is_result(expected, digest), "again: went through, but not as it would have before");
        }
    }
    take_effects(p, &r);
settled:
    cJSON_Delete(r.json);
    commands = number + 1;
    bool go_on = all_of_them() || n % 4 == 0; /* the dearest part */
    finish_try(&o, go_on);
    if (go_on && kind != FAULT_ARENA)
        REQUIRE(strcmp(o.view.text, expected->view.text) == 0, "people see\n%sinstead of\n%s", o.view.text,
                expected->view.text);
    REQUIRE(o.live == expected->live, "%ld pieces of heap were not given back", o.live - expected->live);
}

/* Runs it in a process of its own without a refusal, and tells what it led to. */
static void rehearse(party *p, bytes frame, fault_kind kind, outcome *o) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        within_try = true;
        memset(o, 0, sizeof *o);
        seed_random(commands);
        reply r = call(p, frame, kind, 0, &o->seen);
        REQUIRE(error_of(&r) == NULL, "%s without a refusal", error_of(&r));
        if (kind == FAULT_HEAP) {
            digest_of(p, o->digest);
            take_effects(p, &r);
            commands++;
            finish_try(o, true);
        }
        size_t done = 0;
        while (done < sizeof *o) {
            ssize_t put = write(ends[1], (char *)o + done, sizeof *o - done);
            if (put <= 0)
                _exit(1);
            done += (size_t)put;
        }
        _exit(0);
    }
    close(ends[1]);
    size_t got = 0;
    for (ssize_t n; got < sizeof *o && (n = read(ends[0], (char *)o + got, sizeof *o - got)) > 0;)
        got += (size_t)n;
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    if (got != sizeof *o || status != 0)
        fail_msg("%s: %s failed without a refusal", p->name, trying);
}

static void try_all(party *p, bytes frame) {
    static outcome expected, counted;
    static uint32_t luck = 1;
    uint8_t before[32];
    digest_of(p, before);
    rehearse(p, frame, FAULT_HEAP, &expected);
    for (fault_kind kind = FAULT_HEAP; kind < FAULT_KINDS; kind++) {
        counted.seen = expected.seen;
        if (kind != FAULT_HEAP)
            rehearse(p, frame, kind, &counted);
        places[kind] += counted.seen;
        long samples = all_of_them() || counted.seen < SAMPLES ? counted.seen : SAMPLES;
        for (long i = 0; i < samples; i++) {
            long from = i * counted.seen / samples, to = (i + 1) * counted.seen / samples;
            luck = luck * 1664525u + 1013904223u;
            long n = from + 1 + (long)((luck >> 8) % (unsigned long)(to - from));
            int status;
            fflush(NULL);
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                within_try = true;
                one_try(p, frame, kind, n, before, &expected);
                _exit(0);
            }
            waitpid(child, &status, 0);
            tries[kind]++;
            if (status != 0)
                fail_msg("%s: %.120s: %s %ld of %ld: %s %d", p->name, trying, fault_names[kind], n, counted.seen,
                         WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : status);
        }
    }
}

/* ---------------------------------------------------------------- the session */

/* Makes an invitation and enrols with it. */
static void enrol(party *by, party *p, const char *enrols, const char *name) {
    char header[1000];
    bool patients = strcmp(enrols, "patient") == 0;
    snprintf(header, sizeof header,
             "{\"command\":\"invitation.create\",\"args\":{\"enrols\":\"%s\",\"name\":\"%s\",\"check\":\"%s\"%s}}",
             enrols, name, patients ? "birth_date" : "none", patients ? ",\"factor\":\"1956-04-12\"" : "");
    cJSON *made = command(by, header, (bytes){0});
    const char *link = strchr(text_of(cJSON_GetObjectItemCaseSensitive(made, "result"), "link"), '#');
    assert_non_null(link);
    snprintf(header, sizeof header,
             "{\"command\":\"invitation.open\",\"args\":{\"relay\":\"https://relay.test\",\"fragment\":\"%s\"}}",
             link + 1);
    cJSON_Delete(made);
    settle(by);
    open_party(p);
    perform(p, header);
    settle(p);
    perform(p, patients ? "{\"command\":\"invitation.accept\",\"args\":{\"factor\":\"1956-04-12\"}}"
                        : "{\"command\":\"invitation.accept\",\"args\":{\"name\":\"Staff\"}}");
    settle(p);
    perform(p, "{\"command\":\"account.create\",\"args\":{\"pin\":\"" PIN "\"}}");
}

static void send_text(party *p, const char *text) {
    char header[300];
    snprintf(header, sizeof header, "{\"command\":\"message.send\",\"args\":{\"conversation\":\"1\",\"text\":\"%s\"}}",
             text);
    perform(p, header);
}

static void restart(party *p) {
    close_party(p);
    open_party(p);
    perform(p, "{\"command\":\"account.unlock\",\"args\":{\"pin\":\"" PIN "\"}}");
}

static void a_session(void **state) {
    db *database;
    now = START_MS;
    host_set_now((double)now);
    host_set_log_level(4); /* refusals are logged, and there are many */
    for (size_t i = 0; i < PARTIES; i++)
        all[i]->disk = disk_new();
    /* SQLite gets ready once: with the core's memory, and with what its own generators draw. */
    store *first;
    host_set_disk(doctor.disk);
    assert_ok(store_open("first.db", (const uint8_t[STORE_KEY_SIZE]){1}, true, &account_schema, &first));
    store_close(first);
    assert_ok(db_open_sqlite(":memory:", false, &database));
    assert_ok(relay_open(database, &(relay_options){.clinics_open = true}, &the_relay));
    open_party(&founder);
    perform(&founder,
            "{\"command\":\"clinic.create\",\"args\":{\"relay\":\"https://relay.test\",\"clinic_name\":\"Lakeside\","
            "\"name\":\"Dr Lee\",\"pin\":\"" PIN "\"}}");
    settle(NULL);
    enrol(&founder, &nurse, "staff", "Nurse Kim");
    settle(NULL);
    enrol(&founder, &patient, "patient", "Ada Brown");
    send_text(&patient, "before there is a group");
    settle(NULL);
    send_text(&founder, "good morning");
    restart(&patient);
    settle(NULL);
    perform(&patient,
            "{\"command\":\"conversation.read\",\"args\":{\"conversation\":\"1\",\"order\":\"9000000000000000\"}}");
    send_text(&patient, "thank you");
    settle(NULL);
    /* A member joins by a commit of the founder's; meanwhile the nurse writes in the epoch that ends. */
    enrol(&founder, &doctor, "staff", "Dr Park");
    settle(&doctor);
    settle(&founder);
    send_text(&nurse, "late, from the epoch before");
    restart(&founder);
    settle(NULL);
    send_text(&doctor, "I have joined");
    restart(&nurse);
    settle(NULL);

    view seen = {0};
    within_try = true; /* only looks */
    for (size_t i = 0; i < PARTIES; i++)
        look(all[i], &seen);
    within_try = false;
    assert_non_null(strstr(seen.text, "late, from the epoch before"));
    assert_non_null(strstr(seen.text, "I have joined"));
    /* The doctor has no key for what was written in an epoch before hers; nobody else was told anything. */
    const char *told = strstr(seen.text, " notice ");
    if (told == NULL || told < strstr(seen.text, "doctor open") || strcmp(told, " notice too_old\n") != 0)
        fail_msg("somebody was told of something:\n%s", seen.text);
    for (size_t i = 0; i < PARTIES; i++)
        close_party(all[i]);
    relay_close(the_relay);
    db_close(database);
    for (size_t i = 0; i < PARTIES; i++)
        disk_free(all[i]->disk);
    print_message(
        "# %ld commands; refused of heap %ld of %ld, arena %ld of %ld, SQL steps %ld of %ld, file operations %ld of "
        "%ld, writes to a full disk %ld of %ld\n",
        commands, tries[FAULT_HEAP], places[FAULT_HEAP], tries[FAULT_ARENA], places[FAULT_ARENA], tries[FAULT_STEP],
        places[FAULT_STEP], tries[FAULT_FILE], places[FAULT_FILE], tries[FAULT_FULL], places[FAULT_FULL]);
    if (getenv("SOTTO_FAULT_TRACE") != NULL)
        print_message("%s", seen.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_session)};
    return cmocka_run_group_tests_name("client_fault", tests, NULL, NULL);
}
