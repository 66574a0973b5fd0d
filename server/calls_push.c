/* calls_push.c: subscriptions to pushes (RFC 8030): where each device's push service takes them, and for whom one is due. Nothing
 * about a message goes there; the endpoint itself is a secret of the device's, and stands in no answer, log or audit entry. */
#include "call.h"

bool call_push_put(call *c) {
    size_t origin = 0;
    bool local = false, same;
    if (c->relay->options.push_key == NULL)
        return problem(c, PROBLEM_NOT_FOUND, "this relay sends no pushes");
    span endpoint = json_text(&c->json, "endpoint", PUSH_ENDPOINT_MAX);
    if (json_faulty(c))
        return true;
    const char *fault = push_endpoint_fault(endpoint, &c->relay->options.push_allowed, &origin, &local);
    if (fault != NULL)
        return problem_text(c, PROBLEM_MALFORMED, "member \"endpoint\" is no address of a push service: %s", fault);
    db_rows r = DB_QUERY(c->db, "SELECT endpoint FROM push_subscriptions WHERE clinic = $1 AND device = $2",
                         db_id(c->clinic), db_id(c->device));
    same = db_next(&r) && span_equal(db_bytes(&r, 0), endpoint);
    db_end(&r);
    if (same) /* clients say it anew whenever they are opened */
        return answer(c, 204);
    DB_RUN(c->db,
           "INSERT INTO push_subscriptions (clinic, device, endpoint) VALUES ($1, $2, $3) "
           "ON CONFLICT (clinic, device) DO UPDATE SET endpoint = excluded.endpoint",
           db_id(c->clinic), db_id(c->device), db_b(endpoint));
    relay_wakes_list *wakes = &c->relay->wakes;
    wake_device(c, c->device);
    if (!c->over_wakes) {
        wakes->p[wakes->n - 1].push = WAKE_SUBSCRIBED;
        memcpy(wakes->p[wakes->n - 1].clinic, c->clinic, ID_SIZE);
    }
    return answer(c, 204);
}

bool call_push_delete(call *c) {
    push_forget(c, c->device);
    return answer(c, 204);
}

void push_forget(call *c, const uint8_t device[ID_SIZE]) {
    DB_RUN(c->db, "DELETE FROM push_subscriptions WHERE clinic = $1 AND device = $2", db_id(c->clinic), db_id(device));
}

void push_wanted(call *c, size_t from, int64_t seq) {
    relay_wakes_list *wakes = &c->relay->wakes;
    if (c->relay->options.push_key == NULL)
        return;
    for (size_t i = from; i < wakes->n; i++) {
        if (memcmp(wakes->p[i].device, c->device, ID_SIZE) == 0)
            continue;
        memcpy(wakes->p[i].clinic, c->clinic, ID_SIZE);
        wakes->p[i].push = WAKE_PUSH;
        wakes->p[i].seq = seq;
    }
}

/* ---- outside a batch */

push_found relay_push_find(relay *r, const uint8_t clinic[ID_SIZE], const uint8_t device[ID_SIZE], int64_t seq,
                           char endpoint[PUSH_ENDPOINT_MAX + 1]) {
    push_found found = PUSH_NO_SUBSCRIPTION;
    r->db->error = OK;
    db_rows rows = DB_QUERY(r->db,
                            "SELECT s.endpoint, d.seq FROM push_subscriptions s LEFT JOIN deliveries d ON "
                            "d.clinic = s.clinic AND d.device = s.device AND d.seq = $3 "
                            "WHERE s.clinic = $1 AND s.device = $2",
                            db_id(clinic), db_id(device), db_i(seq));
    if (db_next(&rows)) {
        span stored = db_bytes(&rows, 0);
        found = db_is_null(&rows, 1) ? PUSH_HAS_READ : PUSH_WANTED;
        if (stored.n > PUSH_ENDPOINT_MAX)
            found = PUSH_LOOKUP_FAILED;
        else
            memcpy(endpoint, stored.p, stored.n);
        endpoint[stored.n <= PUSH_ENDPOINT_MAX ? stored.n : 0] = 0;
        db_end(&rows);
    }
    if (db_failed(r->db))
        found = PUSH_LOOKUP_FAILED;
    r->db->error = OK;
    return found;
}

void relay_push_drop(relay *r, const push_gone *gone, size_t n) {
    if (n == 0 || db_begin(r->db) != OK)
        return;
    for (size_t i = 0; i < n; i++)
        DB_RUN(r->db, "DELETE FROM push_subscriptions WHERE clinic = $1 AND device = $2 AND endpoint = $3",
               db_id(gone[i].clinic), db_id(gone[i].device), db_b(span_text(gone[i].endpoint)));
    (void)!db_commit(r->db); /* else the next push finds them gone again */
}

/* ---- several relays: a word travels as one byte before the devices, which no list of wake-ups is long */

void push_word_heard(relay *r, span told) {
    if (told.p[0] != PUSH_WHO_WAITS && told.p[0] != PUSH_WAITS_HERE)
        return;
    for (size_t i = 1; i + ID_SIZE <= told.n; i += ID_SIZE)
        if (!wakes_add(&r->push_words[told.p[0] - 1], told.p + i))
            return; /* a push too many, or one that is not kept back */
}

const wake *relay_push_heard(const relay *r, push_word word, size_t *count) {
    *count = r->push_words[word - 1].n;
    return r->push_words[word - 1].p;
}

void relay_push_tell(relay *r, push_word word, const wake *devices, size_t n) {
    uint8_t told[1 + (NOTIFY_MAX - 1) / ID_SIZE * ID_SIZE];
    if (n == 0 || relay_descriptor(r) < 0 || db_begin(r->db) != OK)
        return;
    for (size_t i = 0; i < n;) {
        size_t at = 1;
        told[0] = (uint8_t)word;
        for (; i < n && at < sizeof told; i++, at += ID_SIZE)
            memcpy(told + at, devices[i].device, ID_SIZE);
        db_notify(r->db, span_of(told, at));
    }
    (void)!db_commit(r->db);
}
