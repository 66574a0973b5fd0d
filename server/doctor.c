#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include <sodium/crypto_hash_sha256.h>

#include "audit.h"
#include "schema.h"

#define COLUMNS_MAX 16
#define WORDS_MAX 300
/* Two machines' clocks: NTP keeps them within a tenth of a second; at CLOCK_SKEW_S devices are refused. */
#define CLOCKS_APART_MS 5000

/* ---- what is said */

void doctor_says(doctor_report *report, const char *check, doctor_verdict verdict, const char *words, ...) {
    static const char *const NAMES[] = {"ok", "warning", "fault"};
    char text[WORDS_MAX];
    va_list arguments;
    va_start(arguments, words);
    (void)vsnprintf(text, sizeof text, words, arguments);
    va_end(arguments);
    fprintf(stderr, "%-7s  %s: %s\n", NAMES[verdict], check, text);
    int n = snprintf(report->verdicts + report->size, sizeof report->verdicts - report->size, "%s\"%s\":\"%s\"",
                     report->size > 0 ? "," : "", check, NAMES[verdict]);
    if (n > 0 && (size_t)n < sizeof report->verdicts - report->size)
        report->size += (size_t)n;
    report->faults += verdict == DOCTOR_FAULT;
}

void doctor_print_verdicts(const doctor_report *report) {
    printf("{\"schema\":%d,\"checks\":{%s}}\n", SCHEMA_VERSION, report->verdicts);
}

/* ---- does the database fit together? */

static int64_t number_of(db *d, const char *sql) {
    db_rows r = db_query_values(d, sql, NULL, 0);
    int64_t n = db_next(&r) ? db_integer(&r, 0) : 0;
    db_end(&r);
    return n;
}

/* Each asks, in one statement and so of one moment, for how many rows something does not hold. */
static const struct {
    const char *sql, *says;
} RULES[] = {
    {"SELECT COUNT(*) FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.clinic = d.clinic AND "
     "e.seq = d.seq)",
     "entries of inboxes have no event"},
    {"SELECT COUNT(*) FROM events e LEFT JOIN (SELECT clinic, seq, COUNT(*) AS n FROM deliveries GROUP BY clinic, seq) "
     "d "
     "ON d.clinic = e.clinic AND d.seq = e.seq WHERE e.waiting <> COALESCE(d.n, 0)",
     "events are counted wrongly by those who wait for them"},
    {"SELECT COUNT(*) FROM events e JOIN clinics c ON c.clinic = e.clinic WHERE e.seq > c.seq",
     "events have numbers that were not given out"},
    {"SELECT COUNT(*) FROM devices v WHERE NOT EXISTS (SELECT 1 FROM directory n WHERE n.name = v.device AND "
     "n.clinic = v.clinic)",
     "devices are not in the directory"},
    {"SELECT COUNT(*) FROM blobs b WHERE stored <> (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM blob_pieces p WHERE "
     "p.clinic = b.clinic AND p.blob = b.blob)",
     "attachments have other sizes than their pieces together"},
    {"SELECT COUNT(*) FROM blob_use u WHERE bytes <> (SELECT COALESCE(SUM(size), 0) FROM blobs b WHERE "
     "b.clinic = u.clinic)",
     "clinics' attachments take other room than is counted"},
    {"SELECT COUNT(*) FROM (SELECT 1 AS one FROM (SELECT clinic, device, size AS n FROM blobs UNION ALL "
     "SELECT clinic, device, -bytes AS n FROM blob_shares) AS t GROUP BY clinic, device HAVING SUM(n) <> 0) AS w",
     "devices' attachments take other room than is counted"},
    {"SELECT COUNT(*) FROM clinics c LEFT JOIN clinic_use u ON u.clinic = c.clinic WHERE COALESCE(u.stored, 0) <> "
     "(SELECT COALESCE(SUM(LENGTH(data)), 0) FROM events e WHERE e.clinic = c.clinic) + "
     "(SELECT COALESCE(SUM(LENGTH(data)), 0) FROM scheduled s WHERE s.clinic = c.clinic) + "
     "256 * (SELECT COUNT(*) FROM deliveries d WHERE d.clinic = c.clinic) "
     "OR COALESCE(u.group_count, 0) <> (SELECT COUNT(*) FROM mls_groups g WHERE g.clinic = c.clinic) "
     "OR COALESCE(u.device_count, 0) <> (SELECT COUNT(*) FROM devices v WHERE v.clinic = c.clinic) "
     "OR COALESCE(u.invitation_count, 0) <> (SELECT COUNT(*) FROM invitations i WHERE i.clinic = c.clinic)",
     "clinics take other room than is counted for their quotas"},
    {"SELECT COUNT(*) FROM scheduled s WHERE NOT EXISTS (SELECT 1 FROM sent t WHERE t.clinic = s.clinic AND "
     "t.device = s.device AND t.message_id = s.message_id AND t.seq = 0)",
     "messages that wait for their time are not known as waiting"},
};

