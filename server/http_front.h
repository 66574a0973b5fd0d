/* http_front.h: HTTP over libwebsockets: connections, limits of size and time, waiting, event streams, static files.
 * All that knows libwebsockets is in http_front.c, http_loop.c for where it runs, http_head.c for a request's head, and http_ops.c for
 * listeners. */
#ifndef SERVER_HTTP_FRONT_H
#define SERVER_HTTP_FRONT_H

#include "http_address.h"
#include "http_static.h"
#include "relay.h"

typedef struct front_options {
    const char *host; /* address to listen on; "" for all */
    int port;         /* 0: any; the log says which */
    unsigned connections_an_address;
    size_t queue_max;          /* requests that wait at once */
    const char *static_folder; /* NULL: no pages */
    proxy_list proxies;        /* who may say in X-Forwarded-For for whom he asks */
    /* Both or neither: PEM files; read again at SIGHUP. */
    const char *tls_certificate, *tls_key;
    char metrics_host[64];
    int metrics_port;          /* -1: no metrics */
    const char *database_file; /* whose size the metrics tell; NULL: not ours to know */
} front_options;

typedef struct front front;

/* Binds the ports, so that what follows may run with fewer privileges. The options must outlive it. ERR_HOST when it can't
 * listen or the certificate is unusable. */
MUST_USE err front_open(const front_options *options, front **out);
/* Serves until SIGTERM or SIGINT, then finishes what is under way. Pushes may be NULL. */
struct pushes;
MUST_USE err front_serve(front *f, relay *r, struct pushes *p);
void front_close(front *f);

#endif
