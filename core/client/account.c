/* account.c: the account in its store: made, opened with a PIN, closed. */
#include "base/text.h"
#include "client/account_lock.h"
#include "client/state.h"
#include "crypto/random.h"
#include "host.h"

#define DAY_S 86400u
#define DEVICE_DAYS 365 /* of a founder's device; others' are set where they enrol */

/* ---- settings */

err setting_put(client *c, const char *name, span value) {
    query q;
    query_init(
        &q, c->store,
        "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value");
    query_bind_text(&q, span_text(name));
    query_bind_blob(&q, value.p ? value : span_of("", 0));
    return query_end(&q);
}

err setting_put_int(client *c, const char *name, int64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
    return setting_put(c, name, SPAN(bytes));
}

err setting_get(client *c, const char *name, uint8_t *out, size_t max, size_t *n) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT value FROM setting WHERE name = ?");
    query_bind_text(&q, span_text(name));
    if (query_row(&q)) {
        span value = query_blob(&q, 0);
        e = value.n <= max ? OK : ERR_STORE_CORRUPT;
        if (e == OK) {
            if (value.n)
                memcpy(out, value.p, value.n);
            *n = value.n;
        }
    }
    TRY(query_end(&q));
    return e;
}

err setting_get_int(client *c, const char *name, int64_t *value) {
    uint8_t bytes[8];
    size_t n;
    uint64_t v = 0;
    TRY(setting_get(c, name, bytes, sizeof bytes, &n));
    if (n != sizeof bytes)
        return ERR_STORE_CORRUPT;
    for (int i = 0; i < 8; i++)
        v = v << 8 | bytes[i];
    *value = (int64_t)v;
    return OK;
}

static err setting_get_fixed(client *c, const char *name, uint8_t *out, size_t size) {
    size_t n;
    TRY(setting_get(c, name, out, size, &n));
    return n == size ? OK : ERR_STORE_CORRUPT;
}

/* ---- opening and closing */

err client_account_status(client *c, account_status *out) {
    *out = (account_status){.state = ACCOUNT_NONE, .invited = c->held != NULL};
    if (c->open) {
        out->state = ACCOUNT_OPEN;
        out->kept = c->kept;
        return OK;
    }
    if (c->memory)
        return OK;
    lock_status lock;
    int32_t db = host_file_exists(c->db_path, strlen(c->db_path));
    if (db < 0)
        return db == HOST_EDENIED ? ERR_STORE_DENIED : ERR_STORE;
    err e = account_lock_status(c->key_path, &lock);
    if (e != OK && e != ERR_STORE_CORRUPT)
        return e;
    out->kept = true;
    if (e == OK && lock.exists && lock.finished) {
        out->state = db == 1 ? ACCOUNT_LOCKED : ACCOUNT_DAMAGED;
        out->wrong_pins = lock.wrong;
        out->wait_ms = lock.wait_ms;
    } else if (db == 1 && (e == ERR_STORE_CORRUPT || !lock.exists)) {
        out->state = ACCOUNT_DAMAGED; /* a store without its key: never made anew over it */
    } else {
        out->kept = false; /* nothing there, or a creation that never came to its end */
    }
    return OK;
}

/* What changes while the account is open. A cursor that ran ahead of the store would tell the relay that events are
 * safely stored which are not. */
err account_reload(client *c) {
    int64_t enrolled = 0;
    err e = setting_get_int(c, "roster_ms", &c->roster_ms);
    if (e == ERR_NOT_FOUND)
        c->roster_ms = 0;
    else
        TRY(e);
    TRY(setting_get(c, "name", c->name, sizeof c->name, &c->name_size));
    TRY(setting_get_int(c, "cursor", &c->cursor));
    TRY(setting_get_int(c, "roster_number", &c->roster_number));
    TRY(setting_get_int(c, "enrolled", &enrolled));
    c->enrolled = enrolled != 0;
    return OK;
}

