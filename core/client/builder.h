/* builder.h: text and bytes put together piece by piece in an arena. Sticky: once it does not fit, it stays failed. */
#ifndef CLIENT_BUILDER_H
#define CLIENT_BUILDER_H

#include "base/arena.h"

typedef struct builder {
    uint8_t *p;
    size_t n, size;
    err error;
} builder;

/* Room for `size` bytes, and for a terminator after them. */
void builder_init(builder *b, arena *a, size_t size);
void builder_bytes(builder *b, span bytes);
void builder_text(builder *b, const char *text);
void builder_int(builder *b, int64_t number);
void builder_base64url(builder *b, span bytes);
/* Padded base64 (RFC 4648 §4), as RFC 8941 byte sequences want it. */
void builder_base64(builder *b, span bytes);
/* `"name":"base64url"`, with a comma before it unless it is the first of its object. */
void builder_json_bytes(builder *b, const char *name, span bytes);
void builder_json_int(builder *b, const char *name, int64_t number);
MUST_USE err builder_end(builder *b, span *out);
/* The same as a C string; NULL when it failed. */
const char *builder_string(builder *b);

#endif
