/* Requests to the relay's logic, over a database in memory with two clinics, devices, a group and an invitation. An input is steps; each
 * takes a call's usual request, edits it, signs it with a real key (so that what lies behind the signature is reached), and
 * perhaps edits it once more, which makes it a forgery.
 *
 * Of every answer must hold: its status and problem are PROTOCOL.md's, its JSON is strict; a forgery changes nothing at all; a refusal
 * changes nothing but nonces, the audit log, and the attempts of a wrong check; an accepted write that is asked again has the
 * same answer and changes nothing; and in the end every audit log is a whole chain
 * and the counters of quotas are what stands there. */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include <sodium/crypto_hash_sha256.h>
#include <sqlite3.h>

#include "../../server/audit.h"
#include "../../server/log.h"
#include "../../server/push_key.h"
#include "../../server/schema.h"
#include "../../server/signature_check.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "mls/types.h"

enum { STEPS_MAX = 24, EDITS_MAX = 4, BODY_ROOM = BODY_MAX + 4096 };
#define BEGIN_MS 1790000000000ll

/* ---- the database: every input begins where the first one did. A relay's transaction is a savepoint of ours. */

static db *store;
static db_driver driver;
static const db_driver *below;
static bool in_batch;

static err run(db *d, const char *sql) {
    void *statement = NULL;
    bool row = false;
    TRY(below->query(d, sql, NULL, 0, &statement));
    err e = below->next(d, statement, &row);
    below->end(d, statement);
    return e;
}
static const char SAVEPOINT[] = "SAVEPOINT batch", RELEASE[] = "RELEASE batch", BACK[] = "ROLLBACK TO batch";
static err start(db *d) {
    in_batch = true;
    return run(d, SAVEPOINT);
}
static err keep(db *d) {
    in_batch = false;
    return run(d, RELEASE);
}
static void undo(db *d) {
    if (in_batch)
        REQUIRE(run(d, BACK) == OK && run(d, RELEASE) == OK);
    in_batch = false;
}

typedef struct state {
    uint8_t all[32], lasting[32]; /* lasting: without nonces and the audit log */
} state;

static void absorb(crypto_hash_sha256_state *h, const uint64_t mark[2], span bytes) {
    crypto_hash_sha256_update(h, (const uint8_t *)mark, 16);
    if (bytes.n > 0)
        crypto_hash_sha256_update(h, bytes.p, bytes.n);
}

static state look(void) {
    state s;
    crypto_hash_sha256_state all, lasting;
    crypto_hash_sha256_init(&all);
    crypto_hash_sha256_init(&lasting);
    for (size_t t = 0; SCHEMA_TABLES[t][0] != NULL; t++) {
        bool passing = strcmp(SCHEMA_TABLES[t][0], "nonces") == 0 || strncmp(SCHEMA_TABLES[t][0], "audit_", 6) == 0;
        db_rows r = db_query_values(store, SCHEMA_TABLES[t][1], NULL, 0);
        while (db_next(&r)) {
            for (int i = 0; i < sqlite3_column_count(r.statement); i++) {
                span bytes = db_bytes(&r, i);
                uint64_t mark[2] = {t, bytes.n};
                absorb(&all, mark, bytes);
                if (!passing)
                    absorb(&lasting, mark, bytes);
            }
        }
        REQUIRE(!db_failed(store));
    }
    crypto_hash_sha256_final(&all, s.all);
    crypto_hash_sha256_final(&lasting, s.lasting);
    return s;
}

/* ---- who asks */

/* Each has a key of its own. Of these a clinic's device, an invite and another clinic's device ask; the roots make clinics; the last two
 * may be enrolled by a chain from the root or from the invite. */
typedef enum actor { ADMIN, NURSE, INVITE, STRANGER, ROOT, OTHER_ROOT, THIRD_ROOT, PATIENT, NEW_STAFF, ACTORS } actor;
static signature_key keys[ACTORS];
static uint8_t names[ACTORS][ID_SIZE];
static const uint8_t GROUPS[2][GROUP_BYTES] = {{1, 2, 3}, {4, 5, 6}};

static relay *r;
static int64_t now_ms;
static uint32_t nonces;

