/* psk.h: the PSKs of a commit or a Welcome: which lists are valid, where their values are, and what they add to the key
 * schedule (RFC 9420 §8.4, §12.1.4, §12.4.3.1). */
#ifndef MLS_PSK_H
#define MLS_PSK_H

#include "mls/group_state.h"

/* PSKs in one commit or Welcome. A handful in practice; each is compared with each. */
#define GROUP_PSKS_MAX 256

/* Where values are looked for: in the group's own epochs, in the group that this one comes from, then at the host. Both
 * groups may be NULL. */
typedef struct psk_source {
    const group_host *host;
    group *own, *parent;
} psk_source;

/* Is it a resumption PSK that links a group to the one it comes from (usage reinit or branch)? */
static inline bool psk_is_link(const psk_id *id) {
    return id->type == PSK_RESUMPTION && id->usage != PSK_USAGE_APPLICATION;
}
/* A PSK as it is to be proposed: its id copied, with a fresh nonce where it has none. */
MUST_USE err psk_with_nonce(const suite *s, const psk_id *id, arena *a, psk_id *out);
bool psk_same_id(const psk_id *a, const psk_id *b);
/* Nonces, no PSK twice, at most one link and that only where a group begins. `link` receives it, or NULL; itself NULL
 * where none may be. */
MUST_USE err psk_check_list(const suite *s, const psk_id_list *ids, const psk_id **link);
/* ERR_PSK: not known. The span is in the arena or lives as long as the groups. */
MUST_USE err psk_find(const psk_source *from, const psk_id *id, arena *a, span *value);
/* psk_secret over the list; zeros for an empty one. */
MUST_USE err psk_list_secret(const psk_source *from, const suite *s, const psk_id_list *ids, arena *a, secret *out);

#endif
