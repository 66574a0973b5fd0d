/* json.h: JSON in and out. Reading is strict about what our calls name and blind to what they don't: unknown members are
 * ignored, a missing member, a wrong type or a length out of bounds is named in the problem. */
#ifndef SERVER_JSON_H
#define SERVER_JSON_H

#include "base/arena.h"

/* ---- writing: text that grows on the heap. After a failed allocation all later calls do nothing. */
typedef struct text {
    char *p;
    size_t n, room;
    bool failed;
} text;

void text_put(text *t, const char *s);
void text_bytes(text *t, span s);
void text_integer(text *t, int64_t v);
void text_base64url(text *t, span s);
/* ,"name":… with the comma left out after { or [. */
void text_member(text *t, const char *name);
void text_member_integer(text *t, const char *name, int64_t v);
void text_member_base64url(text *t, const char *name, span v);
/* A JSON string, quoted and escaped. */
void text_member_string(text *t, const char *name, const char *v);
void text_string(text *t, span v);
void text_free(text *t);

/* ---- reading */
struct cJSON;
typedef struct json {
    struct cJSON *root;
    arena *arena;
    char fault[160]; /* empty while all is well; else what is wrong, naming the member */
} json;

/* Parses one object. On failure root is NULL and fault says why. json_close in any case. */
void json_open(json *j, span text, arena *a);
void json_close(json *j);

/* The members of the root object. The first fault sticks, later calls return zeroes. */
bool json_has(const json *j, const char *name);
/* base64url of exactly n bytes. */
void json_fixed(json *j, const char *name, uint8_t *out, size_t n);
/* base64url of 1..max bytes, in the arena. */
span json_bytes(json *j, const char *name, size_t max);
/* Text of 1..max bytes, in the arena. */
span json_text(json *j, const char *name, size_t max);
int64_t json_integer(json *j, const char *name, int64_t min, int64_t max);
/* Is it there, and the word true? */
bool json_is_true(const json *j, const char *name);
/* An array of at most `max` strings of base64url: each of n bytes (json_fixed_list), one after the other; or of 1..bytes_max. */
const uint8_t *json_fixed_list(json *j, const char *name, size_t n, size_t max, size_t *count);
span *json_bytes_list(json *j, const char *name, size_t bytes_max, size_t max, size_t *count);

#endif