static certificate certified(actor by, actor who, certificate_kind kind, uint8_t enrols, uint32_t rights) {
    certificate c = {.kind = (uint8_t)kind,
                     .enrols = enrols,
                     .rights = rights,
                     .not_before = BEGIN_MS / 1000 - 1000,
                     .not_after = BEGIN_MS / 1000 + 20 * 24 * 3600};
    memcpy(c.clinic_id, names[by == OTHER_ROOT ? OTHER_ROOT : ROOT], ID_SIZE);
    memcpy(c.subject_key, signature_key_public(&keys[who]).p, ED25519_PUBLIC_SIZE);
    /* an invite says whom it enrols */
    memcpy(c.subject_id, names[who == INVITE ? PATIENT : who], ID_SIZE);
    REQUIRE(certificate_issue(&c, &keys[by]) == OK);
    return c;
}

/* ---- a request in the making */

typedef enum part { PATH, QUERY, BODY, INPUT, SIGNATURE, DIGEST, AUTHORITY, TYPE, RANGE, PARTS } part;
typedef struct buffer {
    uint8_t *p;
    size_t n, room;
} buffer;

typedef struct draft {
    http_method method;
    buffer parts[PARTS];
    bool event_stream;
} draft;

static draft at;

static void set(part which, span s) {
    buffer *b = &at.parts[which];
    b->n = s.n < b->room ? s.n : b->room;
    if (b->n > 0)
        memcpy(b->p, s.p, b->n);
}
static void add(part which, const char *s) {
    buffer *b = &at.parts[which];
    size_t n = strlen(s);
    REQUIRE(n <= b->room - b->n);
    memcpy(b->p + b->n, s, n);
    b->n += n;
}
static void add64(part which, span s) {
    buffer *b = &at.parts[which];
    REQUIRE(BASE64URL_SIZE(s.n) <= b->room - b->n);
    base64url_write((char *)b->p + b->n, s);
    b->n += BASE64URL_SIZE(s.n);
}
static void add_number(part which, int64_t v) {
    char s[24];
    snprintf(s, sizeof s, "%lld", (long long)v);
    add(which, s);
}
static span is(part which) { return span_of(at.parts[which].p, at.parts[which].n); }

static void base64(char *out, span s) {
    base64url_write(out, s);
    size_t n = BASE64URL_SIZE(s.n);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '-' ? '+' : out[i] == '_' ? '/' : out[i];
    for (; n % 4 != 0; n++)
        out[n] = '=';
    out[n] = 0;
}

static void put(uint8_t *base, size_t *size, span s) {
    if (s.n > 0)
        memcpy(base + *size, s.p, s.n);
    *size += s.n;
}

/* RFC 9421 over what stands there, whatever that is. */
static void sign(actor by) {
    static uint8_t base[4096];
    uint8_t hash[32], raw[ED25519_SIGNATURE_SIZE], nonce[16] = {0};
    char text[100];
    bool covers = at.parts[BODY].n > 0;
    nonces++;
    memcpy(nonce, &nonces, sizeof nonces);
    for (part w = INPUT; w <= DIGEST; w++)
        at.parts[w].n = 0;
    if (covers) {
        sha256(is(BODY), hash);
        base64(text, SPAN(hash));
        add(DIGEST, "sha-256=:");
        add(DIGEST, text);
        add(DIGEST, ":");
    }
    add(INPUT, "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\"");
    add(INPUT, covers ? " \"content-digest\");created=" : ");created=");
    add_number(INPUT, now_ms / 1000);
    add(INPUT, ";nonce=\"");
    add64(INPUT, SPAN(nonce));
    add(INPUT, "\";keyid=\"");
    add64(INPUT, SPAN(names[by]));
    add(INPUT, "\";alg=\"ed25519\"");
    const char *method = method_name(at.method);
    size_t size = 0;
    put(base, &size, span_text("\"@method\": "));
    put(base, &size, span_text(method != NULL ? method : "HEAD"));
    put(base, &size, span_text("\n\"@authority\": "));
    put(base, &size, is(AUTHORITY));
    put(base, &size, span_text("\n\"@path\": "));
    put(base, &size, is(PATH));
    put(base, &size, span_text("\n\"@query\": ?"));
    put(base, &size, is(QUERY));
    if (covers) {
        put(base, &size, span_text("\n\"content-digest\": "));
        put(base, &size, is(DIGEST));
    }
    put(base, &size, span_text("\n\"@signature-params\": "));
    put(base, &size, span_of(at.parts[INPUT].p + 6, at.parts[INPUT].n - 6)); /* without "sotto=" */
    signature_sign(&keys[by], span_of(base, size), raw);
    base64(text, SPAN(raw));
    add(SIGNATURE, "sotto=:");
    add(SIGNATURE, text);
    add(SIGNATURE, ":");
}

