#include "metrics.h"

#include <stdio.h>

#include "push.h"

/* Up to BATCH_MAX requests; from a fast disk's flush to one that stands still. Upper bounds, as text for their label. */
static const struct {
    double bound;
    const char *label;
} REQUESTS[METRICS_BOUNDS] = {{1, "1"},   {2, "2"},   {4, "4"},     {8, "8"},     {16, "16"},   {32, "32"},
                              {64, "64"}, {96, "96"}, {128, "128"}, {160, "160"}, {192, "192"}, {256, "256"}},
  SECONDS[METRICS_BOUNDS] = {{0.0005, "0.0005"}, {0.001, "0.001"}, {0.0025, "0.0025"}, {0.005, "0.005"},
                             {0.01, "0.01"},     {0.025, "0.025"}, {0.05, "0.05"},     {0.1, "0.1"},
                             {0.25, "0.25"},     {1, "1"},         {2.5, "2.5"},       {10, "10"}};

void metrics_answered(metrics *m, const char *method, const char *call, int status) {
    metrics_call *c = m->call;
    while (c < m->call + m->calls && (c->call != call || c->method != method))
        c++;
    if (c == m->call + METRICS_CALLS_MAX || status < 100 || status > 599)
        return;
    if (c == m->call + m->calls) {
        *c = (metrics_call){.method = method, .call = call};
        m->calls++;
    }
    c->status[status / 100]++;
}

void metrics_batch(metrics *m, size_t requests, bool stored, int64_t commit_us) {
    if (!stored) {
        m->batches_failed++;
        return;
    }
    size_t i = 0, k = 0;
    while (i < METRICS_BOUNDS && (double)requests > REQUESTS[i].bound)
        i++;
    while (k < METRICS_BOUNDS && (double)commit_us / 1e6 > SECONDS[k].bound)
        k++;
    m->batch_requests.bucket[i]++;
    m->batch_requests.sum += (double)requests;
    m->commit_seconds.bucket[k]++;
    m->commit_seconds.sum += (double)commit_us / 1e6;
}

/* ---- text */

static void head(text *t, const char *name, const char *type, const char *help) {
    char line[240];
    (void)snprintf(line, sizeof line, "# HELP sotto_%s %s\n# TYPE sotto_%s %s\n", name, help, name, type);
    text_put(t, line);
}

static void single(text *t, const char *name, const char *type, const char *help, int64_t value) {
    char line[120];
    head(t, name, type, help);
    (void)snprintf(line, sizeof line, "sotto_%s %lld\n", name, (long long)value);
    text_put(t, line);
}

static void bucket(text *t, const char *name, const char *label, uint64_t count) {
    char line[120];
    (void)snprintf(line, sizeof line, "sotto_%s_bucket{le=\"%s\"} %llu\n", name, label, (unsigned long long)count);
    text_put(t, line);
}

static void histogram(text *t, const char *name, const char *help, const metrics_histogram *h, bool seconds) {
    char line[160];
    uint64_t count = 0;
    head(t, name, "histogram", help);
    for (size_t i = 0; i < METRICS_BOUNDS; i++) {
        count += h->bucket[i];
        bucket(t, name, seconds ? SECONDS[i].label : REQUESTS[i].label, count);
    }
    count += h->bucket[METRICS_BOUNDS];
    bucket(t, name, "+Inf", count);
    (void)snprintf(line, sizeof line, "sotto_%s_sum %.6f\nsotto_%s_count %llu\n", name, h->sum, name,
                   (unsigned long long)count);
    text_put(t, line);
}

static void pushes_write(const push_counts *c, text *t) {
    const struct {
        const char *outcome;
        uint64_t n;
    } rows[] = {
        {"sent", c->sent}, {"gone", c->gone}, {"retried", c->retried}, {"failed", c->failed}, {"dropped", c->dropped}};
    char line[80];
    head(t, "pushes_total", "counter", "Web pushes by what became of them; a retried one comes again.");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)snprintf(line, sizeof line, "sotto_pushes_total{outcome=\"%s\"} %llu\n", rows[i].outcome,
                       (unsigned long long)rows[i].n);
        text_put(t, line);
    }
}

void metrics_write(const metrics *m, const metrics_now *now, text *t) {
    char line[240];
    head(t, "build_info", "gauge", "What is running; always 1.");
    (void)snprintf(line, sizeof line, "sotto_build_info{version=\"%s\"} 1\n", now->version);
    text_put(t, line);
    head(t, "uptime_seconds", "gauge", "Since the relay started.");
    (void)snprintf(line, sizeof line, "sotto_uptime_seconds %.3f\n", (double)now->uptime_ms / 1000);
    text_put(t, line);
    head(t, "requests_total", "counter", "Answers by call and first digit of their status.");
    for (const metrics_call *c = m->call; c < m->call + m->calls; c++) {
        for (int i = 1; i <= 5; i++) {
            if (c->status[i] == 0)
                continue;
            (void)snprintf(line, sizeof line, "sotto_requests_total{method=\"%s\",call=\"%s\",status=\"%dxx\"} %llu\n",
                           c->method, c->call, i, (unsigned long long)c->status[i]);
            text_put(t, line);
        }
    }
    histogram(t, "batch_requests", "Requests of one transaction.", &m->batch_requests, false);
    histogram(t, "commit_seconds", "Time of a transaction's commit, its flush included.", &m->commit_seconds, true);
    single(t, "commits_unflushed_total", "counter",
           "Transactions of reads only, whose commit did not wait for the medium.", now->unflushed);
    single(t, "database_errors_total", "counter", "Transactions that could not be begun or committed.",
           (int64_t)m->batches_failed);
    single(t, "connections_refused_total", "counter", "Connections beyond a limit, or while draining.",
           (int64_t)m->connections_refused);
    if (now->pushes != NULL)
        pushes_write(now->pushes, t);
    single(t, "overload_refused_total", "counter",
           "Requests refused with 503, since more came than are served in time.", (int64_t)m->overload_refused);
    single(t, "queue_limit", "gauge", "Requests that may wait at once, by what one takes now.", now->queue_limit);
    single(t, "connections", "gauge", "Open connections of clients.", now->connections);
    single(t, "waiting", "gauge", "Inboxes that wait, event streams included.", now->waiting);
    if (now->ready >= 0)
        single(t, "ready", "gauge", "1 when the last look found the database taking writes.", now->ready);
    if (now->database_bytes >= 0)
        single(t, "database_bytes", "gauge", "Bytes of the database's files.", now->database_bytes);
}
