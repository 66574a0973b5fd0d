#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512
#define READ_SIZE 65536
#define GREET_S 30
#define LAST_ANSWERS_S 60 /* what is under way at the end is answered within that, or the run is no measurement */

int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("relay_load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *take_memory(size_t n) {
    void *p = calloc(1, n > 0 ? n : 1);
    if (p == NULL)
        die("no memory for %zu bytes", n);
    return p;
}

void keep_bytes(uint8_t **buffer, size_t *size, size_t *room, const void *p, size_t n) {
    if (*size + n > *room) {
        *room = (*size + n) * 2;
        *buffer = realloc(*buffer, *room);
        if (*buffer == NULL)
            die("no memory for %zu bytes", *room);
    }
    memcpy(*buffer + *size, p, n);
    *size += n;
}

/* ---- sockets */

static void watch(connection *c, uint32_t events, int how) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(c->load->epoll, how, c->fd, &e) != 0)
        die("epoll: %s", strerror(errno));
}

static size_t send_some(connection *c, const void *p, size_t n) {
    ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EPIPE &&
        errno != ECONNRESET) /* of these two, receive() hears as well */
        die("connection %zu broke: %s", c->number, strerror(errno));
    return sent < 0 ? 0 : (size_t)sent;
}

void connection_send(connection *c, const void *p, size_t n) {
    size_t sent = c->out_size == 0 ? send_some(c, p, n) : 0;
    if (sent == n)
        return;
    if (c->out_size == 0)
        watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    keep_bytes(&c->out, &c->out_size, &c->out_room, (const uint8_t *)p + sent, n - sent);
}

static void send_rest(connection *c) {
    size_t sent = send_some(c, c->out, c->out_size);
    memmove(c->out, c->out + sent, c->out_size - sent);
    c->out_size -= sent;
    if (c->out_size == 0)
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

static void open_socket(connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(c->port)};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("can't connect to port %u: %s", c->port, strerror(errno));
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl: %s", strerror(errno));
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

void load_connect(load *l, const protocol *p, const uint16_t *ports, size_t ports_count, size_t first, size_t count) {
    if (l->epoll == 0)
        l->epoll = epoll_create1(0);
    for (size_t i = first; i < first + count; i++) {
        connection *c = &l->connections[i];
        *c = (connection){.port = ports[(i - first) % ports_count], .load = l, .protocol = p, .number = i, .next = i};
        open_socket(c);
        l->connected = i + 1 > l->connected ? i + 1 : l->connected;
        c->ready = p->greet == NULL;
        if (!c->ready) {
            l->unready++;
            p->greet(c);
        }
    }
}

static void answered(connection *c, int status);

static void take_answers(connection *c) {
    size_t used = 0;
    while (used < c->in_size) {
        int status = STATUS_NONE;
        size_t n = c->protocol->take(c, span_of(c->in + used, c->in_size - used), &status);
        if (n == 0)
            break;
        used += n;
        if (status == STATUS_READY && !c->ready) {
            c->ready = true;
            c->load->unready--;
        } else if (status > STATUS_READY) {
            answered(c, status);
        }
    }
    if (used > 0)
        memmove(c->in, c->in + used, c->in_size - used);
    c->in_size -= used;
    if (c->in_size == 0 && c->in_room > READ_SIZE) { /* ten thousand of these would be much */
        free(c->in);
        c->in = NULL;
        c->in_room = 0;
    }
}

/* One of thousands rested for so long that the server ended it, perhaps while a request was on its way: as HTTP's clients do, it
 * is asked again. Had it been taken, the server would know its nonce and not answer 2xx. */
static void again(connection *c) {
    const struct load_bytes *r = &c->load->requests[c->request];
    close(c->fd);
    c->in_size = c->out_size = 0;
    open_socket(c);
    if (c->busy)
        connection_send(c, r->p, r->n);
}

static void receive(connection *c) {
    static uint8_t buffer[READ_SIZE];
    load *l = c->load;
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 && l->phases[0].rate > 0 && c->number < l->senders) {
        again(c);
        return;
    }
    if (n <= 0)
        die("connection %zu was closed: %s", c->number, n < 0 ? strerror(errno) : "by the server");
    keep_bytes(&c->in, &c->in_size, &c->in_room, buffer, (size_t)n);
    take_answers(c);
}

