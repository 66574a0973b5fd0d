/* message-protection, messages, welcome. */
#include "mls/framing.h"
#include "mls/key_schedule.h"
#include "mls/welcome.h"
#include "vectors.h"

/* --- message-protection: two leaves, leaf 1 sends --- */

#define SENDER_LEAF 1u

typedef struct protection {
    span context, sender_data_secret, membership_key, signature_pub;
    signature_key signer;
} protection;

static outcome open_protected(vector_case *c, const protection *p, span message, span expected) {
    mls_message m = {0};
    sender_data sent_by;
    secret_tree tree;
    secret encryption;
    secret_tree_step step;
    framed_content content;
    framed_content_auth auth;
    framed_tbs tbs;
    EXPECT_OK(WIRE_DECODE(message, &c->arena, wire_mls_message, &m));
    if (m.wire_format == FORMAT_PUBLIC_MESSAGE) {
        content = m.public_message.content;
        auth = m.public_message.auth;
        EXPECT_OK(framing_tbs(FORMAT_PUBLIC_MESSAGE, &content, p->context, &c->arena, &tbs));
        EXPECT_OK(framing_check_membership(c->suite, p->membership_key, &tbs, &auth, m.public_message.membership_tag,
                                           &c->arena));
    } else {
        EXPECT_OK(framing_open_sender_data(c->suite, p->sender_data_secret, &m.private_message, &c->arena, &sent_by));
        EXPECT(sent_by.leaf == SENDER_LEAF, "sender");
        secret_set(&encryption, field_hex(c, c->json, "encryption_secret"));
        EXPECT_OK(secret_tree_init(&tree, c->suite, NULL, 0, 2, &encryption, &c->arena));
        ratchet_kind kind =
            m.private_message.content_type == CONTENT_APPLICATION ? RATCHET_APPLICATION : RATCHET_HANDSHAKE;
        err e = secret_tree_prepare(&tree, sent_by.leaf, kind, sent_by.generation, &c->arena, &step);
        secret_tree_wipe(&tree);
        EXPECT_OK(e);
        EXPECT_OK(framing_open_private(c->suite, &m.private_message, &sent_by, &step, &c->arena, &content, &auth));
        EXPECT_OK(framing_tbs(FORMAT_PRIVATE_MESSAGE, &content, p->context, &c->arena, &tbs));
    }
    EXPECT_OK(framing_verify(p->signature_pub, &tbs, &auth, &c->arena));
    EXPECT_SPAN(content.type == CONTENT_APPLICATION ? content.application_data : content.select, expected);
    return PASSED;
}

/* Protects the content ourselves, in one way or both, and opens it again. */
static outcome protect_again(vector_case *c, const protection *p, uint8_t type, span raw) {
    framed_content content = {
        .group_id = field_hex(c, c->json, "group_id"),
        .epoch = field_number(c->json, "epoch"),
        .sender = {.type = SENDER_MEMBER, .leaf = SENDER_LEAF},
        .type = type,
    };
    framed_content_auth auth = {.content_type = type};
    framed_tbs tbs;
    secret_tree tree;
    secret encryption;
    secret_tree_step step;
    span message;
    uint8_t tag[HASH_MAX] = {0};
    if (type == CONTENT_APPLICATION)
        content.application_data = raw;
    else if (type == CONTENT_PROPOSAL)
        EXPECT_OK(WIRE_DECODE(raw, &c->arena, wire_proposal, &content.proposal));
    else
        EXPECT_OK(WIRE_DECODE(raw, &c->arena, wire_commit, &content.commit));
    if (type == CONTENT_COMMIT) /* any tag will do */
        auth.confirmation_tag = span_of(tag, c->suite->hash_size);
    if (type != CONTENT_APPLICATION) {
        EXPECT_OK(framing_tbs(FORMAT_PUBLIC_MESSAGE, &content, p->context, &c->arena, &tbs));
        EXPECT_OK(framing_sign(&p->signer, &tbs, &c->arena, &auth));
        EXPECT_OK(framing_protect_public(c->suite, p->membership_key, &content, &tbs, &auth, &c->arena, &message));
        outcome o = open_protected(c, p, message, raw);
        if (o != PASSED)
            return o;
    }
    EXPECT_OK(framing_tbs(FORMAT_PRIVATE_MESSAGE, &content, p->context, &c->arena, &tbs));
    EXPECT_OK(framing_sign(&p->signer, &tbs, &c->arena, &auth));
    secret_set(&encryption, field_hex(c, c->json, "encryption_secret"));
    EXPECT_OK(secret_tree_init(&tree, c->suite, NULL, 0, 2, &encryption, &c->arena));
    err e = secret_tree_prepare_next(
        &tree, SENDER_LEAF, type == CONTENT_APPLICATION ? RATCHET_APPLICATION : RATCHET_HANDSHAKE, &c->arena, &step);
    secret_tree_wipe(&tree);
    EXPECT_OK(e);
    EXPECT_OK(framing_protect_private(c->suite, p->sender_data_secret, &step, &content, &auth, &c->arena, &message));
    return open_protected(c, p, message, raw);
}