/* Reads what is kept in memory while the account is open. */
static err account_load(client *c) {
    uint8_t seed[ED25519_SEED_SIZE];
    int64_t kind = 0;
    TRY(setting_get_int(c, "kind", &kind));
    c->kind = (uint8_t)kind;
    TRY(setting_get_fixed(c, "device_seed", seed, sizeof seed));
    signature_key_from_seed(seed, &c->device_key);
    device_id_of(signature_key_public(&c->device_key).p, c->device_id);
    TRY(setting_get_fixed(c, "root_key", c->root_key, sizeof c->root_key));
    clinic_id_of(c->root_key, c->clinic_id);
    err e = setting_get_fixed(c, "root_seed", seed, sizeof seed);
    if (e == OK) {
        c->founder = true;
        signature_key_from_seed(seed, &c->root);
    }
    wipe(seed, sizeof seed);
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    TRY(setting_get(c, "chain", c->chain, sizeof c->chain, &c->chain_size));
    TRY(setting_get(c, "clinic_name", c->clinic_name, sizeof c->clinic_name, &c->clinic_name_size));
    TRY(setting_get(c, "relay", c->relay, sizeof c->relay, &c->relay_size));
    TRY(account_reload(c));

    certificate_chain chain;
    TRY(WIRE_DECODE(span_of(c->chain, c->chain_size), &c->scratch, wire_certificate_chain, &chain));
    TRY(certificate_chain_check(&chain, c->root_key, 0));
    const certificate *holder = certificate_chain_holder(&chain);
    if (!span_equal(SPAN(holder->subject_key), signature_key_public(&c->device_key)))
        return ERR_STORE_CORRUPT;
    memcpy(c->subject_id, holder->subject_id, ID_SIZE);
    c->rights = holder->rights;
    c->open = true;
    c->roster_wanted = true;
    audit_open(c);
    return OK;
}

void account_forget(client *c) {
    groups_close(c, 0);
    audit_walk_forget(c);
    store_close(c->store);
    c->store = NULL;
    c->open = c->kept = c->founder = c->enrolled = c->stopped = c->online = c->in_transaction = c->roster_wanted =
        false;
    wipe(&c->device_key, sizeof c->device_key);
    wipe(&c->root, sizeof c->root);
    wipe(c->name, sizeof c->name);
    wipe(c->clinic_name, sizeof c->clinic_name);
    c->rights = 0;
    c->failures = c->shut_out = 0;
    c->retry_at_ms = c->roster_retry_ms = c->inbox_retry_ms = c->claim_retry_ms = 0;
    c->inbox_idle = 0;
    memset(c->inflight, 0, sizeof c->inflight);
}

void client_account_lock(client *c) {
    account_forget(c);
    arena_reset(&c->scratch);
}

/* Opens the transaction that client_finish ends; for commands that begin without an account. */
static err begin_within(client *c) {
    TRY(store_begin(c->store));
    c->in_transaction = true;
    return OK;
}

err client_account_unlock(client *c, effects *fx, span pin) {
    uint8_t key[STORE_KEY_SIZE];
    account_status status;
    (void)fx;
    if (c->open)
        return ERR_STATE;
    TRY(client_account_status(c, &status));
    if (status.state == ACCOUNT_NONE)
        return ERR_NOT_FOUND;
    if (status.state == ACCOUNT_DAMAGED)
        return ERR_STORE_CORRUPT;
    TRY(account_lock_open(c->key_path, pin, key));
    err e = store_open(c->db_path, key, false, &account_schema, &c->store);
    wipe(key, sizeof key);
    TRY(e == ERR_NOT_FOUND ? ERR_STORE_CORRUPT : e); /* an empty one, where the key file says that one was finished */
    c->kept = true;
    TRY_OUT(begin_within(c));
    TRY_OUT(account_load(c));
    TRY_OUT(membership_claim_anew(c));
    client_event(c, EVENT_ACCOUNT, 0, SPAN_NONE, "open", NULL, -1);
    return OK;
out:
    account_forget(c);
    return e;
}

err client_account_change_pin(client *c, span old_pin, span new_pin) {
    if (!c->kept)
        return ERR_STATE;
    return account_lock_change(c->key_path, old_pin, new_pin);
}

/* ---- making */

typedef struct new_account {
    uint8_t kind;
    const uint8_t *device_seed, *root_key, *root_seed; /* root_seed: NULL unless founder */
    span chain, name, clinic_name, relay;
    int64_t cursor;
    bool enrolled;
} new_account;

