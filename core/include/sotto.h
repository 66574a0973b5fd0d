/* sotto.h: the whole public face of the core, native and wasm. Six functions; everything else is a command.
 *
 * A frame carries one command or one reply:
 *
 *     u32 total        length of all that follows, little endian
 *     u32 header_size  length of the JSON header
 *     u8  header[]     UTF-8 JSON
 *     { u32 size; u8 bytes[]; } attachments[]   until the frame ends
 *
 * Bytes never travel inside JSON: the header names an attachment by its index. Integers that may pass 2^53 travel
 * as strings. The table of commands is core/command/commands.def; `manifest` returns it as JSON. */
#ifndef SOTTO_H
#define SOTTO_H

#include <stddef.h>
#include <stdint.h>

/* Raised when a frame's layout or a function's meaning changes; a host refuses a module with another number. */
#define SOTTO_ABI 1

typedef struct sotto sotto;

/* The module's SOTTO_ABI. */
uint32_t sotto_abi(void);

/* Opens a core over one store. `frame` is a frame whose header is {"store": path}: the path that file operations
 * of host.h will see, "" for a store in memory that dies with the handle. Nothing is read yet: account.create or
 * account.unlock opens the file. NULL when the frame is malformed or memory is out. One handle a store, one thread a handle. */
sotto *sotto_open(const uint8_t *frame, size_t size);

/* Runs one command in one transaction and returns the reply's frame. The reply belongs to the handle and lives
 * until the next call on it. Never NULL: failure is a reply whose header has "error". Effects of a failed command
 * are rolled back, except the count of wrong PINs and what a malicious message taught (a notice). */
const uint8_t *sotto_call(sotto *s, const uint8_t *frame, size_t size);

/* Memory for the host to write a frame into; NULL when out of memory. Wiped and returned by sotto_free. */
uint8_t *sotto_alloc(size_t size);
void sotto_free(uint8_t *memory, size_t size);

/* Locks the account, wipes every secret and closes the store. */
void sotto_close(sotto *s);

#endif