/* ---- the calls' usual requests; `a` and `b` choose among their variants */

static void add_json(const char *before, span bytes, const char *after) {
    add(BODY, before);
    add64(BODY, bytes);
    add(BODY, after);
}

static span mls_of(const uint8_t group[GROUP_BYTES], uint64_t epoch, content_type type, size_t size) {
    static uint8_t bytes[2048], sealed[1024];
    mls_message m = {.version = 1, .wire_format = FORMAT_PRIVATE_MESSAGE};
    wire w;
    m.private_message = (private_message){.group_id = span_of(group, GROUP_BYTES),
                                          .epoch = epoch,
                                          .content_type = (uint8_t)type,
                                          .encrypted_sender_data = span_of(sealed, 28),
                                          .ciphertext = span_of(sealed, size)};
    wire_write_init(&w, bytes, sizeof bytes);
    wire_mls_message(&w, &m);
    return span_of(bytes, w.at);
}

static void chain_body(certificate *list, size_t n) {
    static uint8_t bytes[4096];
    certificate_chain chain = {list, n};
    wire w;
    wire_write_init(&w, bytes, sizeof bytes);
    wire_certificate_chain(&w, &chain);
    add_json("{\"chain\":\"", span_of(bytes, w.at), "\"");
}

static void one(http_method method, const char *path) {
    at.method = method;
    set(PATH, span_text(path));
}
static void one_of(http_method method, const char *path, span id, const char *rest) {
    one(method, path);
    add64(PATH, id);
    add(PATH, rest);
}

static void enrolment(uint8_t a, uint8_t b) {
    static const uint8_t CHECK[32] = {9};
    certificate list[3];
    one(METHOD_POST, "/v1/devices");
    if (a % 3 == 0) {
        list[0] = certified(ROOT, a & 4 ? NEW_STAFF : NURSE, CERTIFICATE_STAFF, 0, b & 31);
        chain_body(list, 1);
    } else {
        list[0] = certified(ROOT, ADMIN, CERTIFICATE_STAFF, 0, 31);
        list[1] = certified(ADMIN, INVITE, CERTIFICATE_INVITE, CERTIFICATE_PATIENT, RIGHT_MESSAGE);
        list[2] = certified(INVITE, PATIENT, CERTIFICATE_PATIENT, 0, RIGHT_MESSAGE);
        chain_body(list, 3);
        if (b & 1)
            add_json(",\"check\":\"", b & 2 ? SPAN(GROUPS[0]) : SPAN(CHECK), "\"");
    }
    add(BODY, "}");
}

static void invitation(uint8_t a) {
    static const uint8_t CHECK[32] = {9};
    certificate list[2] = {certified(ROOT, ADMIN, CERTIFICATE_STAFF, 0, 31),
                           certified(ADMIN, a & 1 ? THIRD_ROOT : INVITE, CERTIFICATE_INVITE,
                                     a & 2 ? CERTIFICATE_STAFF : CERTIFICATE_PATIENT, RIGHT_MESSAGE)};
    one(METHOD_POST, "/v1/invitations");
    chain_body(list, 2);
    add_json(",\"sealed\":\"", span_text("sealed"), "\"");
    add_json(",\"check\":\"", SPAN(CHECK), "\"}");
}

static void roster(uint8_t a) {
    uint8_t signed_bytes[14 + 8], bytes[8 + ED25519_SIGNATURE_SIZE];
    one(METHOD_PUT, "/v1/roster");
    memcpy(signed_bytes, "Sotto roster 1", 14);
    memset(signed_bytes + 14, a, 8);
    memset(bytes, a, 8);
    signature_sign(&keys[ROOT], SPAN(signed_bytes), bytes + 8);
    add(BODY, "{\"number\":");
    add_number(BODY, 1 + (a & 3));
    add_json(",\"roster\":\"", SPAN(bytes), "\"}");
}

