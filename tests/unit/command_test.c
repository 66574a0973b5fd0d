/* command: every command of the table with every kind of malformed input, frames, strict JSON, replies.
 * It drives the real core through sotto.h, over stores in memory. */
#define _GNU_SOURCE /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cJSON.h>

#include "base/text.h"
#include "command/command.h"
#include "command/dispatch.h"
#include "command/effects_json.h"
#include "command/frame.h"
#include "command/json.h"
#include "sotto.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---------------------------------------------------------------- frames and replies */

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, size_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

typedef struct bytes {
    uint8_t *p;
    size_t n;
} bytes;

/* A frame of that header and `count` attachments of two bytes. Freed by the caller. */
static bytes make_frame(const char *header, size_t header_size, size_t count) {
    bytes f = {.n = 8 + header_size + count * 6};
    f.p = malloc(f.n);
    assert_non_null(f.p);
    put_u32(f.p, f.n - 4);
    put_u32(f.p + 4, header_size);
    memcpy(f.p + 8, header, header_size);
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = f.p + 8 + header_size + i * 6;
        put_u32(at, 2);
        memcpy(at + 4, "{}", 2);
    }
    return f;
}

/* The reply's header; also checks that the frame is laid out well. */
static cJSON *read_reply(const uint8_t *reply, size_t *attachments) {
    assert_non_null(reply);
    size_t end = 4 + (size_t)u32_at(reply), header = u32_at(reply + 4), at = 8 + header;
    assert_true(at <= end);
    size_t count = 0;
    for (; at < end; count++) {
        assert_true(end - at >= 4);
        at += 4 + (size_t)u32_at(reply + at);
        assert_true(at <= end);
    }
    if (attachments != NULL)
        *attachments = count;
    assert_true(utf8_valid(span_of(reply + 8, header)));
    const char *stop = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts((const char *)reply + 8, header, &stop, 0);
    assert_non_null(json);
    assert_ptr_equal(stop, reply + 8 + header);
    bool result = cJSON_HasObjectItem(json, "result"), error = cJSON_HasObjectItem(json, "error");
    assert_true(result != error);
    return json;
}

static cJSON *call_bytes(sotto *s, const uint8_t *p, size_t size) {
    /* A copy of its exact size, so that ASan sees a read past its end. */
    uint8_t *copy = sotto_alloc(size);
    assert_non_null(copy);
    memcpy(copy, p, size);
    cJSON *reply = read_reply(sotto_call(s, copy, size), NULL);
    sotto_free(copy, size);
    return reply;
}

static cJSON *call_sized(sotto *s, const char *header, size_t size, size_t attachments) {
    bytes f = make_frame(header, size, attachments);
    cJSON *reply = call_bytes(s, f.p, f.n);
    free(f.p);
    return reply;
}

static cJSON *call_header(sotto *s, const char *header) { return call_sized(s, header, strlen(header), 0); }

static const char *error_member(const cJSON *reply, const char *name) {
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(reply, "error");
    return e == NULL ? NULL : cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, name));
}

/* The reply's error code, "" for a result. Frees the reply. */
static const char *code_of(cJSON *reply) {
    static char code[64];
    const char *found = error_member(reply, "code");
    snprintf(code, sizeof code, "%s", found != NULL ? found : "");
    cJSON_Delete(reply);
    return code;
}

static sotto *open_path(const char *header) {
    bytes f = make_frame(header, strlen(header), 0);
    sotto *s = sotto_open(f.p, f.n);
    free(f.p);
    return s;
}

static int set_up(void **state) {
    *state = open_path("{\"store\":\"\"}");
    return *state == NULL;
}

static int tear_down(void **state) {
    sotto_close(*state);
    return 0;
}

/* ---------------------------------------------------------------- arguments, from the table itself */

static const char *const id16 = "\"AAAAAAAAAAAAAAAAAAAAAA\"";
static const char *const id32 = "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";

/* A JSON string of n letters. */
static char *letters(size_t n) {
    char *text = malloc(n + 3);
    assert_non_null(text);
    memset(text + 1, 'a', n);
    text[0] = text[n + 1] = '"';
    text[n + 2] = '\0';
    return text;
}

static char *copied(const char *text) {
    char *copy = strdup(text);
    assert_non_null(copy);
    return copy;
}

/* A value that the table allows. */
static char *good_value(const command_param *p) {
    char text[64];
    switch (p->type) {
    case PARAM_TEXT:
    case PARAM_SECRET_TEXT: return letters((size_t)p->max);
    case PARAM_INT: snprintf(text, sizeof text, "%lld", (long long)p->max); return copied(text);
    case PARAM_BOOL: return copied("true");
    case PARAM_ID16: return copied(id16);
    case PARAM_ID32: return copied(id32);
    case PARAM_NUMBER_TEXT: return copied("\"9223372036854775807\"");
    case PARAM_WORD:
        snprintf(text, sizeof text, "\"%.*s\"", (int)strcspn(p->words, "|"), p->words);
        return copied(text);
    case PARAM_BYTES: return copied("0");
    }
    return NULL;
}

