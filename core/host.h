/* host.h: all that the core asks of the machine it runs on. In wasm these are imports of module "sotto" under the
 * names given here; natively tests/unit/support/host.c (POSIX) supplies them. All are synchronous and never call back.
 *
 * Offsets and sizes of files are doubles, because JavaScript's numbers are: exact up to 2^53.
 * File operations return a negative HOST_E* on failure. Paths are UTF-8, relative to the host's root for the account. */
#ifndef SOTTO_HOST_H
#define SOTTO_HOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __wasm__
#define HOST_IMPORT(name) __attribute__((import_module("sotto"), import_name(name)))
#else
#define HOST_IMPORT(name)
#endif

enum host_error {
    HOST_ENOENT = -1, /* no such file */
    HOST_EIO = -2,    /* the medium failed or went away */
    HOST_EFULL = -3,  /* quota or disk is full */
    HOST_EBUSY = -4,  /* another owner holds the store */
    HOST_EDENIED = -5 /* the host refuses storage (private window, permissions) */
};

/* EXCLUSIVE: HOST_EBUSY while another descriptor of the file is open EXCLUSIVE; those without the flag are not refused. */
enum host_open_flags { HOST_OPEN_CREATE = 1, HOST_OPEN_READONLY = 2, HOST_OPEN_EXCLUSIVE = 4 };

/* Fills buf with n bytes from the machine's CSPRNG, in one call. Never fails: a host without entropy must abort. */
HOST_IMPORT("random") void host_random(void *buf, size_t n);
/* Wall-clock time in milliseconds since 1970-01-01T00:00Z. */
HOST_IMPORT("now") double host_now(void);
/* Developer's log. level 0 debug, 1 info, 2 warning, 3 error. Never personal data or secrets (DESIGN §2.1). */
HOST_IMPORT("log") void host_log(int32_t level, const char *text, size_t n);

/* Returns a descriptor >= 0. */
HOST_IMPORT("file_open") int32_t host_file_open(const char *path, size_t path_size, int32_t flags);
HOST_IMPORT("file_close") int32_t host_file_close(int32_t fd);
/* Returns how many bytes were read: fewer than n only at the end of the file. */
HOST_IMPORT("file_read") int32_t host_file_read(int32_t fd, void *buf, size_t n, double offset);
/* Writes all n bytes and returns 0, or fails. */
HOST_IMPORT("file_write") int32_t host_file_write(int32_t fd, const void *buf, size_t n, double offset);
HOST_IMPORT("file_truncate") int32_t host_file_truncate(int32_t fd, double size);
/* Returns once what was written is on the medium. */
HOST_IMPORT("file_sync") int32_t host_file_sync(int32_t fd);
HOST_IMPORT("file_size") double host_file_size(int32_t fd);
/* Returns once the file is gone for good. */
HOST_IMPORT("file_delete") int32_t host_file_delete(const char *path, size_t path_size);
/* 1 when the file exists, 0 when not. */
HOST_IMPORT("file_exists") int32_t host_file_exists(const char *path, size_t path_size);

#endif
