/* directory.c: the people and devices of the clinic, as far as this account knows them: certificates that were checked,
 * the roster, names. */
#include "base/text.h"
#include "client/builder.h"
#include "client/relay_json.h"
#include "client/roster.h"
#include "client/state.h"

err leaf_chain(client *c, const leaf_node *leaf, certificate_chain *chain) {
    const extension *found = extension_find(&leaf->extensions, EXTENSION_CERTIFICATES);
    if (!found)
        return ERR_CERTIFICATE;
    return WIRE_DECODE(found->data, &c->scratch, wire_certificate_chain, chain);
}

err directory_check_leaf(client *c, const leaf_node *leaf, const leaf_node *previous) {
    certificate_chain chain, before;
    TRY(leaf_chain(c, leaf, &chain));
    /* Without a time: a member whose certificate ran out must not keep the others from joining (openmls #1810). What is
     * added anew is checked with the time in membership_check_commit. */
    TRY(certificate_chain_check(&chain, c->root_key, 0));
    const certificate *holder = certificate_chain_holder(&chain);
    if (holder->kind == CERTIFICATE_INVITE || !(holder->rights & RIGHT_MESSAGE))
        return ERR_CERTIFICATE;
    if (!span_equal(leaf->signature_key, SPAN(holder->subject_key)) || leaf->credential.type != CREDENTIAL_BASIC ||
        !span_equal(leaf->credential.identity, SPAN(holder->subject_id)))
        return ERR_CERTIFICATE;
    uint8_t device_id[ID_SIZE];
    bool revoked;
    device_id_of(holder->subject_key, device_id);
    TRY(directory_is_revoked(c, SPAN(device_id), &revoked));
    if (revoked)
        return ERR_REVOKED;
    if (previous) { /* an update may renew the certificate, never change who it is (mdk #634) */
        TRY(leaf_chain(c, previous, &before));
        const certificate *old = certificate_chain_holder(&before);
        if (memcmp(old->subject_key, holder->subject_key, sizeof old->subject_key) != 0 ||
            memcmp(old->subject_id, holder->subject_id, ID_SIZE) != 0 || old->kind != holder->kind)
            return ERR_CERTIFICATE;
    }
    return OK;
}

err directory_add_device(client *c, const certificate_chain *chain, bool listed) {
    query q;
    span encoded;
    const certificate *holder = certificate_chain_holder(chain);
    uint8_t device_id[ID_SIZE];
    device_id_of(holder->subject_key, device_id);
    TRY(WIRE_ENCODE(&c->scratch, wire_certificate_chain, chain, &encoded));
    query_init(&q, c->store,
               "INSERT INTO device (device_id, subject_id, kind, chain, listed) VALUES (?, ?, ?, ?, ?)"
               " ON CONFLICT (device_id) DO UPDATE SET chain = excluded.chain, listed = max(listed, excluded.listed)");
    query_bind_blob(&q, SPAN(device_id));
    query_bind_blob(&q, SPAN(holder->subject_id));
    query_bind_int(&q, holder->kind);
    query_bind_blob(&q, encoded);
    query_bind_int(&q, listed);
    return query_end(&q);
}

err directory_add_person(client *c, const uint8_t subject_id[ID_SIZE], uint8_t kind, span name, bool sure) {
    query q;
    query_init(
        &q, c->store,
        "INSERT INTO person (subject_id, kind, name) VALUES (?, ?, ?) ON CONFLICT (subject_id) DO UPDATE SET name = "
        "excluded.name WHERE ?");
    query_bind_blob(&q, span_of(subject_id, ID_SIZE));
    query_bind_int(&q, kind);
    query_bind_text(&q, name);
    query_bind_int(&q, sure);
    return query_end(&q);
}

err directory_name(client *c, span subject_id, arena *a, span *name) {
    query q;
    err e = OK;
    *name = SPAN_NONE;
    query_init(&q, c->store, "SELECT name FROM person WHERE subject_id = ?");
    query_bind_blob(&q, subject_id);
    if (query_row(&q))
        e = arena_copy(a, query_text(&q, 0), name);
    TRY(query_end(&q));
    return e;
}

err directory_kind(client *c, span device_id, uint8_t *kind) {
    query q;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT kind FROM device WHERE device_id = ?");
    query_bind_blob(&q, device_id);
    if (query_row(&q)) {
        *kind = (uint8_t)query_int(&q, 0);
        e = OK;
    }
    TRY(query_end(&q));
    return e;
}

err directory_is_revoked(client *c, span device_id, bool *revoked) {
    query q;
    *revoked = false;
    query_init(&q, c->store, "SELECT revoked FROM device WHERE device_id = ?");
    query_bind_blob(&q, device_id);
    if (query_row(&q))
        *revoked = query_int(&q, 0) != 0;
    return query_end(&q);
}

/* ---- the roster */

static err set_roster_number(client *c, int64_t number) {
    c->roster_number = number;
    return setting_put_int(c, "roster_number", number);
}

static err count_devices(client *c, size_t *listed, size_t *revoked) {
    query q;
    query_init(&q, c->store, "SELECT sum(listed = 1 AND revoked = 0), sum(revoked) FROM device");
    *listed = *revoked = 0;
    if (query_row(&q)) {
        *listed = (size_t)query_int(&q, 0);
        *revoked = (size_t)query_int(&q, 1);
    }
    return query_end(&q);
}