static void commit_request(uint8_t a, uint8_t b) {
    const uint8_t *group = GROUPS[a & 1];
    one_of(METHOD_POST, "/v1/groups/", span_of(group, GROUP_BYTES), "/commits");
    add(BODY, "{\"epoch\":");
    add_number(BODY, b & 3);
    add_json(",\"commit\":\"", mls_of(group, b & 3, CONTENT_COMMIT, 20), "\"");
    if (a & 2)
        add_json(",\"welcome\":\"", span_text("welcome"), "\"");
    add(BODY, ",\"added\":[");
    if (a & 2)
        add_json("\"", SPAN(names[a & 4 ? PATIENT : NURSE]), "\"");
    add(BODY, "],\"removed\":[");
    if (a & 8)
        add_json("\"", SPAN(names[NURSE]), "\"");
    add(BODY, "]}");
}

static void message(uint8_t a, uint8_t b) {
    uint8_t id[MESSAGE_ID_BYTES] = {(uint8_t)(a >> 4)};
    one_of(METHOD_POST, "/v1/groups/", SPAN(GROUPS[a & 1]), "/messages");
    add(QUERY, "id=");
    add64(QUERY, SPAN(id));
    if (a & 2) {
        add(QUERY, "&deliver_at=");
        add_number(QUERY, now_ms + 1000ll * (1 + b));
    }
    set(BODY, mls_of(GROUPS[a & 1], b & 3, a & 4 ? CONTENT_PROPOSAL : CONTENT_APPLICATION, b * 3u));
    set(TYPE, span_text("message/mls"));
}

static void message_withdraw(uint8_t a, uint8_t b) {
    uint8_t id[MESSAGE_ID_BYTES] = {(uint8_t)(a >> 4)};
    one_of(METHOD_DELETE, "/v1/groups/", SPAN(GROUPS[a & 1]), "/messages/");
    add64(PATH, SPAN(id));
    if (b & 1) {
        add(QUERY, "sender=");
        add64(QUERY, SPAN(names[b & 2 ? ADMIN : NURSE]));
    }
}

/* Of up to three pieces. */
static void blob_put(uint8_t a, uint8_t b) {
    uint8_t id[BLOB_ID_BYTES] = {(uint8_t)(a & 1)};
    int64_t length = a & 2 ? 2 * BLOB_PIECE_MIN + b : 1 + b, offset = (b & 3) * (int64_t)BLOB_PIECE_MIN;
    int64_t n = length - offset < BLOB_PIECE_MIN ? length - offset : BLOB_PIECE_MIN;
    one_of(METHOD_PUT, "/v1/blobs/", SPAN(id), "");
    add(QUERY, "length=");
    add_number(QUERY, length);
    add(QUERY, "&offset=");
    add_number(QUERY, offset);
    at.parts[BODY].n = n > 0 ? (size_t)n : 1;
    memset(at.parts[BODY].p, a & 1, at.parts[BODY].n);
    set(TYPE, span_text("application/octet-stream"));
}

static void blob(http_method method, uint8_t a, uint8_t b) {
    uint8_t id[BLOB_ID_BYTES] = {(uint8_t)(a & 1)};
    one_of(method, "/v1/blobs/", SPAN(id), a & 2 ? "/state" : "");
    if (method == METHOD_GET && (a & 4)) {
        add(RANGE, a & 8 ? "bytes=-" : "bytes=");
        add_number(RANGE, b * 600);
        if (!(a & 8)) {
            add(RANGE, "-");
            if (a & 16)
                add_number(RANGE, b * 600 + a * 300);
        }
    }
}

static void key_packages(uint8_t a, uint8_t b) {
    one(METHOD_PUT, "/v1/key-packages");
    add_json("{\"key_packages\":[\"", span_of(&a, 1), "\",");
    add_json("\"", span_of(&b, 1), "\"]");
    if (a & 1)
        add_json(",\"last_resort\":\"", span_of(&b, 1), "\"");
    add(BODY, "}");
}

static void claim(uint8_t a) {
    one(METHOD_POST, "/v1/key-packages/claim");
    add_json("{\"devices\":[\"", SPAN(names[a % ACTORS]), "\"");
    add_json(",\"", SPAN(names[NURSE]), "\"]}");
}

static void inbox(uint8_t a, uint8_t b) {
    one(METHOD_GET, "/v1/inbox");
    add(QUERY, "after=");
    add_number(QUERY, b & 15);
    add(QUERY, a & 1 ? "&wait=5" : "&limit=3");
    at.event_stream = a & 2;
}