outcome check_message_protection(vector_case *c) {
    protection p = {
        .sender_data_secret = field_hex(c, c->json, "sender_data_secret"),
        .membership_key = field_hex(c, c->json, "membership_key"),
        .signature_pub = field_hex(c, c->json, "signature_pub"),
    };
    span priv = field_hex(c, c->json, "signature_priv");
    EXPECT(priv.n == SIGNATURE_SEED_SIZE, "signature_priv");
    signature_key_from_seed(priv.p, &p.signer);
    group_context context = {
        .version = MLS_VERSION,
        .cipher_suite = c->suite->id,
        .group_id = field_hex(c, c->json, "group_id"),
        .epoch = field_number(c->json, "epoch"),
        .tree_hash = field_hex(c, c->json, "tree_hash"),
        .confirmed_transcript_hash = field_hex(c, c->json, "confirmed_transcript_hash"),
    };
    EXPECT_OK(WIRE_ENCODE(&c->arena, wire_group_context, &context, &p.context));
    static const struct {
        const char *raw, *messages[2];
        uint8_t type;
    } contents[] = {
        {"proposal", {"proposal_pub", "proposal_priv"}, CONTENT_PROPOSAL},
        {"commit", {"commit_pub", "commit_priv"}, CONTENT_COMMIT},
        {"application", {"application_priv", NULL}, CONTENT_APPLICATION},
    };
    for (size_t i = 0; i < 3; i++) {
        span raw = field_hex(c, c->json, contents[i].raw);
        outcome o = PASSED;
        for (size_t k = 0; k < 2 && contents[i].messages[k] != NULL && o == PASSED; k++)
            o = open_protected(c, &p, field_hex(c, c->json, contents[i].messages[k]), raw);
        if (o == PASSED)
            o = protect_again(c, &p, contents[i].type, raw);
        if (o != PASSED)
            return o;
    }
    return PASSED;
}

/* --- messages: decode, encode, compare --- */

typedef struct message_kind {
    const char *name;
    wire_visitor *visit;
    size_t size;
} message_kind;
#define MESSAGE(name, visit, type)                                                                                     \
    { name, (wire_visitor *)(visit), sizeof(type) }

