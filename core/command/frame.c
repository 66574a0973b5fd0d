#include "command/frame.h"

enum { TOTAL_AT = 0, HEADER_SIZE_AT = 4, HEADER_AT = 8, LENGTH_SIZE = 4 };

static size_t read_u32(const uint8_t *p) {
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

err frame_read(frame *f, span bytes, fault *why) {
    *f = (frame){0};
    if (bytes.n > FRAME_MAX)
        return fault_say(why, ERR_TOO_LARGE, NULL, "a frame may have 8 MiB", NULL);
    if (bytes.n < HEADER_AT)
        return fault_say(why, ERR_TRUNCATED, NULL, "the frame ends before its header begins", NULL);
    size_t total = read_u32(bytes.p + TOTAL_AT), left = bytes.n - HEADER_AT;
    if (total > bytes.n - LENGTH_SIZE)
        return fault_say(why, ERR_TRUNCATED, NULL, "the frame ends before the length it says", NULL);
    if (total < bytes.n - LENGTH_SIZE)
        return fault_say(why, ERR_TRAILING, NULL, "there are bytes after the length that the frame says", NULL);
    size_t header_size = read_u32(bytes.p + HEADER_SIZE_AT);
    if (header_size > left)
        return fault_say(why, ERR_TRUNCATED, NULL, "the frame ends within its header", NULL);
    if (header_size > HEADER_MAX)
        return fault_say(why, ERR_TOO_LARGE, NULL, "a frame's header may have 256 KiB", NULL);
    const uint8_t *p = bytes.p + HEADER_AT;
    f->header = span_of(p, header_size);
    p += header_size;
    left -= header_size;
    while (left > 0) {
        if (left < LENGTH_SIZE)
            return fault_say(why, ERR_TRUNCATED, NULL, "the frame ends within an attachment's length", NULL);
        size_t n = read_u32(p);
        p += LENGTH_SIZE;
        left -= LENGTH_SIZE;
        if (n > left)
            return fault_say(why, ERR_TRUNCATED, NULL, "the frame ends within an attachment", NULL);
        if (f->attachment_count == ATTACHMENTS_MAX)
            return fault_say(why, ERR_TOO_LARGE, NULL, "a frame may have 16 attachments", NULL);
        f->attachments[f->attachment_count++] = span_of(p, n);
        p += n;
        left -= n;
    }
    return OK;
}

void frame_begin(buffer *b) { buffer_put(b, (const uint8_t[HEADER_AT]){0}, HEADER_AT); }

void frame_header_end(buffer *b) { buffer_patch_u32(b, HEADER_SIZE_AT, (uint32_t)(b->n - HEADER_AT)); }

void frame_attachment(buffer *b, span bytes) {
    size_t at = b->n;
    buffer_put(b, (const uint8_t[LENGTH_SIZE]){0}, LENGTH_SIZE);
    buffer_patch_u32(b, at, (uint32_t)bytes.n);
    buffer_put(b, bytes.p, bytes.n);
}

void frame_end(buffer *b) { buffer_patch_u32(b, TOTAL_AT, (uint32_t)(b->n - LENGTH_SIZE)); }
