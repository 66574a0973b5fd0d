#include "vectors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* The largest cases are updates of trees of some hundred leaves, decoded and encoded several times. */
#define ARENA_SIZE (48u << 20)

typedef struct kind {
    const char *prefix;
    vector_check *check;
    bool has_suite;
} kind;

static const kind kinds[] = {
    {"tree-math", check_tree_math, false},
    {"deserialization", check_deserialization, false},
    {"crypto-basics", check_crypto_basics, true},
    {"key-schedule", check_key_schedule, true},
    {"psk_secret", check_psk_secret, true},
    {"transcript-hashes", check_transcript_hashes, true},
    {"secret-tree", check_secret_tree, true},
    {"tree-operations", check_tree_operations, true},
    {"tree-validation", check_tree_validation, true},
    {"treekem", check_treekem, true},
    {"message-protection", check_message_protection, true},
    {"messages", check_messages, false},
    {"welcome", check_welcome, true},
    {"passive", check_passive_client, true},
    {"hpke", check_hpke, false},
};

span value_hex(vector_case *c, const cJSON *value) {
    if (!cJSON_IsString(value))
        return SPAN_NONE;
    span text = span_text(value->valuestring);
    uint8_t *bytes = arena_take(&c->arena, text.n / 2 + 1, 1);
    if (bytes == NULL || hex_read(bytes, text.n / 2, text) != OK)
        return SPAN_NONE;
    return span_of(bytes, text.n / 2);
}

span field_hex(vector_case *c, const cJSON *object, const char *name) {
    return value_hex(c, cJSON_GetObjectItemCaseSensitive(object, name));
}

uint64_t field_number(const cJSON *object, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(value) ? (uint64_t)value->valuedouble : 0;
}

const char *field_text(const cJSON *object, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static void say(vector_case *c, const char *format, va_list arguments) {
    vsnprintf(c->why, sizeof c->why, format, arguments);
}

outcome failed(vector_case *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(c, format, arguments);
    va_end(arguments);
    return FAILED;
}

outcome skipped(vector_case *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(c, format, arguments);
    va_end(arguments);
    return SKIPPED;
}

/* --- output --- */

typedef struct text {
    char *p;
    size_t n, size;
} text;

static void add_line(text *t, const char *format, ...) {
    char line[400];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n < 0)
        return;
    size_t length = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    if (t->n + length + 1 > t->size) {
        t->size = 2 * (t->n + length + 1);
        t->p = realloc(t->p, t->size);
        if (t->p == NULL)
            abort();
    }
    memcpy(t->p + t->n, line, length + 1);
    t->n += length;
}

static const kind *find_kind(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return &kinds[i];
    return NULL;
}

/* Upstream has tree-operations for suite 1 only. It differs from suite 3 in the AEAD alone, which trees don't use. */
static const suite *suite_of(const kind *k, uint16_t id) {
    const suite *s = suite_find(id);
    return s == NULL && id == 1 && k->check == check_tree_operations ? suite_find(3) : s;
}

static outcome check_case(const kind *k, vector_case *c) {
    if (k->has_suite) {
        uint16_t id = (uint16_t)field_number(c->json, "cipher_suite");
        c->suite = suite_of(k, id);
        if (c->suite == NULL)
            return skipped(c, "cipher suite %u", id);
    }
    return k->check(c);
}

char *vectors_check_file(const char *name, const char *json, size_t json_size) {
    text out = {0};
    const kind *k = find_kind(name);
    if (k == NULL) {
        add_line(&out, "ok - %s # SKIP no kind of vector has this name\n", name);
        return out.p;
    }
    cJSON *cases = cJSON_ParseWithLength(json, json_size);
    vector_case c = {0};
    if (!cJSON_IsArray(cases) || arena_init(&c.arena, ARENA_SIZE) != OK) {
        add_line(&out, "not ok - %s # not a JSON array, or no memory\n", name);
        cJSON_Delete(cases);
        return out.p;
    }
    int i = 0;
    cJSON_ArrayForEach(c.json, cases) {
        c.why[0] = 0;
        c.suite = NULL;
        switch (check_case(k, &c)) {
        case PASSED: add_line(&out, "ok - %s case %d\n", name, i); break;
        case FAILED: add_line(&out, "not ok - %s case %d: %s\n", name, i, c.why); break;
        case SKIPPED: add_line(&out, "ok - %s case %d # SKIP %s\n", name, i, c.why); break;
        }
        i++;
        arena_reset(&c.arena);
    }
    if (i == 0)
        add_line(&out, "not ok - %s has no cases\n", name);
    arena_free(&c.arena);
    cJSON_Delete(cases);
    return out.p;
}

/* --- in wasm: tests/vectors/run.mjs puts the file's name and text into memory and reads back a C string --- */

#ifdef __wasm__
#define EXPORT __attribute__((used, visibility("default")))

EXPORT void *vectors_alloc(size_t n);
EXPORT void vectors_free(void *p);
EXPORT char *vectors_run(const char *name, size_t name_size, const char *json, size_t json_size);

void *vectors_alloc(size_t n) { return malloc(n); }

void vectors_free(void *p) { free(p); }

char *vectors_run(const char *name, size_t name_size, const char *json, size_t json_size) {
    char copy[256];
    size_t n = name_size < sizeof copy ? name_size : sizeof copy - 1;
    memcpy(copy, name, n);
    copy[n] = 0;
    return vectors_check_file(copy, json, json_size);
}
#endif