outcome check_messages(vector_case *c) {
    static const message_kind messages[] = {
        MESSAGE("mls_welcome", wire_mls_message, mls_message),
        MESSAGE("mls_group_info", wire_mls_message, mls_message),
        MESSAGE("mls_key_package", wire_mls_message, mls_message),
        MESSAGE("ratchet_tree", wire_optional_node_list, optional_node_list),
        MESSAGE("group_secrets", wire_group_secrets, group_secrets),
        MESSAGE("add_proposal", wire_key_package, key_package),
        MESSAGE("update_proposal", wire_leaf_node, leaf_node),
        MESSAGE("remove_proposal", wire_u32, uint32_t),
        MESSAGE("pre_shared_key_proposal", wire_psk_id, psk_id),
        MESSAGE("re_init_proposal", wire_re_init, re_init),
        MESSAGE("external_init_proposal", wire_opaque, span),
        MESSAGE("group_context_extensions_proposal", wire_extension_list, extension_list),
        MESSAGE("commit", wire_commit, commit),
        MESSAGE("public_message_application", wire_mls_message, mls_message),
        MESSAGE("public_message_proposal", wire_mls_message, mls_message),
        MESSAGE("public_message_commit", wire_mls_message, mls_message),
        MESSAGE("private_message", wire_mls_message, mls_message),
    };
    /* There is no cipher_suite field: the key package has it, after three numbers of 16 bits. */
    span kp = field_hex(c, c->json, "mls_key_package");
    unsigned id = kp.n >= 8 ? (unsigned)kp.p[6] << 8 | kp.p[7] : 0;
    if (suite_find((uint16_t)id) == NULL)
        return skipped(c, "cipher suite %u", id);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        const message_kind *k = &messages[i];
        span bytes = field_hex(c, c->json, k->name), again;
        void *object = arena_take(&c->arena, 1, k->size);
        EXPECT(object != NULL && bytes.n > 0, "%s is missing", k->name);
        err e = wire_decode(bytes, &c->arena, k->visit, object);
        EXPECT(e == OK, "%s: %s", k->name, err_name(e));
        e = wire_encode(&c->arena, k->visit, object, &again);
        EXPECT(e == OK && span_equal(again, bytes), "%s is not the same when encoded again", k->name);
        /* Every proper prefix is refused, and so is a byte too many. */
        for (size_t n = 0; n < bytes.n; n += 1 + bytes.n / 16) {
            size_t mark = arena_mark(&c->arena);
            EXPECT(wire_decode(span_of(bytes.p, n), &c->arena, k->visit, object) != OK, "%s cut to %zu", k->name, n);
            arena_release(&c->arena, mark);
        }
    }
    return PASSED;
}

/* --- welcome --- */

outcome check_welcome(vector_case *c) {
    const suite *s = c->suite;
    mls_message kp = {0}, w = {0};
    welcome_contents opened;
    span init_priv = field_hex(c, c->json, "init_priv"), encoded;
    EXPECT_OK(WIRE_DECODE(field_hex(c, c->json, "key_package"), &c->arena, wire_mls_message, &kp));
    EXPECT_OK(WIRE_DECODE(field_hex(c, c->json, "welcome"), &c->arena, wire_mls_message, &w));
    EXPECT(kp.wire_format == FORMAT_KEY_PACKAGE && w.wire_format == FORMAT_WELCOME, "wire formats");
    EXPECT(init_priv.n == KEM_PRIVATE_SIZE, "init_priv");
    EXPECT_OK(WIRE_ENCODE(&c->arena, wire_welcome, &w.welcome, &encoded));
    group_host host = {0};
    key_package_secrets secrets;
    memcpy(secrets.init_key, init_priv.p, init_priv.n);
    join_params join = {.welcome = encoded, .key_package = kp.key_package.encoded, .secrets = &secrets};
    EXPECT_OK(welcome_open(&host, s, &join, &c->arena, &opened));
    const group_info *info = &opened.info;
    EXPECT_OK(signature_verify_with_label(field_hex(c, c->json, "signer_pub"), "GroupInfoTBS", info->body,
                                          info->signature, &c->arena));
    epoch_secrets epoch;
    EXPECT_OK(key_schedule_epoch(s, opened.secrets.joiner_secret, secret_span(&opened.psk), info->context.encoded, NULL,
                                 &epoch));
    EXPECT_OK(confirmation_tag_check(s, secret_span(&epoch.confirmation_key), info->context.confirmed_transcript_hash,
                                     info->confirmation_tag));
    return PASSED;
}
