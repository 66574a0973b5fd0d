/* dispatch.h: one command from its frame to its reply. */
#ifndef COMMAND_DISPATCH_H
#define COMMAND_DISPATCH_H

#include "client/client.h"
#include "command/buffer.h"
#include "command/fault.h"

/* What a command may use in memory for what it reads, decodes and gathers: 200 of the longest messages and some. */
#define COMMAND_MEMORY ((size_t)4 << 20)
#define REPLY_MAX ((size_t)32 << 20)  /* those messages, every character escaped */
#define REPLY_KEEP ((size_t)64 << 10) /* what a handle keeps between calls */
#define REPLY_MIN 1024                /* enough for any error without effects */

/* Runs the command in `bytes` and leaves its reply's frame in `reply`, which is empty. The arena is the command's, to
 * be reset by the caller. When reply->error is set, nothing could be written: not even the error had room. */
void command_run(client *c, arena *a, span bytes, buffer *reply);
/* A reply that only says `e`. */
void command_reply_error(buffer *reply, err e);

/* Reads sotto_open's header {"store": path}. The path lives in the arena. */
MUST_USE err command_read_open(arena *a, span bytes, const char **path);

#endif
