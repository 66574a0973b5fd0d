/* audit.c: what the relay says of the clinic's audit log, held against what it said before and what it says to others
 * (server/PROTOCOL.md, "What clients check", 1 to 4). Nothing that is found holds up a message: it is told, and kept with
 * its proof. Checkpoints are encoded throughout. */
#include "client/builder.h"
#include "client/relay_json.h"
#include "client/state.h"

#define CHECK_MS ((int64_t)12 * 3600000) /* "at least daily", also when a check comes late */
#define AGAIN_MS 300000                  /* when a check was not answered */
#define ALARMS_SHOWN 64
#define TELL_EVERY 16 /* of our contents in a conversation one tells of the log: 6 % more messages at most */
#define TELL_FIRST 8  /* many conversations never have 16 */
#define NUMBER_MAX ((uint64_t)1 << 53)

/* Where the fields of a checkpoint stand (client/audit_log.h). */
#define AT_NUMBER ID_SIZE
#define AT_HASH (AT_NUMBER + 8)
#define AT_TIME (AT_HASH + AUDIT_HASH_SIZE)
#define AT_SIGNATURE (AT_TIME + 8)

const char *audit_fault_name(audit_fault fault) {
    static const char names[][12] = {"truncation", "fork",       "rewrite",  "forgery", "key_change",
                                     "dispute",    "withdrawal", "deletion", "edit",    "reorder"};
    unsigned i = (unsigned)fault - 1;
    return i < sizeof names / sizeof names[0] ? names[i] : NULL;
}

/* ---- what is kept */

static uint64_t get_u64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void put_u64(uint8_t *p, uint64_t v) {
    for (int i = 8; i-- > 0; v >>= 8)
        p[i] = (uint8_t)v;
}

uint64_t audit_number(const uint8_t checkpoint[AUDIT_CHECKPOINT_SIZE]) { return get_u64(checkpoint + AT_NUMBER); }

/* *known: false before the first contact. */
static err own_key(client *c, uint8_t key[ED25519_PUBLIC_SIZE], bool *known) {
    size_t n;
    err e = setting_get(c, "audit_key", key, ED25519_PUBLIC_SIZE, &n);
    *known = e == OK;
    return e == ERR_NOT_FOUND ? OK : e;
}

err audit_kept(client *c, uint64_t up_to, uint8_t p[AUDIT_CHECKPOINT_SIZE]) {
    query q;
    memset(p, 0, AUDIT_CHECKPOINT_SIZE);
    query_init(&q, c->store, "SELECT checkpoint FROM audit_checkpoint WHERE number <= ? ORDER BY number DESC LIMIT 1");
    query_bind_int(&q, (int64_t)up_to);
    if (query_row(&q) && query_blob(&q, 0).n == AUDIT_CHECKPOINT_SIZE)
        memcpy(p, query_blob(&q, 0).p, AUDIT_CHECKPOINT_SIZE);
    return query_end(&q);
}

err audit_alarm(client *c, audit_fault fault, uint64_t number, span device_id, span kept, span other) {
    query q;
    query_init(
        &q, c->store,
        "INSERT OR IGNORE INTO audit_alarm (fault, number, at_ms, device_id, kept, other) VALUES (?, ?, ?, ?, ?, ?)");
    query_bind_int(&q, fault);
    query_bind_int(&q, (int64_t)number);
    query_bind_int(&q, client_now(c));
    query_bind_blob(&q, device_id);
    query_bind_blob(&q, kept);
    query_bind_blob(&q, other);
    TRY(query_end(&q));
    if (store_changes(c->store) == 0) /* it is known */
        return OK;
    return client_notice(c, 0, c->kind == CERTIFICATE_PATIENT ? NOTICE_AUDIT_CHANGED : NOTICE_AUDIT_FAULT);
}

static bool same_hash(const uint8_t *a, const uint8_t *b) {
    return memcmp(a + AT_HASH, b + AT_HASH, AUDIT_HASH_SIZE) == 0;
}

/* The relay stands by it, to us: from now on it must. All are kept, for walks to compare: they are few, one of each check and of
 * each that was heard and was new. */
static err keep(client *c, const uint8_t p[AUDIT_CHECKPOINT_SIZE]) {
    query q;
    uint8_t kept[AUDIT_CHECKPOINT_SIZE];
    uint64_t number = audit_number(p);
    TRY(audit_kept(c, number, kept));
    if (audit_number(kept) == number && !same_hash(kept, p))
        return audit_alarm(c, AUDIT_FAULT_FORK, number, SPAN_NONE, SPAN(kept), span_of(p, AUDIT_CHECKPOINT_SIZE));
    query_init(&q, c->store, "INSERT OR IGNORE INTO audit_checkpoint (number, checkpoint) VALUES (?, ?)");
    query_bind_int(&q, (int64_t)number);
    query_bind_blob(&q, span_of(p, AUDIT_CHECKPOINT_SIZE));
    return query_end(&q);
}

