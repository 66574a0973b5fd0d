/* http_ops.h: where listeners are, and the operator's own, apart from that of the clients: GET /metrics and nothing else. */
#ifndef SERVER_HTTP_OPS_H
#define SERVER_HTTP_OPS_H

#include "json.h"

struct lws_context;
struct lws_context_creation_info;

/* Where a listener is to be: `host` is an address of this machine, "localhost", or "", "0.0.0.0", "::" for everywhere. */
void listen_at(struct lws_context_creation_info *info, const char *host);

typedef struct ops_source {
    void (*write)(void *ctx, text *out);
    void *ctx;
} ops_source;

/* Listens on HOST:PORT (port 0: any) and logs which. `source` lives as long as the context. ERR_HOST when it can't. */
MUST_USE err ops_listen(struct lws_context *context, const char *host, int port, const ops_source *source);

#endif