static void serve(load *l, int wait_ms) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(l->epoll, events, EVENTS, wait_ms);
    for (int i = 0; i < n; i++) {
        connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            send_rest(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(c);
    }
}

bool load_serve(load *l, bool (*done)(load *l), double seconds) {
    int64_t until = now_ns() + (int64_t)(seconds * 1e9);
    while (!done(l)) {
        if (now_ns() > until)
            return false;
        serve(l, 20);
    }
    return true;
}

static bool all_ready(load *l) { return l->unready == 0; }

void load_greet(load *l) {
    if (!load_serve(l, all_ready, GREET_S))
        die("%zu connections did not end their greeting", l->unready);
}

/* ---- requests */

static void begin(connection *c, size_t request, int64_t since_ns) {
    load *l = c->load;
    c->begun_ns = since_ns;
    c->busy = true;
    c->request = request;
    l->under_way++;
    l->begun++;
    connection_send(c, l->requests[request].p, l->requests[request].n);
}

static void begin_next(connection *c) {
    load *l = c->load;
    int64_t now = now_ns();
    if (c->next >= l->requests_count || (double)(now - l->phases[0].began_ns) > l->phases[0].seconds * 1e9)
        return;
    begin(c, c->next, now);
    c->next += l->senders;
}

static phase *phase_of(load *l, int64_t ns) {
    size_t i = l->phases_count;
    while (i > 1 && ns < l->phases[i - 1].began_ns)
        i--;
    return &l->phases[i - 1];
}

void latency_note(latencies *to, int64_t ns) {
    if (to->n == to->room) {
        to->room = to->room > 0 ? to->room * 2 : 65536;
        to->ns = realloc(to->ns, to->room * sizeof *to->ns);
        if (to->ns == NULL)
            die("no memory");
    }
    to->ns[to->n++] = ns;
}

static void count_answer(connection *c, int status) {
    int64_t now = now_ns();
    phase *p = phase_of(c->load, c->begun_ns);
    bool refused = status == 429 || status == 503;
    if (status >= 300 && !refused)
        die("connection %zu was answered %d:\n%.*s", c->number, status, (int)c->in_size, (const char *)c->in);
    if (refused)
        p->last_refused_ns = now;
    latency_note(refused ? &p->refused : &p->accepted, now - c->begun_ns);
}

static void answered(connection *c, int status) {
    load *l = c->load;
    if (c->busy) {
        c->busy = false;
        l->under_way--;
    }
    if (l->on_answer != NULL && (!l->running || c->number >= l->senders)) {
        l->on_answer(c, status);
        return;
    }
    count_answer(c, status);
    if (l->phases[0].rate > 0)
        l->free[(l->free_first + l->free_count++) % l->senders] = c;
    else
        begin_next(c);
}

