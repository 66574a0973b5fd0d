#include "directory.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 8 /* places that a name may have */

/* Each place begins with its name; `added` says when, 0: it is empty. */
typedef struct table {
    size_t sets, size, name_size;
    uint8_t *places;
    uint64_t *added;
} table;

typedef struct known_clinic {
    uint8_t id[ID_SIZE];
    int64_t mark, minute, nonce_number, nonce_mark;
    uint64_t generation;
} known_clinic;

struct directory {
    uint64_t secret, clock, generation;
    table clinics, devices, groups;
};

static err table_open(table *t, size_t count, size_t size, size_t name_size) {
    *t = (table){.sets = 1, .size = size, .name_size = name_size};
    while (t->sets * WAYS < count)
        t->sets *= 2;
    t->places = calloc(t->sets * WAYS, size);
    t->added = calloc(t->sets * WAYS, sizeof *t->added);
    return t->places != NULL && t->added != NULL ? OK : ERR_NO_MEMORY;
}

static void table_close(table *t) {
    free(t->places);
    free(t->added);
}

static void table_empty(table *t) { memset(t->added, 0, t->sets * WAYS * sizeof *t->added); }

/* Names are digests or random bytes of somebody else's choice. */
static size_t set_of(const directory *d, const table *t, const uint8_t *name) {
    uint64_t x;
    memcpy(&x, name, sizeof x);
    x ^= d->secret;
    for (int i = 0; i < 2; i++) {
        x ^= x >> 32;
        x *= 0xd6e8feb86659fd93u;
    }
    return (size_t)((x ^ x >> 32) & (t->sets - 1)) * WAYS;
}

/* The index of its place, or `missing`. */
static const size_t MISSING = SIZE_MAX;
static size_t find(const directory *d, const table *t, const uint8_t *name) {
    size_t set = set_of(d, t, name);
    for (size_t i = set; i < set + WAYS; i++)
        if (t->added[i] != 0 && memcmp(t->places + i * t->size, name, t->name_size) == 0)
            return i;
    return MISSING;
}

static void *found(const directory *d, const table *t, const uint8_t *name) {
    size_t i = find(d, t, name);
    return i != MISSING ? t->places + i * t->size : NULL;
}

static void *add(directory *d, table *t, const uint8_t *name) {
    size_t set = set_of(d, t, name), at = find(d, t, name);
    if (at == MISSING) {
        at = set;
        for (size_t i = set; i < set + WAYS; i++)
            if (t->added[i] < t->added[at])
                at = i;
    }
    t->added[at] = ++d->clock;
    uint8_t *place = t->places + at * t->size;
    memset(place, 0, t->size);
    memcpy(place, name, t->name_size);
    return place;
}

static void forget(directory *d, table *t, const uint8_t *name) {
    size_t i = find(d, t, name);
    if (i != MISSING)
        t->added[i] = 0;
}

err directory_open(uint64_t secret, directory **out) {
    directory *d = calloc(1, sizeof *d);
    *out = d;
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->secret = secret;
    err e = table_open(&d->clinics, CLINICS_REMEMBERED, sizeof(known_clinic), ID_SIZE);
    if (e == OK)
        e = table_open(&d->devices, DEVICES_REMEMBERED, sizeof(known_device), ID_SIZE);
    if (e == OK)
        e = table_open(&d->groups, GROUPS_REMEMBERED, sizeof(known_group), GROUP_BYTES);
    if (e != OK) {
        directory_close(d);
        *out = NULL;
    }
    return e;
}

void directory_close(directory *d) {
    if (d == NULL)
        return;
    table_close(&d->clinics);
    table_close(&d->devices);
    table_close(&d->groups);
    free(d);
}

static known_clinic *clinic_of(directory *d, const uint8_t clinic[ID_SIZE]) {
    known_clinic *k = found(d, &d->clinics, clinic);
    if (k == NULL) {
        k = add(d, &d->clinics, clinic);
        k->generation = ++d->generation;
    }
    return k;
}

uint64_t directory_generation(directory *d, const uint8_t clinic[ID_SIZE], int64_t mark) {
    known_clinic *k = clinic_of(d, clinic);
    if (k->mark != mark)
        k->generation = ++d->generation;
    k->mark = mark;
    return k->generation;
}

void directory_marked(directory *d, const uint8_t clinic[ID_SIZE], int64_t mark) { clinic_of(d, clinic)->mark = mark; }

uint64_t directory_forget_clinic(directory *d, const uint8_t clinic[ID_SIZE]) {
    return clinic_of(d, clinic)->generation = ++d->generation;
}

bool directory_minute_begins(directory *d, const uint8_t clinic[ID_SIZE], int64_t minute) {
    known_clinic *k = clinic_of(d, clinic);
    bool begins = k->minute != minute;
    k->minute = minute;
    return begins;
}

void directory_nonces(directory *d, const uint8_t clinic[ID_SIZE], int64_t *number, int64_t *mark) {
    const known_clinic *k = found(d, &d->clinics, clinic);
    *number = k != NULL ? k->nonce_number : 0;
    *mark = k != NULL ? k->nonce_mark : 0;
}

void directory_nonces_are(directory *d, const uint8_t clinic[ID_SIZE], int64_t number, int64_t mark) {
    known_clinic *k = clinic_of(d, clinic);
    k->nonce_number = number;
    k->nonce_mark = mark;
}

known_device *directory_device(directory *d, const uint8_t id[ID_SIZE]) { return found(d, &d->devices, id); }
known_group *directory_group(directory *d, const uint8_t id[GROUP_BYTES]) { return found(d, &d->groups, id); }
known_device *directory_add_device(directory *d, const uint8_t id[ID_SIZE]) { return add(d, &d->devices, id); }
known_group *directory_add_group(directory *d, const uint8_t id[GROUP_BYTES]) { return add(d, &d->groups, id); }
void directory_forget_device(directory *d, const uint8_t id[ID_SIZE]) { forget(d, &d->devices, id); }
void directory_forget_group(directory *d, const uint8_t id[GROUP_BYTES]) { forget(d, &d->groups, id); }

void directory_forget_all(directory *d) {
    table_empty(&d->clinics);
    table_empty(&d->devices);
    table_empty(&d->groups);
}
