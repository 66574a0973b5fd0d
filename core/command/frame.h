/* frame.h: the layout of frames (sotto.h), read strictly: every length must fit exactly. */
#ifndef COMMAND_FRAME_H
#define COMMAND_FRAME_H

#include "base/span.h"
#include "command/buffer.h"
#include "command/fault.h"

#define FRAME_MAX ((size_t)8 << 20) /* bytes of a frame: an attachment's piece and some */
#define HEADER_MAX                                                                                                     \
    ((size_t)256 << 10) /* bytes of its JSON: the longest text with every character escaped, twice over */
#define ATTACHMENTS_MAX 16

typedef struct frame {
    span header;
    span attachments[ATTACHMENTS_MAX];
    size_t attachment_count;
} frame;

/* All spans look into `bytes`. ERR_TRUNCATED, ERR_TRAILING, ERR_TOO_LARGE. */
MUST_USE err frame_read(frame *f, span bytes, fault *why);

/* A frame is written in this order: begin, the header's JSON, header_end, attachments, end. */
void frame_begin(buffer *b);
void frame_header_end(buffer *b);
void frame_attachment(buffer *b, span bytes);
void frame_end(buffer *b);

#endif
