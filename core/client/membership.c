/* membership.c: who is in a conversation. A patient's browser makes the care group out of the roster's devices; the
 * clinic's roster keeper adds and removes devices later; everybody checks every change.
 *
 * The rules on top of RFC 9420 (DESIGN §2.2, §6): every member hangs by a certificate chain from the clinic's root; only
 * the patient at the group's making, and later only holders of RIGHT_ROSTER, add or remove; nobody adds patients to a
 * group that has one. */
#include "client/builder.h"
#include "client/relay_json.h"
#include "client/state.h"
#include "crypto/random.h"

#define DAY_S 86400u
#define LEAF_DAYS 90   /* of a key package's or leaf's lifetime; certificates run longer */
#define STOCK_STAFF 24 /* key packages kept at the relay: one is used by each new patient */
#define STOCK_PATIENT 3
/* Key packages that were not there (somebody enrolled and still chooses a PIN, or never comes back), or false ones, are asked
 * for again after a quarter of the time waited so far, within these bounds. */
#define CLAIM_AGAIN_MIN_MS 1000
#define CLAIM_AGAIN_MAX_MS 3600000
#define CLAIM_MAX 64 /* the relay's limit a call */

/* ---- leaves and key packages */

typedef struct own_leaf {
    extension extension;
    leaf_params params;
} own_leaf;

static void own_leaf_init(const client *c, own_leaf *o) {
    uint64_t now = client_now_seconds(c);
    o->extension = (extension){EXTENSION_CERTIFICATES, span_of(c->chain, c->chain_size)};
    o->params = (leaf_params){.identity = SPAN(c->subject_id),
                              .signer = &c->device_key,
                              .extensions = {&o->extension, 1},
                              .not_before = now > DAY_S ? now - DAY_S : 0,
                              .not_after = now + LEAF_DAYS * DAY_S};
}

static err make_key_package(client *c, bool last_resort, span *encoded) {
    own_leaf leaf;
    key_package_secrets secrets;
    uint8_t reference[HASH_MAX];
    size_t reference_size;
    query q;
    own_leaf_init(c, &leaf);
    TRY(key_package_create(suite_find(SUITE_XWING), &leaf.params, last_resort, &c->scratch, encoded, &secrets));
    TRY(key_package_reference(*encoded, &c->scratch, reference, &reference_size));
    query_init(&q, c->store,
               "INSERT INTO key_package (reference, encoded, secrets, last_resort, created_ms) VALUES (?, ?, ?, ?, ?)");
    query_bind_blob(&q, span_of(reference, reference_size));
    query_bind_blob(&q, *encoded);
    query_bind_blob(&q, span_of(&secrets, sizeof secrets));
    query_bind_int(&q, last_resort);
    query_bind_int(&q, client_now(c));
    err e = query_end(&q);
    wipe(&secrets, sizeof secrets);
    return e;
}

static err stock(client *c, size_t *fresh, bool *last_resort) {
    query q;
    *fresh = 0;
    *last_resort = false;
    query_init(&q, c->store,
               "SELECT coalesce(sum(last_resort = 0), 0), coalesce(sum(last_resort), 0) FROM key_package");
    if (query_row(&q)) {
        *fresh = (size_t)query_int(&q, 0);
        *last_resort = query_int(&q, 1) > 0;
    }
    return query_end(&q);
}

err membership_publish_key_packages(client *c) {
    size_t fresh, want = c->kind == CERTIFICATE_PATIENT ? STOCK_PATIENT : STOCK_STAFF;
    bool last_resort;
    builder b;
    span encoded, body;
    TRY(stock(c, &fresh, &last_resort));
    if (last_resort && fresh > want / 2)
        return OK;
    size_t count = want - fresh, mark = arena_mark(&c->scratch);
    builder_init(&b, &c->scratch, (count + 1) * 8192 + 100);
    builder_text(&b, "{\"key_packages\":[");
    for (size_t i = 0; i < count; i++) {
        size_t inner = arena_mark(&c->scratch);
        TRY(make_key_package(c, false, &encoded));
        builder_text(&b, i ? ",\"" : "\"");
        builder_base64url(&b, encoded);
        builder_text(&b, "\"");
        arena_release(&c->scratch, inner);
    }
    builder_text(&b, "]");
    if (!last_resort) {
        TRY(make_key_package(c, true, &encoded));
        builder_json_bytes(&b, "last_resort", encoded);
    }
    builder_text(&b, "}");
    TRY(builder_end(&b, &body));
    TRY(job_add(c, LANE_ACCOUNT, JOB_KEY_PACKAGES, SPAN_NONE, "PUT", "/v1/key-packages", "application/json", body));
    arena_release(&c->scratch, mark);
    return OK;
}

