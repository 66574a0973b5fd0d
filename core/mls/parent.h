/* parent.h: a group against the one that it re-initialises or was branched from (RFC 9420 §11.2, §11.3). */
#ifndef MLS_PARENT_H
#define MLS_PARENT_H

#include "mls/group_state.h"

/* `context` and `tree`: of the new group's epoch 1; `link`: its PSK of usage reinit or branch. ERR_INVALID where the new
 * group is not what the old one's members agreed to. */
MUST_USE err parent_check(group *parent, const psk_id *link, const group_context *context, const ratchet_tree *tree,
                          arena *a);

#endif