/* A header that calls `c` with good values, but for params[which], which gets `value` (NULL: is left out), and with
 * `more` put into args. */
static char *header_with(const command *c, size_t which, const char *value, const char *more) {
    size_t room = 512 + (value != NULL ? strlen(value) : 0) + (more != NULL ? strlen(more) : 0);
    for (size_t i = 0; i < c->param_count; i++)
        room += 600 + (size_t)(c->params[i].max < 20000 ? c->params[i].max : 0);
    char *header = malloc(room), *p = header, *end = header + room;
    assert_non_null(header);
    const char *comma = "";
    p += snprintf(p, (size_t)(end - p), "{\"command\":\"%s\",\"args\":{", c->name);
    for (size_t i = 0; i < c->param_count; i++) {
        char *good = i == which ? NULL : good_value(&c->params[i]);
        const char *put = i == which ? value : good;
        if (put != NULL) {
            p += snprintf(p, (size_t)(end - p), "%s\"%s\":%s", comma, c->params[i].name, put);
            comma = ",";
        }
        free(good);
    }
    if (more != NULL)
        p += snprintf(p, (size_t)(end - p), "%s%s", comma, more);
    p += snprintf(p, (size_t)(end - p), "}}");
    assert_true(p < end);
    return header;
}

static size_t attachments_of(const command *c) {
    for (size_t i = 0; i < c->param_count; i++)
        if (c->params[i].type == PARAM_BYTES)
            return 1;
    return 0;
}

/* Asserts that the call is refused and that the reply names the argument. */
static void refused(sotto *s, const command *c, size_t which, const char *value, const char *more,
                    const char *culprit) {
    char *header = header_with(c, which, value, more);
    cJSON *reply = call_sized(s, header, strlen(header), attachments_of(c));
    const char *code = error_member(reply, "code"), *named = error_member(reply, "argument");
    const char *message = error_member(reply, "message"), *class = error_member(reply, "class");
    if (code == NULL || strcmp(code, "malformed") != 0 || named == NULL || strcmp(named, culprit) != 0)
        fail_msg("%.300s: code %s, argument %s, expected %s", header, code, named, culprit);
    assert_string_equal(class, "malformed");
    assert_non_null(strstr(message, culprit));
    assert_null(cJSON_GetObjectItem(reply, "http"));
    assert_null(cJSON_GetObjectItem(reply, "events"));
    cJSON_Delete(reply);
    free(header);
}

static void refused_number(sotto *s, const command *c, size_t which, long long number) {
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    refused(s, c, which, text, NULL, c->params[which].name);
}