/* ---- rules for commits */

static err leaf_certificate(client *c, const leaf_node *leaf, certificate *out) {
    certificate_chain chain;
    TRY(leaf_chain(c, leaf, &chain));
    *out = *certificate_chain_holder(&chain);
    return OK;
}

err membership_check_commit(client *c, const group *g, const leaf_node *committer, const staged_commit *staged) {
    uint32_t added[CLAIM_MAX * 4], removed[CLAIM_MAX * 4];
    size_t added_count = staged_commit_added(staged, added, CLAIM_MAX * 4);
    size_t removed_count = staged_commit_removed(staged, removed, CLAIM_MAX * 4);
    certificate by, who;
    certificate_chain chain;
    if (added_count > CLAIM_MAX * 4 || removed_count > CLAIM_MAX * 4)
        return ERR_LIMIT;
    /* RFC 9420 has more ways to change a group than Sotto uses. What no feature needs, nobody may do. */
    if (staged_commit_external(staged) || staged_commit_extensions_changed(staged) || staged_commit_psk_count(staged) ||
        staged_commit_re_init(staged))
        return ERR_SENDER;
    TRY(leaf_certificate(c, committer, &by));
    bool making = group_epoch(g) == 0 && by.kind == CERTIFICATE_PATIENT;
    if ((added_count || removed_count) && !making && !(by.rights & RIGHT_ROSTER))
        return ERR_SENDER;
    for (size_t i = 0; i < added_count; i++) {
        const leaf_node *leaf = staged_commit_leaf(staged, added[i]);
        if (!leaf)
            return ERR_PROPOSAL;
        TRY(leaf_chain(c, leaf, &chain));
        TRY(certificate_chain_check(&chain, c->root_key, client_now_seconds(c)));
        TRY(leaf_certificate(c, leaf, &who));
        if (who.kind != CERTIFICATE_STAFF && who.kind != CERTIFICATE_AGENT)
            return ERR_CERTIFICATE;
    }
    return OK;
}

/* ---- making and changing */

static err commit_body(client *c, uint64_t epoch, const commit_output *out, const span *added, size_t added_count,
                       const span *removed, size_t removed_count, span *body) {
    builder b;
    builder_init(&b, &c->scratch, 2 * (out->commit.n + out->welcome.n) + 32 * (added_count + removed_count) + 200);
    builder_text(&b, "{");
    builder_json_int(&b, "epoch", (int64_t)epoch);
    builder_json_bytes(&b, "commit", out->commit);
    if (out->welcome.n)
        builder_json_bytes(&b, "welcome", out->welcome);
    for (int list = 0; list < 2; list++) {
        const span *ids = list ? removed : added;
        builder_text(&b, list ? ",\"removed\":[" : ",\"added\":[");
        for (size_t i = 0; i < (list ? removed_count : added_count); i++) {
            builder_text(&b, i ? ",\"" : "\"");
            builder_base64url(&b, ids[i]);
            builder_text(&b, "\"");
        }
        builder_text(&b, "]");
    }
    builder_text(&b, "}");
    return builder_end(&b, body);
}

static const char *group_path(client *c, span id, const char *rest) {
    builder b;
    builder_init(&b, &c->scratch, 120);
    builder_text(&b, "/v1/groups/");
    builder_base64url(&b, id);
    builder_text(&b, rest);
    return builder_string(&b);
}

/* Stages a commit, keeps it for its echo and queues it. */
static err stage(client *c, open_group *slot, const commit_params *params, const span *added, const span *removed) {
    commit_output out;
    query q;
    span saved, body;
    uint8_t hash[32];
    uint64_t epoch = group_epoch(slot->group);
    TRY(group_stage_commit(slot->group, params, &c->scratch, &out, &slot->staged));
    TRY(staged_commit_save(slot->staged, &c->scratch, &saved));
    sha256(out.commit, hash);
    query_init(&q, c->store, "INSERT INTO pending_commit (conversation, hash, staged) VALUES (?, ?, ?)");
    query_bind_int(&q, slot->conversation);
    query_bind_blob(&q, SPAN(hash));
    query_bind_blob(&q, saved);
    TRY(query_end(&q));
    TRY(commit_body(c, epoch, &out, added, params->add_count, removed, params->remove_count, &body));
    const char *path = group_path(c, group_id(slot->group), "/commits");
    if (!path)
        return ERR_ARENA;
    return job_add(c, slot->conversation, JOB_COMMIT, SPAN_NONE, "POST", path, "application/json", body);
}

