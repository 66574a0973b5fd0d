/* json.h: reading JSON. cJSON builds the tree, in the command's arena, so that it is bounded and wiped with it; but
 * cJSON is lenient (control characters in strings, "01", "1.", NUL that cuts a string off, any nesting), so the text is first
 * checked against RFC 8259's grammar, and against limits that keep hostile input cheap. */
#ifndef COMMAND_JSON_H
#define COMMAND_JSON_H

#include <cJSON.h>

#include "base/arena.h"
#include "command/fault.h"

#define JSON_DEPTH_MAX 8    /* arrays and objects within each other */
#define JSON_MEMBERS_MAX 32 /* of one object: looking for duplicates is quadratic */

/* Reads one object, with nothing but white space around it. Refuses names that stand twice in an object, U+0000 and
 * lone surrogates by escape. That strings are UTF-8 is left to who takes them, who can name the culprit. ERR_MALFORMED,
 * ERR_ARENA. */
MUST_USE err json_read(arena *a, span text, cJSON **root, fault *why);

/* The member of that name, exactly; NULL when there is none. */
const cJSON *json_find(const cJSON *object, const char *name);

#endif