static void each_malformed_value(sotto *s, const command *c, size_t which) {
    static const char *const never[] = {"null", "[]", "{}", "[1]", "{\"a\":1}"};
    static const char *const for_numbers[] = {"true",
                                              "\"1\"",
                                              "1.5",
                                              "-1",
                                              "1e308",
                                              "-1e308",
                                              "1e-308",
                                              "1e999",
                                              "600000",
                                              "0.5",
                                              "99999999999999999999999999999999999"};
    static const char *const for_booleans[] = {"0", "1", "\"true\"", "\"\""};
    static const char *const for_strings[] = {"true", "false", "0", "1", "-1", "1e308"};
    static const char *const for_ids[] = {"\"\"",
                                          "\"A\"",
                                          "\"AAAAAAAAAAAAAAAAAAAAA\"",
                                          "\"AAAAAAAAAAAAAAAAAAAAAAA\"",
                                          "\"AAAAAAAAAAAAAAAAAAAAAB\"",
                                          "\"AAAAAAAAAAAAAAAAAAAAAA==\"",
                                          "\"AAAAAAAAAAAAAAAAAAAA+/\"",
                                          "\"AAAAAAAAAA AAAAAAAAAAA\"",
                                          "\"AAAAAAAAAA\xc3\xa9"
                                          "AAAAAAAAAA\"",
                                          "\"AAAAAAAAAA\xff"
                                          "AAAAAAAAAAA\""};
    static const char *const for_decimals[] = {"\"\"",
                                               "\"-\"",
                                               "\"+1\"",
                                               "\" 1\"",
                                               "\"1 \"",
                                               "\"01\"",
                                               "\"00\"",
                                               "\"-0\"",
                                               "\"-1\"",
                                               "\"1.0\"",
                                               "\"1e3\"",
                                               "\"0x1\"",
                                               "\"a\"",
                                               "\"9223372036854775808\"",
                                               "\"18446744073709551616\"",
                                               "\"-9223372036854775809\"",
                                               "\"99999999999999999999999999\""};
    const command_param *p = &c->params[which];
#define EACH(list)                                                                                                     \
    for (size_t i = 0; i < COUNT(list); i++)                                                                           \
    refused(s, c, which, (list)[i], NULL, p->name)

    EACH(never);
    if (p->required)
        refused(s, c, which, NULL, NULL, p->name);
    switch (p->type) {
    case PARAM_TEXT:
    case PARAM_SECRET_TEXT: {
        EACH(for_strings);
        for (size_t n = (size_t)p->min - (p->min > 0), i = 0; i < 2; n = (size_t)p->max + 1, i++) {
            if (n >= (size_t)p->min && n <= (size_t)p->max)
                continue;
            char *text = letters(n);
            refused(s, c, which, text, NULL, p->name);
            free(text);
        }
        /* Not UTF-8: a byte that never occurs, an overlong slash, a surrogate, above U+10FFFF, cut off. */
        static const char *const bad[] = {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
        for (size_t i = 0; i < COUNT(bad); i++) {
            char *text = letters((size_t)p->max);
            memcpy(text + 1, bad[i], strlen(bad[i]));
            refused(s, c, which, text, NULL, p->name);
            free(text);
        }
        break;
    }
    case PARAM_INT:
        EACH(for_numbers);
        refused_number(s, c, which, p->min - 1);
        refused_number(s, c, which, p->max + 1);
        break;
    case PARAM_BYTES:
        EACH(for_numbers);
        refused_number(s, c, which, 1);
        refused_number(s, c, which, 4294967296);
        break;
    case PARAM_BOOL: EACH(for_booleans); break;
    case PARAM_ID16:
        EACH(for_strings);
        EACH(for_ids);
        refused(s, c, which, id32, NULL, p->name);
        break;
    case PARAM_ID32:
        EACH(for_strings);
        EACH(for_ids);
        refused(s, c, which, id16, NULL, p->name);
        break;
    case PARAM_NUMBER_TEXT:
        EACH(for_strings);
        EACH(for_decimals);
        if (p->min > 0)
            refused(s, c, which, "\"0\"", NULL, p->name);
        break;
    case PARAM_WORD: {
        EACH(for_strings);
        char all[128], *upper = good_value(p);
        snprintf(all, sizeof all, "\"%s\"", p->words);
        refused(s, c, which, all, NULL, p->name);
        refused(s, c, which, "\"\"", NULL, p->name);
        refused(s, c, which, "\"nonsense\"", NULL, p->name);
        upper[1] ^= 0x20;
        refused(s, c, which, upper, NULL, p->name);
        free(upper);
        break;
    }
    }
#undef EACH
}

static void each_argument_of_each_command(void **state) {
    size_t count;
    const command *commands = command_table(&count);
    for (size_t i = 0; i < count; i++) {
        const command *c = &commands[i];
        refused(*state, c, SIZE_MAX, NULL, "\"colour\":1", "colour");
        refused(*state, c, SIZE_MAX, NULL, "\"\":1", "");
        for (size_t j = 0; j < c->param_count; j++) {
            char more[160], *good = good_value(&c->params[j]);
            each_malformed_value(*state, c, j);
            if (strlen(good) < 64) {
                snprintf(more, sizeof more, "\"%s\":%s", c->params[j].name, good);
                refused(*state, c, SIZE_MAX, NULL, more, c->params[j].name); /* stands twice */
            }
            free(good);
        }
    }
    /* Nothing of all this was carried out. */
    cJSON *reply = call_header(*state, "{\"command\":\"account.status\"}");
    const cJSON *result = cJSON_GetObjectItem(reply, "result");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(result, "state")), "none");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(result, "invited")));
    cJSON_Delete(reply);
}

static void good_arguments_get_through(void **state) {
    size_t count;
    const command *commands = command_table(&count);
    for (size_t i = 0; i < count; i++) {
        const command *c = &commands[i];
        if (c->need != NEED_OPEN)
            continue;
        char *header = header_with(c, SIZE_MAX, NULL, NULL);
        assert_string_equal(code_of(call_sized(*state, header, strlen(header), attachments_of(c))), "locked");
        free(header);
    }
}

static void long_unknown_argument_is_cut(void **state) {
    char *name = letters(5000), *header = malloc(6000);
    snprintf(header, 6000, "{\"command\":\"tick\",\"args\":{%s:1}}", name);
    cJSON *reply = call_header(*state, header);
    assert_int_equal(strlen(error_member(reply, "argument")), 64);
    assert_true(strlen(error_member(reply, "message")) < FAULT_MESSAGE_SIZE);
    cJSON_Delete(reply);
    free(name);
    free(header);
    /* Bytes that are no text come back as a reply that can be read. */
    cJSON_Delete(call_header(*state, "{\"command\":\"tick\",\"args\":{\"\xff\xfe\":1}}"));
    cJSON_Delete(call_header(*state, "{\"command\":\"\xff\xc3\"}"));
}

/* ---------------------------------------------------------------- headers */

