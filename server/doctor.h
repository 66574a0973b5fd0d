/* doctor.h: is all well with a relay's database and the machine it is on? Looks, also while a relay serves it, and changes nothing. */
#ifndef SERVER_DOCTOR_H
#define SERVER_DOCTOR_H

#include "base/text.h"
#include "db.h"

typedef enum doctor_verdict { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAULT } doctor_verdict;

typedef struct doctor_report {
    char verdicts[1024]; /* "name":"ok",… of what was looked at so far */
    size_t size, faults;
} doctor_report;

/* One line on stderr, for people; the verdict alone goes into the JSON, which stays the same as long as nothing changes. */
__attribute__((format(printf, 4, 5))) void doctor_says(doctor_report *report, const char *check, doctor_verdict verdict,
                                                       const char *words, ...);

/* Is the database as the relay left it? Prints one JSON object on stdout: the verdicts, and for each table its number of rows and
 * a digest of its contents. */
MUST_USE err doctor_run(db *d, bool postgres, int64_t now_ms, doctor_report *report);
/* The same object when there is no database to look at. */
void doctor_print_verdicts(const doctor_report *report);

/* The machine: who may read the data directory, room on its disk, the clock, and the TLS files where they are given (else NULL). */
void doctor_look_at_host(const char *data, const char *certificate, const char *key, int64_t now_ms,
                         doctor_report *report);

#endif
