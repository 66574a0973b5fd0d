/* The table as data: what glue/generate.mjs makes the declarations and the reference page of. */
#include "command/command.h"
#include "sotto.h"

static void write_words(json_writer *w, const char *words) {
    writer_key(w, "words");
    writer_open(w, '[');
    for (size_t n; *words != '\0'; words += n + (words[n] == '|')) {
        n = strcspn(words, "|");
        writer_text(w, span_of(words, n));
    }
    writer_close(w, ']');
}

static void write_param(json_writer *w, const command_param *p) {
    writer_open(w, '{');
    writer_put_word(w, "name", p->name);
    writer_put_word(w, "type", param_type_name(p->type));
    writer_put_bool(w, "required", p->required);
    if (p->type == PARAM_TEXT || p->type == PARAM_SECRET_TEXT || p->type == PARAM_INT) {
        writer_put_number(w, "min", p->min);
        writer_put_number(w, "max", p->max);
    } else if (p->type == PARAM_NUMBER_TEXT) {
        writer_put_number(w, "min", p->min);
    } else if (p->type == PARAM_WORD) {
        write_words(w, p->words);
    }
    writer_close(w, '}');
}

static void write_command(json_writer *w, const command *c) {
    writer_open(w, '{');
    writer_put_word(w, "name", c->name);
    writer_put_word(w, "need", c->need == NEED_OPEN ? "OPEN" : "ANY");
    writer_key(w, "params");
    writer_open(w, '[');
    for (size_t i = 0; i < c->param_count; i++)
        write_param(w, &c->params[i]);
    writer_close(w, ']');
    writer_put_word(w, "result", c->result);
    writer_put_word(w, "doc", c->doc);
    writer_close(w, '}');
}

err command_manifest(const command_call *call) {
    json_writer *w = call->result;
    size_t count;
    const command *commands = command_table(&count);
    writer_open(w, '{');
    writer_put_number(w, "abi", SOTTO_ABI);
    writer_put_word(w, "version", SOTTO_VERSION);
    writer_key(w, "commands");
    writer_open(w, '[');
    for (size_t i = 0; i < count; i++)
        write_command(w, &commands[i]);
    writer_close(w, ']');
    writer_close(w, '}');
    return OK;
}
