/* views_json.h: the client's views as JSON, in the shapes that README.md declares. Each writes one value. */
#ifndef COMMAND_VIEWS_JSON_H
#define COMMAND_VIEWS_JSON_H

#include "command/command.h"

/* 'staff' | 'agent' | 'patient'; NULL for what is none of them. */
const char *kind_name(uint8_t kind);
uint8_t kind_of(span name);
/* 'none' | 'birth_date' | 'code' | 'desk' */
const char *check_name(uint8_t level);
uint8_t check_of(span name);

/* Me, of the account that is open now. */
MUST_USE err write_me(const command_call *call);
void write_message(json_writer *w, const message_view *m);
void write_conversation(json_writer *w, const conversation_view *c);
void write_notice(json_writer *w, const notice_view *n);
void write_invitation(json_writer *w, const issued_invitation *i);
/* {} */
void write_nothing(json_writer *w);
/* A number, or null below 0. */
void put_count(json_writer *w, const char *name, int64_t count);

#endif
