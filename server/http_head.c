/* OpenSSL, which libwebsockets brings along, has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <libwebsockets.h>
#undef ERR_STATE

#include "http_head.h"

#include <stdlib.h>
#include <string.h>

#include "limits.h"

http_method head_method(struct lws *wsi) {
    if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI))
        return METHOD_GET;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI))
        return METHOD_POST;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_PUT_URI))
        return METHOD_PUT;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_DELETE_URI))
        return METHOD_DELETE;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI))
        return METHOD_HEAD;
    return METHOD_OTHER;
}

/* Strings of a head are gathered one after the other in one piece of memory. */
typedef struct gather {
    char bytes[PATH_MAX_BYTES + QUERY_MAX + 7 * HEADER_VALUE_MAX];
    size_t n;
    bool overflow;
} gather;

static size_t gather_put(gather *g, const void *p, size_t n) {
    size_t at = g->n;
    if (n + 1 > sizeof g->bytes - g->n) {
        g->overflow = true;
        return at;
    }
    memcpy(g->bytes + at, p, n);
    g->bytes[at + n] = 0;
    g->n += n + 1;
    return at;
}

typedef struct piece {
    size_t at, n;
} piece;

static piece gather_token(gather *g, struct lws *wsi, enum lws_token_indexes token) {
    char value[HEADER_VALUE_MAX];
    int n = lws_hdr_total_length(wsi, token);
    if (n <= 0)
        return (piece){0};
    if (n >= (int)sizeof value || lws_hdr_copy(wsi, value, sizeof value, token) < 0) {
        g->overflow = true;
        return (piece){0};
    }
    return (piece){gather_put(g, value, strlen(value)), strlen(value)};
}

/* `name` in lower case with its colon. */
static piece gather_custom(gather *g, struct lws *wsi, const char *name) {
    char value[HEADER_VALUE_MAX];
    int size = (int)strlen(name), n = lws_hdr_custom_length(wsi, name, size);
    if (n <= 0)
        return (piece){0};
    if (n >= (int)sizeof value || lws_hdr_custom_copy(wsi, value, sizeof value, name, size) < 0) {
        g->overflow = true;
        return (piece){0};
    }
    return (piece){gather_put(g, value, strlen(value)), strlen(value)};
}

/* The library splits the query at "&" and decodes %; joined again it is what was sent, as long as it has only these. */
static bool plain_query(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char ch = s[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' ||
                     ch == '_' || ch == '=' || ch == '.' || ch == '~';
        if (!plain)
            return false;
    }
    return true;
}

static bool gather_query(gather *g, struct lws *wsi, piece *out) {
    char query[QUERY_MAX], part[QUERY_MAX];
    size_t n = 0;
    for (int i = 0;; i++) {
        int k = lws_hdr_copy_fragment(wsi, part, sizeof part, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (k < 0 && lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i) > 0)
            return false;
        if (k <= 0)
            break;
        if (!plain_query(part, (size_t)k) || n + 1 + (size_t)k > sizeof query)
            return false;
        if (i > 0)
            query[n++] = '&';
        memcpy(query + n, part, (size_t)k);
        n += (size_t)k;
    }
    *out = (piece){gather_put(g, query, n), n};
    return true;
}

static span piece_of(const char *texts, piece p) { return p.n > 0 ? span_of(texts + p.at, p.n) : SPAN_NONE; }

/* The library takes a name with a space after it for another name (RFC 9112 §5.1: refuse it). What stands before us may not, and then
 * would see another end of the request than we do. */
static bool has_hidden_coding(struct lws *wsi) {
    static const char *const NAMES[] = {
        "transfer-encoding :", "transfer-encoding\t:", " transfer-encoding:", "\ttransfer-encoding:"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (lws_hdr_custom_length(wsi, NAMES[i], (int)strlen(NAMES[i])) >= 0)
            return true;
    return false;
}

bool head_content_length(struct lws *wsi, size_t *n) {
    char value[20];
    *n = 0;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0 || has_hidden_coding(wsi))
        return false;
    int size = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);
    if (size <= 0)
        return true;
    if (size > 12 || lws_hdr_copy(wsi, value, sizeof value, WSI_TOKEN_HTTP_CONTENT_LENGTH) != size)
        return false;
    for (int i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        *n = *n * 10 + (size_t)(value[i] - '0');
    }
    return true;
}

/* The library takes any word for one. */
static bool known_version(struct lws *wsi) {
    char value[10];
    return lws_hdr_copy(wsi, value, sizeof value, WSI_TOKEN_HTTP) == 8 &&
           (strcmp(value, "HTTP/1.1") == 0 || strcmp(value, "HTTP/1.0") == 0);
}

bool head_is_coded(struct lws *wsi) { return lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_ENCODING) > 0; }

/* What a name or address of a host is written in, and a port. Two of them, joined by the library, are not. */
static bool plain_authority(span s) {
    for (size_t i = 0; i < s.n; i++) {
        uint8_t ch = s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '.' || ch == '_' ||
                     ch == ':' || ch == '[' || ch == ']';
        if (!plain)
            return false;
    }
    return true;
}

bool head_read(struct lws *wsi, const char *path, size_t path_size, request *rq, char **texts) {
    *texts = NULL;
    gather g = {0};
    piece query = {0};
    if (!known_version(wsi) || path_size >= PATH_MAX_BYTES || !gather_query(&g, wsi, &query))
        return false;
    piece at_path = {gather_put(&g, path, path_size), path_size};
    piece authority = gather_token(&g, wsi, WSI_TOKEN_HOST);
    piece range = gather_token(&g, wsi, WSI_TOKEN_HTTP_RANGE);
    piece content_type = gather_token(&g, wsi, WSI_TOKEN_HTTP_CONTENT_TYPE);
    piece signature_input = gather_custom(&g, wsi, "signature-input:");
    piece signature = gather_custom(&g, wsi, "signature:");
    piece content_digest = gather_custom(&g, wsi, "content-digest:");
    if (g.overflow)
        return false;
    char *own = malloc(g.n + 1);
    if (own == NULL)
        return false;
    memcpy(own, g.bytes, g.n);
    *texts = own;
    for (size_t i = 0; i < authority.n; i++) {
        char *ch = &own[authority.at + i];
        if (*ch >= 'A' && *ch <= 'Z')
            *ch = (char)(*ch - 'A' + 'a');
    }
    rq->path = piece_of(own, at_path);
    rq->query = piece_of(own, query);
    rq->authority = piece_of(own, authority);
    if (!plain_authority(rq->authority))
        return false;
    rq->range = piece_of(own, range);
    rq->content_type = piece_of(own, content_type);
    rq->signature_input = piece_of(own, signature_input);
    rq->signature = piece_of(own, signature);
    rq->content_digest = piece_of(own, content_digest);
    char accept[HEADER_VALUE_MAX];
    rq->event_stream = lws_hdr_copy(wsi, accept, sizeof accept, WSI_TOKEN_HTTP_ACCEPT) > 0 &&
                       strstr(accept, "text/event-stream") != NULL;
    return true;
}