static err account_write(client *c, const new_account *n) {
    TRY(setting_put_int(c, "kind", n->kind));
    TRY(setting_put(c, "device_seed", span_of(n->device_seed, ED25519_SEED_SIZE)));
    TRY(setting_put(c, "root_key", span_of(n->root_key, ED25519_PUBLIC_SIZE)));
    if (n->root_seed)
        TRY(setting_put(c, "root_seed", span_of(n->root_seed, ED25519_SEED_SIZE)));
    TRY(setting_put(c, "chain", n->chain));
    TRY(setting_put(c, "name", n->name));
    TRY(setting_put(c, "clinic_name", n->clinic_name));
    TRY(setting_put(c, "relay", n->relay));
    TRY(setting_put_int(c, "cursor", n->cursor));
    TRY(setting_put_int(c, "roster_number", 0));
    return setting_put_int(c, "enrolled", n->enrolled);
}

/* What a new account owes the relay, and for a patient the conversation. */
static err account_start(client *c) {
    if (c->founder) {
        certificate_chain chain;
        TRY(WIRE_DECODE(span_of(c->chain, c->chain_size), &c->scratch, wire_certificate_chain, &chain));
        TRY(directory_add_device(c, &chain, true));
    }
    if (c->name_size)
        TRY(directory_add_person(c, c->subject_id, c->kind, span_of(c->name, c->name_size), true));
    TRY(membership_publish_key_packages(c));
    if (c->founder)
        TRY(directory_publish_roster(c));
    if (c->kind == CERTIFICATE_PATIENT)
        TRY(membership_create_care(c));
    return OK;
}

/* Makes the store (with a PIN: on the medium), writes the account in the command's transaction and opens it. Before `finished` is
 * set in the key file nothing counts, so a crash or a failure anywhere leaves "no account". `prepare` adds its own jobs first. */
static err account_make(client *c, span pin, const new_account *n, err (*prepare)(client *c)) {
    uint8_t key[STORE_KEY_SIZE];
    account_status status;
    bool keep = pin.n > 0;
    if (keep && (pin.n < PIN_MIN || pin.n > PIN_MAX || c->memory))
        return ERR_INVALID;
    TRY(client_account_status(c, &status));
    if (status.state == ACCOUNT_DAMAGED)
        return ERR_STORE_CORRUPT;
    if (status.state != ACCOUNT_NONE)
        return ERR_EXISTS;
    random_bytes(key, sizeof key);
    err e = OK;
    if (keep) {
        static const char *const rests[] = {"", "-wal", "-journal"};
        for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) { /* of a creation that never came to its end */
            char path[PATH_MAX_BYTES + 24];
            size_t n_path = strlen(c->db_path), n_rest = strlen(rests[i]);
            memcpy(path, c->db_path, n_path);
            memcpy(path + n_path, rests[i], n_rest);
            if (host_file_exists(path, n_path + n_rest) == 1 && host_file_delete(path, n_path + n_rest) < 0)
                TRY_OUT(ERR_STORE);
        }
        TRY_OUT(account_lock_create(c->key_path, pin, key));
    }
    TRY_OUT(store_open(keep ? c->db_path : "", key, true, &account_schema, &c->store));
    wipe(key, sizeof key);
    c->kept = keep;
    TRY_OUT(begin_within(c));
    TRY_OUT(account_write(c, n));
    TRY_OUT(account_load(c));
    if (prepare)
        TRY_OUT(prepare(c));
    TRY_OUT(account_start(c));
    c->making = true;
    client_event(c, EVENT_ACCOUNT, 0, SPAN_NONE, "open", NULL, -1);
    return OK;
out:
    wipe(key, sizeof key);
    if (c->in_transaction)
        store_rollback(c->store);
    account_forget(c);
    return e;
}

err account_made(client *c) {
    if (c->kept)
        TRY(account_lock_finish(c->key_path));
    enrol_forget(c); /* the invitation, kept until now for another try */
    return OK;
}

