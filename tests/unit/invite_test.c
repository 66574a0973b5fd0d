/* core/client/invite.c: links, what they open, and how a birth date or code is brought to its one form. */
#include "client/invite.h"
#include "crypto/random.h"
#include "support/check.h"
#include "support/host.h"

static uint8_t memory[64 * 1024];
static arena scratch;

static int setup(void **state) {
    arena_over(&scratch, memory, sizeof memory);
    return 0;
}

static void a_link_is_read_as_it_was_written(void **state) {
    invite_link link, again;
    span text;
    random_bytes(&link, sizeof link);
    assert_ok(invite_link_write(&link, span_text("https://chat.example"), false, &scratch, &text));
    assert_memory_equal(text.p, "https://chat.example/#i=", 24);
    assert_ok(invite_link_read(span_of(text.p + 21, text.n - 21), &again));
    assert_memory_equal(&link, &again, sizeof link);
    assert_ok(invite_link_read(span_of(text.p + 22, text.n - 22), &again)); /* without the # */
    assert_ok(invite_link_write(&link, span_text("https://chat.example"), true, &scratch, &text));
    assert_memory_equal(text.p, "https://chat.example/staff/#i=", 30);
}

static void a_link_cut_or_altered_anywhere_is_damaged(void **state) {
    invite_link link, again;
    span text;
    memset(&link, 7, sizeof link);
    assert_ok(invite_link_write(&link, SPAN_NONE, false, &scratch, &text));
    uint8_t copy[200];
    size_t n = text.n - 2; /* from "i=" on */
    for (size_t cut = 0; cut < n; cut++)
        assert_err(invite_link_read(span_of(text.p + 2, cut), &again), ERR_MALFORMED);
    for (size_t i = 0; i < n; i++) {
        memcpy(copy, text.p + 2, n);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        assert_err(invite_link_read(span_of(copy, n), &again), ERR_MALFORMED);
    }
    memcpy(copy, text.p + 2, n);
    copy[n] = '.';
    assert_err(invite_link_read(span_of(copy, n + 1), &again), ERR_MALFORMED);
}

static void dates_come_to_one_form(void **state) {
    static const char *const same[] = {"1956-04-12",  "04/12/1956",  "4/12/1956", " 04-12-1956 ",
                                       "04.12.1956",  "04121956",    "19560412",  "April 12, 1956",
                                       "12 Apr 1956", "apr 12 1956", "1956/4/12", "12 april, 1956"};
    uint8_t out[INVITE_FACTOR_MAX];
    size_t n;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_ok(invite_factor(CHECK_BIRTH_DATE, span_text(same[i]), out, &n));
        assert_span(span_of(out, n), span_text("1956-04-12"));
    }
    assert_ok(invite_factor(CHECK_BIRTH_DATE, span_text("23.04.1956"), out, &n));
    assert_span(span_of(out, n), span_text("1956-04-23"));
    assert_ok(invite_factor(CHECK_BIRTH_DATE, span_text("2/29/2000"), out, &n));
}

static void what_is_no_date_is_refused(void **state) {
    static const char *const wrong[] = {"",
                                        "hello",
                                        "1956",
                                        "13/13/1956",
                                        "2/29/1900",
                                        "0/1/1956",
                                        "1956-04-31",
                                        "04/12/56",
                                        "1/2/3/4",
                                        "Aprilish 12 1956",
                                        "12 April May 1956",
                                        "04\\12\\1956",
                                        "123456789",
                                        "99999999999999999999",
                                        "1956-4-12;"};
    uint8_t out[INVITE_FACTOR_MAX];
    size_t n;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_err(invite_factor(CHECK_BIRTH_DATE, span_text(wrong[i]), out, &n), ERR_MALFORMED);
}

static void codes_lose_spaces_and_case(void **state) {
    uint8_t out[INVITE_FACTOR_MAX];
    size_t n;
    assert_ok(invite_factor(CHECK_CODE, span_text(" 12-34 ab"), out, &n));
    assert_span(span_of(out, n), span_text("1234AB"));
    assert_err(invite_factor(CHECK_CODE, span_text("  "), out, &n), ERR_MALFORMED);
    assert_err(invite_factor(CHECK_CODE, span_text("12_34"), out, &n), ERR_MALFORMED);
    char made[INVITE_CODE_DIGITS];
    invite_code(made);
    for (size_t i = 0; i < sizeof made; i++)
        assert_in_range(made[i], '0', '9');
}

static void the_check_depends_on_seed_and_factor(void **state) {
    uint8_t seed[INVITE_SEED_SIZE] = {1}, a[INVITE_CHECK_SIZE], b[INVITE_CHECK_SIZE];
    invite_keys keys;
    invite_keys_derive(seed, &keys);
    assert_ok(invite_check(&keys, span_text("1956-04-12"), a));
    assert_ok(invite_check(&keys, span_text("1956-04-12"), b));
    assert_memory_equal(a, b, sizeof a);
    assert_ok(invite_check(&keys, span_text("1956-04-13"), b));
    assert_memory_not_equal(a, b, sizeof a);
    seed[0] = 2;
    invite_keys_derive(seed, &keys);
    assert_ok(invite_check(&keys, span_text("1956-04-12"), b));
    assert_memory_not_equal(a, b, sizeof a);
}

