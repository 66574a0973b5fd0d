/* restored.h: what has to happen to a database that was put back from an older copy, before it is served. */
#ifndef SERVER_RESTORED_H
#define SERVER_RESTORED_H

#include "db.h"

/* In one transaction, for each clinic: numbers go on above all that may have been given since the copy was made, the audit log says
 * that it was restored, and key packages in stock, which may have been claimed since, are not given any more. Nobody serves it meanwhile.
 * Called for a database that was not restored it does no harm. */
MUST_USE err database_restored(db *d, int64_t now_ms);

#endif
