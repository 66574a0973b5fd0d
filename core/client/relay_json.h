/* relay_json.h: reading a relay's answers. A thin, strict layer over cJSON: every reader says whether the member is there
 * and of the right kind, and nothing of the relay's is trusted beyond its form. */
#ifndef CLIENT_RELAY_JSON_H
#define CLIENT_RELAY_JSON_H

#include "base/arena.h"

typedef struct json json;

/* ERR_MALFORMED unless the whole body is one JSON object; ERR_NO_MEMORY. Freed by json_close. */
MUST_USE err json_open(span body, json **root);
void json_close(json *root);
/* What cJSON takes from the heap; remembers when there was none, for cJSON says the same of that and of bad JSON. */
void *json_allocate(size_t n);

/* The member, or NULL when it is absent or null. */
const json *json_member(const json *object, const char *name);
bool json_is_array(const json *value);
/* Elements of an array; 0 for anything else. */
size_t json_count(const json *array);
const json *json_element(const json *array, size_t index);
/* An element's text: ERR_MALFORMED when it is of another kind. */
MUST_USE err json_element_text(const json *array, size_t index, span *text);
/* Each gives ERR_MALFORMED when the member is absent or of another kind. Text lives as long as the root. */
MUST_USE err json_text(const json *object, const char *name, span *text);
MUST_USE err json_bytes(const json *object, const char *name, arena *a, span *bytes);
/* Base64url of exactly `size` bytes. */
MUST_USE err json_fixed(const json *object, const char *name, uint8_t *out, size_t size);
/* An integer from 0 to 2^53. */
MUST_USE err json_int(const json *object, const char *name, int64_t *value);

#endif
