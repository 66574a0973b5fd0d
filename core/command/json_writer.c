#include "command/json_writer.h"

#include "base/text.h"

static void separate(json_writer *w) {
    if (w->comma)
        buffer_byte(w->out, ',');
    w->comma = true;
}

void writer_open(json_writer *w, char bracket) {
    separate(w);
    buffer_byte(w->out, (uint8_t)bracket);
    w->comma = false;
}

void writer_close(json_writer *w, char bracket) {
    buffer_byte(w->out, (uint8_t)bracket);
    w->comma = true;
}

/* Bytes of the UTF-8 character that begins at p; 0 when there is none. */
static size_t character(const uint8_t *p, size_t left) {
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    return n <= left && (p[0] == 0 || utf8_valid(span_of(p, n))) ? n : 0;
}

/* U+2028 and U+2029 end a line in older JavaScript: escaped, so that a reply may also be read as a script. */
static bool line_separator(const uint8_t *p, size_t n) {
    return n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);
}

static void escape(buffer *out, uint8_t c) {
    static const char digits[] = "0123456789abcdef";
    const char *plain = "\"\\\b\f\n\r\t", *letter = "\"\\bfnrt";
    const char *at = c != 0 ? strchr(plain, c) : NULL;
    if (at != NULL)
        buffer_put(out, (const char[]){'\\', letter[at - plain]}, 2);
    else
        buffer_put(out, (const char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
}

static void string(buffer *out, span text) {
    const uint8_t *p = text.p, *end = text.n > 0 ? text.p + text.n : p;
    buffer_byte(out, '"');
    while (p != end) {
        const uint8_t *run = p;
        while (p != end && *p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
            p++;
        buffer_put(out, run, (size_t)(p - run));
        if (p == end)
            break;
        size_t n = character(p, (size_t)(end - p));
        if (n == 0) {
            buffer_text(out, "\xef\xbf\xbd");
            n = 1;
        } else if (line_separator(p, n)) {
            buffer_text(out, p[2] == 0xa8 ? "\\u2028" : "\\u2029");
        } else if (n == 1) {
            escape(out, *p);
        } else {
            buffer_put(out, p, n);
        }
        p += n;
    }
    buffer_byte(out, '"');
}

void writer_key(json_writer *w, const char *name) {
    writer_word(w, name);
    buffer_byte(w->out, ':');
    w->comma = false;
}

void writer_text(json_writer *w, span text) {
    separate(w);
    string(w->out, text);
}

void writer_null(json_writer *w) {
    separate(w);
    buffer_text(w->out, "null");
}

void writer_word(json_writer *w, const char *word) {
    if (word == NULL)
        writer_null(w);
    else
        writer_text(w, span_text(word));
}

void writer_number(json_writer *w, int64_t value) {
    char digits[NUMBER_TEXT_SIZE];
    separate(w);
    buffer_text(w->out, number_text(digits, value));
}

void writer_decimal(json_writer *w, int64_t value) {
    char digits[NUMBER_TEXT_SIZE];
    writer_word(w, number_text(digits, value));
}

void writer_unsigned(json_writer *w, uint64_t value) {
    char digits[NUMBER_TEXT_SIZE];
    writer_word(w, unsigned_text(digits, value));
}

void writer_bool(json_writer *w, bool value) {
    separate(w);
    buffer_text(w->out, value ? "true" : "false");
}

void writer_base64url(json_writer *w, span bytes) {
    separate(w);
    buffer_byte(w->out, '"');
    uint8_t *room = buffer_room(w->out, BASE64URL_SIZE(bytes.n));
    if (room != NULL)
        base64url_write((char *)room, bytes);
    buffer_byte(w->out, '"');
}

void writer_hex(json_writer *w, span bytes) {
    separate(w);
    buffer_byte(w->out, '"');
    uint8_t *room = buffer_room(w->out, HEX_SIZE(bytes.n));
    if (room != NULL)
        hex_write((char *)room, bytes);
    buffer_byte(w->out, '"');
}

#define PUT(kind, type)                                                                                                \
    void writer_put_##kind(json_writer *w, const char *name, type value) {                                             \
        writer_key(w, name);                                                                                           \
        writer_##kind(w, value);                                                                                       \
    }
PUT(text, span)
PUT(word, const char *)
PUT(number, int64_t)
PUT(decimal, int64_t)
PUT(unsigned, uint64_t)
PUT(bool, bool)
PUT(base64url, span)
PUT(hex, span)
