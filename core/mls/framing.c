#include "mls/framing.h"

#include "crypto/random.h"

/* --- §6.1 --- */

typedef struct tbs_input {
    uint16_t format;
    framed_content *content;
    span context;
    size_t content_end;
} tbs_input;

/* Written only. A content that was read goes in as the bytes that came. */
static void wire_tbs(wire *w, tbs_input *o) {
    uint16_t version = MLS_VERSION;
    wire_u16(w, &version);
    wire_u16(w, &o->format);
    wire_framed_content_head(w, o->content);
    if (o->content->select.n > 0)
        wire_rest(w, &o->content->select);
    else
        wire_framed_content_select(w, o->content);
    o->content_end = w->at;
    wire_rest(w, &o->context);
}

err framing_tbs(uint16_t format, const framed_content *content, span context, arena *a, framed_tbs *tbs) {
    framed_content copy = *content;
    tbs_input input = {.format = format, .content = &copy, .context = context};
    TRY(WIRE_ENCODE(a, wire_tbs, &input, &tbs->bytes));
    tbs->format_and_content = span_of(tbs->bytes.p + 2, input.content_end - 2);
    return OK;
}

err framing_sign(const signature_key *signer, const framed_tbs *tbs, arena *a, framed_content_auth *auth) {
    uint8_t *signature = arena_take(a, SIGNATURE_SIZE, 1);
    if (signature == NULL)
        return ERR_ARENA;
    auth->signature = span_of(signature, SIGNATURE_SIZE);
    return signature_sign_with_label(signer, "FramedContentTBS", tbs->bytes, a, signature);
}

err framing_verify(span public_key, const framed_tbs *tbs, const framed_content_auth *auth, arena *a) {
    return signature_verify_with_label(public_key, "FramedContentTBS", tbs->bytes, auth->signature, a);
}

typedef struct joined {
    span front;
    framed_content_auth auth;
} joined;

static void wire_joined(wire *w, joined *o) {
    wire_rest(w, &o->front);
    wire_framed_content_auth(w, &o->auth);
}

err framing_proposal_ref(const suite *s, const framed_tbs *tbs, const framed_content_auth *auth, arena *a,
                         uint8_t *out) {
    joined authenticated = {tbs->format_and_content, *auth};
    size_t mark = arena_mark(a);
    span bytes;
    TRY(WIRE_ENCODE(a, wire_joined, &authenticated, &bytes));
    suite_ref_hash(s, "MLS 1.0 Proposal Reference", bytes, out);
    arena_release(a, mark);
    return OK;
}

/* --- §6.2 --- */

static err membership_tag(const suite *s, span membership_key, const framed_tbs *tbs, const framed_content_auth *auth,
                          arena *a, uint8_t *tag) {
    joined tbm = {tbs->bytes, *auth};
    size_t mark = arena_mark(a);
    span bytes;
    TRY(WIRE_ENCODE(a, wire_joined, &tbm, &bytes));
    suite_mac(s, membership_key, bytes, tag);
    arena_release(a, mark);
    return OK;
}

err framing_protect_public(const suite *s, span membership_key, const framed_content *content, const framed_tbs *tbs,
                           const framed_content_auth *auth, arena *a, span *message) {
    /* §6: "applications MUST be sent as PrivateMessage" */
    if (content->type == CONTENT_APPLICATION)
        return ERR_INVALID;
    uint8_t tag[HASH_MAX] = {0};
    if (content->sender.type == SENDER_MEMBER) /* who is none has no membership key */
        TRY(membership_tag(s, membership_key, tbs, auth, a, tag));
    mls_message *m = ARENA_NEW(a, mls_message);
    if (m == NULL)
        return ERR_ARENA;
    m->version = MLS_VERSION;
    m->wire_format = FORMAT_PUBLIC_MESSAGE;
    m->public_message = (public_message){*content, *auth, span_of(tag, s->hash_size)};
    return WIRE_ENCODE(a, wire_mls_message, m, message);
}

err framing_check_membership(const suite *s, span membership_key, const framed_tbs *tbs,
                             const framed_content_auth *auth, span tag, arena *a) {
    uint8_t expected[HASH_MAX];
    TRY(membership_tag(s, membership_key, tbs, auth, a, expected));
    return secret_equal(span_of(expected, s->hash_size), tag) ? OK : ERR_MEMBERSHIP_TAG;
}

