#include "command/arguments.h"
#include "command/views_json.h"

err command_http_reply(const command_call *call) {
    TRY(client_http_reply(call->client, call->fx, (uint64_t)argument_number(call, "id", 0),
                          (int)argument_number(call, "status", 0), argument_number(call, "retry_after_s", -1),
                          argument_bytes(call, "body")));
    write_nothing(call->result);
    return OK;
}

err command_tick(const command_call *call) {
    TRY(client_tick(call->client, call->fx));
    write_nothing(call->result);
    return OK;
}

err command_network(const command_call *call) {
    TRY(client_network(call->client, call->fx, argument_of(call, "online")->flag));
    write_nothing(call->result);
    return OK;
}
