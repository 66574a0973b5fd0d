/* commit.h: making and processing Commits (RFC 9420 §12.4.1, §12.4.2). group_stage_commit, group_merge_commit and
 * group_drop_commit of group.h are in commit.c too. */
#ifndef MLS_COMMIT_H
#define MLS_COMMIT_H

#include "mls/group_state.h"

/* Another member's Commit, whose signature (and MAC, if public) was verified: everything else is checked here. The
 * group is left as it is. */
MUST_USE err commit_process(group *g, const framed_content *content, const framed_tbs *tbs,
                            const framed_content_auth *auth, arena *a, staged_commit **out);

#endif
