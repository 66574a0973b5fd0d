/* bench_main.c: build/tests/bench: runs the list natively and writes one line a measure: its name, then nanoseconds of processor
 * time an operation for each round; for one that has limits further lines, "of limit NAME" and "of whole NAME", with the part of that
 * rate that it reached, the limit run just before it. rates.mjs does the same in wasm. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"

#define ROUNDS 15
#define MEASURES_MAX 128
#define ROUND_NS 15e6

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double run(int measure, int count) {
    int failed = bench_prepare(measure, count);
    double begin = now_ns();
    if (failed == 0)
        failed = bench_run(measure, count);
    double took = now_ns() - begin;
    if (failed != 0) {
        fprintf(stderr, "%s failed (%d)\n", bench_name(measure), failed);
        exit(1);
    }
    return took;
}

int main(void) {
    static int counts[MEASURES_MAX];
    static double results[MEASURES_MAX][ROUNDS], parts[2][MEASURES_MAX][ROUNDS];
    int failed = bench_start(), measures = bench_count();
    if (failed != 0 || measures > MEASURES_MAX) {
        fprintf(stderr, "the benchmark did not start (%d)\n", failed);
        return 1;
    }
    for (int i = 0; i < measures; i++) {
        counts[i] = 1;
        while (run(i, counts[i]) < ROUND_NS / 2 && counts[i] < bench_most(i))
            counts[i] *= 2;
        if (counts[i] > bench_most(i))
            counts[i] = bench_most(i);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < measures; i++) {
            double bounds[2] = {0};
            for (int whole = 0; whole < 2; whole++) {
                int limit = bench_limit(i, whole);
                bounds[whole] = limit >= 0 ? run(limit, counts[limit]) / counts[limit] : 0;
            }
            results[i][round] = run(i, counts[i]) / counts[i];
            parts[0][i][round] = bounds[0] / results[i][round];
            parts[1][i][round] = bounds[1] / results[i][round];
        }
    for (int i = 0; i < measures; i++) {
        printf("%s", bench_name(i));
        for (int round = 0; round < ROUNDS; round++)
            printf("\t%.1f", results[i][round]);
        printf("\n");
        for (int whole = 0; whole < 2 && bench_limit(i, whole) >= 0; whole++) {
            printf("of %s %s", whole ? "whole" : "limit", bench_name(i));
            for (int round = 0; round < ROUNDS; round++)
                printf("\t%.3f", parts[whole][i][round]);
            printf("\n");
        }
    }
    return 0;
}
