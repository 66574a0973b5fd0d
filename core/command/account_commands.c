#include "command/arguments.h"
#include "command/views_json.h"

static const char *account_state_name(account_state state) {
    switch (state) {
    case ACCOUNT_NONE: return "none";
    case ACCOUNT_LOCKED: return "locked";
    case ACCOUNT_OPEN: return "open";
    case ACCOUNT_DAMAGED: return "damaged";
    }
    return NULL;
}

err command_account_status(const command_call *call) {
    json_writer *w = call->result;
    account_status status;
    TRY(client_account_status(call->client, &status));
    writer_open(w, '{');
    writer_put_word(w, "state", account_state_name(status.state));
    writer_put_bool(w, "kept", status.kept);
    writer_put_bool(w, "invited", status.invited);
    writer_put_number(w, "wrong_pins", status.wrong_pins);
    writer_put_number(w, "wait_ms", status.wait_ms);
    writer_close(w, '}');
    return OK;
}

err command_account_create(const command_call *call) {
    TRY(client_account_create(call->client, call->fx, argument_bytes(call, "pin")));
    return write_me(call);
}

err command_account_unlock(const command_call *call) {
    TRY(client_account_unlock(call->client, call->fx, argument_bytes(call, "pin")));
    return write_me(call);
}

err command_account_lock(const command_call *call) {
    client_account_lock(call->client);
    write_nothing(call->result);
    return OK;
}

err command_account_change_pin(const command_call *call) {
    TRY(client_account_change_pin(call->client, argument_bytes(call, "old"), argument_bytes(call, "new")));
    write_nothing(call->result);
    return OK;
}

err command_me(const command_call *call) { return write_me(call); }

err command_clinic_create(const command_call *call) {
    TRY(client_clinic_create(call->client, call->fx, argument_bytes(call, "relay"), argument_bytes(call, "clinic_name"),
                             argument_bytes(call, "name"), kind_of(argument_bytes(call, "kind")),
                             argument_bytes(call, "pin")));
    return write_me(call);
}
