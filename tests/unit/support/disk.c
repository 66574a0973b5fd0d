#include "disk.h"

#include <stdlib.h>
#include <string.h>

#include "../../../core/host.h"

enum { FILES = 8, DESCRIPTORS = 32, NAME = 64 };

/* A write or truncation that was not synced. */
typedef struct change {
    struct change *next;
    size_t offset;
    size_t n;
    bool truncates;
    uint8_t bytes[];
} change;

typedef struct bytes {
    uint8_t *p;
    size_t n;
    size_t room;
} bytes;

typedef struct file {
    char name[NAME];
    bool exists;
    bool synced; /* the file itself is on the medium */
    bytes now;
    bytes safe; /* as of the last sync */
    change *first, **last;
} file;

struct disk {
    file files[FILES];
    struct {
        file *file;
        bool exclusive;
    } open[DESCRIPTORS];
    long left, syncs;
    bool cutting, cut;
    size_t capacity;
};

disk *disk_new(void) {
    disk *d = calloc(1, sizeof *d);
    if (d == NULL)
        abort();
    return d;
}

static void set_size(bytes *b, size_t n) {
    if (n > b->room) {
        size_t room = n + n / 2 + 4096;
        b->p = realloc(b->p, room);
        if (b->p == NULL)
            abort();
        b->room = room;
    }
    if (n > b->n)
        memset(b->p + b->n, 0, n - b->n);
    b->n = n;
}

static void put(bytes *b, size_t offset, const uint8_t *p, size_t n) {
    if (n == 0)
        return;
    if (offset + n > b->n)
        set_size(b, offset + n);
    memcpy(b->p + offset, p, n);
}

static void copy(bytes *to, const bytes *from) {
    set_size(to, from->n);
    if (from->n > 0)
        memcpy(to->p, from->p, from->n);
}

static void forget_changes(file *f) {
    while (f->first != NULL) {
        change *c = f->first;
        f->first = c->next;
        free(c);
    }
    f->last = &f->first;
}

static void add_change(file *f, size_t offset, const uint8_t *p, size_t n, bool truncates) {
    change *c = malloc(sizeof *c + (p != NULL ? n : 0));
    if (c == NULL)
        abort();
    *c = (change){.offset = offset, .n = n, .truncates = truncates};
    if (p != NULL && n > 0)
        memcpy(c->bytes, p, n);
    if (f->first == NULL)
        f->last = &f->first;
    *f->last = c;
    f->last = &c->next;
}

static void remove_file(file *f) {
    forget_changes(f);
    free(f->now.p);
    free(f->safe.p);
    memset(f, 0, sizeof *f);
}

void disk_free(disk *d) {
    if (d == NULL)
        return;
    for (int i = 0; i < FILES; i++)
        remove_file(&d->files[i]);
    free(d);
}

disk *disk_copy(const disk *d) {
    disk *twin = disk_new();
    for (int i = 0; i < FILES; i++) {
        if (!d->files[i].exists)
            continue;
        memcpy(twin->files[i].name, d->files[i].name, NAME);
        copy(&twin->files[i].now, &d->files[i].now);
        copy(&twin->files[i].safe, &d->files[i].now);
        twin->files[i].exists = twin->files[i].synced = true;
    }
    return twin;
}

void disk_cut_after(disk *d, long n) {
    d->left = n;
    d->cutting = n > 0;
}

bool disk_is_cut(const disk *d) { return d->cut; }
void disk_set_capacity(disk *d, size_t capacity) { d->capacity = capacity; }
long disk_syncs(const disk *d) { return d->syncs; }

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void settle(file *f, uint32_t *random) {
    if (!f->synced && next_random(random) % 2) {
        remove_file(f);
        return;
    }
    /* Most cuts lose all or nothing; some lose single writes. */
    uint32_t kind = next_random(random) % 4;
    for (change *c = f->first; c != NULL; c = c->next) {
        uint32_t luck = kind == 0 ? 0 : kind == 1 ? 1 : next_random(random) % 3;
        if (luck == 0)
            continue;
        if (c->truncates)
            set_size(&f->safe, c->n);
        else if (luck == 1)
            put(&f->safe, c->offset, c->bytes, c->n);
        else /* torn: some part of it */
            for (size_t at = 0; at < c->n; at += 512)
                if (next_random(random) % 2)
                    put(&f->safe, c->offset + at, c->bytes + at, c->n - at < 512 ? c->n - at : 512);
    }
    forget_changes(f);
    copy(&f->now, &f->safe);
    f->synced = true;
}

void disk_power_on(disk *d, uint32_t seed) {
    uint32_t random = seed * 2654435761u + 1;
    if (random == 0)
        random = 1;
    for (int i = 0; i < 8; i++)
        (void)next_random(&random);
    for (int i = 0; i < FILES; i++)
        if (d->files[i].exists)
            settle(&d->files[i], &random);
    memset(d->open, 0, sizeof d->open);
    d->cut = d->cutting = false;
    d->left = 0;
}

