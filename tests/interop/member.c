/* member.c: members of MLS groups for JavaScript: one function that takes a call as JSON and answers with JSON (bytes as
 * hex). README.md beside it lists the calls. Every member here has its own keys and records and is in at most one group. */
#include <cJSON.h>
#include <stdlib.h>

#include "base/text.h"
#include "host.h"
#include "mls/group.h"
#include "support/memory_records.h"

#define EXPORT __attribute__((used, visibility("default")))

EXPORT void *interop_alloc(size_t n);
EXPORT void interop_free(void *p);
EXPORT char *interop_call(const char *json, size_t size);

#define MEMBERS_MAX 256
#define ARENA_SIZE (32u << 20)
#define EXTERNAL_PSKS_MAX 16
/* A session may go back that far with resumption PSKs. */
#define RESUMPTION_EPOCHS 1024
/* How long key packages and leaves made here are valid. */
#define LIFETIME_SECONDS (28u * 86400)

typedef struct known_psk {
    uint8_t id[32], value[64];
    size_t id_size, value_size;
} known_psk;

typedef struct member {
    const suite *suite;
    char identity[64];
    signature_key signer;
    group_host host;
    memory_records records;
    group *group;
    staged_commit *staged;
    uint8_t *key_package; /* the last one made */
    size_t key_package_size;
    key_package_secrets secrets;
    known_psk psks[EXTERNAL_PSKS_MAX];
    size_t psk_count;
} member;

static member *members[MEMBERS_MAX];
static arena scratch;

/* --- reading arguments --- */

static span hex_of(const cJSON *value) {
    if (!cJSON_IsString(value))
        return SPAN_NONE;
    span text = span_text(value->valuestring);
    uint8_t *bytes = arena_take(&scratch, text.n / 2 + 1, 1);
    if (bytes == NULL || hex_read(bytes, text.n / 2, text) != OK)
        return SPAN_NONE;
    return span_of(bytes, text.n / 2);
}

static const cJSON *get(const cJSON *call, const char *name) { return cJSON_GetObjectItemCaseSensitive(call, name); }
static span get_hex(const cJSON *call, const char *name) { return hex_of(get(call, name)); }
static bool get_bool(const cJSON *call, const char *name) { return cJSON_IsTrue(get(call, name)); }
static uint64_t get_number(const cJSON *call, const char *name) {
    const cJSON *value = get(call, name);
    return cJSON_IsNumber(value) ? (uint64_t)value->valuedouble : 0;
}
static const char *get_text(const cJSON *call, const char *name) {
    const cJSON *value = get(call, name);
    return cJSON_IsString(value) ? value->valuestring : "";
}
static member *get_member(const cJSON *call, const char *name) {
    uint64_t id = get(call, name) == NULL ? MEMBERS_MAX : get_number(call, name);
    return id < MEMBERS_MAX ? members[id] : NULL;
}

static span *get_list(const cJSON *call, const char *name, size_t *count) {
    const cJSON *list = get(call, name), *item;
    span *all = ARENA_ARRAY(&scratch, span, (size_t)cJSON_GetArraySize(list) + 1);
    *count = 0;
    cJSON_ArrayForEach(item, list) all[(*count)++] = hex_of(item);
    return all;
}

static extension_list get_extensions(const cJSON *call) {
    const cJSON *list = get(call, "extensions"), *item;
    extension_list out = {ARENA_ARRAY(&scratch, extension, (size_t)cJSON_GetArraySize(list) + 1), 0};
    cJSON_ArrayForEach(item, list) out.p[out.n++] =
        (extension){(uint16_t)get_number(item, "type"), get_hex(item, "data")};
    return out;
}

