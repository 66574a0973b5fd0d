/* calls_group.c: commits: who is in a group, at what epoch. What is said there is in calls_message.c. */
#include "call.h"

#include "base/text.h"
#include "crypto/sha256.h"
#include "mls/types.h"

bool mls_read(call *c, span bytes, const uint8_t group_id[GROUP_BYTES], const char *what, private_message *out) {
    mls_message m = {0};
    err e = WIRE_DECODE(bytes, c->arena, wire_mls_message, &m);
    if (e == OK && m.wire_format != FORMAT_PRIVATE_MESSAGE)
        (void)problem_text(c, PROBLEM_MALFORMED, "%s must be a PrivateMessage", what);
    else if (e != OK)
        (void)problem_text(c, PROBLEM_MALFORMED, "%s is no MLSMessage: %s", what, err_text(e));
    else if (!span_equal(m.private_message.group_id, span_of(group_id, GROUP_BYTES)))
        (void)problem_text(c, PROBLEM_MALFORMED, "%s is of another group than the path names", what);
    else {
        *out = m.private_message;
        return true;
    }
    return false;
}

group_facts find_group(call *c, const uint8_t group_id[GROUP_BYTES]) {
    group_facts g = {0};
    db_rows r = DB_QUERY(c->db,
                         "SELECT g.epoch, m.active FROM mls_groups g LEFT JOIN members m ON m.clinic = g.clinic "
                         "AND m.group_id = g.group_id AND m.device = $3 WHERE g.clinic = $1 AND g.group_id = $2",
                         db_id(c->clinic), db_b(span_of(group_id, GROUP_BYTES)), db_id(c->device));
    if (db_next(&r)) {
        g = (group_facts){
            .exists = true, .member = !db_is_null(&r, 1) && db_integer(&r, 1) == 1, .epoch = db_integer(&r, 0)};
        db_end(&r);
    }
    return g;
}

bool may_message(call *c) {
    if ((c->rights & RIGHT_MESSAGE) != 0)
        return true;
    (void)problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to take part in conversations");
    return false;
}

/* ---- commits */

typedef struct commit_input {
    uint8_t group_id[GROUP_BYTES], digest[32];
    int64_t epoch;
    span commit, welcome;
    const uint8_t *added, *removed;
    size_t added_count, removed_count;
} commit_input;

static bool commit_read(call *c, commit_input *in) {
    private_message m;
    if (!path_id(c, in->group_id, sizeof in->group_id))
        return false;
    in->epoch = json_integer(&c->json, "epoch", 0, SEQUENCE_MAX - 1);
    in->commit = json_bytes(&c->json, "commit", BODY_MAX);
    in->welcome = json_has(&c->json, "welcome") ? json_bytes(&c->json, "welcome", BODY_MAX) : SPAN_NONE;
    in->added = json_fixed_list(&c->json, "added", ID_SIZE, MEMBERS_A_COMMIT_MAX, &in->added_count);
    in->removed = json_fixed_list(&c->json, "removed", ID_SIZE, MEMBERS_A_COMMIT_MAX, &in->removed_count);
    if (json_faulty(c) || !may_message(c) || !mls_read(c, in->commit, in->group_id, "member \"commit\"", &m))
        return false;
    if (m.content_type != CONTENT_COMMIT)
        (void)problem(c, PROBLEM_MALFORMED, "member \"commit\" is no commit");
    else if (m.epoch != (uint64_t)in->epoch)
        (void)problem(c, PROBLEM_MALFORMED, "member \"commit\" is of another epoch than member \"epoch\" says");
    else if ((in->added_count > 0) != (in->welcome.p != NULL))
        (void)problem(c, PROBLEM_MALFORMED, "members \"added\" and \"welcome\" go together");
    else {
        sha256(in->commit, in->digest);
        return true;
    }
    return false;
}

static bool commit_answer(call *c, int64_t seq, int64_t epoch) {
    text_put(&c->out, "{");
    text_member_integer(&c->out, "seq", seq);
    text_member_integer(&c->out, "epoch", epoch);
    text_put(&c->out, "}");
    return answer(c, 200);
}

/* The sequence number that this very commit got when it was accepted before, or 0. */
static int64_t commit_accepted_before(call *c, const commit_input *in) {
    int64_t seq = 0;
    db_rows r = DB_QUERY(
        c->db,
        "SELECT seq FROM commits WHERE clinic = $1 AND group_id = $2 AND epoch = $3 AND sender = $4 AND digest = $5",
        db_id(c->clinic), db_b(SPAN(in->group_id)), db_i(in->epoch), db_id(c->device), db_b(SPAN(in->digest)));
    if (db_next(&r))
        seq = db_integer(&r, 0);
    db_end(&r);
    return seq;
}

static bool is_enrolled(call *c, const uint8_t device[ID_SIZE]) {
    db_rows r = DB_QUERY(c->db, "SELECT 1 FROM devices WHERE clinic = $1 AND device = $2 AND revoked = 0",
                         db_id(c->clinic), db_id(device));
    bool found = db_next(&r);
    db_end(&r);
    return found;
}

