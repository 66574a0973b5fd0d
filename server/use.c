#include "use.h"

#include "call.h"

bool use_has_room(const call *c, use_kind kind, int64_t more) {
    int64_t limit = c->relay->options.quota[kind];
    return limit == 0 || c->state->use[kind] + c->state->use_change[kind] + more <= limit;
}

bool use_fits(call *c, use_kind kind, int64_t more) {
    static const char *const OVER[USE_KINDS] = {
        [USE_STORED] = "what the clinic's devices have not fetched would take more bytes than it may",
        [USE_GROUPS] = "the clinic has as many groups as it may",
        [USE_DEVICES] = "the clinic has as many devices as it may",
        [USE_INVITATIONS] = "the clinic has as many invitations as it may"};
    if (use_has_room(c, kind, more))
        return true;
    (void)problem_more(c, PROBLEM_OVER_QUOTA, OVER[kind], "limit", c->relay->options.quota[kind]);
    return false;
}

void use_count(call *c, use_kind kind, int64_t more) { c->state->use_change[kind] += more; }

void use_write(relay *r, batch_clinic *b) {
    bool any = false;
    for (int k = 0; k < USE_KINDS; k++)
        any |= b->use_change[k] != 0;
    if (!any)
        return;
    DB_RUN_LATER(r->db,
                 "INSERT INTO clinic_use (clinic, stored, group_count, device_count, invitation_count) "
                 "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (clinic) DO UPDATE SET "
                 "stored = clinic_use.stored + excluded.stored, "
                 "group_count = clinic_use.group_count + excluded.group_count, "
                 "device_count = clinic_use.device_count + excluded.device_count, "
                 "invitation_count = clinic_use.invitation_count + excluded.invitation_count",
                 db_id(b->clinic), db_i(b->use_change[USE_STORED]), db_i(b->use_change[USE_GROUPS]),
                 db_i(b->use_change[USE_DEVICES]), db_i(b->use_change[USE_INVITATIONS]));
    for (int k = 0; k < USE_KINDS; k++) {
        b->use[k] += b->use_change[k];
        b->use_change[k] = 0;
    }
}
