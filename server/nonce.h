/* nonce.h: which signed requests were taken already. What is stored is one row of a clinic for each batch and each minute in which
 * requests were signed; what is asked is memory, filled from those rows when a clinic is first seen and from what other relays have
 * added since. All of it is within a batch, and under the clinic's lock where there is such a clinic: then nobody adds meanwhile. (A
 * clinic that is being created has none; who adds the same row at the same time fails by its key.)
 *
 * A row's number is one above the last's, and its mark is random: a relay that finds the last row it has seen changed or gone, since
 * the database was set back or the row was too old, reads all of them anew. */
#ifndef SERVER_NONCE_H
#define SERVER_NONCE_H

#include "call.h"

typedef struct nonces nonces;

/* ERR_NO_MEMORY. */
MUST_USE err nonces_open(nonces **out);
void nonces_close(nonces *o);

void nonces_begin(relay *r);
/* Marks those NONCE_NEW that were not taken before, and takes them; the others, and all when the database failed, are NONCE_ASKED. */
void nonces_take(relay *r, call *const *calls, size_t n);
/* Before the commit: what was taken becomes rows. */
void nonces_write(relay *r);
/* After it: what was taken stays, or never was. */
void nonces_end(relay *r, bool stored);

#endif
