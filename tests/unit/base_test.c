/* core/base: errors, arena, secrets, text. */
#include <ctype.h>

#include "base/arena.h"
#include "base/secret.h"
#include "base/text.h"
#include "support/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN
#endif

/* --- err --- */

static void every_error_has_its_own_name_text_and_number(void **state) {
    static const struct {
        err e;
        const char *symbol;
        int class;
    } all[] = {
#define X(name, class, number, word, text) {name, #name, ERR_CLASS_##class},
        ERR_VALUES(X)
#undef X
    };
    size_t n = sizeof all / sizeof *all;
    for (size_t i = 0; i < n; i++) {
        char expected[64] = {0};
        for (size_t k = 0; all[i].symbol[4 + k] != 0; k++)
            expected[k] = (char)tolower((unsigned char)all[i].symbol[4 + k]);
        assert_string_equal(err_name(all[i].e), expected);
        assert_int_equal(err_class_of(all[i].e), all[i].class);
        assert_true(strlen(err_text(all[i].e)) > 8);
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(all[i].e, all[k].e);
            assert_string_not_equal(err_text(all[i].e), err_text(all[k].e));
        }
    }
    assert_string_equal(err_name(OK), "ok");
    assert_string_equal(err_name((err)0x7fff), "unknown");
    assert_true(strlen(err_text((err)0x7fff)) > 0);
}

static err fails_with(err e) {
    TRY(e);
    return ERR_EXISTS;
}

static err fails_out_with(err given, int *released) {
    err e;
    TRY_OUT(given);
    e = ERR_EXISTS;
out:
    (*released)++;
    return e;
}

static void try_returns_the_first_error(void **state) {
    assert_err(fails_with(ERR_LOCKED), ERR_LOCKED);
    assert_err(fails_with(OK), ERR_EXISTS);
    int released = 0;
    assert_err(fails_out_with(ERR_PIN, &released), ERR_PIN);
    assert_err(fails_out_with(OK, &released), ERR_EXISTS);
    assert_int_equal(released, 2);
}

/* --- span --- */

static void spans_compare_like_memcmp_with_the_shorter_first(void **state) {
    assert_true(span_equal(SPAN_NONE, span_text("")));
    assert_true(span_equal(span_text("ab"), span_of("abc", 2)));
    assert_false(span_equal(span_text("ab"), span_text("abc")));
    assert_true(span_compare(span_text("ab"), span_text("abc")) < 0);
    assert_true(span_compare(span_text("b"), span_text("abc")) > 0);
    assert_int_equal(span_compare(span_text("abc"), span_text("abc")), 0);
    assert_int_equal(span_compare(SPAN_NONE, SPAN_NONE), 0);
    assert_true(span_compare(SPAN_NONE, span_text("a")) < 0);
}

/* --- arena --- */

static void arena_gives_zeroed_aligned_memory_and_wipes_it(void **state) {
    arena a;
    assert_ok(arena_init(&a, 1000));
    uint8_t *first = arena_take(&a, 3, 1);
    memset(first, 0xff, 3);
    uint64_t *second = ARENA_NEW(&a, uint64_t);
    assert_int_equal((uintptr_t)second % 8, 0);
    assert_int_equal(*second, 0);
    size_t mark = arena_mark(&a);
    uint8_t *third = arena_take(&a, 16, 1);
    memset(third, 0xee, 16);
    arena_release(&a, mark);
    assert_int_equal(arena_mark(&a), mark);
    uint8_t *again = arena_take(&a, 16, 1);
    assert_ptr_equal(again, third);
    for (int i = 0; i < 16; i++)
        assert_int_equal(again[i], 0);
    assert_int_equal(*second, 0);
    assert_int_equal(first[0], 0xff);
    arena_free(&a);
    assert_null(a.base);
}

static void arena_release_and_reset_wipe_the_memory_itself(void **state) {
    uint8_t memory[256] __attribute__((aligned(8)));
    memset(memory, 0xaa, sizeof memory);
    arena a;
    arena_over(&a, memory, sizeof memory);
    uint8_t *kept = arena_take(&a, 8, 1);
    assert_true(secret_is_zero(span_of(kept, 8)));
    memset(kept, 0x11, 8);
    size_t mark = arena_mark(&a);
    memset(arena_take(&a, 32, 1), 0x22, 32);
    size_t peak = arena_mark(&a);
    arena_release(&a, mark);
    assert_int_equal(kept[0], 0x11);
#ifndef UNDER_ASAN /* which forbids to look */
    for (size_t i = mark; i < peak; i++)
        assert_int_equal(memory[i], 0);
    assert_int_equal(memory[peak], 0xaa);
#endif
    arena_reset(&a);
    assert_int_equal(a.used, 0);
    assert_int_equal(a.high, peak);
    uint8_t *all = arena_take(&a, 8, 1);
    assert_ptr_equal(all, memory);
}

