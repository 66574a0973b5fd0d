/* http_loop.h: the loop that the front runs in: libuv's, where libwebsockets has its descriptors and timers. A turn costs what is
 * active; the library's own loop would ask poll(2) for every connection each time, and thousands of them only wait. */
#ifndef SERVER_HTTP_LOOP_H
#define SERVER_HTTP_LOOP_H

#include <stdbool.h>

#include "base/err.h"

struct lws_context;
struct lws_context_creation_info;

typedef struct loop loop;

/* Called in a turn, of one that loop_watch_end was called for. */
typedef void loop_end(void *ctx, void *who);

/* ERR_HOST when the kernel gives none (descriptors). */
MUST_USE err loop_open(loop_end *end, void *ctx, loop **out);
/* A context of the library's that this loop serves, without listeners: those are vhosts, to be made next. NULL when it can't be
 * made, as without the library's part for libuv. */
struct lws_context *loop_context(loop *l, struct lws_context_creation_info *info);
/* Says it by loop_end, once, when the other end of a connection has closed it or does so. For those that the library doesn't read from
 * meanwhile. It holds until the descriptor is closed: who has no more need of it by then ignores the call. */
void loop_watch_end(loop *l, int fd, void *who);
/* Serves what is there; with `wait`, until something is, be it a timer. */
void loop_turn(loop *l, bool wait);
/* Ends the context, which may be NULL, and all that it has open, and the loop. */
void loop_close(loop *l, struct lws_context *context);

#endif
