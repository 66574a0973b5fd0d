#include "who.h"

#include <string.h>

#include "nonce.h"
#include "rate.h"
#include "session.h"
#include "verify.h"

static db_rows ask_clinic_of(call *c, const uint8_t name[ID_SIZE]) {
    return DB_QUERY(c->db, "SELECT clinic FROM directory WHERE name = $1", db_id(name));
}

static bool take_clinic_of(call *c, db_rows r) {
    bool found = db_next(&r);
    if (found)
        memcpy(c->clinic, db_bytes(&r, 0).p, ID_SIZE);
    db_end(&r);
    return found;
}

static void use_device(call *c, const known_device *known) {
    memcpy(c->key, known->key, sizeof c->key);
    c->rights = known->rights;
    c->revoked = known->revoked;
    c->not_after = known->not_after;
}

/* What the directory holds of the call's device, if it still holds in the call's clinic, which must be open. */
static const known_device *known_now(call *c) {
    const known_device *known = directory_device(c->relay->directory, c->device);
    bool now =
        known != NULL && known->generation == c->state->generation && memcmp(known->clinic, c->clinic, ID_SIZE) == 0;
    return now ? known : NULL;
}

static db_rows ask_device(call *c) {
    return DB_QUERY(c->db,
                    "SELECT public_key, rights, revoked, not_after FROM devices WHERE clinic = $1 AND device = $2",
                    db_id(c->clinic), db_id(c->device));
}

static const known_device *take_device(call *c, db_rows r) {
    known_device *known = NULL;
    if (db_next(&r)) {
        known = directory_add_device(c->relay->directory, c->device);
        memcpy(known->clinic, c->clinic, ID_SIZE);
        memcpy(known->key, db_bytes(&r, 0).p, sizeof known->key);
        known->generation = c->state->generation;
        known->rights = (uint32_t)db_integer(&r, 1);
        known->revoked = db_integer(&r, 2) != 0;
        known->not_after = db_integer(&r, 3);
    }
    db_end(&r);
    return known;
}

static bool find_device(call *c) {
    const known_device *known = known_now(c);
    if (known == NULL)
        known = take_device(c, ask_device(c));
    if (known != NULL)
        use_device(c, known);
    return known != NULL;
}

/* The clinic in which a device, or an invite, is: as the directory says, or the database. */
static bool find_clinic_of_device(call *c, bool *remembered) {
    const known_device *known = directory_device(c->relay->directory, c->device);
    *remembered = known != NULL;
    if (known == NULL)
        return take_clinic_of(c, ask_clinic_of(c, c->device));
    memcpy(c->clinic, known->clinic, ID_SIZE);
    return true;
}

static bool find_invite(call *c) {
    db_rows r = DB_QUERY(c->db, "SELECT public_key FROM invitations WHERE clinic = $1 AND invitation = $2",
                         db_id(c->clinic), db_id(c->device));
    bool found = db_next(&r);
    if (found)
        memcpy(c->key, db_bytes(&r, 0).p, sizeof c->key);
    db_end(&r);
    return found;
}

/* Each finds the key for keyid, or writes a problem and returns false. */
static bool who_clinic(call *c) {
    json_fixed(&c->json, "root_key", c->root_key, sizeof c->root_key);
    if (json_faulty(c))
        return false;
    clinic_id_of(c->root_key, c->clinic);
    memcpy(c->key, c->root_key, sizeof c->key);
    if (memcmp(c->clinic, c->head.keyid, ID_SIZE) == 0)
        return true;
    problem(c, PROBLEM_BAD_SIGNATURE, "keyid is not the name of member \"root_key\"");
    return false;
}

