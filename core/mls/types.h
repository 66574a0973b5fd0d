/* types.h: the structs of RFC 9420 and their wire formats, in the RFC's order and with its names. One visitor per
 * struct reads, writes and measures it (wire/wire.h). Links with base and wire only: the relay uses it to read a
 * message's group id and epoch and never sees a key.
 *
 * Reading fills two kinds of fields that are not on the wire: `encoded` (the bytes of the struct as they came) and
 * `body` (the same without the trailing signature, which is what the signature covers). So nothing that was received
 * is encoded a second time to be hashed or verified. Writing ignores them. */
#ifndef MLS_TYPES_H
#define MLS_TYPES_H

#include "wire/wire.h"

#define MLS_VERSION 1 /* mls10, RFC 9420 §6 */

typedef enum wire_format {
    FORMAT_PUBLIC_MESSAGE = 1,
    FORMAT_PRIVATE_MESSAGE = 2,
    FORMAT_WELCOME = 3,
    FORMAT_GROUP_INFO = 4,
    FORMAT_KEY_PACKAGE = 5
} wire_format;

typedef enum content_type { CONTENT_APPLICATION = 1, CONTENT_PROPOSAL = 2, CONTENT_COMMIT = 3 } content_type;

typedef enum sender_type {
    SENDER_MEMBER = 1,
    SENDER_EXTERNAL = 2,
    SENDER_NEW_MEMBER_PROPOSAL = 3,
    SENDER_NEW_MEMBER_COMMIT = 4
} sender_type;

typedef enum proposal_type {
    PROPOSAL_ADD = 1,
    PROPOSAL_UPDATE = 2,
    PROPOSAL_REMOVE = 3,
    PROPOSAL_PSK = 4,
    PROPOSAL_REINIT = 5,
    PROPOSAL_EXTERNAL_INIT = 6,
    PROPOSAL_GROUP_CONTEXT_EXTENSIONS = 7
} proposal_type;

typedef enum extension_type {
    EXTENSION_APPLICATION_ID = 1,
    EXTENSION_RATCHET_TREE = 2,
    EXTENSION_REQUIRED_CAPABILITIES = 3,
    EXTENSION_EXTERNAL_PUB = 4,
    EXTENSION_EXTERNAL_SENDERS = 5,
    EXTENSION_LAST_RESORT = 10 /* draft-ietf-mls-extensions: last_resort_key_package, empty */
} extension_type;

typedef enum credential_type { CREDENTIAL_BASIC = 1, CREDENTIAL_X509 = 2 } credential_type;
typedef enum leaf_source { LEAF_KEY_PACKAGE = 1, LEAF_UPDATE = 2, LEAF_COMMIT = 3 } leaf_source;
typedef enum node_type { NODE_LEAF = 1, NODE_PARENT = 2 } node_type;
typedef enum psk_type { PSK_EXTERNAL = 1, PSK_RESUMPTION = 2 } psk_type;
typedef enum psk_usage { PSK_USAGE_APPLICATION = 1, PSK_USAGE_REINIT = 2, PSK_USAGE_BRANCH = 3 } psk_usage;

typedef struct u16_list {
    uint16_t *p;
    size_t n;
} u16_list;
typedef struct u32_list {
    uint32_t *p;
    size_t n;
} u32_list;
typedef struct span_list {
    span *p;
    size_t n;
} span_list;

/* --- credentials and extensions (§5.3, §7.2, §13) --- */
typedef struct credential {
    uint16_t type;
    span identity;          /* basic */
    span_list certificates; /* x509: carried, not validated */
} credential;
void wire_credential(wire *w, credential *o);

typedef struct extension {
    uint16_t type;
    span data;
} extension;
typedef struct extension_list {
    extension *p;
    size_t n;
} extension_list;
void wire_extension(wire *w, extension *o);
void wire_extension_list(wire *w, extension_list *o);
/* NULL when there is none of that type. */
const extension *extension_find(const extension_list *list, uint16_t type);
/* §7.2: types 1 to 5 are supported by every client and are not listed in capabilities. */
static inline bool extension_is_default(uint16_t type) { return type >= 1 && type <= 5; }
/* The same for proposals 1 to 7. */
static inline bool proposal_is_default(uint16_t type) { return type >= 1 && type <= 7; }

typedef struct required_capabilities { /* §11.1 */
    u16_list extensions, proposals, credentials;
} required_capabilities;
void wire_required_capabilities(wire *w, required_capabilities *o);

