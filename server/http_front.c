/* OpenSSL, which libwebsockets brings along, has a type of this name; ours is in base/err.h. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <libwebsockets.h>
#undef ERR_STATE

#include "http_front.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "http_address.h"
#include "http_head.h"
#include "http_loop.h"
#include "http_ops.h"
#include "http_tls.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "outage.h"
#include "problem.h"
#include "push.h"
#include "waits.h"

#define CHUNK_SIZE (32 * 1024)
#define DESCRIPTORS_OWN 64 /* not for clients: listeners, database, log, files of pages */
#define HEAD_SIZE 4096     /* of an answer; ours need 1 KiB */
#define TICK_MS 250
#define TIDY_MS 10000
#define HEAR_MS 1000
#define DUE_TRANSACTIONS_MAX 16 /* a second: then those who ask have their turn */
#define SUMMARY_MS 60000
#define READY_MS 1000 /* how old the answer of /readyz may be */

typedef enum conn_state {
    CONN_IDLE,      /* no request, or its headers are still coming */
    CONN_BODY,      /* its content is still coming */
    CONN_QUEUED,    /* complete, waiting for the next batch */
    CONN_WAITING,   /* a parked inbox */
    CONN_STREAMING, /* an event stream */
    CONN_WRITING,   /* an answer is going out */
    CONN_DEAD       /* the library is told to close it */
} conn_state;

typedef struct front front;
typedef struct conn {
    struct lws *wsi;
    struct conn *next, **link;             /* all connections */
    struct conn *queue_next, **queue_link; /* those queued */
    conn_state state;
    int64_t deadline_ms;
    bool close_after, head_only, head_sent, counted, deaf;
    bool timed; /* the library has a timeout for it, from when it was new */
    waiter waiter;
    uint8_t peer[ADDRESS_SIZE]; /* request.address is that of the client, whom a proxy may have named */
    const char *call;           /* for the metrics: its route, or a word of the front's */

    char *texts; /* the strings that `request` looks into */
    request request;
    uint8_t *body;
    size_t body_size, body_expected;
    bool body_too_large, body_complete;

    response response;
    size_t sent;
    const static_file *file; /* only while an answer is begun; what outlives it is `content` */
    static_content *content;
    static_encoding encoding;
    bool not_modified;
    char location[PATH_MAX_BYTES + 2];

    text stream;
    int64_t comment_ms, stream_end_ms;
    bool stream_woken;
} conn;

struct front {
    relay *relay;   /* from front_serve on */
    pushes *pushes; /* NULL: none are sent */
    const front_options *options;
    loop *loop;
    struct lws_context *context;
    static_files *files;
    conn *all, *queue, **queue_end;
    size_t connections, queued, connections_max;
    size_t bodies;                /* bytes of all contents that are there or still coming */
    int64_t request_us, flush_us; /* what a request and a transaction take of late */
    uint64_t chance;              /* a generator's state: who is refused */
    waits waits;
    address_counts addresses;
    lws_sorted_usec_list_t tick;
    int64_t drain_ms; /* 0: serving */
    int64_t tidy_ms, summary_ms;
    uint64_t answers[6], batches, batched;
    metrics metrics;
    outage outage;
    ops_source ops;
    tls_identity *tls; /* NULL: plain HTTP */
    int64_t started_ms, ready_ms;
    bool ready;
    bool stopped;
    struct lws *others; /* watches relay_descriptor; NULL: to be watched anew */
    int64_t hear_ms;
};

static volatile sig_atomic_t stop_asked, reload_asked;
static void on_signal(int number) {
    if (number == SIGHUP)
        reload_asked = 1;
    else
        stop_asked = 1;
}

/* ---- connections */

static conn *conn_of(struct lws *wsi) { return lws_get_opaque_user_data(wsi); }

static void conn_new(front *f, struct lws *wsi) {
    conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return; /* callbacks find none and close */
    c->wsi = wsi;
    c->deadline_ms = clock_now_ms() + HEADERS_TIME_S * 1000;
    c->timed = true;
    c->next = f->all;
    if (f->all != NULL)
        f->all->link = &c->next;
    c->link = &f->all;
    f->all = c;
    f->connections++;
    (void)address_of_peer(lws_get_socket_fd(wsi), c->peer);
    if (!proxies_have(&f->options->proxies, c->peer))
        address_to_network(c->peer);
    c->counted = addresses_add(&f->addresses, c->peer);
    lws_set_opaque_user_data(wsi, c);
}

static void unqueue(front *f, conn *c) {
    if (c->queue_link == NULL)
        return;
    *c->queue_link = c->queue_next;
    if (c->queue_next != NULL)
        c->queue_next->queue_link = c->queue_link;
    else
        f->queue_end = c->queue_link;
    c->queue_link = NULL;
    c->queue_next = NULL;
    f->queued--;
}

static void enqueue(front *f, conn *c) {
    c->state = CONN_QUEUED;
    c->deadline_ms = INT64_MAX;
    c->queue_next = NULL;
    c->queue_link = f->queue_end;
    *f->queue_end = c;
    f->queue_end = &c->queue_next;
    f->queued++;
    lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
    /* All of the head that is needed is in the request. The library's tables take 8 KiB each, and are in a list that it walks to free
     * one: of ten thousand that wait that would take longer than their answers. */
    lws_http_headers_detach(c->wsi);
}

