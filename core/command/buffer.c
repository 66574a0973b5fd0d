#include "command/buffer.h"

#include <assert.h>
#include <stdlib.h>

#include "base/secret.h"

err buffer_init(buffer *b, size_t size, size_t limit) {
    *b = (buffer){.size = size, .limit = limit};
    b->p = malloc(size);
    return b->p == NULL ? ERR_NO_MEMORY : OK;
}

void buffer_over(buffer *b, void *memory, size_t size) {
    *b = (buffer){.p = memory, .size = size, .limit = size, .fixed = true};
}

void buffer_free(buffer *b) {
    if (b->p != NULL)
        wipe(b->p, b->n);
    free(b->p);
    *b = (buffer){0};
}

void buffer_cut(buffer *b, size_t n) {
    assert(n <= b->n);
    wipe(b->p + n, b->n - n);
    b->n = n;
    b->error = OK;
}

void buffer_reset(buffer *b, size_t keep) {
    buffer_cut(b, 0);
    if (b->fixed || b->size <= keep)
        return;
    uint8_t *smaller = malloc(keep);
    if (smaller == NULL)
        return;
    free(b->p);
    b->p = smaller;
    b->size = keep;
}

uint8_t *buffer_room(buffer *b, size_t n) {
    if (b->error != OK)
        return NULL;
    if (n > b->size - b->n) {
        if (n > b->limit - b->n || b->fixed) {
            b->error = ERR_TOO_LARGE;
            return NULL;
        }
        size_t size = b->size > b->limit / 2 ? b->limit : b->size * 2;
        if (size < b->n + n)
            size = b->n + n;
        uint8_t *larger = malloc(size);
        if (larger == NULL) {
            b->error = ERR_NO_MEMORY;
            return NULL;
        }
        if (b->n > 0)
            memcpy(larger, b->p, b->n);
        wipe(b->p, b->n);
        free(b->p);
        b->p = larger;
        b->size = size;
    }
    uint8_t *room = b->p + b->n;
    b->n += n;
    return room;
}

void buffer_put(buffer *b, const void *bytes, size_t n) {
    uint8_t *room = buffer_room(b, n);
    if (room != NULL && n > 0)
        memcpy(room, bytes, n);
}

void buffer_text(buffer *b, const char *text) { buffer_put(b, text, strlen(text)); }

void buffer_byte(buffer *b, uint8_t byte) { buffer_put(b, &byte, 1); }

void buffer_patch_u32(buffer *b, size_t at, uint32_t value) {
    if (b->error != OK)
        return;
    assert(at + 4 <= b->n);
    for (size_t i = 0; i < 4; i++)
        b->p[at + i] = (uint8_t)(value >> (8 * i));
}

const char *unsigned_text(char out[NUMBER_TEXT_SIZE], uint64_t value) {
    char *p = out + NUMBER_TEXT_SIZE;
    *--p = '\0';
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return p;
}

const char *number_text(char out[NUMBER_TEXT_SIZE], int64_t value) {
    if (value >= 0)
        return unsigned_text(out, (uint64_t)value);
    /* 20 digits at most: there is room for the sign before them. */
    size_t at = (size_t)(unsigned_text(out, -(uint64_t)value) - out) - 1;
    out[at] = '-';
    return out + at;
}
