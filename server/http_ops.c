/* OpenSSL, which libwebsockets brings along, has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <libwebsockets.h>
#undef ERR_STATE

#include "http_ops.h"

#include <arpa/inet.h>
#include <string.h>

#include "limits.h"
#include "log.h"

#define OPS_HEAD_SIZE 512 /* status and three headers */

/* One answer in one write: the library keeps what the socket does not take at once. */
static int answer_with(struct lws *wsi, unsigned status, const char *type, const text *body) {
    size_t room = LWS_PRE + OPS_HEAD_SIZE + body->n;
    unsigned char *bytes = malloc(room), *p = bytes + LWS_PRE, *end = bytes + room;
    if (bytes == NULL)
        return -1;
    bool good = lws_add_http_common_headers(wsi, status, type, body->n, &p, end) == 0 &&
                lws_finalize_http_header(wsi, &p, end) == 0 && (size_t)(end - p) >= body->n;
    if (good) {
        if (body->n > 0)
            memcpy(p, body->p, body->n);
        p += body->n;
        size_t n = (size_t)(p - bytes - LWS_PRE);
        good = lws_write(wsi, bytes + LWS_PRE, n, LWS_WRITE_HTTP_HEADERS) >= (int)n;
    }
    free(bytes);
    return !good || lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n) {
    (void)user;
    (void)n;
    if (reason == LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION || reason == LWS_CALLBACK_HTTP_CONFIRM_UPGRADE ||
        reason == LWS_CALLBACK_HTTP_BODY)
        return -1;
    if (reason != LWS_CALLBACK_HTTP)
        return 0;
    const ops_source *source = lws_vhost_user(lws_get_vhost(wsi));
    text body = {0};
    if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0 || strcmp(in, "/metrics") != 0)
        return answer_with(wsi, 404, "text/plain", &body);
    source->write(source->ctx, &body);
    int result = body.failed ? -1 : answer_with(wsi, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
    text_free(&body);
    return result;
}

static const struct lws_protocols PROTOCOLS[] = {{.name = "ops", .callback = callback}, {.name = NULL}};

void listen_at(struct lws_context_creation_info *info, const char *host) {
    struct in_addr ipv4;
    if (host[0] == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        return;
    info->iface = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    /* On a socket for both, the library takes an IPv4 address for everywhere. */
    if (inet_pton(AF_INET, info->iface, &ipv4) == 1)
        info->options |= LWS_SERVER_OPTION_DISABLE_IPV6;
}

err ops_listen(struct lws_context *context, const char *host, int port, const ops_source *source) {
    struct lws_context_creation_info info = {0};
    listen_at(&info, host);
    info.vhost_name = "ops";
    info.port = port;
    info.protocols = PROTOCOLS;
    info.user = (void *)(uintptr_t)source;
    info.timeout_secs = HEADERS_TIME_S;
    info.keepalive_timeout = KEEP_ALIVE_S;
    info.options |= LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME;
    struct lws_vhost *vhost = lws_create_vhost(context, &info);
    if (vhost == NULL)
        return ERR_HOST;
    log_line(LOG_INFO, "event=metrics port=%d", lws_get_vhost_listen_port(vhost));
    return OK;
}