static void arena_over_aligns_what_it_is_given(void **state) {
    uint8_t memory[64] __attribute__((aligned(8)));
    arena a;
    arena_over(&a, memory + 3, 40);
    assert_ptr_equal(a.base, memory + 8);
    assert_int_equal(a.size, 35);
    arena_over(&a, memory + 3, 2);
    assert_int_equal(a.size, 0);
    assert_null(arena_take(&a, 1, 1));
}

static void arena_refuses_what_does_not_fit(void **state) {
    arena a;
    assert_ok(arena_init(&a, 256));
    assert_null(arena_take(&a, 257, 1));
    assert_null(arena_take(&a, SIZE_MAX, 1));
    assert_null(arena_take(&a, SIZE_MAX / 2, 4));     /* count * size overflows to a small number */
    assert_null(arena_take(&a, SIZE_MAX / 4 + 2, 4)); /* … to exactly 4 */
    assert_null(arena_take(&a, SIZE_MAX - 3, 1));     /* rounding up would overflow */
    assert_int_equal(a.used, 0);
    assert_non_null(arena_take(&a, 1, 150));
    assert_null(arena_take(&a, 1, 120));
    span copy;
    uint8_t large[100] = {0};
    assert_ok(arena_copy(&a, span_of("0123456789", 10), &copy));
    assert_span(copy, span_text("0123456789"));
    assert_err(arena_copy(&a, SPAN(large), &copy), ERR_ARENA);
    arena_free(&a);
}

static void arena_pieces_of_no_bytes_differ(void **state) {
    arena a;
    assert_ok(arena_init(&a, 64));
    void *one = arena_take(&a, 0, 8), *two = arena_take(&a, 8, 0);
    assert_non_null(one);
    assert_non_null(two);
    assert_ptr_not_equal(one, two);
    span copy;
    assert_ok(arena_copy(&a, SPAN_NONE, &copy));
    assert_int_equal(copy.n, 0);
    arena_free(&a);
}

static void arena_init_reports_missing_memory(void **state) {
#ifndef UNDER_ASAN /* which ends the process instead */
    arena a;
    assert_err(arena_init(&a, SIZE_MAX / 2), ERR_NO_MEMORY);
    assert_null(arena_take(&a, 1, 1));
#endif
}

/* --- secret --- */

static void secret_equal_compares_every_byte_and_the_length(void **state) {
    /* GHSA-8x3w-qj7j-gqhf: a short or empty tag must not match as a prefix. */
    uint8_t a[64], b[64];
    for (int i = 0; i < 64; i++)
        a[i] = b[i] = (uint8_t)(i * 7);
    assert_true(secret_equal(SPAN(a), SPAN(b)));
    assert_false(secret_equal(SPAN(a), span_of(b, 63)));
    assert_false(secret_equal(span_of(a, 63), SPAN(b)));
    assert_false(secret_equal(SPAN(a), SPAN_NONE));
    assert_false(secret_equal(SPAN_NONE, SPAN(b)));
    assert_true(secret_equal(SPAN_NONE, SPAN_NONE));
    for (int i = 0; i < 64; i++) {
        for (int bit = 0; bit < 8; bit++) {
            b[i] ^= (uint8_t)(1 << bit);
            assert_false(secret_equal(SPAN(a), SPAN(b)));
            b[i] = a[i];
        }
    }
}

static void secret_is_zero_looks_at_every_byte(void **state) {
    uint8_t a[33] = {0};
    assert_true(secret_is_zero(SPAN(a)));
    assert_true(secret_is_zero(SPAN_NONE));
    for (size_t i = 0; i < sizeof a; i++) {
        a[i] = 0x80;
        assert_false(secret_is_zero(SPAN(a)));
        a[i] = 0;
    }
}

static void secrets_are_set_and_wiped_whole(void **state) {
    secret s;
    memset(&s, 0xff, sizeof s);
    secret_set(&s, span_text("0123456789"));
    assert_span(secret_span(&s), span_text("0123456789"));
    uint8_t longest[SECRET_MAX];
    memset(longest, 7, sizeof longest);
    secret_set(&s, SPAN(longest));
    assert_span(secret_span(&s), SPAN(longest));
    secret_wipe(&s);
    assert_true(secret_is_zero(span_of(&s, sizeof s)));
    secret_set(&s, SPAN_NONE);
    assert_int_equal(s.n, 0);
    wipe(NULL, 0);
}

/* --- hex, base64url --- */

