/* bench.h: what `make bench` measures inside the core, as a list. The same sources run natively (main.c) and in wasm (the
 * functions marked `used`, driven by rates.mjs); neither clock nor statistics are in here. */
#ifndef BENCH_H
#define BENCH_H

/* Makes keys, groups and stores. 0, or the number of the line at which it failed. */
int bench_start(void);
int bench_count(void);
/* Like "mls f00e memory send 1000": NULL when out of range. */
const char *bench_name(int measure);
/* The measure that bounds it: libsodium's signing or verifying of as many bytes; `whole`: all that libsodium has to do for
 * such a message, derivations and encryption too. -1: none. */
int bench_limit(int measure, int whole);
/* How many operations one run may do at most. */
int bench_most(int measure);
/* What `count` operations need, made outside of the time that is measured. */
int bench_prepare(int measure, int count);
int bench_run(int measure, int count);

/* The first thing a new device has: a key package. Its own entry, for the time of a cold start. */
int bench_first_key(int suite);
/* The same, kept in a store: "" in memory, else a file with a key of its own. */
int bench_first_key_stored(int suite, int on_disk);

#endif
