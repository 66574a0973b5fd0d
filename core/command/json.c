#include "command/json.h"

#include <stdlib.h>

#include "client/relay_json.h"

/* ---------------------------------------------------------------- cJSON's memory */

/* cJSON's hooks take no context: the arena of the json_read that is running on this thread. Where none is, as when
 * client/relay_json.c reads, memory is the heap's. */
static _Thread_local arena *memory;

static void *hook_malloc(size_t n) { return memory != NULL ? arena_take(memory, n, 1) : json_allocate(n); }

static void hook_free(void *p) {
    if (memory == NULL)
        free(p);
}

/* Before main (in wasm: in _initialize), for it is not safe beside another thread's use of cJSON. */
__attribute__((constructor)) static void install_hooks(void) {
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = hook_malloc, .free_fn = hook_free});
}

/* ---------------------------------------------------------------- RFC 8259's grammar */

typedef struct scanner {
    const uint8_t *p, *end;
} scanner;

static bool at(const scanner *s, char c) { return s->p < s->end && *s->p == (uint8_t)c; }

static bool eat(scanner *s, char c) {
    if (!at(s, c))
        return false;
    s->p++;
    return true;
}

static bool eat_word(scanner *s, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return false;
    s->p += n;
    return true;
}

static void eat_space(scanner *s) {
    while (at(s, ' ') || at(s, '\t') || at(s, '\n') || at(s, '\r'))
        s->p++;
}

static size_t eat_digits(scanner *s) {
    size_t n = 0;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        n++;
    return n;
}

static bool scan_number(scanner *s) {
    (void)eat(s, '-');
    if (!eat(s, '0') && eat_digits(s) == 0)
        return false;
    if (eat(s, '.') && eat_digits(s) == 0)
        return false;
    if (eat(s, 'e') || eat(s, 'E')) {
        if (!eat(s, '-'))
            (void)eat(s, '+');
        return eat_digits(s) > 0;
    }
    return true;
}

/* Four hexadecimal digits; -1 when they are none. */
static int32_t scan_hex4(scanner *s) {
    int32_t value = 0;
    if (s->end - s->p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t c = *s->p++, low = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (low >= 'a' && low <= 'f')
            value = value * 16 + (low - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static bool scan_string(scanner *s) {
    if (!eat(s, '"'))
        return false;
    while (s->p < s->end) {
        uint8_t c = *s->p++;
        if (c == '"')
            return true;
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (s->p == s->end)
            return false;
        c = *s->p++;
        if (c == 'u') {
            int32_t unit = scan_hex4(s);
            if (unit <= 0 || (unit >= 0xdc00 && unit <= 0xdfff))
                return false;
            if (unit >= 0xd800 && unit <= 0xdbff) {
                int32_t low = eat_word(s, "\\u") ? scan_hex4(s) : -1;
                if (low < 0xdc00 || low > 0xdfff)
                    return false;
            }
        } else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL) {
            return false;
        }
    }
    return false;
}

static bool scan_value(scanner *s, int depth) {
    if (at(s, '"'))
        return scan_string(s);
    bool object = at(s, '{');
    if (!object && !at(s, '['))
        return eat_word(s, "true") || eat_word(s, "false") || eat_word(s, "null") || scan_number(s);
    if (depth == JSON_DEPTH_MAX)
        return false;
    char close = object ? '}' : ']';
    s->p++;
    eat_space(s);
    if (eat(s, close))
        return true;
    for (size_t members = 0;;) {
        eat_space(s);
        if (object) {
            if (++members > JSON_MEMBERS_MAX || !scan_string(s))
                return false;
            eat_space(s);
            if (!eat(s, ':'))
                return false;
            eat_space(s);
        }
        if (!scan_value(s, depth + 1))
            return false;
        eat_space(s);
        if (eat(s, close))
            return true;
        if (!eat(s, ','))
            return false;
    }
}

static bool scan_document(span text) {
    scanner s = {text.p, text.p + text.n};
    eat_space(&s);
    if (!at(&s, '{') || !scan_value(&s, 0))
        return false;
    eat_space(&s);
    return s.p == s.end;
}

/* ---------------------------------------------------------------- the tree */

/* A name that stands twice in one object of the tree, or NULL. */
static const char *duplicate(const cJSON *value) {
    for (const cJSON *child = value->child; child != NULL; child = child->next) {
        if (cJSON_IsObject(value))
            for (const cJSON *later = child->next; later != NULL; later = later->next)
                if (strcmp(child->string, later->string) == 0)
                    return child->string;
        const char *within = duplicate(child);
        if (within != NULL)
            return within;
    }
    return NULL;
}

err json_read(arena *a, span text, cJSON **root, fault *why) {
    if (text.n == 0 || !scan_document(text))
        return fault_say(why, ERR_MALFORMED, NULL, "the header is not one strict JSON object", NULL);
    memory = a;
    *root = cJSON_ParseWithLengthOpts((const char *)text.p, text.n, NULL, 0);
    memory = NULL;
    if (*root == NULL)
        return ERR_ARENA; /* what else could keep it from reading well-formed JSON */
    const char *twice = duplicate(*root);
    if (twice != NULL)
        return fault_say(why, ERR_MALFORMED, twice, twice, " stands twice in one object", NULL);
    return OK;
}

const cJSON *json_find(const cJSON *object, const char *name) { return cJSON_GetObjectItemCaseSensitive(object, name); }
