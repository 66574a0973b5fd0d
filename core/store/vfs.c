#include "store/vfs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "host.h"
#include "sqlite3.h"

/* Our own file control: gives the vfs_file under SQLite3MultipleCiphers' layer. */
#define VFS_CONTROL_FILE 0x50770001
/* 1970-01-01T00:00Z in milliseconds of the Julian day. */
#define JULIAN_1970_MS 210866760000000.0

struct vfs_file {
    sqlite3_file base;
    vfs_file *database; /* the file whose WAL or journal this is; itself for a database */
    int32_t fd;
    int failed; /* HOST_E*, until the file is closed; in a database's file only */
    int error;  /* the last HOST_E*; in a database's file only */
};

static vfs_file *file_of(sqlite3_file *file) { return (vfs_file *)file; }

/* --- failures --- */

enum operation { READ, WRITE, SYNC, SIZE };

/* Notes a host's error and gives SQLite's code for it. */
static int failure(vfs_file *f, double error, enum operation operation) {
    static const int codes[] = {[READ] = SQLITE_IOERR_READ,
                                [WRITE] = SQLITE_IOERR_WRITE,
                                [SYNC] = SQLITE_IOERR_FSYNC,
                                [SIZE] = SQLITE_IOERR_FSTAT};
    /* After a sync that failed nobody knows what is on the medium: that is not a full disk, of which nothing was taken. */
    if (operation == SYNC)
        error = HOST_EIO;
    f->database->error = (int)error;
    /* A full disk may have room again, as long as only a write found it full. */
    if (operation != WRITE || error == HOST_EIO)
        f->database->failed = (int)error;
    return error == HOST_EFULL && operation == WRITE ? SQLITE_FULL : codes[operation];
}

vfs_file *vfs_main_file(struct sqlite3 *db) {
    vfs_file *f = NULL;
    return sqlite3_file_control(db, "main", VFS_CONTROL_FILE, &f) == SQLITE_OK ? f : NULL;
}

int vfs_take_error(vfs_file *f) {
    int error = f->error;
    f->error = f->failed;
    return error;
}

int vfs_failed(const vfs_file *f) { return f->failed; }

int32_t vfs_read_raw(vfs_file *f, void *buf, size_t n, double offset) { return host_file_read(f->fd, buf, n, offset); }

/* --- files --- */

static int file_close(sqlite3_file *file) {
    vfs_file *f = file_of(file);
    int32_t result = host_file_close(f->fd);
    f->fd = -1;
    return result < 0 ? SQLITE_IOERR_CLOSE : SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *buf, int n, sqlite3_int64 offset) {
    vfs_file *f = file_of(file);
    int32_t got = f->database->failed;
    if (got == 0)
        got = host_file_read(f->fd, buf, (size_t)n, (double)offset);
    if (got == n)
        return SQLITE_OK;
    /* SQLite wants zeros past the end; after an error nobody shall find what the buffer held before. */
    memset((char *)buf + (got > 0 ? got : 0), 0, (size_t)(n - (got > 0 ? got : 0)));
    return got < 0 ? failure(f, got, READ) : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *buf, int n, sqlite3_int64 offset) {
    vfs_file *f = file_of(file);
    int32_t result = f->database->failed;
    if (result == 0)
        result = host_file_write(f->fd, buf, (size_t)n, (double)offset);
    return result < 0 ? failure(f, result, WRITE) : SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    vfs_file *f = file_of(file);
    int32_t result = f->database->failed;
    if (result == 0)
        result = host_file_truncate(f->fd, (double)size);
    return result < 0 ? failure(f, result, WRITE) : SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags) {
    vfs_file *f = file_of(file);
    int32_t result = f->database->failed;
    (void)flags;
    if (result == 0)
        result = host_file_sync(f->fd);
    return result < 0 ? failure(f, result, SYNC) : SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    vfs_file *f = file_of(file);
    double result = f->database->failed;
    *size = 0;
    if (result == 0)
        result = host_file_size(f->fd);
    if (result < 0)
        return failure(f, result, SIZE);
    *size = (sqlite3_int64)result;
    return SQLITE_OK;
}

