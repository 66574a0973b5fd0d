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

/* RFC 4648 §5: A-Z a-z 0-9 - _. With each range the distance to the character changes. */
static char base64url_digit(uint32_t v) {
    return (char)(v + 'A' + (less(25, v) & 6) - (less(51, v) & 75) - (less(61, v) & 13) + (less(62, v) & 49));
}

static uint32_t base64url_value(uint32_t c, uint32_t *bad) {
    uint32_t upper = within(c, 'A', 'Z'), lower = within(c, 'a', 'z'), digit = within(c, '0', '9');
    uint32_t minus = within(c, '-', '-'), line = within(c, '_', '_');
    *bad |= ~(upper | lower | digit | minus | line);
    return (upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52)) | (minus & 62) | (line & 63);
}

void base64url_write(char *out, span bytes) {
    size_t i = 0;
    for (; bytes.n - i >= 3; i += 3, out += 4) {
        uint32_t bits = (uint32_t)bytes.p[i] << 16 | (uint32_t)bytes.p[i + 1] << 8 | bytes.p[i + 2];
        out[0] = base64url_digit(bits >> 18);
        out[1] = base64url_digit(bits >> 12 & 63);
        out[2] = base64url_digit(bits >> 6 & 63);
        out[3] = base64url_digit(bits & 63);
    }
    if (i == bytes.n)
        return;
    bool two = bytes.n - i == 2;
    uint32_t bits = (uint32_t)bytes.p[i] << 8 | (two ? bytes.p[i + 1] : 0u);
    out[0] = base64url_digit(bits >> 10);
    out[1] = base64url_digit(bits >> 4 & 63);
    if (two)
        out[2] = base64url_digit(bits << 2 & 63);
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
    uint32_t bad = 0, bits = 0;
    size_t i = 0;
    for (; text.n - i >= 4; i += 4, out += 3) {
        uint32_t value[4];
        for (size_t k = 0; k < 4; k++)
            value[k] = base64url_value(text.p[i + k], &bad);
        bits = value[0] << 18 | value[1] << 12 | value[2] << 6 | value[3];
        out[0] = (uint8_t)(bits >> 16);
        out[1] = (uint8_t)(bits >> 8);
        out[2] = (uint8_t)bits;
    }
    /* Two or three characters: one or two bytes, and spare bits. Not zero, they would give one value two spellings. */
    size_t rest = text.n - i;
    bits = 0;
    for (; i < text.n; i++)
        bits = bits << 6 | base64url_value(text.p[i], &bad);
    if (rest == 3) {
        out[0] = (uint8_t)(bits >> 10);
        out[1] = (uint8_t)(bits >> 2);
        bad |= bits & 3;
    } else if (rest == 2) {
        out[0] = (uint8_t)(bits >> 4);
        bad |= bits & 15;
    }
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
