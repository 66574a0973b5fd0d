/* core/mls/types.h: strict reading, GREASE, peeking. That every struct is encoded as it was decoded is checked with the
 * official `messages` vectors (tests/vectors). */
#include "mls/types.h"
#include "support/check.h"

static arena scratch;

static int open_scratch(void **state) {
    (void)state;
    return arena_init(&scratch, 1 << 20) != OK;
}

static int close_scratch(void **state) {
    (void)state;
    arena_free(&scratch);
    return 0;
}

static leaf_node sample_leaf(void) {
    static uint16_t one[] = {1}, greased[] = {0x0a0a, 3, 0x1a1a};
    static extension list[] = {{.type = 0x2a2a}, {.type = 0xf100}};
    list[1].data = span_text("chain");
    return (leaf_node){
        .encryption_key = span_text("encryption"),
        .signature_key = span_text("signature"),
        .credential = {.type = CREDENTIAL_BASIC, .identity = span_text("anna")},
        .capabilities = {{one, 1}, {greased, 3}, {greased, 3}, {greased, 3}, {one, 1}},
        .source = LEAF_KEY_PACKAGE,
        .lifetime = {1, UINT64_MAX},
        .extensions = {list, 2},
        .signature = span_text("signed"),
    };
}

static void unknown_values_are_carried(void **state) {
    (void)state;
    leaf_node leaf = sample_leaf(), back = {0};
    span bytes, again;
    assert_ok(WIRE_ENCODE(&scratch, wire_leaf_node, &leaf, &bytes));
    assert_ok(WIRE_DECODE(bytes, &scratch, wire_leaf_node, &back));
    assert_true(u16_list_has(&back.capabilities.cipher_suites, 0x1a1a));
    assert_non_null(extension_find(&back.extensions, 0x2a2a));
    assert_null(extension_find(&back.extensions, 0x2a2b));
    assert_span(back.encoded, bytes);
    assert_span(back.body, span_of(bytes.p, bytes.n - 7));
    assert_ok(WIRE_ENCODE(&scratch, wire_leaf_node, &back, &again));
    assert_span(again, bytes);
}

static void x509_credentials_are_carried(void **state) {
    (void)state;
    span bytes = hex("0002 08 02aabb 03ccddee 00"), again;
    credential c = {0};
    assert_ok(WIRE_DECODE(bytes, &scratch, wire_credential, &c));
    assert_int_equal(c.certificates.n, 3);
    assert_span(c.certificates.p[1], hex("ccddee"));
    assert_ok(WIRE_ENCODE(&scratch, wire_credential, &c, &again));
    assert_span(again, bytes);
}

static void values_outside_the_grammar_are_refused(void **state) {
    (void)state;
    sender s = {0};
    assert_err(WIRE_DECODE(hex("00"), &scratch, wire_sender, &s), ERR_MALFORMED);
    assert_err(WIRE_DECODE(hex("05"), &scratch, wire_sender, &s), ERR_MALFORMED);
    proposal p = {0};
    assert_err(WIRE_DECODE(hex("0a0a"), &scratch, wire_proposal, &p), ERR_UNSUPPORTED);
    proposal_or_ref r = {0};
    assert_err(WIRE_DECODE(hex("0300"), &scratch, wire_proposal_or_ref, &r), ERR_MALFORMED);
    optional_node n = {0};
    assert_err(WIRE_DECODE(hex("0103"), &scratch, wire_optional_node, &n), ERR_MALFORMED);
    assert_err(WIRE_DECODE(hex("02"), &scratch, wire_optional_node, &n), ERR_MALFORMED); /* presence octet */
    credential c = {0};
    assert_err(WIRE_DECODE(hex("000300"), &scratch, wire_credential, &c), ERR_UNSUPPORTED);
    psk_id id = {0};
    assert_err(WIRE_DECODE(hex("02 04 00 0000000000000000 00"), &scratch, wire_psk_id, &id), ERR_MALFORMED);
    mls_message m = {0};
    assert_err(WIRE_DECODE(hex("00020002"), &scratch, wire_mls_message, &m), ERR_UNSUPPORTED); /* version */
    assert_err(WIRE_DECODE(hex("00010006"), &scratch, wire_mls_message, &m), ERR_UNSUPPORTED); /* format */
}

static void trailing_bytes_are_refused(void **state) {
    (void)state;
    lifetime l = {0};
    assert_ok(WIRE_DECODE(hex("0000000000000001 0000000000000002"), &scratch, wire_lifetime, &l));
    assert_err(WIRE_DECODE(hex("0000000000000001 0000000000000002 00"), &scratch, wire_lifetime, &l), ERR_TRAILING);
}

static void peeking_needs_only_the_front(void **state) {
    (void)state;
    span id;
    uint64_t epoch;
    content_type type;
    assert_ok(message_peek(hex("0001 0002 02 6769 0000000000000007 03 ff"), &scratch, &id, &epoch, &type));
    assert_span(id, span_text("gi"));
    assert_int_equal(epoch, 7);
    assert_int_equal(type, CONTENT_COMMIT);
    assert_ok(message_peek(hex("0001 0001 02 6769 0000000000000008 01 00000001 00 02"), &scratch, &id, &epoch, &type));
    assert_int_equal(epoch, 8);
    assert_int_equal(type, CONTENT_PROPOSAL);
    assert_err(message_peek(hex("0001 0002 02 6769 0000000000000007 04"), &scratch, &id, &epoch, &type), ERR_MALFORMED);
    assert_err(message_peek(hex("0001 0002 02 67"), &scratch, &id, &epoch, &type), ERR_TRUNCATED);
    assert_err(message_peek(hex("0001 0003"), &scratch, &id, &epoch, &type), ERR_UNSUPPORTED);
    assert_err(message_peek(hex(""), &scratch, &id, &epoch, &type), ERR_TRUNCATED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_values_are_carried),
        cmocka_unit_test(x509_credentials_are_carried),
        cmocka_unit_test(values_outside_the_grammar_are_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(peeking_needs_only_the_front),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