static void client_event(uint8_t a) {
    uint8_t id[ID_SIZE] = {(uint8_t)(a & 3)};
    one(METHOD_POST, "/v1/audit");
    add_json("{\"id\":\"", SPAN(id), "\"");
    add_json(",\"sealed\":\"", span_of(&a, 1), "\"}");
}

static void subscription(uint8_t a, uint8_t b) {
    one(a & 1 ? METHOD_DELETE : METHOD_PUT, "/v1/push");
    if (a & 1)
        return;
    add(BODY, "{\"endpoint\":\"https://push.example/");
    add_number(BODY, b);
    add(BODY, "\"}");
}

static void make(uint8_t what, uint8_t a, uint8_t b) {
    for (part w = 0; w < PARTS; w++)
        at.parts[w].n = 0;
    at.event_stream = false;
    add(AUTHORITY, "x");
    add(TYPE, "application/json");
    switch (what) {
    case 0: one(METHOD_GET, "/.well-known/sotto"); return;
    case 1:
        one(METHOD_POST, "/v1/clinics");
        add_json("{\"root_key\":\"", signature_key_public(&keys[a & 1 ? THIRD_ROOT : ROOT]), "\"}");
        return;
    case 2: enrolment(a, b); return;
    case 3: one_of(a & 16 ? METHOD_DELETE : METHOD_GET, "/v1/devices/", SPAN(names[a % ACTORS]), ""); return;
    case 4: key_packages(a, b); return;
    case 5: one(METHOD_GET, "/v1/key-packages"); return;
    case 6: claim(a); return;
    case 7: commit_request(a, b); return;
    case 8: message(a, b); return;
    case 9: message_withdraw(a, b); return;
    case 10: blob_put(a, b); return;
    case 11: blob(METHOD_GET, a, b); return;
    case 12: blob(METHOD_DELETE, a & 1, b); return;
    case 13: inbox(a, b); return;
    case 14: invitation(a); return;
    case 15: one(METHOD_GET, "/v1/invitations"); return;
    case 16:
        one_of(a & 1 ? METHOD_DELETE : METHOD_GET, "/v1/invitations/", SPAN(names[a & 2 ? THIRD_ROOT : INVITE]), "");
        return;
    case 17: roster(a); return;
    case 18: one(METHOD_GET, "/v1/roster"); return;
    case 19:
        one(METHOD_GET, "/v1/audit/checkpoint");
        if (a & 1) {
            add(QUERY, "number=");
            add_number(QUERY, b);
        }
        return;
    case 20:
        one(METHOD_GET, "/v1/audit");
        add(QUERY, "after=");
        add_number(QUERY, b);
        return;
    case 21: client_event(a); return;
    default: /* what the edits make of it */ one((http_method)(a % (METHOD_OTHER + 1)), "/v1/"); return;
    }
}
enum { CALLS = 23, PASS_TIME = CALLS, PUSH, MOVES };

/* ---- asking, and what must hold of the answer */

typedef struct reply {
    int status;
    size_t n;
    char body[4096]; /* its beginning */
    char problem[40];
} reply;

static void check_problem(json *j, reply *out) {
    static const char PREFIX[] = "\"type\":\"urn:sotto:problem:";
    const char *name = strstr(out->body, PREFIX);
    bool known = false;
    REQUIRE(name != NULL);
    name += sizeof PREFIX - 1;
    snprintf(out->problem, sizeof out->problem, "%.*s", (int)strcspn(name, "\""), name);
    for (int k = 0; k <= PROBLEM_UNAVAILABLE; k++)
        known |= strcmp(problem_name((problem_kind)k), out->problem) == 0;
    REQUIRE(known && json_has(j, "title") && json_has(j, "detail"));
    REQUIRE(json_integer(j, "status", 400, 599) == out->status);
    /* Nothing here may fail for want of memory or because the database is away. */
    REQUIRE(out->status < 500);
}

