/* check.h: what every C test includes: cmocka with its prelude, and checks for our types. */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/span.h"

/* The error's name in the message, not its number. */
#define assert_err(expression, expected)                                                                               \
    do {                                                                                                               \
        err check_error = (expression);                                                                                \
        if (check_error != (expected))                                                                                 \
            fail_msg("%s: expected %s, got %s", #expression, err_name(expected), err_name(check_error));               \
    } while (0)
#define assert_ok(expression) assert_err((expression), OK)

#define assert_span(actual, expected)                                                                                  \
    do {                                                                                                               \
        span check_actual = (actual), check_expected = (expected);                                                     \
        assert_int_equal(check_actual.n, check_expected.n);                                                            \
        if (check_expected.n > 0)                                                                                      \
            assert_memory_equal(check_actual.p, check_expected.p, check_expected.n);                                   \
    } while (0)

/* Bytes from hex; spaces are skipped. Its own reader, so that a test of text.h does not lean on text.h. At most 16 live at
 * a time, of 4 KiB each: the ring is used again. */
static inline span hex(const char *text) {
    static uint8_t ring[16][4096];
    static unsigned next;
    uint8_t *out = ring[next++ % 16];
    size_t n = 0;
    for (; *text != 0; text++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, *text);
        if (*text == ' ')
            continue;
        if (digit == NULL || n / 2 >= sizeof ring[0])
            fail_msg("bad hex in a test");
        out[n / 2] = (uint8_t)((n % 2 ? out[n / 2] << 4 : 0) | (digit - digits));
        n++;
    }
    assert_int_equal(n % 2, 0);
    return span_of(out, n / 2);
}

#endif
