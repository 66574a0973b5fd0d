/* arguments.h: checks a command's arguments against the table, before anything is called. */
#ifndef COMMAND_ARGUMENTS_H
#define COMMAND_ARGUMENTS_H

#include "command/command.h"
#include "command/frame.h"
#include "command/json.h"

/* Converts `args` (an object, or NULL for none) into one argument for each of the command's params, in the arena.
 * Whatever the table does not name or allow is ERR_MALFORMED, and `why` names it; so is an attachment that no argument
 * names. */
MUST_USE err arguments_read(arena *a, const command *c, const cJSON *args, const frame *f, const argument **out,
                            fault *why);

/* For the commands' functions: the argument of that name, which the table must have. */
const argument *argument_of(const command_call *call, const char *name);
/* Empty when it was left out. */
span argument_bytes(const command_call *call, const char *name);
int64_t argument_number(const command_call *call, const char *name, int64_t otherwise);
bool argument_is(const command_call *call, const char *name, const char *word);

#endif
