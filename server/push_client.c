#include "push_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* libcurl's options are variadic and typed only by its own macros; a failure is one of memory. */
#define SET(easy, option, value) (curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

typedef struct flight {
    push_job *job; /* NULL: free */
    CURL *easy;
    struct curl_slist *headers;
    size_t head_bytes, body_bytes;
    bool local, not_public;
} flight;

struct push_client {
    const push_client_options *options;
    const push_key *key;
    const char *authorities; /* a file; NULL: the system's */
    CURLM *multi;
    pthread_t thread;
    pthread_mutex_t lock; /* for what stands below */
    push_job *waiting, *done;
    bool stop;
    flight flights[PUSH_FLIGHT_MAX]; /* the thread's own */
};

/* ---- what libcurl calls */

/* The one place where a connection is made: to the very address that is looked at here, whatever the name leads to later. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
    flight *f = ctx;
    (void)purpose;
    if (!f->local && !push_address_is_public(&a->addr)) {
        f->not_public = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t bounded(size_t *seen, size_t n, size_t max) {
    *seen += n;
    return *seen <= max ? n : 0; /* 0 ends the exchange */
}

static size_t on_head(char *bytes, size_t size, size_t n, void *ctx) {
    (void)bytes;
    return bounded(&((flight *)ctx)->head_bytes, size * n, PUSH_ANSWER_HEAD_MAX);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx) {
    (void)bytes;
    return bounded(&((flight *)ctx)->body_bytes, size * n, PUSH_ANSWER_BODY_MAX);
}

/* ---- one push */

static bool add_header(flight *f, const char *line) {
    struct curl_slist *more = curl_slist_append(f->headers, line);
    if (more != NULL)
        f->headers = more;
    return more != NULL;
}

/* RFC 8030 §5. No content: nothing to encrypt, and nothing about the message. */
static bool add_headers(const push_client *c, flight *f, span origin) {
    char line[PUSH_AUTHORIZATION_MAX + 16] = "Authorization: ", number[32];
    size_t n = strlen(line);
    if (push_key_authorize(c->key, origin, c->options->contact, f->job->expires_s, line + n) != OK)
        return false;
    (void)snprintf(number, sizeof number, "TTL: %d", PUSH_TTL_S);
    /* "Accept:" and "Content-Type:" take away what libcurl would say by itself. */
    return add_header(f, line) && add_header(f, number) && add_header(f, "Urgency: " PUSH_URGENCY) &&
           add_header(f, "Topic: " PUSH_TOPIC) && add_header(f, "Accept:") && add_header(f, "Content-Type:");
}

