#include "http_static.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "crypto/sha256.h"
#include "limits.h"
#include "log.h"

#define DEPTH_MAX 8
#define RESCAN_MS 2000

const char *const STATIC_HEADERS[] = {
    "content-security-policy:",
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types sotto lit-html",
    "referrer-policy:", "no-referrer", "x-content-type-options:", "nosniff",
    "cross-origin-opener-policy:", "same-origin", "cross-origin-embedder-policy:", "require-corp",
    "cross-origin-resource-policy:", "same-origin",
    /* The camera reads QR codes and takes photos, the microphone nothing yet. */
    "permissions-policy:", "camera=(self), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    NULL};

const char *const API_HEADERS[] = {"cache-control:",
                                   "no-store",
                                   "content-security-policy:",
                                   "default-src 'none'; frame-ancestors 'none'",
                                   "referrer-policy:",
                                   "no-referrer",
                                   "x-content-type-options:",
                                   "nosniff",
                                   "cross-origin-resource-policy:",
                                   "same-origin",
                                   NULL};

struct static_files {
    char *folder;
    static_file *file; /* sorted by path */
    size_t count, bytes;
    int64_t scanned_ms;
};

static const struct {
    const char *ending, *type;
} TYPES[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".wasm", "application/wasm"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".webp", "image/webp"},
    {".ico", "image/vnd.microsoft.icon"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
};

static bool ends_with(const char *s, const char *ending) {
    size_t n = strlen(s), m = strlen(ending);
    return n > m && strcmp(s + n - m, ending) == 0;
}

static const char *type_of(const char *path) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (ends_with(path, TYPES[i].ending))
            return TYPES[i].type;
    return "application/octet-stream";
}

/* ---- content */

static_content *static_hold(static_content *c) {
    c->holders++;
    return c;
}

void static_release(static_content *c) {
    if (c == NULL || --c->holders > 0)
        return;
    free(c->bytes);
    free(c);
}

static static_content *load(int folder, const char *name, const struct stat *facts) {
    static_content *c = calloc(1, sizeof *c);
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    size_t size = (size_t)facts->st_size;
    if (c != NULL)
        c->bytes = malloc(size + 1);
    bool good = fd >= 0 && c != NULL && c->bytes != NULL;
    while (good && c->size < size) {
        ssize_t n = read(fd, c->bytes + c->size, size - c->size);
        good = n > 0;
        c->size += good ? (size_t)n : 0;
    }
    if (fd >= 0)
        (void)close(fd);
    if (!good) {
        if (c != NULL)
            free(c->bytes);
        free(c);
        return NULL;
    }
    uint8_t digest[32];
    sha256(span_of(c->bytes, c->size), digest);
    c->etag[0] = '"';
    base64url_write(c->etag + 1, span_of(digest, 16));
    strcpy(c->etag + 1 + BASE64URL_SIZE(16), "\"");
    c->modified = (int64_t)facts->st_mtim.tv_sec * 1000000000 + facts->st_mtim.tv_nsec;
    c->inode = (int64_t)facts->st_ino;
    c->holders = 1;
    return c;
}

/* ---- the folder */

static int by_path(const void *a, const void *b) {
    return strcmp(((const static_file *)a)->path, ((const static_file *)b)->path);
}

static static_file *lookup(const static_files *s, const char *path) {
    static_file key = {.path = (char *)(uintptr_t)path};
    return s->count == 0 ? NULL : bsearch(&key, s->file, s->count, sizeof *s->file, by_path);
}

static bool unchanged(const static_content *c, const struct stat *facts) {
    return c != NULL && c->size == (size_t)facts->st_size && c->inode == (int64_t)facts->st_ino &&
           c->modified == (int64_t)facts->st_mtim.tv_sec * 1000000000 + facts->st_mtim.tv_nsec;
}

/* The file that `path` is a compressed form of, by its name; NULL when it is none. */
static static_file *whole_of(const static_files *s, const char *path, static_encoding *form) {
    char base[PATH_MAX_BYTES];
    if (!ends_with(path, ".br") && !ends_with(path, ".gz"))
        return NULL;
    *form = ends_with(path, ".br") ? ENCODING_BROTLI : ENCODING_GZIP;
    (void)snprintf(base, sizeof base, "%.*s", (int)(strlen(path) - 3), path);
    return lookup(s, base);
}

