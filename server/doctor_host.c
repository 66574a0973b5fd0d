/* doctor_host.c: what of the machine a relay stands on: its folder, its disk, its clock, its certificate. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include "doctor.h"
#include "http_tls.h"

/* Below the first the log of writes, 64 MiB at most, and a blob may not fit any more; below the second it is time to look. */
#define DISK_FAULT_MIB 256
#define DISK_WARNING_MIB 2048
/* Certificates of 90 days are renewed with 30 left: with 14 something has failed twice. */
#define CERTIFICATE_WARNING_S (14ll * 24 * 3600)

static void check_folder(const char *data, doctor_report *report) {
    static const char *const FILES[] = {"", "/relay.db", "/relay.db-wal"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[PATH_MAX];
        struct stat s;
        if (snprintf(path, sizeof path, "%s%s", data, FILES[i]) >= (int)sizeof path || stat(path, &s) != 0) {
            if (i == 0)
                doctor_says(report, "permissions", DOCTOR_FAULT, "the data directory can't be looked at: %s",
                            strerror(errno));
            if (i == 0)
                return;
            continue;
        }
        if ((s.st_mode & 077) != 0) {
            doctor_says(report, "permissions", DOCTOR_FAULT, "%s is open to other users: chmod go= it",
                        i == 0 ? "the data directory" : FILES[i] + 1);
            return;
        }
        if (s.st_uid != geteuid() && geteuid() != 0) {
            doctor_says(report, "permissions", DOCTOR_FAULT, "%s belongs to another user than this one",
                        i == 0 ? "the data directory" : FILES[i] + 1);
            return;
        }
    }
    doctor_says(report, "permissions", DOCTOR_OK, "the data directory is its user's alone");
}

static void check_disk(const char *data, doctor_report *report) {
    struct statvfs s;
    if (statvfs(data, &s) != 0) {
        doctor_says(report, "disk", DOCTOR_FAULT, "it can't be looked at: %s", strerror(errno));
        return;
    }
    unsigned long long free_mib = (unsigned long long)s.f_bavail * s.f_frsize / (1024 * 1024);
    if ((s.f_flag & ST_RDONLY) != 0)
        doctor_says(report, "disk", DOCTOR_FAULT, "it is mounted for reading only");
    else if (s.f_files != 0 && s.f_favail == 0)
        doctor_says(report, "disk", DOCTOR_FAULT, "there is no room for another file");
    else
        doctor_says(report, "disk",
                    free_mib < DISK_FAULT_MIB     ? DOCTOR_FAULT
                    : free_mib < DISK_WARNING_MIB ? DOCTOR_WARNING
                                                  : DOCTOR_OK,
                    "%llu MiB are free", free_mib);
}

/* Devices sign with the time; a relay whose clock is off refuses them all. */
static void check_clock(int64_t now_ms, doctor_report *report) {
    struct timex t = {0};
    if (now_ms < 1750000000000ll)
        doctor_says(report, "clock", DOCTOR_FAULT, "it says a time before this program was written");
    else if (adjtimex(&t) == TIME_ERROR)
        doctor_says(report, "clock", DOCTOR_WARNING,
                    "the kernel does not know it to be synchronised: does NTP run here?");
    else
        doctor_says(report, "clock", DOCTOR_OK, "it is synchronised");
}

static void check_tls(const char *certificate, const char *key, int64_t now_ms, doctor_report *report) {
    tls_identity *t = NULL;
    if (tls_open(certificate, key, &t) != OK) {
        doctor_says(report, "tls", DOCTOR_FAULT, "the certificate or its key is not usable by this user");
        return;
    }
    int64_t left = tls_expires(t) - now_ms / 1000;
    tls_close(t);
    if (left <= 0)
        doctor_says(report, "tls", DOCTOR_FAULT, "the certificate has expired");
    else
        doctor_says(report, "tls", left < CERTIFICATE_WARNING_S ? DOCTOR_WARNING : DOCTOR_OK,
                    "the certificate fits its key and is good for %lld days", (long long)(left / 86400));
}

void doctor_look_at_host(const char *data, const char *certificate, const char *key, int64_t now_ms,
                         doctor_report *report) {
    if (data != NULL) {
        check_folder(data, report);
        check_disk(data, report);
    }
    check_clock(now_ms, report);
    if (certificate != NULL)
        check_tls(certificate, key, now_ms, report);
}
