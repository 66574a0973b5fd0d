/* main.c: the program sotto-relay: its commands and its data directory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"
#include "backup.h"
#include "db.h"
#include "doctor.h"
#include "limits.h"
#include "log.h"
#include "options.h"
#include "privileges.h"
#include "push.h"
#include "restored.h"

static err database_path(const options *o, char out[PATH_MAX]) {
    return snprintf(out, PATH_MAX, "%s/relay.db", o->data) < PATH_MAX ? OK : ERR_TOO_LARGE;
}

/* The data directory, for its user only. */
static err make_folder(const options *o, const account *a) {
    if (o->data == NULL)
        return OK;
    bool made = mkdir(o->data, 0700) == 0;
    if ((made || errno == EEXIST) && (!made || a == NULL || account_owns(a, o->data) == OK))
        return OK;
    log_line(LOG_ERROR, "event=start message=\"can't make the data directory: %s\"", strerror(errno));
    return ERR_HOST;
}

/* One relay at a time. *fd is -1 where nothing needs a lock. */
static err take_folder(const options *o, int *fd) {
    char path[PATH_MAX];
    *fd = -1;
    if (o->data == NULL)
        return OK;
    if (snprintf(path, sizeof path, "%s/lock", o->data) >= (int)sizeof path)
        return ERR_TOO_LARGE;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return OK;
    log_line(LOG_ERROR, "event=start message=\"can't lock the data directory: %s\"",
             *fd >= 0 ? "another relay serves it" : strerror(errno));
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    return ERR_HOST;
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
    TRY(database_path(o, path));
    return db_open_sqlite(path, read_only, out);
}

static err become(const account *a) { return a != NULL ? account_become(a) : OK; }

/* ---- commands */

/* Ports first, which may need root; then everything else as who we shall be. */
static err serve(options *o, const account *a) {
    char path[PATH_MAX];
    front *f = NULL;
    db *d = NULL;
    relay *r = NULL;
    push_key *key = NULL;
    pushes *p = NULL;
    int lock = -1;
    raise_descriptor_limit();
    if (o->data != NULL) {
        TRY(database_path(o, path));
        o->front.database_file = path;
    }
    err e = make_folder(o, a);
    if (e == OK)
        e = front_open(&o->front, &f);
    if (e == OK)
        e = become(a);
    if (e == OK)
        e = take_folder(o, &lock);
    if (e == OK)
        e = open_database(o, false, &d);
    if (e == OK && o->push.contact != NULL) {
        e = push_key_open(d, &key);
        if (e == OK)
            o->relay.push_key = push_key_public(key);
    }
    if (e == OK)
        e = relay_open(d, &o->relay, &r);
    if (e == OK)
        e = sandbox_enter(o->sandbox);
    if (e == OK && key != NULL) /* its thread is then in the sandbox too */
        e = pushes_open(&o->push, key, &p);
    if (e == OK)
        e = front_serve(f, r, p);
    /* The thread first: libwebsockets closes a descriptor twice when it ends, and none may have got it meanwhile. */
    pushes_close(p);
    front_close(f);
    push_key_close(key);
    relay_close(r);
    db_close(d);
    if (lock >= 0)
        (void)close(lock);
    return e;
}

static err init(options *o, const account *a) {
    db *d = NULL;
    int lock = -1;
    err e = make_folder(o, a);
    if (e == OK)
        e = become(a);
    if (e == OK)
        e = take_folder(o, &lock);
    if (e == OK)
        e = open_database(o, false, &d);
    db_close(d);
    if (lock >= 0)
        (void)close(lock);
    return e;
}

static err backup(options *o, const account *a) {
    char path[PATH_MAX];
    TRY(become(a));
    TRY(database_path(o, path));
    return backup_make(path, o->to);
}

/* Its own tools have put a copy of a PostgreSQL back. */
static err restored(options *o, const account *a) {
    db *d = NULL;
    TRY(become(a));
    TRY(open_database(o, false, &d));
    err e = database_restored(d, clock_now_ms());
    db_close(d);
    return e;
}

static err restore(options *o, const account *a) {
    char path[PATH_MAX];
    int lock = -1;
    if (o->db != NULL)
        return restored(o, a);
    err e = database_path(o, path);
    if (e == OK)
        e = make_folder(o, a);
    if (e == OK)
        e = become(a);
    if (e == OK)
        e = take_folder(o, &lock);
    if (e == OK)
        e = backup_restore(o->from, path, o->force);
    if (lock >= 0)
        (void)close(lock);
    return e;
}

static err doctor(options *o, const account *a) {
    db *d = NULL;
    doctor_report report = {0};
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    int64_t now_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    TRY(become(a));
    doctor_look_at_host(o->data, o->front.tls_certificate, o->front.tls_key, now_ms, &report);
    err e = open_database(o, true, &d);
    if (e == OK) {
        e = doctor_run(d, o->db != NULL, now_ms, &report);
    } else {
        doctor_says(&report, e == ERR_STATE || e == ERR_STORE_NEWER ? "version" : "database", DOCTOR_FAULT, "%s",
                    e == ERR_STATE ? "the database is of an older version: sotto-relay init brings it up to date"
                                   : err_text(e));
        doctor_print_verdicts(&report);
    }
    db_close(d);
    o->faults = report.faults;
    return e;
}

static err audit(options *o, const account *a) {
    db *d = NULL;
    err e = become(a);
    if (e == OK)
        e = open_database(o, true, &d);
    if (e == OK)
        e = audit_verify_run(d, o->clinic, o->checkpoint, &o->faults);
    db_close(d);
    return e;
}

static const struct {
    const char *name;
    err (*run)(options *o, const account *a); /* the account is NULL: stay who we are */
} COMMANDS[] = {{"serve", serve},     {"init", init},     {"backup", backup},
                {"restore", restore}, {"doctor", doctor}, {"audit", audit}};

static int refuse(const char *why) {
    fprintf(stderr, "sotto-relay: %s\n", why);
    return 2;
}

int main(int argc, char **argv) {
    options o;
    account a;
    int status = 0;
    size_t i = 0;
    if (!options_read(argc, argv, &o, &status))
        return status;
    while (i < sizeof COMMANDS / sizeof *COMMANDS && strcmp(o.command, COMMANDS[i].name) != 0)
        i++;
    if (i == sizeof COMMANDS / sizeof *COMMANDS)
        return refuse("there is no such command; see sotto-relay help");
    bool copies = COMMANDS[i].run == backup, restores = COMMANDS[i].run == restore;
    if (o.db != NULL && (copies || (restores && o.from != NULL)))
        return refuse(
            "PostgreSQL has its own tools: pg_dump --format=custom for a copy, pg_restore to put it back, and then "
            "restore --db without --from");
    if ((copies && o.to == NULL) || (restores && o.from == NULL && o.db == NULL))
        return refuse(copies ? "say --to FILE" : "say --from FILE");
    (void)umask(077);
    err e = o.user != NULL ? account_find(o.user, &a) : OK;
    if (e == OK)
        e = COMMANDS[i].run(&o, o.user != NULL ? &a : NULL);
    if (e != OK)
        log_line(LOG_ERROR, "event=stop error=%s message=\"%s\"", err_name(e), err_text(e));
    else
        log_line(LOG_INFO, "event=stop");
    if (e != OK)
        return COMMANDS[i].run == audit ? 2 : 1; /* 1 says that the log is not whole */
    return o.faults > 0 ? 1 : 0;
}