static bool who_enrols(call *c) {
    c->chain_bytes = json_bytes(&c->json, "chain", CHAIN_BYTES_MAX);
    if (json_faulty(c) || !chain_read(c, c->chain_bytes, &c->chain))
        return false;
    const certificate *holder = certificate_chain_holder(&c->chain);
    memcpy(c->clinic, c->chain.p[0].clinic_id, ID_SIZE);
    memcpy(c->key, holder->subject_key, sizeof c->key);
    device_id_of(c->key, c->device);
    if (memcmp(c->device, c->head.keyid, ID_SIZE) != 0) {
        problem(c, PROBLEM_BAD_SIGNATURE, "keyid is not the name of the device at the end of member \"chain\"");
        return false;
    }
    if (!batch_open(c)) {
        if (!db_failed(c->db))
            problem(c, PROBLEM_BAD_CERTIFICATE, "the chain's clinic is not known here");
        return false;
    }
    /* Before a nonce is stored for it, so that only those whom the clinic certified can make the relay write. */
    return chain_verify(c, &c->chain);
}

static bool who_device(call *c, bool or_invite) {
    bool remembered;
    memcpy(c->device, c->head.keyid, ID_SIZE);
    if (find_clinic_of_device(c, &remembered) && batch_open(c)) {
        if (find_device(c))
            return true;
        if (or_invite && find_invite(c)) {
            c->is_invite = true;
            return true;
        }
    }
    if (remembered && !db_failed(c->db)) { /* of a database that was set back: ask it */
        directory_forget_device(c->relay->directory, c->device);
        return who_device(c, or_invite);
    }
    if (!db_failed(c->db))
        problem(c, PROBLEM_UNKNOWN_DEVICE, "keyid names no device that is enrolled here");
    return false;
}

static bool who_invite(call *c) {
    uint8_t id[ID_SIZE];
    if (!path_id(c, id, sizeof id))
        return false;
    memcpy(c->device, c->head.keyid, ID_SIZE);
    c->is_invite = true;
    if (memcmp(id, c->device, ID_SIZE) != 0) {
        problem(c, PROBLEM_FORBIDDEN, "an invitation is read with its own key: keyid must be the id in the path");
        return false;
    }
    if (take_clinic_of(c, ask_clinic_of(c, c->device)) && batch_open(c) && find_invite(c))
        return true;
    if (!db_failed(c->db))
        problem(c, PROBLEM_NOT_FOUND, "there is no such invitation");
    return false;
}

bool who_is_slowed(call *c, rate_kind kind, const uint8_t id[16], uint32_t per_minute, const char *detail) {
    bool address = kind == RATE_OF_ADDRESS || kind == RATE_OF_ENROLMENT;
    uint32_t wait = rate_take(address ? c->relay->address_rates : c->relay->rates, kind, id, per_minute, c->now_ms);
    if (wait == 0)
        return false;
    problem_more(c, PROBLEM_TOO_MANY, detail, "retry_after_s", wait);
    return true;
}

/* Those who are known by now: the asking device or invite, the invite that an enrolment stands on, and the clinic. */
static bool is_anyone_slowed(call *c) {
    const relay_options *options = &c->relay->options;
    uint8_t invite[ID_SIZE];
    bool by_invite = c->is_invite || (c->who == WHO_ENROLS && c->chain.n > 1);
    if (who_is_slowed(c, RATE_OF_DEVICE, c->head.keyid, options->rate_device, "too many requests of this device"))
        return true;
    if (by_invite && !c->is_invite)
        invite_id_of(c->chain.p[c->chain.n - 2].subject_key, invite);
    if (by_invite && who_is_slowed(c, RATE_OF_INVITE, c->is_invite ? c->head.keyid : invite, options->rate_invite,
                                   "too many requests for this invitation"))
        return true;
    return who_is_slowed(c, RATE_OF_CLINIC, c->clinic, options->rate_clinic, "too many requests of this clinic");
}

bool who_head_in_form(call *c) {
    const char *fault = NULL;
    if (signature_head_read(c->rq, &c->head, &fault) != OK) {
        problem(c, PROBLEM_UNSIGNED, fault);
        return false;
    }
    int64_t skew = (int64_t)c->head.created - now_s(c);
    if (skew <= CLOCK_SKEW_S && skew >= -CLOCK_SKEW_S)
        return true;
    problem_more(c, PROBLEM_CLOCK_SKEW, "created is not within 300 s of the relay's clock", "now", c->now_ms);
    return false;
}