err membership_create_care(client *c) {
    uint8_t group_id_bytes[GROUP_ID_SIZE];
    certificate_chain chain;
    int64_t id;
    TRY(WIRE_DECODE(span_of(c->chain, c->chain_size), &c->scratch, wire_certificate_chain, &chain));
    random_bytes(group_id_bytes, sizeof group_id_bytes);
    return conversation_insert(c, SPAN(group_id_bytes), CONVERSATION_CREATING, SPAN(c->subject_id),
                               certificate_chain_holder(&chain)->level, &id);
}

/* ---- claims */

/* The members' devices. */
typedef struct present {
    uint8_t (*ids)[ID_SIZE];
    size_t count;
} present;

static bool is_present(const present *p, span id) {
    for (size_t i = 0; i < p->count; i++)
        if (span_equal(SPAN(p->ids[i]), id))
            return true;
    return false;
}

typedef struct wanted {
    span ids[CLAIM_MAX]; /* absent, and may be asked for now: a claim's worth, those never asked for first */
    size_t count;
    bool any;        /* absent at all */
    int64_t next_ms; /* when the first of the others may be asked for; INT64_MAX: there are none */
} wanted;

/* The listed devices that are absent. */
static err find_wanted(client *c, const present *members, wanted *out) {
    query q;
    err e = OK;
    int64_t now = client_now(c);
    *out = (wanted){.next_ms = INT64_MAX};
    query_init(
        &q, c->store,
        "SELECT d.device_id, coalesce(k.at_ms, 0) FROM device d LEFT JOIN claim k ON k.device_id = d.device_id"
        " WHERE d.listed = 1 AND d.revoked = 0 AND d.device_id <> ? ORDER BY coalesce(k.since_ms, 0), d.device_id");
    query_bind_blob(&q, SPAN(c->device_id));
    while (e == OK && out->count < CLAIM_MAX && query_row(&q)) {
        int64_t at = query_int(&q, 1);
        if (is_present(members, query_blob(&q, 0)))
            continue;
        out->any = true;
        if (at <= now || at > now + CLAIM_AGAIN_MAX_MS) /* the clock was set back */
            e = arena_copy(&c->scratch, query_blob(&q, 0), &out->ids[out->count++]);
        else if (at < out->next_ms)
            out->next_ms = at;
    }
    TRY(query_end(&q));
    return e;
}

static err is_listed(client *c, span device_id, bool *listed) {
    query q;
    query_init(&q, c->store, "SELECT 1 FROM device WHERE device_id = ? AND listed = 1 AND revoked = 0");
    query_bind_blob(&q, device_id);
    *listed = query_row(&q);
    return query_end(&q);
}

/* Asked for: the next time is later, unless the device becomes a member meanwhile (note_member). */
static err claim_asked(client *c, span device_id) {
    query q;
    query_init(
        &q, c->store,
        "INSERT INTO claim (device_id, since_ms, at_ms) VALUES (?1, ?2, ?2 + ?3) ON CONFLICT (device_id) DO UPDATE"
        " SET since_ms = min(since_ms, ?2), at_ms = ?2 + min(max((?2 - since_ms) / 4, ?3), ?4)");
    query_bind_blob(&q, device_id);
    query_bind_int(&q, client_now(c));
    query_bind_int(&q, CLAIM_AGAIN_MIN_MS);
    query_bind_int(&q, CLAIM_AGAIN_MAX_MS);
    return query_end(&q);
}

/* The relay did not answer, or somebody has just come to look: what is wanted may be asked for at once. */
err membership_claim_anew(client *c) {
    query q;
    c->claim_retry_ms = 0;
    query_init(&q, c->store, "UPDATE claim SET at_ms = 0");
    return query_end(&q);
}

static err claim(client *c, int64_t conversation, const span *ids, size_t count) {
    builder b;
    span body;
    builder_init(&b, &c->scratch, count * 32 + 40);
    builder_text(&b, "{\"devices\":[");
    for (size_t i = 0; i < count; i++) {
        TRY(claim_asked(c, ids[i]));
        builder_text(&b, i ? ",\"" : "\"");
        builder_base64url(&b, ids[i]);
        builder_text(&b, "\"");
    }
    builder_text(&b, "]}");
    TRY(builder_end(&b, &body));
    return sync_request(c, (inflight){.kind = REQUEST_CLAIM, .conversation = conversation}, "POST",
                        "/v1/key-packages/claim", "application/json", body, false);
}

