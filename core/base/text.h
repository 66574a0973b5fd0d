/* text.h: strict conversions between bytes and text: lower-case hex, base64url without padding (RFC 4648 §5), UTF-8. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/arena.h"

#define HEX_SIZE(n) ((n)*2)
#define BASE64URL_SIZE(n) (((n)*4 + 2) / 3)

/* Writes HEX_SIZE(n) characters, no terminator. Constant time in the contents. */
void hex_write(char *out, span bytes);
/* Reads text that must decode to exactly `size` bytes; upper or lower case. ERR_MALFORMED on any other character or
 * length; what was written to `out` then means nothing. */
MUST_USE err hex_read(uint8_t *out, size_t size, span text);

/* Writes BASE64URL_SIZE(n) characters, no terminator. Constant time in the contents. */
void base64url_write(char *out, span bytes);
/* The same as a NUL-terminated string in the arena; NULL when it does not fit. */
char *base64url_text(arena *a, span bytes);
/* Reads text that must decode to exactly `size` bytes. Padding, other alphabets and non-zero spare bits: ERR_MALFORMED,
 * and what was written to `out` then means nothing. */
MUST_USE err base64url_read(uint8_t *out, size_t size, span text);
/* Reads text of any length into the arena. */
MUST_USE err base64url_decode(arena *a, span text, span *bytes);

/* True for well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF) without NUL. */
bool utf8_valid(span text);

#endif
