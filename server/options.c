#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "log.h"
#include "webauthn.h"

static const char USAGE[] =
    "usage: sotto-relay serve DATABASE [options]   serve clinics\n"
    "       sotto-relay init DATABASE              make it or bring it up to date, and end\n"
    "       sotto-relay backup --data DIR --to FILE       copy it whole; also while a relay serves it\n"
    "       sotto-relay restore --data DIR --from FILE    put such a copy back; no relay may serve it\n"
    "       sotto-relay restore --db postgres://…  after PostgreSQL's own tools have put a copy back, before it is "
    "served\n"
    "       sotto-relay doctor DATABASE            is all well with it and this machine? Also while a relay serves "
    "it;\n"
    "                                              1: it is not. Verdicts and what is in it as JSON, words on stderr\n"
    "       sotto-relay audit verify DATABASE [--clinic NAME] [--checkpoint FILE]\n"
    "                                              is the audit log whole? Also while a relay serves it; 1: it is not\n"
    "       sotto-relay version\n"
    "DATABASE is one of\n"
    "  --data DIR           a directory of the relay's own (SQLite)\n"
    "  --db postgres://…    a PostgreSQL server, 15 or newer; several relays may share it\n"
    "\n"
    "  --host ADDRESS       listen there (127.0.0.1; 0.0.0.0 for everywhere)\n"
    "  --port N             listen there (8080; 0: any free one, see the line event=listening)\n"
    "  --tls-cert FILE, --tls-key FILE  speak TLS; PEM, the certificate with its chain; SIGHUP reads them anew\n"
    "  --proxy ADDRESS[,…]  peers whose X-Forwarded-For is believed: its last entry is under the rates of addresses\n"
    "  --metrics [HOST:]PORT  Prometheus' metrics there, at /metrics (HOST: 127.0.0.1); they are the operator's\n"
    "  --user NAME          when started as root: be this user once the ports are bound\n"
    "  --sandbox on|off     a filter of system calls (on where the kernel has one; said so: on, or don't serve)\n"
    "  --static DIR         serve the web pages in it\n"
    "  --clinics open|closed  may anybody make a clinic here (open)\n"
    "  --authority HOST[:PORT]  refuse requests for any other Host\n"
    "  --origin URL         where the staff's console is, for WebAuthn (https:// and the authority)\n"
    "  --rate-device N      requests a minute of a device (%d; 0: no limit)\n"
    "  --rate-address N     requests a minute of an address (%d; 0: no limit)\n"
    "  --rate-enrol N       enrolments and invitation reads a minute of an address (%d; 0: no limit)\n"
    "  --rate-invite N      reads and enrolments a minute of an invitation (%d; 0: no limit)\n"
    "  --rate-clinic N      requests a minute of all a clinic's devices (%d; 0: no limit)\n"
    "  --quota-stored MIB   of what a clinic's devices have not fetched (%d; 0: no limit)\n"
    "  --quota-groups N, --quota-devices N, --quota-invitations N  of a clinic (%d, %d, %d; 0: no limit)\n"
    "  --blob-quota MIB     of all blobs of a clinic (%d)\n"
    "  --blob-share PERCENT of that quota, for the blobs of one device (%d)\n"
    "  --blob-days N        that a blob is kept (%d)\n"
    "  --retention-days N   that events wait for a device that does not fetch them (%d; %d or more)\n"
    "  --push-contact URL   send Web Pushes; whom push services may write to: mailto:… or https:… (off)\n"
    "  --push-allow HOST[:PORT]  devices may also name this push service, wherever it is\n"
    "  --connections-address N  connections at once of an address (%d; 0: no limit)\n"
    "  --queue N            requests that may wait at once; fewer when they would wait too long; others get 503 (%d)\n"
    "  --log debug|info|warning|error  (info)\n"
    "  --force              restore: over data that is there\n";

