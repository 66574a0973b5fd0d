/* Everything that is read from bytes by a grammar: the structs of RFC 9420, Sotto's own formats, JSON, frames and text.
 * The first byte selects what the rest is taken for.
 *
 * Of what was read must hold: written again it is the input, byte for byte; measuring says what writing takes; spans
 * look into the input; one byte more or less is refused; and with less memory than it took it fails with ERR_ARENA. */
#include "fuzz.h"

#include <string.h>

#include <cJSON.h>

#include "base/text.h"
#include "client/content.h"
#include "client/invite.h"
#include "client/relay_json.h"
#include "client/roster.h"
#include "command/frame.h"
#include "command/json.h"
#include "crypto/seal.h"
#include "mls/ratchet_tree.h"
#include "mls/types.h"

#define ARENA_SIZE (4u << 20)

static arena memory;

/* --- structs with a visitor --- */

static void within(span part, span whole) {
    REQUIRE(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

/* A struct that says which bytes it came from: they are there, they are a struct of that kind by themselves, and `body` is
 * their start without the signature. */
static void came_from(span encoded, span in, wire_visitor *visit, size_t size) {
    REQUIRE(encoded.n > 0);
    within(encoded, in);
    void *again = arena_take(&memory, 1, size);
    REQUIRE(again != NULL && wire_decode(encoded, &memory, visit, again) == OK);
}
static void has_body(span body, span encoded, span signature) {
    REQUIRE(body.p == encoded.p && body.n < encoded.n);
    REQUIRE(signature.n == 0 || signature.p + signature.n == encoded.p + encoded.n);
}

static void look_leaf(const leaf_node *o, span in) {
    came_from(o->encoded, in, (wire_visitor *)wire_leaf_node, sizeof *o);
    has_body(o->body, o->encoded, o->signature);
}
static void look_key_package(const key_package *o, span in) {
    came_from(o->encoded, in, (wire_visitor *)wire_key_package, sizeof *o);
    has_body(o->body, o->encoded, o->signature);
    look_leaf(&o->leaf, o->body);
}
static void look_context(const group_context *o, span in) {
    came_from(o->encoded, in, (wire_visitor *)wire_group_context, sizeof *o);
}
static void look_info(const group_info *o, span in) {
    came_from(o->encoded, in, (wire_visitor *)wire_group_info, sizeof *o);
    has_body(o->body, o->encoded, o->signature);
    look_context(&o->context, o->body);
}
static void look_proposal(const proposal *o, span in) {
    came_from(o->encoded, in, (wire_visitor *)wire_proposal, sizeof *o);
    if (o->type == PROPOSAL_ADD)
        look_key_package(&o->add, o->encoded);
    if (o->type == PROPOSAL_UPDATE)
        look_leaf(&o->update, o->encoded);
}
static void look_proposal_or_ref(const proposal_or_ref *o, span in) {
    if (o->type == PROPOSAL_BY_VALUE)
        look_proposal(&o->proposal, in);
}
static void look_path(const update_path *o, span in) { look_leaf(&o->leaf, in); }
static void look_commit(const commit *o, span in) {
    for (size_t i = 0; i < o->proposals.n; i++)
        look_proposal_or_ref(&o->proposals.p[i], in);
    if (o->has_path)
        look_path(&o->path, in);
}
static void look_nodes(const optional_node_list *o, span in) {
    for (size_t i = 0; i < o->n; i++)
        if (o->p[i].present && o->p[i].type == NODE_LEAF)
            look_leaf(&o->p[i].leaf, in);
}
static void look_content(const framed_content *o, span in) {
    REQUIRE(o->select.n > 0);
    within(o->select, in);
    if (o->type == CONTENT_PROPOSAL)
        look_proposal(&o->proposal, o->select);
    if (o->type == CONTENT_COMMIT)
        look_commit(&o->commit, o->select);
}
static void look_authenticated(const authenticated_content *o, span in) { look_content(&o->content, in); }
static void look_public(const public_message *o, span in) { look_content(&o->content, in); }
static void look_message(const mls_message *o, span in) {
    span group_id, claimed = SPAN_NONE;
    uint64_t epoch, claimed_epoch = 0;
    content_type type;
    uint8_t claimed_type = 0;
    err e = message_peek(in, &memory, &group_id, &epoch, &type);
    switch (o->wire_format) {
    case FORMAT_PUBLIC_MESSAGE:
        look_public(&o->public_message, in);
        claimed = o->public_message.content.group_id;
        claimed_epoch = o->public_message.content.epoch;
        claimed_type = o->public_message.content.type;
        break;
    case FORMAT_PRIVATE_MESSAGE:
        claimed = o->private_message.group_id;
        claimed_epoch = o->private_message.epoch;
        claimed_type = o->private_message.content_type;
        break;
    case FORMAT_GROUP_INFO: look_info(&o->group_info, in); break;
    case FORMAT_KEY_PACKAGE: look_key_package(&o->key_package, in); break;
    default: break;
    }
    REQUIRE(e == (claimed_type ? OK : ERR_UNSUPPORTED));
    if (e == OK)
        REQUIRE(span_equal(group_id, claimed) && epoch == claimed_epoch && type == claimed_type);
}

typedef struct format {
    wire_visitor *visit;
    size_t size;
    void (*look)(const void *object, span in); /* NULL: nothing more to see */
} format;

#define PLAIN(type)                                                                                                    \
    { (wire_visitor *)wire_##type, sizeof(type), NULL }
#define LOOK(type, look)                                                                                               \
    { (wire_visitor *)wire_##type, sizeof(type), (void (*)(const void *, span))(look) }

/* The authenticator of a commit, and of anything else. */
static void wire_commit_auth(wire *w, framed_content_auth *o) {
    o->content_type = CONTENT_COMMIT;
    wire_framed_content_auth(w, o);
}

/* New ones at the end, so that the inputs kept stay what they are. */
static const format formats[] = {
    PLAIN(credential),
    PLAIN(extension_list),
    PLAIN(required_capabilities),
    PLAIN(external_sender_list),
    PLAIN(capabilities),
    PLAIN(lifetime),
    LOOK(leaf_node, look_leaf),
    PLAIN(parent_node),
    LOOK(optional_node_list, look_nodes),
    LOOK(key_package, look_key_package),
    LOOK(group_context, look_context),
    LOOK(group_info, look_info),
    PLAIN(psk_id),
    PLAIN(psk_label),
    PLAIN(re_init),
    LOOK(proposal, look_proposal),
    LOOK(proposal_or_ref, look_proposal_or_ref),
    PLAIN(hpke_ciphertext),
    PLAIN(update_path_node),
    LOOK(update_path, look_path),
    LOOK(commit, look_commit),
    PLAIN(group_secrets),
    PLAIN(encrypted_group_secrets),
    PLAIN(welcome),
    PLAIN(sender),
    LOOK(framed_content, look_content),
    {(wire_visitor *)wire_commit_auth, sizeof(framed_content_auth), NULL},
    PLAIN(framed_content_auth),
    LOOK(authenticated_content, look_authenticated),
    LOOK(public_message, look_public),
    PLAIN(private_message),
    PLAIN(sender_data),
    LOOK(mls_message, look_message),
    PLAIN(tree_node),
    PLAIN(certificate),
    PLAIN(certificate_chain),
    PLAIN(content),
};
#define FORMATS (sizeof formats / sizeof *formats)

/* The structs share their visitors, so the code's coverage does not say how far each of them was read: this does. */
enum { PROGRESS = 32, PROGRESS_SINGLE = 20 };
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t progress[FORMATS * PROGRESS];

static err decode(const format *f, span in, void **object) {
    arena_reset(&memory);
    memory.high = 0;
    *object = arena_take(&memory, 1, f->size);
    REQUIRE(*object != NULL);
    wire w;
    wire_read_init(&w, in, &memory);
    f->visit(&w, *object);
    size_t step = w.at < PROGRESS_SINGLE ? w.at : PROGRESS_SINGLE;
    for (size_t rest = w.at; rest > PROGRESS_SINGLE && step < PROGRESS - 2; rest /= 2)
        step++;
    progress[(size_t)(f - formats) * PROGRESS + (wire_end(&w) == OK ? PROGRESS - 1 : step)] = 1;
    return wire_end(&w);
}

/* All that follows a kind of content of newer clients' belongs to it: it has no end of its own. */
static bool has_no_end(const format *f, const void *object) {
    if (f->visit != (wire_visitor *)wire_content)
        return false;
    const content *c = object;
    return c->kind >= CONTENT_SILENT && c->kind != CONTENT_CHECKPOINT;
}

static void try_format(const format *f, span in) {
    void *object;
    span again;
    wire measure;
    if (decode(f, in, &object) != OK)
        return;
    size_t taken = memory.high;
    if (f->look != NULL)
        f->look(object, in);
    REQUIRE(wire_encode(&memory, f->visit, object, &again) == OK && span_equal(again, in));
    wire_measure_init(&measure);
    f->visit(&measure, object);
    REQUIRE(wire_end(&measure) == OK && measure.at == in.n);

    if (!has_no_end(f, object)) {
        uint8_t *other = malloc(in.n + 1);
        REQUIRE(other != NULL);
        memcpy(other, in.p, in.n);
        other[in.n] = 0;
        REQUIRE(decode(f, span_of(other, in.n + 1), &object) != OK);
        if (in.n > 0)
            REQUIRE(decode(f, span_of(other, in.n - 1), &object) != OK);
        free(other);
    }

    size_t size = memory.size;
    memory.size = taken - 1;
    arena_reset(&memory);
    object = arena_take(&memory, 1, f->size);
    REQUIRE(object == NULL || wire_decode(in, &memory, f->visit, object) == ERR_ARENA);
    memory.size = size;
}

/* --- a whole ratchet tree (§12.4.3.3) --- */

static void try_tree(span in) {
    ratchet_tree tree = {0};
    span again;
    if (ratchet_tree_read(&tree, suite_find(SUITE_X25519), in, &memory) == OK) {
        uint8_t hash[HASH_MAX];
        REQUIRE(tree.leaf_count <= TREE_MAX_LEAVES && (tree.leaf_count & (tree.leaf_count - 1)) == 0);
        REQUIRE(ratchet_tree_write(&tree, &memory, &again) == OK && span_equal(again, in));
        REQUIRE(ratchet_tree_root_hash(&tree, hash) == OK);
    }
    ratchet_tree_wipe(&tree);
}

/* --- Sotto's own --- */

static signature_key root;
static invite_keys invite;

static void try_content(span in) {
    content o;
    span again;
    if (content_read(in, &memory, &o) != OK)
        return;
    REQUIRE(o.version == CONTENT_VERSION && o.counter > 0 && o.counter <= INT64_MAX && o.sent_ms <= INT64_MAX);
    REQUIRE(o.kind != CONTENT_TEXT || (o.text.n > 0 && utf8_valid(o.text)));
    REQUIRE(WIRE_ENCODE(&memory, wire_content, &o, &again) == OK && span_equal(again, in));
}

/* Signed, so that what follows the signature's check is reached. */
static void try_roster(span in) {
    static const char label[] = "Sotto roster 1";
    size_t front = sizeof label - 1;
    uint8_t *bytes = arena_take(&memory, front + in.n + ED25519_SIGNATURE_SIZE, 1);
    roster r;
    REQUIRE(bytes != NULL);
    memcpy(bytes, label, front);
    memcpy(bytes + front, in.p, in.n);
    if (in.n >= 2 + ID_SIZE)
        clinic_id_of(signature_key_public(&root).p, bytes + front + 2);
    signature_sign(&root, span_of(bytes, front + in.n), bytes + front + in.n);
    if (roster_read(span_of(bytes + front, in.n + ED25519_SIGNATURE_SIZE), signature_key_public(&root).p, &memory,
                    &r) == OK)
        REQUIRE(r.number > 0 && r.number <= INT64_MAX);
    REQUIRE(roster_read(in, signature_key_public(&root).p, &memory, &r) != OK);
}

/* Sealed, as the relay keeps it. */
static void try_invitation(span in) {
    static const char aad[] = "Sotto invitation 1";
    uint8_t *sealed = arena_take(&memory, in.n + SEAL_OVERHEAD, 1);
    invite_link link = {0};
    sealed_invitation out;
    REQUIRE(sealed != NULL);
    seal(invite.seal_key, span_text(aad), in, sealed);
    err e = invitation_unseal(&invite, &link, span_of(sealed, in.n + SEAL_OVERHEAD), 0, &memory, &out);
    REQUIRE(e != OK); /* nobody has the root key whose fingerprint is all zero */
    REQUIRE(invitation_unseal(&invite, &link, in, 0, &memory, &out) != OK);
}

static void try_link(span in) {
    invite_link link;
    span text;
    if (invite_link_read(in, &link) != OK)
        return;
    if (in.p[0] == '#')
        in = span_of(in.p + 1, in.n - 1);
    REQUIRE(invite_link_write(&link, SPAN_NONE, false, &memory, &text) == OK);
    REQUIRE(text.n == in.n + 2 && memcmp(text.p + 2, in.p, in.n) == 0);
}

/* The one form of a factor is its own one form. */
static void try_factor(span in) {
    uint8_t once[INVITE_FACTOR_MAX], twice[INVITE_FACTOR_MAX];
    size_t n, m;
    if (in.n == 0 || invite_factor(in.p[0], span_of(in.p + 1, in.n - 1), once, &n) != OK)
        return;
    REQUIRE(n <= sizeof once && invite_factor(in.p[0], span_of(once, n), twice, &m) == OK);
    REQUIRE(span_equal(span_of(once, n), span_of(twice, m)));
}

/* --- text, JSON, frames --- */

static void try_text(span in) {
    char text[1024];
    uint8_t bytes[512];
    span decoded;
    if (in.n % 2 == 0 && in.n <= sizeof text && hex_read(bytes, in.n / 2, in) == OK) {
        hex_write(text, span_of(bytes, in.n / 2));
        for (size_t i = 0; i < in.n; i++)
            REQUIRE(text[i] == (in.p[i] >= 'A' && in.p[i] <= 'F' ? in.p[i] + 32 : in.p[i]));
    }
    if (base64url_decode(&memory, in, &decoded) == OK) {
        char *again = base64url_text(&memory, decoded);
        REQUIRE(again != NULL && span_equal(span_text(again), in));
    }
    if (in.n <= sizeof bytes) {
        char *encoded = base64url_text(&memory, in);
        REQUIRE(encoded != NULL && strlen(encoded) == BASE64URL_SIZE(in.n));
        REQUIRE(base64url_read(bytes, in.n, span_text(encoded)) == OK && span_equal(span_of(bytes, in.n), in));
    }
    (void)utf8_valid(in);
}

static void try_command_json(span in) {
    cJSON *read = NULL;
    fault why = {0};
    if (json_read(&memory, in, &read, &why) != OK) {
        REQUIRE(memchr(why.message, 0, sizeof why.message) != NULL);
        return;
    }
    REQUIRE(cJSON_IsObject(read) && cJSON_GetArraySize(read) <= JSON_MEMBERS_MAX);
    for (const cJSON *member = read->child; member != NULL; member = member->next)
        REQUIRE(json_find(read, member->string) == member); /* names are unique */
}

static void try_relay_json(span in) {
    static const char *const names[] = {"seq", "kind", "group", "data", "events", "device"};
    json *body;
    if (json_open(in, &body) != OK)
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        span bytes;
        uint8_t id[ID_SIZE];
        int64_t value;
        if (json_int(body, names[i], &value) == OK)
            REQUIRE(value >= 0 && value <= (int64_t)1 << 53);
        (void)json_fixed(body, names[i], id, sizeof id);
        if (json_bytes(body, names[i], &memory, &bytes) == OK)
            REQUIRE(json_text(body, names[i], &bytes) == OK);
        const json *list = json_member(body, names[i]);
        for (size_t k = 0; k < json_count(list); k++)
            REQUIRE(json_element(list, k) != NULL);
        REQUIRE(json_element(list, json_count(list)) == NULL);
    }
    json_close(body);
}

static void try_frame(span in) {
    frame f;
    fault why;
    buffer b;
    if (frame_read(&f, in, &why) != OK)
        return;
    REQUIRE(buffer_init(&b, 64, FRAME_MAX) == OK);
    frame_begin(&b);
    buffer_put(&b, f.header.p, f.header.n);
    frame_header_end(&b);
    for (size_t i = 0; i < f.attachment_count; i++)
        frame_attachment(&b, f.attachments[i]);
    frame_end(&b);
    REQUIRE(b.error == OK && span_equal(span_of(b.p, b.n), in));
    buffer_free(&b);
}

static void try_peek(span in) {
    span group_id;
    uint64_t epoch;
    content_type type;
    if (message_peek(in, &memory, &group_id, &epoch, &type) != OK)
        return;
    within(group_id, in);
    REQUIRE(type >= CONTENT_APPLICATION && type <= CONTENT_COMMIT);
}

static void (*const others[])(span) = {
    try_tree, try_content,      try_roster,     try_invitation, try_link, try_factor,
    try_text, try_command_json, try_relay_json, try_frame,      try_peek,
};
#define OTHERS (sizeof others / sizeof *others)
/* The formats begin at 0 and the others here, so that either list can grow. */
#define FIRST_OTHER 128

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (memory.base == NULL) {
        static const uint8_t seed[INVITE_SEED_SIZE] = {7};
        crypto_init();
        signature_key_from_seed(seed, &root);
        invite_keys_derive(seed, &invite);
        REQUIRE(arena_init(&memory, ARENA_SIZE) == OK);
    }
    if (size == 0)
        return 0;
    arena_reset(&memory);
    span in = span_of(data + 1, size - 1);
    if (data[0] < FIRST_OTHER)
        try_format(&formats[data[0] % FORMATS], in);
    else
        others[(data[0] - FIRST_OTHER) % OTHERS](in);
    return 0;
}