static void unknown_commands(void **state) {
    cJSON *reply = call_header(*state, "{\"command\":\"account.explode\"}");
    assert_string_equal(error_member(reply, "code"), "unsupported");
    assert_string_equal(error_member(reply, "argument"), "command");
    assert_non_null(strstr(error_member(reply, "message"), "account.explode"));
    cJSON_Delete(reply);
    static const char *const malformed[] = {"{}",
                                            "{\"command\":1}",
                                            "{\"command\":null}",
                                            "{\"Command\":\"tick\"}",
                                            "{\"command\":\"tick\",\"command\":\"tick\"}",
                                            "{\"command\":\"tick\",\"args\":[]}",
                                            "{\"command\":\"tick\",\"args\":null}",
                                            "{\"command\":\"tick\",\"args\":\"\"}",
                                            "{\"command\":\"tick\",\"arguments\":{}}"};
    for (size_t i = 0; i < COUNT(malformed); i++)
        assert_string_equal(code_of(call_header(*state, malformed[i])), "malformed");
    assert_string_equal(code_of(call_header(*state, "{\"command\":\"\"}")), "unsupported");
    assert_string_equal(code_of(call_header(*state, "{\"command\":\"Tick\"}")), "unsupported");
    assert_string_equal(code_of(call_header(*state, "{\"command\":\"tic\"}")), "unsupported");
    assert_string_equal(code_of(call_header(*state, " \t\r\n{ \"command\" : \"manifest\" , \"args\" : { } } ")), "");
}

/* What cJSON alone would take, or what RFC 8259 does not allow. */
static void only_strict_json(void **state) {
    static const char *const bad[] = {
        "",
        " ",
        "x",
        "1",
        "\"tick\"",
        "[]",
        "null",
        "{",
        "}",
        "{\"command\"",
        "{\"command\":",
        "{\"command\":\"tick\"",
        "{\"command\":\"tick\"}}",
        "{\"command\":\"tick\"} x",
        "{\"command\":\"tick\"}\v",
        "{\"command\":\"tick\",}",
        "{,\"command\":\"tick\"}",
        "{command:\"tick\"}",
        "{'command':'tick'}",
        "{\"command\":\"tick\"/**/}",
        "\xef\xbb\xbf{\"command\":\"tick\"}",
        "{\"command\":\"ti\nck\"}",
        "{\"command\":\"ti\tck\"}",
        "{\"command\":\"tick\\u0000\"}",
        "{\"command\":\"tick\\u000\"}",
        "{\"command\":\"tick\\ud800\"}",
        "{\"command\":\"tick\\udc00\"}",
        "{\"command\":\"tick\\ud800\\ud800\"}",
        "{\"command\":\"tick\\ud800x\"}",
        "{\"command\":\"tick\\x41\"}",
        "{\"command\":\"tick\\",
        "{\"command\":\"tick\\u12",
        "{\"command\":\"tick\",\"args\":{\"a\":NaN}}",
        "{\"command\":\"tick\",\"args\":{\"a\":Infinity}}",
        "{\"command\":\"tick\",\"args\":{\"a\":01}}",
        "{\"command\":\"tick\",\"args\":{\"a\":1.}}",
        "{\"command\":\"tick\",\"args\":{\"a\":.5}}",
        "{\"command\":\"tick\",\"args\":{\"a\":+1}}",
        "{\"command\":\"tick\",\"args\":{\"a\":-}}",
        "{\"command\":\"tick\",\"args\":{\"a\":1e}}",
        "{\"command\":\"tick\",\"args\":{\"a\":1e+}}",
        "{\"command\":\"tick\",\"args\":{\"a\":0x1}}",
        "{\"command\":\"tick\",\"args\":{\"a\":True}}",
        "{\"command\":\"tick\",\"args\":{\"a\":tru}}",
        "{\"command\":\"tick\",\"args\":{\"a\":[1,]}}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        const char *code = code_of(call_header(*state, bad[i]));
        if (strcmp(code, "malformed") != 0)
            fail_msg("%s: %s", bad[i], code);
    }
    static const char nul[] = "{\"command\":\"manifest\"}\0";
    assert_string_equal(code_of(call_sized(*state, nul, sizeof nul - 1, 0)), "malformed");
    assert_string_equal(code_of(call_header(*state, "{\"\\u0063ommand\":\"mani\\u0066est\"}")), "");
}

static char *nested(size_t depth, char open, char close) {
    char *header = malloc(depth * 10 + 100), *p = header;
    assert_non_null(header);
    p += sprintf(p, "{\"command\":\"tick\",\"args\":{\"a\":");
    for (size_t i = 0; i < depth; i++)
        p += open == '[' ? sprintf(p, "[") : sprintf(p, "{\"a\":");
    *p++ = '1';
    for (size_t i = 0; i < depth; i++)
        *p++ = close;
    strcpy(p, "}}");
    return header;
}

