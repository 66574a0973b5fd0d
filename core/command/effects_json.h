/* effects_json.h: what a command asks of its host, as members of the reply: http, events, timer. */
#ifndef COMMAND_EFFECTS_JSON_H
#define COMMAND_EFFECTS_JSON_H

#include "client/client.h"
#include "command/json_writer.h"

/* Members of the header; each is left out when there is nothing in it. Bodies are named by index. */
void effects_write_header(json_writer *w, const effects *fx);
/* The bodies, in the order of their indices. */
void effects_write_attachments(buffer *b, const effects *fx);

#endif
