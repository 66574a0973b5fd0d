#include "client/invite.h"

#include "base/text.h"
#include "client/builder.h"
#include "crypto/random.h"
#include "crypto/seal.h"

#define INVITATION_VERSION 1

static void link_checksum(const invite_link *link, uint8_t out[INVITE_CHECKSUM_SIZE]) {
    uint8_t hash[32], both[INVITE_SEED_SIZE + FINGERPRINT_SIZE];
    memcpy(both, link->seed, INVITE_SEED_SIZE);
    memcpy(both + INVITE_SEED_SIZE, link->fingerprint, FINGERPRINT_SIZE);
    sha256(SPAN(both), hash);
    memcpy(out, hash, INVITE_CHECKSUM_SIZE);
    wipe(both, sizeof both);
}

/* One part and what stands after it: a dot, or the end. Its length is known, so the secret's characters are not searched. */
static err next_part(span *rest, uint8_t *out, size_t size, bool last) {
    size_t n = BASE64URL_SIZE(size), whole = last ? n : n + 1;
    if (rest->n < whole || (!last && rest->p[n] != '.'))
        return ERR_MALFORMED;
    TRY(base64url_read(out, size, span_of(rest->p, n)));
    *rest = span_of(rest->p + whole, rest->n - whole);
    return OK;
}

err invite_link_read(span fragment, invite_link *link) {
    uint8_t given[INVITE_CHECKSUM_SIZE], right[INVITE_CHECKSUM_SIZE];
    if (fragment.n && fragment.p[0] == '#')
        fragment = span_of(fragment.p + 1, fragment.n - 1);
    if (fragment.n < 2 || memcmp(fragment.p, "i=", 2) != 0)
        return ERR_MALFORMED;
    span rest = span_of(fragment.p + 2, fragment.n - 2);
    TRY(next_part(&rest, link->seed, INVITE_SEED_SIZE, false));
    TRY(next_part(&rest, link->fingerprint, FINGERPRINT_SIZE, false));
    TRY(next_part(&rest, given, sizeof given, true));
    if (rest.n != 0)
        return ERR_MALFORMED;
    link_checksum(link, right);
    return secret_equal(SPAN(given), SPAN(right)) ? OK : ERR_MALFORMED;
}

err invite_link_write(const invite_link *link, span origin, bool staff, arena *a, span *text) {
    builder b;
    uint8_t checksum[INVITE_CHECKSUM_SIZE];
    link_checksum(link, checksum);
    builder_init(&b, a, origin.n + 120);
    builder_bytes(&b, origin);
    builder_text(&b, staff ? "/staff/#i=" : "/#i=");
    builder_base64url(&b, SPAN(link->seed));
    builder_text(&b, ".");
    builder_base64url(&b, SPAN(link->fingerprint));
    builder_text(&b, ".");
    builder_base64url(&b, SPAN(checksum));
    return builder_end(&b, text);
}

void invite_keys_derive(const uint8_t seed[INVITE_SEED_SIZE], invite_keys *keys) {
    uint8_t signing[ED25519_SEED_SIZE];
    span ikm = span_of(seed, INVITE_SEED_SIZE);
    derive_key(ikm, "Sotto invite key 1", signing, sizeof signing);
    derive_key(ikm, "Sotto invite seal 1", keys->seal_key, sizeof keys->seal_key);
    derive_key(ikm, "Sotto invite salt 1", keys->salt, sizeof keys->salt);
    signature_key_from_seed(signing, &keys->key);
    wipe(signing, sizeof signing);
}

static void wire_sealed_invitation(wire *w, sealed_invitation *o) {
    wire_u16(w, &o->version);
    if (wire_reading(w) && o->version != INVITATION_VERSION)
        wire_fail(w, ERR_UNSUPPORTED);
    wire_fixed(w, o->root_key, sizeof o->root_key);
    wire_opaque(w, &o->clinic_name);
    wire_opaque(w, &o->inviter);
    wire_opaque(w, &o->greeting);
    wire_opaque(w, &o->invitee);
    wire_certificate_chain(w, &o->chain);
}

static const char seal_aad[] = "Sotto invitation 1";

err invitation_seal(const invite_keys *keys, const sealed_invitation *invitation, arena *a, span *sealed) {
    sealed_invitation copy = *invitation;
    span plain;
    copy.version = INVITATION_VERSION;
    TRY(WIRE_ENCODE(a, wire_sealed_invitation, &copy, &plain));
    uint8_t *out = arena_take(a, plain.n + SEAL_OVERHEAD, 1);
    if (!out)
        return ERR_ARENA;
    seal(keys->seal_key, span_text(seal_aad), plain, out);
    *sealed = span_of(out, plain.n + SEAL_OVERHEAD);
    return OK;
}

err invitation_unseal(const invite_keys *keys, const invite_link *link, span sealed, uint64_t now_seconds, arena *a,
                      sealed_invitation *out) {
    uint8_t fingerprint[FINGERPRINT_SIZE];
    if (sealed.n < SEAL_OVERHEAD)
        return ERR_TRUNCATED;
    size_t n = sealed.n - SEAL_OVERHEAD;
    uint8_t *plain = arena_take(a, n ? n : 1, 1);
    if (!plain)
        return ERR_ARENA;
    TRY(unseal(keys->seal_key, span_text(seal_aad), sealed, plain));
    TRY(WIRE_DECODE(span_of(plain, n), a, wire_sealed_invitation, out));
    if (out->clinic_name.n > NAME_MAX_BYTES || out->inviter.n > NAME_MAX_BYTES || out->greeting.n > TEXT_MAX ||
        out->invitee.n > NAME_MAX_BYTES || !utf8_valid(out->invitee) || !utf8_valid(out->clinic_name) ||
        !utf8_valid(out->inviter) || !utf8_valid(out->greeting))
        return ERR_INVALID;
    sha256(SPAN(out->root_key), fingerprint);
    if (memcmp(fingerprint, link->fingerprint, sizeof fingerprint) != 0)
        return ERR_CERTIFICATE;
    TRY(certificate_chain_check(&out->chain, out->root_key, now_seconds));
    const certificate *holder = certificate_chain_holder(&out->chain);
    if (holder->kind != CERTIFICATE_INVITE || !span_equal(SPAN(holder->subject_key), signature_key_public(&keys->key)))
        return ERR_CERTIFICATE;
    return OK;
}