/* One owner per account: the host sees to it when it opens the file (HOST_OPEN_EXCLUSIVE), so there is nobody to lock out. */
static int file_lock(sqlite3_file *file, int level) {
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int file_check_lock(sqlite3_file *file, int *locked) {
    (void)file;
    *locked = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int operation, void *argument) {
    if (operation != VFS_CONTROL_FILE)
        return SQLITE_NOTFOUND;
    *(vfs_file **)argument = file_of(file);
    return SQLITE_OK;
}

static int file_sector_size(sqlite3_file *file) {
    (void)file;
    return 4096;
}

/* A write cut short damages no byte outside of it. SQLite supposes the same of POSIX files; OPFS is made of such, and the
 * IndexedDB backend writes whole commands or nothing. Without it each commit would have to pad the WAL to a sector. */
static int file_characteristics(sqlite3_file *file) {
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* Version 1: no shared memory. WAL then needs exclusive locking, which keeps its index on the heap. */
static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

/* --- file system --- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *flags_out) {
    vfs_file *f = file_of(file);
    int32_t how = 0;
    (void)vfs;
    memset(f, 0, sizeof *f);
    /* Without a name: a temporary file. Those stay in memory (SQLITE_TEMP_STORE=3); they would not be encrypted. */
    if (name == NULL || (flags & SQLITE_OPEN_DELETEONCLOSE))
        return SQLITE_CANTOPEN;
    f->database = f;
    if (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) {
        sqlite3_file *database = sqlite3_database_file_object(name);
        int rc = database->pMethods->xFileControl(database, VFS_CONTROL_FILE, &f->database);
        assert(rc == SQLITE_OK);
        (void)rc;
        if (f->database->failed)
            return failure(f, f->database->failed, READ);
    }
    if (flags & SQLITE_OPEN_CREATE)
        how |= HOST_OPEN_CREATE;
    if (flags & SQLITE_OPEN_READONLY)
        how |= HOST_OPEN_READONLY;
    if (flags & SQLITE_OPEN_MAIN_DB)
        how |= HOST_OPEN_EXCLUSIVE;
    f->fd = host_file_open(name, strlen(name), how);
    if (f->fd >= 0) {
        f->base.pMethods = &file_methods;
        if (flags_out != NULL)
            *flags_out = flags;
        return SQLITE_OK;
    }
    if (f->database != f)
        return f->fd == HOST_ENOENT ? SQLITE_CANTOPEN : failure(f, f->fd, READ);
    /* There is no open database yet to remember the error in, so the code has to tell. */
    switch (f->fd) {
    case HOST_ENOENT: return SQLITE_CANTOPEN;
    case HOST_EFULL: return SQLITE_FULL;
    case HOST_EBUSY: return SQLITE_BUSY;
    case HOST_EDENIED: return SQLITE_PERM;
    default: return SQLITE_IOERR;
    }
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder) {
    int32_t result = host_file_delete(name, strlen(name));
    (void)vfs;
    (void)sync_folder; /* host_file_delete is durable when it returns */
    if (result == HOST_ENOENT)
        return SQLITE_IOERR_DELETE_NOENT;
    return result < 0 ? SQLITE_IOERR_DELETE : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *exists) {
    int32_t result = host_file_exists(name, strlen(name));
    (void)vfs;
    (void)flags;
    *exists = result > 0;
    return result < 0 ? SQLITE_IOERR_ACCESS : SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *out) {
    size_t n = strlen(name);
    (void)vfs;
    if (n >= (size_t)size)
        return SQLITE_CANTOPEN;
    memcpy(out, name, n + 1);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out) {
    (void)vfs;
    host_random(out, (size_t)n);
    return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    (void)microseconds;
    return 0;
}

static int vfs_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *out) {
    (void)vfs;
    *out = (sqlite3_int64)(host_now() + JULIAN_1970_MS);
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *vfs, double *out) {
    (void)vfs;
    *out = (host_now() + JULIAN_1970_MS) / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out) {
    (void)vfs;
    (void)n;
    (void)out;
    return 0;
}

/* --- memory --- */

/* SQLite frees pages, rows and keys in many places: all of it is wiped. The size stands before the block. */
#define HEADER 8 /* keeps SQLite's alignment of 8 */

static size_t *size_before(void *p) { return (size_t *)(void *)((char *)p - HEADER); }

static void *memory_take(int n) {
    char *p = malloc((size_t)n + HEADER);
    if (p == NULL)
        return NULL;
    *(size_t *)(void *)p = (size_t)n;
    return p + HEADER;
}

static int memory_size(void *p) { return p == NULL ? 0 : (int)*size_before(p); }

static void memory_give(void *p) {
    if (p == NULL)
        return;
    wipe(p, *size_before(p));
    free((char *)p - HEADER);
}

static void *memory_change(void *p, int n) {
    size_t old = *size_before(p);
    if ((size_t)n <= old && (size_t)n >= old / 2) {
        wipe((char *)p + n, old - (size_t)n);
        *size_before(p) = (size_t)n;
        return p;
    }
    void *changed = memory_take(n);
    if (changed == NULL)
        return NULL;
    memcpy(changed, p, old < (size_t)n ? old : (size_t)n);
    memory_give(p);
    return changed;
}

static int memory_round(int n) { return (n + 7) & ~7; }

static int memory_init(void *context) {
    (void)context;
    return SQLITE_OK;
}

static void memory_shutdown(void *context) { (void)context; }

/* --- registration --- */

int vfs_configure(void) {
    static const sqlite3_mem_methods memory = {memory_take,  memory_give, memory_change,   memory_size,
                                               memory_round, memory_init, memory_shutdown, NULL};
    /* Both have no effect, and no harm, once SQLite has been initialised. */
    (void)sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    (void)sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, -1); /* statement journals stay in memory */
    return sqlite3_initialize();
}

int sqlite3_os_init(void) {
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(vfs_file),
        .mxPathname = 255,
        .zName = "sotto",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time_int64,
    };
    return sqlite3_vfs_register(&vfs, 1);
}

int sqlite3_os_end(void) { return SQLITE_OK; }
