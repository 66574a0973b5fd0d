/* fault.h: what is wrong with a frame or an argument, in words that name it. */
#ifndef COMMAND_FAULT_H
#define COMMAND_FAULT_H

#include "base/err.h"

#define FAULT_MESSAGE_SIZE 256

typedef struct fault {
    const char *argument;             /* the argument at fault, or NULL; lives as long as the command's arena */
    char message[FAULT_MESSAGE_SIZE]; /* empty: err_text says it */
} fault;

/* Joins the words that follow, up to a NULL, into the message (what is too much is cut off) and returns `e`. */
MUST_USE __attribute__((sentinel)) err fault_say(fault *f, err e, const char *argument, ...);

#endif