/* ---- factors */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static uint8_t upper(uint8_t c) { return c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c; }
static bool is_letter(uint8_t c) { return upper(c) >= 'A' && upper(c) <= 'Z'; }

/* 1 to 12 for an English month name or its first three letters, else 0. */
static unsigned month_of(span word) {
    static const char names[12][10] = {"JANUARY", "FEBRUARY", "MARCH",     "APRIL",   "MAY",      "JUNE",
                                       "JULY",    "AUGUST",   "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"};
    for (unsigned m = 0; m < 12; m++) {
        size_t i = 0;
        while (i < word.n && names[m][i] && upper(word.p[i]) == (uint8_t)names[m][i])
            i++;
        if (i == word.n && i >= 3)
            return m + 1;
    }
    return 0;
}

static bool date_valid(unsigned year, unsigned month, unsigned day) {
    static const uint8_t days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return year >= 1850 && year <= 2200 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] &&
           (month != 2 || day < 29 || leap);
}

static void put_digits(uint8_t *out, unsigned value, int digits) {
    for (int i = digits; i-- > 0; value /= 10)
        out[i] = (uint8_t)('0' + value % 10);
}

/* What a person typed as a date: numbers and at most one month's name, in the order in which they stand. */
typedef struct date_parts {
    unsigned number[3];
    size_t digits[3], count;
    unsigned month; /* by name; 0: none */
} date_parts;

static err date_split(span text, date_parts *d) {
    *d = (date_parts){0};
    for (size_t i = 0; i < text.n;) {
        size_t from = i;
        if (is_digit(text.p[i])) {
            unsigned value = 0;
            for (; i < text.n && is_digit(text.p[i]); i++)
                value = i - from < 8 ? value * 10 + (text.p[i] - '0') : value;
            if (d->count == 3 || i - from > 8)
                return ERR_MALFORMED;
            d->number[d->count] = value;
            d->digits[d->count++] = i - from;
        } else if (is_letter(text.p[i])) {
            while (i < text.n && is_letter(text.p[i]))
                i++;
            if (d->month)
                return ERR_MALFORMED;
            d->month = month_of(span_of(text.p + from, i - from));
            if (!d->month)
                return ERR_MALFORMED;
        } else if (memchr(" /.-,", text.p[i], 5)) {
            i++;
        } else {
            return ERR_MALFORMED;
        }
    }
    return OK;
}

static err birth_date(span text, uint8_t *out, size_t *n) {
    date_parts d;
    unsigned year, month, day;
    TRY(date_split(text, &d));
    if (d.count == 1 && d.digits[0] == 8 && !d.month) { /* MMDDYYYY, or YYYYMMDD */
        unsigned v = d.number[0];
        year = v % 10000, month = v / 1000000, day = v / 10000 % 100;
        if (!date_valid(year, month, day))
            year = v / 10000, month = v / 100 % 100, day = v % 100;
    } else if (d.count == 2 && d.month) { /* April 12, 1956 or 12 April 1956 */
        month = d.month, day = d.number[0], year = d.number[1];
    } else if (d.count == 3 && !d.month && d.digits[0] == 4) { /* 1956-04-12 */
        year = d.number[0], month = d.number[1], day = d.number[2];
    } else if (d.count == 3 && !d.month) { /* 04/12/1956; 23.04.1956 can only have the day first */
        month = d.number[0], day = d.number[1], year = d.number[2];
        if (month > 12)
            month = d.number[1], day = d.number[0];
    } else {
        return ERR_MALFORMED;
    }
    if (!date_valid(year, month, day))
        return ERR_MALFORMED;
    put_digits(out, year, 4);
    out[4] = '-';
    put_digits(out + 5, month, 2);
    out[7] = '-';
    put_digits(out + 8, day, 2);
    *n = 10;
    return OK;
}

static err code(span text, uint8_t *out, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = upper(text.p[i]);
        if (is_digit(c) || is_letter(c)) {
            if (*n == INVITE_FACTOR_MAX)
                return ERR_MALFORMED;
            out[(*n)++] = c;
        } else if (c != ' ' && c != '-') {
            return ERR_MALFORMED;
        }
    }
    return *n ? OK : ERR_MALFORMED;
}

err invite_factor(uint8_t level, span text, uint8_t *out, size_t *n) {
    *n = 0;
    switch (level) {
    case CHECK_LINK: return OK;
    case CHECK_BIRTH_DATE: return birth_date(text, out, n);
    case CHECK_CODE: return code(text, out, n);
    default: return ERR_UNSUPPORTED;
    }
}

err invite_check(const invite_keys *keys, span factor, uint8_t out[INVITE_CHECK_SIZE]) {
    return stretch(factor, keys->salt, STRETCH_COST, out, INVITE_CHECK_SIZE);
}

void invite_code(char out[INVITE_CODE_DIGITS]) {
    for (int i = 0; i < INVITE_CODE_DIGITS;) {
        uint8_t byte;
        random_bytes(&byte, 1);
        if (byte < 250) /* so that every digit is equally likely */
            out[i++] = (char)('0' + byte % 10);
    }
}
