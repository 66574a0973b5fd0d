/* key-schedule, psk_secret, transcript-hashes, secret-tree. */
#include "mls/framing.h"
#include "mls/key_schedule.h"
#include "mls/secret_tree.h"
#include "vectors.h"

static outcome check_epoch(vector_case *c, const cJSON *t, uint64_t number, secret *init) {
    const suite *s = c->suite;
    group_context context = {
        .version = MLS_VERSION,
        .cipher_suite = s->id,
        .group_id = field_hex(c, c->json, "group_id"),
        .epoch = number,
        .tree_hash = field_hex(c, t, "tree_hash"),
        .confirmed_transcript_hash = field_hex(c, t, "confirmed_transcript_hash"),
    };
    span encoded;
    EXPECT_OK(WIRE_ENCODE(&c->arena, wire_group_context, &context, &encoded));
    EXPECT_SPAN(encoded, field_hex(c, t, "group_context"));
    secret joiner, welcome_secret, again;
    epoch_secrets epoch;
    span psk = field_hex(c, t, "psk_secret");
    EXPECT_OK(key_schedule_joiner(s, secret_span(init), field_hex(c, t, "commit_secret"), encoded, &joiner));
    EXPECT_SPAN(secret_span(&joiner), field_hex(c, t, "joiner_secret"));
    EXPECT_OK(key_schedule_epoch(s, secret_span(&joiner), psk, encoded, &welcome_secret, &epoch));
    EXPECT_SPAN(secret_span(&welcome_secret), field_hex(c, t, "welcome_secret"));
    EXPECT_OK(key_schedule_welcome(s, secret_span(&joiner), psk, &again));
    EXPECT_SPAN(secret_span(&again), secret_span(&welcome_secret));
    EXPECT_SPAN(secret_span(&epoch.sender_data), field_hex(c, t, "sender_data_secret"));
    EXPECT_SPAN(secret_span(&epoch.encryption), field_hex(c, t, "encryption_secret"));
    EXPECT_SPAN(secret_span(&epoch.exporter), field_hex(c, t, "exporter_secret"));
    EXPECT_SPAN(secret_span(&epoch.external), field_hex(c, t, "external_secret"));
    EXPECT_SPAN(secret_span(&epoch.confirmation_key), field_hex(c, t, "confirmation_key"));
    EXPECT_SPAN(secret_span(&epoch.membership_key), field_hex(c, t, "membership_key"));
    EXPECT_SPAN(secret_span(&epoch.resumption_psk), field_hex(c, t, "resumption_psk"));
    EXPECT_SPAN(secret_span(&epoch.epoch_authenticator), field_hex(c, t, "epoch_authenticator"));
    EXPECT_SPAN(secret_span(&epoch.init), field_hex(c, t, "init_secret"));
    kem_key_pair pair;
    EXPECT_OK(key_schedule_external(s, secret_span(&epoch.external), &pair));
    EXPECT_SPAN(span_of(pair.public_key, s->kem_public_size), field_hex(c, t, "external_pub"));
    const cJSON *x = cJSON_GetObjectItem(t, "exporter");
    uint8_t out[255];
    size_t n = (size_t)field_number(x, "length");
    EXPECT(n <= sizeof out, "exporter length");
    EXPECT_OK(key_schedule_export(s, secret_span(&epoch.exporter), field_text(x, "label"), field_hex(c, x, "context"),
                                  out, n));
    EXPECT_SPAN(span_of(out, n), field_hex(c, x, "secret"));
    *init = epoch.init;
    return PASSED;
}

outcome check_key_schedule(vector_case *c) {
    secret init;
    secret_set(&init, field_hex(c, c->json, "initial_init_secret"));
    const cJSON *t;
    uint64_t number = 0;
    cJSON_ArrayForEach(t, cJSON_GetObjectItem(c->json, "epochs")) {
        outcome o = check_epoch(c, t, number++, &init);
        if (o != PASSED)
            return o;
    }
    return PASSED;
}

