/* A target without libFuzzer: runs every input kept in a folder, then ROUNDS of them changed a little, in an order that is
 * always the same. So the tests meet again what fuzzing once found, in the build that they have anyway.
 *
 *     replay_NAME FOLDER ROUNDS        writes TAP */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

#include "support/host.h"

#define SIZE_LIMIT 4096

__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

typedef struct input {
    uint8_t *p;
    size_t n;
    char name[64];
} input;

static input *inputs;
static size_t count;
static uint64_t state = 1;

static uint32_t next(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
    uint32_t at = next((uint32_t)size + 1);
    switch (next(4)) {
    case 0: /* a byte more */
        if (size == max_size)
            break;
        memmove(data + at + 1, data + at, size - at);
        data[at] = (uint8_t)next(256);
        return size + 1;
    case 1: /* one less */
        if (size < 2 || at == size)
            break;
        memmove(data + at, data + at + 1, size - at - 1);
        return size - 1;
    case 2:
        if (at < size)
            data[at] = (uint8_t)next(256);
        break;
    default:
        if (at < size)
            data[at] ^= (uint8_t)(1u << next(8));
    }
    return size;
}

static int by_name(const void *a, const void *b) { return strcmp(((const input *)a)->name, ((const input *)b)->name); }

static void read_all(const char *folder) {
    DIR *d = opendir(folder);
    REQUIRE(d != NULL);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char path[512];
        if (entry->d_name[0] == '.')
            continue;
        inputs = realloc(inputs, (count + 1) * sizeof *inputs);
        REQUIRE(inputs != NULL);
        input *i = &inputs[count++];
        snprintf(i->name, sizeof i->name, "%s", entry->d_name);
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *f = fopen(path, "rb");
        REQUIRE(f != NULL && fseek(f, 0, SEEK_END) == 0);
        i->n = (size_t)ftell(f);
        i->p = malloc(i->n + 1);
        rewind(f);
        REQUIRE(i->p != NULL && fread(i->p, 1, i->n, f) == i->n);
        fclose(f);
    }
    closedir(d);
    qsort(inputs, count, sizeof *inputs, by_name);
}

/* In memory of its exact size, so that ASan sees a read past the end. */
static void run(const uint8_t *p, size_t n) {
    uint8_t *exact = malloc(n);
    REQUIRE(n == 0 || exact != NULL);
    if (n > 0)
        memcpy(exact, p, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

int main(int argc, char **argv) {
    REQUIRE(argc == 3);
    host_set_log_level(4);
    read_all(argv[1]);
    REQUIRE(count > 0);
    printf("1..2\n");
    fflush(stdout);
    for (size_t i = 0; i < count; i++)
        run(inputs[i].p, inputs[i].n);
    printf("ok 1 - %zu inputs that were kept\n", count);
    fflush(stdout);
    long rounds = atol(argv[2]);
    for (long r = 0; r < rounds; r++) {
        uint8_t changed[SIZE_LIMIT];
        const input *from = &inputs[(size_t)r % count];
        size_t n = from->n < SIZE_LIMIT ? from->n : SIZE_LIMIT;
        memcpy(changed, from->p, n);
        for (uint32_t times = 1 + next(3); times > 0; times--)
            n = LLVMFuzzerCustomMutator != NULL ? LLVMFuzzerCustomMutator(changed, n, SIZE_LIMIT, next(1u << 30))
                                                : LLVMFuzzerMutate(changed, n, SIZE_LIMIT);
        run(changed, n);
    }
    printf("ok 2 - %ld of them changed\n", rounds);
    for (size_t i = 0; i < count; i++)
        free(inputs[i].p);
    free(inputs);
    return 0;
}
