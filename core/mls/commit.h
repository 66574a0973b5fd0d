/* commit.h: making and processing Commits (RFC 9420 §12.4.1, §12.4.2, §12.4.3.2). group_stage_commit, group_merge_commit and
 * group_drop_commit of group.h are in commit.c too. */
#ifndef MLS_COMMIT_H
#define MLS_COMMIT_H

#include "mls/group_state.h"

/* Another's Commit, a member's or an external joiner's, whose signature (and MAC, if public) was verified: everything else is checked here. The
 * group is left as it is. */
MUST_USE err commit_process(group *g, const framed_content *content, const framed_tbs *tbs,
                            const framed_content_auth *auth, arena *a, staged_commit **out);

/* An external joiner's Commit onto the epoch that `g` has from a GroupInfo, whose init secret is the one that kem_output
 * carries; `commit`: an MLSMessage. Then the new epoch becomes the group's first. */
MUST_USE err commit_external(group *g, const commit_params *params, span kem_output, arena *a, span *commit);

#endif