static bool set_up(const push_client *c, flight *f) {
    CURL *e = f->easy;
    return SET(e, CURLOPT_URL, f->job->endpoint) && SET(e, CURLOPT_PROTOCOLS_STR, "https") &&
           SET(e, CURLOPT_PATH_AS_IS, 1L) && SET(e, CURLOPT_POST, 1L) && SET(e, CURLOPT_POSTFIELDS, "") &&
           SET(e, CURLOPT_POSTFIELDSIZE, 0L) && SET(e, CURLOPT_HTTPHEADER, f->headers) &&
           SET(e, CURLOPT_FOLLOWLOCATION, 0L) &&
           /* One that hangs or talks on is then ended with its connection, and holds up no other. */
           SET(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           /* A proxy of the environment's would connect for us, to addresses that we never see. */
           SET(e, CURLOPT_PROXY, "") && SET(e, CURLOPT_OPENSOCKETFUNCTION, open_socket) &&
           SET(e, CURLOPT_OPENSOCKETDATA, f) && SET(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           SET(e, CURLOPT_SSL_VERIFYPEER, 1L) && SET(e, CURLOPT_SSL_VERIFYHOST, 2L) &&
           (c->authorities == NULL || SET(e, CURLOPT_CAINFO, c->authorities)) &&
           SET(e, CURLOPT_CONNECTTIMEOUT_MS, PUSH_CONNECT_MS) && SET(e, CURLOPT_TIMEOUT_MS, PUSH_TIME_MS) &&
           SET(e, CURLOPT_HEADERFUNCTION, on_head) && SET(e, CURLOPT_HEADERDATA, f) &&
           SET(e, CURLOPT_WRITEFUNCTION, on_body) && SET(e, CURLOPT_WRITEDATA, f) && SET(e, CURLOPT_PRIVATE, f) &&
           SET(e, CURLOPT_NOSIGNAL, 1L) && SET(e, CURLOPT_QUICK_EXIT, 1L);
}

static void end_flight(push_client *c, flight *f, push_outcome outcome) {
    push_job *job = f->job;
    if (f->easy != NULL) {
        (void)curl_multi_remove_handle(c->multi, f->easy);
        curl_easy_cleanup(f->easy);
    }
    curl_slist_free_all(f->headers);
    *f = (flight){0};
    job->outcome = outcome;
    (void)pthread_mutex_lock(&c->lock);
    job->next = c->done;
    c->done = job;
    (void)pthread_mutex_unlock(&c->lock);
}

static void begin_flight(push_client *c, push_job *job) {
    flight *f = c->flights;
    size_t origin = 0;
    while (f < c->flights + PUSH_FLIGHT_MAX - 1 && f->job != NULL)
        f++;
    *f = (flight){.job = job};
    /* What was stored was good then; since then the operator may allow another service. */
    bool good = push_endpoint_fault(span_text(job->endpoint), &c->options->allowed, &origin, &f->local) == NULL;
    if (!good) {
        end_flight(c, f, PUSH_REFUSED);
        return;
    }
    f->easy = curl_easy_init();
    if (f->easy == NULL || !add_headers(c, f, span_of(job->endpoint, origin)) || !set_up(c, f) ||
        curl_multi_add_handle(c->multi, f->easy) != CURLM_OK)
        end_flight(c, f, PUSH_AGAIN);
}

/* The status counts, also of an answer that did not end in its time or its bounds. */
static push_outcome outcome_of(CURLcode result, const flight *f, int status) {
    if (status >= 200 && status <= 299)
        return PUSH_SENT;
    if (status == 404 || status == 410) /* RFC 8030 §7.3 */
        return PUSH_GONE;
    if (status == 429 || status >= 500)
        return PUSH_AGAIN;
    if (status >= 300)
        return PUSH_REFUSED;
    return f->not_public || result == CURLE_PEER_FAILED_VERIFICATION ? PUSH_REFUSED : PUSH_AGAIN;
}

static void on_message(push_client *c, CURL *easy, CURLcode result) {
    flight *f = NULL;
    long status = 0;
    curl_off_t retry_after = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &f);
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    f->job->status = (int)status;
    f->job->retry_after_s = (int64_t)retry_after;
    end_flight(c, f, outcome_of(result, f, (int)status));
}

/* ---- the thread */

static push_job *take_waiting(push_client *c, bool *stop) {
    (void)pthread_mutex_lock(&c->lock);
    push_job *jobs = c->waiting;
    c->waiting = NULL;
    *stop = c->stop;
    (void)pthread_mutex_unlock(&c->lock);
    return jobs;
}

static void *work(void *ctx) {
    push_client *c = ctx;
    for (bool stop = false;;) {
        int running = 0, left = 0;
        for (push_job *job = take_waiting(c, &stop), *next; job != NULL; job = next) {
            next = job->next;
            begin_flight(c, job);
        }
        if (stop)
            break;
        (void)curl_multi_perform(c->multi, &running);
        for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left)) != NULL;)
            if (m->msg == CURLMSG_DONE)
                on_message(c, m->easy_handle, m->data.result);
        (void)curl_multi_poll(c->multi, NULL, 0, PUSH_TIME_MS, NULL);
    }
    for (flight *f = c->flights; f < c->flights + PUSH_FLIGHT_MAX; f++)
        if (f->job != NULL)
            end_flight(c, f, PUSH_AGAIN);
    return NULL;
}

/* ---- from outside it */

/* Signals are the loop's. */
static err start_thread(push_client *c) {
    sigset_t all, before;
    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return ERR_HOST;
    int failed = pthread_create(&c->thread, NULL, work, c);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? ERR_HOST : OK;
}

err push_client_open(const push_client_options *options, const push_key *key, push_client **out) {
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ERR_HOST;
    push_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->options = options;
    c->key = key;
    c->authorities = getenv("SSL_CERT_FILE");
    (void)pthread_mutex_init(&c->lock, NULL);
    c->multi = curl_multi_init();
    err e = c->multi == NULL ? ERR_NO_MEMORY : OK;
    if (e == OK)
        e = curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)PUSH_FLIGHT_MAX) == CURLM_OK ? start_thread(c)
                                                                                                 : ERR_HOST;
    if (e != OK) {
        (void)curl_multi_cleanup(c->multi);
        (void)pthread_mutex_destroy(&c->lock);
        free(c);
        return e;
    }
    *out = c;
    return OK;
}

static void free_jobs(push_job *jobs) {
    for (push_job *next; jobs != NULL; jobs = next) {
        next = jobs->next;
        free(jobs);
    }
}

void push_client_close(push_client *c) {
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->stop = true;
    (void)pthread_mutex_unlock(&c->lock);
    (void)curl_multi_wakeup(c->multi);
    (void)pthread_join(c->thread, NULL);
    (void)curl_multi_cleanup(c->multi);
    free_jobs(c->waiting);
    free_jobs(c->done);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

void push_client_send(push_client *c, push_job *job) {
    (void)pthread_mutex_lock(&c->lock);
    job->next = c->waiting;
    c->waiting = job;
    (void)pthread_mutex_unlock(&c->lock);
    (void)curl_multi_wakeup(c->multi);
}

push_job *push_client_done(push_client *c) {
    (void)pthread_mutex_lock(&c->lock);
    push_job *job = c->done;
    if (job != NULL)
        c->done = job->next;
    (void)pthread_mutex_unlock(&c->lock);
    return job;
}