static void usage(FILE *to) {
    fprintf(to, USAGE, RATE_DEVICE, RATE_ADDRESS, RATE_ENROL, RATE_INVITE, RATE_CLINIC, QUOTA_STORED_MIB, QUOTA_GROUPS,
            QUOTA_DEVICES, QUOTA_INVITATIONS, BLOB_QUOTA_MIB, BLOB_SHARE_PERCENT, BLOB_DAYS, RETENTION_DAYS,
            RETENTION_DAYS_MIN, CONNECTIONS_AN_ADDRESS_MAX, QUEUE_MAX);
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

/* "PORT", "HOST:PORT", "[IPv6]:PORT". */
static bool listener(const char *s, front_options *front) {
    const char *colon = strrchr(s, ':'), *host = s, *port = colon != NULL ? colon + 1 : s;
    size_t n = colon != NULL ? (size_t)(colon - s) : 0;
    long v = 0;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    if (!number(port, 65535, &v) || n >= sizeof front->metrics_host || (colon != NULL && n == 0))
        return false;
    if (n > 0) {
        memcpy(front->metrics_host, host, n);
        front->metrics_host[n] = 0;
    }
    front->metrics_port = (int)v;
    return true;
}

static bool is_text(options *o, const char *name, const char *value) {
    const struct {
        const char *name, **to;
    } texts[] = {{"--data", &o->data},
                 {"--db", &o->db},
                 {"--user", &o->user},
                 {"--to", &o->to},
                 {"--from", &o->from},
                 {"--clinic", &o->clinic},
                 {"--checkpoint", &o->checkpoint},
                 {"--host", &o->front.host},
                 {"--static", &o->front.static_folder},
                 {"--tls-cert", &o->front.tls_certificate},
                 {"--tls-key", &o->front.tls_key},
                 {"--push-contact", &o->push.contact},
                 {"--push-allow", &o->push.allowed.authority},
                 {"--authority", &o->relay.authority}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].to = value;
            return true;
        }
    }
    return false;
}

