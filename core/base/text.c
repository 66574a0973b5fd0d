#include "base/text.h"

/* What is turned into text may be a key (a link's seed, a storage key), so neither direction looks anything up by a
 * secret index or branches on a secret: masks select instead. All values here are below 2^16, and a difference of two
 * such has its sign in bit 31. */

/* All ones when a < b, else zero. */
static uint32_t less(uint32_t a, uint32_t b) { return (uint32_t)0 - ((a - b) >> 31); }
/* All ones when low <= c <= high. */
static uint32_t within(uint32_t c, uint32_t low, uint32_t high) { return ~less(c, low) & ~less(high, c); }

static char hex_digit(uint32_t v) { return (char)('0' + v + (less(9, v) & ('a' - '0' - 10))); }

/* The value of a digit; sets *bad to non-zero when it is none. */
static uint32_t hex_value(uint32_t c, uint32_t *bad) {
    uint32_t digit = within(c, '0', '9'), lower = within(c, 'a', 'f'), upper = within(c, 'A', 'F');
    *bad |= ~(digit | lower | upper);
    return (digit & (c - '0')) | (lower & (c - 'a' + 10)) | (upper & (c - 'A' + 10));
}

void hex_write(char *out, span bytes) {
    for (size_t i = 0; i < bytes.n; i++) {
        out[2 * i] = hex_digit(bytes.p[i] >> 4);
        out[2 * i + 1] = hex_digit(bytes.p[i] & 15);
    }
}

err hex_read(uint8_t *out, size_t size, span text) {
    if (text.n % 2 != 0 || text.n / 2 != size)
        return ERR_MALFORMED;
    uint32_t bad = 0;
    for (size_t i = 0; i < size; i++) {
        uint32_t high = hex_value(text.p[2 * i], &bad);
        out[i] = (uint8_t)(high << 4 | hex_value(text.p[2 * i + 1], &bad));
    }
    return bad ? ERR_MALFORMED : OK;
}

/* RFC 4648 §5: A-Z a-z 0-9 - _ */
static char base64url_digit(uint32_t v) {
    return (char)((within(v, 0, 25) & ('A' + v)) | (within(v, 26, 51) & ('a' + v - 26)) |
                  (within(v, 52, 61) & ('0' + v - 52)) | (within(v, 62, 62) & '-') | (within(v, 63, 63) & '_'));
}

static uint32_t base64url_value(uint32_t c, uint32_t *bad) {
    uint32_t upper = within(c, 'A', 'Z'), lower = within(c, 'a', 'z'), digit = within(c, '0', '9');
    uint32_t minus = within(c, '-', '-'), line = within(c, '_', '_');
    *bad |= ~(upper | lower | digit | minus | line);
    return (upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52)) | (minus & 62) | (line & 63);
}

void base64url_write(char *out, span bytes) {
    uint32_t bits = 0, count = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        bits = bits << 8 | bytes.p[i];
        for (count += 8; count >= 6; count -= 6)
            *out++ = base64url_digit(bits >> (count - 6) & 63);
    }
    if (count > 0)
        *out = base64url_digit(bits << (6 - count) & 63);
}

char *base64url_text(arena *a, span bytes) {
    if (bytes.n > (SIZE_MAX - 3) / 4)
        return NULL;
    char *text = arena_take(a, BASE64URL_SIZE(bytes.n) + 1, 1);
    if (text != NULL)
        base64url_write(text, bytes);
    return text;
}

err base64url_read(uint8_t *out, size_t size, span text) {
    /* One character left over holds 6 bits: no byte. */
    if (text.n % 4 == 1 || text.n / 4 * 3 + (text.n % 4 * 3) / 4 != size)
        return ERR_MALFORMED;
    uint32_t bits = 0, count = 0, bad = 0;
    for (size_t i = 0; i < text.n; i++) {
        bits = bits << 6 | base64url_value(text.p[i], &bad);
        count += 6;
        if (count >= 8) {
            count -= 8;
            *out++ = (uint8_t)(bits >> count);
        }
    }
    /* Spare bits that are not zero would give one value two spellings. */
    bad |= bits & ((1u << count) - 1);
    return bad ? ERR_MALFORMED : OK;
}

err base64url_decode(arena *a, span text, span *bytes) {
    *bytes = SPAN_NONE;
    size_t n = text.n / 4 * 3 + (text.n % 4 * 3) / 4;
    uint8_t *p = arena_take(a, n, 1);
    if (p == NULL)
        return ERR_ARENA;
    TRY(base64url_read(p, n, text));
    *bytes = span_of(p, n);
    return OK;
}

bool utf8_valid(span text) {
    for (size_t i = 0; i < text.n;) {
        uint32_t c = text.p[i++];
        if (c == 0)
            return false;
        if (c < 0x80)
            continue;
        size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        /* 0x80..0xc1 cannot begin a character: a continuation octet, or an overlong form of ASCII. */
        if (c < 0xc2 || c > 0xf4 || text.n - i < more)
            return false;
        uint32_t value = c & (0x3fu >> more);
        for (size_t k = 0; k < more; k++, i++) {
            if ((text.p[i] & 0xc0) != 0x80)
                return false;
            value = value << 6 | (text.p[i] & 0x3fu);
        }
        bool overlong = value < (more == 3 ? 0x10000u : more == 2 ? 0x800u : 0x80u);
        if (overlong || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
            return false;
    }
    return true;
}