/* The founder's device and the clinic must be known to the relay before anything else is. */
static err founder_jobs(client *c) {
    char body[200] = "{\"root_key\":\"";
    size_t n = strlen(body);
    base64url_write(body + n, SPAN(c->root_key));
    n += BASE64URL_SIZE(ED25519_PUBLIC_SIZE);
    memcpy(body + n, "\"}", 2);
    TRY(job_add(c, LANE_ACCOUNT, JOB_CLINIC, SPAN_NONE, "POST", "/v1/clinics", "application/json",
                span_of(body, n + 2)));
    size_t size = BASE64URL_SIZE(c->chain_size);
    char *chain = arena_take(&c->scratch, size + 20, 1);
    if (!chain)
        return ERR_ARENA;
    memcpy(chain, "{\"chain\":\"", 10);
    base64url_write(chain + 10, span_of(c->chain, c->chain_size));
    memcpy(chain + 10 + size, "\"}", 2);
    return job_add(c, LANE_ACCOUNT, JOB_DEVICE, SPAN_NONE, "POST", "/v1/devices", "application/json",
                   span_of(chain, size + 12));
}

err client_clinic_create(client *c, effects *fx, span relay, span clinic_name, span name, uint8_t kind, span pin) {
    uint8_t root_seed[ED25519_SEED_SIZE], device_seed[ED25519_SEED_SIZE];
    signature_key root, device;
    (void)fx;
    if (c->open)
        return ERR_EXISTS;
    TRY(request_origin_check(relay));
    if (relay.n > ORIGIN_MAX_BYTES || clinic_name.n > NAME_MAX_BYTES || name.n > NAME_MAX_BYTES ||
        (kind != CERTIFICATE_STAFF && kind != CERTIFICATE_AGENT))
        return ERR_INVALID;
    random_bytes(root_seed, sizeof root_seed);
    random_bytes(device_seed, sizeof device_seed);
    signature_key_from_seed(root_seed, &root);
    signature_key_from_seed(device_seed, &device);

    uint64_t now = client_now_seconds(c);
    certificate own = {.kind = kind,
                       .rights = FOUNDER_RIGHTS,
                       .level = CHECK_DESK,
                       .not_before = now - DAY_S,
                       .not_after = now + DEVICE_DAYS * DAY_S};
    clinic_id_of(signature_key_public(&root).p, own.clinic_id);
    memcpy(own.subject_key, signature_key_public(&device).p, sizeof own.subject_key);
    random_bytes(own.subject_id, sizeof own.subject_id);
    certificate_chain chain = {&own, 1};
    span encoded;
    err e = certificate_issue(&own, &root);
    if (e == OK)
        e = WIRE_ENCODE(&c->scratch, wire_certificate_chain, &chain, &encoded);
    if (e == OK) {
        new_account n = {.kind = kind,
                         .device_seed = device_seed,
                         .root_key = signature_key_public(&root).p,
                         .root_seed = root_seed,
                         .chain = encoded,
                         .name = name,
                         .clinic_name = clinic_name,
                         .relay = relay};
        e = account_make(c, pin, &n, founder_jobs);
    }
    wipe(root_seed, sizeof root_seed);
    wipe(device_seed, sizeof device_seed);
    wipe(&root, sizeof root);
    wipe(&device, sizeof device);
    return e;
}

err client_account_create(client *c, effects *fx, span pin) {
    held_invitation *h = c->held;
    (void)fx;
    if (c->open)
        return ERR_EXISTS;
    if (!h || !h->accepted)
        return ERR_STATE;
    new_account n = {.kind = h->enrols,
                     .device_seed = h->device_seed,
                     .root_key = h->root_key,
                     .cursor = h->cursor,
                     .enrolled = true,
                     .chain = span_of(h->device_chain, h->device_chain_size),
                     .name = span_of(h->name, h->name_size),
                     .clinic_name = span_of(h->clinic_name, h->clinic_name_size),
                     .relay = span_of(h->relay, h->relay_size)};
    return account_make(c, pin, &n, NULL);
}

err client_me(client *c, arena *a, me_view *out) {
    *out = (me_view){.kind = c->kind, .rights = c->rights, .founder = c->founder, .kept = c->kept, .online = c->online};
    memcpy(out->clinic_id, c->clinic_id, ID_SIZE);
    memcpy(out->subject_id, c->subject_id, ID_SIZE);
    memcpy(out->device_id, c->device_id, ID_SIZE);
    sha256(SPAN(c->root_key), out->fingerprint);
    TRY(arena_copy(a, span_of(c->name, c->name_size), &out->name));
    TRY(arena_copy(a, span_of(c->clinic_name, c->clinic_name_size), &out->clinic_name));
    return arena_copy(a, span_of(c->relay, c->relay_size), &out->relay);
}
