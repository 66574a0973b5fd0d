/* key_package.h: making leaves and key packages (RFC 9420 §7.2, §10). The public functions are in group.h. */
#ifndef MLS_KEY_PACKAGE_H
#define MLS_KEY_PACKAGE_H

#include "mls/group.h"
#include "mls/validate.h"

/* A leaf as the parameters say, without encryption key, source and signature. Its arrays are in the arena. */
MUST_USE err leaf_node_from_params(const suite *s, const leaf_params *params, arena *a, leaf_node *leaf);
/* Signs a leaf whose fields are set and encodes it. `place`: NULL for LEAF_KEY_PACKAGE. */
MUST_USE err leaf_node_sign(const signature_key *signer, leaf_node *leaf, const leaf_place *place, arena *a,
                            span *encoded);

#endif
