#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"

static struct {
    char root[PATH_MAX];
    disk *disk;
    double now;
    bool now_set;
    uint8_t random[65536];
    size_t random_at, random_size;
    uint64_t generator;
    bool generator_set;
    unsigned long random_calls;
    long operations, fail_at, fail_from, abort_at;
    int error;
    bool torn;
    int log_level;
    bool log_level_set;
    char logged[65536];
    size_t logged_size;
} host = {.error = HOST_EIO};

/* --- switches --- */

void host_set_root(const char *root) {
    if (strlen(root) >= sizeof host.root)
        abort();
    strcpy(host.root, root);
}

const char *host_temporary_root(void) {
    const char *folder = getenv("TMPDIR");
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/sotto-test-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(name) == NULL)
        abort();
    host_set_root(name);
    return host.root;
}

void host_remove_root(void) {
    DIR *folder = host.root[0] ? opendir(host.root) : NULL;
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    (void)rmdir(host.root);
    host.root[0] = 0;
}

void host_set_disk(disk *d) { host.disk = d; }

void host_set_now(double now) {
    host.now = now;
    host.now_set = now >= 0;
}

void host_set_random(const void *bytes, size_t n) {
    if (n > sizeof host.random)
        abort();
    if (bytes != NULL && n > 0)
        memcpy(host.random, bytes, n);
    host.random_at = 0;
    host.random_size = bytes != NULL ? n : 0;
}

void host_seed_random(uint64_t seed) {
    host.generator = seed;
    host.generator_set = true;
}

/* SplitMix64 (Steele et al., 2014). */
static uint8_t generated(void) {
    uint64_t z = host.generator += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint8_t)(z ^ z >> 31);
}

unsigned long host_random_calls(void) { return host.random_calls; }
void host_fail_after(long n) { host.fail_at = n > 0 ? host.operations + n : 0; }
void host_fail_from(long n) { host.fail_from = n > 0 ? host.operations + n : 0; }
void host_fail_with(enum host_error error) { host.error = error; }
void host_abort_after(long n) { host.abort_at = n > 0 ? host.operations + n : 0; }
void host_set_torn(int torn) { host.torn = torn != 0; }
long host_operations(void) { return host.operations; }

void host_set_log_level(int level) {
    host.log_level = level;
    host.log_level_set = true;
}

const char *host_logged(void) { return host.logged; }

/* --- randomness, clock, log --- */

void host_random(void *buf, size_t n) {
    uint8_t *p = buf;
    host.random_calls++;
    for (; n > 0 && host.random_at < host.random_size; n--)
        *p++ = host.random[host.random_at++];
    for (; n > 0 && host.generator_set; n--)
        *p++ = generated();
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        p += got;
        n -= (size_t)got;
    }
}

double host_now(void) {
    if (host.now_set)
        return host.now;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec * 1000 + (double)(t.tv_nsec / 1000000);
}

void host_log(int32_t level, const char *text, size_t n) {
    if (!host.log_level_set) {
        const char *wanted = getenv("SOTTO_LOG");
        host_set_log_level(wanted != NULL ? atoi(wanted) : 2);
    }
    if (level >= host.log_level)
        fprintf(stderr, "log %d: %.*s\n", (int)level, (int)n, text);
    size_t limit = sizeof host.logged - 2;
    if (n > limit)
        n = limit;
    if (host.logged_size + n > limit) {
        size_t drop = host.logged_size + n - limit;
        memmove(host.logged, host.logged + drop, host.logged_size - drop);
        host.logged_size -= drop;
    }
    memcpy(host.logged + host.logged_size, text, n);
    host.logged_size += n;
    host.logged[host.logged_size++] = '\n';
    host.logged[host.logged_size] = 0;
}

/* --- files --- */

/* Counts an operation; true when it is to fail. */
static bool fails(void) {
    host.operations++;
    return host.operations == host.fail_at || (host.fail_from > 0 && host.operations >= host.fail_from);
}

static bool aborts(void) { return host.operations == host.abort_at; }

