/* audit_walk.c: reading the audit log's entries, with the right to: that each is chained to the one before, and that they lead
 * to the checkpoints that the relay has signed (server/PROTOCOL.md, "What clients check", 5). */
#include "base/text.h"
#include "client/relay_json.h"
#include "client/state.h"

#include <stdlib.h>

void audit_walk_forget(client *c) {
    free(c->audit.walk.page);
    c->audit.walk = (audit_walk){0};
}

static void drop_page(audit_walk *w) {
    free(w->page);
    w->page = NULL;
    w->page_count = 0;
}

/* What of it there is, or that it ended. */
static void tell(client *c, audit_walk_state state, const char *reason) {
    c->audit.walk.state = state;
    c->audit.walk.reason = reason;
    client_event(c, EVENT_AUDIT, 0, SPAN_NONE, "page", NULL, -1);
}

void audit_walk_undone(client *c) {
    audit_walk *w = &c->audit.walk;
    if (w->state != WALK_CHECKING && w->state != WALK_READING && !w->page)
        return;
    drop_page(w);
    tell(c, WALK_FAILED, "interrupted");
}

/* How far walks have come from the first entry on; 0: there was none. */
static err walked_to(client *c, int64_t *number) {
    *number = 0;
    err e = setting_get_int(c, "audit_walked", number);
    return e == ERR_NOT_FOUND ? OK : e;
}

/* ---- judging */

/* An entry as it came. */
typedef struct raw_entry {
    span bytes;
    bool readable;
} raw_entry;

/* Reads what came into the page, before any of it is judged. */
static err read_page(client *c, const json *entries, raw_entry **raw) {
    audit_walk *w = &c->audit.walk;
    size_t count = json_count(entries);
    if (count > AUDIT_PAGE_MAX)
        count = AUDIT_PAGE_MAX;
    drop_page(w);
    w->page = calloc(AUDIT_PAGE_MAX, sizeof *w->page);
    *raw = ARENA_ARRAY(&c->scratch, raw_entry, AUDIT_PAGE_MAX);
    if (!w->page || !*raw)
        return w->page ? ERR_ARENA : ERR_NO_MEMORY;
    for (; w->page_count < count; w->page_count++) {
        raw_entry *r = *raw + w->page_count;
        audit_entry *entry = &w->page[w->page_count];
        span text;
        wire in;
        TRY(json_element_text(entries, w->page_count, &text));
        TRY(base64url_decode(&c->scratch, text, &r->bytes));
        wire_read_init(&in, r->bytes, NULL); /* it holds no arrays */
        wire_audit_entry(&in, entry);
        r->readable = wire_end(&in) == OK && r->bytes.n <= AUDIT_ENTRY_MAX;
        entry->sealed = SPAN_NONE;
    }
    return OK;
}

/* Is the entry that has to come next behind this one? Then it was moved, and is not gone. */
static bool comes_later(const audit_walk *w, size_t index) {
    for (size_t i = index; i < w->page_count; i++)
        if (w->page[i].number == w->at + 1)
            return true;
    return false;
}

/* After the relay was put back from an older copy, numbers go on above all that may have been given. */
static bool is_restored(const audit_walk *w, const audit_entry *entry) {
    uint64_t kept = 0;
    for (size_t i = 0; i < 8; i++)
        kept = kept << 8 | entry->object[i];
    return entry->call == AUDIT_RESTORED && entry->who == AUDIT_BY_OPERATOR && entry->object_size == 8 &&
           kept == w->at && entry->number > kept;
}

/* 0: it is what has to come next; the walk has passed it. *number: what a fault is about. */
static err judge(client *c, const raw_entry *raw, size_t index, audit_fault *fault, uint64_t *number) {
    audit_walk *w = &c->audit.walk;
    const audit_entry *entry = &w->page[index];
    uint8_t p[AUDIT_CHECKPOINT_SIZE], hash[AUDIT_HASH_SIZE];
    *number = raw->readable && is_restored(w, entry) ? entry->number : w->at + 1;
    *fault = 0;
    if (!raw->readable) {
        *fault = AUDIT_FAULT_EDIT;
    } else if (entry->number != *number) {
        *fault = entry->number < *number || comes_later(w, index) ? AUDIT_FAULT_REORDER : AUDIT_FAULT_DELETION;
    } else if (w->linked && memcmp(entry->previous, w->hash, sizeof hash) != 0) {
        *fault = AUDIT_FAULT_EDIT; /* of the one before, of which this one says another hash */
        *number -= w->at > 0;
    }
    if (*fault)
        return OK;
    audit_hash(raw->bytes, hash);
    TRY(audit_kept(c, *number, p));
    if (audit_number(p) == *number && memcmp(audit_hash_of(p), hash, sizeof hash) != 0)
        *fault = AUDIT_FAULT_REWRITE;
    if (!*fault) {
        memcpy(w->hash, hash, sizeof hash);
        w->linked = true;
        w->at = *number;
    }
    return OK;
}