static void check_rules(db *d, doctor_report *report) {
    size_t broken = 0;
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES && !db_failed(d); i++) {
        int64_t n = number_of(d, RULES[i].sql);
        if (n == 0)
            continue;
        doctor_says(report, "consistency", DOCTOR_FAULT, "%lld %s", (long long)n, RULES[i].says);
        broken++;
    }
    if (broken == 0 && !db_failed(d))
        doctor_says(report, "consistency", DOCTOR_OK, "inboxes, events and attachments fit together");
}

/* SQLite reads every page; PostgreSQL has its own checksums, and settings that an acknowledged write stands on. */
static void check_storage(db *d, bool postgres, doctor_report *report) {
    static const char *const SETTINGS[] = {
        "SELECT COUNT(*) FROM pg_settings WHERE name = 'fsync' AND setting <> 'on'",
        "SELECT COUNT(*) FROM pg_settings WHERE name = 'full_page_writes' AND setting <> 'on'"};
    if (postgres) {
        bool good = number_of(d, SETTINGS[0]) == 0 && number_of(d, SETTINGS[1]) == 0;
        if (!db_failed(d))
            doctor_says(report, "storage", good ? DOCTOR_OK : DOCTOR_FAULT,
                        good
                            ? "the server flushes what it acknowledges; pg_amcheck checks its pages"
                            : "fsync or full_page_writes is off: what was acknowledged may be lost in a power failure");
        return;
    }
    db_rows r = db_query_values(d, "PRAGMA integrity_check(1)", NULL, 0);
    bool whole = db_next(&r) && span_equal(db_bytes(&r, 0), span_text("ok"));
    db_end(&r);
    if (!db_failed(d))
        doctor_says(report, "storage", whole ? DOCTOR_OK : DOCTOR_FAULT,
                    whole ? "every page of the database is whole"
                          : "the database file is damaged: stop the relay, keep the file, and restore a backup");
}

/* Time that runs backwards makes nonces good again and messages late. */
static void check_time(db *d, bool postgres, int64_t now_ms, doctor_report *report) {
    int64_t newest = number_of(d, "SELECT COALESCE(MAX(signed_at), 0) FROM audit_heads");
    int64_t other = now_ms;
    if (postgres)
        other = number_of(d, "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)");
    if (db_failed(d))
        return;
    if (newest > now_ms + CLOCKS_APART_MS)
        doctor_says(report, "time", DOCTOR_FAULT, "what is stored was written %lld s ahead of this machine's clock",
                    (long long)((newest - now_ms) / 1000));
    else if (other - now_ms > CLOCKS_APART_MS || now_ms - other > CLOCKS_APART_MS)
        doctor_says(report, "time", DOCTOR_FAULT, "the clocks of this machine and of PostgreSQL's differ by %lld s",
                    (long long)((other - now_ms) / 1000));
    else
        doctor_says(report, "time", DOCTOR_OK, "nothing stored is ahead of the clock");
}

/* The end of each clinic's chain and its newest checkpoint; `audit verify` walks all of it. */
static size_t bad_ends(db *d, const uint8_t key[ED25519_PUBLIC_SIZE], size_t *clinics) {
    size_t bad = 0;
    db_rows r =
        db_query_values(d,
                        "SELECT h.clinic, h.number, h.hash, h.signed_number, e.entry, p.hash, p.at, p.signature, "
                        "(SELECT MAX(x.number) FROM audit_entries x WHERE x.clinic = h.clinic) FROM audit_heads h "
                        "LEFT JOIN audit_entries e ON e.clinic = h.clinic AND e.number = h.number "
                        "LEFT JOIN audit_checkpoints p ON p.clinic = h.clinic AND p.number = h.signed_number",
                        NULL, 0);
    for (; db_next(&r); (*clinics)++) {
        uint8_t hash[AUDIT_HASH_SIZE];
        audit_checkpoint p = {.number = (uint64_t)db_integer(&r, 3), .at = (uint64_t)db_integer(&r, 6)};
        span signature = db_bytes(&r, 7), signed_hash = db_bytes(&r, 5);
        bool good = db_integer(&r, 8) == db_integer(&r, 1) && db_integer(&r, 3) <= db_integer(&r, 1);
        audit_hash(db_bytes(&r, 4), hash);
        good = good && span_equal(SPAN(hash), db_bytes(&r, 2));
        if (db_integer(&r, 3) != 0) {
            good = good && signature.n == sizeof p.signature && signed_hash.n == sizeof p.hash;
            if (good) {
                memcpy(p.clinic, db_bytes(&r, 0).p, sizeof p.clinic);
                memcpy(p.hash, signed_hash.p, sizeof p.hash);
                memcpy(p.signature, signature.p, sizeof p.signature);
                good = audit_checkpoint_verify(&p, span_of(key, ED25519_PUBLIC_SIZE)) == OK;
            }
        }
        bad += !good;
    }
    return bad;
}