static void check_answer(const response *rs, reply *out) {
    static uint8_t memory[65536];
    *out = (reply){.status = rs->status, .n = rs->body_size};
    memcpy(out->body, rs->body_size > 0 ? rs->body : "",
           rs->body_size < sizeof out->body ? rs->body_size : sizeof out->body - 1);
    REQUIRE((rs->type != NULL) == (rs->body_size > 0) || rs->then != THEN_ANSWER);
    if (rs->type != NULL && strstr(rs->type, "json") != NULL && rs->body_size > 0) {
        json j;
        arena a;
        arena_over(&a, memory, sizeof memory);
        json_open(&j, span_of(rs->body, rs->body_size), &a);
        REQUIRE(j.fault[0] == 0);
        if (rs->status >= 400)
            check_problem(&j, out);
        json_close(&j);
    }
    if (rs->status >= 400)
        REQUIRE(strcmp(rs->type, "application/problem+json") == 0 && out->problem[0] != 0);
    else
        REQUIRE(rs->status == 200 || rs->status == 201 || rs->status == 204 || rs->status == 206);
    REQUIRE((rs->status == 206) == (rs->content_range[0] != 0) || rs->status == 416);
}

/* In memory of exact sizes, so that a read past an end is seen. */
static void ask(reply *out) {
    request rq = {.method = at.method, .event_stream = at.event_stream};
    span *const to[PARTS] = {&rq.path,      &rq.query,          &rq.body,      &rq.signature_input,
                             &rq.signature, &rq.content_digest, &rq.authority, &rq.content_type,
                             &rq.range};
    response rs;
    for (part w = 0; w < PARTS; w++) {
        uint8_t *own = at.parts[w].n > 0 ? malloc(at.parts[w].n) : NULL;
        REQUIRE(at.parts[w].n == 0 || own != NULL);
        if (own != NULL)
            memcpy(own, at.parts[w].p, at.parts[w].n);
        *to[w] = own != NULL ? span_of(own, at.parts[w].n) : SPAN_NONE;
    }
    rq.address[10] = rq.address[11] = 0xff;
    REQUIRE(relay_batch_begin(r, now_ms));
    relay_handle(r, &rq, &rs);
    REQUIRE(relay_batch_end(r));
    check_answer(&rs, out);
    response_free(&rs);
    if (rs.then == THEN_WAIT) {
        response late;
        reply page;
        REQUIRE(relay_inbox_answer(r, &rs.wait, true, now_ms, &late));
        check_answer(&late, &page);
        response_free(&late);
    } else if (rs.then == THEN_STREAM) {
        text events = {0};
        inbox_wait wait = rs.wait;
        REQUIRE(relay_inbox_stream(r, &wait, now_ms, &events));
        text_free(&events);
    }
    for (part w = 0; w < PARTS; w++)
        free((void *)(uintptr_t)to[w]->p);
}

static void signed_parts(uint8_t out[32]) {
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    for (part w = 0; w <= AUTHORITY; w++) {
        uint64_t mark[2] = {w, at.parts[w].n};
        absorb(&h, mark, is(w));
    }
    uint64_t method[2] = {PARTS, at.method};
    absorb(&h, method, SPAN_NONE);
    crypto_hash_sha256_final(&h, out);
}

/* ---- inputs */

static const uint8_t *next, *end;
static uint8_t take(void) { return next < end ? *next++ : 0; }

static void edit(void) {
    uint8_t which = take();
    size_t where = (size_t)take() << 8;
    where |= take();
    size_t away = take(), n = take() & 31;
    if (which % (PARTS + 1) == PARTS) {
        at.method = (http_method)(away % (METHOD_OTHER + 1));
        return;
    }
    buffer *b = &at.parts[which % (PARTS + 1)];
    where %= b->n + 1;
    if (away > b->n - where)
        away = b->n - where;
    if (n > (size_t)(end - next))
        n = (size_t)(end - next);
    if (b->n - away + n > b->room)
        n = 0;
    memmove(b->p + where + n, b->p + where + away, b->n - where - away);
    if (n > 0)
        memcpy(b->p + where, next, n);
    next += n;
    b->n = b->n - away + n;
}

static bool ends_in_itself(const char *call) {
    /* Claims take further packages; a deleted blob is gone; and who has revoked himself may not ask again. */
    return call != NULL && (strcmp(call, "/v1/key-packages/claim") == 0 ||
                            (at.method == METHOD_DELETE && strcmp(call, "/v1/blobs/{}") == 0));
}

