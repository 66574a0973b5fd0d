/* core/client/roster.c: rosters that hold, and one test for every way in which one can fail to. */
#include "client/roster.h"

#include "crypto/suite.h"
#include "support/check.h"

#define NOW 1800000000u

static uint8_t memory[1 << 16];
static signature_key keys[5]; /* [0] the root's, [4] another clinic's root */

static const uint8_t *public_of(size_t i) { return signature_key_public(&keys[i]).p; }

static certificate cert(size_t issuer, size_t subject, uint8_t kind, uint8_t enrols) {
    certificate c = {
        .kind = kind, .enrols = enrols, .rights = RIGHT_MESSAGE, .not_before = NOW - 100, .not_after = NOW + 100};
    clinic_id_of(public_of(issuer == 4 ? 4 : 0), c.clinic_id);
    memcpy(c.subject_key, public_of(subject), 32);
    c.subject_id[0] = (uint8_t)subject;
    if (kind == CERTIFICATE_STAFF || kind == CERTIFICATE_INVITE)
        c.rights = 31;
    if (kind == CERTIFICATE_INVITE && enrols == CERTIFICATE_PATIENT)
        c.rights = RIGHT_MESSAGE;
    return c;
}

typedef struct fixture {
    certificate staff[1], agent[1], patient[3];
    roster_member members[2];
    roster_revocation revoked[1];
    roster roster;
} fixture;

static void issue(certificate *c, size_t by) { assert_ok(certificate_issue(c, &keys[by])); }

static void set_up(fixture *f) {
    *f = (fixture){0};
    f->staff[0] = cert(0, 1, CERTIFICATE_STAFF, 0);
    f->agent[0] = cert(0, 2, CERTIFICATE_AGENT, 0);
    issue(f->staff, 0);
    issue(f->agent, 0);
    f->members[0].chain = (certificate_chain){f->staff, 1};
    f->members[1].chain = (certificate_chain){f->agent, 1};
    device_id_of(public_of(1), f->members[0].device_id);
    device_id_of(public_of(2), f->members[1].device_id);
    f->revoked[0].at_ms = 5;
    f->roster = (roster){.number = 7, .issued_ms = NOW * 1000ull};
    f->roster.members.p = f->members;
    f->roster.members.n = 2;
    f->roster.revoked.p = f->revoked;
    f->roster.revoked.n = 1;
}

static err read_back(fixture *f, const signature_key *by, const uint8_t *root, roster *out) {
    arena a;
    span bytes;
    arena_over(&a, memory, sizeof memory);
    assert_ok(roster_issue(&f->roster, by, &a, &bytes));
    return roster_read(bytes, root, &a, out);
}

static void a_roster_holds(void **state) {
    fixture f;
    roster r;
    uint8_t clinic[ID_SIZE];
    set_up(&f);
    assert_ok(read_back(&f, &keys[0], public_of(0), &r));
    clinic_id_of(public_of(0), clinic);
    assert_memory_equal(r.clinic_id, clinic, ID_SIZE);
    assert_int_equal(r.version, ROSTER_VERSION);
    assert_int_equal(r.number, 7);
    assert_int_equal(r.issued_ms, NOW * 1000ull);
    assert_int_equal(r.members.n, 2);
    assert_memory_equal(r.members.p[1].device_id, f.members[1].device_id, ID_SIZE);
    assert_int_equal(certificate_chain_holder(&r.members.p[1].chain)->kind, CERTIFICATE_AGENT);
    assert_int_equal(r.revoked.n, 1);
    assert_int_equal(r.revoked.p[0].at_ms, 5);
}

static void an_empty_one_holds(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    f.roster.members.n = f.roster.revoked.n = 0;
    assert_ok(read_back(&f, &keys[0], public_of(0), &r));
    assert_int_equal(r.members.n, 0);
}

/* A member's certificate may have run out: who is revoked is said by name. */
static void history_needs_no_clock(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    f.staff[0].not_before = 1;
    f.staff[0].not_after = 2;
    issue(f.staff, 0);
    assert_ok(read_back(&f, &keys[0], public_of(0), &r));
}

static void another_root_is_refused(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    assert_err(read_back(&f, &keys[4], public_of(0), &r), ERR_CERTIFICATE); /* names its own clinic */
    set_up(&f);
    assert_err(read_back(&f, &keys[0], public_of(4), &r), ERR_CERTIFICATE);
}

/* Our clinic's name under another's signature, or a member's. */
static void another_signature_is_refused(void **state) {
    for (size_t by = 1; by < 5; by++) {
        fixture f;
        arena a;
        span bytes;
        roster r;
        uint8_t signed_part[4096] = "Sotto roster 1";
        set_up(&f);
        arena_over(&a, memory, sizeof memory);
        assert_ok(roster_issue(&f.roster, &keys[0], &a, &bytes));
        size_t n = bytes.n - ED25519_SIGNATURE_SIZE;
        memcpy(signed_part + 14, bytes.p, n);
        signature_sign(&keys[by], span_of(signed_part, 14 + n), (uint8_t *)(uintptr_t)bytes.p + n);
        assert_err(roster_read(bytes, public_of(0), &a, &r), ERR_SIGNATURE);
        /* The same by the root: so it is the key that was wrong, and the label that this test signs is right. */
        signature_sign(&keys[0], span_of(signed_part, 14 + n), (uint8_t *)(uintptr_t)bytes.p + n);
        assert_ok(roster_read(bytes, public_of(0), &a, &r));
        signature_sign(&keys[0], span_of(signed_part + 14, n), (uint8_t *)(uintptr_t)bytes.p + n);
        assert_err(roster_read(bytes, public_of(0), &a, &r), ERR_SIGNATURE);
    }
}