static double servers_cpu(const load *l) {
    double sum = 0;
    for (size_t i = 0; i < l->pids_count; i++) {
        char path[64], line[1024];
        unsigned long user = 0, system = 0;
        (void)snprintf(path, sizeof path, "/proc/%ld/stat", l->pids[i]);
        FILE *f = fopen(path, "r");
        if (f == NULL)
            continue; /* a database's helper that ended */
        size_t n = fread(line, 1, sizeof line - 1, f);
        line[n] = 0;
        fclose(f);
        /* Fields 14 and 15; the name, field 2, may hold anything but ends with the last bracket. */
        const char *after = strrchr(line, ')');
        if (after != NULL &&
            sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
            sum += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}

double own_cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* When request number `begun` is due; INT64_MAX when all phases are over. Moves on to the next phase at its time. */
static int64_t next_due(load *l, size_t *in_phase) {
    phase *p = &l->phases[l->phase_of_next];
    int64_t due = p->began_ns + (int64_t)((double)*in_phase * 1e9 / p->rate);
    if (due < p->began_ns + (int64_t)(p->seconds * 1e9))
        return due;
    if (l->phase_of_next + 1 == l->phases_count)
        return INT64_MAX;
    l->phase_of_next++;
    *in_phase = 0;
    return l->phases[l->phase_of_next].began_ns;
}

static void run_open(load *l) {
    size_t in_phase = 0;
    int64_t due = next_due(l, &in_phase);
    while (due != INT64_MAX && l->begun < l->requests_count) {
        int64_t now = now_ns();
        while (due <= now && l->free_count > 0 && l->begun < l->requests_count) {
            connection *c = l->free[l->free_first];
            l->free_first = (l->free_first + 1) % l->senders;
            l->free_count--;
            phase *p = &l->phases[l->phase_of_next];
            begin(c, l->begun, due);
            now = now_ns();
            p->late_ns = now - due > p->late_ns ? now - due : p->late_ns;
            p->busy_max = l->under_way > p->busy_max ? l->under_way : p->busy_max;
            p->in_time += now < p->began_ns + (int64_t)(p->seconds * 1e9);
            in_phase++;
            due = next_due(l, &in_phase);
        }
        serve(l, 1);
    }
}

static bool all_answered(load *l) { return l->under_way == 0; }

void load_run(load *l) {
    double cpu = servers_cpu(l), own = own_cpu_s();
    int64_t from = now_ns(), at = from;
    for (size_t i = 0; i < l->phases_count; i++) {
        l->phases[i].began_ns = at;
        at += (int64_t)(l->phases[i].seconds * 1e9);
    }
    l->running = true;
    if (l->phases[0].rate > 0) {
        l->free = take_memory(l->senders * sizeof *l->free);
        for (size_t i = 0; i < l->senders; i++)
            l->free[l->free_count++] = &l->connections[i];
        run_open(l);
    } else {
        for (size_t i = 0; i < l->senders; i++)
            begin_next(&l->connections[i]);
    }
    if (!load_serve(l, all_answered, l->phases[0].rate > 0 ? LAST_ANSWERS_S : l->phases[0].seconds + LAST_ANSWERS_S))
        die("%zu requests were not answered", l->under_way);
    l->running = false;
    l->wall_s = (double)(now_ns() - from) / 1e9;
    l->servers_cpu_s = servers_cpu(l) - cpu;
    l->own_cpu_s = own_cpu_s() - own;
}

void load_close(load *l) {
    for (size_t i = 0; i < l->connected; i++) {
        close(l->connections[i].fd);
        free(l->connections[i].in);
        free(l->connections[i].out);
    }
    free(l->connections);
    for (size_t i = 0; i < l->phases_count; i++) {
        free(l->phases[i].accepted.ns);
        free(l->phases[i].refused.ns);
    }
    free(l->free);
    close(l->epoll);
}

/* ---- results */

static int compare_ns(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(const latencies *sorted, double part) {
    return sorted->n == 0 ? 0 : (double)sorted->ns[(size_t)((double)(sorted->n - 1) * part + 0.5)] / 1e6;
}

void latencies_print(latencies *l) {
    if (l->n > 0)
        qsort(l->ns, l->n, sizeof *l->ns, compare_ns);
    printf("\"count\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f", l->n, percentile_ms(l, 0.5),
           percentile_ms(l, 0.99), percentile_ms(l, 1));
}

void load_print(load *l) {
    printf("\"wall_s\":%.4f,\"servers_cpu_s\":%.2f,\"own_cpu_s\":%.3f,\"phases\":[", l->wall_s, l->servers_cpu_s,
           l->own_cpu_s);
    for (size_t i = 0; i < l->phases_count; i++) {
        phase *p = &l->phases[i];
        double last = p->refused.n > 0 ? (double)(p->last_refused_ns - p->began_ns) / 1e6 : 0;
        printf(
            "%s{\"asked_rate\":%.1f,\"offered_rate\":%.1f,\"late_ms\":%.3f,\"busy_max\":%zu,\"last_refused_ms\":%.1f,"
            "\"accepted\":{",
            i > 0 ? "," : "", p->rate, (double)p->in_time / p->seconds, (double)p->late_ns / 1e6, p->busy_max, last);
        latencies_print(&p->accepted);
        printf("},\"refused\":{");
        latencies_print(&p->refused);
        printf("}}");
    }
    printf("]");
}