typedef struct external_sender { /* §12.1.8.1 */
    span signature_key;
    credential credential;
} external_sender;
typedef struct external_sender_list {
    external_sender *p;
    size_t n;
} external_sender_list;
void wire_external_sender(wire *w, external_sender *o);
void wire_external_sender_list(wire *w, external_sender_list *o);

/* --- leaves, nodes, key packages (§7.1, §7.2, §10) --- */
typedef struct capabilities {
    u16_list versions, cipher_suites, extensions, proposals, credentials;
} capabilities;
void wire_capabilities(wire *w, capabilities *o);
bool u16_list_has(const u16_list *list, uint16_t value);

typedef struct lifetime {
    uint64_t not_before, not_after; /* seconds since 1970 */
} lifetime;
void wire_lifetime(wire *w, lifetime *o);

typedef struct leaf_node {
    span encryption_key;
    span signature_key;
    credential credential;
    capabilities capabilities;
    uint8_t source;
    lifetime lifetime; /* LEAF_KEY_PACKAGE */
    span parent_hash;  /* LEAF_COMMIT */
    extension_list extensions;
    span signature;
    span encoded, body; /* as read */
} leaf_node;
/* All fields but the signature: the start of LeafNodeTBS (§7.2). */
void wire_leaf_node_body(wire *w, leaf_node *o);
void wire_leaf_node(wire *w, leaf_node *o);

typedef struct parent_node {
    span encryption_key;
    span parent_hash;
    u32_list unmerged_leaves;
} parent_node;
void wire_parent_node(wire *w, parent_node *o);

/* optional<Node> of the ratchet_tree extension (§12.4.3.3). */
typedef struct optional_node {
    bool present;
    uint8_t type;
    leaf_node leaf;
    parent_node parent;
} optional_node;
typedef struct optional_node_list {
    optional_node *p;
    size_t n;
} optional_node_list;
void wire_optional_node(wire *w, optional_node *o);
void wire_optional_node_list(wire *w, optional_node_list *o);

typedef struct key_package {
    uint16_t version;
    uint16_t cipher_suite;
    span init_key;
    leaf_node leaf;
    extension_list extensions;
    span signature;
    span encoded, body; /* as read */
} key_package;
void wire_key_package_body(wire *w, key_package *o); /* KeyPackageTBS */
void wire_key_package(wire *w, key_package *o);

/* --- group context and info (§8.1, §12.4.3) --- */
typedef struct group_context {
    uint16_t version;
    uint16_t cipher_suite;
    span group_id;
    uint64_t epoch;
    span tree_hash;
    span confirmed_transcript_hash;
    extension_list extensions;
    span encoded; /* as read */
} group_context;
void wire_group_context(wire *w, group_context *o);

typedef struct group_info {
    group_context context;
    extension_list extensions;
    span confirmation_tag;
    uint32_t signer;
    span signature;
    span encoded, body; /* as read */
} group_info;
void wire_group_info_body(wire *w, group_info *o); /* GroupInfoTBS */
void wire_group_info(wire *w, group_info *o);

/* --- proposals and commits (§12) --- */
typedef struct psk_id { /* PreSharedKeyID, §8.4 */
    uint8_t type;
    span external_id;
    uint8_t usage;
    span group_id;
    uint64_t epoch;
    span nonce;
} psk_id;
typedef struct psk_id_list {
    psk_id *p;
    size_t n;
} psk_id_list;
void wire_psk_id(wire *w, psk_id *o);

typedef struct psk_label { /* PSKLabel, §8.4 */
    psk_id id;
    uint16_t index, count;
} psk_label;
void wire_psk_label(wire *w, psk_label *o);

typedef struct re_init { /* §12.1.5 */
    span group_id;
    uint16_t version;
    uint16_t cipher_suite;
    extension_list extensions;
} re_init;
void wire_re_init(wire *w, re_init *o);

typedef struct proposal {
    uint16_t type;
    union {
        key_package add;
        leaf_node update;
        uint32_t remove;
        psk_id psk;
        re_init re_init;
        span kem_output;           /* ExternalInit */
        extension_list extensions; /* GroupContextExtensions */
    };
    span encoded; /* as read */
} proposal;
/* A type without a known grammar can't be read over: ERR_UNSUPPORTED. */
void wire_proposal(wire *w, proposal *o);

enum { PROPOSAL_BY_VALUE = 1, PROPOSAL_BY_REFERENCE = 2 };
typedef struct proposal_or_ref {
    uint8_t type;
    proposal proposal;
    span reference;
} proposal_or_ref;
void wire_proposal_or_ref(wire *w, proposal_or_ref *o);