static void hex_is_lower_case_and_reads_both(void **state) {
    uint8_t all[256], back[256];
    char text[512], upper[512];
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    hex_write(text, SPAN(all));
    for (int i = 0; i < 256; i++) {
        char expected[3];
        snprintf(expected, sizeof expected, "%02x", i);
        assert_memory_equal(text + 2 * i, expected, 2);
    }
    for (int i = 0; i < 512; i++)
        upper[i] = (char)toupper((unsigned char)text[i]);
    assert_ok(hex_read(back, 256, span_of(text, 512)));
    assert_memory_equal(back, all, 256);
    memset(back, 0, sizeof back);
    assert_ok(hex_read(back, 256, span_of(upper, 512)));
    assert_memory_equal(back, all, 256);
    assert_ok(hex_read(back, 0, SPAN_NONE));
}

static void hex_refuses_other_characters_and_lengths(void **state) {
    uint8_t out[4];
    assert_err(hex_read(out, 1, span_text("abc")), ERR_MALFORMED);
    assert_err(hex_read(out, 1, span_text("a")), ERR_MALFORMED);
    assert_err(hex_read(out, 1, span_text("")), ERR_MALFORMED);
    assert_err(hex_read(out, 2, span_text("ab")), ERR_MALFORMED);
    for (int c = 0; c < 256; c++) {
        uint8_t first[2] = {(uint8_t)c, '0'}, second[2] = {'0', (uint8_t)c};
        err expected = isxdigit(c) ? OK : ERR_MALFORMED;
        assert_err(hex_read(out, 1, SPAN(first)), expected);
        assert_err(hex_read(out, 1, SPAN(second)), expected);
    }
}

static void base64url_matches_rfc_4648(void **state) {
    static const struct {
        const char *plain, *text;
    } cases[] = {{"", ""},           {"f", "Zg"},          {"fo", "Zm8"},         {"foo", "Zm9v"},
                 {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
    arena a;
    assert_ok(arena_init(&a, 1024));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        span plain = span_text(cases[i].plain), text = span_text(cases[i].text), decoded;
        uint8_t out[8];
        assert_int_equal(BASE64URL_SIZE(plain.n), text.n);
        assert_string_equal(base64url_text(&a, plain), cases[i].text);
        assert_ok(base64url_read(out, plain.n, text));
        assert_memory_equal(out, plain.p, plain.n);
        assert_ok(base64url_decode(&a, text, &decoded));
        assert_span(decoded, plain);
        assert_err(base64url_read(out, plain.n + 1, text), ERR_MALFORMED);
    }
    arena_free(&a);
}

static void base64url_uses_its_own_alphabet_in_order(void **state) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t out[3];
    for (uint32_t v = 0; v < 64; v++) {
        uint8_t bytes[3] = {(uint8_t)(v << 2), 0, 0};
        char text[4];
        base64url_write(text, SPAN(bytes));
        assert_int_equal(text[0], alphabet[v]);
    }
    for (int c = 0; c < 256; c++) {
        char text[4] = {'A', 'A', 'A', (char)c};
        bool known = c != 0 && strchr(alphabet, c) != NULL;
        assert_err(base64url_read(out, 3, span_of(text, 4)), known ? OK : ERR_MALFORMED);
        if (known)
            assert_int_equal(out[2], strchr(alphabet, c) - alphabet);
    }
}

static void base64url_refuses_padding_and_second_spellings(void **state) {
    uint8_t out[8];
    arena a;
    assert_ok(arena_init(&a, 256));
    span decoded;
    assert_err(base64url_read(out, 1, span_text("Zg==")), ERR_MALFORMED);
    assert_err(base64url_read(out, 1, span_text("Zh")), ERR_MALFORMED);  /* spare bits not zero */
    assert_err(base64url_read(out, 2, span_text("Zm9")), ERR_MALFORMED); /* the same for two bytes */
    assert_err(base64url_read(out, 0, span_text("Z")), ERR_MALFORMED);
    assert_err(base64url_read(out, 0, span_text("A")), ERR_MALFORMED); /* six zero bits */
    assert_err(base64url_read(out, 3, span_text("Zm9vY")), ERR_MALFORMED);
    assert_err(base64url_read(out, 3, span_text("Zm9vA")), ERR_MALFORMED);
    assert_err(base64url_read(out, 3, span_text("Zm+v")), ERR_MALFORMED);
    assert_err(base64url_read(out, 3, span_text("Zm/v")), ERR_MALFORMED);
    assert_err(base64url_read(out, 3, span_text("Zm v")), ERR_MALFORMED);
    assert_err(base64url_decode(&a, span_text("Zg="), &decoded), ERR_MALFORMED);
    assert_err(base64url_decode(&a, span_text("Z"), &decoded), ERR_MALFORMED);
    assert_int_equal(decoded.n, 0);
    arena_free(&a);
}

