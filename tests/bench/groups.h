/* groups.h: the work of groups, one step at a time. Two devices, which see only each other's bytes: the first creates the
 * group and holds the keys of all its members but the last; the second is that last one, who joins by the Welcome. In
 * wasm each lives in an instance of its own, so that its memory can be seen. The clock and the order of steps are the
 * driver's: groups.mjs, natively through groups_main.c. */
#ifndef BENCH_GROUPS_H
#define BENCH_GROUPS_H

#include <stddef.h>
#include <stdint.h>

enum groups_device { GROUPS_FIRST, GROUPS_LAST };

/* What passes between the devices. */
enum groups_bytes { GROUPS_KEY_PACKAGE, GROUPS_WELCOME, GROUPS_COMMIT, GROUPS_BYTES };

enum groups_step {
    GROUPS_FILL,        /* FIRST: creates the group and adds all others by one commit */
    GROUPS_ONE_BY_ONE,  /* FIRST: the same in a commit for each (in another group, which is thrown away) */
    GROUPS_JOIN,        /* LAST: by the Welcome */
    GROUPS_COMMIT_PATH, /* an empty commit, which is one with a path: staged and merged */
    GROUPS_PROCESS,     /* the other's commit: processed and merged */
    GROUPS_RELOAD       /* with a store: closes the group and opens it from its records */
};

/* Makes all keys that the device holds. `stored`: its group is kept in a store, a transaction for each step. 0, or the
 * number of the line at which it failed; so for all below. */
int groups_begin(int device, int suite, int members, int stored);
void groups_end(int device);
int groups_run(int device, int step);
/* FIRST, in memory: from now on it commits as that leaf, from the first to the last but one. All members have the secrets
 * of an epoch in common; what is their own is a leaf key and a signature key, which are made in groups_begin. */
int groups_act(int leaf);
/* Room for bytes that come from the other device; the bytes that go to it. */
uint8_t *groups_in(int device, int what, size_t n);
const uint8_t *groups_out(int device, int what);
size_t groups_out_size(int device, int what);
/* Bytes: the most that its arena ever held; the records' contents; the pages of its store. */
enum groups_figure { GROUPS_ARENA, GROUPS_RECORDS, GROUPS_PAGES };
double groups_figure(int device, int figure);

#endif
