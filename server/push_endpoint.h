/* push_endpoint.h: which address of a push service is taken from a device (RFC 8030 §5), and which address of the network the
 * relay goes to for it. Devices choose endpoints, so they could point the relay at what only it can reach. */
#ifndef SERVER_PUSH_ENDPOINT_H
#define SERVER_PUSH_ENDPOINT_H

#include <sys/socket.h>

#include "base/err.h"
#include "base/span.h"

/* An operator's own push service: "HOST" or "HOST:PORT", taken as it stands in the URL and wherever it resolves to; NULL: none. */
typedef struct push_allowed {
    const char *authority;
} push_allowed;

/* NULL: it is good. Else what is wrong, as a static text without a part of it. *origin_size: how much of it is the origin
 * (RFC 6454), which is VAPID's audience. *local: its authority is the allowed one. */
const char *push_endpoint_fault(span endpoint, const push_allowed *allowed, size_t *origin_size, bool *local);

/* Is it an address of the public internet: not of this machine, of a private or link-local network, multicast, or reserved. */
bool push_address_is_public(const struct sockaddr *address);

#endif