/* ---- steps */

void audit_open(client *c) { c->audit = (audit_state){.step = AUDIT_STEP_DESCRIPTION}; }

void audit_undone(client *c) {
    c->audit.step = AUDIT_STEP_DESCRIPTION;
    c->audit.retry_ms = client_now(c) + CLIENT_AGAIN_MS;
    audit_walk_undone(c);
}

/* No answer that says anything. */
static err unanswered(client *c) {
    c->audit.retry_ms = client_now(c) + AGAIN_MS;
    return OK;
}

/* ---- 1: the description, and in it the key */

static err description_reply(client *c, int status, span body) {
    uint8_t key[ED25519_PUBLIC_SIZE], ours[ED25519_PUBLIC_SIZE];
    json *root;
    bool known;
    err e = status == 200 ? json_open(body, &root) : ERR_MALFORMED;
    if (e != OK)
        return is_ours(e) ? e : unanswered(c);
    bool offered = json_fixed(root, "audit_key", key, sizeof key) == OK; /* it stands there with the feature alone */
    json_close(root);
    TRY(own_key(c, ours, &known));
    if (!offered) {
        if (known)
            TRY(audit_alarm(c, AUDIT_FAULT_WITHDRAWAL, 0, SPAN_NONE, SPAN(ours), SPAN_NONE));
    } else if (!known) {
        TRY(setting_put(c, "audit_key", SPAN(key)));
    } else if (memcmp(key, ours, sizeof key) != 0) {
        TRY(audit_alarm(c, AUDIT_FAULT_KEY_CHANGE, 0, SPAN_NONE, SPAN(ours), SPAN(key)));
    }
    c->audit.offered = offered;
    c->audit.check_ms = client_now(c) + CHECK_MS;
    c->audit.step = offered ? AUDIT_STEP_NEWEST : AUDIT_STEP_HEARD;
    return OK;
}

/* ---- 4: what others tell */

err audit_tell(client *c, int64_t conversation, uint64_t counter) {
    content o = {.kind = CONTENT_CHECKPOINT};
    bool known;
    if (counter % TELL_EVERY != TELL_FIRST)
        return OK;
    TRY(audit_kept(c, NUMBER_MAX, o.checkpoint));
    if (audit_number(o.checkpoint) == 0)
        return OK;
    TRY(own_key(c, o.audit_key, &known));
    return message_send_content(c, conversation, &o);
}

/* What was heard and is still to be compared: one at a time, for what is true is told again. */
typedef struct heard {
    uint8_t device_id[ID_SIZE], key[ED25519_PUBLIC_SIZE], checkpoint[AUDIT_CHECKPOINT_SIZE];
} heard;

/* Zeroes when there is none. */
static err get_heard(client *c, heard *h) {
    size_t n;
    *h = (heard){0};
    err e = setting_get(c, "audit_heard", (uint8_t *)h, sizeof *h, &n);
    return e == ERR_NOT_FOUND ? OK : e;
}

static err forget_heard(client *c) { return setting_put(c, "audit_heard", SPAN_NONE); }

err audit_heard(client *c, span device_id, const content *o) {
    uint8_t kept[AUDIT_CHECKPOINT_SIZE];
    const uint8_t *p = o->checkpoint;
    uint64_t number = audit_number(p);
    heard h;
    /* What nobody signed proves nothing, but about the member who says it. */
    if (memcmp(p, c->clinic_id, ID_SIZE) != 0 || number == 0 || number > NUMBER_MAX ||
        audit_checkpoint_verify_encoded(p, SPAN(o->audit_key)) != OK)
        return OK;
    TRY(get_heard(c, &h));
    TRY(audit_kept(c, number, kept));
    if (audit_number(h.checkpoint) || (audit_number(kept) == number && same_hash(kept, p)))
        return OK;
    memcpy(h.device_id, device_id.p, ID_SIZE);
    memcpy(h.key, o->audit_key, sizeof h.key);
    memcpy(h.checkpoint, p, sizeof h.checkpoint);
    if (c->audit.step == AUDIT_STEP_REST) /* without a key of our own, the description is asked for first */
        c->audit.step = c->audit.offered ? AUDIT_STEP_HEARD : AUDIT_STEP_DESCRIPTION;
    return setting_put(c, "audit_heard", span_of(&h, sizeof h));
}