/* A key package that the relay says is this device's: is it, and is the device the clinic's? */
static err check_key_package(client *c, span encoded, span device_id) {
    key_package kp;
    certificate_chain chain;
    uint8_t id[ID_SIZE];
    TRY(WIRE_DECODE(encoded, &c->scratch, wire_key_package, &kp));
    TRY(key_package_validate(&kp, encoded, client_now_seconds(c), &c->scratch));
    TRY(directory_check_leaf(c, &kp.leaf, NULL));
    TRY(leaf_chain(c, &kp.leaf, &chain));
    TRY(certificate_chain_check(&chain, c->root_key, client_now_seconds(c)));
    device_id_of(certificate_chain_holder(&chain)->subject_key, id);
    return span_equal(SPAN(id), device_id) ? OK : ERR_CERTIFICATE;
}

typedef struct claimed {
    span device_ids[CLAIM_MAX], key_packages[CLAIM_MAX];
    size_t count;
    bool foreign; /* the relay gave a package that is not what it said */
} claimed;

static bool contains(const span *ids, size_t count, span id) {
    for (size_t i = 0; i < count; i++)
        if (span_equal(ids[i], id))
            return true;
    return false;
}

static err read_claim(client *c, span body, claimed *out) {
    json *root = NULL;
    err e = OK;
    TRY(json_open(body, &root));
    const json *list = json_member(root, "key_packages");
    size_t n = json_count(list);
    if (n > CLAIM_MAX) { /* we asked for no more; and finding the i-th element takes i steps */
        n = CLAIM_MAX;
        out->foreign = true;
    }
    for (size_t i = 0; i < n && e == OK; i++) {
        const json *item = json_element(list, i);
        span device, encoded;
        bool listed = false;
        e = json_bytes(item, "device", &c->scratch, &device);
        if (e == OK)
            e = json_bytes(item, "key_package", &c->scratch, &encoded);
        if (e == OK)
            e = is_listed(c, device, &listed);
        if (e == OK && (!listed || contains(out->device_ids, out->count, device)))
            e = ERR_CERTIFICATE;
        if (e == OK)
            e = check_key_package(c, encoded, device);
        if (is_ours(e))
            break;
        if (e != OK) {
            e = OK;
            out->foreign = true;
            continue;
        }
        out->device_ids[out->count] = device;
        out->key_packages[out->count++] = encoded;
    }
    json_close(root);
    return e;
}

static err create_group(client *c, int64_t conversation, const claimed *found) {
    uint8_t id[GROUP_ID_SIZE];
    open_group *slot;
    own_leaf leaf;
    TRY(groups_delete_records(c, conversation));
    TRY(conversation_group_id(c, conversation, id));
    TRY(groups_slot(c, conversation, &slot));
    group_host host = groups_host(slot);
    own_leaf_init(c, &leaf);
    err e = group_create(&host,
                         &(group_params){.suite = suite_find(SUITE_XWING), .group_id = SPAN(id), .leaf = &leaf.params},
                         &c->scratch, &slot->group);
    if (e != OK) {
        *slot = (open_group){0};
        return e;
    }
    commit_params params = {.adds = found->key_packages, .add_count = found->count, .force_path = true};
    return stage(c, slot, &params, found->device_ids, NULL);
}

typedef struct members {
    present present;
    uint32_t revoked[CLAIM_MAX]; /* leaves that have to go, a commit's worth */
    span revoked_ids[CLAIM_MAX];
    size_t revoked_count;
} members;

static err look_at_members(client *c, int64_t conversation, members *out) {
    open_group *slot;
    TRY(groups_open(c, conversation, &slot));
    uint32_t leaves = group_leaf_count(slot->group);
    *out = (members){.present.ids = arena_take(&c->scratch, leaves, ID_SIZE)};
    if (!out->present.ids)
        return ERR_ARENA;
    for (uint32_t i = 0; i < leaves; i++) {
        const leaf_node *leaf;
        uint8_t *id = out->present.ids[out->present.count];
        bool revoked;
        TRY(group_member(slot->group, i, &leaf));
        if (!leaf || i == group_own_leaf(slot->group))
            continue;
        device_id_of(leaf->signature_key.p, id);
        out->present.count++;
        TRY(directory_is_revoked(c, span_of(id, ID_SIZE), &revoked));
        if (revoked && out->revoked_count < CLAIM_MAX) {
            out->revoked[out->revoked_count] = i;
            out->revoked_ids[out->revoked_count++] = span_of(id, ID_SIZE);
        }
    }
    return OK;
}

static err mark_compared(client *c, int64_t conversation) {
    query q;
    query_init(&q, c->store, "UPDATE conversation SET roster_number = ? WHERE id = ?");
    query_bind_int(&q, c->roster_number);
    query_bind_int(&q, conversation);
    return query_end(&q);
}

