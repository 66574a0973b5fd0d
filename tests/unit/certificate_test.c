/* core/client/certificate.c: chains that hold, and one test for every way in which one can fail to. */
#include "client/certificate.h"
#include "support/check.h"

#define NOW 1800000000u

static uint8_t memory[65536];
static signature_key keys[CHAIN_MAX + 2]; /* [0] the root's */

static void make_keys(void) {
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        signature_key_from_seed(seed, &keys[i]);
    }
}

static const uint8_t *public_of(size_t i) { return signature_key_public(&keys[i]).p; }

/* The certificate of keys[i + 1] by keys[i]. */
static certificate cert(size_t i, uint8_t kind, uint8_t enrols, uint8_t level, uint8_t subject, uint32_t rights) {
    certificate c = {.kind = kind,
                     .enrols = enrols,
                     .level = level,
                     .rights = rights,
                     .not_before = NOW - 100,
                     .not_after = NOW + 100};
    clinic_id_of(public_of(0), c.clinic_id);
    memcpy(c.subject_key, public_of(i + 1), 32);
    c.subject_id[0] = subject;
    return c;
}

#define ALL 31u
/* root, staff, invite, staff, invite, patient */
static certificate_chain usual(certificate list[CHAIN_MAX + 1]) {
    list[0] = cert(0, CERTIFICATE_STAFF, 0, 0, 1, ALL);
    list[1] = cert(1, CERTIFICATE_INVITE, CERTIFICATE_STAFF, CHECK_CODE, 2, ALL);
    list[2] = cert(2, CERTIFICATE_STAFF, 0, CHECK_CODE, 2, ALL);
    list[3] = cert(3, CERTIFICATE_INVITE, CERTIFICATE_PATIENT, CHECK_BIRTH_DATE, 3, RIGHT_MESSAGE);
    list[4] = cert(4, CERTIFICATE_PATIENT, 0, CHECK_BIRTH_DATE, 3, RIGHT_MESSAGE);
    return (certificate_chain){list, 5};
}

static void sign_all(certificate_chain chain) {
    for (size_t i = 0; i < chain.n; i++)
        assert_ok(certificate_issue(&chain.p[i], &keys[i]));
}

static void a_chain_holds(void **state) {
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list);
    sign_all(chain);
    assert_ok(certificate_chain_check(&chain, public_of(0), NOW));
    for (chain.n = 1; chain.n < 5; chain.n++)
        assert_ok(certificate_chain_check(&chain, public_of(0), NOW));
    assert_ptr_equal(certificate_chain_holder(&chain), &list[4]);
}

static void its_bytes_come_back_the_same(void **state) {
    arena a;
    span bytes, again;
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list), read = {0};
    sign_all(chain);
    arena_over(&a, memory, sizeof memory);
    assert_ok(WIRE_ENCODE(&a, wire_certificate_chain, &chain, &bytes));
    assert_int_equal(bytes.n, 2 + 5 * 185);
    assert_ok(WIRE_DECODE(bytes, &a, wire_certificate_chain, &read));
    assert_int_equal(read.n, 5);
    assert_ok(certificate_chain_check(&read, public_of(0), NOW));
    assert_ok(WIRE_ENCODE(&a, wire_certificate_chain, &read, &again));
    assert_span(again, bytes);
    assert_err(WIRE_DECODE(span_of(bytes.p, bytes.n - 1), &a, wire_certificate_chain, &read), ERR_TRUNCATED);
}

static void any_changed_bit_is_refused(void **state) {
    arena a;
    span bytes;
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list);
    sign_all(chain);
    arena_over(&a, memory, sizeof memory);
    assert_ok(WIRE_ENCODE(&a, wire_certificate_chain, &chain, &bytes));
    uint8_t *b = (uint8_t *)(uintptr_t)bytes.p;
    size_t mark = arena_mark(&a);
    for (size_t i = 0; i < bytes.n; i++) {
        certificate_chain read = {0};
        b[i] ^= (uint8_t)(1 << i % 8);
        err e = WIRE_DECODE(bytes, &a, wire_certificate_chain, &read);
        if (e == OK)
            e = certificate_chain_check(&read, public_of(0), NOW);
        if (e == OK)
            fail_msg("byte %zu may be changed", i);
        b[i] ^= (uint8_t)(1 << i % 8);
        arena_release(&a, mark);
    }
}