static void check_audit(db *d, doctor_report *report) {
    uint8_t key[ED25519_PUBLIC_SIZE];
    size_t clinics = 0, bad = 0;
    err e = audit_key_public(d, key);
    if (e == ERR_NOT_FOUND) {
        doctor_says(report, "audit", DOCTOR_OK, "there is no log yet");
        return;
    }
    if (e == OK)
        bad = bad_ends(d, key, &clinics);
    if (db_failed(d))
        return;
    doctor_says(report, "audit", bad == 0 ? DOCTOR_OK : DOCTOR_FAULT,
                bad == 0 ? "the ends of %zu logs are what their checkpoints say"
                         : "of %zu logs some do not end as their checkpoints say: sotto-relay audit verify says how",
                clinics);
}

/* ---- what is in it */

static int columns_of(const char *table) {
    /* The tables are ours: count the columns that their making names. */
    for (size_t i = 0; i < SCHEMA_STEPS; i++) {
        char begin[64];
        int n = snprintf(begin, sizeof begin, "CREATE TABLE %s (", table);
        if (strncmp(SCHEMA[i].sql, begin, (size_t)n) != 0)
            continue;
        int columns = 0;
        for (const char *p = SCHEMA[i].sql + n - 1; p != NULL && *p != 0; p = strchr(p + 1, ','), columns++)
            if (strncmp(p, ", PRIMARY KEY", 13) == 0)
                break;
        return columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
    }
    return 0;
}

static err look_at(db *d, const char *table, const char *query) {
    crypto_hash_sha256_state state;
    uint8_t digest[32];
    char hex[HEX_SIZE(32)];
    int64_t rows = 0;
    int columns = columns_of(table);
    (void)crypto_hash_sha256_init(&state);
    db_rows r = db_query_values(d, query, NULL, 0);
    for (; db_next(&r); rows++) {
        for (int i = 0; i < columns; i++) {
            bool null = db_is_null(&r, i);
            span bytes = db_bytes(&r, i); /* of a number: its digits */
            uint64_t mark[2] = {null, bytes.n};
            (void)crypto_hash_sha256_update(&state, (const uint8_t *)mark, sizeof mark);
            if (bytes.n > 0)
                (void)crypto_hash_sha256_update(&state, bytes.p, bytes.n);
        }
    }
    (void)crypto_hash_sha256_final(&state, digest);
    hex_write(hex, SPAN(digest));
    printf("\"%s\":{\"rows\":%lld,\"sha256\":\"%.*s\"}", table, (long long)rows, (int)sizeof hex, hex);
    return d->error;
}

err doctor_run(db *d, bool postgres, int64_t now_ms, doctor_report *report) {
    err e = db_begin(d);
    if (e == OK) {
        doctor_says(report, "version", DOCTOR_OK, "the database is of version %d, this program's", SCHEMA_VERSION);
        check_storage(d, postgres, report);
        check_rules(d, report);
        check_time(d, postgres, now_ms, report);
        check_audit(d, report);
        e = d->error;
    }
    if (e != OK)
        doctor_says(report, "database", DOCTOR_FAULT, "it could not be read: %s", err_text(e));
    printf("{\"schema\":%d,\"checks\":{%s},\"tables\":{", SCHEMA_VERSION, report->verdicts);
    for (size_t i = 0; SCHEMA_TABLES[i][0] != NULL && e == OK; i++) {
        if (i > 0)
            printf(",");
        e = look_at(d, SCHEMA_TABLES[i][0], SCHEMA_TABLES[i][1]);
    }
    printf("}}\n");
    db_rollback(d);
    return e;
}
