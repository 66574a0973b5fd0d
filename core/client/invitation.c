/* invitation.c: invitations that this account issues. */
#include "client/builder.h"
#include "client/state.h"
#include "crypto/random.h"

#define DAY_S 86400u
#define INVITATION_DAYS 7 /* unless said otherwise */
#define INVITATION_ATTEMPTS 5

static uint32_t rights_of(uint8_t enrols) { return enrols == CERTIFICATE_PATIENT ? RIGHT_MESSAGE : STAFF_RIGHTS; }

/* The invite's certificate at the end of our own chain. */
static err certify_invite(client *c, const invite_keys *keys, issued_invitation *out, certificate_chain *whole) {
    certificate_chain own;
    TRY(WIRE_DECODE(span_of(c->chain, c->chain_size), &c->scratch, wire_certificate_chain, &own));
    certificate *all = ARENA_ARRAY(&c->scratch, certificate, own.n + 1);
    if (!all)
        return ERR_ARENA;
    memcpy(all, own.p, own.n * sizeof *all);
    const certificate *holder = certificate_chain_holder(&own);
    certificate *invite = &all[own.n];
    uint64_t now = client_now_seconds(c), from = now - DAY_S; /* a phone's clock may be a day behind */
    *invite = (certificate){.kind = CERTIFICATE_INVITE,
                            .enrols = out->enrols,
                            .level = out->level,
                            .rights = rights_of(out->enrols),
                            .not_before = from > holder->not_before ? from : holder->not_before,
                            .not_after = (uint64_t)out->expires_ms / 1000};
    memcpy(invite->clinic_id, c->clinic_id, ID_SIZE);
    memcpy(invite->subject_id, out->subject_id, ID_SIZE);
    memcpy(invite->subject_key, signature_key_public(&keys->key).p, ED25519_PUBLIC_SIZE);
    TRY(certificate_issue(invite, &c->device_key));
    *whole = (certificate_chain){all, own.n + 1};
    return certificate_chain_check(whole, c->root_key, now);
}

static err invitation_body(client *c, const invite_keys *keys, const issued_invitation *o,
                           const certificate_chain *chain, span check, span *body) {
    sealed_invitation invitation = {.clinic_name = span_of(c->clinic_name, c->clinic_name_size),
                                    .inviter = span_of(c->name, c->name_size),
                                    .chain = *chain};
    if (o->enrols != CERTIFICATE_PATIENT)
        invitation.invitee = o->name;
    span sealed, encoded;
    builder b;
    memcpy(invitation.root_key, c->root_key, sizeof invitation.root_key);
    TRY(invitation_seal(keys, &invitation, &c->scratch, &sealed));
    TRY(WIRE_ENCODE(&c->scratch, wire_certificate_chain, chain, &encoded));
    builder_init(&b, &c->scratch, 2 * (sealed.n + encoded.n) + 200);
    builder_text(&b, "{");
    builder_json_bytes(&b, "chain", encoded);
    builder_json_bytes(&b, "sealed", sealed);
    if (check.n)
        builder_json_bytes(&b, "check", check);
    builder_text(&b, "}");
    return builder_end(&b, body);
}

static err invitation_insert(client *c, const issued_invitation *o) {
    query q;
    query_init(&q, c->store,
               "INSERT INTO invitation (invitation_id, subject_id, enrols, level, name, state, attempts_left, "
               "created_ms, expires_ms)"
               " VALUES (?, ?, ?, ?, ?, 'sending', ?, ?, ?)");
    query_bind_blob(&q, SPAN(o->id));
    query_bind_blob(&q, SPAN(o->subject_id));
    query_bind_int(&q, o->enrols);
    query_bind_int(&q, o->level);
    query_bind_text(&q, o->name);
    query_bind_int(&q, o->attempts_left);
    query_bind_int(&q, o->created_ms);
    query_bind_int(&q, o->expires_ms);
    return query_end(&q);
}

err client_invitation_create(client *c, effects *fx, uint8_t enrols, span name, uint8_t level, span factor,
                             uint32_t days, span subject, arena *a, issued_invitation *out) {
    invite_link link;
    invite_keys keys;
    uint8_t plain[INVITE_FACTOR_MAX], check[INVITE_CHECK_SIZE];
    size_t plain_size = 0;
    char made_code[INVITE_CODE_DIGITS];
    certificate_chain chain;
    span body;
    err e;
    (void)fx;
    if (!client_has_right(c, enrols == CERTIFICATE_PATIENT ? RIGHT_INVITE_PATIENT : RIGHT_INVITE_STAFF))
        return ERR_SENDER;
    if (level == CHECK_BIRTH_DATE && factor.n == 0)
        return ERR_INVALID;
    *out = (issued_invitation){.enrols = enrols,
                               .level = level,
                               .name = name,
                               .state = "sending",
                               .attempts_left = INVITATION_ATTEMPTS,
                               .created_ms = client_now(c)};
    out->expires_ms = (int64_t)(client_now_seconds(c) + (days ? days : INVITATION_DAYS) * (uint64_t)DAY_S) * 1000;
    if (level == CHECK_CODE && factor.n == 0) {
        invite_code(made_code);
        factor = span_of(made_code, sizeof made_code);
        TRY(arena_copy(a, factor, &out->code));
    }
    TRY(invite_factor(level, factor, plain, &plain_size));
    if (subject.p)
        memcpy(out->subject_id, subject.p, ID_SIZE);
    else
        random_bytes(out->subject_id, ID_SIZE);

    random_bytes(link.seed, sizeof link.seed);
    sha256(SPAN(c->root_key), link.fingerprint);
    invite_keys_derive(link.seed, &keys);
    invite_id_of(signature_key_public(&keys.key).p, out->id);
    if (level != CHECK_LINK)
        TRY_OUT(invite_check(&keys, span_of(plain, plain_size), check));
    TRY_OUT(certify_invite(c, &keys, out, &chain));
    TRY_OUT(invitation_body(c, &keys, out, &chain, level == CHECK_LINK ? SPAN_NONE : SPAN(check), &body));
    TRY_OUT(invitation_insert(c, out));
    TRY_OUT(directory_add_person(c, out->subject_id, enrols, name, enrols == CERTIFICATE_PATIENT));
    TRY_OUT(
        job_add(c, LANE_ACCOUNT, JOB_INVITATION, SPAN(out->id), "POST", "/v1/invitations", "application/json", body));
    TRY_OUT(invite_link_write(&link, span_of(c->relay, c->relay_size), enrols != CERTIFICATE_PATIENT, a, &out->link));
out:
    wipe(&link, sizeof link);
    wipe(&keys, sizeof keys);
    wipe(plain, sizeof plain);
    wipe(check, sizeof check);
    wipe(made_code, sizeof made_code);
    return e;
}