outcome check_psk_secret(vector_case *c) {
    const cJSON *list = cJSON_GetObjectItem(c->json, "psks"), *t;
    size_t count = (size_t)cJSON_GetArraySize(list), i = 0;
    psk_id *ids = ARENA_ARRAY(&c->arena, psk_id, count);
    span *values = ARENA_ARRAY(&c->arena, span, count);
    EXPECT(ids != NULL && values != NULL, "memory");
    cJSON_ArrayForEach(t, list) {
        ids[i].type = PSK_EXTERNAL;
        ids[i].external_id = field_hex(c, t, "psk_id");
        ids[i].nonce = field_hex(c, t, "psk_nonce");
        values[i++] = field_hex(c, t, "psk");
    }
    secret psk;
    EXPECT_OK(key_schedule_psk(c->suite, ids, values, count, &c->arena, &psk));
    EXPECT_SPAN(secret_span(&psk), field_hex(c, c->json, "psk_secret"));
    return PASSED;
}

outcome check_transcript_hashes(vector_case *c) {
    const suite *s = c->suite;
    authenticated_content content = {0};
    EXPECT_OK(
        WIRE_DECODE(field_hex(c, c->json, "authenticated_content"), &c->arena, wire_authenticated_content, &content));
    EXPECT(content.content.type == CONTENT_COMMIT, "not a commit");
    framed_tbs tbs;
    EXPECT_OK(framing_tbs(content.wire_format, &content.content, SPAN_NONE, &c->arena, &tbs));
    uint8_t confirmed[HASH_MAX], interim[HASH_MAX];
    EXPECT_OK(transcript_confirmed(s, field_hex(c, c->json, "interim_transcript_hash_before"), tbs.format_and_content,
                                   content.auth.signature, confirmed));
    EXPECT_SPAN(span_of(confirmed, s->hash_size), field_hex(c, c->json, "confirmed_transcript_hash_after"));
    EXPECT_OK(confirmation_tag_check(s, field_hex(c, c->json, "confirmation_key"), span_of(confirmed, s->hash_size),
                                     content.auth.confirmation_tag));
    EXPECT_OK(transcript_interim(s, span_of(confirmed, s->hash_size), content.auth.confirmation_tag, interim));
    EXPECT_SPAN(span_of(interim, s->hash_size), field_hex(c, c->json, "interim_transcript_hash_after"));
    return PASSED;
}

/* --- secret-tree --- */

static outcome check_generation(vector_case *c, secret_tree *t, uint32_t leaf, const cJSON *g, ratchet_kind kind,
                                const char *key, const char *nonce) {
    secret_tree_step step;
    EXPECT_OK(secret_tree_prepare(t, leaf, kind, (uint32_t)field_number(g, "generation"), &c->arena, &step));
    EXPECT_SPAN(SPAN(step.key), field_hex(c, g, key));
    EXPECT_SPAN(SPAN(step.nonce), field_hex(c, g, nonce));
    EXPECT_OK(secret_tree_accept(t, &step, &c->arena));
    return PASSED;
}

static outcome check_leaf(vector_case *c, secret_tree *t, uint32_t leaf, const cJSON *generations) {
    const cJSON *g;
    cJSON_ArrayForEach(g, generations) {
        outcome o = check_generation(c, t, leaf, g, RATCHET_APPLICATION, "application_key", "application_nonce");
        if (o == PASSED)
            o = check_generation(c, t, leaf, g, RATCHET_HANDSHAKE, "handshake_key", "handshake_nonce");
        if (o != PASSED)
            return o;
    }
    return PASSED;
}

outcome check_secret_tree(vector_case *c) {
    const suite *s = c->suite;
    const cJSON *t = cJSON_GetObjectItem(c->json, "sender_data");
    uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE];
    EXPECT_OK(
        framing_sender_data_key(s, field_hex(c, t, "sender_data_secret"), field_hex(c, t, "ciphertext"), key, nonce));
    EXPECT_SPAN(SPAN(key), field_hex(c, t, "key"));
    EXPECT_SPAN(SPAN(nonce), field_hex(c, t, "nonce"));

    const cJSON *leaves = cJSON_GetObjectItem(c->json, "leaves"), *generations;
    secret encryption;
    secret_tree tree;
    secret_set(&encryption, field_hex(c, c->json, "encryption_secret"));
    uint32_t count = (uint32_t)cJSON_GetArraySize(leaves), leaf = 0;
    EXPECT(count > 0 && (count & (count - 1)) == 0, "leaf count");
    EXPECT_OK(secret_tree_init(&tree, s, NULL, 0, count, &encryption, &c->arena));
    outcome o = PASSED;
    cJSON_ArrayForEach(generations, leaves) if (o == PASSED) o = check_leaf(c, &tree, leaf++, generations);
    secret_tree_wipe(&tree);
    return o;
}
