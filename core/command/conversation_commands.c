#include "command/arguments.h"
#include "command/views_json.h"

#define MESSAGES_DEFAULT 50

static int64_t conversation_of(const command_call *call) { return argument_number(call, "conversation", 0); }

err command_conversation_list(const command_call *call) {
    conversation_view *list;
    size_t count;
    TRY(client_conversations(call->client, call->arena, &list, &count));
    writer_open(call->result, '[');
    for (size_t i = 0; i < count; i++)
        write_conversation(call->result, &list[i]);
    writer_close(call->result, ']');
    return OK;
}

err command_conversation_get(const command_call *call) {
    conversation_view view;
    TRY(client_conversation(call->client, call->arena, conversation_of(call), &view));
    write_conversation(call->result, &view);
    return OK;
}

err command_conversation_read(const command_call *call) {
    TRY(client_conversation_read(call->client, call->fx, conversation_of(call), argument_number(call, "order", 0)));
    write_nothing(call->result);
    return OK;
}

err command_message_list(const command_call *call) {
    message_view *list;
    size_t count;
    TRY(client_messages(call->client, call->arena, conversation_of(call), argument_number(call, "before", 0),
                        (size_t)argument_number(call, "limit", MESSAGES_DEFAULT), &list, &count));
    writer_open(call->result, '[');
    for (size_t i = 0; i < count; i++)
        write_message(call->result, &list[i]);
    writer_close(call->result, ']');
    return OK;
}

err command_message_get(const command_call *call) {
    message_view view;
    TRY(client_message(call->client, call->arena, argument_bytes(call, "message"), &view));
    write_message(call->result, &view);
    return OK;
}

err command_message_send(const command_call *call) {
    uint8_t id[MESSAGE_ID_SIZE];
    TRY(client_message_send(call->client, call->fx, conversation_of(call), argument_bytes(call, "text"), id));
    writer_open(call->result, '{');
    writer_put_base64url(call->result, "message", SPAN(id));
    writer_close(call->result, '}');
    return OK;
}

err command_message_retry(const command_call *call) {
    TRY(client_message_retry(call->client, call->fx, argument_bytes(call, "message")));
    write_nothing(call->result);
    return OK;
}

err command_notice_list(const command_call *call) {
    notice_view *list;
    size_t count;
    TRY(client_notices(call->client, call->arena, &list, &count));
    writer_open(call->result, '[');
    for (size_t i = 0; i < count; i++)
        write_notice(call->result, &list[i]);
    writer_close(call->result, ']');
    return OK;
}
