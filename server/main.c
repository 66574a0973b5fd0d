/* main.c: the program sotto-relay: its options and its data directory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db.h"
#include "doctor.h"
#include "http_front.h"
#include "limits.h"
#include "log.h"
#include "relay.h"

static const char USAGE[] =
    "usage: sotto-relay serve DATABASE [options]   serve clinics\n"
    "       sotto-relay doctor DATABASE            say what is in it, as JSON; also while a relay serves it\n"
    "DATABASE is one of\n"
    "  --data DIR           a directory of the relay's own (SQLite)\n"
    "  --db postgres://…    a PostgreSQL server, 15 or newer; several relays may share it\n"
    "\n"
    "  --host ADDRESS       listen there (127.0.0.1; 0.0.0.0 for everywhere)\n"
    "  --port N             listen there (8080; 0: any free one, see the line event=listening)\n"
    "  --static DIR         serve the web pages in it\n"
    "  --clinics open|closed  may anybody make a clinic here (open)\n"
    "  --authority HOST[:PORT]  refuse requests for any other Host\n"
    "  --rate-device N      requests a minute of a device (%d; 0: no limit)\n"
    "  --rate-address N     requests a minute of an address (%d; 0: no limit)\n"
    "  --rate-enrol N       enrolments and invitation reads a minute of an address (%d; 0: no limit)\n"
    "  --connections-address N  connections at once of an address (%d; 0: no limit)\n"
    "  --log debug|info|warning|error  (info)\n";

typedef struct options {
    const char *data, *db; /* one of them */
    relay_options relay;
    front_options front;
} options;

static int usage(void) {
    fprintf(stderr, USAGE, RATE_DEVICE, RATE_ADDRESS, RATE_ENROL, CONNECTIONS_AN_ADDRESS_MAX);
    return 2;
}

static bool number(const char *s, long max, long *out) {
    char *end = NULL;
    errno = 0;
    long v = strtol(s, &end, 10);
    if (errno != 0 || end == s || *end != 0 || v < 0 || v > max)
        return false;
    *out = v;
    return true;
}

static bool word(const char *s, const char *const *words, long *out) {
    for (long i = 0; words[i] != NULL; i++) {
        if (strcmp(s, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool option(options *o, const char *name, const char *value) {
    static const char *const CLINICS[] = {"closed", "open", NULL}, *const LEVELS[] = {"debug", "info", "warning",
                                                                                      "error", NULL};
    long v = 0;
    bool good = true;
    if (strcmp(name, "--data") == 0)
        o->data = value;
    else if (strcmp(name, "--db") == 0)
        o->db = value;
    else if (strcmp(name, "--host") == 0)
        o->front.host = value;
    else if (strcmp(name, "--static") == 0)
        o->front.static_folder = value;
    else if (strcmp(name, "--authority") == 0)
        o->relay.authority = value;
    else if (strcmp(name, "--port") == 0 && (good = number(value, 65535, &v)))
        o->front.port = (int)v;
    else if (strcmp(name, "--clinics") == 0 && (good = word(value, CLINICS, &v)))
        o->relay.clinics_open = v == 1;
    else if (strcmp(name, "--rate-device") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_device = (uint32_t)v;
    else if (strcmp(name, "--rate-address") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_address = (uint32_t)v;
    else if (strcmp(name, "--rate-enrol") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_enrol = (uint32_t)v;
    else if (strcmp(name, "--connections-address") == 0 && (good = number(value, 1000000, &v)))
        o->front.connections_an_address = (unsigned)v;
    else if (strcmp(name, "--log") == 0 && (good = word(value, LEVELS, &v)))
        log_from((log_level)v);
    else
        good = false;
    return good;
}

/* Readable by the relay's user only; one relay at a time. Returns the lock's descriptor, or -1. */
static int take_folder(const char *folder) {
    char path[PATH_MAX];
    (void)umask(077);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        log_line(LOG_ERROR, "event=start message=\"can't make the data directory: %s\"", strerror(errno));
        return -1;
    }
    if (snprintf(path, sizeof path, "%s/lock", folder) >= (int)sizeof path)
        return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        log_line(LOG_ERROR, "event=start message=\"can't lock the data directory: %s\"",
                 fd >= 0 ? "another relay serves it" : strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    return fd;
}

static void raise_descriptor_limit(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return;
    l.rlim_cur = l.rlim_max < CONNECTIONS_MAX + 1024 ? l.rlim_max : CONNECTIONS_MAX + 1024;
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

static err open_database(const options *o, bool read_only, db **out) {
    char path[PATH_MAX];
    if (o->db != NULL)
        return db_open_postgres(o->db, read_only, out);
    if (snprintf(path, sizeof path, "%s/relay.db", o->data) >= (int)sizeof path)
        return ERR_TOO_LARGE;
    return db_open_sqlite(path, read_only, out);
}

static int serve(const options *o) {
    db *d = NULL;
    relay *r = NULL;
    raise_descriptor_limit();
    int lock = o->data != NULL ? take_folder(o->data) : -1;
    if (o->data != NULL && lock < 0)
        return 1;
    err e = open_database(o, false, &d);
    if (e == OK)
        e = relay_open(d, &o->relay, &r);
    if (e == OK)
        e = front_serve(r, &o->front);
    relay_close(r);
    db_close(d);
    if (lock >= 0)
        (void)close(lock);
    if (e != OK)
        log_line(LOG_ERROR, "event=stop error=%s message=\"%s\"", err_name(e), err_text(e));
    else
        log_line(LOG_INFO, "event=stop");
    return e == OK ? 0 : 1;
}

static int doctor(const options *o) {
    db *d = NULL;
    err e = open_database(o, true, &d);
    if (e == OK)
        e = doctor_run(d);
    db_close(d);
    return e == OK ? 0 : 1;
}

int main(int argc, char **argv) {
    options o = {.relay = {.clinics_open = true,
                           .rate_device = RATE_DEVICE,
                           .rate_address = RATE_ADDRESS,
                           .rate_enrol = RATE_ENROL},
                 .front = {.host = "127.0.0.1", .port = 8080, .connections_an_address = CONNECTIONS_AN_ADDRESS_MAX}};
    if (argc < 2)
        return usage();
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 >= argc || !option(&o, argv[i], argv[i + 1])) {
            fprintf(stderr, "sotto-relay: \"%s\" is no option, or its value is not one\n", argv[i]);
            return usage();
        }
    }
    if ((o.data == NULL) == (o.db == NULL))
        return usage();
    if (strcmp(argv[1], "serve") == 0)
        return serve(&o);
    if (strcmp(argv[1], "doctor") == 0)
        return doctor(&o);
    return usage();
}
