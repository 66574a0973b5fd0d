#include "json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cJSON.h>

#include "base/text.h"
#include "limits.h"

/* ---- writing */

static char *text_room(text *t, size_t more) {
    if (t->failed)
        return NULL;
    if (t->n + more > t->room) {
        size_t room = t->room ? t->room : 256;
        while (room < t->n + more)
            room *= 2;
        char *p = realloc(t->p, room);
        if (p == NULL) {
            t->failed = true;
            return NULL;
        }
        t->p = p;
        t->room = room;
    }
    char *at = t->p + t->n;
    t->n += more;
    return at;
}

void text_bytes(text *t, span s) {
    char *at = text_room(t, s.n);
    if (at != NULL && s.n > 0)
        memcpy(at, s.p, s.n);
}

void text_put(text *t, const char *s) { text_bytes(t, span_text(s)); }

void text_integer(text *t, int64_t v) {
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%lld", (long long)v);
    text_put(t, digits);
}

void text_base64url(text *t, span s) {
    char *at = text_room(t, BASE64URL_SIZE(s.n));
    if (at != NULL)
        base64url_write(at, s);
}

void text_string(text *t, span v) {
    text_put(t, "\"");
    for (size_t i = 0; i < v.n; i++) {
        char escaped[8];
        if (v.p[i] < 0x20 || v.p[i] == '"' || v.p[i] == '\\') {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", v.p[i]);
            text_put(t, escaped);
        } else {
            text_bytes(t, span_of(v.p + i, 1));
        }
    }
    text_put(t, "\"");
}

void text_member(text *t, const char *name) {
    if (!t->failed && t->n > 0 && t->p[t->n - 1] != '{' && t->p[t->n - 1] != '[')
        text_put(t, ",");
    text_put(t, "\"");
    text_put(t, name);
    text_put(t, "\":");
}

void text_member_integer(text *t, const char *name, int64_t v) {
    text_member(t, name);
    text_integer(t, v);
}

void text_member_base64url(text *t, const char *name, span v) {
    text_member(t, name);
    text_put(t, "\"");
    text_base64url(t, v);
    text_put(t, "\"");
}

void text_member_string(text *t, const char *name, const char *v) {
    text_member(t, name);
    text_string(t, span_text(v));
}

void text_free(text *t) {
    free(t->p);
    *t = (text){0};
}

/* ---- reading */

