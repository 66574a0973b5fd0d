/* vectors.h: the runner of the official MLS vectors (and of those in their formats). A kind of vector is known by the
 * beginning of its file's name; each has one function that checks one case. */
#ifndef VECTORS_H
#define VECTORS_H

#include <cJSON.h>

#include "base/arena.h"
#include "crypto/suite.h"

typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

/* One case being checked: its memory, and in words what was wrong with it or why it was skipped. */
typedef struct vector_case {
    arena arena;
    const cJSON *json;
    const suite *suite; /* where the case has a cipher_suite that we support */
    char why[200];
} vector_case;

typedef outcome vector_check(vector_case *c);

vector_check check_tree_math, check_deserialization, check_crypto_basics;
vector_check check_key_schedule, check_psk_secret, check_transcript_hashes, check_secret_tree;
vector_check check_tree_operations, check_tree_validation, check_treekem;
vector_check check_message_protection, check_messages, check_welcome;
vector_check check_passive_client, check_hpke;

/* --- for the checks --- */
/* A field's bytes from hex, in the case's arena; SPAN_NONE where it is null or absent. */
span field_hex(vector_case *c, const cJSON *object, const char *name);
span value_hex(vector_case *c, const cJSON *value);
uint64_t field_number(const cJSON *object, const char *name);
const char *field_text(const cJSON *object, const char *name);
/* Sets `why`. */
outcome failed(vector_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
outcome skipped(vector_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return failed(c, __VA_ARGS__);                                                                             \
    } while (0)
#define EXPECT_OK(expression)                                                                                          \
    do {                                                                                                               \
        err expect_error = (expression);                                                                               \
        if (expect_error != OK)                                                                                        \
            return failed(c, "%s: %s", #expression, err_name(expect_error));                                           \
    } while (0)
#define EXPECT_SPAN(actual, expected) EXPECT(span_equal((actual), (expected)), "%s is not %s", #actual, #expected)

/* --- the whole --- */
/* Checks every case of a file. The result is TAP without numbers and plan: a line "ok - NAME", "not ok - NAME # WHY" or
 * "ok - NAME # SKIP WHY" for each. Freed by the caller. */
char *vectors_check_file(const char *name, const char *json, size_t json_size);

#endif
