/* core/client/content.c: the envelope inside MLS messages, read strictly. */
#include "client/content.h"
#include "support/check.h"

static uint8_t memory[256 * 1024];
static arena scratch;

static int setup(void **state) {
    arena_over(&scratch, memory, sizeof memory);
    return 0;
}

static content text_of(const char *text) {
    return (content){
        .version = CONTENT_VERSION, .kind = CONTENT_TEXT, .counter = 1, .sent_ms = 5, .text = span_text(text)};
}

static span encoded(content *o) {
    span bytes;
    assert_ok(WIRE_ENCODE(&scratch, wire_content, o, &bytes));
    return bytes;
}

static void every_kind_comes_back_as_it_was(void **state) {
    content_id ids[2] = {{{1}}, {{2}}};
    content_person people[1] = {{{3}, CERTIFICATE_STAFF, span_text("Ann")}};
    content_entry entries[1] = {{{4}, {5}, {6}, 7, span_text("earlier")}};
    content all[4] = {text_of("hello"), text_of(""), text_of(""), text_of("")};
    all[1].kind = CONTENT_RECEIPT, all[1].receipt_state = MESSAGE_READ, all[1].receipts.p = ids, all[1].receipts.n = 2;
    all[2].kind = CONTENT_PROFILE, all[2].people.p = people, all[2].people.n = 1;
    all[3].kind = CONTENT_HISTORY, all[3].entries.p = entries, all[3].entries.n = 1;
    for (size_t i = 0; i < 4; i++) {
        content back;
        span bytes = encoded(&all[i]), again;
        assert_ok(content_read(bytes, &scratch, &back));
        assert_int_equal(back.kind, all[i].kind);
        again = encoded(&back);
        assert_span(again, bytes);
        for (size_t cut = 0; cut < bytes.n; cut++)
            assert_int_not_equal(content_read(span_of(bytes.p, cut), &scratch, &back), OK);
        uint8_t longer[300];
        memcpy(longer, bytes.p, bytes.n);
        longer[bytes.n] = 0;
        assert_err(content_read(span_of(longer, bytes.n + 1), &scratch, &back), ERR_TRAILING);
    }
}

static void each_rule_is_checked(void **state) {
    content back, o = text_of("");
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_INVALID); /* an empty text */
    o = text_of("a\xc0\x80");
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_INVALID); /* overlong UTF-8 */
    o = text_of("x"), o.counter = 0;
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_INVALID);
    o = text_of("x"), o.sent_ms = UINT64_MAX;
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_INVALID);
    o = text_of("x"), o.version = 2;
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_UNSUPPORTED);
    o = text_of("x"), o.kind = CONTENT_RECEIPT, o.receipt_state = MESSAGE_SENDING;
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_INVALID);
    span bytes =
        encoded(&(content){.version = 1, .kind = CONTENT_RECEIPT, .counter = 1, .receipt_state = MESSAGE_READ});
    uint8_t copy[200];
    memcpy(copy, bytes.p, bytes.n);
    copy[2 + 16 + 8 + 8 + 32] = 99; /* the kind */
    assert_err(content_read(span_of(copy, bytes.n), &scratch, &back), ERR_UNSUPPORTED);
    static char big[TEXT_MAX + 2];
    memset(big, 'a', TEXT_MAX + 1);
    o = text_of(big);
    assert_err(content_read(encoded(&o), &scratch, &back), ERR_INVALID);
    big[TEXT_MAX] = 0;
    o = text_of(big);
    assert_ok(content_read(encoded(&o), &scratch, &back));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_kind_comes_back_as_it_was, setup),
        cmocka_unit_test_setup(each_rule_is_checked, setup),
    };
    return cmocka_run_group_tests_name("content", tests, NULL, NULL);
}
