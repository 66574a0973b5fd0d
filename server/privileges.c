#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "log.h"

err account_find(const char *name, account *out) {
    const struct passwd *p = getpwnam(name);
    if (p == NULL) {
        log_line(LOG_ERROR, "event=start message=\"there is no such user as --user says\"");
        return ERR_NOT_FOUND;
    }
    *out = (account){.user = p->pw_uid, .group = p->pw_gid, .name = name};
    if (geteuid() == 0 || geteuid() == p->pw_uid)
        return OK;
    log_line(LOG_ERROR, "event=start message=\"only root can become another user\"");
    return ERR_HOST;
}

err account_owns(const account *a, const char *path) {
    return geteuid() != 0 || chown(path, a->user, a->group) == 0 ? OK : ERR_HOST;
}

err account_become(const account *a) {
    bool root = geteuid() == 0;
    /* Of root, setgid and setuid change the saved ids too. */
    bool done = !root || (initgroups(a->name, a->group) == 0 && setgid(a->group) == 0 && setuid(a->user) == 0);
    /* No program of ours is set-user-id, and none may become so. */
    done = done && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    if (done && a->user != 0 && setuid(0) != 0)
        return OK;
    log_line(LOG_ERROR, "event=start message=\"can't give up root: %s\"",
             done ? "it could be taken back" : strerror(errno));
    return ERR_HOST;
}
