/* ctcheck.h: marking bytes as secret, that is as undefined to valgrind's memcheck, which follows them through every copy and
 * computation and reports when a branch or an address depends on one (after Langley's ctgrind). */
#ifndef CTCHECK_CTCHECK_H
#define CTCHECK_CTCHECK_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/memcheck.h>

#include "crypto/suite.h"

#define SECRET(p, n) ((void)VALGRIND_MAKE_MEM_UNDEFINED((p), (n)))
/* Only with a reason beside it why everybody may know these bytes. */
#define PUBLIC(p, n) ((void)VALGRIND_MAKE_MEM_DEFINED((p), (n)))

#define MUST(condition) must((condition), #condition, __FILE__, __LINE__)
static inline void must(bool held, const char *what, const char *file, int line) {
    if (held)
        return;
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

/* Aborts unless every byte is still marked: a path on which the mark was lost would look clean. */
void must_be_secret(const void *p, size_t n);

/* Something that handles secrets, run once with each suite, or once alone with suite NULL. */
typedef struct path {
    const char *name;
    void (*run)(const suite *s);
    bool each_suite;
} path;

extern const path crypto_paths[], mls_paths[], client_paths[]; /* each ends with a name of NULL */

#endif