static void base64url_returns_every_length(void **state) {
    uint8_t bytes[100], back[100];
    char text[BASE64URL_SIZE(100)];
    for (size_t n = 0; n <= sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(n * 31 + i * 17);
        base64url_write(text, span_of(bytes, n));
        assert_ok(base64url_read(back, n, span_of(text, BASE64URL_SIZE(n))));
        assert_memory_equal(back, bytes, n);
    }
}

static void base64url_says_when_the_arena_is_full(void **state) {
    uint8_t memory[64] __attribute__((aligned(8))), bytes[100] = {0};
    char text[100];
    memset(text, 'A', sizeof text);
    arena a;
    arena_over(&a, memory, sizeof memory);
    span decoded;
    assert_null(base64url_text(&a, SPAN(bytes)));
    assert_null(base64url_text(&a, span_of(bytes, SIZE_MAX)));
    assert_err(base64url_decode(&a, SPAN(text), &decoded), ERR_ARENA);
}

/* --- UTF-8 --- */

static void utf8_accepts_what_rfc_3629_does(void **state) {
    assert_true(utf8_valid(SPAN_NONE));
    assert_true(utf8_valid(span_text("Grüße, 診療所 🙂")));
    assert_true(utf8_valid(hex("01 7f")));
    assert_true(utf8_valid(hex("c280 dfbf")));
    assert_true(utf8_valid(hex("e0a080 ed9fbf ee8080 efbfbf")));
    assert_true(utf8_valid(hex("f0908080 f48fbfbf")));
}

static void utf8_refuses_the_rest(void **state) {
    static const char *bad[] = {
        "00",         "6100",   "80",       "bf",       "c080",   "c1bf",     /* NUL, lone, overlong ASCII */
        "e08080",     "e09fbf", "f0808080", "f08fbfbf",                       /* overlong */
        "eda080",     "edbfbf", "f4908080", "f5808080", "fe",     "ff",       /* surrogates, too large */
        "c2",         "e0a0",   "f09080",   "c241",     "e0a041", "f0908041", /* cut short */
        "f8888080 80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (utf8_valid(hex(bad[i])))
            fail_msg("accepted %s", bad[i]);
}

static void utf8_agrees_with_counting_over_all_short_strings(void **state) {
    /* One byte: all of ASCII but NUL. Two: U+0080..U+07FF. Three: the rest of the first plane but the surrogates. */
    unsigned one = 0, two = 0, three = 0;
    for (unsigned v = 0; v < 0x1000000; v++) {
        uint8_t b[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        three += b[0] >= 0xe0 && utf8_valid(SPAN(b));
        two += v < 0x10000 && b[1] >= 0x80 && utf8_valid(span_of(b + 1, 2));
        one += v < 0x100 && utf8_valid(span_of(b + 2, 1));
    }
    assert_int_equal(one, 127);
    assert_int_equal(two, 1920);
    assert_int_equal(three, 0x10000 - 0x800 - 0x800);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_name_text_and_number),
        cmocka_unit_test(try_returns_the_first_error),
        cmocka_unit_test(spans_compare_like_memcmp_with_the_shorter_first),
        cmocka_unit_test(arena_gives_zeroed_aligned_memory_and_wipes_it),
        cmocka_unit_test(arena_release_and_reset_wipe_the_memory_itself),
        cmocka_unit_test(arena_over_aligns_what_it_is_given),
        cmocka_unit_test(arena_refuses_what_does_not_fit),
        cmocka_unit_test(arena_pieces_of_no_bytes_differ),
        cmocka_unit_test(arena_init_reports_missing_memory),
        cmocka_unit_test(secret_equal_compares_every_byte_and_the_length),
        cmocka_unit_test(secret_is_zero_looks_at_every_byte),
        cmocka_unit_test(secrets_are_set_and_wiped_whole),
        cmocka_unit_test(hex_is_lower_case_and_reads_both),
        cmocka_unit_test(hex_refuses_other_characters_and_lengths),
        cmocka_unit_test(base64url_matches_rfc_4648),
        cmocka_unit_test(base64url_uses_its_own_alphabet_in_order),
        cmocka_unit_test(base64url_refuses_padding_and_second_spellings),
        cmocka_unit_test(base64url_returns_every_length),
        cmocka_unit_test(base64url_says_when_the_arena_is_full),
        cmocka_unit_test(utf8_accepts_what_rfc_3629_does),
        cmocka_unit_test(utf8_refuses_the_rest),
        cmocka_unit_test(utf8_agrees_with_counting_over_all_short_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