static bool option(options *o, const char *name, const char *value) {
    static const char *const CLINICS[] = {"closed", "open", NULL}, *const LEVELS[] = {"debug", "info", "warning",
                                                                                      "error", NULL};
    static const char *const SANDBOXES[] = {[SANDBOX_ON - 1] = "on", [SANDBOX_OFF - 1] = "off", NULL};
    long v = 0;
    bool good = true;
    if (strcmp(name, "--origin") == 0) {
        char party[WEBAUTHN_ORIGIN_MAX];
        webauthn_party_of(value, party);
        o->relay.origin = value;
        return party[0] != 0 && strlen(value) < WEBAUTHN_ORIGIN_MAX;
    }
    if (is_text(o, name, value))
        return true;
    if (strcmp(name, "--port") == 0 && (good = number(value, 65535, &v)))
        o->front.port = (int)v;
    else if (strcmp(name, "--proxy") == 0)
        good = proxies_read(value, &o->front.proxies);
    else if (strcmp(name, "--metrics") == 0)
        good = listener(value, &o->front);
    else if (strcmp(name, "--clinics") == 0 && (good = word(value, CLINICS, &v)))
        o->relay.clinics_open = v == 1;
    else if (strcmp(name, "--rate-device") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_device = (uint32_t)v;
    else if (strcmp(name, "--rate-address") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_address = (uint32_t)v;
    else if (strcmp(name, "--rate-enrol") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_enrol = (uint32_t)v;
    else if (strcmp(name, "--rate-invite") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_invite = (uint32_t)v;
    else if (strcmp(name, "--rate-clinic") == 0 && (good = number(value, 10000000, &v)))
        o->relay.rate_clinic = (uint32_t)v;
    else if (strcmp(name, "--quota-stored") == 0 && (good = number(value, 1 << 30, &v)))
        o->relay.quota[USE_STORED] = (int64_t)v * 1024 * 1024;
    else if (strcmp(name, "--quota-groups") == 0 && (good = number(value, 1 << 30, &v)))
        o->relay.quota[USE_GROUPS] = v;
    else if (strcmp(name, "--quota-devices") == 0 && (good = number(value, 1 << 30, &v)))
        o->relay.quota[USE_DEVICES] = v;
    else if (strcmp(name, "--quota-invitations") == 0 && (good = number(value, 1 << 30, &v)))
        o->relay.quota[USE_INVITATIONS] = v;
    else if (strcmp(name, "--blob-share") == 0 && (good = number(value, 100, &v) && v > 0))
        o->blob_share_percent = v;
    else if (strcmp(name, "--blob-quota") == 0 && (good = number(value, 1 << 30, &v)))
        o->relay.blob_quota = (int64_t)v * 1024 * 1024;
    else if (strcmp(name, "--blob-days") == 0 && (good = number(value, RETENTION_DAYS_MAX, &v) && v > 0))
        o->relay.blob_days = v;
    else if (strcmp(name, "--retention-days") == 0 && (good = number(value, 36600, &v) && v >= RETENTION_DAYS_MIN))
        o->relay.retention_days = v;
    else if (strcmp(name, "--connections-address") == 0 && (good = number(value, 1000000, &v)))
        o->front.connections_an_address = (unsigned)v;
    else if (strcmp(name, "--sandbox") == 0 && (good = word(value, SANDBOXES, &v)))
        o->sandbox = (sandbox_wish)(v + 1);
    else if (strcmp(name, "--queue") == 0 && (good = number(value, 1000000, &v) && v > 0))
        o->front.queue_max = (size_t)v;
    else if (strcmp(name, "--log") == 0 && (good = word(value, LEVELS, &v)))
        log_from((log_level)v);
    else
        good = false;
    return good;
}

static bool wrong(const char *what) {
    fprintf(stderr, "sotto-relay: %s\n", what);
    usage(stderr);
    return false;
}

bool options_read(int argc, char **argv, options *o, int *status) {
    *o = (options){.relay = {.clinics_open = true,
                             .rate_device = RATE_DEVICE,
                             .rate_address = RATE_ADDRESS,
                             .rate_enrol = RATE_ENROL,
                             .rate_invite = RATE_INVITE,
                             .rate_clinic = RATE_CLINIC,
                             .quota = {[USE_STORED] = QUOTA_STORED_MIB * 1024ll * 1024,
                                       [USE_GROUPS] = QUOTA_GROUPS,
                                       [USE_DEVICES] = QUOTA_DEVICES,
                                       [USE_INVITATIONS] = QUOTA_INVITATIONS},
                             .blob_quota = BLOB_QUOTA_MIB * 1024ll * 1024,
                             .blob_days = BLOB_DAYS,
                             .retention_days = RETENTION_DAYS},
                   .blob_share_percent = BLOB_SHARE_PERCENT,
                   .front = {.host = "127.0.0.1",
                             .port = 8080,
                             .connections_an_address = CONNECTIONS_AN_ADDRESS_MAX,
                             .queue_max = QUEUE_MAX,
                             .metrics_host = "127.0.0.1",
                             .metrics_port = -1}};
    *status = 2;
    if (argc < 2)
        return wrong("say what to do");
    o->command = argv[1];
    if (strcmp(o->command, "--help") == 0 || strcmp(o->command, "help") == 0) {
        usage(stdout);
        *status = 0;
        return false;
    }
    if (strcmp(o->command, "version") == 0 || strcmp(o->command, "--version") == 0) {
        printf("%s\n", SOTTO_VERSION);
        *status = 0;
        return false;
    }
    bool audit = strcmp(o->command, "audit") == 0;
    if (audit && (argc < 3 || strcmp(argv[2], "verify") != 0))
        return wrong("say audit verify");
    for (int i = audit ? 3 : 2; i < argc; i++) {
        if (strcmp(argv[i], "--force") == 0) {
            o->force = true;
        } else if (i + 1 >= argc || !option(o, argv[i], argv[i + 1])) {
            fprintf(stderr, "sotto-relay: \"%s\" is no option, or its value is not one\n", argv[i]);
            usage(stderr);
            return false;
        } else {
            i++;
        }
    }
    o->relay.blob_share = o->relay.blob_quota * o->blob_share_percent / 100;
    if ((o->data == NULL) == (o->db == NULL))
        return wrong("say one of --data and --db");
    if ((o->front.tls_certificate == NULL) != (o->front.tls_key == NULL))
        return wrong("--tls-cert and --tls-key go together");
    if (o->push.contact != NULL && !push_contact_is_good(o->push.contact))
        return wrong("--push-contact must be mailto: or https: with a public host: push services refuse others");
    o->relay.push_allowed = o->push.allowed;
    return true;
}