static bool add_member(call *c, const commit_input *in, const uint8_t device[ID_SIZE]) {
    return DB_RUN(
               c->db,
               "INSERT INTO members (clinic, group_id, device, active) VALUES ($1, $2, $3, 1) ON CONFLICT DO NOTHING",
               db_id(c->clinic), db_b(SPAN(in->group_id)), db_id(device)) == 1;
}

/* Makes the membership what it is after the commit. False: a problem is written, or the database failed. */
static bool change_members(call *c, const commit_input *in) {
    for (size_t i = 0; i < in->removed_count; i++) {
        const uint8_t *device = in->removed + i * ID_SIZE;
        if (memcmp(device, c->device, ID_SIZE) == 0) {
            (void)problem_text(c, PROBLEM_MALFORMED, "element %zu of member \"removed\" is the sender", i);
            return false;
        }
        if (DB_RUN(c->db, "DELETE FROM members WHERE clinic = $1 AND group_id = $2 AND device = $3", db_id(c->clinic),
                   db_b(SPAN(in->group_id)), db_id(device)) != 1) {
            (void)problem_text(c, PROBLEM_NOT_FOUND, "element %zu of member \"removed\" is no member of the group", i);
            return false;
        }
    }
    for (size_t i = 0; i < in->added_count; i++) {
        const uint8_t *device = in->added + i * ID_SIZE;
        if (!is_enrolled(c, device)) {
            (void)problem_text(c, PROBLEM_NOT_FOUND,
                               "element %zu of member \"added\" is no device of the clinic, or was revoked", i);
            return false;
        }
        if (!add_member(c, in, device)) {
            (void)problem_text(c, PROBLEM_MALFORMED, "element %zu of member \"added\" is a member already", i);
            return false;
        }
    }
    db_rows r = DB_QUERY(c->db, "SELECT COUNT(*) FROM members WHERE clinic = $1 AND group_id = $2", db_id(c->clinic),
                         db_b(SPAN(in->group_id)));
    bool fits = db_next(&r) && db_integer(&r, 0) <= MEMBERS_MAX;
    db_end(&r);
    if (!fits)
        (void)problem_more(c, PROBLEM_TOO_LARGE, "the group would have too many members", "limit", MEMBERS_MAX);
    return fits && !db_failed(c->db);
}

bool call_commit(call *c) {
    commit_input in = {0};
    if (!commit_read(c, &in))
        return true;
    db_value clinic = db_id(c->clinic), id = db_b(SPAN(in.group_id));
    int64_t before = commit_accepted_before(c, &in);
    if (before != 0) {
        c->not_audited = true; /* the first time's entry stands for it */
        return commit_answer(c, before, in.epoch + 1);
    }
    if (!use_fits(c, USE_STORED, (int64_t)(in.commit.n + in.welcome.n)))
        return true;
    if (in.epoch == 0 &&
        DB_RUN(c->db, "INSERT INTO mls_groups (clinic, group_id, epoch) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
               clinic, id) == 1) {
        if (!use_fits(c, USE_GROUPS, 1))
            return true;
        use_count(c, USE_GROUPS, 1);
        (void)add_member(c, &in, c->device);
    }
    group_facts g = find_group(c, in.group_id);
    if (g.exists && !g.member)
        return problem(c, PROBLEM_FORBIDDEN, "the caller is not a member of the group");
    /* Compare and set in one statement: of two commits for one epoch, one changes a row. */
    if (DB_RUN(c->db, "UPDATE mls_groups SET epoch = epoch + 1 WHERE clinic = $1 AND group_id = $2 AND epoch = $3",
               clinic, id, db_i(in.epoch)) != 1)
        return problem_more(c, PROBLEM_WRONG_EPOCH, "the group is not at the commit's epoch", "epoch", g.epoch);
    directory_forget_group(c->relay->directory, in.group_id);
    clinic_changed(c);
    int64_t seq = event_next(c);
    event_store(c, seq, deliver_to_members(c, seq, SPAN(in.group_id)),
                &(event){.kind = EVENT_COMMIT,
                         .group_id = SPAN(in.group_id),
                         .sender = SPAN(c->device),
                         .number = in.epoch,
                         .data = in.commit});
    if (!change_members(c, &in))
        return true;
    if (in.added_count > 0) {
        int64_t welcome_seq = event_next(c), waiting = 0;
        size_t woken = c->relay->wakes.n;
        for (size_t i = 0; i < in.added_count; i++)
            waiting += deliver_to(c, welcome_seq, in.added + i * ID_SIZE);
        event_store(c, welcome_seq, waiting,
                    &(event){.kind = EVENT_WELCOME,
                             .group_id = SPAN(in.group_id),
                             .sender = SPAN(c->device),
                             .number = in.epoch + 1,
                             .data = in.welcome});
        push_wanted(c, woken, welcome_seq);
    }
    DB_RUN_LATER(c->db,
                 "INSERT INTO commits (clinic, group_id, epoch, sender, digest, seq) VALUES ($1, $2, $3, $4, $5, $6)",
                 clinic, id, db_i(in.epoch), db_id(c->device), db_b(SPAN(in.digest)), db_i(seq));
    DB_RUN_LATER(c->db, "DELETE FROM commits WHERE clinic = $1 AND group_id = $2 AND epoch <= $3", clinic, id,
                 db_i(in.epoch - COMMITS_REMEMBERED));
    return commit_answer(c, seq, in.epoch + 1);
}
