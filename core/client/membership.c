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
/* When the relay had no key packages (somebody enrolled and still chooses a PIN), or false ones: asked again after a
 * quarter of the time waited so far, within these bounds. */
#define CLAIM_AGAIN_MIN_MS 1000
#define CLAIM_AGAIN_MAX_MS 60000
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

static err listed_devices(client *c, span **ids, size_t *count) {
    query q;
    err e = OK;
    *count = 0;
    *ids = ARENA_ARRAY(&c->scratch, span, CLAIM_MAX);
    if (!*ids)
        return ERR_ARENA;
    query_init(
        &q, c->store,
        "SELECT device_id FROM device WHERE listed = 1 AND revoked = 0 AND device_id <> ? ORDER BY device_id LIMIT 64");
    query_bind_blob(&q, SPAN(c->device_id));
    while (e == OK && *count < CLAIM_MAX && query_row(&q))
        e = arena_copy(&c->scratch, query_blob(&q, 0), &(*ids)[(*count)++]);
    TRY(query_end(&q));
    return e;
}

static err claim(client *c, int64_t conversation, const span *ids, size_t count) {
    builder b;
    span body;
    builder_init(&b, &c->scratch, count * 32 + 40);
    builder_text(&b, "{\"devices\":[");
    for (size_t i = 0; i < count; i++) {
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
    span *listed;
    size_t listed_count;
    TRY(listed_devices(c, &listed, &listed_count));
    TRY(json_open(body, &root));
    const json *list = json_member(root, "key_packages");
    size_t n = json_count(list);
    if (n > CLAIM_MAX) { /* we asked for no more; and finding the i-th element takes i steps */
        n = CLAIM_MAX;
        out->foreign = true;
    }
    for (size_t i = 0; i < n; i++) {
        const json *item = json_element(list, i);
        span device, encoded;
        if (json_bytes(item, "device", &c->scratch, &device) != OK ||
            json_bytes(item, "key_package", &c->scratch, &encoded) != OK || !contains(listed, listed_count, device) ||
            contains(out->device_ids, out->count, device) || check_key_package(c, encoded, device) != OK) {
            out->foreign = true;
            continue;
        }
        out->device_ids[out->count] = device;
        out->key_packages[out->count++] = encoded;
    }
    json_close(root);
    return OK;
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

/* Who of the listed devices is not in the group, and which members are revoked. */
static err compare_members(client *c, int64_t conversation, span *add, size_t *add_count, uint32_t *remove,
                           span *remove_ids, size_t *remove_count) {
    span *listed;
    size_t listed_count;
    bool present[CLAIM_MAX] = {false};
    open_group *slot;
    TRY(listed_devices(c, &listed, &listed_count));
    TRY(groups_open(c, conversation, &slot));
    *add_count = *remove_count = 0;
    for (uint32_t i = 0; i < group_leaf_count(slot->group); i++) {
        const leaf_node *leaf;
        uint8_t id[ID_SIZE];
        bool revoked;
        TRY(group_member(slot->group, i, &leaf));
        if (!leaf || i == group_own_leaf(slot->group))
            continue;
        device_id_of(leaf->signature_key.p, id);
        for (size_t j = 0; j < listed_count; j++)
            if (span_equal(listed[j], SPAN(id)))
                present[j] = true;
        TRY(directory_is_revoked(c, SPAN(id), &revoked));
        if (revoked && *remove_count < CLAIM_MAX) {
            remove[*remove_count] = i;
            TRY(arena_copy(&c->scratch, SPAN(id), &remove_ids[(*remove_count)++]));
        }
    }
    for (size_t j = 0; j < listed_count; j++)
        if (!present[j])
            add[(*add_count)++] = listed[j];
    return OK;
}

static err mark_compared(client *c, int64_t conversation) {
    query q;
    query_init(&q, c->store, "UPDATE conversation SET roster_number = ? WHERE id = ?");
    query_bind_int(&q, c->roster_number);
    query_bind_int(&q, conversation);
    return query_end(&q);
}

static err change_group(client *c, int64_t conversation, const claimed *found) {
    span add[CLAIM_MAX], remove_ids[CLAIM_MAX], packages[CLAIM_MAX], added[CLAIM_MAX];
    uint32_t remove[CLAIM_MAX];
    size_t add_count, remove_count, count = 0;
    open_group *slot;
    bool pending;
    TRY(groups_has_pending(c, conversation, &pending));
    if (pending)
        return OK;
    TRY(compare_members(c, conversation, add, &add_count, remove, remove_ids, &remove_count));
    for (size_t i = 0; i < found->count; i++) /* the group may have changed since we asked */
        if (contains(add, add_count, found->device_ids[i])) {
            added[count] = found->device_ids[i];
            packages[count++] = found->key_packages[i];
        }
    if (!count && !remove_count)
        return OK;
    TRY(groups_open(c, conversation, &slot));
    commit_params params = {
        .adds = packages, .add_count = count, .removes = remove, .remove_count = remove_count, .force_path = true};
    return stage(c, slot, &params, added, remove_ids);
}

static void claim_later(client *c) {
    int64_t now = client_now(c);
    if (!c->claim_since_ms || c->claim_since_ms > now)
        c->claim_since_ms = now;
    int64_t wait = (now - c->claim_since_ms) / 4;
    if (wait < CLAIM_AGAIN_MIN_MS)
        wait = CLAIM_AGAIN_MIN_MS;
    c->claim_retry_ms = now + (wait < CLAIM_AGAIN_MAX_MS ? wait : CLAIM_AGAIN_MAX_MS);
}

err membership_claim_reply(client *c, int64_t conversation, int status, span body) {
    conversation_state state;
    claimed *found = ARENA_NEW(&c->scratch, claimed);
    bool pending;
    if (!found)
        return ERR_ARENA;
    if (status != 200) {
        claim_later(c);
        return OK;
    }
    err e = read_claim(c, body, found);
    if (e == ERR_MALFORMED) {
        claim_later(c);
        return client_notice(c, 0, NOTICE_ANSWER_MALFORMED);
    }
    TRY(e);
    if (found->foreign)
        TRY(client_notice(c, conversation, NOTICE_KEYS_FOREIGN));
    if (!found->count) { /* who is missing here must not hold up the other conversations */
        c->claim_after = conversation;
        return OK;
    }
    TRY(conversation_get_state(c, conversation, &state));
    TRY(groups_has_pending(c, conversation, &pending));
    if (pending)
        return OK;
    if (state == CONVERSATION_CREATING)
        TRY(create_group(c, conversation, found));
    else if (state == CONVERSATION_ACTIVE)
        TRY(change_group(c, conversation, found));
    TRY(groups_has_pending(c, conversation, &pending));
    if (pending)
        c->claim_retry_ms = c->claim_since_ms = 0;
    else /* packages of no use here, as good as none: not asked for again at once */
        c->claim_after = conversation;
    return OK;
}

/* ---- what is due */

static err next_conversation(client *c, const char *sql, int64_t number, int64_t *id) {
    query q;
    *id = 0;
    query_init(&q, c->store, sql);
    query_bind_int(&q, number);
    query_bind_int(&q, c->claim_after);
    if (query_row(&q))
        *id = query_int(&q, 0);
    return query_end(&q);
}

/* A conversation whose making waits for key packages. */
static err pursue_creating(client *c, int64_t conversation) {
    span *ids;
    size_t count;
    if (c->roster_number == 0) {
        c->roster_wanted = true;
        return OK;
    }
    TRY(listed_devices(c, &ids, &count));
    return count ? claim(c, conversation, ids, count) : OK;
}

/* A conversation that was not compared with the newest roster yet. */
static err pursue_changed(client *c, int64_t conversation) {
    span add[CLAIM_MAX], remove_ids[CLAIM_MAX];
    uint32_t remove[CLAIM_MAX];
    size_t add_count, remove_count;
    TRY(compare_members(c, conversation, add, &add_count, remove, remove_ids, &remove_count));
    if (remove_count) { /* first: nobody revoked may stay because somebody new is not there yet */
        claimed *none = ARENA_NEW(&c->scratch, claimed);
        return none ? change_group(c, conversation, none) : ERR_ARENA;
    }
    if (add_count)
        return claim(c, conversation, add, add_count);
    return mark_compared(c, conversation);
}

static void wake_for_claim(client *c, int64_t now) {
    if (c->fx->timer_ms < 0 || c->claim_retry_ms - now < c->fx->timer_ms)
        c->fx->timer_ms = c->claim_retry_ms - now;
}

/* Every conversation had its turn. Those that lack somebody get another one later. */
static void end_claim_round(client *c) {
    if (!c->claim_after)
        return;
    c->claim_after = 0;
    claim_later(c);
    wake_for_claim(c, client_now(c));
}

err membership_pursue(client *c) {
    int64_t id, now = client_now(c);
    if (!c->enrolled || sync_in_flight(c, REQUEST_CLAIM, 0))
        return OK;
    if (c->claim_roster != c->roster_number) {
        c->claim_roster = c->roster_number;
        c->claim_retry_ms = c->claim_since_ms = c->claim_after = 0;
    }
    if (c->claim_retry_ms > now && c->claim_retry_ms <= now + CLAIM_AGAIN_MAX_MS) {
        wake_for_claim(c, now);
        return OK;
    }
    TRY(next_conversation(c,
                          "SELECT id FROM conversation WHERE state = ? AND id > ?"
                          " AND id NOT IN (SELECT conversation FROM pending_commit) ORDER BY id LIMIT 1",
                          CONVERSATION_CREATING, &id));
    if (id)
        return pursue_creating(c, id);
    if (!client_has_right(c, RIGHT_ROSTER)) {
        end_claim_round(c);
        return OK;
    }
    for (;;) {
        TRY(next_conversation(c,
                              "SELECT id FROM conversation WHERE state = 1 AND roster_number < ? AND id > ?"
                              " AND id NOT IN (SELECT conversation FROM pending_commit) ORDER BY id LIMIT 1",
                              c->roster_number, &id));
        if (!id) {
            end_claim_round(c);
            return OK;
        }
        TRY(pursue_changed(c, id));
        bool pending;
        TRY(groups_has_pending(c, id, &pending));
        if (pending || sync_in_flight(c, REQUEST_CLAIM, 0))
            return OK; /* one at a time: the next when its answer is there */
    }
}

err membership_commit_refused(client *c, int64_t conversation, int status) {
    conversation_state state;
    TRY(groups_drop_pending(c, conversation));
    TRY(conversation_get_state(c, conversation, &state));
    if (state == CONVERSATION_CREATING) { /* our group's name is taken: only a dishonest relay says so */
        query q;
        uint8_t id[GROUP_ID_SIZE];
        random_bytes(id, sizeof id);
        claim_later(c);
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
    err e = conversation_find(c, id, &conversation);
    if (e == OK)
        return ERR_REPLAY;
    if (e != ERR_NOT_FOUND)
        return e;
    TRY(find_key_package(c, welcome, &join, &secrets, &reference, &last_resort));
    e = conversation_insert(c, id, CONVERSATION_ACTIVE, SPAN_NONE, 0, &conversation);
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
    TRY(note_members(c, slot));
    if (!last_resort) { /* RFC 9420 §16.8: the init key opens one Welcome */
        query_init(&q, c->store, "DELETE FROM key_package WHERE reference = ?");
        query_bind_blob(&q, reference);
        TRY(query_end(&q));
        TRY(membership_publish_key_packages(c));
    }
    return message_send_names(c, conversation);
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

static err left(client *c, int64_t conversation) {
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
    TRY(group_process(slot->group, commit, &c->scratch, &in));
    if (in.kind != INCOMING_COMMIT)
        return ERR_INVALID;
    if (staged_commit_removes_us(in.staged)) {
        group_drop_commit(slot->group, in.staged);
        return left(c, conversation);
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