bool disk_contains(const disk *d, const void *wanted, size_t n) {
    for (int i = 0; i < FILES; i++)
        for (size_t at = 0; at + n <= d->files[i].now.n; at++)
            if (memcmp(d->files[i].now.p + at, wanted, n) == 0)
                return true;
    return false;
}

size_t disk_size(const disk *d) {
    size_t sum = 0;
    for (int i = 0; i < FILES; i++)
        sum += d->files[i].now.n;
    return sum;
}

static file *find(disk *d, const char *path, size_t n) {
    for (int i = 0; i < FILES; i++)
        if (d->files[i].exists && strlen(d->files[i].name) == n && memcmp(d->files[i].name, path, n) == 0)
            return &d->files[i];
    return NULL;
}

uint8_t *disk_bytes(disk *d, const char *name, size_t *n) {
    file *f = find(d, name, strlen(name));
    *n = f != NULL ? f->now.n : 0;
    return f != NULL ? f->now.p : NULL;
}

/* Counts an operation; true when there is power for it. */
static bool powered(disk *d) {
    if (d->cutting && d->left-- == 0)
        d->cut = true;
    return !d->cut;
}

int32_t disk_open(disk *d, const char *path, size_t n, int32_t flags) {
    if (!powered(d))
        return HOST_EIO;
    file *f = find(d, path, n);
    for (int i = 0; f == NULL && (flags & HOST_OPEN_CREATE) && i < FILES; i++) {
        if (d->files[i].exists)
            continue;
        if (n >= NAME)
            return HOST_EDENIED;
        f = &d->files[i];
        memcpy(f->name, path, n);
        f->exists = true;
    }
    if (f == NULL)
        return (flags & HOST_OPEN_CREATE) ? HOST_EFULL : HOST_ENOENT;
    bool exclusive = (flags & HOST_OPEN_EXCLUSIVE) != 0;
    for (int i = 0; i < DESCRIPTORS; i++)
        if (d->open[i].file == f && d->open[i].exclusive && exclusive)
            return HOST_EBUSY;
    for (int i = 0; i < DESCRIPTORS; i++) {
        if (d->open[i].file != NULL)
            continue;
        d->open[i].file = f;
        d->open[i].exclusive = exclusive;
        return i;
    }
    return HOST_EIO;
}

static file *open_file(disk *d, int32_t fd) { return fd >= 0 && fd < DESCRIPTORS ? d->open[fd].file : NULL; }

int32_t disk_close(disk *d, int32_t fd) {
    bool power = powered(d);
    if (open_file(d, fd) == NULL)
        return HOST_EIO;
    d->open[fd].file = NULL;
    return power ? 0 : HOST_EIO;
}

int32_t disk_read(disk *d, int32_t fd, void *buf, size_t n, double offset) {
    file *f = open_file(d, fd);
    if (!powered(d) || f == NULL)
        return HOST_EIO;
    size_t at = (size_t)offset, got = at < f->now.n ? f->now.n - at : 0;
    if (got > n)
        got = n;
    if (got > 0)
        memcpy(buf, f->now.p + at, got);
    return (int32_t)got;
}

int32_t disk_write(disk *d, int32_t fd, const void *buf, size_t n, double offset) {
    file *f = open_file(d, fd);
    if (!powered(d) || f == NULL)
        return HOST_EIO;
    size_t end = (size_t)offset + n, more = end > f->now.n ? end - f->now.n : 0;
    if (d->capacity > 0 && more > 0 && disk_size(d) + more > d->capacity)
        return HOST_EFULL;
    put(&f->now, (size_t)offset, buf, n);
    add_change(f, (size_t)offset, buf, n, false);
    return 0;
}

int32_t disk_truncate(disk *d, int32_t fd, double size) {
    file *f = open_file(d, fd);
    if (!powered(d) || f == NULL)
        return HOST_EIO;
    set_size(&f->now, (size_t)size);
    add_change(f, 0, NULL, (size_t)size, true);
    return 0;
}

int32_t disk_sync(disk *d, int32_t fd) {
    file *f = open_file(d, fd);
    if (!powered(d) || f == NULL)
        return HOST_EIO;
    d->syncs++;
    forget_changes(f);
    copy(&f->safe, &f->now);
    f->synced = true;
    return 0;
}

double disk_file_size(disk *d, int32_t fd) {
    file *f = open_file(d, fd);
    return powered(d) && f != NULL ? (double)f->now.n : HOST_EIO;
}

int32_t disk_delete(disk *d, const char *path, size_t n) {
    if (!powered(d))
        return HOST_EIO;
    file *f = find(d, path, n);
    if (f == NULL)
        return HOST_ENOENT;
    remove_file(f);
    return 0;
}

int32_t disk_exists(disk *d, const char *path, size_t n) {
    if (!powered(d))
        return HOST_EIO;
    return find(d, path, n) != NULL;
}
