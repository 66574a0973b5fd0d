/* command.h: the table of commands as data (commands.def), and what a command's function gets.
 *
 * A function reads its arguments by the names of the table (arguments.h), calls the client, and writes its result as
 * one JSON value. It owns nothing: all it takes comes from the command's arena. When it fails, what it wrote is
 * dropped. */
#ifndef COMMAND_COMMAND_H
#define COMMAND_COMMAND_H

#include "client/client.h"
#include "command/json_writer.h"

#define SOTTO_VERSION "0.1.0" /* as in package.json; glue/generate.mjs compares */

typedef enum param_type {
    PARAM_TEXT,        /* min..max bytes of UTF-8 without NUL */
    PARAM_SECRET_TEXT, /* the same; stands nowhere but in the command's arena, which is wiped */
    PARAM_INT,         /* a JSON number, min..max */
    PARAM_BOOL,
    PARAM_ID16, /* base64url of 16 bytes */
    PARAM_ID32,
    PARAM_NUMBER_TEXT, /* an integer in decimal, as a string; min..2^63-1 */
    PARAM_WORD,        /* one of `words` */
    PARAM_BYTES        /* the index of an attachment */
} param_type;

typedef struct command_param {
    const char *name;
    param_type type;
    bool required;
    int64_t min, max;
    const char *words; /* PARAM_WORD: "this|that" */
} command_param;

typedef struct command_call command_call;
typedef err command_function(const command_call *call);

typedef enum command_need { NEED_ANY, NEED_OPEN } command_need;

typedef struct command {
    const char *name;
    command_function *function;
    command_need need;
    const command_param *params;
    size_t param_count;
    const char *result, *doc; /* for the manifest */
} command;

/* The table, in the order of commands.def. */
const command *command_table(size_t *count);
/* NULL when there is none of that name. */
const command *command_find(const char *name);
/* "TEXT", "SECRET_TEXT", … */
const char *param_type_name(param_type type);

/* One argument, checked and converted. Which member holds it follows from the type. */
typedef struct argument {
    bool given;
    bool flag;      /* BOOL */
    int64_t number; /* INT, NUMBER_TEXT */
    span bytes;     /* TEXT, SECRET_TEXT, WORD: the text; ID: the bytes; BYTES: the attachment */
} argument;

struct command_call {
    const command *command;
    const argument *arguments; /* one for each of the command's params */
    client *client;
    arena *arena;
    effects *fx;
    json_writer *result;
};

/* Every function of the table. */
#define COMMAND(name, function, need, params, result, doc) MUST_USE err function(const command_call *call);
#include "command/commands.def"
#undef COMMAND

#endif
