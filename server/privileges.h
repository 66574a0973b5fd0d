/* privileges.h: be another user than root for good. */
#ifndef SERVER_PRIVILEGES_H
#define SERVER_PRIVILEGES_H

#include <sys/types.h>

#include "base/err.h"

typedef struct account {
    uid_t user;
    gid_t group;
    const char *name;
} account;

/* Logs what is wrong: ERR_NOT_FOUND, or ERR_HOST when we are not root (and not that user already). */
MUST_USE err account_find(const char *name, account *out);
/* Gives a file or folder to it. */
MUST_USE err account_owns(const account *a, const char *path);
/* User, group and supplementary groups; checks that there is no way back. ERR_HOST. */
MUST_USE err account_become(const account *a);

#endif