static void step(void) {
    uint8_t what = take() % MOVES, by = take() % ACTORS, a = take(), b = take(), edits = take();
    if (what == PASS_TIME) {
        now_ms += 60000ll * a * (b + 1);
        (void)relay_deliver_due(r, now_ms);
        relay_tidy(r, now_ms);
        return;
    }
    uint8_t before_parts[32], after_parts[32];
    reply first, second;
    make(what, a, b);
    if (what == PUSH)
        subscription(a, b);
    for (int i = 0; i < (edits & 3); i++)
        edit();
    sign((actor)by);
    signed_parts(before_parts);
    for (int i = 0; i < (edits >> 2 & 3); i++)
        edit();
    signed_parts(after_parts);
    bool forged = memcmp(before_parts, after_parts, sizeof before_parts) != 0;
    request plain = {.method = at.method, .path = is(PATH)};
    const char *call = relay_call_of(&plain);
    bool unsigned_call = call != NULL && strcmp(call, "/.well-known/sotto") == 0;
    state before = look();
    ask(&first);
    state after = look();
    if (forged && !unsigned_call)
        REQUIRE(first.status >= 400 && memcmp(&before, &after, sizeof before) == 0);
    bool counted = strcmp(first.problem, "wrong-check") == 0 || strcmp(first.problem, "invitation-locked") == 0;
    if (first.status >= 400 || at.method == METHOD_HEAD || unsigned_call)
        REQUIRE(counted || memcmp(before.lasting, after.lasting, sizeof before.lasting) == 0);
    if (first.status >= 400 || unsigned_call || at.method == METHOD_GET || ends_in_itself(call))
        return;
    sign((actor)by);
    ask(&second);
    before = look();
    REQUIRE(memcmp(before.lasting, after.lasting, sizeof before.lasting) == 0);
    if (strcmp(second.problem, "revoked") == 0 && at.method == METHOD_DELETE)
        return;
    REQUIRE(second.status < 400 && second.n == first.n && memcmp(second.body, first.body, sizeof first.body) == 0);
}

static void check_chains(void) {
    uint8_t clinic[ID_SIZE] = {0}, hash[AUDIT_HASH_SIZE] = {0};
    int64_t number = 0;
    db_rows rows =
        DB_QUERY(store,
                 "SELECT e.clinic, e.number, e.entry, h.number, h.hash FROM audit_entries e JOIN audit_heads h "
                 "ON h.clinic = e.clinic WHERE e.number > $1 ORDER BY e.clinic, e.number",
                 db_i(0));
    while (db_next(&rows)) {
        audit_entry e = {0};
        wire w;
        if (memcmp(clinic, db_bytes(&rows, 0).p, ID_SIZE) != 0) {
            memcpy(clinic, db_bytes(&rows, 0).p, ID_SIZE);
            memset(hash, 0, sizeof hash);
            number = 0;
        }
        wire_read_init(&w, db_bytes(&rows, 2), NULL);
        wire_audit_entry(&w, &e);
        REQUIRE(wire_end(&w) == OK && e.number == (uint64_t)++number && db_integer(&rows, 1) == number);
        REQUIRE(memcmp(e.previous, hash, sizeof hash) == 0);
        audit_hash(db_bytes(&rows, 2), hash);
        REQUIRE(number < db_integer(&rows, 3) || span_equal(db_bytes(&rows, 4), SPAN(hash)));
    }
    REQUIRE(!db_failed(store));
}

/* What each clinic is noted to take is what stands there. */
static void check_use(void) {
    db_rows rows = db_query_values(
        store,
        "SELECT 1 FROM clinics c LEFT JOIN clinic_use u ON u.clinic = c.clinic WHERE COALESCE(u.stored, 0) <> "
        "(SELECT COALESCE(SUM(LENGTH(data)), 0) FROM events e WHERE e.clinic = c.clinic) + "
        "(SELECT COALESCE(SUM(LENGTH(data)), 0) FROM scheduled s WHERE s.clinic = c.clinic) + "
        "$1 * (SELECT COUNT(*) FROM deliveries d WHERE d.clinic = c.clinic) OR "
        "COALESCE(u.group_count, 0) <> (SELECT COUNT(*) FROM mls_groups g WHERE g.clinic = c.clinic)",
        &(db_value){.kind = DB_INTEGER, .integer = DELIVERY_BYTES}, 1);
    REQUIRE(!db_next(&rows));
    rows = db_query_values(
        store,
        "SELECT 1 FROM clinics c LEFT JOIN clinic_use u ON u.clinic = c.clinic WHERE COALESCE(u.device_count, 0) <> "
        "(SELECT COUNT(*) FROM devices d WHERE d.clinic = c.clinic) OR COALESCE(u.invitation_count, 0) <> "
        "(SELECT COUNT(*) FROM invitations i WHERE i.clinic = c.clinic) OR "
        "(SELECT COALESCE(SUM(bytes), 0) FROM blob_use b WHERE b.clinic = c.clinic) <> "
        "(SELECT COALESCE(SUM(size), 0) FROM blobs b WHERE b.clinic = c.clinic)",
        NULL, 0);
    REQUIRE(!db_next(&rows));
    rows = db_query_values(store,
                           "SELECT 1 FROM blob_shares s WHERE bytes <> (SELECT SUM(size) FROM blobs b WHERE "
                           "b.clinic = s.clinic AND b.device = s.device)",
                           NULL, 0);
    REQUIRE(!db_next(&rows) && !db_failed(store));
}

