/* sandbox.h: from here on this process asks the kernel for what a relay needs and nothing else (seccomp). */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H

#include "base/err.h"

typedef enum sandbox_wish {
    SANDBOX_WHERE_AVAILABLE, /* where the kernel has none, say so and go on */
    SANDBOX_ON,              /* or don't serve */
    SANDBOX_OFF
} sandbox_wish;

/* For this thread and those it starts, for good; to be called before there are others. What the relay has no use for fails with
 * EPERM; what only somebody who has taken it over would ask for (another program, another process, another namespace, the
 * kernel's own matters) ends the process with SIGSYS. ERR_HOST: it is wished for, and the kernel takes no filter. */
MUST_USE err sandbox_enter(sandbox_wish wish);

#endif
