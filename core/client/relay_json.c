#include "client/relay_json.h"

#include "base/text.h"

#include <cJSON.h>
#include <stdlib.h>

#define EXACT_MAX 9007199254740992.0 /* 2^53 */

static const cJSON *in(const json *j) { return (const cJSON *)j; }

static _Thread_local bool refused;

void *json_allocate(size_t n) {
    void *p = malloc(n);
    refused = refused || p == NULL;
    return p;
}

err json_open(span body, json **root) {
    const char *end = NULL;
    refused = false;
    cJSON *parsed = cJSON_ParseWithLengthOpts((const char *)body.p, body.n, &end, 0);
    *root = NULL;
    if (!parsed)
        return refused ? ERR_NO_MEMORY : ERR_MALFORMED;
    while (end && end < (const char *)body.p + body.n && memchr(" \t\r\n", *end, 4))
        end++;
    if (!cJSON_IsObject(parsed) || end != (const char *)body.p + body.n) {
        cJSON_Delete(parsed);
        return ERR_MALFORMED;
    }
    *root = (json *)parsed;
    return OK;
}

void json_close(json *root) { cJSON_Delete((cJSON *)root); }

const json *json_member(const json *object, const char *name) {
    const cJSON *member = object ? cJSON_GetObjectItemCaseSensitive(in(object), name) : NULL;
    return member && !cJSON_IsNull(member) ? (const json *)member : NULL;
}

bool json_is_array(const json *value) { return value && cJSON_IsArray(in(value)); }

size_t json_count(const json *array) {
    return array && cJSON_IsArray(in(array)) ? (size_t)cJSON_GetArraySize(in(array)) : 0;
}

const json *json_element(const json *array, size_t index) {
    return (const json *)cJSON_GetArrayItem(in(array), (int)index);
}

err json_element_text(const json *array, size_t index, span *text) {
    const cJSON *element = cJSON_GetArrayItem(in(array), (int)index);
    if (!cJSON_IsString(element))
        return ERR_MALFORMED;
    *text = span_text(element->valuestring);
    return OK;
}

err json_text(const json *object, const char *name, span *text) {
    const json *member = json_member(object, name);
    if (!member || !cJSON_IsString(in(member)))
        return ERR_MALFORMED;
    *text = span_text(in(member)->valuestring);
    return OK;
}

err json_bytes(const json *object, const char *name, arena *a, span *bytes) {
    span text;
    TRY(json_text(object, name, &text));
    return base64url_decode(a, text, bytes);
}

err json_fixed(const json *object, const char *name, uint8_t *out, size_t size) {
    span text;
    TRY(json_text(object, name, &text));
    return base64url_read(out, size, text);
}

err json_int(const json *object, const char *name, int64_t *value) {
    const json *member = json_member(object, name);
    if (!member || !cJSON_IsNumber(in(member)))
        return ERR_MALFORMED;
    double number = in(member)->valuedouble;
    if (!(number >= 0 && number <= EXACT_MAX) || number != (double)(int64_t)number)
        return ERR_MALFORMED;
    *value = (int64_t)number;
    return OK;
}