/* --- §6.3 --- */

size_t framing_padded_size(size_t n) {
    size_t size = 256;
    while (size < n && size < 4096)
        size *= 2;
    if (n <= size)
        return size;
    /* Padmé (Nikitin et al., 2019): of a length of E+1 bits the last E - S are zero, S = floor(log2 E) + 1. */
    unsigned e = 63u - (unsigned)__builtin_clzll((unsigned long long)n);
    unsigned s = 32u - (unsigned)__builtin_clz(e);
    size_t mask = ((size_t)1 << (e - s)) - 1;
    return (n + mask) & ~mask;
}

typedef struct private_content {
    framed_content *content;
    framed_content_auth *auth;
    span padding;
} private_content;

/* PrivateMessageContent without its padding. */
static void wire_private_content(wire *w, private_content *o) {
    if (!wire_reading(w) && o->content->select.n > 0)
        wire_rest(w, &o->content->select);
    else
        wire_framed_content_select(w, o->content);
    wire_framed_content_auth(w, o->auth);
    if (wire_reading(w))
        wire_rest(w, &o->padding);
}

err framing_sender_data_key(const suite *s, span sender_data_secret, span ciphertext, uint8_t key[AEAD_KEY_SIZE],
                            uint8_t nonce[AEAD_NONCE_SIZE]) {
    /* "the first KDF.Nh bytes of the ciphertext. If the ciphertext is shorter, all of it" */
    span sample = span_of(ciphertext.p, ciphertext.n < s->hash_size ? ciphertext.n : s->hash_size);
    const labelled_output outputs[] = {{"key", key, AEAD_KEY_SIZE}, {"nonce", nonce, AEAD_NONCE_SIZE}};
    return suite_expand_with_labels(s, sender_data_secret, sample, outputs, 2);
}

static void guarded_nonce(const uint8_t *nonce, const uint8_t guard[4], uint8_t out[AEAD_NONCE_SIZE]) {
    memcpy(out, nonce, AEAD_NONCE_SIZE);
    for (size_t i = 0; i < 4; i++)
        out[i] ^= guard[i];
}

/* Writes a visitor's bytes over memory that is already there. */
static err write_at(void *at, size_t n, wire_visitor *visit, void *object) {
    wire w;
    wire_write_init(&w, at, n);
    visit(&w, object);
    return wire_end(&w);
}

#define SENDER_DATA_SIZE 12

