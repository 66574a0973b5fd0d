/* enrol.c: from a secret link to an enrolled device. Everything here is in memory: an account is kept only once the
 * relay took the device and the user chose how to keep it. */
#include "client/builder.h"
#include "client/relay_json.h"
#include "client/state.h"
#include "crypto/random.h"

#include <stdlib.h>

#define DAY_S 86400u
#define PATIENT_DAYS 365
#define STAFF_DAYS 365
#define CLOCK_SLACK_S 3600u /* a certificate may say that it is an hour older than it is: clocks differ */

void enrol_forget(client *c) {
    if (!c->held)
        return;
    for (size_t i = 0; i < INFLIGHT_MAX; i++) /* an answer about this one must not count for the next */
        if (c->inflight[i].kind == REQUEST_INVITATION || c->inflight[i].kind == REQUEST_ENROL)
            c->inflight[i] = (inflight){0};
    wipe(c->held, sizeof *c->held);
    free(c->held);
    c->held = NULL;
}

void enrol_failed(client *c, notice_code code) {
    held_invitation *h = c->held;
    h->failure = code;
    client_event(c, EVENT_INVITATION, 0, SPAN_NONE, "failed", notice_text(code), h->attempts_left);
}

static err ask_invitation(client *c) {
    builder path;
    const held_invitation *h = c->held;
    request_signer signer = {
        .key = &h->keys.key, .origin = span_of(h->relay, h->relay_size), .now_ms = client_now(c) + c->clock_offset_ms};
    invite_id_of(signature_key_public(&h->keys.key).p, signer.key_id);
    builder_init(&path, c->fx->arena, 64);
    builder_text(&path, "/v1/invitations/");
    builder_base64url(&path, SPAN(signer.key_id));
    const char *text = builder_string(&path);
    if (!text)
        return ERR_ARENA;
    return sync_request_as(c, &signer, (inflight){.kind = REQUEST_INVITATION}, "GET", text, NULL, SPAN_NONE);
}

err client_invitation_open(client *c, effects *fx, span relay, span fragment) {
    invite_link link;
    (void)fx;
    if (c->open)
        return ERR_STATE;
    TRY(request_origin_check(relay));
    if (relay.n > ORIGIN_MAX_BYTES)
        return ERR_TOO_LARGE;
    TRY(invite_link_read(fragment, &link));
    enrol_forget(c);
    held_invitation *h = calloc(1, sizeof *h);
    if (!h)
        return ERR_NO_MEMORY;
    c->held = h;
    h->link = link;
    h->attempts_left = -1;
    wipe(&link, sizeof link);
    invite_keys_derive(h->link.seed, &h->keys);
    memcpy(h->relay, relay.p, relay.n);
    h->relay_size = relay.n;

    return ask_invitation(c);
}

/* What a relay's refusal means for somebody who holds a link. */
static notice_code code_of(int status, span name) {
    if (status == 0 || status == 429 || status >= 500)
        return NOTICE_OFFLINE;
    if (problem_is(name, "wrong-check"))
        return NOTICE_WRONG_CHECK;
    if (problem_is(name, "invitation-locked"))
        return NOTICE_INVITATION_LOCKED;
    if (problem_is(name, "invitation-used"))
        return NOTICE_INVITATION_USED;
    if (problem_is(name, "invitation-gone"))
        return NOTICE_INVITATION_GONE;
    if (status == 404)
        return NOTICE_LINK_UNKNOWN;
    return NOTICE_REFUSED;
}

static err failure_of(client *c, int status, span body, notice_code *code) {
    span name = SPAN_NONE;
    if (status >= 400)
        TRY(problem_name(&c->scratch, body, &name));
    *code = code_of(status, name);
    return OK;
}

static void copy_text(span from, uint8_t *to, size_t max, size_t *n) {
    *n = from.n < max ? from.n : max;
    while (*n<from.n && * n> 0 && (from.p[*n] & 0xc0) == 0x80) /* cut between characters */
        (*n)--;
    memcpy(to, from.p, *n);
}