static void hostile_sizes(void **state) {
    static const size_t depths[] = {1, 5, 6, 7, 8, 1000, 20000};
    for (size_t i = 0; i < COUNT(depths); i++) {
        char *arrays = nested(depths[i], '[', ']'), *objects = nested(depths[i], '{', '}');
        assert_string_equal(code_of(call_header(*state, arrays)), "malformed");
        assert_string_equal(code_of(call_header(*state, objects)), "malformed");
        free(arrays);
        free(objects);
    }
    /* Too many members, a million of nothing, and a tree of more nodes than the command may have in memory. */
    char *header = malloc(HEADER_MAX + 16), *p = header;
    p += sprintf(p, "{\"command\":\"tick\",\"args\":{\"a\":0");
    for (int i = 0; i < 40; i++)
        p += sprintf(p, ",\"a%d\":0", i);
    strcpy(p, "}}");
    assert_string_equal(code_of(call_header(*state, header)), "malformed");
    p = header + sprintf(header, "{\"command\":\"tick\",\"args\":{\"a\":[0");
    while (p < header + HEADER_MAX - 8)
        p += sprintf(p, ",0");
    strcpy(p, "]}}");
    assert_string_equal(code_of(call_header(*state, header)), "arena");
    memset(header, ' ', HEADER_MAX + 1);
    assert_string_equal(code_of(call_sized(*state, header, HEADER_MAX, 0)), "malformed");
    assert_string_equal(code_of(call_sized(*state, header, HEADER_MAX + 1, 0)), "too_large");
    free(header);
    uint8_t *large = calloc(1, FRAME_MAX + 1);
    put_u32(large, FRAME_MAX + 1 - 4);
    assert_string_equal(code_of(call_bytes(*state, large, FRAME_MAX + 1)), "too_large");
    free(large);
    assert_string_equal(code_of(call_header(*state, "{\"command\":\"manifest\"}")), "");
}

/* ---------------------------------------------------------------- frames */

static void frames_that_do_not_fit(void **state) {
    static const char header[] = "{\"command\":\"http.reply\",\"args\":{\"id\":\"1\",\"status\":0,\"body\":0}}";
    bytes f = make_frame(header, sizeof header - 1, 1);
    assert_string_not_equal(code_of(call_bytes(*state, f.p, f.n)), "truncated");
    for (size_t n = 0; n < f.n; n++)
        assert_string_equal(code_of(call_bytes(*state, f.p, n)), "truncated");
    /* Cut off at every byte, with a total that says so. */
    for (size_t n = 8; n < f.n; n++) {
        bytes cut = make_frame(header, sizeof header - 1, 1);
        put_u32(cut.p, n - 4);
        const char *code = code_of(call_bytes(*state, cut.p, n));
        /* All of the attachment gone: then it is the argument that names none. */
        assert_string_equal(code, n == f.n - 6 ? "malformed" : "truncated");
        free(cut.p);
    }
    static const size_t wrong[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffb};
    for (size_t i = 0; i < COUNT(wrong); i++)
        for (size_t at = 0; at < 3; at++) {
            size_t where = at == 2 ? f.n - 6 : at * 4;
            uint8_t before[4];
            memcpy(before, f.p + where, 4);
            put_u32(f.p + where, wrong[i]);
            assert_string_not_equal(code_of(call_bytes(*state, f.p, f.n)), "");
            memcpy(f.p + where, before, 4);
        }
    put_u32(f.p, f.n - 5);
    assert_string_equal(code_of(call_bytes(*state, f.p, f.n)), "trailing");
    put_u32(f.p, f.n - 3);
    assert_string_equal(code_of(call_bytes(*state, f.p, f.n)), "truncated");
    free(f.p);
}

static void attachments(void **state) {
    static const char body1[] = "{\"command\":\"http.reply\",\"args\":{\"id\":\"1\",\"status\":0,\"body\":1}}";
    static const char tick[] = "{\"command\":\"tick\"}";
    assert_string_equal(code_of(call_sized(*state, tick, sizeof tick - 1, 1)), "malformed");
    assert_string_equal(code_of(call_sized(*state, tick, sizeof tick - 1, ATTACHMENTS_MAX)), "malformed");
    assert_string_equal(code_of(call_sized(*state, tick, sizeof tick - 1, ATTACHMENTS_MAX + 1)), "too_large");
    assert_string_equal(code_of(call_sized(*state, body1, sizeof body1 - 1, 0)), "malformed");
    assert_string_equal(code_of(call_sized(*state, body1, sizeof body1 - 1, 1)), "malformed");
    assert_string_equal(code_of(call_sized(*state, body1, sizeof body1 - 1, 2)), "malformed"); /* 0 is named by none */
}

