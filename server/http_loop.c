/* OpenSSL, which libwebsockets brings along, has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <libwebsockets.h>
#undef ERR_STATE

#include "http_loop.h"

#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "log.h"

/* To close everything takes two or three turns; a library that leaves something open is no reason to stay. */
#define CLOSING_TURNS_MAX 1000

struct loop {
    uv_loop_t uv;
    void *foreign[1]; /* one for each thread of the library's: it has one */
};

err loop_open(loop **out) {
    *out = NULL;
    loop *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NO_MEMORY;
    /* Newer ones than Debian 12's would use it where they can. To the sandbox it is an attack. */
    (void)setenv("UV_USE_IO_URING", "0", 1);
    if (uv_loop_init(&l->uv) != 0) {
        free(l);
        log_line(LOG_ERROR, "event=start message=\"there is no event loop to be had: too few descriptors\"");
        return ERR_HOST;
    }
    l->foreign[0] = &l->uv;
    *out = l;
    return OK;
}

void loop_turn(loop *l, bool wait) { (void)uv_run(&l->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT); }

/* Of a context that has begun to close what it has in the loop, which takes turns. Frees it. */
static void finish(loop *l, struct lws_context *context) {
    for (int i = 0; i < CLOSING_TURNS_MAX && uv_loop_alive(&l->uv); i++)
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
    if (uv_loop_close(&l->uv) == 0)
        free(l);
}