static psk_id get_psk(const cJSON *psk) {
    psk_id id = {.type = get(psk, "external") != NULL ? PSK_EXTERNAL : PSK_RESUMPTION,
                 .external_id = get_hex(psk, "external"),
                 .group_id = get_hex(psk, "group_id"),
                 .epoch = get_number(psk, "epoch"),
                 .nonce = get_hex(psk, "nonce")};
    id.usage = id.type == PSK_RESUMPTION ? (uint8_t)get_number(psk, "usage") : 0;
    return id;
}

static psk_id *get_psks(const cJSON *call, size_t *count) {
    const cJSON *list = get(call, "psks"), *item;
    psk_id *all = ARENA_ARRAY(&scratch, psk_id, (size_t)cJSON_GetArraySize(list) + 1);
    *count = 0;
    cJSON_ArrayForEach(item, list) all[(*count)++] = get_psk(item);
    return all;
}

static re_init get_re_init(const cJSON *object) {
    return (re_init){.group_id = get_hex(object, "group_id"),
                     .version = MLS_VERSION,
                     .cipher_suite = (uint16_t)get_number(object, "suite"),
                     .extensions = get_extensions(object)};
}

static signature_key get_signer(const cJSON *call) {
    signature_key signer = {{0}};
    span seed = get_hex(call, "seed");
    if (seed.n == SIGNATURE_SEED_SIZE)
        signature_key_from_seed(seed.p, &signer);
    return signer;
}

/* --- writing answers --- */

static char *hex_text(span bytes) {
    char *text = arena_take(&scratch, HEX_SIZE(bytes.n) + 1, 1);
    if (text == NULL)
        abort();
    hex_write(text, bytes);
    return text;
}
static void put_hex(cJSON *reply, const char *name, span bytes) {
    cJSON_AddStringToObject(reply, name, hex_text(bytes));
}
static void put_number(cJSON *reply, const char *name, uint64_t n) { cJSON_AddNumberToObject(reply, name, (double)n); }
static void put_bool(cJSON *reply, const char *name, bool yes) { cJSON_AddBoolToObject(reply, name, yes); }

static void put_extensions(cJSON *reply, const extension_list *extensions) {
    cJSON *list = cJSON_AddArrayToObject(reply, "extensions");
    for (size_t i = 0; i < extensions->n; i++) {
        cJSON *item = cJSON_CreateObject();
        put_number(item, "type", extensions->p[i].type);
        put_hex(item, "data", extensions->p[i].data);
        cJSON_AddItemToArray(list, item);
    }
}

static void put_re_init(cJSON *reply, const re_init *r) {
    if (r == NULL)
        return;
    cJSON *object = cJSON_AddObjectToObject(reply, "re_init");
    put_hex(object, "group_id", r->group_id);
    put_number(object, "suite", r->cipher_suite);
    put_extensions(object, &r->extensions);
}

/* An MLSMessage around a struct, for those (Welcome, GroupInfo, KeyPackage) that the core gives bare. */
static span wrapped(wire_format format, span bare) {
    const uint8_t head[4] = {0, MLS_VERSION, 0, (uint8_t)format};
    uint8_t *all = arena_take(&scratch, sizeof head + bare.n, 1);
    if (all == NULL)
        abort();
    memcpy(all, head, sizeof head);
    memcpy(all + sizeof head, bare.p, bare.n);
    return span_of(all, sizeof head + bare.n);
}

static void put_wrapped(cJSON *reply, const char *name, wire_format format, span bare) {
    if (bare.n > 0)
        put_hex(reply, name, wrapped(format, bare));
}

static err unwrapped(const cJSON *call, const char *name, wire_format format, span *bare) {
    span message = get_hex(call, name);
    if (message.n < 4 || message.p[1] != MLS_VERSION || message.p[3] != (uint8_t)format)
        return ERR_MALFORMED;
    *bare = span_of(message.p + 4, message.n - 4);
    return OK;
}

