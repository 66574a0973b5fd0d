/* buffer.h: bytes that grow as they are written: the memory of a reply. Growing never leaves a copy behind: new memory
 * is taken, the old wiped and freed. Errors are sticky: after the first, writing does nothing. */
#ifndef COMMAND_BUFFER_H
#define COMMAND_BUFFER_H

#include "base/err.h"
#include "base/span.h"

typedef struct buffer {
    uint8_t *p;
    size_t n, size;
    size_t limit; /* never larger than this: ERR_TOO_LARGE */
    bool fixed;   /* over memory of the caller's: does not grow */
    err error;
} buffer;

/* The memory's first bytes, so that a short reply never needs more. ERR_NO_MEMORY. */
MUST_USE err buffer_init(buffer *b, size_t size, size_t limit);
/* Over memory of the caller's. */
void buffer_over(buffer *b, void *memory, size_t size);
/* Wipes and frees the memory of buffer_init. */
void buffer_free(buffer *b);
/* Empties and wipes it, and forgets an error. Memory past `keep` bytes is given back if as much can be had anew. */
void buffer_reset(buffer *b, size_t keep);
/* Back to the length `n` of before, with no error; what was after it is wiped. */
void buffer_cut(buffer *b, size_t n);

void buffer_put(buffer *b, const void *bytes, size_t n);
void buffer_text(buffer *b, const char *text);
void buffer_byte(buffer *b, uint8_t byte);
/* Room for n bytes to be filled in by the caller at once; NULL after an error. */
uint8_t *buffer_room(buffer *b, size_t n);
/* Overwrites four bytes already written, little endian. */
void buffer_patch_u32(buffer *b, size_t at, uint32_t value);

/* Decimal digits, without stdio, which in wasm would pull in WASI. */
#define NUMBER_TEXT_SIZE 24
const char *number_text(char out[NUMBER_TEXT_SIZE], int64_t value);
const char *unsigned_text(char out[NUMBER_TEXT_SIZE], uint64_t value);

#endif