/* Each changes one thing before all is signed, so that nothing but the rule can refuse it. */
typedef void change(certificate *list, size_t *n);
static void no_certificate(certificate *l, size_t *n) { *n = 0; }
static void other_clinic(certificate *l, size_t *n) { l[2].clinic_id[0] ^= 1; }
static void root_issues_invite(certificate *l, size_t *n) {
    l[0] = cert(0, CERTIFICATE_INVITE, CERTIFICATE_PATIENT, 0, 1, ALL), *n = 1;
}
static void root_issues_patient(certificate *l, size_t *n) {
    l[0] = cert(0, CERTIFICATE_PATIENT, 0, 0, 1, RIGHT_MESSAGE), *n = 1;
}
static void staff_issues_staff(certificate *l, size_t *n) { l[1] = cert(1, CERTIFICATE_STAFF, 0, 0, 2, ALL), *n = 2; }
static void staff_issues_patient(certificate *l, size_t *n) {
    l[1] = cert(1, CERTIFICATE_PATIENT, 0, 0, 2, RIGHT_MESSAGE), *n = 2;
}
static void patient_issues_invite(certificate *l, size_t *n) {
    l[5] = cert(5, CERTIFICATE_INVITE, CERTIFICATE_PATIENT, 0, 9, RIGHT_MESSAGE), *n = 6;
}
static void invite_issues_invite(certificate *l, size_t *n) {
    l[4] = cert(4, CERTIFICATE_INVITE, CERTIFICATE_PATIENT, CHECK_BIRTH_DATE, 3, RIGHT_MESSAGE);
}
static void other_kind_than_invited(certificate *l, size_t *n) { l[2].kind = CERTIFICATE_AGENT; }
static void other_subject(certificate *l, size_t *n) { l[4].subject_id[5] = 1; }
static void higher_level(certificate *l, size_t *n) { l[4].level = CHECK_DESK; }
static void lower_level(certificate *l, size_t *n) { l[4].level = CHECK_LINK; }
static void more_rights_than_invited(certificate *l, size_t *n) { l[1].rights = ALL & ~(uint32_t)RIGHT_AUDIT; }
static void more_rights_than_inviter(certificate *l, size_t *n) { l[0].rights = ALL & ~(uint32_t)RIGHT_AUDIT; }
static void patient_with_more_rights(certificate *l, size_t *n) {
    l[3].rights = l[4].rights = RIGHT_MESSAGE | RIGHT_ROSTER;
}
static void no_right_to_invite_patients(certificate *l, size_t *n) {
    l[2].rights = ALL & ~(uint32_t)RIGHT_INVITE_PATIENT;
}
static void no_right_to_invite_staff(certificate *l, size_t *n) {
    l[0].rights = l[1].rights = l[2].rights = ALL & ~(uint32_t)RIGHT_INVITE_STAFF;
}
static void unknown_kind(certificate *l, size_t *n) { l[0].kind = 5, *n = 1; }
static void kind_zero(certificate *l, size_t *n) { l[0].kind = 0, *n = 1; }
static void unknown_level(certificate *l, size_t *n) { l[0].level = 4, *n = 1; }
static void staff_that_enrols(certificate *l, size_t *n) { l[0].enrols = CERTIFICATE_PATIENT, *n = 1; }
static void invite_for_nobody(certificate *l, size_t *n) { l[1].enrols = 0, *n = 2; }
static void invite_for_invites(certificate *l, size_t *n) { l[1].enrols = CERTIFICATE_INVITE, *n = 2; }
static void ends_before_it_begins(certificate *l, size_t *n) { l[0].not_after = l[0].not_before - 1, *n = 1; }
static void too_long(certificate *l, size_t *n) {
    for (size_t i = 3; i < CHAIN_MAX + 1; i++)
        l[i] = i % 2 ? cert(i, CERTIFICATE_INVITE, CERTIFICATE_STAFF, CHECK_CODE, 2, ALL)
                     : cert(i, CERTIFICATE_STAFF, 0, CHECK_CODE, 2, ALL);
    *n = CHAIN_MAX + 1;
}
static void begins_before_its_issuer(certificate *l, size_t *n) { l[3].not_before = l[2].not_before - 1; }
static void begins_after_its_issuer(certificate *l, size_t *n) {
    l[4].not_before = l[3].not_after + 1, l[4].not_after = l[4].not_before;
}
static void over_already(certificate *l, size_t *n) { l[4].not_after = NOW - 1; }
static void not_yet(certificate *l, size_t *n) { l[4].not_before = NOW + 1; }

