/* disk.h: a disk in memory whose power can be cut. What was written but not synced when it is cut may be there afterwards,
 * or not, or in part, each write for itself and in any order: the worst that a medium may do. host_set_disk() (host.h)
 * puts one in the place of the files under the root. */
#ifndef SUPPORT_DISK_H
#define SUPPORT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct disk disk;

disk *disk_new(void);
void disk_free(disk *d);
/* What is stored now, as a disk of its own with no file open. */
disk *disk_copy(const disk *d);
/* After n more operations the power is cut: everything fails with HOST_EIO until disk_power_on. 0: not. */
void disk_cut_after(disk *d, long n);
bool disk_is_cut(const disk *d);
/* Cuts the power if it is on, settles with the seed what is left of unsynced writes, closes all files. */
void disk_power_on(disk *d, uint32_t seed);
/* How much may be stored in all; more gives HOST_EFULL. 0: no limit. */
void disk_set_capacity(disk *d, size_t bytes);
/* Looks for the bytes in all files. */
bool disk_contains(const disk *d, const void *bytes, size_t n);
/* A file's bytes as they are now; NULL when there is none. Valid until the next operation. */
uint8_t *disk_bytes(disk *d, const char *name, size_t *n);
/* All that is stored, in bytes. */
size_t disk_size(const disk *d);
/* How many syncs there were. */
long disk_syncs(const disk *d);

/* The operations of host.h. */
int32_t disk_open(disk *d, const char *path, size_t path_size, int32_t flags);
int32_t disk_close(disk *d, int32_t fd);
int32_t disk_read(disk *d, int32_t fd, void *buf, size_t n, double offset);
int32_t disk_write(disk *d, int32_t fd, const void *buf, size_t n, double offset);
int32_t disk_truncate(disk *d, int32_t fd, double size);
int32_t disk_sync(disk *d, int32_t fd);
double disk_file_size(disk *d, int32_t fd);
int32_t disk_delete(disk *d, const char *path, size_t path_size);
int32_t disk_exists(disk *d, const char *path, size_t path_size);

#endif
