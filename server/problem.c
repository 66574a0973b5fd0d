#include "problem.h"

#include <stdlib.h>

#include "json.h"

static const struct {
    const char *word;
    int status;
    const char *title;
} TABLE[] = {
#define X(name, word, status, title) {word, status, title},
    PROBLEMS(X)
#undef X
};

void response_free(response *rs) {
    free(rs->body);
    rs->body = NULL;
    rs->body_size = 0;
}

const char *problem_name(problem_kind kind) { return TABLE[kind].word; }

static void begin(text *t, problem_kind kind, const char *detail) {
    text_put(t, "{\"type\":\"urn:sotto:problem:");
    text_put(t, TABLE[kind].word);
    text_put(t, "\"");
    text_member_string(t, "title", TABLE[kind].title);
    text_member_integer(t, "status", TABLE[kind].status);
    text_member_string(t, "detail", detail);
}

static void end(text *t, response *rs, problem_kind kind, int64_t value) {
    text_put(t, "}");
    response_free(rs);
    *rs = (response){.status = TABLE[kind].status, .type = "application/problem+json"};
    if (kind == PROBLEM_TOO_MANY)
        rs->retry_after_s = (uint32_t)(value > 0 ? value : 1);
    if (kind == PROBLEM_UNAVAILABLE)
        rs->retry_after_s = 1;
    if (t->failed) {
        text_free(t);
        rs->type = NULL;
        return;
    }
    rs->body = t->p;
    rs->body_size = t->n;
}

void problem_write(response *rs, problem_kind kind, const char *detail, const char *extra, int64_t value) {
    text t = {0};
    begin(&t, kind, detail);
    if (extra != NULL)
        text_member_integer(&t, extra, value);
    end(&t, rs, kind, value);
}

void problem_write_words(response *rs, problem_kind kind, const char *detail, const char *name,
                         const char *const *words, size_t n) {
    text t = {0};
    begin(&t, kind, detail);
    text_member(&t, name);
    text_put(&t, "[");
    for (size_t i = 0; i < n; i++) {
        text_put(&t, i > 0 ? "," : "");
        text_string(&t, span_text(words[i]));
    }
    text_put(&t, "]");
    end(&t, rs, kind, 0);
}
