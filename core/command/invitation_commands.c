#include "command/arguments.h"
#include "command/views_json.h"

#define DAYS_DEFAULT 7

err command_invitation_open(const command_call *call) {
    TRY(client_invitation_open(call->client, call->fx, argument_bytes(call, "relay"),
                               argument_bytes(call, "fragment")));
    write_nothing(call->result);
    return OK;
}

err command_invitation_view(const command_call *call) {
    json_writer *w = call->result;
    invitation_view view;
    TRY(client_invitation_view(call->client, call->arena, &view));
    writer_open(w, '{');
    writer_put_bool(w, "opened", view.opened);
    writer_put_text(w, "clinic_name", view.clinic_name);
    writer_put_text(w, "inviter", view.inviter);
    writer_put_text(w, "greeting", view.greeting);
    writer_put_text(w, "name", view.name);
    writer_put_word(w, "enrols", kind_name(view.enrols));
    writer_put_word(w, "check", check_name(view.level));
    put_count(w, "attempts_left", view.attempts_left);
    writer_put_word(w, "failure", view.failure);
    writer_put_word(w, "failure_text", view.failure_text);
    writer_close(w, '}');
    return OK;
}

err command_invitation_accept(const command_call *call) {
    TRY(client_invitation_accept(call->client, call->fx, argument_bytes(call, "factor"), argument_bytes(call, "name")));
    write_nothing(call->result);
    return OK;
}

err command_invitation_create(const command_call *call) {
    json_writer *w = call->result;
    issued_invitation issued;
    TRY(client_invitation_create(call->client, call->fx, kind_of(argument_bytes(call, "enrols")),
                                 argument_bytes(call, "name"), check_of(argument_bytes(call, "check")),
                                 argument_bytes(call, "factor"), (uint32_t)argument_number(call, "days", DAYS_DEFAULT),
                                 argument_bytes(call, "subject"), call->arena, &issued));
    writer_open(w, '{');
    writer_put_base64url(w, "invitation", SPAN(issued.id));
    writer_put_base64url(w, "subject", SPAN(issued.subject_id));
    writer_put_text(w, "link", issued.link);
    writer_key(w, "code");
    if (issued.code.n > 0)
        writer_text(w, issued.code);
    else
        writer_null(w);
    writer_put_number(w, "expires_ms", issued.expires_ms);
    writer_close(w, '}');
    return OK;
}

err command_invitation_list(const command_call *call) {
    issued_invitation *list;
    size_t count;
    TRY(client_invitations(call->client, call->arena, &list, &count));
    writer_open(call->result, '[');
    for (size_t i = 0; i < count; i++)
        write_invitation(call->result, &list[i]);
    writer_close(call->result, ']');
    return OK;
}

err command_invitation_withdraw(const command_call *call) {
    TRY(client_invitation_withdraw(call->client, call->fx, argument_bytes(call, "invitation")));
    write_nothing(call->result);
    return OK;
}
