/* host.h: core/host.h on POSIX, for native tests, with switches for what a test wants to go wrong. One process, one
 * thread. Tests include this as "support/host.h"; plain "host.h" is the core's. */
#ifndef SUPPORT_HOST_H
#define SUPPORT_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "../../../core/host.h"

/* Files live under `root`, a folder that exists; without a root every file operation returns HOST_EDENIED. Copied. */
void host_set_root(const char *root);
/* Makes a fresh folder under TMPDIR (or /tmp), and sets it as the root. Static memory, valid until the next call. */
const char *host_temporary_root(void);
/* Deletes all files under the root, and the root. */
void host_remove_root(void);
/* Files are on this disk in memory (disk.h) instead of under the root. NULL: under the root again. Not owned. */
struct disk;
void host_set_disk(struct disk *d);

/* Milliseconds since 1970; from then on the clock stands still there. Negative: the machine's clock again. */
void host_set_now(double now);
/* The next n bytes of randomness, copied; after them the machine's again. NULL: forget what is left. */
void host_set_random(const void *bytes, size_t n);
/* From now on all randomness is a generator's, the same for the same seed: for fuzzers, whose inputs must always do the same. */
void host_seed_random(uint64_t seed);
/* How often the core asked for randomness since the process started. */
unsigned long host_random_calls(void);

/* The n-th file operation from now (1 is the next) fails; those after it work again. 0: none fails. */
void host_fail_after(long n);
/* From the n-th on all fail, as when a disk is full or gone. */
void host_fail_from(long n);
/* What a failing operation returns: HOST_EIO unless set. */
void host_fail_with(enum host_error error);
/* The n-th file operation from now ends the process with status HOST_ABORTED, before it takes effect: for tests that
 * fork. 0: never. */
#define HOST_ABORTED 86
void host_abort_after(long n);
/* When set, a write that fails or aborts has written its first half. */
void host_set_torn(int torn);
/* File operations so far: run once to learn how many there are, then fail each in turn. Reads, writes, opens, closes, all
 * that core/host.h calls file_*. */
long host_operations(void);

/* Where host_log writes: lines of `level` and above go to stderr. 2 (warning) unless set; environment SOTTO_LOG=0..4. */
void host_set_log_level(int level);
/* What was logged so far (the last 64 KiB), NUL-terminated, for tests that look for what must not be there. */
const char *host_logged(void);

#endif
