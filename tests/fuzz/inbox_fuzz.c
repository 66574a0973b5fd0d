/* What a relay may answer and deliver to a patient's client, and what members of the conversation may put into it: the world
 * of clinic_world.h, fresh for each input. The input is read as a list of moves, each with its bytes.
 *
 * What must hold: no answer makes a command fail; after every move the store can be read, and all that it shows is text; the
 * client goes on asking, at latest after a minute, unless it was told that its device is revoked; and in the end a genuine
 * message is shown, or the user was told that something is wrong. */
#include "fuzz.h"

#include "support/clinic_world.h"

enum {
    MESSAGE,  /* who; a genuine text, its event changed as FIELD said */
    CONTENT,  /* who; an application message with these bytes in it */
    CHANGES,  /* who; a genuine commit: adds, removes or renews; merged or not */
    PROPOSES, /* who; a proposal */
    AGAIN,    /* the event before, once more */
    RAW,      /* these bytes as an event */
    FIELD,    /* a member of the next event: which, how, bytes */
    BYTE,     /* the next event's data: where, what */
    FLUSH,    /* the inbox is answered with what was collected */
    INBOX,    /* status; these bytes for an answer */
    ANSWER,   /* which request, status; these bytes for an answer */
    RIGHTLY,  /* which request: answered as it should be */
    ROSTER,   /* a roster event, and the next roster: right, or altered */
    INVITES,  /* who; a Welcome for a group of his, altered or not */
    TIME,     /* passes */
    WRITE,    /* the user does */
    NETWORK,  /* went or came back */
    MOVES
};
enum { MOVES_MAX = 16, EVENTS_SIZE = 1 << 18 };

typedef struct input {
    const uint8_t *p;
    size_t n;
} input;