static int failure(void) {
    switch (errno) {
    case ENOENT: return HOST_ENOENT;
    case ENOSPC:
    case EDQUOT: return HOST_EFULL;
    case EWOULDBLOCK: return HOST_EBUSY;
    case EACCES:
    case EPERM:
    case EROFS: return HOST_EDENIED;
    default: return HOST_EIO;
    }
}

/* Begins an operation; true, with *result set, when it ends here. */
static bool stopped(int *result) {
    bool failing = fails();
    if (aborts())
        _exit(HOST_ABORTED);
    *result = failing ? host.error : HOST_EDENIED;
    return failing || (host.root[0] == 0 && host.disk == NULL);
}

/* The path on disk; false for one that would leave the root. */
static bool path_of(char out[PATH_MAX], const char *path, size_t n) {
    if (n == 0 || n >= NAME_MAX || memchr(path, 0, n) != NULL || memchr(path, '/', n) != NULL || path[0] == '.')
        return false;
    return (size_t)snprintf(out, PATH_MAX, "%s/%.*s", host.root, (int)n, path) < PATH_MAX;
}

int32_t host_file_open(const char *path, size_t path_size, int32_t flags) {
    int result;
    char name[PATH_MAX];
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_open(host.disk, path, path_size, flags);
    if (!path_of(name, path, path_size))
        return HOST_EDENIED;
    int how = (flags & HOST_OPEN_READONLY) ? O_RDONLY : O_RDWR;
    if (flags & HOST_OPEN_CREATE)
        how |= O_CREAT;
    int fd = open(name, how | O_CLOEXEC, 0600);
    if (fd < 0)
        return failure();
    if ((flags & HOST_OPEN_EXCLUSIVE) && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        result = failure();
        close(fd);
        return result;
    }
    return fd;
}

int32_t host_file_close(int32_t fd) {
    /* A failing close closes all the same, as POSIX's does. */
    int result, closed = host.disk != NULL ? disk_close(host.disk, fd) : close(fd);
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return closed;
    return closed == 0 ? 0 : failure();
}

int32_t host_file_read(int32_t fd, void *buf, size_t n, double offset) {
    int result;
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_read(host.disk, fd, buf, n, offset);
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, (char *)buf + done, n - done, (off_t)offset + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failure();
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (int32_t)done;
}

static int write_all(int fd, const char *p, size_t n, off_t offset) {
    while (n > 0) {
        ssize_t put = pwrite(fd, p, n, offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return failure();
        p += put;
        offset += put;
        n -= (size_t)put;
    }
    return 0;
}

int32_t host_file_write(int32_t fd, const void *buf, size_t n, double offset) {
    bool failing = fails(), aborting = aborts();
    if ((failing || aborting) && host.torn)
        (void)(host.disk != NULL ? disk_write(host.disk, fd, buf, n / 2, offset)
                                 : write_all(fd, buf, n / 2, (off_t)offset));
    if (aborting)
        _exit(HOST_ABORTED);
    if (failing)
        return host.error;
    if (host.disk != NULL)
        return disk_write(host.disk, fd, buf, n, offset);
    return host.root[0] ? write_all(fd, buf, n, (off_t)offset) : HOST_EDENIED;
}

int32_t host_file_truncate(int32_t fd, double size) {
    int result;
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_truncate(host.disk, fd, size);
    return ftruncate(fd, (off_t)size) == 0 ? 0 : failure();
}

int32_t host_file_sync(int32_t fd) {
    int result;
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_sync(host.disk, fd);
    return fsync(fd) == 0 ? 0 : failure();
}

double host_file_size(int32_t fd) {
    int result;
    struct stat st;
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_file_size(host.disk, fd);
    return fstat(fd, &st) == 0 ? (double)st.st_size : failure();
}

int32_t host_file_delete(const char *path, size_t path_size) {
    int result;
    char name[PATH_MAX];
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_delete(host.disk, path, path_size);
    if (!path_of(name, path, path_size))
        return HOST_EDENIED;
    return unlink(name) == 0 ? 0 : failure();
}

int32_t host_file_exists(const char *path, size_t path_size) {
    int result;
    char name[PATH_MAX];
    if (stopped(&result))
        return result;
    if (host.disk != NULL)
        return disk_exists(host.disk, path, path_size);
    return path_of(name, path, path_size) && access(name, F_OK) == 0;
}