static err change_group(client *c, int64_t conversation, const members *now, const claimed *found) {
    span packages[CLAIM_MAX], added[CLAIM_MAX];
    size_t count = 0;
    open_group *slot;
    for (size_t i = 0; found && i < found->count; i++) /* the group may have changed since we asked */
        if (!is_present(&now->present, found->device_ids[i])) {
            added[count] = found->device_ids[i];
            packages[count++] = found->key_packages[i];
        }
    if (!count && !now->revoked_count)
        return OK;
    TRY(groups_open(c, conversation, &slot));
    commit_params params = {.adds = packages,
                            .add_count = count,
                            .removes = now->revoked,
                            .remove_count = now->revoked_count,
                            .force_path = true};
    return stage(c, slot, &params, added, now->revoked_ids);
}

err membership_claim_reply(client *c, int64_t conversation, int status, span body) {
    conversation_state state;
    claimed *found = ARENA_NEW(&c->scratch, claimed);
    members *now = ARENA_NEW(&c->scratch, members);
    bool pending;
    c->claim_retry_ms = 0;
    if (!found || !now)
        return ERR_ARENA;
    if (status == 0 || status == 401 || status == 429 ||
        status >= 500) /* not answered: sync.c knows when to try again */
        return membership_claim_anew(c);
    if (status != 200)
        return OK;
    err e = read_claim(c, body, found);
    if (e == ERR_MALFORMED)
        return client_notice(c, 0, NOTICE_ANSWER_MALFORMED);
    TRY(e);
    if (found->foreign)
        TRY(client_notice(c, conversation, NOTICE_KEYS_FOREIGN));
    TRY(conversation_get_state(c, conversation, &state));
    TRY(groups_has_pending(c, conversation, &pending));
    if (!found->count || pending)
        return OK;
    if (state == CONVERSATION_CREATING)
        return create_group(c, conversation, found);
    if (state != CONVERSATION_ACTIVE)
        return OK;
    TRY(look_at_members(c, conversation, now));
    return change_group(c, conversation, now, found);
}

/* ---- what is due */

/* The first conversation after *id that is still to be made, or to be compared with the newest roster by who may change it;
 * 0: none. */
static err next_conversation(client *c, int64_t *id, conversation_state *state) {
    query q;
    query_init(
        &q, c->store,
        "SELECT id, state FROM conversation WHERE (state = 0 OR (state = 1 AND ? AND roster_number < ?)) AND id > ?"
        " AND id NOT IN (SELECT conversation FROM pending_commit) ORDER BY id LIMIT 1");
    query_bind_int(&q, client_has_right(c, RIGHT_ROSTER));
    query_bind_int(&q, c->roster_number);
    query_bind_int(&q, *id);
    *id = 0;
    if (query_row(&q)) {
        *id = query_int(&q, 0);
        *state = (conversation_state)query_int(&q, 1);
    }
    return query_end(&q);
}

/* Does what can be done for it now: a claim, a commit, or nothing; then *next_ms says when to look again. */
static err pursue(client *c, int64_t conversation, conversation_state state, int64_t *next_ms) {
    members *now = ARENA_NEW(&c->scratch, members);
    wanted *absent = ARENA_NEW(&c->scratch, wanted);
    if (!now || !absent)
        return ERR_ARENA;
    if (c->roster_number == 0) { /* only when the conversation is to be made */
        c->roster_wanted = true;
        return OK;
    }
    if (state == CONVERSATION_ACTIVE)
        TRY(look_at_members(c, conversation, now));
    if (now->revoked_count) /* first: nobody revoked may stay because somebody new is not there yet */
        return change_group(c, conversation, now, NULL);
    TRY(find_wanted(c, &now->present, absent));
    if (absent->count)
        return claim(c, conversation, absent->ids, absent->count);
    if (absent->next_ms < *next_ms)
        *next_ms = absent->next_ms;
    return absent->any || state == CONVERSATION_CREATING ? OK : mark_compared(c, conversation);
}

static void wake_for_claim(client *c, int64_t now) {
    if (c->fx->timer_ms < 0 || c->claim_retry_ms - now < c->fx->timer_ms)
        c->fx->timer_ms = c->claim_retry_ms - now;
}