static void put_staged(cJSON *reply, const staged_commit *c) {
    uint32_t leaves[64];
    cJSON *object = cJSON_AddObjectToObject(reply, "staged"), *list = cJSON_AddArrayToObject(object, "added");
    put_number(object, "epoch", staged_commit_epoch(c));
    put_number(object, "sender", staged_commit_sender(c));
    size_t n = staged_commit_added(c, leaves, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(leaves[i]));
    list = cJSON_AddArrayToObject(object, "removed");
    n = staged_commit_removed(c, leaves, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(leaves[i]));
    put_bool(object, "removes_us", staged_commit_removes_us(c));
    put_bool(object, "external", staged_commit_external(c));
    put_bool(object, "extensions_changed", staged_commit_extensions_changed(c));
    put_number(object, "psks", staged_commit_psk_count(c));
    put_re_init(object, staged_commit_re_init(c));
}

/* --- what a group asks of its member --- */

static uint64_t member_now(void *ctx) {
    (void)ctx;
    return (uint64_t)host_now();
}

static err member_find_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    const member *m = ctx;
    for (size_t i = 0; id->type == PSK_EXTERNAL && i < m->psk_count; i++)
        if (span_equal(id->external_id, span_of(m->psks[i].id, m->psks[i].id_size)))
            return arena_copy(a, span_of(m->psks[i].value, m->psks[i].value_size), value);
    return ERR_PSK;
}

/* The lists of capabilities that a session's extensions need; the same for the peer's members. */
static u16_list numbers_of(const cJSON *list) {
    const cJSON *item;
    u16_list out = {ARENA_ARRAY(&scratch, uint16_t, (size_t)cJSON_GetArraySize(list) + 1), 0};
    cJSON_ArrayForEach(item, list) out.p[out.n++] = (uint16_t)item->valuedouble;
    return out;
}

static leaf_params leaf_of(const member *m, const cJSON *call) {
    uint64_t now = (uint64_t)host_now() / 1000;
    return (leaf_params){.identity = span_text(m->identity),
                         .signer = &m->signer,
                         .not_before = now - 3600,
                         .not_after = now + LIFETIME_SECONDS,
                         .extension_types = numbers_of(get(call, "extension_types"))};
}

/* --- the calls --- */

typedef err handler(member *m, const cJSON *call, cJSON *reply);

static err call_new(member *m, const cJSON *call, cJSON *reply) {
    (void)m;
    uint32_t id = 0;
    while (id < MEMBERS_MAX && members[id] != NULL)
        id++;
    if (id == MEMBERS_MAX)
        return ERR_LIMIT;
    m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NO_MEMORY;
    m->suite = suite_find((uint16_t)get_number(call, "suite"));
    if (m->suite == NULL || get_hex(call, "seed").n != SIGNATURE_SEED_SIZE) {
        free(m);
        return ERR_INVALID;
    }
    m->signer = get_signer(call);
    strncpy(m->identity, get_text(call, "identity"), sizeof m->identity - 1);
    m->host = (group_host){.ctx = m,
                           .now = member_now,
                           .find_psk = member_find_psk,
                           .resumption_epochs = RESUMPTION_EPOCHS,
                           .records = memory_records_interface(&m->records)};
    members[id] = m;
    put_number(reply, "member", id);
    return OK;
}

static err call_free(member *m, const cJSON *call, cJSON *reply) {
    (void)reply;
    if (m->staged != NULL)
        group_drop_commit(m->group, m->staged);
    group_close(m->group);
    memory_records_free(&m->records);
    free(m->key_package);
    members[get_number(call, "member")] = NULL;
    free(m);
    return OK;
}

static err call_key_package(member *m, const cJSON *call, cJSON *reply) {
    leaf_params leaf = leaf_of(m, call);
    span encoded;
    TRY(key_package_create(m->suite, &leaf, get_bool(call, "last_resort"), &scratch, &encoded, &m->secrets));
    free(m->key_package);
    m->key_package = malloc(encoded.n);
    if (m->key_package == NULL)
        return ERR_NO_MEMORY;
    memcpy(m->key_package, encoded.p, encoded.n);
    m->key_package_size = encoded.n;
    put_wrapped(reply, "key_package", FORMAT_KEY_PACKAGE, encoded);
    put_hex(reply, "init_key", SPAN(m->secrets.init_key));
    put_hex(reply, "encryption_key", SPAN(m->secrets.encryption_key));
    return OK;
}

