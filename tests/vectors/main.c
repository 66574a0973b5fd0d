/* main.c: build/tests/vectors FILE…: checks files and writes TAP; tests/vectors/run.mjs finds them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

static char *read_whole(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    char *bytes = NULL;
    *size = 0;
    for (size_t room = 0, n = 1; n > 0; *size += n) {
        if (room - *size < 65536) {
            room = 2 * room + 65536;
            bytes = realloc(bytes, room);
            if (bytes == NULL)
                abort();
        }
        n = fread(bytes + *size, 1, room - *size, f);
    }
    fclose(f);
    return bytes;
}

int main(int argc, char **argv) {
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/'), *name = slash != NULL ? slash + 1 : argv[i];
        size_t size;
        char *json = read_whole(argv[i], &size);
        if (json == NULL) {
            printf("not ok - %s can't be read\n", argv[i]);
            failures++;
            continue;
        }
        char *lines = vectors_check_file(name, json, size);
        failures += strncmp(lines, "not ok", 6) == 0 || strstr(lines, "\nnot ok") != NULL;
        fputs(lines, stdout);
        free(lines);
        free(json);
    }
    return failures > 0;
}