static err fail(client *c, audit_fault fault, uint64_t number, span entry) {
    uint8_t p[AUDIT_CHECKPOINT_SIZE];
    /* What the entry itself contradicts, or what the entries have to lead to. */
    TRY(audit_kept(c, fault == AUDIT_FAULT_REWRITE ? number : c->audit.walk.target, p));
    tell(c, WALK_FAILED, audit_fault_name(fault));
    return audit_alarm(c, fault, number, SPAN_NONE, SPAN(p), entry);
}

static err take_page(client *c, const json *entries) {
    audit_walk *w = &c->audit.walk;
    raw_entry *raw;
    audit_fault fault = 0;
    uint64_t number = 0;
    size_t good = 0;
    if (!json_is_array(entries))
        return ERR_MALFORMED;
    TRY(read_page(c, entries, &raw));
    while (good < w->page_count && w->at < w->target && !fault) {
        TRY(judge(c, &raw[good], good, &fault, &number));
        good += !fault;
    }
    size_t count = w->page_count;
    w->page_count = good;
    if (fault)
        return fail(c, fault, number, raw[good].bytes);
    if (count == 0) /* the checkpoint says that there are more */
        return fail(c, AUDIT_FAULT_TRUNCATION, w->at + 1, SPAN_NONE);
    bool done = w->at == w->target;
    tell(c, done ? WALK_DONE : WALK_READING, NULL);
    return done && w->counts ? setting_put_int(c, "audit_walked", (int64_t)w->at) : OK;
}

err audit_walk_reply(client *c, const inflight *request, int status, span body) {
    audit_walk *w = &c->audit.walk;
    json *root = NULL;
    if (w->state != WALK_READING || w->page || request->number != w->at)
        return OK; /* of a walk that was ended */
    if (status == 0 || status == 401 || status == 429 || status >= 500)
        return OK; /* asked again when the relay may be (sync.c) */
    err e = status == 200 ? json_open(body, &root) : ERR_INVALID;
    if (e == OK)
        e = take_page(c, json_member(root, "entries"));
    json_close(root);
    if (e == OK || is_ours(e))
        return e;
    drop_page(w);
    tell(c, WALK_FAILED, status == 403 ? "forbidden" : "refused");
    return OK;
}

/* ---- asking */

/* The check before it is over: the newest checkpoint is where the walk has to come to. */
static err set_out(client *c) {
    audit_walk *w = &c->audit.walk;
    uint8_t p[AUDIT_CHECKPOINT_SIZE];
    TRY(audit_kept(c, INT64_MAX, p));
    w->target = audit_number(p);
    if (w->at >= w->target)
        tell(c, WALK_DONE, NULL);
    else
        w->state = WALK_READING;
    return OK;
}

err audit_walk_pump(client *c) {
    audit_walk *w = &c->audit.walk;
    if (w->state == WALK_CHECKING && (c->audit.step == AUDIT_STEP_REST || c->audit.step == AUDIT_STEP_HEARD))
        TRY(set_out(c));
    if (w->state != WALK_READING || w->page || sync_in_flight(c, REQUEST_ENTRIES, 0))
        return OK;
    return audit_ask(c, REQUEST_ENTRIES, "/v1/audit?after=", w->at);
}

/* ---- for the user */

err client_audit_walk(client *c, effects *fx, int64_t after) {
    audit_walk w = {.state = WALK_CHECKING};
    uint8_t p[AUDIT_CHECKPOINT_SIZE];
    int64_t walked;
    if (!client_has_right(c, RIGHT_AUDIT))
        return ERR_SENDER;
    TRY(walked_to(c, &walked));
    w.at = (uint64_t)(after < 0 ? walked : after);
    TRY(audit_kept(c, w.at, p));
    w.linked = audit_number(p) == w.at; /* 0 and zeroes before the first */
    memcpy(w.hash, audit_hash_of(p), sizeof w.hash);
    w.counts = w.linked && (int64_t)w.at <= walked;
    TRY(client_audit_check(c, fx));
    c->audit.walk = w;
    return OK;
}

err client_audit_page(client *c, arena *a, audit_page_view *out) {
    static const char states[][12] = {"none", "checking", "reading", "done", "failed"};
    audit_walk *w = &c->audit.walk;
    *out = (audit_page_view){
        .state = states[w->state], .reason = w->reason, .number = (int64_t)w->at, .target = (int64_t)w->target};
    out->entries = ARENA_ARRAY(a, audit_entry, w->page_count + 1);
    if (!out->entries)
        return ERR_ARENA;
    out->count = w->page_count;
    if (w->page_count)
        memcpy(out->entries, w->page, w->page_count * sizeof *w->page);
    drop_page(w);
    return OK;
}