static void open_is_strict(void **state) {
    static const char *const bad[] = {"",
                                      "{}",
                                      "[]",
                                      "{\"store\":1}",
                                      "{\"store\":null}",
                                      "{\"Store\":\"\"}",
                                      "{\"store\":\"\",\"more\":1}",
                                      "{\"store\":\"\",\"store\":\"\"}",
                                      "{\"store\":\"a\\u0000b\"}",
                                      "{\"store\":\"\xff\"}",
                                      "{\"store\":\"\"}x"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_null(open_path(bad[i]));
    char *path = letters(600), header[700];
    snprintf(header, sizeof header, "{\"store\":%s}", path);
    assert_null(open_path(header));
    free(path);
    static const char good[] = "{\"store\":\"\"}";
    bytes f = make_frame(good, sizeof good - 1, 1);
    assert_null(sotto_open(f.p, f.n)); /* an attachment */
    for (size_t n = 0; n < f.n; n++)
        assert_null(sotto_open(f.p, n));
    free(f.p);
    assert_int_equal(sotto_abi(), SOTTO_ABI);
    sotto_close(NULL);
    sotto_free(NULL, 0);
    uint8_t *none = sotto_alloc(0);
    assert_non_null(none);
    sotto_free(none, 0);
}

/* ---------------------------------------------------------------- the table as data */

static void manifest(void **state) {
    size_t count;
    const command *commands = command_table(&count);
    cJSON *reply = call_header(*state, "{\"command\":\"manifest\"}");
    const cJSON *result = cJSON_GetObjectItem(reply, "result"), *list = cJSON_GetObjectItem(result, "commands");
    assert_int_equal(cJSON_GetObjectItem(result, "abi")->valueint, SOTTO_ABI);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(result, "version")), SOTTO_VERSION);
    assert_int_equal(cJSON_GetArraySize(list), count);
    for (size_t i = 0; i < count; i++) {
        const cJSON *c = cJSON_GetArrayItem(list, (int)i), *params = cJSON_GetObjectItem(c, "params");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(c, "name")), commands[i].name);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(c, "result")), commands[i].result);
        assert_int_equal(cJSON_GetArraySize(params), commands[i].param_count);
        assert_ptr_equal(command_find(commands[i].name), &commands[i]);
        for (size_t j = 0; j < commands[i].param_count; j++) {
            const cJSON *p = cJSON_GetArrayItem(params, (int)j);
            assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(p, "name")), commands[i].params[j].name);
            if (commands[i].params[j].type == PARAM_WORD)
                assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(p, "words")) >= 2);
            for (size_t k = 0; k < j; k++)
                assert_string_not_equal(commands[i].params[k].name, commands[i].params[j].name);
        }
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(commands[k].name, commands[i].name);
    }
    cJSON_Delete(reply);
}

/* ---------------------------------------------------------------- an account in memory */

static const char create_clinic[] = "{\"command\":\"clinic.create\",\"args\":{\"relay\":\"http://"
                                    "127.0.0.1:8080\",\"clinic_name\":\"Praxis \\\"\\u2028\","
                                    "\"name\":\"Dr. \xf0\x9f\xa9\xba\"}}";

static void a_clinic_in_memory(void **state) {
    sotto *s = *state;
    bytes f = make_frame(create_clinic, sizeof create_clinic - 1, 0);
    size_t attached;
    cJSON *reply = read_reply(sotto_call(s, f.p, f.n), &attached);
    free(f.p);
    const cJSON *me = cJSON_GetObjectItem(reply, "result"), *request;
    assert_non_null(me);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(me, "kind")), "staff");
    assert_int_equal(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(me, "clinic"))), 22);
    assert_int_equal(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(me, "fingerprint"))), 43);
    /* The requests to carry out, each body an attachment. */
    int bodies = 0;
    cJSON_ArrayForEach(request, cJSON_GetObjectItem(reply, "http")) {
        const cJSON *body = cJSON_GetObjectItem(request, "body");
        assert_true(cJSON_IsString(cJSON_GetObjectItem(request, "id")));
        assert_int_equal(cJSON_GetStringValue(cJSON_GetObjectItem(request, "path"))[0], '/');
        assert_true(cJSON_IsObject(cJSON_GetObjectItem(request, "headers")));
        if (body != NULL)
            assert_int_equal(body->valueint, bodies++);
    }
    assert_int_equal(bodies, attached);
    cJSON_Delete(reply);

    assert_string_equal(code_of(call_header(s, create_clinic)), "exists");
    assert_string_equal(code_of(call_header(s, "{\"command\":\"me\"}")), "");
    static const char *const lists[] = {"conversation.list", "invitation.list", "notice.list"};
    for (size_t i = 0; i < COUNT(lists); i++) {
        char header[80];
        snprintf(header, sizeof header, "{\"command\":\"%s\"}", lists[i]);
        reply = call_header(s, header);
        assert_true(cJSON_IsArray(cJSON_GetObjectItem(reply, "result")));
        cJSON_Delete(reply);
    }
    static const char *const absent[] = {
        "{\"command\":\"conversation.get\",\"args\":{\"conversation\":\"9223372036854775807\"}}",
        "{\"command\":\"message.send\",\"args\":{\"conversation\":\"4711\",\"text\":\"a\"}}",
        "{\"command\":\"message.get\",\"args\":{\"message\":\"AAAAAAAAAAAAAAAAAAAAAA\"}}",
        "{\"command\":\"message.retry\",\"args\":{\"message\":\"AAAAAAAAAAAAAAAAAAAAAA\"}}",
        "{\"command\":\"invitation.withdraw\",\"args\":{\"invitation\":\"AAAAAAAAAAAAAAAAAAAAAA\"}}"};
    for (size_t i = 0; i < COUNT(absent); i++)
        assert_string_equal(code_of(call_header(s, absent[i])), "not_found");

    /* Malformed input with an account open: refused as without one, and "me" is as before. */
    cJSON *before = call_header(s, "{\"command\":\"me\"}");
    size_t count;
    const command *commands = command_table(&count);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < commands[i].param_count; j++)
            refused(s, &commands[i], j, "{}", NULL, commands[i].params[j].name);
    cJSON *after = call_header(s, "{\"command\":\"me\"}");
    assert_true(cJSON_Compare(cJSON_GetObjectItem(before, "result"), cJSON_GetObjectItem(after, "result"), true));
    cJSON_Delete(before);
    cJSON_Delete(after);

    assert_string_equal(code_of(call_header(s, "{\"command\":\"account.lock\"}")), "");
    assert_string_equal(code_of(call_header(s, "{\"command\":\"me\"}")), "locked");
}

