/* http_static.h: the files of the web pages, held in memory with their compressed forms. Only what was found under the
 * folder has a name here, so no path of a request reaches the file system. */
#ifndef SERVER_HTTP_STATIC_H
#define SERVER_HTTP_STATIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef enum static_encoding { ENCODING_NONE, ENCODING_BROTLI, ENCODING_GZIP, ENCODINGS } static_encoding;

/* Shared and counted: an answer under way keeps its content while the folder changes. */
typedef struct static_content {
    uint8_t *bytes;
    size_t size;
    char etag[32]; /* with its quotes */
    int64_t modified, inode;
    unsigned holders;
} static_content;

typedef struct static_file {
    char *path; /* "/assets/app.js" */
    const char *type;
    bool immutable;                     /* under /assets/: its name changes with its content */
    static_content *content[ENCODINGS]; /* NULL: not there in this form */
} static_file;

typedef struct static_files static_files;

/* ERR_NOT_FOUND when there is no such folder. */
MUST_USE err static_open(const char *folder, static_files **out);
void static_close(static_files *s);
/* The file for a request's path ("/" and "/staff/" mean their index.html). NULL: none; *redirect is then set when the path
 * with a slash behind it would be one. Looks for changes in the folder at most every two seconds. */
const static_file *static_find(static_files *s, const char *path, int64_t now_ms, bool *redirect);
static_content *static_hold(static_content *c);
void static_release(static_content *c);

/* The headers of every page and file, one place for all: name, value, … , NULL. */
extern const char *const STATIC_HEADERS[];
/* And those of the API's answers. */
extern const char *const API_HEADERS[];

#endif