err membership_pursue(client *c) {
    int64_t id = 0, now = client_now(c), next_ms = INT64_MAX;
    conversation_state state;
    if (!c->enrolled || sync_in_flight(c, REQUEST_CLAIM, 0))
        return OK;
    if (c->claim_roster != c->roster_number) {
        c->claim_roster = c->roster_number;
        c->claim_retry_ms = 0;
    }
    /* All were looked at, and each lacks somebody only whose turn has not come: looking loads every group. */
    if (c->claim_retry_ms > now && c->claim_retry_ms <= now + CLAIM_AGAIN_MAX_MS) {
        wake_for_claim(c, now);
        return OK;
    }
    for (;;) {
        bool pending;
        TRY(next_conversation(c, &id, &state));
        if (!id)
            break;
        size_t mark = arena_mark(&c->scratch);
        TRY(pursue(c, id, state, &next_ms));
        TRY(groups_has_pending(c, id, &pending));
        if (pending || sync_in_flight(c, REQUEST_CLAIM, 0))
            return OK; /* one at a time: the next when its answer is there */
        arena_release(&c->scratch, mark);
    }
    c->claim_retry_ms = next_ms == INT64_MAX ? 0 : next_ms;
    if (c->claim_retry_ms)
        wake_for_claim(c, now);
    return OK;
}

err membership_commit_refused(client *c, int64_t conversation, int status) {
    conversation_state state;
    c->claim_retry_ms = 0;
    TRY(groups_drop_pending(c, conversation));
    TRY(conversation_get_state(c, conversation, &state));
    if (state == CONVERSATION_CREATING) { /* such as a device that is gone: made anew, of those who are there now */
        query q;
        uint8_t id[GROUP_ID_SIZE];
        random_bytes(id, sizeof id);
        query_init(&q, c->store, "UPDATE conversation SET group_id = ? WHERE id = ?");
        query_bind_blob(&q, SPAN(id));
        query_bind_int(&q, conversation);
        TRY(query_end(&q));
        return groups_delete_records(c, conversation);
    }
    if (status == 409) /* somebody was first: their commit comes by the inbox, and then we look again */
        return OK;
    TRY(mark_compared(c, conversation));
    return client_notice(c, 0, NOTICE_REFUSED);
}

/* ---- what others did */

/* A new member's chain of contents begins at its first: what it sends from now on has no gap. */
static err note_member(client *c, int64_t conversation, const leaf_node *leaf, bool fresh) {
    static const uint8_t none[CONTENT_HASH_SIZE];
    certificate_chain chain;
    uint8_t id[ID_SIZE];
    query q;
    TRY(leaf_chain(c, leaf, &chain));
    TRY(directory_add_device(c, &chain, false));
    if (!fresh)
        return OK;
    device_id_of(certificate_chain_holder(&chain)->subject_key, id);
    c->claim_retry_ms = 0; /* it has key packages: another conversation may ask for one */
    query_init(&q, c->store, "DELETE FROM claim WHERE device_id = ?");
    query_bind_blob(&q, SPAN(id));
    TRY(query_end(&q));
    query_init(&q, c->store,
               "INSERT INTO sender (conversation, device_id, counter, hash) VALUES (?, ?, 0, ?)"
               " ON CONFLICT (conversation, device_id) DO UPDATE SET counter = 0, hash = excluded.hash");
    query_bind_int(&q, conversation);
    query_bind_blob(&q, SPAN(id));
    query_bind_blob(&q, SPAN(none));
    return query_end(&q);
}

static err find_key_package(client *c, span welcome, join_params *join, key_package_secrets *secrets, span *reference,
                            bool *last_resort) {
    span *references;
    size_t count;
    query q;
    err e = ERR_NOT_FOUND;
    TRY(welcome_references(welcome, &c->scratch, &references, &count));
    for (size_t i = 0; i < count && e == ERR_NOT_FOUND; i++) {
        query_init(&q, c->store, "SELECT encoded, secrets, last_resort FROM key_package WHERE reference = ?");
        query_bind_blob(&q, references[i]);
        if (query_row(&q)) {
            span kept = query_blob(&q, 1);
            e = kept.n == sizeof *secrets ? arena_copy(&c->scratch, query_blob(&q, 0), &join->key_package)
                                          : ERR_STORE_CORRUPT;
            if (e == OK)
                memcpy(secrets, kept.p, sizeof *secrets);
            *last_resort = query_int(&q, 2) != 0;
            *reference = references[i];
        }
        TRY(query_end(&q));
    }
    return e;
}