static err call_create(member *m, const cJSON *call, cJSON *reply) {
    (void)reply;
    leaf_params leaf = leaf_of(m, call);
    group_params params = {
        .suite = m->suite, .group_id = get_hex(call, "group_id"), .extensions = get_extensions(call), .leaf = &leaf};
    return group_create(&m->host, &params, &scratch, &m->group);
}

static err call_join(member *m, const cJSON *call, cJSON *reply) {
    (void)reply;
    const member *parent = get_member(call, "parent");
    join_params join = {.ratchet_tree = get_hex(call, "ratchet_tree"),
                        .key_package = span_of(m->key_package, m->key_package_size),
                        .secrets = &m->secrets,
                        .signer = &m->signer,
                        .parent = parent == NULL ? NULL : parent->group};
    TRY(unwrapped(call, "welcome", FORMAT_WELCOME, &join.welcome));
    return group_join(&m->host, &join, &scratch, &m->group);
}

static err call_join_external(member *m, const cJSON *call, cJSON *reply) {
    leaf_params leaf = leaf_of(m, call);
    span commit;
    external_join_params join = {.ratchet_tree = get_hex(call, "ratchet_tree"),
                                 .leaf = &leaf,
                                 .resync = get_bool(call, "resync"),
                                 .aad = get_hex(call, "aad")};
    join.psks = get_psks(call, &join.psk_count);
    TRY(unwrapped(call, "group_info", FORMAT_GROUP_INFO, &join.group_info));
    TRY(group_join_external(&m->host, &join, &scratch, &commit, &m->group));
    put_hex(reply, "commit", commit);
    return OK;
}

static err call_stage(member *m, const cJSON *call, cJSON *reply) {
    const member *parent = get_member(call, "parent");
    const cJSON *item;
    leaf_params leaf = leaf_of(m, call);
    extension_list extensions = get_extensions(call);
    re_init again = get_re_init(get(call, "re_init"));
    uint32_t *removes = ARENA_ARRAY(&scratch, uint32_t, (size_t)cJSON_GetArraySize(get(call, "removes")) + 1);
    commit_params params = {.removes = removes,
                            .parent = parent == NULL ? NULL : parent->group,
                            .extensions = get(call, "extensions") == NULL ? NULL : &extensions,
                            .re_init = get(call, "re_init") == NULL ? NULL : &again,
                            .tree_apart = get_bool(call, "tree_apart"),
                            .force_path = get_bool(call, "force_path"),
                            .use_proposals = get_bool(call, "use_proposals"),
                            .leaf = get_bool(call, "new_leaf") ? &leaf : NULL,
                            .aad = get_hex(call, "aad")};
    size_t add_count;
    span *adds = get_list(call, "adds", &add_count);
    for (size_t i = 0; i < add_count; i++) /* MLSMessages come in, KeyPackages are wanted */
        adds[i] = adds[i].n > 4 ? span_of(adds[i].p + 4, adds[i].n - 4) : SPAN_NONE;
    params.adds = adds;
    params.add_count = add_count;
    cJSON_ArrayForEach(item, get(call, "removes")) removes[params.remove_count++] = (uint32_t)item->valuedouble;
    params.psks = get_psks(call, &params.psk_count);
    m->host.public_handshakes = get_bool(call, "public");
    commit_output out;
    TRY(group_stage_commit(m->group, &params, &scratch, &out, &m->staged));
    put_hex(reply, "commit", out.commit);
    put_wrapped(reply, "welcome", FORMAT_WELCOME, out.welcome);
    put_wrapped(reply, "group_info", FORMAT_GROUP_INFO, out.group_info);
    put_staged(reply, m->staged);
    return OK;
}