static void any_changed_bit_is_refused(void **state) {
    fixture f;
    arena a;
    span bytes;
    roster r;
    set_up(&f);
    arena_over(&a, memory, sizeof memory);
    assert_ok(roster_issue(&f.roster, &keys[0], &a, &bytes));
    uint8_t *b = (uint8_t *)(uintptr_t)bytes.p;
    size_t mark = arena_mark(&a);
    for (size_t i = 0; i < bytes.n; i++) {
        b[i] ^= (uint8_t)(1 << i % 8);
        if (roster_read(bytes, public_of(0), &a, &r) == OK)
            fail_msg("byte %zu may be changed", i);
        b[i] ^= (uint8_t)(1 << i % 8);
        arena_release(&a, mark);
    }
    assert_ok(roster_read(bytes, public_of(0), &a, &r));
}

static void cut_or_longer_is_refused(void **state) {
    fixture f;
    arena a;
    span bytes;
    roster r;
    uint8_t longer[4096];
    set_up(&f);
    arena_over(&a, memory, sizeof memory);
    assert_ok(roster_issue(&f.roster, &keys[0], &a, &bytes));
    size_t mark = arena_mark(&a);
    for (size_t n = 0; n < bytes.n; n++) {
        if (roster_read(span_of(bytes.p, n), public_of(0), &a, &r) == OK)
            fail_msg("%zu bytes of it are enough", n);
        arena_release(&a, mark);
    }
    memcpy(longer, bytes.p, bytes.n);
    longer[bytes.n] = 0;
    assert_err(roster_read(span_of(longer, bytes.n + 1), public_of(0), &a, &r), ERR_TRAILING);
    assert_err(roster_read(SPAN_NONE, public_of(0), &a, &r), ERR_TRUNCATED);
}

static void numbers_are_from_one(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    f.roster.number = 0;
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_INVALID);
    f.roster.number = (uint64_t)INT64_MAX + 1; /* SQLite's integers are signed */
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_INVALID);
    f.roster.number = UINT64_MAX;
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_INVALID);
    f.roster.number = INT64_MAX;
    assert_ok(read_back(&f, &keys[0], public_of(0), &r));
}

static void a_member_goes_by_its_own_name(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    memcpy(f.members[1].device_id, f.members[0].device_id, ID_SIZE);
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_CERTIFICATE);
}

static void a_member_has_a_chain_that_holds(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    f.members[1].chain.n = 0;
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_CERTIFICATE);
    set_up(&f);
    f.agent[0].rights ^= 1; /* signed before that */
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_SIGNATURE);
    set_up(&f);
    f.agent[0] = cert(4, 2, CERTIFICATE_AGENT, 0);
    issue(f.agent, 4);
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_CERTIFICATE);
}

static void patients_and_invites_are_no_members(void **state) {
    fixture f;
    roster r;
    set_up(&f);
    f.patient[0] = f.staff[0];
    f.patient[1] = cert(1, 2, CERTIFICATE_INVITE, CERTIFICATE_PATIENT);
    f.patient[2] = cert(2, 3, CERTIFICATE_PATIENT, 0);
    memcpy(f.patient[2].subject_id, f.patient[1].subject_id, ID_SIZE);
    issue(&f.patient[1], 1);
    issue(&f.patient[2], 2);
    f.members[1].chain = (certificate_chain){f.patient, 3};
    device_id_of(public_of(3), f.members[1].device_id);
    assert_ok(certificate_chain_check(&f.members[1].chain, public_of(0), 0)); /* nothing but its kind is wrong */
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_CERTIFICATE);
    f.members[1].chain.n = 2;
    device_id_of(public_of(2), f.members[1].device_id);
    assert_ok(certificate_chain_check(&f.members[1].chain, public_of(0), 0));
    assert_err(read_back(&f, &keys[0], public_of(0), &r), ERR_CERTIFICATE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_roster_holds),
        cmocka_unit_test(an_empty_one_holds),
        cmocka_unit_test(history_needs_no_clock),
        cmocka_unit_test(another_root_is_refused),
        cmocka_unit_test(another_signature_is_refused),
        cmocka_unit_test(any_changed_bit_is_refused),
        cmocka_unit_test(cut_or_longer_is_refused),
        cmocka_unit_test(numbers_are_from_one),
        cmocka_unit_test(a_member_goes_by_its_own_name),
        cmocka_unit_test(a_member_has_a_chain_that_holds),
        cmocka_unit_test(patients_and_invites_are_no_members),
    };
    crypto_init();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        signature_key_from_seed(seed, &keys[i]);
    }
    return cmocka_run_group_tests_name("client_roster", tests, NULL, NULL);
}