/* Looks at all members of a group just joined: exactly one patient, whose care it is. */
static err note_members(client *c, open_group *slot) {
    query q;
    uint8_t subject_id[ID_SIZE] = {0}, level = 0;
    bool patient = false;
    group *g = slot->group;
    for (uint32_t i = 0; i < group_leaf_count(g); i++) {
        const leaf_node *leaf;
        certificate who;
        TRY(group_member(g, i, &leaf));
        if (!leaf || i == group_own_leaf(g))
            continue;
        size_t mark = arena_mark(&c->scratch);
        TRY(leaf_certificate(c, leaf, &who));
        TRY(note_member(c, slot->conversation, leaf, group_epoch(g) == 1));
        arena_release(&c->scratch, mark);
        if (who.kind != CERTIFICATE_PATIENT)
            continue;
        if (patient && memcmp(subject_id, who.subject_id, ID_SIZE) != 0)
            return ERR_CERTIFICATE;
        if (c->kind == CERTIFICATE_PATIENT && memcmp(c->subject_id, who.subject_id, ID_SIZE) != 0)
            return ERR_CERTIFICATE; /* a patient is never among others' patients */
        patient = true;
        level = who.level;
        memcpy(subject_id, who.subject_id, ID_SIZE);
    }
    if (!patient)
        return ERR_CERTIFICATE;
    query_init(&q, c->store, "UPDATE conversation SET subject_id = ?, level = ? WHERE id = ?");
    query_bind_blob(&q, SPAN(subject_id));
    query_bind_int(&q, level);
    query_bind_int(&q, slot->conversation);
    return query_end(&q);
}

static err departed(client *c, int64_t conversation, uint64_t epoch) {
    query q;
    query_init(
        &q, c->store,
        "INSERT INTO departure (conversation, epoch) VALUES (?, ?) ON CONFLICT (conversation) DO UPDATE SET epoch = "
        "excluded.epoch");
    query_bind_int(&q, conversation);
    query_bind_int(&q, (int64_t)epoch);
    return query_end(&q);
}

/* Welcomed again into a conversation that we had left: its chains of contents begin anew. Only by a later epoch than the one
 * that we left at: an old Welcome for the last-resort key package, brought again, would lead back among former members. */
static err rejoined(client *c, open_group *slot) {
    static const uint8_t none[CONTENT_HASH_SIZE];
    query q;
    uint64_t left_at = 0;
    query_init(&q, c->store, "SELECT epoch FROM departure WHERE conversation = ?");
    query_bind_int(&q, slot->conversation);
    if (query_row(&q))
        left_at = (uint64_t)query_int(&q, 0);
    TRY(query_end(&q));
    if (group_epoch(slot->group) <= left_at)
        return ERR_REPLAY;
    query_init(&q, c->store, "UPDATE conversation SET counter = 0, previous = ?, roster_number = 0 WHERE id = ?");
    query_bind_blob(&q, SPAN(none));
    query_bind_int(&q, slot->conversation);
    TRY(query_end(&q));
    query_init(&q, c->store, "DELETE FROM sender WHERE conversation = ?");
    query_bind_int(&q, slot->conversation);
    TRY(query_end(&q));
    query_init(&q, c->store, "DELETE FROM missing WHERE conversation = ?");
    query_bind_int(&q, slot->conversation);
    TRY(query_end(&q));
    query_init(&q, c->store, "DELETE FROM withdrawn WHERE conversation = ?");
    query_bind_int(&q, slot->conversation);
    TRY(query_end(&q));
    return conversation_set_state(c, slot->conversation, CONVERSATION_ACTIVE);
}

err membership_welcome(client *c, span id, span welcome) {
    int64_t conversation;
    key_package_secrets secrets;
    join_params join = {.welcome = welcome, .secrets = &secrets, .signer = &c->device_key};
    open_group *slot;
    span reference;
    bool last_resort = false;
    query q;
    if (id.n != GROUP_ID_SIZE)
        return ERR_INVALID;
    conversation_state state = CONVERSATION_LEFT;
    err e = conversation_find(c, id, &conversation);
    bool again = e == OK;
    if (again)
        e = conversation_get_state(c, conversation, &state);
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    if (state != CONVERSATION_LEFT)
        return ERR_REPLAY;
    TRY(find_key_package(c, welcome, &join, &secrets, &reference, &last_resort));
    e = again ? OK : conversation_insert(c, id, CONVERSATION_ACTIVE, SPAN_NONE, 0, &conversation);
    if (e == OK)
        e = groups_slot(c, conversation, &slot);
    if (e == OK) {
        group_host host = groups_host(slot);
        e = group_join(&host, &join, &c->scratch, &slot->group);
        if (e != OK)
            *slot = (open_group){0};
    }
    wipe(&secrets, sizeof secrets);
    TRY(e);
    if (!span_equal(group_id(slot->group), id))
        return ERR_WRONG_GROUP;
    if (group_present_context(slot->group)->extensions.n) /* such as external senders: see membership_check_commit */
        return ERR_SENDER;
    if (again)
        TRY(rejoined(c, slot));
    TRY(note_members(c, slot));
    c->claim_retry_ms = 0; /* it is to be compared with the roster */
    if (!last_resort) {    /* RFC 9420 §16.8: the init key opens one Welcome */
        query_init(&q, c->store, "DELETE FROM key_package WHERE reference = ?");
        query_bind_blob(&q, reference);
        TRY(query_end(&q));
        TRY(membership_publish_key_packages(c));
    }
    TRY(message_send_names(c, conversation));
    return message_flush(c, conversation);
}