static err call_merge(member *m, const cJSON *call, cJSON *reply) {
    (void)call, (void)reply;
    if (m->staged == NULL)
        return ERR_STATE;
    staged_commit *staged = m->staged;
    m->staged = NULL;
    return group_merge_commit(m->group, staged, &scratch);
}

static err call_drop(member *m, const cJSON *call, cJSON *reply) {
    (void)call, (void)reply;
    if (m->staged == NULL)
        return ERR_STATE;
    group_drop_commit(m->group, m->staged);
    m->staged = NULL;
    return OK;
}

static err call_propose(member *m, const cJSON *call, cJSON *reply) {
    const char *kind = get_text(call, "kind");
    span message, key_package;
    err e = ERR_INVALID;
    m->host.public_handshakes = get_bool(call, "public");
    if (strcmp(kind, "add") == 0) {
        TRY(unwrapped(call, "key_package", FORMAT_KEY_PACKAGE, &key_package));
        e = group_propose_add(m->group, key_package, &scratch, &message);
    } else if (strcmp(kind, "update") == 0) {
        leaf_params leaf = leaf_of(m, call);
        e = group_propose_update(m->group, get_bool(call, "new_leaf") ? &leaf : NULL, &scratch, &message);
    } else if (strcmp(kind, "remove") == 0) {
        e = group_propose_remove(m->group, (uint32_t)get_number(call, "leaf"), &scratch, &message);
    } else if (strcmp(kind, "psk") == 0) {
        psk_id id = get_psk(get(call, "psk"));
        e = group_propose_psk(m->group, &id, &scratch, &message);
    } else if (strcmp(kind, "re_init") == 0) {
        re_init again = get_re_init(get(call, "re_init"));
        e = group_propose_re_init(m->group, &again, &scratch, &message);
    } else if (strcmp(kind, "extensions") == 0) {
        extension_list extensions = get_extensions(call);
        e = group_propose_extensions(m->group, &extensions, &scratch, &message);
    }
    if (e == OK)
        put_hex(reply, "message", message);
    return e;
}

/* From outside the group: `kind` join (with the proposer's own key package), or another by an external sender. */
static err call_propose_external(member *m, const cJSON *call, cJSON *reply) {
    (void)m;
    const char *kind = get_text(call, "kind");
    signature_key signer = get_signer(call);
    external_proposer by = {.suite = suite_find((uint16_t)get_number(call, "suite")),
                            .group_id = get_hex(call, "group_id"),
                            .epoch = get_number(call, "epoch"),
                            .signer = &signer,
                            .index = (uint32_t)get_number(call, "index")};
    proposal p = {0};
    span message, key_package;
    if (strcmp(kind, "join") == 0 || strcmp(kind, "add") == 0)
        TRY(unwrapped(call, "key_package", FORMAT_KEY_PACKAGE, &key_package));
    if (strcmp(kind, "join") == 0) {
        TRY(external_propose_join(&by, key_package, &scratch, &message));
    } else {
        if (strcmp(kind, "add") == 0) {
            p.type = PROPOSAL_ADD;
            TRY(WIRE_DECODE(key_package, &scratch, wire_key_package, &p.add));
        } else if (strcmp(kind, "remove") == 0) {
            p.type = PROPOSAL_REMOVE;
            p.remove = (uint32_t)get_number(call, "leaf");
        } else if (strcmp(kind, "psk") == 0) {
            p.type = PROPOSAL_PSK;
            p.psk = get_psk(get(call, "psk"));
        } else if (strcmp(kind, "extensions") == 0) {
            p.type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS;
            p.extensions = get_extensions(call);
        } else if (strcmp(kind, "re_init") == 0) {
            p.type = PROPOSAL_REINIT;
            p.re_init = get_re_init(get(call, "re_init"));
        } else {
            return ERR_INVALID;
        }
        TRY(external_propose(&by, &p, &scratch, &message));
    }
    put_hex(reply, "message", message);
    return OK;
}