err enrol_invitation_reply(client *c, int status, span body) {
    held_invitation *h = c->held;
    json *root = NULL;
    span sealed;
    sealed_invitation invitation;
    if (!h)
        return OK;                              /* forgotten meanwhile */
    if (status == 401 && !h->clock_corrected) { /* sync.c took the relay's time from the refusal */
        h->clock_corrected = true;
        return ask_invitation(c);
    }
    if (status != 200) {
        notice_code code;
        TRY(failure_of(c, status, body, &code));
        enrol_failed(c, code);
        return OK;
    }
    err e = json_open(body, &root);
    if (e == OK)
        e = json_bytes(root, "sealed", &c->scratch, &sealed);
    if (e == OK && json_int(root, "attempts_left", &h->attempts_left) != OK)
        h->attempts_left = -1;
    if (e == OK)
        e = invitation_unseal(&h->keys, &h->link, sealed, client_now_seconds(c), &c->scratch, &invitation);
    json_close(root);
    if (is_ours(e))
        return e;
    if (e == ERR_EXPIRED) {
        enrol_failed(c, NOTICE_INVITATION_GONE);
        return OK;
    }
    if (e != OK) {
        enrol_failed(c, NOTICE_INVITATION_FORGED);
        return OK;
    }
    const certificate *invite = certificate_chain_holder(&invitation.chain);
    span chain;
    TRY(WIRE_ENCODE(&c->scratch, wire_certificate_chain, &invitation.chain, &chain));
    if (chain.n > sizeof h->chain)
        return ERR_TOO_LARGE;
    memcpy(h->chain, chain.p, chain.n);
    h->chain_size = chain.n;
    memcpy(h->root_key, invitation.root_key, sizeof h->root_key);
    copy_text(invitation.clinic_name, h->clinic_name, sizeof h->clinic_name, &h->clinic_name_size);
    copy_text(invitation.inviter, h->inviter, sizeof h->inviter, &h->inviter_size);
    copy_text(invitation.greeting, h->greeting, sizeof h->greeting, &h->greeting_size);
    copy_text(invitation.invitee, h->name, sizeof h->name, &h->name_size);
    h->enrols = invite->enrols;
    h->level = invite->level;
    h->opened = true;
    h->failure = NOTICE_NONE;
    client_event(c, EVENT_INVITATION, 0, SPAN_NONE, "opened", NULL, h->attempts_left);
    return OK;
}

err client_invitation_view(client *c, arena *a, invitation_view *out) {
    const held_invitation *h = c->held;
    if (!h)
        return ERR_NOT_FOUND;
    *out = (invitation_view){
        .enrols = h->enrols, .level = h->level, .attempts_left = h->attempts_left, .opened = h->opened};
    if (h->failure != NOTICE_NONE) {
        out->failure = notice_name(h->failure);
        out->failure_text = notice_text(h->failure);
    }
    TRY(arena_copy(a, span_of(h->clinic_name, h->clinic_name_size), &out->clinic_name));
    TRY(arena_copy(a, span_of(h->inviter, h->inviter_size), &out->inviter));
    TRY(arena_copy(a, span_of(h->name, h->name_size), &out->name));
    return arena_copy(a, span_of(h->greeting, h->greeting_size), &out->greeting);
}

/* Our device's key and certificate, signed with the invite's key and appended to the chain. Made once: an answer that was
 * lost must find the same device. */