/* ---- the world */

static void must(uint8_t what, actor by, uint8_t a, uint8_t b) {
    reply answer;
    make(what, a, b);
    sign(by);
    ask(&answer);
    REQUIRE(answer.status < 400);
}

static void open_relay(void) {
    static const uint8_t point[PUSH_PUBLIC_SIZE] = {4};
    const relay_options options = {.clinics_open = true,
                                   .quota = {20000, 2, 6, 3},
                                   .blob_quota = 300000,
                                   .blob_days = 30,
                                   .blob_share = 200000,
                                   .push_key = point};
    now_ms = BEGIN_MS;
    REQUIRE(relay_open(store, &options, &r) == OK);
}

static void make_world(void) {
    static uint8_t texts[PARTS][600], body[BODY_ROOM], seed[32];
    for (int i = 0; i < ACTORS; i++) {
        seed[0] = (uint8_t)(i + 1);
        signature_key_from_seed(seed, &keys[i]);
        (i == INVITE                    ? invite_id_of
         : i >= ROOT && i <= THIRD_ROOT ? clinic_id_of
                                        : device_id_of)(signature_key_public(&keys[i]).p, names[i]);
    }
    for (part w = 0; w < PARTS; w++)
        at.parts[w] = (buffer){.p = w == BODY ? body : texts[w], .room = w == BODY ? sizeof body : sizeof texts[w]};
    log_from(LOG_ERROR + 1);
    REQUIRE(db_open_sqlite(":memory:", false, &store) == OK);
    DB_RUN(store, "INSERT INTO audit_key (number, seed) VALUES ($1, $2)", db_i(1), db_b(SPAN(seed)));
    below = store->driver;
    driver = *below;
    driver.begin = start;
    driver.commit = keep;
    driver.commit_unflushed = keep;
    driver.rollback = undo;
    store->driver = &driver;
    REQUIRE(below->begin(store) == OK);
    open_relay();
    must(1, ROOT, 0, 0);
    make(1, 0, 0);
    certificate c[] = {certified(ROOT, ADMIN, CERTIFICATE_STAFF, 0, 31),
                       certified(ROOT, NURSE, CERTIFICATE_STAFF, 0, 1),
                       certified(OTHER_ROOT, STRANGER, CERTIFICATE_STAFF, 0, 31)};
    for (int i = 0; i < 3; i++) {
        reply answer;
        if (i == 2) {
            make(CALLS - 1, METHOD_POST, 0);
            add(PATH, "clinics");
            add_json("{\"root_key\":\"", signature_key_public(&keys[OTHER_ROOT]), "\"}");
            sign(OTHER_ROOT);
            ask(&answer);
            REQUIRE(answer.status == 201);
        }
        make(CALLS - 1, METHOD_POST, 0);
        add(PATH, "devices");
        chain_body(&c[i], 1);
        add(BODY, "}");
        sign((actor[]){ADMIN, NURSE, STRANGER}[i]);
        ask(&answer);
        REQUIRE(answer.status == 201);
    }
    must(7, ADMIN, 2, 0);
    must(8, NURSE, 16, 1);
    must(14, ADMIN, 0, 0);
    relay_close(r);
    REQUIRE(below->commit(store) == OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (store == NULL)
        make_world();
    next = data;
    end = data + size;
    nonces = 1000;
    REQUIRE(below->begin(store) == OK);
    open_relay();
    for (int i = 0; i < STEPS_MAX && next < end; i++)
        step();
    check_chains();
    check_use();
    relay_close(r);
    below->rollback(store);
    return 0;
}