static void every_rule_refuses(void **state) {
    static const struct {
        const char *name;
        change *change;
        err expected;
    } cases[] = {
#define CASE(name, expected) {#name, name, expected}
        CASE(no_certificate, ERR_CERTIFICATE),
        CASE(other_clinic, ERR_CERTIFICATE),
        CASE(root_issues_invite, ERR_CERTIFICATE),
        CASE(root_issues_patient, ERR_CERTIFICATE),
        CASE(staff_issues_staff, ERR_CERTIFICATE),
        CASE(staff_issues_patient, ERR_CERTIFICATE),
        CASE(patient_issues_invite, ERR_CERTIFICATE),
        CASE(invite_issues_invite, ERR_CERTIFICATE),
        CASE(other_kind_than_invited, ERR_CERTIFICATE),
        CASE(other_subject, ERR_CERTIFICATE),
        CASE(higher_level, ERR_CERTIFICATE),
        CASE(lower_level, ERR_CERTIFICATE),
        CASE(more_rights_than_invited, ERR_CERTIFICATE),
        CASE(more_rights_than_inviter, ERR_CERTIFICATE),
        CASE(patient_with_more_rights, ERR_CERTIFICATE),
        CASE(no_right_to_invite_patients, ERR_CERTIFICATE),
        CASE(no_right_to_invite_staff, ERR_CERTIFICATE),
        CASE(unknown_kind, ERR_CERTIFICATE),
        CASE(kind_zero, ERR_CERTIFICATE),
        CASE(unknown_level, ERR_CERTIFICATE),
        CASE(staff_that_enrols, ERR_CERTIFICATE),
        CASE(invite_for_nobody, ERR_CERTIFICATE),
        CASE(invite_for_invites, ERR_CERTIFICATE),
        CASE(ends_before_it_begins, ERR_CERTIFICATE),
        CASE(too_long, ERR_CERTIFICATE),
        CASE(begins_before_its_issuer, ERR_EXPIRED),
        CASE(begins_after_its_issuer, ERR_EXPIRED),
        CASE(over_already, ERR_EXPIRED),
        CASE(not_yet, ERR_EXPIRED),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        certificate list[CHAIN_MAX + 1];
        certificate_chain chain = usual(list);
        cases[i].change(list, &chain.n);
        sign_all(chain);
        err e = certificate_chain_check(&chain, public_of(0), NOW);
        if (e != cases[i].expected)
            fail_msg("%s: expected %s, got %s", cases[i].name, err_name(cases[i].expected), err_name(e));
    }
}

static void the_longest_chain_holds(void **state) {
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list);
    too_long(list, &chain.n);
    chain.n = CHAIN_MAX;
    sign_all(chain);
    assert_ok(certificate_chain_check(&chain, public_of(0), NOW));
}

static void history_needs_no_clock(void **state) {
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list);
    sign_all(chain);
    assert_err(certificate_chain_check(&chain, public_of(0), NOW + 101), ERR_EXPIRED);
    assert_ok(certificate_chain_check(&chain, public_of(0), NOW + 100));
    assert_ok(certificate_chain_check(&chain, public_of(0), 0));
}

static void a_link_by_another_key_is_refused(void **state) {
    for (size_t i = 0; i < 5; i++) {
        certificate list[CHAIN_MAX + 1];
        certificate_chain chain = usual(list);
        sign_all(chain);
        /* signed by a stranger in the issuer's name … */
        assert_ok(certificate_issue(&list[i], &keys[9]));
        memcpy(list[i].issuer_key, public_of(i), 32);
        assert_err(certificate_chain_check(&chain, public_of(0), NOW), ERR_SIGNATURE);
        /* … and in his own */
        assert_ok(certificate_issue(&list[i], &keys[9]));
        assert_err(certificate_chain_check(&chain, public_of(0), NOW), ERR_CERTIFICATE);
    }
}

static void another_root_is_refused(void **state) {
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list);
    sign_all(chain);
    assert_err(certificate_chain_check(&chain, public_of(7), NOW), ERR_CERTIFICATE);
}

static void names_are_those_of_the_protocol(void **state) {
    /* echo -n "Sotto clinic 1" and 32 bytes 0x07 through sha256sum */
    uint8_t key[32], id[ID_SIZE];
    memset(key, 7, sizeof key);
    clinic_id_of(key, id);
    assert_span(SPAN(id), hex("85fd7f1cfe893c150e02151a11e8ea8b"));
    device_id_of(key, id);
    assert_span(SPAN(id), hex("270ec5d45c4ee0f22a06b47c256e5bca"));
    invite_id_of(key, id);
    assert_span(SPAN(id), hex("70c63d7465fe5ee8676c74c72b522bb4"));
}

static void another_version_is_refused(void **state) {
    arena a;
    span bytes;
    certificate list[CHAIN_MAX + 1];
    certificate_chain chain = usual(list), read = {0};
    chain.n = 1;
    sign_all(chain);
    arena_over(&a, memory, sizeof memory);
    assert_ok(WIRE_ENCODE(&a, wire_certificate_chain, &chain, &bytes));
    ((uint8_t *)(uintptr_t)bytes.p)[3] = 2; /* after the vector's length: u16 version */
    assert_err(WIRE_DECODE(bytes, &a, wire_certificate_chain, &read), ERR_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_holds),
        cmocka_unit_test(its_bytes_come_back_the_same),
        cmocka_unit_test(any_changed_bit_is_refused),
        cmocka_unit_test(every_rule_refuses),
        cmocka_unit_test(the_longest_chain_holds),
        cmocka_unit_test(history_needs_no_clock),
        cmocka_unit_test(a_link_by_another_key_is_refused),
        cmocka_unit_test(another_root_is_refused),
        cmocka_unit_test(names_are_those_of_the_protocol),
        cmocka_unit_test(another_version_is_refused),
    };
    make_keys();
    return cmocka_run_group_tests_name("certificate", tests, NULL, NULL);
}