/* *number: which checkpoint the relay is to be asked for; 0: none. */
static err weigh_heard(client *c, uint64_t *number) {
    uint8_t key[ED25519_PUBLIC_SIZE];
    heard h;
    bool known;
    TRY(get_heard(c, &h));
    TRY(own_key(c, key, &known));
    *number = audit_number(h.checkpoint);
    if (*number == 0 || (known && memcmp(key, h.key, sizeof key) == 0 && c->audit.offered))
        return OK;
    *number = 0;
    TRY(forget_heard(c));
    return audit_alarm(c, AUDIT_FAULT_DISPUTE, 0, SPAN(h.device_id), known ? SPAN(key) : SPAN_NONE, SPAN(h.key));
}

/* ---- 2 and 3: checkpoints that the relay gives */

/* number: which one was asked for, 0 for the newest. ERR_MALFORMED when it is no checkpoint at all, ERR_SIGNATURE or
 * ERR_INVALID when it is none of the relay's for us. */
static err read_checkpoint(client *c, span body, uint64_t number, uint8_t p[AUDIT_CHECKPOINT_SIZE]) {
    json *root;
    uint8_t key[ED25519_PUBLIC_SIZE];
    int64_t n, at;
    bool known;
    TRY(json_open(body, &root));
    bool whole = json_fixed(root, "clinic", p, ID_SIZE) == OK && json_int(root, "number", &n) == OK &&
                 json_fixed(root, "hash", p + AT_HASH, AUDIT_HASH_SIZE) == OK && json_int(root, "at", &at) == OK &&
                 json_fixed(root, "signature", p + AT_SIGNATURE, ED25519_SIGNATURE_SIZE) == OK;
    json_close(root);
    if (!whole)
        return ERR_MALFORMED;
    put_u64(p + AT_NUMBER, (uint64_t)n);
    put_u64(p + AT_TIME, (uint64_t)at);
    TRY(own_key(c, key, &known));
    if (memcmp(p, c->clinic_id, ID_SIZE) != 0 || n == 0 || (number && (uint64_t)n != number))
        return ERR_INVALID;
    return audit_checkpoint_verify_encoded(p, SPAN(key));
}

static err checkpoint_reply(client *c, uint64_t number, int status, span body) {
    uint8_t given[AUDIT_CHECKPOINT_SIZE] = {0}, ours[AUDIT_CHECKPOINT_SIZE]; /* zeroes: there is none */
    audit_step step = c->audit.step;
    audit_fault fault = 0;
    heard h = {0};
    span device = SPAN_NONE;
    err e = status == 404 ? OK : status == 200 ? read_checkpoint(c, body, number, given) : ERR_MALFORMED;
    if (is_ours(e))
        return e;
    if (err_class_of(e) == ERR_CLASS_MALFORMED)
        return unanswered(c);
    c->audit.step = AUDIT_STEP_HEARD;
    TRY(audit_kept(c, NUMBER_MAX, ours));
    if (step == AUDIT_STEP_HEARD) {
        TRY(get_heard(c, &h));
        TRY(forget_heard(c));
        memcpy(ours, h.checkpoint, sizeof ours);
        device = SPAN(h.device_id);
    } else if (e == OK) {
        c->audit.checked_ms = client_now(c);
    }
    if (e != OK)
        return audit_alarm(c, AUDIT_FAULT_FORGERY, 0, device, SPAN_NONE, SPAN(given));
    uint64_t before = audit_number(ours), now = audit_number(given);
    if (step == AUDIT_STEP_NEWEST) {
        if (before && now > before) {
            memcpy(c->audit.newest, given, sizeof given);
            c->audit.step = AUDIT_STEP_KEPT;
            return OK;
        }
        fault = now < before ? AUDIT_FAULT_TRUNCATION : 0;
    } else if (!same_hash(given, ours)) {
        fault = step == AUDIT_STEP_KEPT ? AUDIT_FAULT_REWRITE : AUDIT_FAULT_FORK;
    }
    if (step == AUDIT_STEP_KEPT &&
        (!fault || !now)) /* what stands behind ours; or the proof that there is a log beyond it */
        memcpy(given, c->audit.newest, sizeof given);
    if (fault)
        return audit_alarm(c, fault, before, device, SPAN(ours), audit_number(given) ? SPAN(given) : SPAN_NONE);
    return audit_number(given) ? keep(c, given) : OK;
}

/* ---- asking */

