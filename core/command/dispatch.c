#include "command/dispatch.h"

#include "base/text.h"
#include "command/arguments.h"
#include "command/command.h"
#include "command/effects_json.h"
#include "command/frame.h"
#include "command/json.h"

#define STORE_PATH_MAX 512

/* ---------------------------------------------------------------- the request */

/* Members that are not `first` or `second` (NULL: only the first). */
static err only_members(const cJSON *object, const char *first, const char *second, fault *why) {
    for (const cJSON *m = object->child; m != NULL; m = m->next)
        if (strcmp(m->string, first) != 0 && (second == NULL || strcmp(m->string, second) != 0))
            return fault_say(why, ERR_MALFORMED, m->string, "the header takes no member ", m->string, NULL);
    return OK;
}

static err read_request(command_call *call, span bytes, fault *why) {
    frame f;
    cJSON *header;
    TRY(frame_read(&f, bytes, why));
    TRY(json_read(call->arena, f.header, &header, why));
    TRY(only_members(header, "command", "args", why));
    const cJSON *name = json_find(header, "command");
    if (!cJSON_IsString(name))
        return fault_say(why, ERR_MALFORMED, "command", "the header must name a command", NULL);
    call->command = command_find(name->valuestring);
    if (call->command == NULL)
        return fault_say(why, ERR_UNSUPPORTED, "command", "there is no command ", name->valuestring, NULL);
    return arguments_read(call->arena, call->command, json_find(header, "args"), &f, &call->arguments, why);
}

err command_read_open(arena *a, span bytes, const char **path) {
    fault why = {0};
    frame f;
    cJSON *header;
    TRY(frame_read(&f, bytes, &why));
    if (f.attachment_count > 0)
        return ERR_TRAILING;
    TRY(json_read(a, f.header, &header, &why));
    TRY(only_members(header, "store", NULL, &why));
    const cJSON *store = json_find(header, "store");
    if (!cJSON_IsString(store))
        return ERR_MALFORMED;
    span text = span_text(store->valuestring);
    if (text.n > STORE_PATH_MAX)
        return ERR_TOO_LARGE;
    if (!utf8_valid(text))
        return ERR_UTF8;
    *path = store->valuestring;
    return OK;
}

/* ---------------------------------------------------------------- the reply */

static void reply_begin(json_writer *w) {
    frame_begin(w->out);
    writer_open(w, '{');
}

/* What stands behind result or error; the frame is complete then. */
static void reply_end(json_writer *w, const effects *fx) {
    effects_write_header(w, fx);
    writer_close(w, '}');
    frame_header_end(w->out);
    effects_write_attachments(w->out, fx);
    frame_end(w->out);
}

/* Error classes in replies are the names of err.h in lower case. */
static void put_class(json_writer *w, err e) {
    char word[16];
    const char *name = "HOST";
    size_t i = 0;
    switch (err_class_of(e)) {
#define X(class, number)                                                                                               \
    case ERR_CLASS_##class: name = #class; break;
        ERR_CLASSES(X)
#undef X
    }
    for (; name[i] != '\0' && i < sizeof word - 1; i++)
        word[i] = (char)(name[i] | 0x20);
    word[i] = '\0';
    writer_put_word(w, "class", word);
}

static void put_error(json_writer *w, err e, const fault *why) {
    writer_key(w, "error");
    writer_open(w, '{');
    writer_put_word(w, "code", err_name(e));
    put_class(w, e);
    writer_put_word(w, "message", why->message[0] != '\0' ? why->message : err_text(e));
    if (why->argument != NULL) {
        /* It may be of the caller's making: cut where it gets long. */
        span name = span_text(why->argument);
        writer_put_text(w, "argument", span_of(name.p, name.n < 64 ? name.n : 64));
    }
    writer_close(w, '}');
}

/* ---------------------------------------------------------------- one command */

static err check_need(const command_call *call) {
    account_status status;
    if (call->command->need == NEED_ANY)
        return OK;
    TRY(client_account_status(call->client, &status));
    return status.state == ACCOUNT_OPEN ? OK : ERR_LOCKED;
}

/* Runs the function in its transaction. The whole reply is written once before the commit, so that nothing is done
 * of which there is no memory to tell, and cut back to the result for what the commit may add to the effects. */
static err perform(command_call *call) {
    json_writer *w = call->result;
    err e = client_begin(call->client, call->arena, call->fx);
    if (e == OK) {
        writer_key(w, "result");
        e = call->command->function(call);
    }
    if (e == OK) {
        size_t result_end = w->out->n;
        reply_end(w, call->fx);
        e = w->out->error;
        if (e == OK) {
            buffer_cut(w->out, result_end);
            w->comma = true;
        }
    }
    return client_finish(call->client, e);
}

void command_run(client *c, arena *a, span bytes, buffer *reply) {
    fault why = {0};
    effects fx = {.arena = a, .timer_ms = -1};
    json_writer w = {.out = reply};
    command_call call = {.client = c, .arena = a, .fx = &fx, .result = &w};
    fx.requests_end = &fx.requests;
    fx.events_end = &fx.events;

    reply_begin(&w);
    size_t begin = reply->n;
    err e = reply->error;
    if (e == OK)
        e = read_request(&call, bytes, &why);
    if (err_class_of(e) == ERR_CLASS_HOST || e == ERR_ARENA)
        client_unheard(c, &fx);
    if (e == OK)
        e = check_need(&call);
    if (e == OK)
        e = perform(&call);
    if (e != OK) {
        buffer_cut(reply, begin);
        w.comma = false;
        put_error(&w, e, &why);
    }
    size_t end = reply->n;
    bool told = reply->error == OK;
    reply_end(&w, &fx);
    if (told && reply->error != OK) {
        /* No room for what the commit added. What was done is done, and is told; its requests, which nobody hears of, are made
         * again at the next `tick`. */
        effects later = {.timer_ms = 0};
        client_unheard(c, &later);
        buffer_cut(reply, end);
        w.comma = true;
        reply_end(&w, &later);
    }
}

void command_reply_error(buffer *reply, err e) {
    const fault why = {0};
    const effects again = {.timer_ms = CLIENT_AGAIN_MS};
    json_writer w = {.out = reply};
    reply_begin(&w);
    put_error(&w, e, &why);
    reply_end(&w, &again);
}
