/* groups_main.c: build/tests/groups: carries out the steps of groups.h natively as groups.mjs asks for them, a line each:
 * the function's name and its numbers. Answers with a number: nanoseconds of processor time for `run`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "groups.h"

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(int failed, const char *what) {
    if (failed == 0)
        return;
    fprintf(stderr, "%s failed (%d)\n", what, failed);
    exit(1);
}

static double run(int device, int step) {
    double begin = now_ns();
    must(groups_run(device, step), "groups_run");
    return now_ns() - begin;
}

/* From that device to the other one. */
static double pass(int device, int what) {
    size_t n = groups_out_size(device, what);
    memcpy(groups_in(1 - device, what, n), groups_out(device, what), n);
    return (double)n;
}

int main(void) {
    char line[128], name[32];
    int a, b, c, d;
    while (fgets(line, sizeof line, stdin) != NULL) {
        double answer = 0;
        a = b = c = d = 0;
        if (sscanf(line, "%31s %d %d %d %d", name, &a, &b, &c, &d) < 2)
            return 2;
        if (strcmp(name, "begin") == 0)
            must(groups_begin(a, b, c, d), "groups_begin");
        else if (strcmp(name, "end") == 0)
            groups_end(a);
        else if (strcmp(name, "act") == 0)
            must(groups_act(a), "groups_act");
        else if (strcmp(name, "run") == 0)
            answer = run(a, b);
        else if (strcmp(name, "pass") == 0)
            answer = pass(a, b);
        else if (strcmp(name, "figure") == 0)
            answer = groups_figure(a, b);
        else
            return 2;
        printf("%.0f\n", answer);
        fflush(stdout);
    }
    return 0;
}
