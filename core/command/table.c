#include "command/command.h"

/* A list of params is P(…) and Q(…) in parentheses; what each type does with its two last values: */
#define UNPACK(...) __VA_ARGS__
#define P(name, type, a, b) TYPE_##type(name, true, a, b)
#define Q(name, type, a, b) TYPE_##type(name, false, a, b)
#define PARAM(name, type, required, min, max)                                                                          \
    { name, type, required, min, max, NULL }
#define TYPE_TEXT(name, required, min, max) PARAM(name, PARAM_TEXT, required, min, max)
#define TYPE_SECRET_TEXT(name, required, min, max) PARAM(name, PARAM_SECRET_TEXT, required, min, max)
#define TYPE_INT(name, required, min, max) PARAM(name, PARAM_INT, required, min, max)
#define TYPE_BOOL(name, required, none, none2) PARAM(name, PARAM_BOOL, required, none, none2)
#define TYPE_ID16(name, required, none, none2) PARAM(name, PARAM_ID16, required, none, none2)
#define TYPE_ID32(name, required, none, none2) PARAM(name, PARAM_ID32, required, none, none2)
#define TYPE_NUMBER_TEXT(name, required, min, none) PARAM(name, PARAM_NUMBER_TEXT, required, min, INT64_MAX)
#define TYPE_WORD(name, required, words, none)                                                                         \
    { name, PARAM_WORD, required, 0, 0, words }
#define TYPE_BYTES(name, required, none, none2) PARAM(name, PARAM_BYTES, required, none, none2)

/* A first entry that is not used, because C11 knows no empty arrays. */
#define PARAMS(list)                                                                                                   \
    (const command_param[]) { {0}, UNPACK list }

static const command commands[] = {
#define COMMAND(name, function, need, params, result, doc)                                                             \
    {name, function, NEED_##need, PARAMS(params) + 1, sizeof PARAMS(params) / sizeof(command_param) - 1, result, doc},
#include "command/commands.def"
#undef COMMAND
};

const command *command_table(size_t *count) {
    *count = sizeof commands / sizeof *commands;
    return commands;
}

const command *command_find(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

const char *param_type_name(param_type type) {
    static const char *const names[] = {
        [PARAM_TEXT] = "TEXT",   [PARAM_SECRET_TEXT] = "SECRET_TEXT",
        [PARAM_INT] = "INT",     [PARAM_BOOL] = "BOOL",
        [PARAM_ID16] = "ID16",   [PARAM_ID32] = "ID32",
        [PARAM_WORD] = "WORD",   [PARAM_NUMBER_TEXT] = "NUMBER_TEXT",
        [PARAM_BYTES] = "BYTES",
    };
    return names[type];
}