/* Who says that he asks; c->key is then what the signature must verify under. */
static bool find_asker(call *c) {
    c->not_after = INT64_MAX;
    switch (c->who) {
    case WHO_CLINIC: return who_clinic(c);
    case WHO_ENROLS: return who_enrols(c);
    case WHO_DEVICE:
    case WHO_DEVICE_LOCKED: return who_device(c, false);
    case WHO_DEVICE_OR_INVITE: return who_device(c, true);
    case WHO_INVITE: return who_invite(c);
    case WHO_ANYBODY: break;
    }
    return true;
}

static bool is_in_force(call *c) {
    if (c->revoked)
        problem(c, PROBLEM_REVOKED, "this device may not ask for anything any more");
    else if (c->not_after < now_s(c))
        problem(c, PROBLEM_BAD_CERTIFICATE, "the device's certificate has expired");
    else
        return true;
    return false;
}

/* May he ask, whose signature was looked at? */
static bool is_admitted(call *c, const verification *v) {
    if (!v->good) {
        problem(c, PROBLEM_BAD_SIGNATURE, v->fault);
        return false;
    }
    /* From here on a refusal is in the audit log; the rate bounds how much a device can write to it. */
    if (is_anyone_slowed(c))
        return false;
    c->authenticated = true;
    if (!is_in_force(c))
        return false;
    if (c->who == WHO_CLINIC && !c->relay->options.clinics_open && !batch_open(c)) {
        if (!db_failed(c->db))
            problem(c, PROBLEM_FORBIDDEN, "this relay is closed to new clinics");
        return false;
    }
    return true;
}

/* True when the request is by whom it says it is, now. Else a problem is written, or the database failed. */
static bool identify(call *c) {
    if (!find_asker(c))
        return false;
    verification v = {.rq = c->rq, .head = &c->head, .key = c->key};
    verify_all(c->relay->verifiers, &v, 1);
    return is_admitted(c, &v);
}

bool who_authenticate(call *c) {
    if (c->nonce != NONCE_NOT_ASKED) {
        if ((!c->is_invite && !find_device(c)) || !is_in_force(c))
            return false;
    } else {
        if (!identify(c))
            return false;
        nonces_take(c->relay, &c, 1);
    }
    if (c->nonce == NONCE_NEW) {
        bool is_device = (c->who == WHO_DEVICE || c->who == WHO_DEVICE_OR_INVITE) && !c->is_invite;
        return !is_device || !c->state->has_policy || session_allows(c);
    }
    if (c->nonce == NONCE_NO_ROOM)
        relay_unavailable(c->rs);
    else if (!db_failed(c->db))
        problem(c, PROBLEM_REPLAYED, "this nonce was used before; sign again with a new one");
    return false;
}

/* ---- a batch's requests together: as far as they are of devices, whose clinics are found before anything is locked. */

static bool by_device(const call *c) {
    return !c->done && (c->who == WHO_DEVICE || c->who == WHO_DEVICE_LOCKED || c->who == WHO_DEVICE_OR_INVITE);
}

/* Puts what is asked for several calls into the directory: one after the other, or all of it under way at once. */
static void ask_for_all(call *const *calls, size_t n, db_rows (*ask)(call *), void (*take)(call *, db_rows)) {
    db_rows rows[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        rows[i] = ask(calls[i]);
        if (!db_pipelined(calls[i]->db))
            take(calls[i], rows[i]);
    }
    for (size_t i = 0; i < n && db_pipelined(calls[i]->db); i++)
        take(calls[i], rows[i]);
}

static db_rows ask_own_clinic(call *c) { return ask_clinic_of(c, c->device); }

static void remember_clinic(call *c, db_rows r) {
    if (take_clinic_of(c, r))
        memcpy(directory_add_device(c->relay->directory, c->device)->clinic, c->clinic, ID_SIZE);
}

