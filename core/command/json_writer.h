/* json_writer.h: writes JSON into a buffer. Errors are the buffer's, sticky. Text that is not UTF-8, which no rule
 * should have let this far, comes out with U+FFFD in the place of each bad byte: a reply can always be read. */
#ifndef COMMAND_JSON_WRITER_H
#define COMMAND_JSON_WRITER_H

#include "command/buffer.h"

typedef struct json_writer {
    buffer *out;
    bool comma; /* the next value or name needs one before it */
} json_writer;

void writer_open(json_writer *w, char bracket);  /* '{' or '[' */
void writer_close(json_writer *w, char bracket); /* '}' or ']' */
void writer_key(json_writer *w, const char *name);

void writer_text(json_writer *w, span text);
void writer_word(json_writer *w, const char *word);   /* null for NULL */
void writer_number(json_writer *w, int64_t value);    /* within 2^53 of 0 */
void writer_decimal(json_writer *w, int64_t value);   /* as a string */
void writer_unsigned(json_writer *w, uint64_t value); /* as a string */
void writer_bool(json_writer *w, bool value);
void writer_null(json_writer *w);
void writer_base64url(json_writer *w, span bytes);
void writer_hex(json_writer *w, span bytes);

/* The same as members of an object. */
void writer_put_text(json_writer *w, const char *name, span text);
void writer_put_word(json_writer *w, const char *name, const char *word);
void writer_put_number(json_writer *w, const char *name, int64_t value);
void writer_put_decimal(json_writer *w, const char *name, int64_t value);
void writer_put_unsigned(json_writer *w, const char *name, uint64_t value);
void writer_put_bool(json_writer *w, const char *name, bool value);
void writer_put_base64url(json_writer *w, const char *name, span bytes);
void writer_put_hex(json_writer *w, const char *name, span bytes);

#endif