__attribute__((format(printf, 2, 3))) static void fault(json *j, const char *format, ...) {
    if (j->fault[0] != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(j->fault, sizeof j->fault, format, arguments);
    va_end(arguments);
}

static const uint8_t *digits_end(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Where a number ends that RFC 8259 §6 knows; NULL: it is none. */
static const uint8_t *number_end(const uint8_t *p, const uint8_t *end) {
    if (*p == '-')
        p++;
    const uint8_t *start = p;
    p = digits_end(p, end);
    if (p == start || (*start == '0' && p - start > 1))
        return NULL;
    if (p < end && *p == '.') {
        start = ++p;
        p = digits_end(p, end);
        if (p == start)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        start = p;
        p = digits_end(p, end);
        if (p == start)
            return NULL;
    }
    return p;
}

/* Where a string ends, `p` being after its opening quote; NULL: it holds what RFC 8259 §7 forbids, or a zero character,
 * at which cJSON's strings would end: what follows it would be read by others and not by us. */
static const uint8_t *string_end(const uint8_t *p, const uint8_t *end) {
    for (; p < end && *p != '"'; p++) {
        if (*p < 0x20 || (*p == '\\' && end - p > 5 && memcmp(p + 1, "u0000", 5) == 0))
            return NULL;
        if (*p == '\\' && p + 1 < end)
            p++;
    }
    return p < end ? p + 1 : p;
}

/* What cJSON is too kind to: control characters, numbers such as 01 and 1., a byte order mark; and it recurses for each level. */
static bool is_strict(json *j, span s) {
    size_t depth = 0, values = 1;
    for (const uint8_t *p = s.p, *end = s.p + s.n; p < end;) {
        uint8_t c = *p;
        if (c == '"' || c == '-' || (c >= '0' && c <= '9')) {
            p = c == '"' ? string_end(p + 1, end) : number_end(p, end);
        } else if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c >= 0x7f) {
            p = NULL;
        } else {
            p++;
        }
        if (p == NULL) {
            fault(j, "the body is not valid JSON");
            return false;
        }
        if ((c == '{' || c == '[') && ++depth > JSON_DEPTH_MAX) {
            fault(j, "the body nests deeper than %d levels", JSON_DEPTH_MAX);
            return false;
        }
        if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if ((c == '{' || c == '[' || c == ',') && ++values > JSON_VALUES_MAX) {
            fault(j, "the body holds more than %d values", JSON_VALUES_MAX);
            return false;
        }
    }
    return true;
}

void json_open(json *j, span s, arena *a) {
    *j = (json){.arena = a};
    if (s.n == 0) {
        fault(j, "the body is missing; a JSON object is expected");
        return;
    }
    if (memchr(s.p, 0, s.n) != NULL || !utf8_valid(s)) {
        fault(j, "the body is not UTF-8 text");
        return;
    }
    if (!is_strict(j, s))
        return;
    const char *end = NULL, *limit = (const char *)s.p + s.n;
    cJSON *root = cJSON_ParseWithLengthOpts((const char *)s.p, s.n, &end, 0);
    while (root != NULL && end != NULL && end < limit && (*end == ' ' || *end == '\t' || *end == '\n' || *end == '\r'))
        end++;
    if (root == NULL || end != limit)
        fault(j, "the body is not valid JSON");
    else if (!cJSON_IsObject(root))
        fault(j, "the body must be a JSON object");
    if (j->fault[0] != 0)
        cJSON_Delete(root);
    else
        j->root = root;
}

void json_close(json *j) {
    cJSON_Delete(j->root);
    j->root = NULL;
}

/* The one member of that name; a second one is a fault, for readers disagree on which counts (RFC 8259 §4). */
static const cJSON *member(const json *j, const char *name, bool *twice) {
    const cJSON *found = NULL, *item;
    if (j->root == NULL)
        return NULL;
    cJSON_ArrayForEach(item, j->root) {
        if (item->string == NULL || strcmp(item->string, name) != 0)
            continue;
        if (found != NULL)
            *twice = true;
        found = item;
    }
    return found;
}

bool json_has(const json *j, const char *name) {
    bool twice = false;
    return member(j, name, &twice) != NULL;
}

static const cJSON *required(json *j, const char *name) {
    bool twice = false;
    const cJSON *item = j->fault[0] ? NULL : member(j, name, &twice);
    if (item == NULL)
        fault(j, "member \"%s\" is missing", name);
    else if (twice)
        fault(j, "member \"%s\" stands there twice", name);
    return j->fault[0] ? NULL : item;
}

void json_fixed(json *j, const char *name, uint8_t *out, size_t n) {
    memset(out, 0, n);
    const cJSON *item = required(j, name);
    if (item == NULL)
        return;
    if (!cJSON_IsString(item))
        fault(j, "member \"%s\" must be a string", name);
    else if (base64url_read(out, n, span_text(item->valuestring)) != OK)
        fault(j, "member \"%s\" must be base64url of %zu bytes", name, n);
}

/* Decodes a string item of 1..max bytes; `name` and `at` (-1: no index) are for the fault. */
static span decode(json *j, const cJSON *item, size_t max, const char *name, int at) {
    char where[64];
    if (at >= 0)
        (void)snprintf(where, sizeof where, "element %d of member \"%s\"", at, name);
    else
        (void)snprintf(where, sizeof where, "member \"%s\"", name);
    span bytes = SPAN_NONE;
    if (!cJSON_IsString(item)) {
        fault(j, "%s must be a string", where);
        return bytes;
    }
    span s = span_text(item->valuestring);
    if (s.n == 0)
        fault(j, "%s is empty", where);
    else if (s.n > BASE64URL_SIZE(max))
        fault(j, "%s is longer than %zu bytes", where, max);
    else if (base64url_decode(j->arena, s, &bytes) != OK)
        fault(j, "%s must be base64url without padding", where);
    return bytes;
}

span json_bytes(json *j, const char *name, size_t max) {
    const cJSON *item = required(j, name);
    return item == NULL ? SPAN_NONE : decode(j, item, max, name, -1);
}

span json_text(json *j, const char *name, size_t max) {
    const cJSON *item = required(j, name);
    span text = SPAN_NONE;
    if (item == NULL)
        return text;
    size_t n = cJSON_IsString(item) ? strlen(item->valuestring) : 0;
    if (n == 0 || n > max || arena_copy(j->arena, span_of(item->valuestring, n), &text) != OK)
        fault(j, "member \"%s\" must be a string of 1 to %zu bytes", name, max);
    return text;
}

bool json_is_true(const json *j, const char *name) {
    bool twice = false;
    return cJSON_IsTrue(member(j, name, &twice));
}

int64_t json_integer(json *j, const char *name, int64_t min, int64_t max) {
    const cJSON *item = required(j, name);
    if (item == NULL)
        return 0;
    double v = cJSON_IsNumber(item) ? item->valuedouble : 0.5;
    if (!(v >= (double)min && v <= (double)max) || v != (double)(int64_t)v) {
        fault(j, "member \"%s\" must be an integer from %lld to %lld", name, (long long)min, (long long)max);
        return 0;
    }
    return (int64_t)v;
}

static const cJSON *array(json *j, const char *name, size_t max, size_t *count) {
    *count = 0;
    const cJSON *item = required(j, name);
    if (item == NULL)
        return NULL;
    if (!cJSON_IsArray(item)) {
        fault(j, "member \"%s\" must be an array", name);
        return NULL;
    }
    size_t n = 0;
    for (const cJSON *e = item->child; e != NULL; e = e->next)
        n++;
    if (n > max) {
        fault(j, "member \"%s\" has more than %zu elements", name, max);
        return NULL;
    }
    *count = n;
    return item->child;
}

const uint8_t *json_fixed_list(json *j, const char *name, size_t n, size_t max, size_t *count) {
    const cJSON *item = array(j, name, max, count);
    uint8_t *list = arena_take(j->arena, *count, n);
    if (list == NULL) {
        fault(j, "member \"%s\" is too large", name);
        *count = 0;
        return NULL;
    }
    for (size_t i = 0; item != NULL; i++, item = item->next) {
        if (!cJSON_IsString(item) || base64url_read(list + i * n, n, span_text(item->valuestring)) != OK)
            fault(j, "element %zu of member \"%s\" must be base64url of %zu bytes", i, name, n);
    }
    return list;
}

span *json_bytes_list(json *j, const char *name, size_t bytes_max, size_t max, size_t *count) {
    const cJSON *item = array(j, name, max, count);
    span *list = ARENA_ARRAY(j->arena, span, *count);
    if (list == NULL) {
        fault(j, "member \"%s\" is too large", name);
        *count = 0;
        return NULL;
    }
    for (size_t i = 0; item != NULL; i++, item = item->next)
        list[i] = decode(j, item, bytes_max, name, (int)i);
    return list;
}