/* Adds one file; its compressed forms come as files of their own first and are joined after. */
static void add(static_files *s, const static_files *old, int folder, const char *name, const char *path,
                const struct stat *facts) {
    if (s->count >= STATIC_FILES_MAX || facts->st_size > STATIC_FILE_MAX ||
        s->bytes + (size_t)facts->st_size > STATIC_BYTES_MAX) {
        log_line(LOG_WARNING, "event=static message=\"too many or too large files: one was left out\"");
        return;
    }
    static_file *grown = realloc(s->file, (s->count + 1) * sizeof *grown);
    char *own = strdup(path);
    if (grown != NULL)
        s->file = grown;
    if (grown == NULL || own == NULL) {
        free(own);
        return;
    }
    /* What was a compressed form is found at its file. */
    static_encoding form = ENCODING_NONE;
    static_file *before = lookup(old, path);
    if (before == NULL)
        before = whole_of(old, path, &form);
    static_content *content = before != NULL && unchanged(before->content[form], facts)
                                  ? static_hold(before->content[form])
                                  : load(folder, name, facts);
    if (content == NULL) {
        free(own);
        return;
    }
    s->bytes += content->size;
    s->file[s->count++] = (static_file){.path = own,
                                        .type = type_of(path),
                                        .immutable = strncmp(path, "/assets/", 8) == 0,
                                        .content = {[ENCODING_NONE] = content}};
}

static void scan(static_files *s, const static_files *old, int folder, const char *prefix, int depth) {
    DIR *d = fdopendir(folder);
    if (d == NULL) {
        (void)close(folder);
        return;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[PATH_MAX_BYTES];
        struct stat facts;
        if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", prefix, e->d_name) >= (int)sizeof path ||
            fstatat(folder, e->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(facts.st_mode)) {
            add(s, old, folder, e->d_name, path, &facts);
        } else if (S_ISDIR(facts.st_mode) && depth < DEPTH_MAX) {
            int below = openat(folder, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0)
                scan(s, old, below, path, depth + 1);
        }
    }
    (void)closedir(d);
}

/* app.js.br and app.js.gz become forms of app.js and lose their own names. */
static void join_forms(static_files *s) {
    size_t kept = 0;
    static_encoding form;
    for (size_t i = 0; i < s->count; i++) {
        static_file *whole = whole_of(s, s->file[i].path, &form);
        if (whole == NULL)
            continue;
        static_content *c = s->file[i].content[ENCODING_NONE];
        whole->content[form] = c;
        s->file[i].content[ENCODING_NONE] = NULL;
        size_t n = strlen(c->etag);
        if (n == BASE64URL_SIZE(16) + 2) /* the tags of a file's forms differ, whatever the bytes */
            (void)snprintf(c->etag + n - 1, 4, "%c\"", form == ENCODING_BROTLI ? 'b' : 'g');
    }
    for (size_t i = 0; i < s->count; i++) {
        if (s->file[i].content[ENCODING_NONE] == NULL)
            free(s->file[i].path);
        else
            s->file[kept++] = s->file[i];
    }
    s->count = kept;
}

static void free_files(static_files *s) {
    for (size_t i = 0; i < s->count; i++) {
        for (int form = 0; form < ENCODINGS; form++)
            static_release(s->file[i].content[form]);
        free(s->file[i].path);
    }
    free(s->file);
    s->file = NULL;
    s->count = 0;
}

static err rescan(static_files *s) {
    int folder = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return ERR_NOT_FOUND;
    static_files fresh = {.folder = s->folder, .scanned_ms = s->scanned_ms};
    scan(&fresh, s, folder, "", 0);
    if (fresh.count > 0)
        qsort(fresh.file, fresh.count, sizeof *fresh.file, by_path);
    join_forms(&fresh);
    free_files(s);
    *s = fresh;
    return OK;
}

err static_open(const char *folder, static_files **out) {
    static_files *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->folder = strdup(folder);
    err e = s->folder == NULL ? ERR_NO_MEMORY : rescan(s);
    if (e != OK) {
        static_close(s);
        return e;
    }
    *out = s;
    return OK;
}

void static_close(static_files *s) {
    if (s == NULL)
        return;
    free_files(s);
    free(s->folder);
    free(s);
}

const static_file *static_find(static_files *s, const char *path, int64_t now_ms, bool *redirect) {
    char index[PATH_MAX_BYTES + 16];
    *redirect = false;
    if (now_ms - s->scanned_ms >= RESCAN_MS || now_ms < s->scanned_ms) {
        s->scanned_ms = now_ms;
        (void)!rescan(s);
    }
    size_t n = strlen(path);
    if (n == 0 || n >= PATH_MAX_BYTES)
        return NULL;
    const static_file *found = lookup(s, path);
    if (found != NULL)
        return found;
    (void)snprintf(index, sizeof index, "%s%s", path, path[n - 1] == '/' ? "index.html" : "/index.html");
    found = lookup(s, index);
    if (found != NULL && path[n - 1] != '/') {
        *redirect = true;
        return NULL;
    }
    return found;
}
