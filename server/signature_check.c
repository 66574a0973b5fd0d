#include "signature_check.h"

#include "base/secret.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "limits.h"

/* Moves over `text`, or fails. */
static bool skip(span *s, const char *text) {
    size_t n = strlen(text);
    if (s->n < n || memcmp(s->p, text, n) != 0)
        return false;
    *s = span_of(s->p + n, s->n - n);
    return true;
}

static bool skip_base64url(span *s, uint8_t *out, size_t size) {
    size_t n = BASE64URL_SIZE(size);
    if (s->n < n || base64url_read(out, size, span_of(s->p, n)) != OK)
        return false;
    *s = span_of(s->p + n, s->n - n);
    return true;
}

/* Standard base64 with padding, as structured fields write bytes (RFC 9651 §3.3.5): turned into base64url and read
 * as strictly. */
static bool skip_base64(span *s, uint8_t *out, size_t size) {
    char url[BASE64URL_SIZE(ED25519_SIGNATURE_SIZE)];
    size_t n = BASE64URL_SIZE(size), padding = (3 - size % 3) % 3;
    if (n > sizeof url || s->n < n + padding)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = (char)s->p[i];
        if (c == '-' || c == '_')
            return false;
        url[i] = c == '+' ? '-' : c == '/' ? '_' : c;
    }
    for (size_t i = 0; i < padding; i++)
        if (s->p[n + i] != '=')
            return false;
    if (base64url_read(out, size, span_of(url, n)) != OK)
        return false;
    *s = span_of(s->p + n + padding, s->n - n - padding);
    return true;
}

/* Digits without leading zero, below 2^53. */
static bool skip_integer(span *s, uint64_t *v) {
    size_t n = 0;
    *v = 0;
    while (n < s->n && n < 15 && s->p[n] >= '0' && s->p[n] <= '9')
        *v = *v * 10 + (uint64_t)(s->p[n++] - '0');
    if (n == 0 || (n > 1 && s->p[0] == '0'))
        return false;
    *s = span_of(s->p + n, s->n - n);
    return true;
}

#define COVERED "\"@method\" \"@authority\" \"@path\" \"@query\""

static bool read_parameters(span s, signed_head *head) {
    if (!skip(&s, "(" COVERED))
        return false;
    head->covers_digest = skip(&s, " \"content-digest\"");
    return skip(&s, ");created=") && skip_integer(&s, &head->created) && skip(&s, ";nonce=\"") &&
           skip_base64url(&s, head->nonce, NONCE_SIZE) && skip(&s, "\";keyid=\"") &&
           skip_base64url(&s, head->keyid, ID_SIZE) && skip(&s, "\";alg=\"ed25519\"") && s.n == 0;
}

err signature_head_read(const request *rq, signed_head *head, const char **fault) {
    *head = (signed_head){0};
    span s = rq->signature_input;
    if (s.n == 0 || rq->signature.n == 0) {
        *fault = "the headers Signature-Input and Signature are missing";
        return ERR_MALFORMED;
    }
    if (!skip(&s, "sotto=")) {
        *fault = "Signature-Input must begin with sotto=";
        return ERR_MALFORMED;
    }
    head->parameters = s;
    if (!read_parameters(s, head)) {
        *fault = "Signature-Input is not in the form that the protocol gives";
        return ERR_MALFORMED;
    }
    s = rq->signature;
    if (!skip(&s, "sotto=:") || !skip_base64(&s, head->signature, ED25519_SIGNATURE_SIZE) || !skip(&s, ":") ||
        s.n != 0) {
        *fault = "Signature must be sotto=: 64 bytes in base64 :";
        return ERR_MALFORMED;
    }
    if (rq->body.n > 0 && (!head->covers_digest || rq->content_digest.n == 0)) {
        *fault = "a request with content must have a Content-Digest and cover it";
        return ERR_MALFORMED;
    }
    if (rq->body.n == 0 && (head->covers_digest || rq->content_digest.n != 0)) {
        *fault = "a request without content must have no Content-Digest";
        return ERR_MALFORMED;
    }
    return OK;
}

const char *method_name(http_method m) {
    switch (m) {
    case METHOD_GET: return "GET";
    case METHOD_POST: return "POST";
    case METHOD_PUT: return "PUT";
    case METHOD_DELETE: return "DELETE";
    case METHOD_HEAD:
    case METHOD_OTHER: break;
    }
    return NULL;
}

typedef struct line_writer {
    uint8_t *p;
    size_t n, room;
    bool full;
} line_writer;

static void put(line_writer *w, span s) {
    if (w->full || s.n > w->room - w->n) {
        w->full = true;
        return;
    }
    if (s.n > 0)
        memcpy(w->p + w->n, s.p, s.n);
    w->n += s.n;
}

static void put_component(line_writer *w, const char *name, const char *before, span value) {
    put(w, span_text("\""));
    put(w, span_text(name));
    put(w, span_text("\": "));
    put(w, span_text(before));
    put(w, value);
    put(w, span_text("\n"));
}

/* Names of components, and what comes from a head that is no larger than HEADERS_MAX. */
#define SIGNATURE_BASE_MAX (200 + HEADERS_MAX)

err signature_head_verify(const request *rq, signed_head *head, const uint8_t key[ED25519_PUBLIC_SIZE],
                          const char **fault) {
    const char *method = method_name(rq->method);
    *fault = "the signature does not verify under this key";
    if (method == NULL)
        return ERR_SIGNATURE;
    if (head->covers_digest) {
        uint8_t given[32];
        span s = rq->content_digest;
        if (!skip(&s, "sha-256=:") || !skip_base64(&s, given, sizeof given) || !skip(&s, ":") || s.n != 0) {
            *fault = "Content-Digest must be sha-256=: 32 bytes in base64 :";
            return ERR_SIGNATURE;
        }
        sha256(rq->body, head->digest);
        if (!span_equal(SPAN(given), SPAN(head->digest))) {
            *fault = "Content-Digest is not the digest of the content";
            return ERR_SIGNATURE;
        }
    }
    /* RFC 9421 §2.5. */
    uint8_t base[SIGNATURE_BASE_MAX];
    line_writer w = {.p = base, .room = sizeof base};
    put_component(&w, "@method", "", span_text(method));
    put_component(&w, "@authority", "", rq->authority);
    put_component(&w, "@path", "", rq->path);
    put_component(&w, "@query", "?", rq->query);
    if (head->covers_digest)
        put_component(&w, "content-digest", "", rq->content_digest);
    put(&w, span_text("\"@signature-params\": "));
    put(&w, head->parameters);
    return w.full ? ERR_SIGNATURE
                  : signature_verify(span_of(key, ED25519_PUBLIC_SIZE), span_of(w.p, w.n), SPAN(head->signature));
}
