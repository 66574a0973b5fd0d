/* Which endpoints and addresses pushes go to. The rest of a push needs a push service: tests/node/relay-push.test.mjs. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "../../server/limits.h"
#include "../../server/push_endpoint.h"
#include "support/check.h"

static void an_origin_is_found(void **state) {
    static const struct {
        const char *endpoint, *origin;
    } ROWS[] = {{"https://a.example/", "https://a.example"},
                {"https://a.example/b?c", "https://a.example"},
                {"https://a-1.b2.example//x@y:z", "https://a-1.b2.example"},
                {"https://10.example/x", "https://10.example"},
                {"https://push.lan:8443/x", "https://push.lan:8443"},
                {"https://push.lan.example/x", "https://push.lan.example"}};
    push_allowed allowed = {"push.lan:8443"};
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        size_t n = 0;
        bool local = false;
        assert_null(push_endpoint_fault(span_text(ROWS[i].endpoint), &allowed, &n, &local));
        assert_span(span_of(ROWS[i].endpoint, n), span_text(ROWS[i].origin));
        assert_int_equal(local, i == 4);
    }
}

static void what_is_allowed_is_that_alone(void **state) {
    static const char *const BAD[] = {"https://push.lan:844/x",   "https://push.lan:84430/x",  "https://push.lan:8443",
                                      "https://push.lan:8443?x",  "https://x.push.lan:8443/x", "http://push.lan:8443/x",
                                      "https://push.lan:8443#/x", "https://127.0.0.1/x"};
    push_allowed allowed = {"push.lan:8443"}, none = {NULL};
    size_t n = 0;
    bool local = false;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_non_null(push_endpoint_fault(span_text(BAD[i]), &allowed, &n, &local));
    assert_non_null(push_endpoint_fault(span_text("https://push.lan:8443/x"), &none, &n, &local));
    assert_non_null(push_endpoint_fault(span_of("https://a.example/\0b", 20), &none, &n, &local));
    assert_non_null(push_endpoint_fault(SPAN_NONE, &none, &n, &local));
}

static bool is_public(const char *text) {
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
        return push_address_is_public((struct sockaddr *)&four);
    assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
    return push_address_is_public((struct sockaddr *)&six);
}

static void public_addresses_are_told_from_others(void **state) {
    static const char *const PUBLIC[] = {
        "1.1.1.1",     "9.255.255.255",  "11.0.0.0",         "100.63.255.255",  "100.128.0.0",     "126.255.255.255",
        "128.0.0.0",   "169.253.0.1",    "172.15.255.255",   "172.32.0.0",      "192.0.1.1",       "192.167.255.255",
        "192.169.0.0", "198.17.0.1",     "198.20.0.0",       "223.255.255.255", "2606:4700::1111", "2a00::1",
        "2001:200::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "3ffe::1"};
    static const char *const OTHER[] = {"0.0.0.0",
                                        "0.1.2.3",
                                        "10.0.0.0",
                                        "10.255.255.255",
                                        "100.64.0.0",
                                        "100.127.255.255",
                                        "127.0.0.1",
                                        "127.255.255.255",
                                        "169.254.169.254",
                                        "172.16.0.0",
                                        "172.31.255.255",
                                        "192.0.0.8",
                                        "192.0.2.1",
                                        "192.88.99.1",
                                        "192.168.0.0",
                                        "192.168.255.255",
                                        "198.18.0.0",
                                        "198.19.255.255",
                                        "198.51.100.7",
                                        "203.0.113.9",
                                        "224.0.0.1",
                                        "239.1.1.1",
                                        "240.0.0.1",
                                        "255.255.255.255",
                                        "::",
                                        "::1",
                                        "::127.0.0.1",
                                        "::ffff:127.0.0.1",
                                        "::ffff:10.1.1.1",
                                        "::ffff:169.254.169.254",
                                        "64:ff9b::10.0.0.1",
                                        "64:ff9b:1::1",
                                        "100::1",
                                        "2001::1",
                                        "2001:10::1",
                                        "2001:20::1",
                                        "2001:1ff::1",
                                        "2001:db8::1",
                                        "2002:7f00:1::1",
                                        "3fff::1",
                                        "4000::1",
                                        "fc00::1",
                                        "fd12::1",
                                        "fe80::1",
                                        "fec0::1",
                                        "ff02::1"};
    for (size_t i = 0; i < sizeof PUBLIC / sizeof *PUBLIC; i++)
        if (!is_public(PUBLIC[i]))
            fail_msg("%s is public", PUBLIC[i]);
    for (size_t i = 0; i < sizeof OTHER / sizeof *OTHER; i++)
        if (is_public(OTHER[i]))
            fail_msg("%s is not public", OTHER[i]);
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    assert_false(push_address_is_public((struct sockaddr *)&path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_origin_is_found),
        cmocka_unit_test(what_is_allowed_is_that_alone),
        cmocka_unit_test(public_addresses_are_told_from_others),
    };
    return cmocka_run_group_tests_name("relay_push", tests, NULL, NULL);
}
