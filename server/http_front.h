/* http_front.h: HTTP over libwebsockets: connections, limits of size and time, waiting, event streams, static files.
 * All that knows libwebsockets is in http_front.c. */
#ifndef SERVER_HTTP_FRONT_H
#define SERVER_HTTP_FRONT_H

#include "http_static.h"
#include "relay.h"

typedef struct front_options {
    const char *host; /* address to listen on; "" for all */
    int port;         /* 0: any; then `port_written` gets it */
    unsigned connections_an_address;
    const char *static_folder; /* NULL: no pages */
} front_options;

/* Serves until SIGTERM or SIGINT, then finishes what is under way. ERR_HOST when it can't listen. */
MUST_USE err front_serve(relay *r, const front_options *options);

#endif
