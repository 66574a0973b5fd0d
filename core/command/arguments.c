#include "command/arguments.h"

#include <assert.h>

#include "base/text.h"

/* What the param has to be, for people: "text must be 1 to 16384 bytes of UTF-8 text". */
static err refuse(const command_param *p, fault *why) {
    char low[NUMBER_TEXT_SIZE], high[NUMBER_TEXT_SIZE];
    const char *min = number_text(low, p->min), *max = number_text(high, p->max), *name = p->name;
    switch (p->type) {
    case PARAM_TEXT:
    case PARAM_SECRET_TEXT:
        return fault_say(why, ERR_MALFORMED, name, name, " must be ", min, " to ", max, " bytes of UTF-8 text", NULL);
    case PARAM_INT:
        return fault_say(why, ERR_MALFORMED, name, name, " must be a whole number from ", min, " to ", max, NULL);
    case PARAM_BOOL: return fault_say(why, ERR_MALFORMED, name, name, " must be true or false", NULL);
    case PARAM_ID16:
        return fault_say(why, ERR_MALFORMED, name, name, " must be 16 bytes as base64url, 22 characters", NULL);
    case PARAM_ID32:
        return fault_say(why, ERR_MALFORMED, name, name, " must be 32 bytes as base64url, 43 characters", NULL);
    case PARAM_NUMBER_TEXT:
        return fault_say(why, ERR_MALFORMED, name, name, " must be a whole number as a string, at least ", min, NULL);
    case PARAM_WORD: return fault_say(why, ERR_MALFORMED, name, name, " must be one of ", p->words, NULL);
    case PARAM_BYTES:
        return fault_say(why, ERR_MALFORMED, name, name, " must be the index of an attachment of this frame", NULL);
    }
    return ERR_MALFORMED;
}

/* A JSON number that is a whole one from min to max, all of which are far within what a double holds exactly. */
static bool read_int(const cJSON *value, int64_t min, int64_t max, int64_t *out) {
    double d = value->valuedouble;
    if (!cJSON_IsNumber(value) || !(d >= (double)min && d <= (double)max))
        return false;
    *out = (int64_t)d;
    return (double)*out == d;
}

/* Decimal digits of an int64 in their one shortest form; no sign but that of a number below 0. */
static bool read_decimal(span text, int64_t *out) {
    char again[NUMBER_TEXT_SIZE];
    uint64_t value = 0;
    bool negative = text.n > 0 && text.p[0] == '-';
    if (text.n == 0 || text.n > 20)
        return false;
    for (size_t i = negative; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.p[i] - '0'), &value))
            return false;
    }
    if (value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return span_equal(span_text(number_text(again, *out)), text);
}

static bool is_one_of(const char *words, span word) {
    for (;;) {
        size_t n = strcspn(words, "|");
        if (span_equal(span_of(words, n), word))
            return true;
        if (words[n] == '\0')
            return false;
        words += n + 1;
    }
}

static bool read_id(arena *a, span text, size_t size, span *out, err *e) {
    if (text.n != BASE64URL_SIZE(size))
        return false;
    uint8_t *id = arena_take(a, size, 1);
    if (id == NULL) {
        *e = ERR_ARENA;
        return true;
    }
    *out = span_of(id, size);
    return base64url_read(id, size, text) == OK;
}

static err read_one(arena *a, const command_param *p, const cJSON *value, const frame *f, uint32_t *named,
                    argument *out, fault *why) {
    bool number = p->type == PARAM_INT || p->type == PARAM_BYTES, good = false;
    err e = OK;
    out->given = true;
    if (p->type == PARAM_BOOL ? !cJSON_IsBool(value) : number ? !cJSON_IsNumber(value) : !cJSON_IsString(value))
        return refuse(p, why);
    span text = p->type == PARAM_BOOL || number ? SPAN_NONE : span_text(value->valuestring);
    switch (p->type) {
    case PARAM_TEXT:
    case PARAM_SECRET_TEXT:
        out->bytes = text;
        good = text.n >= (size_t)p->min && text.n <= (size_t)p->max && utf8_valid(text);
        break;
    case PARAM_INT: good = read_int(value, p->min, p->max, &out->number); break;
    case PARAM_BOOL:
        out->flag = cJSON_IsTrue(value);
        good = true;
        break;
    case PARAM_ID16: good = read_id(a, text, 16, &out->bytes, &e); break;
    case PARAM_ID32: good = read_id(a, text, 32, &out->bytes, &e); break;
    case PARAM_NUMBER_TEXT:
        good = read_decimal(text, &out->number) && out->number >= p->min && out->number <= p->max;
        break;
    case PARAM_WORD:
        out->bytes = text;
        good = is_one_of(p->words, text);
        break;
    case PARAM_BYTES:
        good = read_int(value, 0, (int64_t)f->attachment_count - 1, &out->number);
        if (good) {
            out->bytes = f->attachments[out->number];
            *named |= (uint32_t)1 << out->number;
        }
        break;
    }
    return good ? e : refuse(p, why);
}

static const command_param *param_of(const command *c, const char *name) {
    for (size_t i = 0; i < c->param_count; i++)
        if (strcmp(c->params[i].name, name) == 0)
            return &c->params[i];
    return NULL;
}

err arguments_read(arena *a, const command *c, const cJSON *args, const frame *f, const argument **out, fault *why) {
    uint32_t named = 0; /* a bit for each attachment */
    argument *list = ARENA_ARRAY(a, argument, c->param_count);
    if (list == NULL)
        return ERR_ARENA;
    if (args != NULL && !cJSON_IsObject(args))
        return fault_say(why, ERR_MALFORMED, "args", "args must be an object", NULL);
    for (const cJSON *value = args != NULL ? args->child : NULL; value != NULL; value = value->next)
        if (param_of(c, value->string) == NULL)
            return fault_say(why, ERR_MALFORMED, value->string, c->name, " takes no argument ", value->string, NULL);
    for (size_t i = 0; i < c->param_count; i++) {
        const command_param *p = &c->params[i];
        const cJSON *value = args != NULL ? json_find(args, p->name) : NULL;
        if (value != NULL)
            TRY(read_one(a, p, value, f, &named, &list[i], why));
        else if (p->required)
            return fault_say(why, ERR_MALFORMED, p->name, p->name, " is missing", NULL);
    }
    if (named != ((uint32_t)1 << f->attachment_count) - 1)
        return fault_say(why, ERR_MALFORMED, NULL, "the frame has an attachment that no argument names", NULL);
    *out = list;
    return OK;
}

const argument *argument_of(const command_call *call, const char *name) {
    const command_param *p = param_of(call->command, name);
    assert(p != NULL);
    return &call->arguments[p - call->command->params];
}

span argument_bytes(const command_call *call, const char *name) { return argument_of(call, name)->bytes; }

int64_t argument_number(const command_call *call, const char *name, int64_t otherwise) {
    const argument *found = argument_of(call, name);
    return found->given ? found->number : otherwise;
}

bool argument_is(const command_call *call, const char *name, const char *word) {
    return span_equal(argument_of(call, name)->bytes, span_text(word));
}
