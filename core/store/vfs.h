/* vfs.h: SQLite's file layer over the host's file operations (host.h). Between the store and SQLite only.
 *
 * sqlite3_initialize() registers it as the one file system (vfs.c has sqlite3_os_init); SQLite3MultipleCiphers then puts
 * its own layer over it, which seals and opens pages, so only ciphertext arrives here. */
#ifndef STORE_VFS_H
#define STORE_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3;

/* Readies SQLite: memory that is wiped when freed, no temporary files, this file layer. To be called before anything
 * else of SQLite's is; again is fine. Gives SQLite's code. */
int vfs_configure(void);

/* A file that SQLite has open. That of the database also keeps what went wrong with its WAL and journal. */
typedef struct vfs_file vfs_file;

/* The database's own file, valid until the handle is closed; NULL for one in memory. */
vfs_file *vfs_main_file(struct sqlite3 *db);
/* What the host said (HOST_E*) when a file operation last failed since this was asked, or 0. SQLite's codes lose it. */
int vfs_take_error(vfs_file *f);
/* Not 0 when a read, a sync or the medium failed (HOST_E*): nothing more is then read from or written to the database's
 * files until it has been closed and opened again. SQLite3MultipleCiphers ignores some failed reads and so might take a
 * short WAL for a whole one; and what a failed sync left on the medium is known only by reading it again. */
int vfs_failed(const vfs_file *f);
/* Bytes of the file as they are on the medium, or a negative HOST_E*. */
int32_t vfs_read_raw(vfs_file *f, void *buf, size_t n, double offset);

#endif