/* The words of the state column, so that a view may hold static text. */
static const char *state_word(span text) {
    static const char *const words[] = {"sending", "open",      "wrong-check", "used",
                                        "locked",  "withdrawn", "expired",     "failed"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (span_equal(text, span_text(words[i])))
            return words[i];
    return "failed";
}

err client_invitations(client *c, arena *a, issued_invitation **out, size_t *count) {
    query q;
    size_t max = 0;
    int64_t now = (int64_t)client_now_seconds(c) * 1000;
    *count = 0;
    query_init(&q, c->store, "SELECT count(*) FROM invitation");
    if (query_row(&q))
        max = (size_t)query_int(&q, 0);
    TRY(query_end(&q));
    *out = ARENA_ARRAY(a, issued_invitation, max ? max : 1);
    if (!*out)
        return ERR_ARENA;
    query_init(&q, c->store,
               "SELECT invitation_id, subject_id, enrols, level, name, state, attempts_left, created_ms, expires_ms"
               " FROM invitation ORDER BY created_ms DESC, invitation_id");
    while (*count < max && query_row(&q)) {
        issued_invitation *o = &(*out)[(*count)++];
        span id = query_blob(&q, 0), subject = query_blob(&q, 1);
        if (id.n != ID_SIZE || subject.n != ID_SIZE)
            continue;
        memcpy(o->id, id.p, ID_SIZE);
        memcpy(o->subject_id, subject.p, ID_SIZE);
        o->enrols = (uint8_t)query_int(&q, 2);
        o->level = (uint8_t)query_int(&q, 3);
        if (arena_copy(a, query_text(&q, 4), &o->name) != OK && q.error == OK)
            q.error = ERR_ARENA;
        o->state = state_word(query_text(&q, 5));
        o->attempts_left = query_int(&q, 6);
        o->created_ms = query_int(&q, 7);
        o->expires_ms = query_int(&q, 8);
        if (o->expires_ms < now && (strcmp(o->state, "open") == 0 || strcmp(o->state, "wrong-check") == 0))
            o->state = "expired";
    }
    return query_end(&q);
}

err invitation_set_state(client *c, span id, const char *state, int64_t attempts_left) {
    query q;
    query_init(&q, c->store,
               "UPDATE invitation SET state = ?, attempts_left = ? WHERE invitation_id = ? AND state <> 'withdrawn'");
    query_bind_text(&q, span_text(state));
    query_bind_int(&q, attempts_left);
    query_bind_blob(&q, id);
    TRY(query_end(&q));
    client_event(c, EVENT_INVITATION, 0, SPAN_NONE, "changed", NULL, attempts_left);
    return OK;
}

err invitation_registered(client *c, span id, bool taken) {
    query q;
    query_init(&q, c->store, "UPDATE invitation SET state = ? WHERE invitation_id = ? AND state = 'sending'");
    query_bind_text(&q, span_text(taken ? "open" : "failed"));
    query_bind_blob(&q, id);
    TRY(query_end(&q));
    client_event(c, EVENT_INVITATION, 0, SPAN_NONE, "changed", NULL, -1);
    return OK;
}

err client_invitation_withdraw(client *c, effects *fx, span id) {
    query q;
    builder path;
    (void)fx;
    query_init(&q, c->store,
               "UPDATE invitation SET state = 'withdrawn' WHERE invitation_id = ? AND state IN ('sending', 'open', "
               "'wrong-check', 'locked')");
    query_bind_blob(&q, id);
    TRY(query_end(&q));
    if (store_changes(c->store) == 0)
        return ERR_NOT_FOUND;
    builder_init(&path, &c->scratch, 64);
    builder_text(&path, "/v1/invitations/");
    builder_base64url(&path, id);
    const char *text = builder_string(&path);
    return text ? job_add(c, LANE_ACCOUNT, JOB_WITHDRAW, id, "DELETE", text, NULL, SPAN_NONE) : ERR_ARENA;
}