typedef struct hpke_ciphertext {
    span kem_output;
    span ciphertext;
} hpke_ciphertext;
void wire_hpke_ciphertext(wire *w, hpke_ciphertext *o);

typedef struct update_path_node {
    span encryption_key;
    struct {
        hpke_ciphertext *p;
        size_t n;
    } encrypted_path_secret;
} update_path_node;
void wire_update_path_node(wire *w, update_path_node *o);

typedef struct update_path { /* §7.6 */
    leaf_node leaf;
    struct {
        update_path_node *p;
        size_t n;
    } nodes;
} update_path;
void wire_update_path(wire *w, update_path *o);

typedef struct commit {
    struct {
        proposal_or_ref *p;
        size_t n;
    } proposals;
    bool has_path;
    update_path path;
} commit;
void wire_commit(wire *w, commit *o);

/* --- Welcome (§12.4.3.1) --- */
typedef struct group_secrets {
    span joiner_secret;
    bool has_path_secret;
    span path_secret;
    psk_id_list psks;
} group_secrets;
void wire_group_secrets(wire *w, group_secrets *o);

typedef struct encrypted_group_secrets {
    span new_member; /* KeyPackageRef */
    hpke_ciphertext secrets;
} encrypted_group_secrets;
void wire_encrypted_group_secrets(wire *w, encrypted_group_secrets *o);

typedef struct welcome {
    uint16_t cipher_suite;
    struct {
        encrypted_group_secrets *p;
        size_t n;
    } secrets;
    span encrypted_group_info;
} welcome;
void wire_welcome(wire *w, welcome *o);

/* --- framing (§6) --- */
typedef struct sender {
    uint8_t type;
    uint32_t leaf;  /* SENDER_MEMBER */
    uint32_t index; /* SENDER_EXTERNAL: into external_senders */
} sender;
void wire_sender(wire *w, sender *o);

typedef struct framed_content {
    span group_id;
    uint64_t epoch;
    sender sender;
    span authenticated_data;
    uint8_t type; /* content_type */
    union {
        span application_data;
        proposal proposal;
        commit commit;
    };
    span select; /* as read: the bytes of the part that depends on the type */
} framed_content;
/* Its two parts: up to content_type, and the `select` on it, which PrivateMessageContent shares. */
void wire_framed_content_head(wire *w, framed_content *o);
void wire_framed_content_select(wire *w, framed_content *o);
void wire_framed_content(wire *w, framed_content *o);

typedef struct framed_content_auth {
    uint8_t content_type; /* decides what is there; not on the wire */
    span signature;
    span confirmation_tag; /* CONTENT_COMMIT */
} framed_content_auth;
void wire_framed_content_auth(wire *w, framed_content_auth *o);

typedef struct authenticated_content {
    uint16_t wire_format;
    framed_content content;
    framed_content_auth auth;
} authenticated_content;
void wire_authenticated_content(wire *w, authenticated_content *o);

typedef struct public_message {
    framed_content content;
    framed_content_auth auth;
    span membership_tag; /* SENDER_MEMBER */
} public_message;
void wire_public_message(wire *w, public_message *o);

typedef struct private_message {
    span group_id;
    uint64_t epoch;
    uint8_t content_type;
    span authenticated_data;
    span encrypted_sender_data;
    span ciphertext;
} private_message;
void wire_private_message(wire *w, private_message *o);

/* PrivateContentAAD and SenderDataAAD (§6.3.1, §6.3.2) are prefixes of the PrivateMessage. */
void wire_private_content_aad(wire *w, private_message *o);
void wire_sender_data_aad(wire *w, private_message *o);

typedef struct sender_data {
    uint32_t leaf;
    uint32_t generation;
    uint8_t reuse_guard[4];
} sender_data;
void wire_sender_data(wire *w, sender_data *o);

typedef struct mls_message {
    uint16_t version;
    uint16_t wire_format;
    union {
        public_message public_message;
        private_message private_message;
        welcome welcome;
        group_info group_info;
        key_package key_package;
    };
} mls_message;
void wire_mls_message(wire *w, mls_message *o);

/* Group id, epoch and content type of an MLSMessage with a PrivateMessage or PublicMessage, without any key: what a
 * relay needs. Only the front is read; the rest may be anything. Other wire formats: ERR_UNSUPPORTED. */
MUST_USE err message_peek(span message, arena *a, span *group_id, uint64_t *epoch, content_type *type);

#endif