typedef struct change {
    uint32_t added[CLAIM_MAX * 4];
    size_t added_count;
    bool ours;
} change;

static err after_merge(client *c, int64_t conversation, const change *what) {
    open_group *slot;
    conversation_state state;
    TRY(groups_open(c, conversation, &slot));
    for (size_t i = 0; i < what->added_count; i++) {
        const leaf_node *leaf;
        TRY(group_member(slot->group, what->added[i], &leaf));
        if (leaf)
            TRY(note_member(c, conversation, leaf, true));
    }
    TRY(conversation_get_state(c, conversation, &state));
    if (state == CONVERSATION_CREATING)
        TRY(conversation_set_state(c, conversation, CONVERSATION_ACTIVE));
    else if (what->ours && what->added_count) {
        TRY(message_send_names(c, conversation));
        for (size_t i = 0; i < what->added_count; i++) {
            const leaf_node *leaf;
            uint8_t id[ID_SIZE];
            TRY(group_member(slot->group, what->added[i], &leaf));
            if (!leaf)
                continue;
            device_id_of(leaf->signature_key.p, id);
            TRY(message_share_history(c, conversation, id));
        }
    }
    client_event(c, EVENT_CONVERSATION, conversation, SPAN_NONE, NULL, NULL, -1);
    return message_flush(c, conversation);
}

static err merge_ours(client *c, int64_t conversation) {
    open_group *slot;
    change *what = ARENA_NEW(&c->scratch, change);
    if (!what)
        return ERR_ARENA;
    what->ours = true;
    TRY(groups_restore_pending(c, conversation, &slot));
    what->added_count = staged_commit_added(slot->staged, what->added, CLAIM_MAX * 4);
    if (what->added_count > CLAIM_MAX * 4)
        return ERR_LIMIT;
    TRY(groups_merge_pending(c, conversation));
    TRY(job_delete_lane(c, conversation, JOB_COMMIT)); /* the echo may come before the answer */
    return after_merge(c, conversation, what);
}

/* epoch: the one without us. */
static err left(client *c, int64_t conversation, uint64_t epoch) {
    TRY(departed(c, conversation, epoch));
    TRY(groups_drop_pending(c, conversation));
    TRY(groups_delete_records(c, conversation)); /* RFC 9420 §9.2: with the membership the keys go */
    TRY(conversation_set_state(c, conversation, CONVERSATION_LEFT));
    return client_notice(c, conversation, NOTICE_REMOVED);
}

err membership_commit(client *c, int64_t conversation, span commit) {
    uint8_t hash[32], pending[32];
    open_group *slot;
    incoming in;
    span group;
    uint64_t epoch;
    content_type type;
    change *what = ARENA_NEW(&c->scratch, change);
    if (!what)
        return ERR_ARENA;
    sha256(commit, hash);
    err e = groups_pending(c, conversation, pending);
    if (e == OK && memcmp(hash, pending, sizeof hash) == 0)
        return merge_ours(c, conversation);
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    bool had_pending = e == OK;
    TRY(groups_open(c, conversation, &slot));
    TRY(message_peek(commit, &c->scratch, &group, &epoch, &type));
    if (type == CONTENT_COMMIT && epoch < group_epoch(slot->group)) /* that epoch's commit was taken already */
        return ERR_REPLAY;
    e = group_process(slot->group, commit, &c->scratch, &in);
    if (e == ERR_NOT_FOUND || e == ERR_PSK || e == ERR_PROPOSAL)
        return ERR_SENDER; /* a member's, but of proposals that were refused when they came, or PSKs that nobody gave us */
    TRY(e);
    if (in.kind != INCOMING_COMMIT)
        return ERR_INVALID;
    if (staged_commit_removes_us(in.staged)) {
        epoch = staged_commit_epoch(in.staged);
        group_drop_commit(slot->group, in.staged);
        return left(c, conversation, epoch);
    }
    what->added_count = staged_commit_added(in.staged, what->added, CLAIM_MAX * 4);
    if (what->added_count > CLAIM_MAX * 4) {
        group_drop_commit(slot->group, in.staged);
        return ERR_LIMIT;
    }
    if (had_pending) /* another's commit came first: ours is for an epoch that is over */
        TRY(groups_drop_pending(c, conversation));
    TRY(group_merge_commit(slot->group, in.staged, &c->scratch));
    return after_merge(c, conversation, what);
}
