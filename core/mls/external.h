/* external.h: what those who are no members send (RFC 9420 §8.3, §12.1.8, §12.4.3.2). group_join_external and
 * external_propose* of group.h are in external.c. */
#ifndef MLS_EXTERNAL_H
#define MLS_EXTERNAL_H

#include "mls/group_state.h"

/* §8.3: the init secret that an ExternalInit's kem_output carries to the members. */
MUST_USE err external_init_open(const suite *s, const secret *external_secret, span kem_output, secret *init);
/* The key that a message of no member is verified with: an external sender's, or that of the leaf that its sender brings,
 * which `leaf` then is. ERR_SENDER: such a sender may not send that. */
MUST_USE err external_sender_key(const group_context *context, const framed_content *content, arena *a, span *key,
                                 const leaf_node **leaf);

#endif