/* A reply for which there is no room: the command is not carried out, and the error says why. */
static void no_room_for_the_reply(void **state) {
    uint8_t *memory = malloc(COMMAND_MEMORY), small[REPLY_MIN];
    client *c;
    arena a;
    buffer reply;
    assert_non_null(memory);
    assert_int_equal(client_new("", &c), OK);
    arena_over(&a, memory, COMMAND_MEMORY);
    bytes f = make_frame("{\"command\":\"manifest\"}", 22, 0);
    for (size_t room = 0; room <= sizeof small; room++) {
        buffer_over(&reply, small, room);
        command_run(c, &a, span_of(f.p, f.n), &reply);
        arena_reset(&a);
        if (reply.error == OK) {
            cJSON *json = read_reply(reply.p, NULL);
            assert_string_equal(error_member(json, "code"), "too_large");
            cJSON_Delete(json);
        } else {
            assert_true(room < 256);
        }
    }
    free(f.p);
    f = make_frame(create_clinic, sizeof create_clinic - 1, 0);
    buffer_over(&reply, small, 200);
    command_run(c, &a, span_of(f.p, f.n), &reply);
    arena_reset(&a);
    free(f.p);
    account_status status;
    assert_int_equal(client_account_status(c, &status), OK);
    assert_int_equal(status.state, ACCOUNT_NONE); /* rolled back */
    client_free(c);
    free(memory);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
/* Secrets are gone from the command's memory when it has ended. (ASan would not let us look.) */
static void secrets_are_wiped(void **state) {
    static const char pin[] = "4711canary";
    static const char header[] = "{\"command\":\"account.unlock\",\"args\":{\"pin\":\"4711canary\"}}";
    uint8_t *memory = calloc(1, COMMAND_MEMORY);
    client *c;
    arena a;
    buffer reply;
    assert_int_equal(client_new("", &c), OK);
    assert_int_equal(buffer_init(&reply, REPLY_MIN, REPLY_MAX), OK);
    arena_over(&a, memory, COMMAND_MEMORY);
    bytes f = make_frame(header, sizeof header - 1, 0);
    command_run(c, &a, span_of(f.p, f.n), &reply);
    assert_non_null(memmem(memory, COMMAND_MEMORY, pin, sizeof pin - 1));
    arena_reset(&a);
    assert_null(memmem(memory, COMMAND_MEMORY, pin, sizeof pin - 1));
    assert_null(memmem(reply.p, reply.n, pin, sizeof pin - 1));
    free(f.p);
    buffer_free(&reply);
    client_free(c);
    free(memory);
}
#endif

/* ---------------------------------------------------------------- writing */

static void assert_written(const buffer *b, const char *expected) {
    assert_int_equal(b->error, OK);
    assert_int_equal(b->n, strlen(expected));
    assert_memory_equal(b->p, expected, b->n);
}

static void text_is_escaped(void **state) {
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"", "\"\""},
        {"a\"b\\c/d", "\"a\\\"b\\\\c/d\""},
        {"\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\""},
        {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\"\\u2028\\u2029\xe2\x80\xaa\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b\xc3",
         "\"a\xef\xbf\xbd"
         "b\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    uint8_t memory[256];
    for (size_t i = 0; i < COUNT(cases); i++) {
        buffer b;
        buffer_over(&b, memory, sizeof memory);
        json_writer w = {.out = &b};
        writer_text(&w, span_text(cases[i].text));
        assert_written(&b, cases[i].json);
    }
    buffer b;
    buffer_over(&b, memory, sizeof memory);
    json_writer w = {.out = &b};
    writer_text(&w, span_of("a\0b", 3));
    assert_written(&b, "\"a\\u0000b\"");
}

static void values_are_written(void **state) {
    uint8_t memory[512];
    buffer b;
    buffer_over(&b, memory, sizeof memory);
    json_writer w = {.out = &b};
    writer_open(&w, '{');
    writer_put_number(&w, "a", INT64_MIN);
    writer_put_decimal(&w, "b", INT64_MAX);
    writer_put_unsigned(&w, "c", UINT64_MAX);
    writer_put_bool(&w, "d", true);
    writer_put_word(&w, "e", NULL);
    writer_put_base64url(&w, "f", span_of("\xff\xfe", 2));
    writer_put_hex(&w, "g", span_of("\xff\x00", 2));
    writer_key(&w, "h");
    writer_open(&w, '[');
    writer_number(&w, 0);
    writer_open(&w, '{');
    writer_close(&w, '}');
    writer_null(&w);
    writer_close(&w, ']');
    writer_close(&w, '}');
    assert_written(&b, "{\"a\":-9223372036854775808,\"b\":\"9223372036854775807\",\"c\":\"18446744073709551615\","
                       "\"d\":true,\"e\":null,\"f\":\"__4\",\"g\":\"ff00\",\"h\":[0,{},null]}");
}

static void buffers_grow_to_their_limit(void **state) {
    buffer b;
    assert_int_equal(buffer_init(&b, 4, 100), OK);
    for (int i = 0; i < 100; i++)
        buffer_byte(&b, (uint8_t)i);
    assert_int_equal(b.error, OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(b.p[i], i);
    buffer_byte(&b, 0);
    assert_int_equal(b.error, ERR_TOO_LARGE);
    assert_int_equal(b.n, 100);
    buffer_cut(&b, 98);
    buffer_byte(&b, 7);
    assert_int_equal(b.error, OK); /* cut back: there is room again */
    buffer_put(&b, "xxxxxxxxxx", 10);
    buffer_byte(&b, 1);
    assert_int_equal(b.error, ERR_TOO_LARGE); /* the first failure stays, though one byte would fit */
    assert_int_equal(b.n, 99);
    buffer_reset(&b, 8);
    assert_int_equal(b.size, 8);
    assert_int_equal(b.n, 0);
    buffer_free(&b);
}

static void effects_are_written(void **state) {
    http_header type = {.name = "content-type", .value = "message/mls"};
    http_request second = {.id = 8, .method = "GET", .path = "/v1/inbox?after=0", .waits = true};
    http_request first = {.id = UINT64_MAX,
                          .method = "POST",
                          .path = "/v1/devices",
                          .headers = &type,
                          .body = span_text("body"),
                          .next = &second};
    event told = {.kind = EVENT_INVITATION, .code = "failed", .text = "No.", .number = 3};
    event message = {
        .kind = EVENT_MESSAGE, .conversation = 5, .message_id = span_of("0123456789abcdef", 16), .next = &told};
    effects fx = {.requests = &first, .events = &message, .timer_ms = 0};
    uint8_t memory[1024];
    buffer b;
    buffer_over(&b, memory, sizeof memory);
    json_writer w = {.out = &b};
    writer_open(&w, '{');
    effects_write_header(&w, &fx);
    writer_close(&w, '}');
    assert_written(&b,
                   "{\"http\":[{\"id\":\"18446744073709551615\",\"method\":\"POST\",\"path\":\"/v1/devices\","
                   "\"headers\":{\"content-type\":\"message/mls\"},\"body\":0},"
                   "{\"id\":\"8\",\"method\":\"GET\",\"path\":\"/v1/inbox?after=0\",\"headers\":{},\"waits\":true}],"
                   "\"events\":[{\"event\":\"message\",\"conversation\":\"5\",\"message\":\"MDEyMzQ1Njc4OWFiY2RlZg\"},"
                   "{\"event\":\"invitation\",\"code\":\"failed\",\"text\":\"No.\",\"attempts_left\":3}],\"timer\":0}");
    buffer_cut(&b, 0);
    effects_write_attachments(&b, &fx);
    assert_int_equal(b.n, 8);
    assert_memory_equal(b.p, "\4\0\0\0body", 8);
}

int main(void) {
#define FRESH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        FRESH(each_argument_of_each_command),
        FRESH(good_arguments_get_through),
        FRESH(long_unknown_argument_is_cut),
        FRESH(unknown_commands),
        FRESH(only_strict_json),
        FRESH(hostile_sizes),
        FRESH(frames_that_do_not_fit),
        FRESH(attachments),
        cmocka_unit_test(open_is_strict),
        FRESH(manifest),
        FRESH(a_clinic_in_memory),
        cmocka_unit_test(no_room_for_the_reply),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
        cmocka_unit_test(secrets_are_wiped),
#endif
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(values_are_written),
        cmocka_unit_test(buffers_grow_to_their_limit),
        cmocka_unit_test(effects_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
