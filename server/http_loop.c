/* OpenSSL, which libwebsockets brings along, has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <libwebsockets.h>
#undef ERR_STATE

#include "http_loop.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#include "log.h"

#define CLOSING_TURNS 8 /* what the library has open is closed in two: connections, then what it has for all */
#define ENDS_A_TURN 64

struct loop {
    uv_loop_t uv;
    uv_poll_t watch; /* of `ends`: a set of its own, for a loop has a descriptor but once, and the library has it */
    int ends;
    loop_end *end;
    void *ctx;
    void *foreign[1]; /* one for each thread of the library's: it has one */
};

static void on_ends(uv_poll_t *watch, int status, int events) {
    loop *l = watch->data;
    struct epoll_event seen[ENDS_A_TURN];
    (void)events;
    int n = status == 0 ? epoll_wait(l->ends, seen, ENDS_A_TURN, 0) : 0;
    for (int i = 0; i < n; i++)
        l->end(l->ctx, seen[i].data.ptr);
}

void loop_watch_end(loop *l, int fd, void *who) {
    struct epoll_event what = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = who};
    /* It may be there of its last wait. Without memory for it, whoever is gone is found to be so when he is written to. */
    if (epoll_ctl(l->ends, EPOLL_CTL_MOD, fd, &what) != 0)
        (void)epoll_ctl(l->ends, EPOLL_CTL_ADD, fd, &what);
}

err loop_open(loop_end *end, void *ctx, loop **out) {
    *out = NULL;
    loop *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NO_MEMORY;
    l->end = end;
    l->ctx = ctx;
    /* Newer ones than Debian 12's would use it where they can. To the sandbox it is an attack. */
    (void)setenv("UV_USE_IO_URING", "0", 1);
    l->ends = epoll_create1(EPOLL_CLOEXEC);
    if (l->ends < 0 || uv_loop_init(&l->uv) != 0) {
        if (l->ends >= 0)
            (void)close(l->ends);
        free(l);
        log_line(LOG_ERROR, "event=start message=\"there is no event loop to be had: too few descriptors\"");
        return ERR_HOST;
    }
    /* Fails only for a descriptor that is no such thing or is there already. */
    (void)uv_poll_init(&l->uv, &l->watch, l->ends);
    l->watch.data = l;
    (void)uv_poll_start(&l->watch, UV_READABLE, on_ends);
    l->foreign[0] = &l->uv;
    *out = l;
    return OK;
}

void loop_turn(loop *l, bool wait) { (void)uv_run(&l->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT); }

/* Of a context that has begun to close what it has in the loop, which takes turns. Frees it. */
static void finish(loop *l, struct lws_context *context) {
    for (int i = 0; i < CLOSING_TURNS; i++)
        loop_turn(l, false);
    lws_context_destroy(context);
}

struct lws_context *loop_context(loop *l, struct lws_context_creation_info *info) {
    info->options |= LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    info->foreign_loops = l->foreign;
    struct lws_context *context = lws_create_context(info);
    /* One that could be made in part only comes back all the same, and ends; it then serves no descriptor, not even one of others'. */
    if (context != NULL && lws_service_fd(context, &(struct lws_pollfd){.fd = STDERR_FILENO}) < 0) {
        finish(l, context);
        context = NULL;
    }
    if (context == NULL)
        log_line(LOG_ERROR,
                 "event=start message=\"libwebsockets can't use libuv; is libwebsockets-evlib-uv installed?\"");
    return context;
}

void loop_close(loop *l, struct lws_context *context) {
    if (l == NULL)
        return;
    if (context != NULL) {
        lws_context_destroy(context);
        finish(l, context);
    }
    uv_close((uv_handle_t *)&l->watch, NULL);
    loop_turn(l, false);
    (void)close(l->ends);
    if (uv_loop_close(&l->uv) == 0)
        free(l);
}
