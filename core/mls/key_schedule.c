#include "mls/key_schedule.h"

static const uint8_t zeros[SECRET_MAX];

err key_schedule_joiner(const suite *s, span init_secret, span commit_secret, span context, secret *joiner) {
    secret extracted;
    suite_extract(s, init_secret, commit_secret, &extracted);
    joiner->n = s->hash_size;
    err e = suite_expand_with_label(s, secret_span(&extracted), "joiner", context, joiner->b, joiner->n);
    secret_wipe(&extracted);
    return e;
}

/* What stands between joiner_secret and both welcome_secret and epoch_secret. */
static void member_secret(const suite *s, span joiner, span psk, secret *member) {
    suite_extract(s, joiner, psk, member);
}

err key_schedule_welcome(const suite *s, span joiner, span psk, secret *welcome_secret) {
    secret member;
    member_secret(s, joiner, psk, &member);
    err e = suite_derive_secret(s, secret_span(&member), "welcome", welcome_secret);
    secret_wipe(&member);
    return e;
}

err key_schedule_epoch(const suite *s, span joiner, span psk, span context, secret *welcome_secret,
                       epoch_secrets *epoch) {
    err e = OK;
    secret member, epoch_secret = {.n = s->hash_size};
    member_secret(s, joiner, psk, &member);
    if (welcome_secret != NULL)
        TRY_OUT(suite_derive_secret(s, secret_span(&member), "welcome", welcome_secret));
    TRY_OUT(suite_expand_with_label(s, secret_span(&member), "epoch", context, epoch_secret.b, epoch_secret.n));

    const struct {
        const char *label;
        secret *out;
    } derived[] = {
        {"sender data", &epoch->sender_data},
        {"encryption", &epoch->encryption},
        {"exporter", &epoch->exporter},
        {"external", &epoch->external},
        {"confirm", &epoch->confirmation_key},
        {"membership", &epoch->membership_key},
        {"resumption", &epoch->resumption_psk},
        {"authentication", &epoch->epoch_authenticator},
        {"init", &epoch->init},
    };
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++)
        TRY_OUT(suite_derive_secret(s, secret_span(&epoch_secret), derived[i].label, derived[i].out));
out:
    secret_wipe(&member);
    secret_wipe(&epoch_secret);
    return e;
}

err key_schedule_welcome_key(const suite *s, span welcome_secret, uint8_t key[AEAD_KEY_SIZE],
                             uint8_t nonce[AEAD_NONCE_SIZE]) {
    TRY(suite_expand_with_label(s, welcome_secret, "key", SPAN_NONE, key, AEAD_KEY_SIZE));
    return suite_expand_with_label(s, welcome_secret, "nonce", SPAN_NONE, nonce, AEAD_NONCE_SIZE);
}

err key_schedule_psk(const suite *s, const psk_id *ids, const span *values, size_t count, arena *a, secret *psk) {
    err e = OK;
    secret extracted = {0}, input = {.n = s->hash_size};
    secret_set(psk, span_of(zeros, s->hash_size));
    if (count > UINT16_MAX) /* PSKLabel.count is a uint16 */
        return ERR_LIMIT;
    for (size_t i = 0; i < count; i++) {
        psk_label label = {.id = ids[i], .index = (uint16_t)i, .count = (uint16_t)count};
        span context;
        TRY_OUT(WIRE_ENCODE(a, wire_psk_label, &label, &context));
        suite_extract(s, span_of(zeros, s->hash_size), values[i], &extracted);
        TRY_OUT(suite_expand_with_label(s, secret_span(&extracted), "derived psk", context, input.b, input.n));
        secret before = *psk;
        suite_extract(s, secret_span(&input), secret_span(&before), psk);
        secret_wipe(&before);
    }
out:
    secret_wipe(&extracted);
    secret_wipe(&input);
    return e;
}

err key_schedule_export(const suite *s, span exporter, const char *label, span context, uint8_t *out, size_t n) {
    secret derived;
    TRY(suite_derive_secret(s, exporter, label, &derived));
    uint8_t hash[HASH_MAX];
    suite_hash(s, context, hash);
    err e = suite_expand_with_label(s, secret_span(&derived), "exported", span_of(hash, s->hash_size), out, n);
    secret_wipe(&derived);
    return e;
}

err key_schedule_external(const suite *s, span external_secret, kem_key_pair *pair) {
    return suite_derive_key_pair(s, external_secret, pair);
}

/* The length prefix of an opaque<V> as bytes of its own, for hashing without joining. */
static err vector_prefix(size_t n, uint8_t prefix[4], span *out) {
    if (n > WIRE_VECTOR_MAX)
        return ERR_TOO_LARGE;
    wire w;
    uint32_t v = (uint32_t)n;
    wire_write_init(&w, prefix, 4);
    wire_varint(&w, &v);
    *out = span_of(prefix, w.at);
    return wire_end(&w);
}

err transcript_confirmed(const suite *s, span interim_before, span format_and_content, span signature, uint8_t *out) {
    uint8_t prefix[4];
    span length;
    TRY(vector_prefix(signature.n, prefix, &length));
    span parts[] = {interim_before, format_and_content, length, signature};
    suite_hash_parts(s, parts, sizeof parts / sizeof *parts, out);
    return OK;
}

err transcript_interim(const suite *s, span confirmed, span confirmation_tag, uint8_t *out) {
    uint8_t prefix[4];
    span length;
    TRY(vector_prefix(confirmation_tag.n, prefix, &length));
    span parts[] = {confirmed, length, confirmation_tag};
    suite_hash_parts(s, parts, sizeof parts / sizeof *parts, out);
    return OK;
}

void confirmation_tag_make(const suite *s, span confirmation_key, span confirmed, uint8_t *tag) {
    suite_mac(s, confirmation_key, confirmed, tag);
}

err confirmation_tag_check(const suite *s, span confirmation_key, span confirmed, span tag) {
    uint8_t expected[HASH_MAX];
    confirmation_tag_make(s, confirmation_key, confirmed, expected);
    return secret_equal(span_of(expected, s->hash_size), tag) ? OK : ERR_CONFIRMATION;
}
