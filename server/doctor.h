/* doctor.h: looks at a database, also while a relay serves it, and changes nothing. */
#ifndef SERVER_DOCTOR_H
#define SERVER_DOCTOR_H

#include "db.h"

/* Prints one JSON object: for each table its number of rows and a digest of its contents. */
MUST_USE err doctor_run(db *d);

#endif