/* A clinic with one staff device and an invite, as the sealed invitation shows them. */
typedef struct clinic {
    signature_key root, staff;
    invite_link link;
    invite_keys keys;
    certificate chain[2];
    sealed_invitation invitation;
} clinic;

#define NOW 1790000000ull

static void clinic_make(clinic *c, uint8_t which) {
    uint8_t seed[32];
    memset(c, 0, sizeof *c);
    memset(seed, which, sizeof seed);
    signature_key_from_seed(seed, &c->root);
    seed[0]++;
    signature_key_from_seed(seed, &c->staff);
    memset(c->link.seed, which + 100, sizeof c->link.seed);
    sha256(signature_key_public(&c->root), c->link.fingerprint);
    invite_keys_derive(c->link.seed, &c->keys);
    c->chain[0] = (certificate){.kind = CERTIFICATE_STAFF,
                                .rights = RIGHT_MESSAGE | RIGHT_INVITE_PATIENT,
                                .not_before = NOW - 10,
                                .not_after = NOW + 1000};
    clinic_id_of(signature_key_public(&c->root).p, c->chain[0].clinic_id);
    memcpy(c->chain[0].subject_key, signature_key_public(&c->staff).p, 32);
    assert_ok(certificate_issue(&c->chain[0], &c->root));
    c->chain[1] = (certificate){.kind = CERTIFICATE_INVITE,
                                .enrols = CERTIFICATE_PATIENT,
                                .level = CHECK_BIRTH_DATE,
                                .rights = RIGHT_MESSAGE,
                                .not_before = NOW - 5,
                                .not_after = NOW + 100};
    memcpy(c->chain[1].clinic_id, c->chain[0].clinic_id, ID_SIZE);
    memcpy(c->chain[1].subject_key, signature_key_public(&c->keys.key).p, 32);
    assert_ok(certificate_issue(&c->chain[1], &c->staff));
    c->invitation =
        (sealed_invitation){.clinic_name = span_text("Sunrise"), .inviter = span_text("Ann"), .chain = {c->chain, 2}};
    memcpy(c->invitation.root_key, signature_key_public(&c->root).p, 32);
}

static void an_invitation_opens_with_its_link(void **state) {
    clinic c;
    span sealed;
    sealed_invitation out;
    clinic_make(&c, 1);
    assert_ok(invitation_seal(&c.keys, &c.invitation, &scratch, &sealed));
    assert_ok(invitation_unseal(&c.keys, &c.link, sealed, NOW, &scratch, &out));
    assert_span(out.clinic_name, span_text("Sunrise"));
    assert_err(invitation_unseal(&c.keys, &c.link, sealed, NOW + 500, &scratch, &out), ERR_EXPIRED);
    for (size_t i = 0; i < sealed.n; i += 7) {
        uint8_t *copy = arena_take(&scratch, sealed.n, 1);
        memcpy(copy, sealed.p, sealed.n);
        copy[i] ^= 1;
        assert_err(invitation_unseal(&c.keys, &c.link, span_of(copy, sealed.n), NOW, &scratch, &out), ERR_DECRYPT);
    }
    assert_err(invitation_unseal(&c.keys, &c.link, span_of(sealed.p, 10), NOW, &scratch, &out), ERR_TRUNCATED);
}

static void another_clinics_invitation_is_refused(void **state) {
    clinic ours, theirs;
    span sealed;
    sealed_invitation out;
    clinic_make(&ours, 1);
    clinic_make(&theirs, 2);
    /* Somebody who knows the seed but not the root key seals an invitation of his own clinic under it. */
    assert_ok(invitation_seal(&ours.keys, &theirs.invitation, &scratch, &sealed));
    assert_err(invitation_unseal(&ours.keys, &ours.link, sealed, NOW, &scratch, &out), ERR_CERTIFICATE);
    /* With our root key named, but a chain that does not hang by it. */
    memcpy(theirs.invitation.root_key, ours.invitation.root_key, 32);
    assert_ok(invitation_seal(&ours.keys, &theirs.invitation, &scratch, &sealed));
    assert_int_not_equal(invitation_unseal(&ours.keys, &ours.link, sealed, NOW, &scratch, &out), OK);
    /* Our own chain, but for another invite's key. */
    clinic other;
    clinic_make(&other, 1);
    other.link.seed[0] ^= 1;
    invite_keys_derive(other.link.seed, &other.keys);
    assert_ok(invitation_seal(&other.keys, &ours.invitation, &scratch, &sealed));
    assert_err(invitation_unseal(&other.keys, &other.link, sealed, NOW, &scratch, &out), ERR_CERTIFICATE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_link_is_read_as_it_was_written, setup),
        cmocka_unit_test_setup(a_link_cut_or_altered_anywhere_is_damaged, setup),
        cmocka_unit_test_setup(dates_come_to_one_form, setup),
        cmocka_unit_test_setup(what_is_no_date_is_refused, setup),
        cmocka_unit_test_setup(codes_lose_spaces_and_case, setup),
        cmocka_unit_test_setup(the_check_depends_on_seed_and_factor, setup),
        cmocka_unit_test_setup(an_invitation_opens_with_its_link, setup),
        cmocka_unit_test_setup(another_clinics_invitation_is_refused, setup),
    };
    return cmocka_run_group_tests_name("invite", tests, NULL, NULL);
}