err audit_ask(client *c, request_kind kind, const char *path, uint64_t number) {
    builder b;
    builder_init(&b, c->fx->arena, 64);
    builder_text(&b, path);
    builder_int(&b, (int64_t)number);
    const char *text = builder_string(&b);
    return text ? sync_request(c, (inflight){.kind = kind, .number = number}, "GET", text, NULL, SPAN_NONE, false)
                : ERR_ARENA;
}

static err ask(client *c) {
    uint8_t kept[AUDIT_CHECKPOINT_SIZE];
    uint64_t number = 0;
    switch (c->audit.step) {
    case AUDIT_STEP_REST: return OK;
    case AUDIT_STEP_DESCRIPTION:
        return sync_request_unsigned(c, (inflight){.kind = REQUEST_DESCRIPTION}, "GET", "/.well-known/sotto");
    case AUDIT_STEP_NEWEST: break; /* number 0 */
    case AUDIT_STEP_KEPT:
        TRY(audit_kept(c, NUMBER_MAX, kept));
        number = audit_number(kept);
        break;
    case AUDIT_STEP_HEARD:
        TRY(weigh_heard(c, &number));
        if (number)
            break;
        c->audit.step = AUDIT_STEP_REST;
        client_event(c, EVENT_AUDIT, 0, SPAN_NONE, "checked", NULL, -1);
        return OK;
    }
    return audit_ask(c, REQUEST_CHECKPOINT, "/v1/audit/checkpoint?number=", number);
}

err audit_pump(client *c) {
    audit_state *s = &c->audit;
    int64_t now = client_now(c);
    /* Also when what was heard is not answered; or the clock was set back. */
    if (s->check_ms <= now || s->check_ms > now + CHECK_MS)
        s->step = AUDIT_STEP_DESCRIPTION;
    if (s->step != AUDIT_STEP_REST && s->retry_ms > now && s->retry_ms <= now + AGAIN_MS)
        sync_timer_at(c, s->retry_ms);
    else if (!sync_in_flight(c, REQUEST_DESCRIPTION, 0) && !sync_in_flight(c, REQUEST_CHECKPOINT, 0))
        TRY(ask(c));
    if (s->step == AUDIT_STEP_REST)
        sync_timer_at(c, s->check_ms);
    return audit_walk_pump(c);
}

err audit_reply(client *c, const inflight *request, int status, span body) {
    audit_step step = c->audit.step;
    if (request->kind == REQUEST_DESCRIPTION)
        return description_reply(c, status, body);
    /* Only one is out at a time: it is about this step, unless the check began anew. */
    bool fits = request->number ? step == AUDIT_STEP_KEPT || step == AUDIT_STEP_HEARD : step == AUDIT_STEP_NEWEST;
    return fits ? checkpoint_reply(c, request->number, status, body) : OK;
}

/* ---- for the user */

err client_audit_check(client *c, effects *fx) {
    (void)fx;
    audit_walk_forget(c);
    if (c->audit.step == AUDIT_STEP_REST)
        c->audit.step = AUDIT_STEP_DESCRIPTION;
    c->audit.retry_ms = 0;
    return OK;
}

static err view_alarms(client *c, arena *a, audit_view *v) {
    query q;
    err e = OK;
    v->alarms = ARENA_ARRAY(a, audit_alarm_view, ALARMS_SHOWN);
    if (!v->alarms)
        return ERR_ARENA;
    query_init(&q, c->store, "SELECT fault, number, at_ms, device_id, kept, other FROM audit_alarm ORDER BY id DESC");
    while (e == OK && v->alarm_count < ALARMS_SHOWN && query_row(&q)) {
        audit_alarm_view *view = &v->alarms[v->alarm_count++];
        span *bytes[] = {&view->device_id, &view->kept, &view->other};
        *view = (audit_alarm_view){
            .fault = (audit_fault)query_int(&q, 0), .number = query_int(&q, 1), .at_ms = query_int(&q, 2)};
        for (int i = 0; i < 3 && e == OK; i++)
            e = arena_copy(a, query_blob(&q, 3 + i), bytes[i]);
    }
    TRY(query_end(&q));
    return e;
}

err client_audit(client *c, arena *a, audit_view *out) {
    uint8_t bytes[AUDIT_CHECKPOINT_SIZE];
    bool known;
    *out = (audit_view){.offered = c->audit.offered, .checked_ms = c->audit.checked_ms};
    TRY(own_key(c, bytes, &known));
    if (known)
        TRY(arena_copy(a, span_of(bytes, ED25519_PUBLIC_SIZE), &out->key));
    TRY(audit_kept(c, NUMBER_MAX, bytes));
    if (audit_number(bytes))
        TRY(arena_copy(a, SPAN(bytes), &out->newest));
    return view_alarms(c, a, out);
}
