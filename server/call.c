/* call.c: what every call answers with and reads from its request. */
#include "call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* ---- outcomes */

bool problem_more(call *c, problem_kind kind, const char *detail, const char *extra, int64_t value) {
    c->problem = problem_name(kind);
    problem_write(c->rs, kind, detail, extra, value);
    return true;
}

bool problem(call *c, problem_kind kind, const char *detail) { return problem_more(c, kind, detail, NULL, 0); }

bool problem_text(call *c, problem_kind kind, const char *format, ...) {
    char detail[240];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return problem(c, kind, detail);
}

bool json_faulty(call *c) {
    if (c->json.fault[0] == 0)
        return false;
    return problem(c, PROBLEM_MALFORMED, c->json.fault);
}

bool answer(call *c, int status) {
    *c->rs = (response){.status = status};
    if (c->out.failed) {
        relay_unavailable(c->rs);
        return true;
    }
    if (c->out.n > 0) {
        c->rs->type = "application/json";
        c->rs->body = c->out.p;
        c->rs->body_size = c->out.n;
        c->out = (text){0};
    }
    return true;
}

void relay_unavailable(response *rs) {
    problem_write(rs, PROBLEM_UNAVAILABLE, "the store can't take it now; ask again", NULL, 0);
}

void call_object(call *c, span name) {
    c->object_size = name.n < sizeof c->object ? name.n : sizeof c->object;
    memcpy(c->object, name.p, c->object_size);
}

void call_object_number(call *c, int64_t number) {
    for (int i = 0; i < 8; i++)
        c->object[i] = (uint8_t)((uint64_t)number >> (56 - 8 * i));
    c->object_size = 8;
}

/* ---- input */

bool path_id(call *c, uint8_t *out, size_t n) {
    if (base64url_read(out, n, c->id) == OK)
        return true;
    problem_text(c, PROBLEM_MALFORMED, "the id in the path must be base64url of %zu bytes", n);
    return false;
}

bool query_find(const call *c, const char *name, span *value, bool *twice) {
    size_t name_size = strlen(name);
    bool found = false;
    if (c->rq->query.n == 0)
        return false;
    const uint8_t *p = c->rq->query.p, *end = p + c->rq->query.n;
    while (p < end) {
        const uint8_t *stop = memchr(p, '&', (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        if ((size_t)(stop - p) > name_size && memcmp(p, name, name_size) == 0 && p[name_size] == '=') {
            if (found)
                *twice = true;
            found = true;
            *value = span_of(p + name_size + 1, (size_t)(stop - p) - name_size - 1);
        }
        p = stop + 1;
    }
    return found;
}

bool query_integer(call *c, const char *name, int64_t missing, int64_t min, int64_t max, int64_t *v) {
    span s = SPAN_NONE;
    bool twice = false;
    *v = missing;
    if (!query_find(c, name, &s, &twice)) {
        if (missing >= min)
            return true;
        problem_text(c, PROBLEM_MALFORMED, "query parameter \"%s\" is missing", name);
        return false;
    }
    bool good = !twice && s.n > 0 && s.n <= 16 && (s.n == 1 || s.p[0] != '0');
    int64_t value = 0;
    for (size_t i = 0; i < s.n && good; i++) {
        good = s.p[i] >= '0' && s.p[i] <= '9';
        value = value * 10 + (s.p[i] - '0');
    }
    if (!good || value < min || value > max) {
        problem_text(c, PROBLEM_MALFORMED, "query parameter \"%s\" must be one integer from %lld to %lld", name,
                     (long long)min, (long long)max);
        return false;
    }
    *v = value;
    return true;
}

bool chain_read(call *c, span bytes, certificate_chain *chain) {
    *chain = (certificate_chain){0};
    err e = WIRE_DECODE(bytes, c->arena, wire_certificate_chain, chain);
    if (e == OK && chain->n > 0)
        return true;
    problem_text(c, PROBLEM_MALFORMED, "member \"chain\" is no certificate chain: %s",
                 e == OK ? "it is empty" : err_text(e));
    return false;
}

bool chain_verify(call *c, const certificate_chain *chain) {
    err e = certificate_chain_check(chain, c->root_key, (uint64_t)now_s(c));
    if (e == OK)
        return true;
    problem(c, PROBLEM_BAD_CERTIFICATE, err_text(e));
    return false;
}