static err call_process(member *m, const cJSON *call, cJSON *reply) {
    static const char *const kinds[] = {"application", "proposal", "commit"};
    incoming in;
    TRY(group_process(m->group, get_hex(call, "message"), &scratch, &in));
    cJSON_AddStringToObject(reply, "kind", kinds[in.kind]);
    put_number(reply, "epoch", in.epoch);
    put_number(reply, "from", in.from);
    put_number(reply, "sender", in.sender);
    put_hex(reply, "aad", in.aad);
    if (in.kind == INCOMING_APPLICATION)
        put_hex(reply, "plaintext", in.plaintext);
    if (in.kind == INCOMING_PROPOSAL)
        put_number(reply, "proposal", in.proposal->type);
    if (in.kind == INCOMING_COMMIT) {
        if (m->staged != NULL) /* another's commit won */
            group_drop_commit(m->group, m->staged);
        m->staged = in.staged;
        put_staged(reply, m->staged);
    }
    return OK;
}

static err call_protect(member *m, const cJSON *call, cJSON *reply) {
    span message;
    TRY(group_protect(m->group, get_hex(call, "plaintext"), get_hex(call, "aad"), &scratch, &message));
    put_hex(reply, "message", message);
    return OK;
}

static err call_state(member *m, const cJSON *call, cJSON *reply) {
    (void)call;
    const group_context *context = group_present_context(m->group);
    put_number(reply, "epoch", group_epoch(m->group));
    put_hex(reply, "group_id", group_id(m->group));
    put_number(reply, "own_leaf", group_own_leaf(m->group));
    put_hex(reply, "epoch_authenticator", group_epoch_authenticator(m->group));
    put_hex(reply, "tree_hash", context->tree_hash);
    put_hex(reply, "confirmed_transcript_hash", context->confirmed_transcript_hash);
    put_extensions(reply, &context->extensions);
    put_re_init(reply, group_re_init(m->group));
    return OK;
}

static err call_members(member *m, const cJSON *call, cJSON *reply) {
    (void)call;
    cJSON *list = cJSON_AddArrayToObject(reply, "members");
    for (uint32_t i = 0; i < group_leaf_count(m->group); i++) {
        const leaf_node *leaf;
        TRY(group_member(m->group, i, &leaf));
        if (leaf == NULL)
            continue;
        cJSON *item = cJSON_CreateObject();
        put_number(item, "leaf", i);
        put_hex(item, "identity", leaf->credential.identity);
        put_hex(item, "signature_key", leaf->signature_key);
        cJSON_AddItemToArray(list, item);
    }
    return OK;
}

/* A hash of all records: equal before and after what must change nothing. */
static err call_records(member *m, const cJSON *call, cJSON *reply) {
    (void)call;
    uint8_t digest[HASH_MAX] = {0};
    size_t n = m->suite->hash_size;
    for (size_t i = 0; i < m->records.count; i++) {
        const memory_record *r = &m->records.all[i];
        const span parts[] = {span_of(digest, n), span_of(&r->key.kind, sizeof r->key.kind),
                              span_of(&r->key.epoch, sizeof r->key.epoch), span_of(&r->key.index, sizeof r->key.index),
                              span_of(r->value, r->size)};
        uint8_t next[HASH_MAX];
        suite_hash_parts(m->suite, parts, sizeof parts / sizeof *parts, next);
        memcpy(digest, next, n);
    }
    put_hex(reply, "digest", span_of(digest, n));
    return OK;
}

static err call_export(member *m, const cJSON *call, cJSON *reply) {
    uint8_t out[64];
    TRY(group_export_secret(m->group, get_text(call, "label"), get_hex(call, "context"), out, sizeof out));
    put_hex(reply, "secret", SPAN(out));
    return OK;
}

