/* problem.h: RFC 9457 answers. The names and statuses are PROTOCOL.md's table. */
#ifndef SERVER_PROBLEM_H
#define SERVER_PROBLEM_H

#include "request.h"

#define PROBLEMS(X)                                                                                                    \
    X(MALFORMED, "malformed", 400, "The request is not in its form")                                                   \
    X(UNSIGNED, "unsigned", 401, "The request is not signed")                                                          \
    X(BAD_SIGNATURE, "bad-signature", 401, "The signature does not verify")                                            \
    X(CLOCK_SKEW, "clock-skew", 401, "The time of the signature is too far from the relay's")                          \
    X(REPLAYED, "replayed", 401, "This signed request was received before")                                            \
    X(UNKNOWN_DEVICE, "unknown-device", 401, "This key is not enrolled here")                                          \
    X(STEP_UP, "step-up", 401, "A live session is needed")                                                             \
    X(REVOKED, "revoked", 403, "This device was revoked")                                                              \
    X(FORBIDDEN, "forbidden", 403, "Not allowed")                                                                      \
    X(BAD_CERTIFICATE, "bad-certificate", 403, "The certificate chain is not valid for this clinic")                   \
    X(WRONG_CHECK, "wrong-check", 403, "The identity check failed")                                                    \
    X(BAD_ASSERTION, "bad-assertion", 403, "The authenticator's answer is not valid here")                             \
    X(INVITATION_LOCKED, "invitation-locked", 403, "Too many wrong identity checks: a new link is needed")             \
    X(INVITATION_USED, "invitation-used", 410, "The invitation was used already")                                      \
    X(INVITATION_GONE, "invitation-gone", 410, "The invitation has expired or was withdrawn")                          \
    X(NOT_FOUND, "not-found", 404, "There is no such thing")                                                           \
    X(WRONG_EPOCH, "wrong-epoch", 409, "The group is at another epoch")                                                \
    X(ID_REUSED, "id-reused", 409, "This id was used for other content")                                               \
    X(OLD_ROSTER, "old-roster", 409, "A newer roster stands")                                                          \
    X(DELIVERED, "delivered", 409, "It was delivered")                                                                 \
    X(WRONG_OFFSET, "wrong-offset", 409, "The upload stands at another offset")                                        \
    X(OVER_QUOTA, "over-quota", 413, "The clinic's quota is used up")                                                  \
    X(BAD_RANGE, "bad-range", 416, "There are no such bytes")                                                          \
    X(TOO_LARGE, "too-large", 413, "Larger than the limit")                                                            \
    X(TOO_MANY, "too-many", 429, "Too many requests")                                                                  \
    X(UNAVAILABLE, "unavailable", 503, "The relay cannot store this now")

typedef enum problem_kind {
#define X(name, word, status, title) PROBLEM_##name,
    PROBLEMS(X)
#undef X
} problem_kind;

/* Its name in PROTOCOL.md. */
const char *problem_name(problem_kind kind);
/* Replaces whatever the response held. `extra` names one more member, or is NULL. `detail` is plain text of ours. */
void problem_write(response *rs, problem_kind kind, const char *detail, const char *extra, int64_t value);
/* The same with a member that is a list of plain words. */
void problem_write_words(response *rs, problem_kind kind, const char *detail, const char *name,
                         const char *const *words, size_t n);

#endif