static uint8_t take(input *in) {
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

static span take_bytes(input *in) {
    size_t n = take(in);
    if (n > in->n)
        n = in->n;
    span s = span_of(in->p, n);
    in->p += n;
    in->n -= n;
    return s;
}

/* --- events --- */

enum { OMITTED = 1, IS_NULL, IS_NUMBER, IS_TEXT, IS_BYTES, IS_OBJECT, IS_LIST, TWICE, WAYS };
static const char *const names[] = {"seq",   "kind",       "group", "sender",        "id",     "epoch", "data",
                                    "chain", "invitation", "state", "attempts_left", "number", "at"};
#define NAMES (sizeof names / sizeof *names)

static struct {
    char text[EVENTS_SIZE]; /* of the answer in the making */
    size_t n, last;         /* where its last event begins */
    struct {
        uint8_t way;
        span bytes;
    } fields[NAMES];
    uint32_t byte_at;
    uint8_t byte;
} batch;

static void put(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void put(const char *format, ...) {
    va_list list;
    va_start(list, format);
    int n = vsnprintf(batch.text + batch.n, sizeof batch.text - batch.n, format, list);
    va_end(list);
    if (n > 0 && (size_t)n < sizeof batch.text - batch.n)
        batch.n += (size_t)n;
    batch.text[batch.n] = 0;
}

static void put_bytes(span s) {
    if (s.n < sizeof batch.text - batch.n) {
        memcpy(batch.text + batch.n, s.p, s.n);
        batch.n += s.n;
        batch.text[batch.n] = 0;
    }
}

static void put_member(size_t which, const char *value) {
    static const char *const numbers[] = {
        "0",          "-1", "1.5", "9007199254740992", "9007199254740993", "1e300", "-1e300", "007", "1e1",
        "4294967296", "1",  "2"};
    uint8_t way = batch.fields[which].way % WAYS;
    span bytes = batch.fields[which].bytes;
    if ((way == 0 && value == NULL) || way == OMITTED)
        return;
    put("%s\"%s\":", batch.text[batch.n - 1] == '{' ? "" : ",", names[which]);
    switch (way) {
    case IS_NULL: put("null"); break;
    case IS_NUMBER: put("%s", numbers[(bytes.n > 0 ? bytes.p[0] : 0) % (sizeof numbers / sizeof *numbers)]); break;
    case IS_TEXT:
        put("\"");
        put_bytes(bytes);
        put("\"");
        break;
    case IS_BYTES: put("\"%s\"", base64url_text(&heap, bytes)); break;
    case IS_OBJECT: put("{}"); break;
    case IS_LIST: put("[1,{},\"\"]"); break;
    case TWICE: put("1,\"%s\":%s", names[which], value != NULL ? value : "\"\""); break;
    default: put("%s", value);
    }
}

static char *quoted(span bytes) {
    char *text = base64url_text(&heap, bytes), *out = arena_take(&heap, strlen(text) + 3, 1);
    sprintf(out, "\"%s\"", text);
    return out;
}

static void put_event(world *w, const char *kind, const char *group, const person *sender, span data) {
    uint8_t device[ID_SIZE];
    char seq[24], word[24], *in_group = arena_take(&heap, strlen(group) + 3, 1);
    if (batch.byte != 0 && data.n > 0) {
        REQUIRE(arena_copy(&heap, data, &data) == OK);
        ((uint8_t *)(uintptr_t)data.p)[batch.byte_at % data.n] ^= batch.byte;
    }
    device_of(sender, device);
    snprintf(seq, sizeof seq, "%lld", (long long)++w->seq);
    snprintf(word, sizeof word, "\"%s\"", kind);
    sprintf(in_group, "\"%s\"", group);
    if (batch.n > 0)
        put(",");
    batch.last = batch.n;
    put("{");
    const char *const values[NAMES] = {seq, word,        in_group, quoted(SPAN(device)), "\"AAAAAAAAAAAAAAAAAAAAAA\"",
                                       "0", quoted(data)};
    for (size_t i = 0; i < NAMES; i++)
        put_member(i, values[i]);
    put("}");
    memset(batch.fields, 0, sizeof batch.fields);
    batch.byte = 0;
}

/* --- looking, as a page does --- */

static void shows_text(span s) { REQUIRE(utf8_valid(s)); }

static void look(world *w) {
    conversation_view *all, v;
    message_view *list;
    notice_view *notices;
    account_status status;
    size_t count;
    REQUIRE(client_account_status(w->c, &status) == OK && status.state == ACCOUNT_OPEN);
    begin(w);
    REQUIRE(client_conversations(w->c, &w->arena, &all, &count) == OK && count >= 1);
    REQUIRE(client_conversation(w->c, &w->arena, w->conversation, &v) == OK);
    shows_text(v.title);
    for (size_t i = 0; i < v.member_count; i++)
        shows_text(v.members[i].name);
    REQUIRE(client_messages(w->c, &w->arena, w->conversation, 0, 200, &list, &count) == OK);
    for (size_t i = 0; i < count; i++) {
        shows_text(list[i].text);
        REQUIRE(i == 0 || list[i].order > list[i - 1].order);
    }
    REQUIRE(client_notices(w->c, &w->arena, &notices, &count) == OK);
    for (size_t i = 0; i < count; i++)
        REQUIRE(strlen(notices[i].text) > 20);
    REQUIRE(finish(w, OK) == OK);
    REQUIRE(w->c->stopped || find(w, "GET", "/v1/inbox") != NULL || (w->timer >= 0 && w->timer <= 60000));
}

/* --- moves --- */

static int status_of(uint8_t which) {
    static const int statuses[] = {200, 200, 200, 0, 201, 204, 400, 401, 403, 404, 409, 413, 429, 500, 503, 418};
    return statuses[which % (sizeof statuses / sizeof *statuses)];
}

/* Asks for the inbox if it is not asked for already; false when the client does not. */
static pending *inbox_request(world *w) {
    for (int i = 0; i < 3 && find(w, "GET", "/v1/inbox") == NULL; i++)
        tick(w, 61000);
    return find(w, "GET", "/v1/inbox");
}

static void flush(world *w) {
    pending *p = inbox_request(w);
    char *body = malloc(batch.n + 40);
    REQUIRE(body != NULL);
    memcpy(body, "{\"events\":[", 11);
    memcpy(body + 11, batch.text, batch.n);
    memcpy(body + 11 + batch.n, "],\"next\":0}", 11);
    if (p != NULL)
        REQUIRE(answer_bytes(w, p, 200, span_of(body, batch.n + 22)) == OK);
    free(body);
    batch.n = batch.last = 0;
    batch.text[0] = 0;
}

static pending *nth(world *w, uint8_t which) {
    size_t count = 0;
    for (size_t i = 0; i < PENDING_MAX; i++)
        count += w->pending[i].id != 0;
    for (size_t i = 0, k = count ? which % count : 0; i < PENDING_MAX && count > 0; i++)
        if (w->pending[i].id != 0 && k-- == 0)
            return &w->pending[i];
    return NULL;
}

static person *who(world *w, uint8_t which) { return which & 1 ? &w->insider : &w->keeper; }

static void change_members(world *w, person *p, uint8_t how) {
    static person nurse;
    uint32_t leaf = how >> 4;
    commit_params params = {.force_path = true};
    if (how & 1) {
        make_staff(&nurse, how & 2 ? &other_root : &root, STAFF_RIGHTS);
        make_key_package(&nurse);
        params.adds = &nurse.key_package;
        params.add_count = 1;
    } else if (how & 2) {
        params.removes = &leaf;
        params.remove_count = 1;
    }
    commit_output out;
    staged_commit *staged;
    if (group_stage_commit(p->group, &params, &heap, &out, &staged) != OK)
        return; /* nobody at that leaf, or himself */
    if (how & 8)
        REQUIRE(group_merge_commit(p->group, staged, &heap) == OK);
    else
        group_drop_commit(p->group, staged);
    put_event(w, "commit", w->group, p, out.commit);
}

static void invites(world *w, person *p, uint8_t how, span last_resort) {
    loose_leaf leaf;
    uint8_t id[GROUP_ID_SIZE];
    group *g;
    commit_output out;
    staged_commit *staged;
    memset(id, how, sizeof id);
    make_leaf(&leaf, subject_of(p), &p->key, encoded_chain(p));
    REQUIRE(group_create(&loose_host,
                         &(group_params){.suite = suite_find(SUITE_XWING), .group_id = SPAN(id), .leaf = &leaf.params},
                         &heap, &g) == OK);
    commit_params params = {.adds = &last_resort, .add_count = 1, .force_path = true};
    REQUIRE(group_stage_commit(g, &params, &heap, &out, &staged) == OK);
    group_drop_commit(g, staged);
    group_close(g);
    put_event(w, "welcome", how & 1 ? w->group : base64url_text(&heap, SPAN(id)), p, out.welcome);
}

static void rightly(world *w, pending *p) {
    if (p == NULL)
        return;
    if (strstr(p->path, "/v1/inbox") != NULL)
        flush(w);
    else if (strstr(p->path, "/v1/roster") != NULL)
        answer(w, p, 200, roster_json(w, staff_of(w), 2, NULL));
    else if (strstr(p->path, "/claim") != NULL)
        answer(w, p, 200, claim_json(staff_of(w), 2));
    else
        answer(w, p, 200, "{\"seq\":5,\"epoch\":1,\"count\":3}");
}

static void move(world *w, input *in, span last_resort) {
    uint8_t what = take(in) % MOVES, how = take(in);
    pending *p;
    span bytes, message;
    switch (what) {
    case MESSAGE: put_event(w, "message", w->group, who(w, how), written(who(w, how), "genuine", how / 32)); break;
    case CONTENT:
        if (group_protect(who(w, how)->group, take_bytes(in), SPAN_NONE, &heap, &message) == OK)
            put_event(w, "message", w->group, who(w, how), message);
        break;
    case CHANGES: change_members(w, who(w, how), take(in)); break;
    case PROPOSES:
        if (how & 2 ? group_propose_update(who(w, how)->group, NULL, &heap, &message) == OK
                    : group_propose_remove(who(w, how)->group, how >> 2 & 3, &heap, &message) == OK)
            put_event(w, how & 128 ? "commit" : "message", w->group, who(w, how), message);
        break;
    case AGAIN: {
        size_t n = batch.n - batch.last;
        char *copy = arena_take(&heap, n + 1, 1);
        memcpy(copy, batch.text + batch.last, n);
        if (n > 0)
            put(",");
        put_bytes(span_of(copy, n));
        break;
    }
    case RAW:
        if (batch.n > 0)
            put(",");
        put_bytes(take_bytes(in));
        break;
    case FIELD:
        batch.fields[how % NAMES].way = take(in);
        batch.fields[how % NAMES].bytes = take_bytes(in);
        break;
    case BYTE:
        batch.byte_at = how | (uint32_t)take(in) << 8;
        batch.byte = take(in);
        break;
    case FLUSH: flush(w); break;
    case INBOX:
        bytes = take_bytes(in);
        p = inbox_request(w);
        if (p != NULL)
            REQUIRE(answer_bytes(w, p, status_of(how), bytes) == OK);
        break;
    case ANSWER:
        p = nth(w, take(in));
        bytes = take_bytes(in);
        if (p != NULL)
            REQUIRE(answer_bytes(w, p, status_of(how), bytes) == OK);
        break;
    case RIGHTLY: rightly(w, nth(w, how)); break;
    case ROSTER: {
        put_event(w, "roster", w->group, &w->keeper, SPAN_NONE);
        flush(w);
        for (int i = 0; i < 2 && find(w, "GET", "/v1/roster") == NULL; i++)
            tick(w, 31000);
        p = find(w, "GET", "/v1/roster");
        if (p == NULL)
            break;
        char *body = roster_json(w, staff_of(w), 1 + (how & 1), how & 2 ? &w->insider : NULL);
        if (how & 4)
            body[(how >> 3) * strlen(body) / 32] ^= 1;
        answer(w, p, 200, body);
        break;
    }
    case INVITES: invites(w, who(w, how), how >> 1, last_resort); break;
    case TIME: tick(w, (int64_t)how * how * 1000); break;
    case WRITE: (void)send_text(w, "from the patient"); break;
    case NETWORK:
        begin(w);
        REQUIRE(finish(w, client_network(w->c, &w->fx, how & 1)) == OK);
        break;
    }
}

/* A message that nothing was done to. The relay forgets what it had collected. */
static void the_next_is_taken(world *w) {
    conversation_view v;
    memset(&batch, 0, sizeof batch);
    if (w->c->stopped)
        return;
    size_t told = w->told_count;
    put_event(w, "message", w->group, &w->keeper, written(&w->keeper, "in the end", 0));
    REQUIRE(inbox_request(w) != NULL);
    flush(w);
    if (w->told_count > told || shows(w, "in the end"))
        return;
    view(w, &v);
    REQUIRE(strcmp(v.state, "broken") == 0 || strcmp(v.state, "left") == 0);
    REQUIRE(w->told_count > 0); /* and it was said why */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    static world w;
    json *body;
    span last_resort;
    if (!made) {
        host_seed_random(1);
        world_init();
        made = true;
    }
    if (size == 0)
        return 0;
    host_seed_random(2);
    memset(&batch, 0, sizeof batch);
    make_world(&w, "", "");
    pending *p = find(&w, "PUT", "/v1/key-packages");
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_ok(json_bytes(body, "last_resort", &heap, &last_resort));
    json_close(body);
    converse(&w);
    input in = {data, size};
    for (int i = 0; i < MOVES_MAX && in.n > 0; i++) {
        move(&w, &in, last_resort);
        look(&w);
    }
    if (batch.n > 0)
        flush(&w);
    look(&w);
    the_next_is_taken(&w);
    forget_world(&w);
    return 0;
}