err framing_protect_private(const suite *s, span sender_data_secret, const secret_tree_step *step,
                            const framed_content *content, const framed_content_auth *auth, arena *a, span *message) {
    framed_content content_copy = *content;
    framed_content_auth auth_copy = *auth;
    private_content plain = {.content = &content_copy, .auth = &auth_copy};
    wire measure;
    wire_measure_init(&measure);
    wire_private_content(&measure, &plain);
    TRY(wire_end(&measure));
    size_t padded = framing_padded_size(measure.at);

    /* The whole message first, with room where the two ciphertexts stand; they are then made in place. */
    mls_message m = {.version = MLS_VERSION, .wire_format = FORMAT_PRIVATE_MESSAGE};
    private_message *p = &m.private_message;
    uint8_t room[SENDER_DATA_SIZE + AEAD_TAG_SIZE] = {0};
    p->group_id = content->group_id;
    p->epoch = content->epoch;
    p->content_type = content->type;
    p->authenticated_data = content->authenticated_data;
    p->encrypted_sender_data = SPAN(room);
    wire_measure_init(&measure);
    wire_mls_message(&measure, &m);
    size_t front = measure.at - 1; /* without the ciphertext's length, which was measured as one byte */
    TRY(wire_end(&measure));
    if (padded + AEAD_TAG_SIZE > WIRE_VECTOR_MAX)
        return ERR_TOO_LARGE;
    uint32_t ciphertext_size = (uint32_t)(padded + AEAD_TAG_SIZE);
    uint8_t *out = arena_take(a, front + 4 + ciphertext_size, 1);
    if (out == NULL)
        return ERR_ARENA;
    wire w;
    wire_write_init(&w, out, front + 4);
    wire_mls_message(&w, &m);
    w.at = front;
    wire_varint(&w, &ciphertext_size);
    TRY(wire_end(&w));
    uint8_t *ciphertext = out + w.at;
    *message = span_of(out, w.at + ciphertext_size);
    TRY(write_at(ciphertext, padded, (wire_visitor *)wire_private_content, &plain)); /* the arena was zero: padding */

    size_t mark = arena_mark(a);
    span aad;
    sender_data sent_by = {.leaf = step->leaf, .generation = step->generation};
    uint8_t nonce[AEAD_NONCE_SIZE], key[AEAD_KEY_SIZE];
    random_bytes(sent_by.reuse_guard, sizeof sent_by.reuse_guard);
    guarded_nonce(step->nonce, sent_by.reuse_guard, nonce);
    TRY(WIRE_ENCODE(a, wire_private_content_aad, p, &aad));
    TRY(suite_aead_seal(s, step->key, nonce, aad, span_of(ciphertext, padded), ciphertext));

    uint8_t *sealed = out + front - sizeof room;
    TRY(framing_sender_data_key(s, sender_data_secret, span_of(ciphertext, ciphertext_size), key, nonce));
    TRY(write_at(sealed, SENDER_DATA_SIZE, (wire_visitor *)wire_sender_data, &sent_by));
    TRY(WIRE_ENCODE(a, wire_sender_data_aad, p, &aad));
    err e = suite_aead_seal(s, key, nonce, aad, span_of(sealed, SENDER_DATA_SIZE), sealed);
    wipe(key, sizeof key);
    wipe(nonce, sizeof nonce);
    arena_release(a, mark);
    return e;
}

err framing_open_sender_data(const suite *s, span sender_data_secret, private_message *message, arena *a,
                             sender_data *out) {
    if (message->encrypted_sender_data.n != SENDER_DATA_SIZE + AEAD_TAG_SIZE)
        return ERR_DECRYPT;
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE], plain[SENDER_DATA_SIZE];
    size_t mark = arena_mark(a);
    span aad;
    err e = OK;
    TRY_OUT(framing_sender_data_key(s, sender_data_secret, message->ciphertext, key, nonce));
    TRY_OUT(WIRE_ENCODE(a, wire_sender_data_aad, message, &aad));
    TRY_OUT(suite_aead_open(s, key, nonce, aad, message->encrypted_sender_data, plain));
    TRY_OUT(WIRE_DECODE(SPAN(plain), a, wire_sender_data, out));
out:
    wipe(key, sizeof key);
    wipe(nonce, sizeof nonce);
    arena_release(a, mark);
    return e;
}

err framing_open_private(const suite *s, private_message *message, const sender_data *sent_by,
                         const secret_tree_step *step, arena *a, framed_content *content, framed_content_auth *auth) {
    if (message->ciphertext.n < AEAD_TAG_SIZE)
        return ERR_DECRYPT;
    size_t n = message->ciphertext.n - AEAD_TAG_SIZE;
    uint8_t *plain = arena_take(a, n, 1), nonce[AEAD_NONCE_SIZE];
    span aad;
    if (plain == NULL)
        return ERR_ARENA;
    TRY(WIRE_ENCODE(a, wire_private_content_aad, message, &aad));
    guarded_nonce(step->nonce, sent_by->reuse_guard, nonce);
    TRY(suite_aead_open(s, step->key, nonce, aad, message->ciphertext, plain));
    *content = (framed_content){
        .group_id = message->group_id,
        .epoch = message->epoch,
        .sender = {.type = SENDER_MEMBER, .leaf = sent_by->leaf},
        .authenticated_data = message->authenticated_data,
        .type = message->content_type,
    };
    *auth = (framed_content_auth){.content_type = message->content_type};
    private_content parts = {.content = content, .auth = auth};
    TRY(WIRE_DECODE(span_of(plain, n), a, wire_private_content, &parts));
    /* §6.3.1: "The padding field ... receivers MUST verify that it is all zero" */
    return secret_is_zero(parts.padding) ? OK : ERR_INVALID;
}