static void remember_device(call *c, db_rows r) { (void)take_device(c, r); }

/* keyid is a name in the directory. */
static bool by_name(const call *c) { return by_device(c) || (!c->done && c->who == WHO_INVITE); }

/* The clinic of an enrolment stands in its content, which is looked at for good when its turn comes. */
static bool clinic_of_chain(const call *c, uint8_t clinic[ID_SIZE]) {
    json content = {0};
    certificate_chain chain = {0};
    size_t mark = arena_mark(c->arena);
    json_open(&content, c->rq->body, c->arena);
    span bytes = json_bytes(&content, "chain", CHAIN_BYTES_MAX);
    bool found =
        content.fault[0] == 0 && WIRE_DECODE(bytes, c->arena, wire_certificate_chain, &chain) == OK && chain.n > 0;
    if (found)
        memcpy(clinic, chain.p[0].clinic_id, ID_SIZE);
    json_close(&content);
    arena_release(c->arena, mark);
    return found;
}

/* The clinic that a call will open. False: it isn't known, or there is none. */
static bool clinic_to_open(const call *c, uint8_t clinic[ID_SIZE]) {
    if (c->done)
        return false;
    if (c->who == WHO_ENROLS)
        return clinic_of_chain(c, clinic);
    if (c->who == WHO_CLINIC) {
        memcpy(clinic, c->head.keyid, ID_SIZE);
        return true;
    }
    const known_device *known = by_name(c) ? directory_device(c->relay->directory, c->device) : NULL;
    if (known != NULL)
        memcpy(clinic, known->clinic, ID_SIZE);
    return known != NULL;
}

static void open_clinics(relay *r, call *calls, size_t n) {
    call *unknown[BATCH_MAX] = {NULL};
    uint8_t clinics[BATCH_MAX][ID_SIZE];
    size_t asked = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        call *c = &calls[i];
        if (!by_name(c))
            continue;
        memcpy(c->device, c->head.keyid, ID_SIZE);
        if (directory_device(r->directory, c->device) == NULL)
            unknown[asked++] = c;
    }
    ask_for_all(unknown, asked, ask_own_clinic, remember_clinic);
    for (size_t i = 0; i < n; i++)
        count += clinic_to_open(&calls[i], clinics[count]) ? 1 : 0;
    batch_open_all(r, clinics, count);
}

static void know_devices(relay *r, call *calls, size_t n) {
    call *unknown[BATCH_MAX] = {NULL};
    size_t asked = 0;
    for (size_t i = 0; i < n; i++) {
        call *c = &calls[i];
        const known_device *known = by_device(c) ? directory_device(r->directory, c->device) : NULL;
        if (known == NULL)
            continue;
        memcpy(c->clinic, known->clinic, ID_SIZE);
        if (batch_open(c) && known_now(c) == NULL)
            unknown[asked++] = c;
    }
    ask_for_all(unknown, asked, ask_device, remember_device);
}

/* Those that are identified have their nonces taken; the others are done. */
static void identify_all(relay *r, call *calls, size_t n) {
    call *list[BATCH_MAX];
    verification signatures[BATCH_MAX];
    size_t found = 0, admitted = 0;
    for (size_t i = 0; i < n && !db_failed(r->db); i++) {
        call *c = &calls[i];
        if (by_device(c) && find_asker(c)) {
            signatures[found] = (verification){.rq = c->rq, .head = &c->head, .key = c->key};
            list[found++] = c;
        } else if (by_device(c) && !db_failed(r->db)) {
            c->done = true;
        }
    }
    verify_all(r->verifiers, signatures, found);
    for (size_t i = 0; i < found; i++) {
        if (is_admitted(list[i], &signatures[i]))
            list[admitted++] = list[i];
        else
            list[i]->done = true;
    }
    nonces_take(r, list, admitted);
}

void who_identify_all(relay *r, call *calls, size_t n) {
    open_clinics(r, calls, n);
    know_devices(r, calls, n);
    identify_all(r, calls, n);
}