static err certify_device(client *c, held_invitation *h) {
    certificate_chain chain;
    signature_key device;
    span encoded;
    if (h->device_chain_size)
        return OK;
    TRY(WIRE_DECODE(span_of(h->chain, h->chain_size), &c->scratch, wire_certificate_chain, &chain));
    const certificate *invite = certificate_chain_holder(&chain);
    random_bytes(h->device_seed, sizeof h->device_seed);
    certificate *all = ARENA_ARRAY(&c->scratch, certificate, chain.n + 1);
    if (!all)
        return ERR_ARENA;
    memcpy(all, chain.p, chain.n * sizeof *all);
    uint64_t now = client_now_seconds(c), from = now - CLOCK_SLACK_S;
    certificate *own = &all[chain.n];
    *own = (certificate){.kind = invite->enrols,
                         .level = invite->level,
                         .rights = invite->rights,
                         .not_before = from > invite->not_before ? from : invite->not_before};
    own->not_after = now + (invite->enrols == CERTIFICATE_PATIENT ? PATIENT_DAYS : STAFF_DAYS) * DAY_S;
    memcpy(own->clinic_id, invite->clinic_id, ID_SIZE);
    memcpy(own->subject_id, invite->subject_id, ID_SIZE);
    signature_key_from_seed(h->device_seed, &device);
    memcpy(own->subject_key, signature_key_public(&device).p, sizeof own->subject_key);
    wipe(&device, sizeof device);
    TRY(certificate_issue(own, &h->keys.key));
    certificate_chain whole = {all, chain.n + 1};
    TRY(certificate_chain_check(&whole, h->root_key, now));
    TRY(WIRE_ENCODE(&c->scratch, wire_certificate_chain, &whole, &encoded));
    if (encoded.n > sizeof h->device_chain)
        return ERR_TOO_LARGE;
    memcpy(h->device_chain, encoded.p, encoded.n);
    h->device_chain_size = encoded.n;
    return OK;
}

err client_invitation_accept(client *c, effects *fx, span factor, span name) {
    held_invitation *h = c->held;
    uint8_t plain[INVITE_FACTOR_MAX];
    size_t plain_size;
    signature_key device;
    builder b;
    span body;
    (void)fx;
    if (!h || !h->opened || h->accepted || sync_in_flight(c, REQUEST_ENROL, 0))
        return ERR_STATE;
    TRY(invite_factor(h->level, factor, plain, &plain_size));
    if (name.n && h->enrols != CERTIFICATE_PATIENT)
        copy_text(name, h->name, sizeof h->name, &h->name_size);
    err e = OK;
    if (h->level != CHECK_LINK)
        e = invite_check(&h->keys, span_of(plain, plain_size), h->check);
    wipe(plain, sizeof plain);
    TRY(e);
    TRY(certify_device(c, h));

    builder_init(&b, &c->scratch, sizeof h->device_chain * 2);
    builder_text(&b, "{");
    builder_json_bytes(&b, "chain", span_of(h->device_chain, h->device_chain_size));
    if (h->level != CHECK_LINK)
        builder_json_bytes(&b, "check", SPAN(h->check));
    builder_text(&b, "}");
    TRY(builder_end(&b, &body));
    signature_key_from_seed(h->device_seed, &device);
    request_signer signer = {
        .key = &device, .origin = span_of(h->relay, h->relay_size), .now_ms = client_now(c) + c->clock_offset_ms};
    device_id_of(signature_key_public(&device).p, signer.key_id);
    h->failure = NOTICE_NONE;
    e = sync_request_as(c, &signer, (inflight){.kind = REQUEST_ENROL}, "POST", "/v1/devices", "application/json", body);
    wipe(&device, sizeof device);
    return e;
}

err enrol_device_reply(client *c, int status, span body) {
    held_invitation *h = c->held;
    json *root = NULL;
    if (!h)
        return OK;
    if (status != 200 && status != 201) {
        notice_code code;
        TRY(failure_of(c, status, body, &code));
        if (code == NOTICE_WRONG_CHECK) {
            TRY(json_open(body, &root)); /* it was read before */
            if (json_int(root, "attempts_left", &h->attempts_left) != OK)
                h->attempts_left = -1;
            json_close(root);
            if (h->attempts_left == 0)
                code = NOTICE_INVITATION_LOCKED;
        }
        enrol_failed(c, code);
        return OK;
    }
    err e = json_open(body, &root);
    if (is_ours(e))
        return e;
    if (e != OK || json_int(root, "seq", &h->cursor) != OK)
        h->cursor = 0;
    json_close(root);
    h->accepted = true;
    client_event(c, EVENT_INVITATION, 0, SPAN_NONE, "accepted", NULL, -1);
    client_event(c, EVENT_ACCOUNT, 0, SPAN_NONE, "enrolled", NULL, -1);
    return OK;
}
