/* verify.h: the signatures of a batch, checked side by side: that is most of what a message costs. */
#ifndef SERVER_VERIFY_H
#define SERVER_VERIFY_H

#include "base/err.h"
#include "signature_check.h"

typedef struct verification {
    const request *rq;
    signed_head *head;
    const uint8_t *key;
    bool good;
    const char *fault; /* when it is not */
} verification;

typedef struct verifiers verifiers;

/* Threads beside the caller's, at most VERIFIERS_MAX; fewer where the system gives no more. ERR_NO_MEMORY. */
MUST_USE err verifiers_open(size_t threads, verifiers **out);
void verifiers_close(verifiers *v);
/* Returns when all are checked. */
void verify_all(verifiers *v, verification *list, size_t n);

#endif
