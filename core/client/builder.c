#include "client/builder.h"

#include "base/text.h"

void builder_init(builder *b, arena *a, size_t size) {
    *b = (builder){.p = arena_take(a, size + 1, 1), .size = size};
    if (!b->p)
        b->error = ERR_ARENA;
}

static uint8_t *room(builder *b, size_t n) {
    if (b->error != OK)
        return NULL;
    if (n > b->size - b->n) {
        b->error = ERR_ARENA;
        return NULL;
    }
    uint8_t *at = b->p + b->n;
    b->n += n;
    return at;
}

void builder_bytes(builder *b, span bytes) {
    uint8_t *at = room(b, bytes.n);
    if (at && bytes.n)
        memcpy(at, bytes.p, bytes.n);
}

void builder_text(builder *b, const char *text) { builder_bytes(b, span_text(text)); }

void builder_int(builder *b, int64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        digits[--at] = '-';
    builder_bytes(b, span_of(digits + at, sizeof digits - at));
}

void builder_base64url(builder *b, span bytes) {
    uint8_t *at = room(b, BASE64URL_SIZE(bytes.n));
    if (at)
        base64url_write((char *)at, bytes);
}

void builder_base64(builder *b, span bytes) {
    size_t from = b->n;
    builder_base64url(b, bytes);
    for (size_t i = bytes.n % 3; i && i < 3; i++)
        builder_text(b, "=");
    if (b->error != OK)
        return;
    for (size_t i = from; i < b->n; i++) /* what is signed or hashed here is public, so a branch may depend on it */
        b->p[i] = b->p[i] == '-' ? '+' : b->p[i] == '_' ? '/' : b->p[i];
}

static void member(builder *b, const char *name) {
    if (b->n && b->p[b->n - 1] != '{')
        builder_text(b, ",");
    builder_text(b, "\"");
    builder_text(b, name);
    builder_text(b, "\":");
}

void builder_json_bytes(builder *b, const char *name, span bytes) {
    member(b, name);
    builder_text(b, "\"");
    builder_base64url(b, bytes);
    builder_text(b, "\"");
}

void builder_json_int(builder *b, const char *name, int64_t number) {
    member(b, name);
    builder_int(b, number);
}

err builder_end(builder *b, span *out) {
    *out = b->error == OK ? span_of(b->p, b->n) : SPAN_NONE;
    return b->error;
}

const char *builder_string(builder *b) {
    if (b->error != OK)
        return NULL;
    b->p[b->n] = 0; /* builder_init took one byte more */
    return (const char *)b->p;
}
