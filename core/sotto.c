#include "sotto.h"

#include <stdlib.h>

#include "base/secret.h"
#include "client/client.h"
#include "command/dispatch.h"

struct sotto {
    client *client;
    arena memory; /* of the command that runs */
    buffer reply;
    buffer last_resort; /* over the bytes below: says that there is no memory for a reply, which needs none */
    uint8_t last_resort_bytes[REPLY_MIN];
};

uint32_t sotto_abi(void) { return SOTTO_ABI; }

sotto *sotto_open(const uint8_t *frame, size_t size) {
    const char *path;
    sotto *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    buffer_over(&s->last_resort, s->last_resort_bytes, sizeof s->last_resort_bytes);
    if (arena_init(&s->memory, COMMAND_MEMORY) != OK)
        goto refused;
    if (buffer_init(&s->reply, REPLY_MIN, REPLY_MAX) != OK)
        goto refused;
    if (command_read_open(&s->memory, span_of(frame, size), &path) != OK)
        goto refused;
    if (client_new(path, &s->client) != OK)
        goto refused;
    arena_reset(&s->memory);
    return s;

refused:
    sotto_close(s);
    return NULL;
}

const uint8_t *sotto_call(sotto *s, const uint8_t *frame, size_t size) {
    buffer_reset(&s->reply, REPLY_KEEP);
    command_run(s->client, &s->memory, span_of(frame, size), &s->reply);
    arena_reset(&s->memory);
    if (s->reply.error == OK)
        return s->reply.p;
    buffer_reset(&s->last_resort, 0);
    command_reply_error(&s->last_resort, s->reply.error);
    return s->last_resort.p;
}

uint8_t *sotto_alloc(size_t size) { return malloc(size > 0 ? size : 1); }

void sotto_free(uint8_t *memory, size_t size) {
    if (memory == NULL)
        return;
    wipe(memory, size);
    free(memory);
}

void sotto_close(sotto *s) {
    if (s == NULL)
        return;
    if (s->client != NULL)
        client_free(s->client);
    if (s->memory.base != NULL)
        arena_free(&s->memory);
    buffer_free(&s->reply);
    free(s);
}
