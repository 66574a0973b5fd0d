/* passive-client-*: joins by a Welcome and follows the group through its commits. */
#include "mls/group.h"
#include "vectors.h"

/* What is not built yet answers ERR_UNSUPPORTED; such a case is skipped, not failed. */
static outcome refused(vector_case *c, err e, const char *where) {
    return e == ERR_UNSUPPORTED ? skipped(c, "%s: not built yet", where) : failed(c, "%s: %s", where, err_name(e));
}

static outcome follow(vector_case *c, group *g, const cJSON *epoch) {
    incoming in;
    const cJSON *p;
    cJSON_ArrayForEach(p, cJSON_GetObjectItem(epoch, "proposals")) {
        err e = group_process(g, value_hex(c, p), &c->arena, &in);
        if (e != OK)
            return refused(c, e, "proposal");
        EXPECT(in.kind == INCOMING_PROPOSAL, "not a proposal");
    }
    err e = group_process(g, field_hex(c, epoch, "commit"), &c->arena, &in);
    if (e != OK)
        return refused(c, e, "commit");
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
    group_host host = {0};
    join_params join = {
        .welcome = encoded,
        .ratchet_tree = field_hex(c, c->json, "ratchet_tree"),
        .key_package = kp.key_package.encoded,
        .secrets = &secrets,
        .signer = &signer,
    };
    group *g;
    err e = group_join(&host, &join, &c->arena, &g);
    if (e != OK)
        return refused(c, e, "welcome");
    outcome o = PASSED;
    const cJSON *epoch;
    if (!span_equal(group_epoch_authenticator(g), field_hex(c, c->json, "initial_epoch_authenticator")))
        o = failed(c, "initial_epoch_authenticator");
    cJSON_ArrayForEach(epoch, cJSON_GetObjectItem(c->json, "epochs")) if (o == PASSED) o = follow(c, g, epoch);
    group_close(g);
    return o;
}
