/* notice.h: what a user must be told in plain words: what somebody tried, what did not work, what to do. One table, so
 * that every shell says the same. */
#ifndef CLIENT_NOTICE_H
#define CLIENT_NOTICE_H

#include "base/err.h"

typedef enum notice_code {
    NOTICE_NONE,
    /* links and enrolment */
    NOTICE_LINK_DAMAGED,
    NOTICE_LINK_UNKNOWN,
    NOTICE_INVITATION_USED,
    NOTICE_INVITATION_LOCKED,
    NOTICE_INVITATION_GONE,
    NOTICE_INVITATION_FORGED,
    NOTICE_WRONG_CHECK,
    NOTICE_REFUSED,
    NOTICE_OFFLINE,
    /* what a dishonest or broken relay did */
    NOTICE_KEYS_FOREIGN,
    NOTICE_ROSTER_FORGED,
    NOTICE_ROSTER_OLD,
    NOTICE_MEMBER_REFUSED,
    NOTICE_CHANGE_REFUSED,
    NOTICE_REPLAYED,
    NOTICE_ORDER,
    NOTICE_ALTERED,
    NOTICE_MISSING,
    NOTICE_LATE,
    NOTICE_CHAIN_BROKEN,
    NOTICE_EPOCH_MISSING,
    NOTICE_TOO_OLD,
    NOTICE_TOO_LATE,
    NOTICE_TOO_FAR_AHEAD,
    NOTICE_SKIPPED,
    NOTICE_GAP,
    NOTICE_WITHDRAWN,
    NOTICE_NEWER_VERSION,
    NOTICE_WELCOME_REFUSED,
    NOTICE_ANSWER_MALFORMED,
    /* something is wrong with the clinic's audit log: for patients, and for the clinic's own people */
    NOTICE_AUDIT_CHANGED,
    NOTICE_AUDIT_FAULT,
    /* one's own account */
    NOTICE_REVOKED,
    NOTICE_REMOVED,
    NOTICE_NOBODY,
    NOTICE_COUNT
} notice_code;

/* "member_refused". Static memory. */
const char *notice_name(notice_code code);
/* Whole sentences at about grade 6. Static memory. */
const char *notice_text(notice_code code);
/* NOTICE_NONE for an unknown name. */
notice_code notice_find(const char *name);

#endif
