/* passive-client-*: joins by a Welcome and follows the group through its commits. */
#include "mls/group.h"
#include "vectors.h"

/* Cases may go back to the resumption PSK of any epoch since the join. */
#define RESUMPTION_EPOCHS 1024

static bool number_is(const cJSON *value, uint64_t expected) {
    return cJSON_IsNumber(value) && (uint64_t)value->valuedouble == expected;
}

/* external_psks: {psk_id, psk}; resumption_psks: {group_id, epoch, psk}, of epochs before the join and of other groups. */
static err find_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    vector_case *c = ctx;
    const cJSON *psk;
    (void)a;
    bool external = id->type == PSK_EXTERNAL;
    cJSON_ArrayForEach(psk, cJSON_GetObjectItem(c->json, external ? "external_psks" : "resumption_psks")) {
        span name = field_hex(c, psk, external ? "psk_id" : "group_id");
        if (!span_equal(name, external ? id->external_id : id->group_id) ||
            (!external && !number_is(cJSON_GetObjectItem(psk, "epoch"), id->epoch)))
            continue;
        *value = field_hex(c, psk, "psk");
        return OK;
    }
    return ERR_PSK;
}

static outcome follow(vector_case *c, group *g, const cJSON *epoch, int number) {
    incoming in;
    const cJSON *p;
    cJSON_ArrayForEach(p, cJSON_GetObjectItem(epoch, "proposals")) {
        err e = group_process(g, value_hex(c, p), &c->arena, &in);
        EXPECT(e == OK, "epoch %d: proposal: %s", number, err_name(e));
        EXPECT(in.kind == INCOMING_PROPOSAL, "not a proposal");
    }
    err e = group_process(g, field_hex(c, epoch, "commit"), &c->arena, &in);
    EXPECT(e == OK, "epoch %d: commit: %s", number, err_name(e));
    EXPECT(in.kind == INCOMING_COMMIT, "not a commit");
    EXPECT_OK(group_merge_commit(g, in.staged, &c->arena));
    EXPECT_SPAN(group_epoch_authenticator(g), field_hex(c, epoch, "epoch_authenticator"));
    return PASSED;
}

outcome check_passive_client(vector_case *c) {
    mls_message kp = {0}, w = {0};
    key_package_secrets secrets;
    signature_key signer;
    span encoded, init = field_hex(c, c->json, "init_priv"), encryption = field_hex(c, c->json, "encryption_priv"),
                  signature = field_hex(c, c->json, "signature_priv");
    EXPECT(init.n == KEM_PRIVATE_SIZE && encryption.n == KEM_PRIVATE_SIZE && signature.n == SIGNATURE_SEED_SIZE,
           "sizes of private keys");
    memcpy(secrets.init_key, init.p, init.n);
    memcpy(secrets.encryption_key, encryption.p, encryption.n);
    signature_key_from_seed(signature.p, &signer);
    EXPECT_OK(WIRE_DECODE(field_hex(c, c->json, "key_package"), &c->arena, wire_mls_message, &kp));
    EXPECT_OK(WIRE_DECODE(field_hex(c, c->json, "welcome"), &c->arena, wire_mls_message, &w));
    EXPECT_OK(WIRE_ENCODE(&c->arena, wire_welcome, &w.welcome, &encoded));
    group_host host = {.ctx = c, .find_psk = find_psk, .resumption_epochs = RESUMPTION_EPOCHS};
    join_params join = {
        .welcome = encoded,
        .ratchet_tree = field_hex(c, c->json, "ratchet_tree"),
        .key_package = kp.key_package.encoded,
        .secrets = &secrets,
        .signer = &signer,
    };
    group *g;
    err e = group_join(&host, &join, &c->arena, &g);
    EXPECT(e == OK, "welcome: %s", err_name(e));
    outcome o = PASSED;
    const cJSON *epoch;
    if (!span_equal(group_epoch_authenticator(g), field_hex(c, c->json, "initial_epoch_authenticator")))
        o = failed(c, "initial_epoch_authenticator");
    int number = 0;
    cJSON_ArrayForEach(epoch, cJSON_GetObjectItem(c->json, "epochs")) {
        size_t mark = arena_mark(&c->arena);
        if (o == PASSED)
            o = follow(c, g, epoch, number++);
        arena_release(&c->arena, mark);
    }
    group_close(g);
    return o;
}
