#include "push_endpoint.h"

#include <netinet/in.h>

#include "limits.h"

#define SCHEME "https://"
#define NAME_MAX_BYTES 253 /* RFC 1035 §2.3.4, without the last dot */
#define LABEL_MAX_BYTES 63

static bool is_lower(uint8_t c) { return c >= 'a' && c <= 'z'; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* A host name with a dot, as browsers write it in a URL. Its last label begins with a letter, so it is no IPv4 address in any of
 * their spellings (WHATWG URL, "ends in a number"). */
static bool is_name(span s) {
    size_t label = 0, labels = 0;
    bool letter = false;
    if (s.n == 0 || s.n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i <= s.n; i++) {
        if (i == s.n || s.p[i] == '.') {
            if (label == 0 || label > LABEL_MAX_BYTES || s.p[i - 1] == '-')
                return false;
            labels++;
            label = 0;
            continue;
        }
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && (s.p[i] != '-' || label == 0))
            return false;
        if (label++ == 0)
            letter = is_lower(s.p[i]);
    }
    return labels > 1 && letter;
}

/* Of path and query (RFC 3986 §3.3, §3.4). */
static bool is_path_character(uint8_t c) { return c > 0x20 && c < 0x7f && strchr("\"#<>\\^`{|}", c) == NULL; }

const char *push_endpoint_fault(span endpoint, const push_allowed *allowed, size_t *origin_size, bool *local) {
    size_t scheme = sizeof SCHEME - 1, end = scheme;
    *local = false;
    if (endpoint.n > PUSH_ENDPOINT_MAX)
        return "it is too long";
    if (endpoint.n < scheme || memcmp(endpoint.p, SCHEME, scheme) != 0)
        return "it must begin with https://";
    while (end < endpoint.n && endpoint.p[end] != '/')
        end++;
    span authority = span_of(endpoint.p + scheme, end - scheme);
    *origin_size = end;
    *local = allowed->authority != NULL && span_equal(authority, span_text(allowed->authority));
    if (!*local && !is_name(authority))
        return "its host must be a name in the DNS, in lower case, without user or port";
    if (end == endpoint.n)
        return "it has no path";
    for (size_t i = end; i < endpoint.n; i++)
        if (!is_path_character(endpoint.p[i]))
            return "a character is not one of a path or query";
    return NULL;
}

/* ---- where the name leads */

typedef struct network {
    uint8_t address[4];
    uint8_t bits;
} network;

/* IANA's special-purpose IPv4 registry (RFC 6890): what is not globally reachable; and multicast, and class E. */
static const network NOT_PUBLIC[] = {
    {{0, 0, 0, 0}, 8},      {{10, 0, 0, 0}, 8},     {{100, 64, 0, 0}, 10}, {{127, 0, 0, 0}, 8},
    {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12},  {{192, 0, 0, 0}, 24},  {{192, 0, 2, 0}, 24},
    {{192, 88, 99, 0}, 24}, {{192, 168, 0, 0}, 16}, {{198, 18, 0, 0}, 15}, {{198, 51, 100, 0}, 24},
    {{203, 0, 113, 0}, 24}, {{224, 0, 0, 0}, 4},    {{240, 0, 0, 0}, 4},
};

static bool begins_with(const uint8_t *address, const uint8_t *prefix, unsigned bits) {
    unsigned bytes = bits / 8, rest = bits % 8;
    if (memcmp(address, prefix, bytes) != 0)
        return false;
    return rest == 0 || ((address[bytes] ^ prefix[bytes]) >> (8 - rest)) == 0;
}

static bool ipv4_is_public(const uint8_t address[4]) {
    for (size_t i = 0; i < sizeof NOT_PUBLIC / sizeof *NOT_PUBLIC; i++)
        if (begins_with(address, NOT_PUBLIC[i].address, NOT_PUBLIC[i].bits))
            return false;
    return true;
}

static bool ipv6_is_public(const uint8_t a[16]) {
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff}, NAT64[12] = {0x00, 0x64, 0xff, 0x9b},
                         GLOBAL[1] = {0x20}, PROTOCOLS[4] = {0x20, 0x01, 0x00}, EXAMPLE[4] = {0x20, 0x01, 0x0d, 0xb8},
                         SIX_TO_FOUR[2] = {0x20, 0x02}, EXAMPLE_TOO[3] = {0x3f, 0xff, 0x00};
    if (begins_with(a, MAPPED, 96) || begins_with(a, NAT64, 96)) /* RFC 4291 §2.5.5.2, RFC 6052 */
        return ipv4_is_public(a + 12);
    /* 2000::/3 is all that is given out; of it, what tunnels to an IPv4 address or is for documents is none. */
    return begins_with(a, GLOBAL, 3) && !begins_with(a, PROTOCOLS, 23) && !begins_with(a, EXAMPLE, 32) &&
           !begins_with(a, SIX_TO_FOUR, 16) && !begins_with(a, EXAMPLE_TOO, 20);
}

bool push_address_is_public(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return ipv4_is_public((const uint8_t *)&((const struct sockaddr_in *)address)->sin_addr);
    if (address->sa_family == AF_INET6)
        return ipv6_is_public((const uint8_t *)&((const struct sockaddr_in6 *)address)->sin6_addr);
    return false;
}