static err call_tree(member *m, const cJSON *call, cJSON *reply) {
    (void)call;
    span tree;
    TRY(group_write_tree(m->group, &scratch, &tree));
    put_hex(reply, "ratchet_tree", tree);
    return OK;
}

static err call_info(member *m, const cJSON *call, cJSON *reply) {
    span info;
    TRY(group_make_info(m->group, get_bool(call, "with_tree"), &scratch, &info));
    put_wrapped(reply, "group_info", FORMAT_GROUP_INFO, info);
    return OK;
}

static err call_psk(member *m, const cJSON *call, cJSON *reply) {
    (void)reply;
    span id = get_hex(call, "id"), value = get_hex(call, "value");
    if (m->psk_count == EXTERNAL_PSKS_MAX || id.n > 32 || value.n > 64)
        return ERR_LIMIT;
    known_psk *known = &m->psks[m->psk_count++];
    memcpy(known->id, id.p, id.n);
    memcpy(known->value, value.p, value.n);
    known->id_size = id.n;
    known->value_size = value.n;
    return OK;
}

/* Closes the group and opens it from its records, as after a restart; a commit of its own that is staged comes with it. */
static err call_reload(member *m, const cJSON *call, cJSON *reply) {
    (void)call, (void)reply;
    span staged = SPAN_NONE;
    if (m->staged != NULL) {
        TRY(staged_commit_save(m->staged, &scratch, &staged));
        group_drop_commit(m->group, m->staged);
        m->staged = NULL;
    }
    group_close(m->group);
    m->group = NULL;
    TRY(group_load(&m->host, &m->signer, &scratch, &m->group));
    return staged.n == 0 ? OK : staged_commit_restore(m->group, staged, &scratch, &m->staged);
}

static const struct {
    const char *name;
    handler *handle;
    enum { ANY, MEMBER, GROUP } needs;
} calls[] = {
    {"new", call_new, ANY},
    {"propose_external", call_propose_external, ANY},
    {"free", call_free, MEMBER},
    {"psk", call_psk, MEMBER},
    {"key_package", call_key_package, MEMBER},
    {"create", call_create, MEMBER},
    {"join", call_join, MEMBER},
    {"join_external", call_join_external, MEMBER},
    {"stage", call_stage, GROUP},
    {"merge", call_merge, GROUP},
    {"drop", call_drop, GROUP},
    {"propose", call_propose, GROUP},
    {"process", call_process, GROUP},
    {"protect", call_protect, GROUP},
    {"state", call_state, GROUP},
    {"members", call_members, GROUP},
    {"records", call_records, GROUP},
    {"export", call_export, GROUP},
    {"tree", call_tree, GROUP},
    {"info", call_info, GROUP},
    {"reload", call_reload, GROUP},
};

static err dispatch(const cJSON *call, cJSON *reply) {
    const char *name = get_text(call, "call");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, name) != 0)
            continue;
        member *m = get_member(call, "member");
        if (calls[i].needs != ANY && (m == NULL || (calls[i].needs == GROUP && m->group == NULL)))
            return ERR_STATE;
        return calls[i].handle(m, call, reply);
    }
    return ERR_INVALID;
}

/* --- in wasm: json goes in by interop_alloc, the answer is a C string, both freed by interop_free --- */

void *interop_alloc(size_t n) { return malloc(n); }

void interop_free(void *p) { free(p); }

char *interop_call(const char *json, size_t size) {
    if (scratch.base == NULL && arena_init(&scratch, ARENA_SIZE) != OK)
        abort();
    cJSON *call = cJSON_ParseWithLength(json, size), *reply = cJSON_CreateObject();
    err e = dispatch(call, reply);
    if (e != OK)
        cJSON_AddStringToObject(reply, "error", err_name(e));
    char *text = cJSON_PrintUnformatted(reply);
    cJSON_Delete(call);
    cJSON_Delete(reply);
    arena_reset(&scratch);
    return text;
}