static err collect_members(client *c, roster *r, size_t listed, size_t revoked) {
    query q;
    err e = OK;
    r->members.p = ARENA_ARRAY(&c->scratch, roster_member, listed ? listed : 1);
    r->revoked.p = ARENA_ARRAY(&c->scratch, roster_revocation, revoked ? revoked : 1);
    if (!r->members.p || !r->revoked.p)
        return ERR_ARENA;
    query_init(&q, c->store,
               "SELECT device_id, chain, revoked FROM device WHERE listed = 1 OR revoked = 1 ORDER BY device_id");
    while (e == OK && query_row(&q)) {
        span id = query_blob(&q, 0), chain = query_blob(&q, 1), kept;
        if (id.n != ID_SIZE)
            e = ERR_STORE_CORRUPT;
        else if (query_int(&q, 2) && r->revoked.n < revoked)
            memcpy(r->revoked.p[r->revoked.n++].device_id, id.p, ID_SIZE);
        else if (!query_int(&q, 2) && r->members.n < listed) {
            roster_member *m = &r->members.p[r->members.n++];
            memcpy(m->device_id, id.p, ID_SIZE);
            e = arena_copy(&c->scratch, chain, &kept);
            if (e == OK)
                e = WIRE_DECODE(kept, &c->scratch, wire_certificate_chain, &m->chain);
        }
    }
    TRY(query_end(&q));
    return e;
}

err directory_publish_roster(client *c) {
    roster r = {.number = (uint64_t)c->roster_number + 1, .issued_ms = client_now_seconds(c) * 1000};
    size_t listed, revoked;
    span bytes, body;
    builder b;
    TRY(count_devices(c, &listed, &revoked));
    TRY(collect_members(c, &r, listed, revoked));
    TRY(roster_issue(&r, &c->root, &c->scratch, &bytes));
    builder_init(&b, &c->scratch, BASE64URL_SIZE(bytes.n) + 80);
    builder_text(&b, "{");
    builder_json_int(&b, "number", (int64_t)r.number);
    builder_json_bytes(&b, "roster", bytes);
    builder_text(&b, "}");
    TRY(builder_end(&b, &body));
    TRY(job_add(c, LANE_ACCOUNT, JOB_ROSTER, SPAN_NONE, "PUT", "/v1/roster", "application/json", body));
    return set_roster_number(c, (int64_t)r.number);
}

/* The roster's devices become the listed ones. */
static err roster_apply(client *c, const roster *r) {
    query q;
    query_init(&q, c->store, "UPDATE device SET listed = 0 WHERE listed = 1");
    TRY(query_end(&q));
    for (size_t i = 0; i < r->members.n; i++)
        TRY(directory_add_device(c, &r->members.p[i].chain, true));
    for (size_t i = 0; i < r->revoked.n; i++) {
        query_init(&q, c->store,
                   "INSERT INTO device (device_id, subject_id, kind, chain, revoked) VALUES (?, x'', 0, x'', 1)"
                   " ON CONFLICT (device_id) DO UPDATE SET revoked = 1, listed = 0");
        query_bind_blob(&q, SPAN(r->revoked.p[i].device_id));
        TRY(query_end(&q));
    }
    /* The newest one's and not the latest: a clinic whose clock was wrong once mends it with the next. */
    c->roster_ms = (int64_t)r->issued_ms;
    TRY(setting_put_int(c, "roster_ms", c->roster_ms));
    return set_roster_number(c, (int64_t)r->number);
}

err directory_roster_reply(client *c, int status, span body) {
    json *root = NULL;
    span bytes;
    roster r;
    if (status == 0 || status == 401 || status == 429 || status >= 500)
        c->roster_retry_ms = 0; /* not answered: asked again as soon as the relay can be (sync.c) */
    if (status != 200)          /* 404: the clinic has not published one yet */
        return OK;
    err e = json_open(body, &root);
    if (e == OK)
        e = json_bytes(root, "roster", &c->scratch, &bytes);
    if (e == OK)
        e = roster_read(bytes, c->root_key, &c->scratch, &r);
    json_close(root);
    if (is_ours(e))
        return e;
    if (e != OK)
        return client_notice(c, 0, NOTICE_ROSTER_FORGED);
    if ((int64_t)r.number == c->roster_number || c->founder) /* the founder makes them: what it has is the newest */
        e = OK;
    else if ((int64_t)r.number < c->roster_number)
        e = client_notice(c, 0, NOTICE_ROSTER_OLD);
    else
        e = roster_apply(c, &r);
    if (e == OK) /* else it is asked for again */
        c->roster_wanted = false;
    return e;
}

err directory_device_event(client *c, span chain_bytes) {
    certificate_chain chain;
    if (!c->founder)
        return OK;
    TRY(WIRE_DECODE(chain_bytes, &c->scratch, wire_certificate_chain, &chain));
    TRY(certificate_chain_check(&chain, c->root_key, client_now_seconds(c)));
    const certificate *holder = certificate_chain_holder(&chain);
    if (holder->kind != CERTIFICATE_STAFF && holder->kind != CERTIFICATE_AGENT)
        return directory_add_device(c, &chain, false);
    uint8_t device_id[ID_SIZE], kind;
    device_id_of(holder->subject_key, device_id);
    if (directory_kind(c, SPAN(device_id), &kind) == OK)
        return OK; /* known */
    TRY(directory_add_device(c, &chain, true));
    return directory_publish_roster(c);
}
