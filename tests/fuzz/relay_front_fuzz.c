/* What comes in at the socket: the whole front with the library's parser, over loopback, as strangers reach it. An input is what one
 * connection sends; a byte 1 parts what arrives at different times.
 *
 * Of what is said back must hold: it is answers with statuses that we have, no more of them than requests; nobody has signed, so only pages,
 * probes and the description succeed; and the next connection is served. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../server/http_front.h"
#include "../../server/limits.h"
#include "../../server/log.h"

enum { SERVED_MS = 60000, CHECK_EVERY = 64 };

static char folder[] = "/tmp/sotto-fuzz-XXXXXX";
static front_options options = {.host = "127.0.0.1",
                                .queue_max = QUEUE_MAX,
                                .static_folder = folder,
                                .metrics_host = "127.0.0.1",
                                .metrics_port = -1};
static db *store;
static relay *logic;
static front *served;

static void *serve(void *unused) {
    (void)unused;
    REQUIRE(front_serve(served, logic, NULL) == OK);
    return NULL;
}

static void tidy(void) {
    char path[64];
    snprintf(path, sizeof path, "%s/index.html", folder);
    (void)unlink(path);
    (void)rmdir(folder);
}

/* One that nobody uses now. */
static int free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void open_front(void) {
    static const relay_options rules = {.clinics_open = true, .blob_days = 30};
    char path[64];
    pthread_t thread;
    REQUIRE(mkdtemp(folder) != NULL);
    atexit(tidy);
    snprintf(path, sizeof path, "%s/index.html", folder);
    FILE *page = fopen(path, "w");
    REQUIRE(page != NULL && fputs("page", page) >= 0 && fclose(page) == 0);
    log_from(LOG_ERROR + 1);
    options.port = free_port();
    options.proxies.n = 1; /* the loopback: what is forwarded is read */
    memcpy(options.proxies.address[0], (uint8_t[]){[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, 16);
    REQUIRE(front_open(&options, &served) == OK && db_open_sqlite(":memory:", false, &store) == OK);
    REQUIRE(relay_open(store, &rules, &logic) == OK && pthread_create(&thread, NULL, serve, NULL) == 0);
    signal(SIGTERM, SIG_DFL); /* libFuzzer's and ours to end by */
    signal(SIGINT, SIG_DFL);
}

static int call_front(void) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    /* Closing leaves nothing behind, or ports would run out. */
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return fd;
}

static char said[1 << 16];
static size_t said_size;

/* Takes in what is there. False: the other end has closed. */
static bool listen_to(int fd) {
    ssize_t n;
    while (said_size < sizeof said - 1 &&
           (n = recv(fd, said + said_size, sizeof said - 1 - said_size, MSG_DONTWAIT)) >= 0) {
        if (n == 0)
            return false;
        said_size += (size_t)n;
    }
    return said_size == sizeof said - 1 || errno == EAGAIN;
}

/* Answered on a connection of its own: the loop has then looked at all that had arrived before, and has been through a batch. */
static void ask_another(void) {
    static const char ASKED[] = "GET /v1/inbox HTTP/1.1\r\nHost: x\r\n\r\n";
    static int fd = -1;
    for (bool answered = false; !answered;) {
        char answer[4096];
        size_t size = 0;
        ssize_t n = 1;
        if (fd < 0)
            fd = call_front();
        (void)!send(fd, ASKED, sizeof ASKED - 1, MSG_NOSIGNAL);
        for (struct pollfd p = {.fd = fd, .events = POLLIN}; !answered && n > 0; size += n > 0 ? (size_t)n : 0) {
            REQUIRE(size < sizeof answer - 1 && poll(&p, 1, SERVED_MS) == 1);
            n = recv(fd, answer + size, sizeof answer - 1 - size, 0);
            answer[size + (n > 0 ? (size_t)n : 0)] = 0;
            answered = strstr(answer, "\r\n\r\n{") != NULL && strchr(strstr(answer, "\r\n\r\n{"), '}') != NULL;
        }
        REQUIRE(!answered || strncmp(answer, "HTTP/1.1 401", 12) == 0);
        if (!answered) { /* kept open long enough */
            close(fd);
            fd = -1;
        }
    }
}

/* Until nothing more comes: what has no answer by then gets none before more is sent. */
static bool hear_out(int fd) {
    for (size_t before;;) {
        before = said_size;
        ask_another();
        ask_another(); /* in the first's batch may have been what was asked here, and be answered after it */
        if (!listen_to(fd))
            return false;
        if (said_size == before || said_size == sizeof said - 1)
            return true;
    }
}

static void talk(const uint8_t *data, size_t size) {
    int fd = call_front();
    said_size = 0;
    bool open = true;
    for (const uint8_t *p = data, *end = data + size; p < end && open;) {
        const uint8_t *stop = memchr(p, 1, (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        if (stop > p)
            (void)!send(fd, p, (size_t)(stop - p), MSG_NOSIGNAL);
        open = hear_out(fd);
        p = stop + 1;
    }
    /* Who has closed his half may be left until his time is over. */
    if (open && shutdown(fd, SHUT_WR) == 0)
        (void)hear_out(fd);
    close(fd);
    said[said_size] = 0;
}

static bool may_succeed(const char *answer, const char *end) {
    static const char *const KNOWN[] = {
        "\r\n\r\npage", "\r\n\r\nok\n", "\"version\":1", "\r\ncontent-length: 4\r\n", "\r\ncontent-length: 3\r\n",
        "etag: "};
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        const char *found = strstr(answer, KNOWN[i]);
        if (found != NULL && found < end)
            return true;
    }
    return false;
}

static void check_said(size_t requests) {
    static const int STATUSES[] = {200, 304, 308, 400, 401, 403, 404, 405, 413, 414, 416, 431};
    size_t answers = 0;
    for (const char *p = said, *next; p != NULL && *p != 0; p = next, answers++) {
        REQUIRE(strncmp(p, "HTTP/1.", 7) == 0 && (p[7] == '0' || p[7] == '1') && p[8] == ' ');
        next = strstr(p + 8, "HTTP/1.");
        int status = atoi(p + 9);
        bool known = false;
        for (size_t i = 0; i < sizeof STATUSES / sizeof *STATUSES; i++)
            known |= status == STATUSES[i];
        REQUIRE(known);
        REQUIRE(status != 200 || may_succeed(p, next != NULL ? next : said + said_size));
    }
    REQUIRE(answers <= requests);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static unsigned count;
    static const char PLAIN[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    if (served == NULL)
        open_front();
    size_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    talk(data, size);
    check_said(lines);
    if (count++ % CHECK_EVERY == 0) {
        talk((const uint8_t *)PLAIN, sizeof PLAIN - 1);
        REQUIRE(strncmp(said, "HTTP/1.1 200", 12) == 0 && strstr(said, "\r\n\r\nok\n") != NULL);
    }
    return 0;
}