static void free_body(front *f, conn *c) {
    if (c->body != NULL)
        f->bodies -= c->body_expected;
    free(c->body);
    c->body = NULL;
}

/* Forgets the request, keeps the connection. */
static void conn_reset(front *f, conn *c) {
    unqueue(f, c);
    waits_remove(&f->waits, &c->waiter);
    free(c->texts);
    free_body(f, c);
    response_free(&c->response);
    static_release(c->content);
    text_free(&c->stream);
    c->texts = NULL;
    c->body_size = c->body_expected = c->sent = 0;
    c->body_complete = c->body_too_large = c->close_after = c->head_only = c->head_sent = c->not_modified =
        c->stream_woken = false;
    c->content = NULL;
    c->file = NULL;
    c->encoding = ENCODING_NONE;
    c->location[0] = 0;
    c->request = (request){0};
    c->state = CONN_IDLE;
}

static void conn_free(front *f, conn *c) {
    conn_reset(f, c);
    if (c->counted)
        addresses_take_off(&f->addresses, c->peer);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    f->connections--;
    free(c);
}

static void conn_kill(front *f, conn *c) {
    conn_reset(f, c);
    c->state = CONN_DEAD;
    c->deadline_ms = INT64_MAX;
    lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

/* While a request has no answer yet the library reads nothing, and yet its loop is told again and again that there is something to be
 * read, be it the end. Nobody is to keep it awake for as long as he waits. */
static void be_deaf(front *f, conn *c) {
    /* The library would ask for writing if it had read ahead, and not write to one it doesn't hear either. */
    if (c->deaf || lws_service_adjust_timeout(f->context, 1, 0) == 0)
        return;
    c->deaf = true;
    (void)lws_rx_flow_control(c->wsi, 0);
}

static void hear(conn *c) {
    if (!c->deaf)
        return;
    c->deaf = false;
    (void)lws_rx_flow_control(c->wsi, 1);
}

/* One who waited has hung up. */
static void on_end(void *ctx, void *who) {
    conn *c = who;
    if (c->state == CONN_WAITING || c->state == CONN_STREAMING)
        conn_kill(ctx, c);
}

static void begin_writing(conn *c) {
    hear(c);
    c->state = CONN_WRITING;
    c->deadline_ms = clock_now_ms() + ANSWER_TIME_S * 1000;
    c->sent = 0;
    lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
    lws_callback_on_writable(c->wsi);
}

/* Has the library write now instead of when the kernel says that it may: it nearly always may, and what the socket does not take the
 * library keeps. So an answer costs no more turns. Only where the library calls nothing of this connection's. */
static void write_now(front *f, conn *c) {
    (void)lws_service_fd(
        f->context,
        &(struct lws_pollfd){.fd = lws_get_socket_fd(c->wsi), .events = LWS_POLLOUT, .revents = LWS_POLLOUT});
}

/* An answer of the relay's, from outside of the library. */
static void answer(front *f, conn *c) {
    begin_writing(c);
    write_now(f, c);
    if (c->state != CONN_IDLE)
        return;
    /* Before it reads the next request the library wants to know again that it may write. One that it has read already it serves in a
     * turn in which something happened. */
    write_now(f, c);
    if (lws_service_adjust_timeout(f->context, 1, 0) == 0)
        lws_callback_on_writable(c->wsi);
}

/* An answer of the front's own. */
static void refuse(conn *c, problem_kind kind, const char *detail, const char *extra, int64_t value, bool and_close) {
    problem_write(&c->response, kind, detail, extra, value);
    c->close_after = c->close_after || and_close;
    begin_writing(c);
}

/* Whose rates the request is under. */
static void find_client(front *f, conn *c) {
    char value[HEADERS_MAX];
    memcpy(c->request.address, c->peer, sizeof c->peer);
    if (f->options->proxies.n > 0 && proxies_have(&f->options->proxies, c->peer)) {
        int n = lws_hdr_copy(c->wsi, value, sizeof value, WSI_TOKEN_X_FORWARDED_FOR);
        if (n <= 0 || !address_forwarded(span_of(value, (size_t)n), c->request.address))
            memcpy(c->request.address, c->peer, sizeof c->peer);
    }
    address_to_network(c->request.address);
}

/* ---- static files */

static bool accepts(struct lws *wsi, const char *coding) {
    char value[HEADER_VALUE_MAX];
    if (lws_hdr_copy(wsi, value, sizeof value, WSI_TOKEN_HTTP_ACCEPT_ENCODING) <= 0)
        return false;
    const char *at = strstr(value, coding);
    return at != NULL && strncmp(at + strlen(coding), ";q=0", 4) != 0;
}

static void serve_file(front *f, conn *c) {
    bool redirect = false;
    char path[PATH_MAX_BYTES], tag[HEADER_VALUE_MAX];
    (void)snprintf(path, sizeof path, "%.*s", (int)c->request.path.n, (const char *)c->request.path.p);
    const static_file *file = f->files != NULL ? static_find(f->files, path, clock_now_ms(), &redirect) : NULL;
    c->response = (response){.status = 200};
    if (redirect) {
        c->response.status = 308;
        (void)snprintf(c->location, sizeof c->location, "%s/", path);
    } else if (file == NULL) {
        refuse(c, PROBLEM_NOT_FOUND, "there is no such page", NULL, 0, false);
        return;
    } else {
        c->encoding = file->content[ENCODING_BROTLI] != NULL && accepts(c->wsi, "br")   ? ENCODING_BROTLI
                      : file->content[ENCODING_GZIP] != NULL && accepts(c->wsi, "gzip") ? ENCODING_GZIP
                                                                                        : ENCODING_NONE;
        c->file = file;
        c->content = static_hold(file->content[c->encoding]);
        c->response.type = file->type;
        if (lws_hdr_copy(c->wsi, tag, sizeof tag, WSI_TOKEN_HTTP_IF_NONE_MATCH) > 0 &&
            strstr(tag, c->content->etag) != NULL) {
            c->not_modified = true;
            c->response.status = 304;
        }
    }
    begin_writing(c);
}

/* ---- answers */

typedef struct head {
    struct lws *wsi;
    unsigned char *p, *end;
    bool full;
} head;

static void head_put(head *h, const char *name, const char *value) {
    if (lws_add_http_header_by_name(h->wsi, (const unsigned char *)name, (const unsigned char *)value,
                                    (int)strlen(value), &h->p, h->end))
        h->full = true;
}

static void head_put_list(head *h, const char *const *list) {
    for (; *list != NULL; list += 2)
        head_put(h, list[0], list[1]);
}

static size_t answer_size(const conn *c) {
    if (c->content != NULL)
        return c->not_modified ? 0 : c->content->size;
    return c->response.body_size;
}

/* Writes the head into memory; 0 when it does not fit. */
static size_t write_head(const front *f, conn *c, unsigned char *start, size_t room) {
    const response *rs = &c->response;
    char number[24];
    head h = {.wsi = c->wsi, .p = start, .end = start + room};
    h.full = lws_add_http_header_status(c->wsi, (unsigned)rs->status, &h.p, h.end) != 0;
    if (c->file != NULL) {
        static const char *const CODING[ENCODINGS] = {NULL, "br", "gzip"};
        head_put_list(&h, STATIC_HEADERS);
        head_put(&h, "etag:", c->content->etag);
        head_put(&h, "vary:", "accept-encoding");
        head_put(&h, "cache-control:", c->file->immutable ? "public, max-age=31536000, immutable" : "no-cache");
        if (CODING[c->encoding] != NULL && !c->not_modified)
            head_put(&h, "content-encoding:", CODING[c->encoding]);
    } else {
        head_put_list(&h, API_HEADERS);
    }
    if (f->tls != NULL)
        head_put(&h, "strict-transport-security:", "max-age=31536000");
    if (c->location[0] != 0)
        head_put(&h, "location:", c->location);
    if (rs->type != NULL)
        head_put(&h, "content-type:", rs->type);
    if (rs->accept_ranges)
        head_put(&h, "accept-ranges:", "bytes");
    if (rs->content_range[0] != 0)
        head_put(&h, "content-range:", rs->content_range);
    if (rs->retry_after_s != 0) {
        (void)snprintf(number, sizeof number, "%u", rs->retry_after_s);
        head_put(&h, "retry-after:", number);
    }
    if (c->close_after)
        head_put(&h, "connection:", "close");
    if (c->state != CONN_STREAMING && rs->status != 204 && rs->status != 304) {
        (void)snprintf(number, sizeof number, "%zu", answer_size(c));
        head_put(&h, "content-length:", number);
    }
    if (h.full || lws_finalize_http_header(c->wsi, &h.p, h.end))
        return 0;
    return (size_t)(h.p - start);
}

static void count_answer(front *f, const conn *c) {
    static const char *const METHODS[] = {[METHOD_GET] = "GET", [METHOD_HEAD] = "HEAD",     [METHOD_POST] = "POST",
                                          [METHOD_PUT] = "PUT", [METHOD_DELETE] = "DELETE", [METHOD_OTHER] = "other"};
    if (c->response.status < 100)
        return;
    f->answers[c->response.status / 100]++;
    metrics_answered(&f->metrics, METHODS[c->request.method], c->call, c->response.status);
}

/* Writes what fits into one chunk; the library keeps what the socket does not take at once. */
static int write_chunk(front *f, conn *c) {
    static unsigned char buffer[LWS_PRE + HEAD_SIZE + CHUNK_SIZE];
    unsigned char *start = buffer + LWS_PRE;
    size_t n = 0;
    bool stream = c->state == CONN_STREAMING;
    if (!c->head_sent) {
        n = write_head(f, c, start, HEAD_SIZE);
        if (n == 0)
            return -1;
        c->head_sent = true;
        c->file = NULL;
    }
    const uint8_t *from = stream               ? (uint8_t *)c->stream.p
                          : c->content != NULL ? c->content->bytes
                                               : (uint8_t *)c->response.body;
    size_t all = stream ? c->stream.n : c->head_only ? 0 : answer_size(c), part = all - c->sent;
    if (part > CHUNK_SIZE)
        part = CHUNK_SIZE;
    if (part > 0)
        memcpy(start + n, from + c->sent, part);
    c->sent += part;
    n += part;
    if (n > 0 && lws_write(c->wsi, start, n, LWS_WRITE_HTTP_HEADERS) < (int)n)
        return -1;
    if (c->sent < all) {
        if (!stream)
            c->deadline_ms = clock_now_ms() + ANSWER_TIME_S * 1000;
        lws_callback_on_writable(c->wsi);
        return 0;
    }
    if (stream) {
        text_free(&c->stream);
        c->sent = 0;
        return 0;
    }
    count_answer(f, c);
    bool closes = c->close_after || f->drain_ms != 0;
    conn_reset(f, c);
    c->deadline_ms = clock_now_ms() + KEEP_ALIVE_S * 1000;
    if (closes || lws_http_transaction_completed(c->wsi))
        return -1;
    /* The deadline stands above. The library has set one too, in a sorted list that it walks from its begin each time: thousands of
     * connections that rest would cost more than what the others ask. */
    lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
    return 0;
}

/* Refills an event stream whose last events are on their way. */
static int stream_more(front *f, conn *c) {
    int64_t now = clock_now_ms();
    if (c->head_sent && c->stream.n == 0) {
        if (c->stream_woken) {
            c->stream_woken = false;
            int64_t before = c->waiter.wait.after;
            if (!relay_inbox_stream(f->relay, &c->waiter.wait, now, &c->stream))
                return -1;
            if (c->waiter.wait.after != before)
                c->stream_woken = true; /* there may be more */
        }
        if (c->stream.n == 0 && now >= c->comment_ms)
            text_put(&c->stream, ":\n\n");
        if (c->stream.n > 0)
            c->comment_ms = now + SSE_COMMENT_S * 1000;
    }
    if ((!c->head_sent || c->stream.n > 0) && write_chunk(f, c) != 0)
        return -1;
    if (c->stream_woken)
        lws_callback_on_writable(c->wsi);
    else if (c->stream.n == 0 && !lws_partial_buffered(c->wsi))
        be_deaf(f, c);
    return 0;
}

/* ---- batches */

static void park(front *f, conn *c) {
    int64_t now = clock_now_ms();
    c->waiter.wait = c->response.wait;
    waiter *ended = waits_add(&f->waits, &c->waiter);
    /* Nothing of the request is needed while it waits. */
    free(c->texts);
    c->texts = NULL;
    free_body(f, c);
    loop_watch_end(f->loop, lws_get_socket_fd(c->wsi), c);
    if (c->response.then == THEN_WAIT) {
        be_deaf(f, c);
        c->state = CONN_WAITING;
        c->deadline_ms = now + c->waiter.wait.seconds * 1000;
    } else {
        c->state = CONN_STREAMING;
        count_answer(f, c);
        c->deadline_ms = c->stream_end_ms = now + SSE_LIFE_S * 1000;
        c->comment_ms = now + SSE_COMMENT_S * 1000;
        c->stream_woken = true;
        c->close_after = true; /* its length is not known: the end of the connection ends it */
        lws_callback_on_writable(c->wsi);
    }
    if (ended == NULL)
        return;
    conn *oldest = lws_container_of(ended, conn, waiter);
    if (oldest->state == CONN_WAITING) {
        (void)relay_inbox_answer(f->relay, &ended->wait, true, now, &oldest->response);
        begin_writing(oldest);
    } else {
        conn_kill(f, oldest);
    }
}

/* There may be something for one who waits. */
static void look_again(front *f, conn *c, int64_t now) {
    if (c->state == CONN_STREAMING) {
        c->stream_woken = true;
        hear(c);
        write_now(f, c);
    } else if (c->state == CONN_WAITING && relay_inbox_answer(f->relay, &c->waiter.wait, false, now, &c->response)) {
        waits_remove(&f->waits, &c->waiter);
        answer(f, c);
    }
}

static void wake_waiting(front *f, int64_t now) {
    size_t n;
    const wake *w = relay_wakes(f->relay, &n);
    pushes_note(f->pushes, f->relay, now);
    for (size_t i = 0; i < n; i++) {
        for (waiter *e = waits_of(&f->waits, w[i].device), *next; e != NULL; e = next) {
            next = waits_next(e);
            look_again(f, lws_container_of(e, conn, waiter), now);
        }
    }
}

/* What other relays wrote. */
static void hear_others(front *f) {
    int64_t now = clock_now_ms();
    bool missed = relay_hear(f->relay);
    if (missed || relay_descriptor(f->relay) < 0)
        f->others = NULL;
    pushes_hear(f->pushes, f->relay, &f->waits);
    wake_waiting(f, now);
    for (conn *c = missed ? f->all : NULL, *next; c != NULL; c = next) {
        next = c->next;
        look_again(f, c, now);
    }
}

/* Messages whose time has come. */
static void deliver_due(front *f, int64_t now) {
    bool more = true;
    for (int i = 0; i < DUE_TRANSACTIONS_MAX && more; i++) {
        more = relay_deliver_due(f->relay, now);
        wake_waiting(f, now);
    }
}

/* How many requests are served within QUEUE_MS; one transaction's always, for fewer would be no faster. */
static size_t queue_limit(const front *f) {
    int64_t each_us = f->request_us + f->flush_us / BATCH_MAX, in_time = QUEUE_MS * 1000 / (each_us > 0 ? each_us : 1);
    size_t limit = in_time > BATCH_MAX ? (size_t)in_time : BATCH_MAX;
    return limit < f->options->queue_max ? limit : f->options->queue_max;
}

static uint32_t draw(front *f, size_t below) {
    f->chance = f->chance * 6364136223846793005u + 1442695040888963407u; /* Knuth's generator for 64 bits */
    return (uint32_t)((f->chance >> 33) % below);
}

/* Refuses what can't be served in time, before anything is looked up or verified for it. Each of those that wait has the same chance,
 * wherever its connection stands in the library's table: else the same clients would be refused again and again. */
static void refuse_excess(front *f) {
    size_t left = f->queued, places = queue_limit(f);
    if (left <= places)
        return;
    for (conn *c = f->queue, *next; c != NULL; c = next, left--) {
        next = c->queue_next;
        if (draw(f, left) < places) {
            places--;
            continue;
        }
        unqueue(f, c);
        f->metrics.overload_refused++;
        refuse(c, PROBLEM_UNAVAILABLE, "more is asked than can be done; try again", NULL, 0, false);
        c->response.retry_after_s = 1 + draw(f, QUEUE_RETRY_S);
    }
}

/* Moves an average towards what was measured last. */
static void average(int64_t *value, int64_t measured) {
    *value = *value == 0 ? measured : *value + (measured - *value) / 8;
}

static void run_batch(front *f) {
    conn *batch[BATCH_MAX];
    const request *requests[BATCH_MAX];
    response *responses[BATCH_MAX];
    size_t n = 0;
    int64_t now = clock_now_ms();
    lws_usec_t begun = lws_now_usecs();
    while (f->queue != NULL && n < BATCH_MAX) {
        batch[n] = f->queue;
        unqueue(f, batch[n]);
        requests[n] = &batch[n]->request;
        responses[n] = &batch[n]->response;
        n++;
    }
    bool stored = relay_batch_begin(f->relay, now);
    lws_usec_t commit_us = 0;
    if (stored) {
        relay_handle_all(f->relay, requests, responses, n);
        lws_usec_t from = lws_now_usecs();
        stored = relay_batch_end(f->relay);
        commit_us = lws_now_usecs() - from;
    }
    metrics_batch(&f->metrics, n, stored, commit_us);
    f->batches++;
    f->batched += n;
    outage_batch(&f->outage, n, stored, begun / 1000);
    for (size_t i = 0; i < n; i++) {
        if (!stored)
            relay_unavailable(&batch[i]->response);
        if (batch[i]->response.then == THEN_ANSWER)
            answer(f, batch[i]);
        else
            park(f, batch[i]);
    }
    if (stored)
        wake_waiting(f, now);
    average(&f->flush_us, commit_us);
    average(&f->request_us, (lws_now_usecs() - begun - commit_us) / (int64_t)n);
}

/* ---- what the library calls */

static bool is_api(span path) {
    return (path.n >= 4 && memcmp(path.p, "/v1/", 4) == 0) || span_equal(path, span_text("/.well-known/sotto"));
}

/* For whoever starts and watches the relay: it lives; it can store. Unsigned, outside the protocol's calls. */
static bool serve_probe(front *f, conn *c) {
    int64_t now = clock_now_ms();
    bool health = span_equal(c->request.path, span_text("/healthz"));
    if (!health && !span_equal(c->request.path, span_text("/readyz")))
        return false;
    c->call = health ? "/healthz" : "/readyz";
    if (!health && (now - f->ready_ms >= READY_MS || now < f->ready_ms)) {
        f->ready = relay_ready(f->relay, now);
        f->ready_ms = now;
    }
    if (!health && !f->ready) {
        refuse(c, PROBLEM_UNAVAILABLE, "the database takes nothing now", NULL, 0, false);
        return true;
    }
    text body = {0};
    text_put(&body, "ok\n");
    c->response = (response){.status = 200, .type = "text/plain", .body = body.p, .body_size = body.n};
    begin_writing(c);
    return true;
}

/* The headers are there. */
static int on_head(front *f, conn *c, const char *path, size_t path_size) {
    if (c->state != CONN_IDLE)
        return -1;
    size_t n = 0;
    http_method method = head_method(c->wsi);
    bool clear = head_content_length(c->wsi, &n),
         in_form = clear && head_read(c->wsi, path, path_size, &c->request, &c->texts);
    c->request.method = method;
    find_client(f, c);
    c->call = "other";
    lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
    c->head_only = method == METHOD_HEAD;
    if (!clear) {
        refuse(c, PROBLEM_MALFORMED, "the content's length must be given by one Content-Length", NULL, 0, true);
        return 0;
    }
    if (head_is_coded(c->wsi)) {
        refuse(c, PROBLEM_MALFORMED, "the content must be sent as it is, without Content-Encoding", NULL, 0, true);
        return 0;
    }
    if (!in_form) {
        refuse(c, PROBLEM_MALFORMED, "the path, query or a header is too long or not in its form", NULL, 0, true);
        return 0;
    }
    if (c->request.authority.n == 0) {
        refuse(c, PROBLEM_MALFORMED, "the header Host is missing", NULL, 0, true);
        return 0;
    }
    if (!is_api(c->request.path)) {
        c->close_after = n > 0;
        if (method != METHOD_GET && method != METHOD_HEAD) {
            refuse(c, PROBLEM_NOT_FOUND, "there is no such call", NULL, 0, true);
        } else if (!serve_probe(f, c)) {
            c->call = "page";
            serve_file(f, c);
        }
        return 0;
    }
    const char *call = relay_call_of(&c->request);
    if (call != NULL)
        c->call = call;
    /* Content is read where the library expects some; with other methods it would be taken for the next request. */
    bool has_content = n > 0 && (method == METHOD_POST || method == METHOD_PUT);
    if (n > 0 && !has_content) {
        refuse(c, PROBLEM_MALFORMED, "this call has no content", NULL, 0, true);
        return 0;
    }
    if (!has_content) {
        /* Without Content-Length the library would read on for a body. */
        c->close_after = method == METHOD_POST || method == METHOD_PUT;
        enqueue(f, c);
        return 0;
    }
    c->body_too_large = n > BODY_MAX;
    c->body_expected = n;
    if (n > 16u * BODY_MAX) { /* not worth reading to its end */
        refuse(c, PROBLEM_TOO_LARGE, "the content is larger than any call takes", "limit", BODY_MAX, true);
        return 0;
    }
    bool room = n <= BODIES_MAX - f->bodies;
    c->body = c->body_too_large || !room ? NULL : malloc(n);
    if (c->body != NULL)
        f->bodies += n;
    if (c->body == NULL && !c->body_too_large) {
        refuse(c, PROBLEM_UNAVAILABLE, "nothing was changed; try again", NULL, 0, true);
        return 0;
    }
    c->state = CONN_BODY;
    c->deadline_ms = clock_now_ms() + BODY_TIME_S * 1000;
    return 0;
}

static int on_body(conn *c, const void *in, size_t n) {
    if (n == 0) /* the library says so of a Content-Length of 0 */
        return 0;
    if (c->state != CONN_BODY)
        return c->state == CONN_WRITING ? 0 : -1;
    if (n > c->body_expected - c->body_size)
        return -1;
    if (c->body != NULL)
        memcpy(c->body + c->body_size, in, n);
    c->body_size += n;
    return 0;
}

static int on_body_complete(front *f, conn *c) {
    /* Something came behind the content before it was answered. The library would call again and again, and serve nobody else; and it
     * may have taken a head for content. */
    if (c->body_complete)
        return -1;
    c->body_complete = true;
    if (c->state != CONN_BODY) /* of a Content-Length of 0, or of a request that was refused before its end */
        return 0;
    if (c->body_size != c->body_expected)
        return -1;
    if (c->body_too_large) {
        refuse(c, PROBLEM_TOO_LARGE, "the content is larger than any call takes", "limit", BODY_MAX, false);
        return 0;
    }
    c->request.body = span_of(c->body, c->body_size);
    enqueue(f, c);
    return 0;
}

static int on_writable(front *f, conn *c) {
    switch (c->state) {
    case CONN_WRITING: return write_chunk(f, c);
    case CONN_STREAMING: return stream_more(f, c);
    default: return 0;
    }
}

static bool may_connect(const front *f, int fd) {
    uint8_t peer[ADDRESS_SIZE];
    if (f->drain_ms != 0 || f->connections >= f->connections_max || !address_of_peer(fd, peer))
        return false;
    if (f->options->connections_an_address == 0 || proxies_have(&f->options->proxies, peer))
        return true;
    address_to_network(peer);
    return addresses_count(&f->addresses, peer) < f->options->connections_an_address;
}

/* One who is not taken in is told so as far as that goes without waiting for him. */
static int on_connect(front *f, int fd) {
    static const char BUSY[] = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
                               "content-length: 0\r\n\r\n";
    if (may_connect(f, fd)) {
        address_limit_silence(fd);
        return 0;
    }
    f->metrics.connections_refused++;
    if (f->tls == NULL)
        (void)!send(fd, BUSY, sizeof BUSY - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    return 1;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n) {
    struct lws_context *context = lws_get_context(wsi);
    front *f = context != NULL ? lws_context_user(context) : NULL;
    conn *c;
    switch (reason) {
    case LWS_CALLBACK_RAW_RX_FILE:
        if (wsi == f->others)
            hear_others(f);
        return wsi == f->others ? 0 : -1; /* of a connection that broke */
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION: return on_connect(f, (int)(intptr_t)in);
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: tls_use(f->tls, user); return 0;
    case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED: conn_new(f, wsi); return 0;
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: /* no WebSockets */
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return -1;
    case LWS_CALLBACK_WSI_DESTROY:
        c = conn_of(wsi);
        if (c != NULL)
            conn_free(f, c);
        lws_set_opaque_user_data(wsi, NULL);
        return 0;
    case LWS_CALLBACK_HTTP: c = conn_of(wsi); return c == NULL ? -1 : on_head(f, c, in, n);
    case LWS_CALLBACK_HTTP_BODY: c = conn_of(wsi); return c == NULL ? -1 : on_body(c, in, n);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION: c = conn_of(wsi); return c == NULL ? -1 : on_body_complete(f, c);
    case LWS_CALLBACK_HTTP_WRITEABLE: c = conn_of(wsi); return c == NULL ? -1 : on_writable(f, c);
    default: return 0;
    }
}

/* ---- time */

static const struct lws_protocols PROTOCOLS[] = {{.name = "http", .callback = callback}, {.name = NULL}};

/* What he sends, be it the end, is not read before he has taken his answer, and would keep the loop awake until then. */
static bool sends_and_takes_nothing(const conn *c, int64_t now) {
    uint8_t byte;
    int64_t since = c->state == CONN_WRITING     ? c->deadline_ms - ANSWER_TIME_S * 1000
                    : c->state == CONN_WAITING   ? c->deadline_ms - c->waiter.wait.seconds * 1000
                    : c->state == CONN_IDLE      ? c->deadline_ms - KEEP_ALIVE_S * 1000
                    : c->state == CONN_STREAMING ? c->comment_ms - SSE_COMMENT_S * 1000
                                                 : now;
    return !c->deaf && now - since >= TICK_MS && (c->state != CONN_IDLE || lws_partial_buffered(c->wsi)) &&
           recv(lws_get_socket_fd(c->wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static void tick_conn(front *f, conn *c, int64_t now) {
    /* As in write_chunk: thousands that are new and silent would cost more than what the others ask. */
    if (c->timed && c->state == CONN_IDLE)
        lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
    c->timed = false;
    if (c->state == CONN_STREAMING && (now >= c->stream_end_ms || f->drain_ms != 0)) {
        conn_kill(f, c);
    } else if (c->state == CONN_STREAMING && now >= c->comment_ms) {
        /* A reader that took nothing for two comments is gone. */
        if (c->stream.n > 0 && now >= c->comment_ms + SSE_COMMENT_S * 1000) {
            conn_kill(f, c);
        } else {
            hear(c);
            lws_callback_on_writable(c->wsi);
        }
    } else if (sends_and_takes_nothing(c, now)) {
        conn_kill(f, c);
    } else if (c->state == CONN_WAITING && (now >= c->deadline_ms || f->drain_ms != 0)) {
        waits_remove(&f->waits, &c->waiter);
        (void)relay_inbox_answer(f->relay, &c->waiter.wait, true, now, &c->response);
        begin_writing(c);
    } else if (now >= c->deadline_ms || (f->drain_ms != 0 && c->state == CONN_IDLE)) {
        conn_kill(f, c);
    }
}

static void summary(front *f) {
    if (f->batched == 0)
        return;
    log_line(
        LOG_INFO,
        "event=traffic ok=%llu refused=%llu failed=%llu requests=%llu transactions=%llu connections=%zu waiting=%zu",
        (unsigned long long)(f->answers[2] + f->answers[3]), (unsigned long long)f->answers[4],
        (unsigned long long)f->answers[5], (unsigned long long)f->batched, (unsigned long long)f->batches,
        f->connections, f->waits.count);
    memset(f->answers, 0, sizeof f->answers);
    f->batches = f->batched = 0;
}

/* The library closes what it watches, so it gets a duplicate; one of a connection that broke reads its end and goes. */
static void watch_others(front *f) {
    int descriptor = relay_descriptor(f->relay);
    if (f->others != NULL || descriptor < 0)
        return;
    lws_sock_file_fd_type fd = {.filefd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)};
    struct lws_vhost *vhost = lws_get_vhost_by_name(f->context, "default");
    if (fd.filefd >= 0 && vhost != NULL)
        f->others = lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, fd, PROTOCOLS[0].name, NULL);
}

static void on_tick(lws_sorted_usec_list_t *list) {
    front *f = lws_container_of(list, front, tick);
    int64_t now = clock_now_ms();
    if (stop_asked && f->drain_ms == 0) {
        f->drain_ms = now + DRAIN_S * 1000;
        log_line(LOG_INFO, "event=draining connections=%zu", f->connections);
    }
    if (reload_asked) {
        reload_asked = 0;
        if (f->tls != NULL)
            tls_reload(f->tls);
    }
    for (conn *c = f->all, *next; c != NULL; c = next) {
        next = c->next;
        tick_conn(f, c, now);
    }
    if (f->drain_ms != 0 && (f->connections == 0 || now >= f->drain_ms))
        f->stopped = true;
    if (now >= f->hear_ms) {
        f->hear_ms = now + HEAR_MS;
        hear_others(f);
        watch_others(f);
        deliver_due(f, now);
    }
    pushes_turn(f->pushes, f->relay, &f->waits, now);
    if (now >= f->tidy_ms) {
        f->tidy_ms = now + TIDY_MS;
        relay_tidy(f->relay, now);
    }
    if (now >= f->summary_ms) {
        f->summary_ms = now + SUMMARY_MS;
        summary(f);
    }
    lws_sul_schedule(f->context, 0, &f->tick, on_tick, TICK_MS * LWS_US_PER_MS);
}

/* ---- what the operator sees */

static int64_t size_of(const char *file, const char *suffix) {
    char path[PATH_MAX];
    struct stat st;
    if (snprintf(path, sizeof path, "%s%s", file, suffix) >= (int)sizeof path || stat(path, &st) != 0)
        return 0;
    return st.st_size;
}

static void write_metrics(void *ctx, text *out) {
    const front *f = ctx;
    const char *file = f->options->database_file;
    metrics_now now = {.version = SOTTO_VERSION,
                       .uptime_ms = clock_now_ms() - f->started_ms,
                       .connections = (int64_t)f->connections,
                       .waiting = (int64_t)f->waits.count,
                       .pushes = pushes_counts(f->pushes),
                       .queue_limit = (int64_t)queue_limit(f),
                       .unflushed = (int64_t)relay_batches_unflushed(f->relay),
                       .ready = f->ready_ms != 0 ? f->ready : -1,
                       .database_bytes = file != NULL ? size_of(file, "") + size_of(file, "-wal") : -1};
    metrics_write(&f->metrics, &now, out);
}

/* ---- the loop */

static err listen_on(front *f) {
    const front_options *o = f->options;
    struct lws_context_creation_info info = {0};
    lws_set_log_level(0, NULL); /* its lines hold addresses and paths */
    listen_at(&info, o->host);
    info.port = o->port;
    info.protocols = PROTOCOLS;
    info.user = f;
    info.gid = (gid_t)-1;
    info.uid = (uid_t)-1;
    info.max_http_header_data2 = HEADERS_MAX;
    info.pt_serv_buf_size = CHUNK_SIZE + HEAD_SIZE;
    info.timeout_secs = BODY_TIME_S;
    info.timeout_secs_ah_idle = HEADERS_TIME_S;
    info.keepalive_timeout = KEEP_ALIVE_S;
    info.options |= LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME;
    if (f->tls != NULL) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        info.ssl_cert_filepath = o->tls_certificate;
        info.ssl_private_key_filepath = o->tls_key;
        info.ssl_cipher_list = TLS_CIPHERS;
        info.alpn = "http/1.1";
    }
    f->context = loop_context(f->loop, &info);
    if (f->context == NULL)
        return ERR_HOST;
    f->ops = (ops_source){.write = write_metrics, .ctx = f};
    err e = lws_create_vhost(f->context, &info) == NULL ? ERR_HOST
            : o->metrics_port < 0                       ? OK
                                  : ops_listen(f->context, o->metrics_host, o->metrics_port, &f->ops);
    if (e == ERR_HOST)
        log_line(LOG_ERROR, "event=start message=\"can't listen there\"");
    return e;
}

err front_open(const front_options *options, front **out) {
    front *f = calloc(1, sizeof *f);
    *out = f;
    if (f == NULL)
        return ERR_NO_MEMORY;
    f->options = options;
    f->queue_end = &f->queue;
    f->started_ms = clock_now_ms();
    f->chance = (uint64_t)f->started_ms;
    f->summary_ms = f->started_ms + SUMMARY_MS;
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of file size is to the database like a full disk, and no end */
    err e = options->tls_certificate != NULL ? tls_open(options->tls_certificate, options->tls_key, &f->tls) : OK;
    if (e == OK)
        e = loop_open(on_end, f, &f->loop);
    if (e == OK)
        e = listen_on(f);
    if (e != OK) {
        front_close(f);
        *out = NULL;
    }
    return e;
}

void front_close(front *f) {
    if (f == NULL)
        return;
    if (f->context != NULL)
        lws_sul_cancel(&f->tick);
    loop_close(f->loop, f->context);
    static_close(f->files);
    for (conn *c = f->all, *next; c != NULL; c = next) {
        next = c->next;
        conn_free(f, c);
    }
    tls_close(f->tls);
    free(f);
}

err front_serve(front *f, relay *r, pushes *p) {
    const front_options *options = f->options;
    f->relay = r;
    f->pushes = p;
    err e = options->static_folder != NULL ? static_open(options->static_folder, &f->files) : OK;
    if (e == OK) {
        /* Some descriptors are for the database, files and the library. */
        int descriptors = (int)sysconf(_SC_OPEN_MAX);
        f->connections_max = descriptors > CONNECTIONS_MAX + DESCRIPTORS_OWN ? CONNECTIONS_MAX
                             : descriptors > 2 * DESCRIPTORS_OWN             ? (size_t)(descriptors - DESCRIPTORS_OWN)
                                                                             : (size_t)(descriptors / 2);
        struct lws_vhost *vhost = lws_get_vhost_by_name(f->context, "default");
        log_line(LOG_INFO, "event=listening port=%d", vhost != NULL ? lws_get_vhost_listen_port(vhost) : options->port);
        on_tick(&f->tick);
    }
    while (e == OK && !f->stopped) {
        loop_turn(f->loop, true);
        /* What arrives together is stored together: look on, without waiting, while requests keep coming. */
        for (int turns = 0; f->queued > 0 && turns < BATCH_TURNS_MAX && f->queued < BATCH_MAX; turns++) {
            size_t before = f->queued;
            loop_turn(f->loop, false);
            if (f->queued <= before)
                break;
        }
        refuse_excess(f);
        while (f->queue != NULL)
            run_batch(f);
    }
    return e;
}
