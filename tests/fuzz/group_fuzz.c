/* Hostile members of a live group (core/mls/group.h). The input is a list of steps of 8 bytes: each changes the message in
 * the making, and SEND sends it. Who makes it knows all that a member knows: it is changed as a struct and then signed,
 * MACed, hashed and encrypted as its maker could, so that what refuses it is the rule and not the signature.
 *
 * What must hold after each message:
 *   - Refused: the receiver's records and its state in memory are what they were.
 *   - Accepted: its sender is the one whose keys made it.
 *   - Refused by one, accepted or refused for another reason by the next: only where what was sent differs between them.
 *   - A commit that was accepted: all who did agree on epoch authenticator and tree; the tree is valid; and the records
 *     give back the same group.
 *   - In the end an honest member can write, and commit all proposals that it accepted, and the others take it.
 *   - Welcome: who joins is in the epoch that the inviter derived, and can be loaded from his records; who does not has none;
 *     and an honest Welcome for the same key package is still taken. */
#include "fuzz.h"

#include <string.h>

#include "mls/group_state.h"
#include "mls/key_package.h"
#include "mls/owned.h"
#include "mls/proposal.h"
#include "mls/psk.h"
#include "mls/validate.h"
#include "support/host.h"
#include "support/mls_member.h"

enum { PEOPLE = 6, OUTSIDERS = 2, STEPS_MAX = 32, SENDS_MAX = 4, LIST_MAX = 12 };

typedef struct step {
    uint8_t what, a, b, c;
    uint32_t d;
} step;
_Static_assert(sizeof(step) == 8, "a step is 8 bytes of input");

/* Kept inputs depend on these numbers: new ones at the end. */
enum {
    SEND,          /* a: send_kind; b: who; c: 1: as PublicMessage */
    ADD,           /* an outsider (a) */
    REMOVE,        /* leaf d */
    UPDATE,        /* of the sender's leaf */
    REFER,         /* to proposal a of those that wait; c odd: to none */
    PSK,           /* kind a */
    REINIT,        /* to suite d */
    EXTERNAL_INIT, /* kem_output of d bytes */
    EXTENSIONS,    /* of the group: type d */
    TWICE,         /* proposal a again */
    SWAP,          /* proposals a and b */
    LEAF,          /* field a of the leaf that is sent, or of the one in the proposal before; b, d: how */
    PACKAGE,       /* field a of the key package in the proposal before */
    NO_PATH,
    NODE,     /* the path's list of nodes: a: drop, repeat, swap; b: which */
    NODE_KEY, /* of path node b: another node's (d), parent hashes follow */
    SEALED,   /* path secret b for recipient c: a: altered, dropped, repeated */
    TREE,     /* the joiner's tree: a: how; b, d: which node */
    CONTEXT,  /* field a of the new GroupContext; b odd: only after the path was sealed */
    FRAME,    /* field a of the message; b odd: only after it was signed */
    INFO,     /* field a of the GroupInfo */
    SECRETS,  /* field a of the GroupSecrets */
    BYTE,     /* of the finished message: xor a at d */
    CUT,      /* it ends d bytes earlier, or a later */
    STEPS
};
enum send_kind {
    APPLICATION,
    PROPOSAL,
    COMMIT,
    WELCOME,
    HONEST_PROPOSAL,
    AGAIN,
    EXTERNAL_COMMIT,   /* an outsider's: c: which */
    EXTERNAL_PROPOSAL, /* of an external sender; c & 1: of one who would join */
    HONEST_JOIN,       /* an outsider joins by an external commit, all as it should be */
    SEND_KINDS
};

typedef struct person {
    member m;
    memory_records saved;
    bool out; /* made a commit that was accepted, and is not asked any more */
} person;

static person people[PEOPLE];
static member outsiders[OUTSIDERS];
static span honest_welcome; /* for all outsiders, made by the first member */

static void must(err e, const char *what, int line) {
    if (e == OK)
        return;
    fprintf(stderr, "group_fuzz.c:%d: %s: %s\n", line, what, err_name(e));
    abort();
}
#define MUST(expression) must((expression), #expression, __LINE__)

/* --- the group, made once --- */

static void everyone_processes(member *from, span message) {
    for (size_t i = 0; i < PEOPLE; i++) {
        member *m = &people[i].m;
        incoming in;
        if (m == from || m->group == NULL)
            continue;
        MUST(group_process(m->group, message, &m->arena, &in));
        if (staged_commit_removes_us(in.staged)) {
            group_drop_commit(m->group, in.staged);
            group_close(m->group);
            m->group = NULL;
            memory_records_free(&m->records);
            m->host.records = memory_records_interface(&m->records);
        } else {
            MUST(group_merge_commit(m->group, in.staged, &m->arena));
        }
        member_reset(m);
    }
}

static void everyone_follows(member *by, const commit_params *params) {
    commit_output out;
    staged_commit *staged;
    MUST(group_stage_commit(by->group, params, &by->arena, &out, &staged));
    MUST(group_merge_commit(by->group, staged, &by->arena));
    everyone_processes(by, out.commit);
    for (size_t i = 0; i < PEOPLE && params->add_count > 0; i++)
        if (people[i].m.group == NULL)
            MUST(member_join(&people[i].m, out.welcome, SPAN_NONE));
    member_reset(by);
}

static err find_psk(void *ctx, const psk_id *id, arena *a, span *value) {
    if (id->type != PSK_EXTERNAL || !span_equal(id->external_id, span_text("psk")))
        return ERR_PSK;
    return arena_copy(a, span_text("what all of them know"), value);
}

/* All know one PSK, extension and credential type beside the usual ones, but for eva, who does not know X.509. */
static void equip(member *m, size_t i) {
    static uint16_t extensions[] = {0xf0f0}, credentials[] = {CREDENTIAL_X509};
    m->host.find_psk = find_psk;
    m->host.resumption_epochs = 5;
    m->extension_types = (u16_list){extensions, 1};
    m->credential_types = (u16_list){credentials, i != 4};
}

/* gil is an external sender (RFC 9420 §12.1.8.1). */
static void allow_external_sender(member *creator, const member *by) {
    static extension list[1];
    external_sender one = {signature_key_public(&by->signer), {.type = CREDENTIAL_BASIC, .identity = span_text("gil")}};
    external_sender_list senders = {&one, 1};
    span data;
    MUST(WIRE_ENCODE(&creator->arena, wire_external_sender_list, &senders, &data));
    list[0] = (extension){EXTENSION_EXTERNAL_SENDERS, keep(data)};
    creator->group_extensions = (extension_list){list, 1};
}

/* Six members on eight places, one of them twice: so there are blanks, an unmerged leaf and past epochs. */
static void make_group(void) {
    static const char *const names[PEOPLE + OUTSIDERS] = {"anna", "ben", "cleo", "dan", "eva", "finn", "gil", "hana"};
    const suite *s = suite_find(SUITE_X25519);
    span packages[PEOPLE + OUTSIDERS];
    for (size_t i = 0; i < PEOPLE + OUTSIDERS; i++) {
        member *m = i < PEOPLE ? &people[i].m : &outsiders[i - PEOPLE];
        member_init(m, s, names[i]);
        equip(m, i);
        member_make_key_package(m);
        packages[i] = m->key_package;
    }
    allow_external_sender(&people[0].m, &outsiders[0]);
    member_create_group(&people[0].m, "the group");
    everyone_follows(&people[0].m, &(commit_params){.adds = packages + 1, .add_count = PEOPLE - 1, .force_path = true});
    for (size_t i = 0; i < PEOPLE; i++)
        everyone_follows(&people[i].m, &(commit_params){.force_path = true});
    uint32_t dan = 3;
    everyone_follows(&people[1].m, &(commit_params){.removes = &dan, .remove_count = 1});
    for (size_t i = 2; i < PEOPLE; i += 2)
        everyone_follows(&people[i].m, &(commit_params){.force_path = true});
    member_make_key_package(&people[3].m);
    everyone_follows(&people[5].m, &(commit_params){.adds = &people[3].m.key_package, .add_count = 1});
    commit_output out;
    staged_commit *staged;
    member *anna = &people[0].m;
    for (size_t i = 0; i < PEOPLE; i++)
        memory_records_copy(&people[i].saved, &people[i].m.records);
    MUST(group_stage_commit(anna->group, &(commit_params){.adds = packages + PEOPLE, .add_count = OUTSIDERS},
                            &anna->arena, &out, &staged));
    honest_welcome = keep(out.welcome);
    group_drop_commit(anna->group, staged);
    member_reset(anna);
}

static void load_all(member *m) {
    MUST(ratchet_tree_load(&m->group->tree, &m->arena));
    MUST(group_load_keys(m->group, &m->arena));
    MUST(group_load_proposals(m->group, &m->arena));
    member_reset(m);
}

static void reload(member *m) {
    group_close(m->group);
    m->group = NULL;
    MUST(group_load(&m->host, &m->signer, &m->arena, &m->group));
    load_all(m);
}

static void restore(void) {
    for (size_t i = 0; i < PEOPLE; i++) {
        person *p = &people[i];
        p->out = false;
        memory_records_copy(&p->m.records, &p->saved);
        reload(&p->m);
    }
}

/* --- what is compared --- */

/* All of a group's state in memory that does not change by being looked at. */
static void digest(member *m, uint8_t out[HASH_MAX]) {
    const group *g = m->group;
    span tree;
    uint8_t *references = arena_take(&m->arena, g->proposal_count, HASH_MAX);
    REQUIRE(references != NULL);
    MUST(ratchet_tree_write(&g->tree, &m->arena, &tree));
    for (size_t i = 0; i < g->proposal_count; i++)
        memcpy(references + i * HASH_MAX, g->proposals[i].reference, HASH_MAX);
    const span parts[] = {
        g->context->encoded,
        span_of(&g->secrets, sizeof g->secrets),
        SPAN(g->interim),
        SPAN(g->confirmation_tag),
        SPAN(g->keys.known),
        span_of(&g->own_leaf, sizeof g->own_leaf),
        tree,
        span_of(&g->removed, sizeof g->removed),
        SPAN(g->signer.b),
        span_of(&g->pending, sizeof g->pending),
        span_of(references, g->proposal_count * HASH_MAX),
        span_of(&g->joined, sizeof g->joined),
        span_of(&g->re_init, g->re_init != NULL), /* there or not */
    };
    suite_hash_parts(g->suite, parts, sizeof parts / sizeof *parts, out);
    for (size_t level = 0; level < TREE_MAX_PATH; level++)
        if (g->keys.known[level]) {
            const span with[] = {span_of(out, g->suite->hash_size), SPAN(g->keys.keys[level])};
            suite_hash_parts(g->suite, with, 2, out);
        }
    member_reset(m);
}

static bool same_epoch(const member *a, const member *b) {
    return !a->group->removed && !b->group->removed &&
           span_equal(group_epoch_authenticator(a->group), group_epoch_authenticator(b->group));
}

/* --- a message in the making --- */

typedef struct draft {
    member *m;
    group *g;
    arena *a;
    const step *steps;
    size_t count;
    member *outsider;            /* who sends it, where the sender is no member; m is then whose GroupInfo he has */
    uint32_t leaf;               /* the sender's */
    bool forged, forged_welcome; /* it can't be right: nobody may take it */
    bool public, personal;       /* personal: what it says may differ between receivers */
    staged_commit *staged;
    proposal_effects effects;
    treekem_path path;
    bool joins;   /* the outsider proposes himself */
    bool applied; /* the list was valid */
    secret init_secret, commit_secret, psk_secret, joiner, welcome_secret;
    update_keys update; /* of an Update's leaf */
    bool has_update;
    framed_content content;
    framed_content_auth auth;
    framed_tbs tbs;
    uint32_t outsiders[LIST_MAX]; /* whose key packages are in the list, in its order */
    size_t outsider_count;
} draft;

static span altered(arena *a, span s, uint32_t how) {
    span copy;
    MUST(arena_copy(a, s, &copy));
    if (copy.n > 0)
        ((uint8_t *)(uintptr_t)copy.p)[(how >> 8) % copy.n] ^= (uint8_t)(how | 1);
    return copy;
}

static span filled(arena *a, size_t n, uint32_t with) {
    uint8_t *p = arena_take(a, n, 1);
    REQUIRE(p != NULL);
    memset(p, (int)(with & 0xff), n);
    return span_of(p, n);
}

/* Some bytes: of a size that the step says. */
static span some_bytes(arena *a, uint32_t how) { return filled(a, how % 97, how >> 8); }

static void append_u16(arena *a, u16_list *list, uint16_t value) {
    uint16_t *p = ARENA_ARRAY(a, uint16_t, list->n + 1);
    REQUIRE(p != NULL);
    if (list->n > 0)
        memcpy(p, list->p, list->n * sizeof *p);
    p[list->n] = value;
    *list = (u16_list){p, list->n + 1};
}

static void append_extension(arena *a, extension_list *list, uint16_t type, span data) {
    extension *p = ARENA_ARRAY(a, extension, list->n + 1);
    REQUIRE(p != NULL);
    if (list->n > 0)
        memcpy(p, list->p, list->n * sizeof *p);
    p[list->n] = (extension){type, data};
    *list = (extension_list){p, list->n + 1};
}

static span key_of_node(draft *d, uint32_t which) {
    const tree_node *node = ratchet_tree_node(&d->g->tree, which % tree_width(d->g->tree.leaf_count));
    return node != NULL ? ratchet_tree_key(node) : SPAN_NONE;
}

static const leaf_node *leaf_of(draft *d, uint32_t which) {
    const leaf_node *leaf = ratchet_tree_leaf(&d->g->tree, which % d->g->tree.leaf_count);
    return leaf != NULL ? leaf : ratchet_tree_leaf(&d->g->tree, d->g->own_leaf);
}

enum { LEAF_SIGNATURE = 11, LEAF_PLACE = 12, LEAF_FIELDS = 16 };

static void change_leaf(draft *d, leaf_node *leaf, const step *s) {
    capabilities *can = &leaf->capabilities;
    u16_list *const lists[] = {&can->versions, &can->cipher_suites, &can->extensions, &can->proposals,
                               &can->credentials};
    switch (s->a % LEAF_FIELDS) {
    case 0: leaf->source = (uint8_t)(s->d % 4); break;
    case 1: leaf->encryption_key = key_of_node(d, s->d); break;
    case 2: leaf->encryption_key = altered(d->a, leaf->encryption_key, s->d); break;
    case 3: leaf->encryption_key = some_bytes(d->a, s->d); break;
    case 4: leaf->signature_key = leaf_of(d, s->d)->signature_key; break;
    case 5: leaf->credential.identity = leaf_of(d, s->d)->credential.identity; break;
    case 6:
        leaf->credential = (credential){.type = CREDENTIAL_X509};
        if (s->b & 1)
            append_u16(d->a, &can->credentials, CREDENTIAL_X509);
        break;
    case 7: lists[s->b % 5]->n = 0; break;
    case 8: append_u16(d->a, lists[s->b % 5], (uint16_t)s->d); break;
    case 9:
        append_extension(d->a, &leaf->extensions, (uint16_t)s->d, some_bytes(d->a, s->c));
        if (s->b & 1)
            append_u16(d->a, &can->extensions, (uint16_t)s->d);
        break;
    case 10: leaf->lifetime.not_after = s->d; break;
    case 13: leaf->parent_hash = altered(d->a, leaf->parent_hash, s->d); break;
    case 14: leaf->parent_hash = some_bytes(d->a, s->d); break;
    case 15: leaf->signature_key = some_bytes(d->a, s->d); break;
    default: break; /* when it is signed */
    }
}

static const signature_key *signer_of(const draft *d) {
    return d->outsider != NULL ? &d->outsider->signer : &d->g->signer;
}

/* Applies the LEAF steps from index `from` up to the next proposal, and signs. */
static bool finish_leaf(draft *d, leaf_node *leaf, const signature_key *signer, uint32_t at, size_t from, size_t to,
                        span *encoded) {
    leaf_place place = {d->g->context->group_id, at};
    uint32_t spoiled = 0;
    for (size_t i = from; i < to; i++) {
        const step *s = &d->steps[i];
        if (s->what != LEAF)
            continue;
        change_leaf(d, leaf, s);
        if (s->a % LEAF_FIELDS == LEAF_SIGNATURE)
            spoiled = s->d | 1;
        if (s->a % LEAF_FIELDS == LEAF_PLACE)
            place.leaf = s->d;
    }
    d->forged = d->forged || spoiled != 0 || (leaf->source != LEAF_KEY_PACKAGE && place.leaf != at);
    if (leaf_node_sign(signer, leaf, &place, d->a, encoded) != OK)
        return false; /* a source that cannot be written */
    if (spoiled != 0) {
        leaf->signature = altered(d->a, leaf->signature, spoiled);
        MUST(WIRE_ENCODE(d->a, wire_leaf_node, leaf, encoded));
    }
    return true;
}

/* Key packages say other things with their LEAF and PACKAGE steps, signed by the outsider himself. */
static bool make_package(draft *d, member *who, size_t from, size_t to, key_package *kp) {
    span unused, tbs, encoded;
    uint8_t *signature = arena_take(d->a, SIGNATURE_SIZE, 1);
    REQUIRE(signature != NULL);
    MUST(WIRE_DECODE(who->key_package, d->a, wire_key_package, kp));
    bool touched = false;
    uint32_t spoiled = 0;
    for (size_t i = from; i < to; i++) {
        const step *s = &d->steps[i];
        touched |= s->what == LEAF || s->what == PACKAGE;
        if (s->what != PACKAGE)
            continue;
        switch (s->a % 6) {
        case 0: kp->version = (uint16_t)s->d; break;
        case 1: kp->cipher_suite = (uint16_t)s->d; break;
        case 2: kp->init_key = s->b & 1 ? kp->leaf.encryption_key : key_of_node(d, s->d); break;
        case 3: kp->init_key = some_bytes(d->a, s->d); break;
        case 4: append_extension(d->a, &kp->extensions, (uint16_t)s->d, some_bytes(d->a, s->c)); break;
        default: spoiled = s->d | 1;
        }
    }
    if (!touched)
        return true; /* as published: its owner can join by it */
    if (!finish_leaf(d, &kp->leaf, &who->signer, 0, from, to, &unused))
        return false;
    MUST(WIRE_ENCODE(d->a, wire_key_package_body, kp, &tbs));
    MUST(signature_sign_with_label(&who->signer, "KeyPackageTBS", tbs, d->a, signature));
    d->forged = d->forged || spoiled != 0;
    kp->signature =
        spoiled != 0 ? altered(d->a, span_of(signature, SIGNATURE_SIZE), spoiled) : span_of(signature, SIGNATURE_SIZE);
    MUST(WIRE_ENCODE(d->a, wire_key_package, kp, &encoded));
    MUST(WIRE_DECODE(encoded, d->a, wire_key_package, kp));
    return true;
}

static bool is_proposal(uint8_t what) { return what >= ADD && what <= EXTENSIONS; }

/* The proposal of step i; its LEAF and PACKAGE steps are those up to the next proposal. */
static bool make_proposal(draft *d, size_t i, proposal_or_ref *out) {
    const step *s = &d->steps[i];
    proposal *p = &out->proposal;
    size_t to = i + 1;
    while (to < d->count && !is_proposal(d->steps[to].what))
        to++;
    *out = (proposal_or_ref){.type = PROPOSAL_BY_VALUE};
    switch (s->what) {
    case ADD:
        p->type = PROPOSAL_ADD;
        if (d->outsider_count < LIST_MAX)
            d->outsiders[d->outsider_count++] = s->a % OUTSIDERS;
        return make_package(d, &outsiders[s->a % OUTSIDERS], i + 1, to, &p->add);
    case REMOVE:
        p->type = PROPOSAL_REMOVE;
        p->remove = s->d;
        return true;
    case UPDATE: {
        kem_key_pair *pair = ARENA_NEW(d->a, kem_key_pair);
        span unused;
        MUST(suite_generate_key_pair(d->g->suite, pair));
        memcpy(d->update.leaf, pair->private_key, sizeof d->update.leaf);
        d->has_update = true;
        p->type = PROPOSAL_UPDATE;
        p->update = *leaf_of(d, d->leaf);
        p->update.source = LEAF_UPDATE;
        p->update.encryption_key = span_of(pair->public_key, d->g->suite->kem_public_size);
        return finish_leaf(d, &p->update, signer_of(d), d->leaf, i + 1, to, &unused);
    }
    case REFER:
        out->type = PROPOSAL_BY_REFERENCE;
        if (d->g->proposal_count > 0 && (s->c & 1) == 0)
            MUST(arena_copy(d->a,
                            span_of(d->g->proposals[s->a % d->g->proposal_count].reference, d->g->suite->hash_size),
                            &out->reference));
        else
            out->reference = some_bytes(d->a, s->d);
        return true;
    case PSK:
        p->type = PROPOSAL_PSK;
        d->personal = d->personal || (s->a & 1); /* not all were there in that epoch */
        p->psk = (psk_id){.type = s->a & 1 ? PSK_RESUMPTION : PSK_EXTERNAL,
                          .external_id = span_text("psk"),
                          .usage = (uint8_t)(1 + s->b % 3),
                          .group_id = d->g->context->group_id,
                          .epoch = d->g->context->epoch - s->c % 5,
                          .nonce = s->a & 2 ? filled(d->a, d->g->suite->hash_size, s->d) : some_bytes(d->a, s->d)};
        return true;
    case REINIT:
        p->type = PROPOSAL_REINIT;
        p->re_init = (re_init){
            span_text("the next"), s->a & 1 ? s->b : MLS_VERSION, s->a & 2 ? (uint16_t)s->d : d->g->suite->id, {0}};
        return true;
    case EXTERNAL_INIT:
        p->type = PROPOSAL_EXTERNAL_INIT;
        p->kem_output = some_bytes(d->a, s->d);
        return true;
    default:
        p->type = PROPOSAL_GROUP_CONTEXT_EXTENSIONS;
        p->extensions = (extension_list){0};
        for (unsigned k = 0; k < 1 + s->a % 2u; k++)
            append_extension(d->a, &p->extensions, (uint16_t)s->d, some_bytes(d->a, s->b + 256u * s->c));
        return true;
    }
}

static bool has_step(const draft *d, uint8_t what) {
    for (size_t i = 0; i < d->count; i++)
        if (d->steps[i].what == what)
            return true;
    return false;
}

/* §8.3: the init secret that the outsider shares with the members. */
static void init_from_outside(draft *d, span *kem_output) {
    const suite *s = d->g->suite;
    kem_key_pair pair;
    uint8_t *out = arena_take(d->a, s->kem_output_size, 1);
    REQUIRE(out != NULL);
    MUST(key_schedule_external(s, secret_span(&d->g->secrets.external), &pair));
    d->init_secret.n = s->hash_size;
    MUST(hpke_send_export(s, span_of(pair.public_key, s->kem_public_size), SPAN_NONE,
                          span_text("MLS 1.0 external init secret"), out, d->init_secret.b, s->hash_size));
    *kem_output = span_of(out, s->kem_output_size);
}

static bool make_list(draft *d, commit *body) {
    proposal_or_ref *list = ARENA_ARRAY(d->a, proposal_or_ref, LIST_MAX);
    size_t n = 0;
    REQUIRE(list != NULL);
    if (d->outsider != NULL && !has_step(d, EXTERNAL_INIT)) {
        list[n] = (proposal_or_ref){.type = PROPOSAL_BY_VALUE, .proposal = {.type = PROPOSAL_EXTERNAL_INIT}};
        init_from_outside(d, &list[n++].proposal.kem_output);
    }
    for (size_t i = 0; i < d->count && n < LIST_MAX; i++)
        if (is_proposal(d->steps[i].what)) {
            if (!make_proposal(d, i, &list[n++]))
                return false;
        } else if (d->steps[i].what == TWICE && n > 0) {
            list[n] = list[d->steps[i].a % n];
            n++;
        } else if (d->steps[i].what == SWAP && n > 0) {
            proposal_or_ref first = list[d->steps[i].a % n];
            list[d->steps[i].a % n] = list[d->steps[i].b % n];
            list[d->steps[i].b % n] = first;
        }
    body->proposals.p = list;
    body->proposals.n = n;
    /* As the others will read it: with the bytes that it came from. */
    span encoded;
    commit *seen = ARENA_NEW(d->a, commit);
    REQUIRE(seen != NULL);
    if (WIRE_ENCODE(d->a, wire_commit, body, &encoded) != OK || WIRE_DECODE(encoded, d->a, wire_commit, seen) != OK)
        return false;
    body->proposals = seen->proposals;
    return true;
}

/* What the list does to the tree, where it is valid; where it is not, no receiver comes to that either. */
static void apply_list(draft *d, const commit *body) {
    proposal_items items;
    const committer who = {.from = d->content.sender};
    const psk_source psks = {.host = &d->m->host, .own = d->g};
    MUST(staged_commit_new(d->g, d->leaf, &d->staged));
    d->psk_secret = (secret){.n = d->g->suite->hash_size};
    d->applied = proposals_resolve(d->g, body, &who.from, d->a, &items) == OK &&
                 proposals_apply(d->g, &d->staged->tree, &items, &who, d->a, &d->effects) == OK;
    if (d->applied) {
        if (psk_list_secret(&psks, d->g->suite, &d->effects.psks, d->a, &d->psk_secret) != OK)
            d->psk_secret = (secret){.n = d->g->suite->hash_size};
        return;
    }
    staged_commit_free(d->staged);
    d->effects = (proposal_effects){.context = *d->g->context};
    MUST(staged_commit_new(d->g, d->leaf, &d->staged));
}

/* Other public keys into the path, and the parent hashes that follow from them (§7.9.1). */
static void change_node_keys(draft *d) {
    ratchet_tree *t = &d->staged->tree;
    span keys[TREE_MAX_LEVEL], parent_hash = SPAN_NONE;
    uint8_t hash[HASH_MAX];
    for (size_t i = 0; i < d->path.count; i++)
        MUST(arena_copy(d->a, ratchet_tree_key(ratchet_tree_node(t, d->path.nodes[i])), &keys[i]));
    for (size_t i = 0; i < d->count; i++)
        if (d->steps[i].what == NODE_KEY && d->path.count > 0) {
            span other = d->steps[i].a & 1 ? altered(d->a, key_of_node(d, d->steps[i].d), d->steps[i].d)
                                           : key_of_node(d, d->steps[i].d);
            if (other.n > 0)
                keys[d->steps[i].b % d->path.count] = other;
            d->personal = true; /* who derives the key compares it; others can't */
        }
    for (size_t i = d->path.count; i-- > 0;) {
        MUST(ratchet_tree_set_parent(t, d->path.nodes[i], keys[i], parent_hash));
        MUST(ratchet_tree_parent_hash(t, &ratchet_tree_node(t, d->path.nodes[i])->parent, d->path.copath[i], hash));
        MUST(arena_copy(d->a, span_of(hash, d->g->suite->hash_size), &parent_hash));
    }
    memcpy(d->path.leaf_parent_hash, hash, parent_hash.n);
    d->path.leaf_parent_hash_size = parent_hash.n;
}

static bool make_path(draft *d, commit *body) {
    kem_key_pair *pair = ARENA_NEW(d->a, kem_key_pair);
    leaf_node leaf = *leaf_of(d, d->leaf);
    span encoded;
    size_t own = 0;
    REQUIRE(pair != NULL);
    if (d->outsider != NULL) { /* §12.4.3.2: to the leftmost blank place */
        key_package kp;
        MUST(WIRE_DECODE(d->outsider->key_package, d->a, wire_key_package, &kp));
        leaf = kp.leaf;
        MUST(ratchet_tree_add_leaf(&d->staged->tree, leaf.encoded, d->a, &d->leaf));
        d->staged->sender = d->leaf;
        d->staged->external = true;
    }
    MUST(suite_generate_key_pair(d->g->suite, pair));
    MUST(treekem_generate(&d->staged->tree, d->leaf, &d->path));
    if (has_step(d, NODE_KEY))
        change_node_keys(d);
    leaf.source = LEAF_COMMIT;
    leaf.encryption_key = span_of(pair->public_key, d->g->suite->kem_public_size);
    leaf.parent_hash = span_of(d->path.leaf_parent_hash, d->path.leaf_parent_hash_size);
    /* The LEAF steps before the first proposal are the path's. */
    while (own < d->count && !is_proposal(d->steps[own].what))
        own++;
    if (!finish_leaf(d, &leaf, signer_of(d), d->leaf, 0, own, &encoded) ||
        WIRE_DECODE(encoded, d->a, wire_leaf_node, &body->path.leaf) != OK ||
        ratchet_tree_set_leaf(&d->staged->tree, d->leaf, encoded, d->a) != OK)
        return false;
    body->has_path = true;
    return true;
}

static void change_path(draft *d, update_path *path) {
    size_t n = path->nodes.n;
    update_path_node *nodes = ARENA_ARRAY(d->a, update_path_node, n + 4);
    REQUIRE(nodes != NULL);
    if (n > 0)
        memcpy(nodes, path->nodes.p, n * sizeof *nodes);
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what == NODE && n > 0) {
            update_path_node chosen = nodes[s->b % n];
            switch (s->a % 4) {
            case 0: n--; break;
            case 1:
                if (n < path->nodes.n + 4)
                    nodes[n++] = chosen;
                break;
            case 2:
                nodes[s->b % n] = nodes[s->c % n];
                nodes[s->c % n] = chosen;
                break;
            default: nodes[s->b % n].encryption_key = some_bytes(d->a, s->d);
            }
            d->personal = true;
        }
        if (s->what == SEALED && n > 0) {
            update_path_node *node = &nodes[s->b % n];
            size_t count = node->encrypted_path_secret.n;
            hpke_ciphertext *list = ARENA_ARRAY(d->a, hpke_ciphertext, count + 1);
            REQUIRE(list != NULL);
            if (count > 0)
                memcpy(list, node->encrypted_path_secret.p, count * sizeof *list);
            hpke_ciphertext *chosen = &list[count > 0 ? s->c % count : 0];
            switch (s->a % 6) {
            case 0: chosen->ciphertext = altered(d->a, chosen->ciphertext, s->d); break;
            case 1: chosen->kem_output = altered(d->a, chosen->kem_output, s->d); break;
            case 2: chosen->kem_output = some_bytes(d->a, s->d); break;
            case 3: chosen->ciphertext = some_bytes(d->a, s->d); break;
            case 4: count -= count > 0; break;
            default: list[count++] = *chosen;
            }
            node->encrypted_path_secret.p = list;
            node->encrypted_path_secret.n = count;
            d->personal = true;
        }
    }
    path->nodes.p = nodes;
    path->nodes.n = n;
}

static void change_context(draft *d, group_context *context, bool late) {
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what != CONTEXT || (s->b & 1) != late)
            continue;
        switch (s->a % 8) {
        case 0: context->version = (uint16_t)s->d; break;
        case 1: context->cipher_suite = (uint16_t)s->d; break;
        case 2: context->group_id = altered(d->a, context->group_id, s->d); break;
        case 3: context->epoch = s->c & 1 ? UINT64_MAX - s->d : s->d; break;
        case 4: context->tree_hash = altered(d->a, context->tree_hash, s->d); break;
        case 5: context->tree_hash = some_bytes(d->a, s->d); break;
        case 6:
            context->confirmed_transcript_hash =
                s->c & 1 ? some_bytes(d->a, s->d) : altered(d->a, context->confirmed_transcript_hash, s->d);
            break;
        default: append_extension(d->a, &context->extensions, (uint16_t)s->d, some_bytes(d->a, s->c));
        }
    }
}

/* Before it is signed, or after (late). */
static void change_frame(draft *d, bool late) {
    framed_content *content = &d->content;
    framed_content_auth *auth = &d->auth;
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what != FRAME || (s->b & 1) != late)
            continue;
        switch (s->a % 10) {
        case 0: content->group_id = altered(d->a, content->group_id, s->d); break;
        case 1:
            content->epoch = s->c & 1 ? s->d : content->epoch - s->d % 6;
            d->personal = true; /* not all were there in that epoch */
            break;
        case 2:
            content->sender.leaf = s->d % 12;
            d->personal = true; /* its own message, to one of them */
            break;
        case 3:
            content->sender = (sender){.type = (uint8_t)(1 + s->d % 4), .leaf = s->c, .index = s->c};
            d->personal = true;
            break;
        case 4: content->authenticated_data = some_bytes(d->a, s->d); break;
        case 5: /* and something of that type in it */
            content->type = (uint8_t)(1 + s->d % 3);
            if (content->type == CONTENT_APPLICATION)
                content->application_data = span_text("as if");
            else if (content->type == CONTENT_PROPOSAL)
                content->proposal = (proposal){.type = PROPOSAL_REMOVE, .remove = s->c};
            else
                content->commit = (commit){0};
            break;
        case 6: auth->signature = altered(d->a, auth->signature, s->d); break;
        case 7: auth->signature = some_bytes(d->a, s->d); break;
        case 8: auth->confirmation_tag = altered(d->a, auth->confirmation_tag, s->d); break;
        default: auth->confirmation_tag = some_bytes(d->a, s->d);
        }
    }
}

static void start_content(draft *d, content_type type) {
    d->content = (framed_content){
        .group_id = d->g->context->group_id,
        .epoch = d->g->context->epoch,
        .sender = {.type = SENDER_MEMBER, .leaf = d->leaf},
        .type = (uint8_t)type,
    };
    if (d->outsider != NULL)
        d->content.sender = (sender){.type = type == CONTENT_COMMIT ? SENDER_NEW_MEMBER_COMMIT : SENDER_EXTERNAL};
    d->auth = (framed_content_auth){.content_type = (uint8_t)type};
}

static bool sign(draft *d) {
    change_frame(d, false);
    uint16_t format = d->public ? FORMAT_PUBLIC_MESSAGE : FORMAT_PRIVATE_MESSAGE;
    /* §6.1: for members and external joiners, with the GroupContext. */
    bool inside = d->content.sender.type == SENDER_MEMBER || d->content.sender.type == SENDER_NEW_MEMBER_COMMIT;
    if (framing_tbs(format, &d->content, inside ? d->g->context->encoded : SPAN_NONE, d->a, &d->tbs) != OK)
        return false;
    MUST(framing_sign(signer_of(d), &d->tbs, d->a, &d->auth));
    return true;
}

static bool send_public(draft *d, span *message) {
    if (d->content.type != CONTENT_APPLICATION)
        return framing_protect_public(d->g->suite, secret_span(&d->g->secrets.membership_key), &d->content, &d->tbs,
                                      &d->auth, d->a, message) == OK;
    mls_message *m = ARENA_NEW(d->a, mls_message);
    REQUIRE(m != NULL);
    m->version = MLS_VERSION;
    m->wire_format = FORMAT_PUBLIC_MESSAGE;
    m->public_message = (public_message){d->content, d->auth, SPAN_NONE};
    return WIRE_ENCODE(d->a, wire_mls_message, m, message) == OK;
}

static bool send_private(draft *d, span *message) {
    secret_tree_step key;
    ratchet_kind kind = d->content.type == CONTENT_APPLICATION ? RATCHET_APPLICATION : RATCHET_HANDSHAKE;
    if (secret_tree_prepare_next(&d->g->messages, d->g->own_leaf, kind, d->a, &key) != OK)
        return false;
    uint32_t generation = key.generation;
    for (size_t i = 0; i < d->count; i++) {
        if (d->steps[i].what == FRAME && d->steps[i].a % 16 == 10)
            key.generation = d->steps[i].d;
        if (d->steps[i].what == FRAME && d->steps[i].a % 16 == 11) {
            key.leaf = d->steps[i].d % 12;
            d->personal = true;
        }
    }
    err e = framing_protect_private(d->g->suite, secret_span(&d->g->secrets.sender_data), &key, &d->content, &d->auth,
                                    d->a, message);
    key.generation = generation;
    key.leaf = d->g->own_leaf;
    if (e != OK) {
        secret_tree_step_wipe(&key);
        return false;
    }
    MUST(secret_tree_accept(&d->g->messages, &key, d->a));
    return true;
}

static bool send(draft *d, span *message) {
    const framed_content_auth was = d->auth;
    change_frame(d, true);
    d->forged = d->forged || !span_equal(was.signature, d->auth.signature) ||
                (d->content.type == CONTENT_COMMIT && !span_equal(was.confirmation_tag, d->auth.confirmation_tag));
    if (!(d->public ? send_public(d, message) : send_private(d, message)))
        return false;
    const span made = *message;
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what == BYTE) {
            *message = altered(d->a, *message, (s->d << 8) | s->a);
            d->personal = true; /* one of the sealed path secrets, or who it is from */
        }
        if (s->what == CUT && s->d % 64 < message->n)
            message->n -= s->d % 64;
    }
    d->forged = d->forged || !span_equal(made, *message);
    return true;
}

static bool make_application(draft *d, span *message) {
    start_content(d, CONTENT_APPLICATION);
    d->content.application_data = span_text("to all");
    return sign(d) && send(d, message);
}

static bool make_one_proposal(draft *d, span *message) {
    size_t i = 0;
    proposal_or_ref *entry = ARENA_NEW(d->a, proposal_or_ref);
    REQUIRE(entry != NULL);
    while (i < d->count && (!is_proposal(d->steps[i].what) || d->steps[i].what == REFER))
        i++;
    if (i == d->count || !make_proposal(d, i, entry))
        return false;
    start_content(d, CONTENT_PROPOSAL);
    d->content.proposal = entry->proposal;
    if (d->joins)
        d->content.sender.type = SENDER_NEW_MEMBER_PROPOSAL;
    return sign(d) && send(d, message);
}

/* The tree that a joiner is given: the committer's, with changes, and its hash. */
static bool change_tree(draft *d, span *bytes, uint8_t *hash) {
    optional_node_list list = {0};
    MUST(ratchet_tree_write(&d->staged->tree, d->a, bytes));
    if (!has_step(d, TREE))
        return true;
    MUST(WIRE_DECODE(*bytes, d->a, wire_optional_node_list, &list));
    optional_node *nodes = ARENA_ARRAY(d->a, optional_node, list.n + 16);
    REQUIRE(nodes != NULL);
    memcpy(nodes, list.p, list.n * sizeof *nodes);
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what != TREE)
            continue;
        optional_node *node = &nodes[s->b % list.n], *other = &nodes[s->c % list.n];
        u32_list *unmerged = &node->parent.unmerged_leaves;
        switch (s->a % 10) {
        case 0: node->present = false; break;
        case 1: *node = *other; break;
        case 2: {
            uint32_t *p = ARENA_ARRAY(d->a, uint32_t, unmerged->n + 1);
            REQUIRE(p != NULL);
            if (node->type != NODE_PARENT)
                break;
            if (unmerged->n > 0)
                memcpy(p, unmerged->p, unmerged->n * sizeof *p);
            p[unmerged->n] = s->d;
            *unmerged = (u32_list){p, unmerged->n + 1};
            break;
        }
        case 3: unmerged->n -= node->type == NODE_PARENT && unmerged->n > 0; break;
        case 4: node->parent.encryption_key = key_of_node(d, s->d); break;
        case 5: node->parent.parent_hash = altered(d->a, node->parent.parent_hash, s->d); break;
        case 6: list.n += list.n + 1 < d->staged->tree.leaf_count * 2 + 8; break;
        case 7: list.n -= list.n > 1; break;
        case 8: node->type = (uint8_t)(1 + s->d % 2); break;
        default:
            if (node->type == NODE_LEAF) { /* those who are in it may help: all sign with what is theirs */
                step change = {LEAF, (uint8_t)s->d, (uint8_t)(s->d >> 8), 0, s->d >> 16};
                const signature_key *signer = &d->g->signer;
                for (size_t k = 0; k < PEOPLE; k++)
                    if (span_equal(node->leaf.signature_key, signature_key_public(&people[k].m.signer)))
                        signer = &people[k].m.signer;
                span unused;
                leaf_place place = {d->g->context->group_id, (uint32_t)(s->b % list.n) / 2};
                change_leaf(d, &node->leaf, &change);
                if (leaf_node_sign(signer, &node->leaf, &place, d->a, &unused) != OK)
                    return false;
            }
        }
    }
    list.p = nodes;
    if (WIRE_ENCODE(d->a, wire_optional_node_list, &list, bytes) != OK)
        return false;
    ratchet_tree changed = {0};
    if (ratchet_tree_read(&changed, d->g->suite, *bytes, d->a) == OK)
        MUST(ratchet_tree_root_hash(&changed, hash));
    ratchet_tree_wipe(&changed);
    return true;
}

/* §12.4.1 as group_stage_commit does it, with changes between its steps. `tree`: where a joiner's goes, or NULL. */
static bool make_commit(draft *d, span *message, span *tree) {
    const suite *s = d->g->suite;
    uint8_t *tree_hash = arena_take(d->a, HASH_MAX, 1), *confirmed = arena_take(d->a, HASH_MAX, 1);
    span provisional, encoded, rightly;
    start_content(d, CONTENT_COMMIT);
    commit *body = &d->content.commit;
    REQUIRE(tree_hash != NULL && confirmed != NULL);
    d->init_secret = d->g->secrets.init;
    if (!make_list(d, body))
        return false;
    apply_list(d, body);
    if (!has_step(d, NO_PATH) && !make_path(d, body))
        return false;
    MUST(staged_commit_set_members(d->staged, &d->effects.added, &d->effects.removed));
    MUST(ratchet_tree_root_hash(&d->staged->tree, tree_hash));
    if (tree != NULL && !change_tree(d, tree, tree_hash))
        return false;
    group_context next = d->effects.context;
    next.epoch++;
    next.tree_hash = span_of(tree_hash, s->hash_size);
    change_context(d, &next, false);
    d->commit_secret = (secret){.n = s->hash_size};
    if (body->has_path) {
        MUST(WIRE_ENCODE(d->a, wire_group_context, &next, &provisional));
        MUST(treekem_encrypt(&d->staged->tree, &d->path, d->effects.added.p, d->effects.added.n, provisional, d->a,
                             &body->path));
        d->commit_secret = d->path.commit_secret;
        change_path(d, &body->path);
    }
    if (!sign(d))
        return false;
    MUST(transcript_confirmed(s, span_of(d->g->interim, s->hash_size), d->tbs.format_and_content, d->auth.signature,
                              confirmed));
    next.confirmed_transcript_hash = span_of(confirmed, s->hash_size);
    MUST(WIRE_ENCODE(d->a, wire_group_context, &next, &rightly));
    change_context(d, &next, true);
    MUST(WIRE_ENCODE(d->a, wire_group_context, &next, &encoded));
    d->forged = d->forged || !span_equal(rightly, encoded);
    MUST(OWNED_DECODE(encoded, wire_group_context, group_context, d->a, &d->staged->context));
    MUST(key_schedule_joiner(s, secret_span(&d->init_secret), secret_span(&d->commit_secret), encoded, &d->joiner));
    MUST(key_schedule_epoch(s, secret_span(&d->joiner), secret_span(&d->psk_secret), encoded, &d->welcome_secret,
                            &d->staged->secrets));
    confirmation_tag_make(s, secret_span(&d->staged->secrets.confirmation_key), next.confirmed_transcript_hash,
                          d->staged->confirmation_tag);
    d->auth.confirmation_tag = span_of(d->staged->confirmation_tag, s->hash_size);
    return send(d, message);
}

static void change_info(draft *d, group_info *info, bool late) {
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what != INFO || (s->b & 1) != late)
            continue;
        switch (s->a % 6) {
        case 0: info->signer = s->d % 20; break;
        case 1: info->confirmation_tag = altered(d->a, info->confirmation_tag, s->d); break;
        case 2: info->confirmation_tag = some_bytes(d->a, s->d); break;
        case 3: append_extension(d->a, &info->extensions, (uint16_t)s->d, some_bytes(d->a, s->c)); break;
        case 4: info->signature = altered(d->a, info->signature, s->d); break;
        default: info->context.epoch ^= s->d;
        }
    }
}

static bool seal_info(draft *d, span tree, span *sealed) {
    const suite *s = d->g->suite;
    extension *x = ARENA_NEW(d->a, extension);
    uint8_t *signature = arena_take(d->a, SIGNATURE_SIZE, 1), key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE];
    span tbs, plain;
    REQUIRE(x != NULL && signature != NULL);
    *x = (extension){EXTENSION_RATCHET_TREE, tree};
    group_info info = {.context = *d->staged->context,
                       .extensions = {x, tree.n > 0},
                       .confirmation_tag = span_of(d->staged->confirmation_tag, s->hash_size),
                       .signer = d->g->own_leaf};
    change_info(d, &info, false);
    MUST(WIRE_ENCODE(d->a, wire_group_info_body, &info, &tbs));
    MUST(signature_sign_with_label(&d->g->signer, "GroupInfoTBS", tbs, d->a, signature));
    info.signature = span_of(signature, SIGNATURE_SIZE);
    change_info(d, &info, true);
    d->forged_welcome = !span_equal(info.signature, span_of(signature, SIGNATURE_SIZE)) ||
                        !span_equal(info.confirmation_tag, span_of(d->staged->confirmation_tag, s->hash_size));
    MUST(WIRE_ENCODE(d->a, wire_group_info, &info, &plain));
    uint8_t *out = arena_take(d->a, plain.n + AEAD_TAG_SIZE, 1);
    REQUIRE(out != NULL);
    MUST(key_schedule_welcome_key(s, secret_span(&d->welcome_secret), key, nonce));
    MUST(suite_aead_seal(s, key, nonce, SPAN_NONE, plain, out));
    *sealed = span_of(out, plain.n + AEAD_TAG_SIZE);
    return true;
}

static void change_secrets(draft *d, group_secrets *o) {
    for (size_t i = 0; i < d->count; i++) {
        const step *s = &d->steps[i];
        if (s->what != SECRETS)
            continue;
        switch (s->a % 5) {
        case 0: o->joiner_secret = s->b & 1 ? some_bytes(d->a, s->d) : altered(d->a, o->joiner_secret, s->d); break;
        case 1: o->has_path_secret = !o->has_path_secret; break;
        case 2: o->path_secret = some_bytes(d->a, s->d); break;
        case 3: o->path_secret = altered(d->a, o->path_secret, s->d); break;
        default: {
            psk_id *psk = ARENA_NEW(d->a, psk_id);
            REQUIRE(psk != NULL);
            *psk = (psk_id){.type = s->b & 1 ? PSK_RESUMPTION : PSK_EXTERNAL,
                            .usage = (uint8_t)(1 + s->c % 3),
                            .group_id = d->g->context->group_id,
                            .epoch = s->d,
                            .nonce = some_bytes(d->a, 32)};
            o->psks = (psk_id_list){psk, 1};
        }
        }
    }
}

static bool make_welcome(draft *d, span tree, span *encoded) {
    const suite *s = d->g->suite;
    welcome w = {.cipher_suite = s->id};
    if (d->effects.added.n == 0 || !seal_info(d, tree, &w.encrypted_group_info))
        return false;
    w.secrets.n = d->effects.added.n;
    w.secrets.p = ARENA_ARRAY(d->a, encrypted_group_secrets, w.secrets.n);
    REQUIRE(w.secrets.p != NULL);
    for (size_t i = 0; i < w.secrets.n; i++) {
        const key_package *kp = d->effects.key_packages[i];
        const secret *path_secret =
            d->content.commit.has_path ? treekem_secret_for(&d->path, d->effects.added.p[i]) : NULL;
        group_secrets plain = {
            .joiner_secret = secret_span(&d->joiner), .has_path_secret = path_secret != NULL, .psks = d->effects.psks};
        if (path_secret != NULL)
            plain.path_secret = secret_span(path_secret);
        change_secrets(d, &plain);
        span bytes;
        MUST(WIRE_ENCODE(d->a, wire_group_secrets, &plain, &bytes));
        encrypted_group_secrets *out = &w.secrets.p[i];
        uint8_t *reference = arena_take(d->a, s->hash_size, 1), *kem_output = arena_take(d->a, s->kem_output_size, 1),
                *ciphertext = arena_take(d->a, bytes.n + AEAD_TAG_SIZE, 1);
        REQUIRE(reference != NULL && kem_output != NULL && ciphertext != NULL);
        suite_ref_hash(s, "MLS 1.0 KeyPackage Reference", kp->encoded, reference);
        out->new_member = span_of(reference, s->hash_size);
        out->secrets =
            (hpke_ciphertext){span_of(kem_output, s->kem_output_size), span_of(ciphertext, bytes.n + AEAD_TAG_SIZE)};
        if (suite_encrypt_with_label(s, kp->init_key, "Welcome", w.encrypted_group_info, bytes, kem_output,
                                     ciphertext) != OK)
            return false;
    }
    return WIRE_ENCODE(d->a, wire_welcome, &w, encoded) == OK;
}

/* --- delivering --- */

/* What members said to a message. */
typedef struct verdicts {
    err e[PEOPLE];
    bool asked[PEOPLE];
    staged_commit *staged[PEOPLE];
    incoming_kind kind[PEOPLE];
} verdicts;

static err receive(member *m, span message, incoming *in) {
    memory_records before = {0};
    uint8_t was[HASH_MAX] = {0}, is[HASH_MAX] = {0};
    memory_records_copy(&before, &m->records);
    digest(m, was);
    err e = group_process(m->group, message, &m->arena, in);
    if (e != OK) {
        REQUIRE(memory_records_equal(&before, &m->records));
        digest(m, is);
        REQUIRE(memcmp(was, is, sizeof is) == 0);
    }
    memory_records_free(&before);
    return e;
}

/* Members that once got something else stay apart: *personal is for the rest of the input. */
static void hear(member *from, const draft *d, span message, bool *personal, verdicts *v) {
    const member *outsider = d != NULL ? d->outsider : NULL;
    err common = OK;
    bool any = false, same = true;
    for (size_t i = 0; i < PEOPLE; i++) {
        member *m = &people[i].m;
        incoming in = {0};
        if ((m == from && outsider == NULL) || people[i].out || m->group->removed)
            continue;
        v->asked[i] = true;
        v->e[i] = receive(m, message, &in);
        v->kind[i] = in.kind;
        if (v->e[i] == OK) {
            if (outsider == NULL)
                REQUIRE(in.from == SENDER_MEMBER && in.sender == from->group->own_leaf);
            else if (in.from == SENDER_EXTERNAL)
                REQUIRE(in.kind == INCOMING_PROPOSAL && outsider == &outsiders[0]);
            else
                REQUIRE(span_equal(in.sender_leaf->signature_key, signature_key_public(&outsider->signer)));
            v->staged[i] = in.staged;
        }
        /* Who is removed can check neither path nor tag. */
        bool removed = v->staged[i] != NULL && staged_commit_removes_us(v->staged[i]);
        if (!removed && v->e[i] == OK && d != NULL) {
            REQUIRE(!d->forged);
            if (v->staged[i] != NULL) /* that is what the confirmation tag says */
                REQUIRE(span_equal(secret_span(&v->staged[i]->secrets.epoch_authenticator),
                                   secret_span(&d->staged->secrets.epoch_authenticator)));
        }
        if (!removed && any)
            same = same && v->e[i] == common;
        if (!removed && !any) {
            any = true;
            common = v->e[i];
        }
        member_reset(m);
    }
    if (!same && !*personal)
        for (size_t i = 0; i < PEOPLE; i++)
            if (v->asked[i])
                fprintf(stderr, "%s: %s\n", people[i].m.name, err_name(v->e[i]));
    REQUIRE(same || *personal);
}

/* All who took the commit merge it. Returns whether somebody did. */
static bool follow(verdicts *v) {
    const member *first = NULL;
    bool any = false;
    for (size_t i = 0; i < PEOPLE; i++) {
        member *m = &people[i].m;
        uint8_t live[HASH_MAX] = {0}, loaded[HASH_MAX] = {0}, hash[HASH_MAX];
        if (v->staged[i] == NULL)
            continue;
        any = true;
        bool removed = staged_commit_removes_us(v->staged[i]);
        MUST(group_merge_commit(m->group, v->staged[i], &m->arena));
        member_reset(m);
        REQUIRE(m->group->removed == removed);
        if (removed)
            continue;
        MUST(ratchet_tree_root_hash(&m->group->tree, hash));
        REQUIRE(span_equal(m->group->context->tree_hash, span_of(hash, m->group->suite->hash_size)));
        MUST(validate_tree(&m->group->tree, m->group->context, &m->arena));
        REQUIRE(first == NULL || same_epoch(first, m));
        first = m;
        digest(m, live);
        reload(m);
        digest(m, loaded);
        REQUIRE(memcmp(live, loaded, sizeof live) == 0);
    }
    return any;
}

/* As its receivers have it: a sender that was changed after signing is not in a PrivateMessage. */
static void keep_own_proposal(draft *d) {
    const sender from = {.type = SENDER_MEMBER, .leaf = d->g->own_leaf};
    uint8_t reference[HASH_MAX];
    span encoded;
    MUST(framing_proposal_ref(d->g->suite, &d->tbs, &d->auth, d->a, reference));
    MUST(WIRE_ENCODE(d->a, wire_proposal, &d->content.proposal, &encoded));
    MUST(group_add_proposal(d->g, reference, &from, encoded, d->has_update ? &d->update : NULL, d->a));
}

static void leave(member *m) {
    group_close(m->group);
    m->group = NULL;
    memory_records_free(&m->records);
    m->host.records = memory_records_interface(&m->records);
    member_reset(m);
}

static void invite(draft *d, span encoded, span tree) {
    for (size_t i = 0; i < OUTSIDERS; i++) {
        member *m = &outsiders[i];
        uint8_t hash[HASH_MAX];
        const leaf_node *own;
        span message;
        if (member_join(m, encoded, tree) != OK) {
            REQUIRE(m->group == NULL && m->records.count == 0);
            MUST(member_join(m, honest_welcome, SPAN_NONE));
        } else {
            REQUIRE(!d->forged_welcome);
            REQUIRE(
                span_equal(group_epoch_authenticator(m->group), secret_span(&d->staged->secrets.epoch_authenticator)));
            MUST(ratchet_tree_root_hash(&m->group->tree, hash));
            REQUIRE(span_equal(m->group->context->tree_hash, span_of(hash, m->group->suite->hash_size)));
        }
        MUST(group_member(m->group, group_own_leaf(m->group), &own));
        REQUIRE(own != NULL && span_equal(own->signature_key, signature_key_public(&m->signer)));
        reload(m);
        MUST(group_protect(m->group, span_text("hello"), SPAN_NONE, &m->arena, &message));
        leave(m);
    }
}

/* Genuine: refused by nobody. To propose a Remove twice gives one reference, since Ed25519 signs alike: the second says nothing
 * new and is refused as a replay. */
static void propose_honestly(member *m, const step *s, bool *personal) {
    span message;
    verdicts v = {0};
    err e;
    if (s->c % 3 == 0)
        e = group_propose_update(m->group, NULL, &m->arena, &message);
    else
        e = group_propose_remove(m->group, s->d % 8, &m->arena, &message);
    if (e != OK)
        return; /* nobody there to remove */
    message = keep(message);
    member_reset(m);
    hear(m, NULL, message, personal, &v);
    for (size_t i = 0; i < PEOPLE; i++)
        REQUIRE(!v.asked[i] || v.e[i] == OK || v.e[i] == ERR_REPLAY || !same_epoch(m, &people[i].m));
    free((void *)(uintptr_t)message.p);
}

/* By the GroupInfo of a member: all who are in his epoch take it, and agree. */
static void join_honestly(member *m, member *joiner, bool *personal) {
    span info, message;
    verdicts v = {0};
    leaf_params leaf = member_leaf(joiner);
    MUST(group_make_info(m->group, true, &m->arena, &info));
    external_join_params params = {.group_info = info, .leaf = &leaf};
    err e = group_join_external(&joiner->host, &params, &joiner->arena, &message, &joiner->group);
    member_reset(m);
    if (e != OK) { /* he is a member already; or the group demands what he can't do */
        REQUIRE(e == ERR_DUPLICATE_KEY || e == ERR_UNSUPPORTED);
        member_reset(joiner);
        return;
    }
    for (size_t i = 0; i < PEOPLE; i++)
        v.asked[i] = !people[i].out && !people[i].m.group->removed && same_epoch(m, &people[i].m);
    for (size_t i = 0; i < PEOPLE; i++) {
        incoming in = {0};
        if (!v.asked[i]) {
            *personal = *personal || !people[i].out;
            continue;
        }
        MUST(receive(&people[i].m, message, &in));
        REQUIRE(in.from == SENDER_NEW_MEMBER_COMMIT && staged_commit_external(in.staged));
        v.staged[i] = in.staged;
        member_reset(&people[i].m);
    }
    (void)follow(&v);
    for (size_t i = 0; i < PEOPLE; i++)
        REQUIRE(!v.asked[i] || same_epoch(joiner, &people[i].m));
    leave(joiner);
}

static void send_one(const step *steps, size_t count, const step *how, span *last, bool *personal) {
    member *m = &people[how->b % PEOPLE].m;
    span message = SPAN_NONE, tree = SPAN_NONE, encoded;
    verdicts v = {0};
    if (people[how->b % PEOPLE].out || group_check_open(m->group) != OK)
        return;
    draft *d = calloc(1, sizeof *d);
    REQUIRE(d != NULL);
    *d = (draft){.m = m,
                 .g = m->group,
                 .a = &m->arena,
                 .steps = steps,
                 .count = count,
                 .public = how->c & 1,
                 .leaf = m->group->own_leaf};
    enum send_kind kind = how->a % SEND_KINDS;
    bool made = false;
    switch (kind) {
    case APPLICATION: made = make_application(d, &message); break;
    case PROPOSAL: made = make_one_proposal(d, &message); break;
    case COMMIT: made = make_commit(d, &message, NULL); break;
    case WELCOME:
        if (make_commit(d, &message, &tree) && make_welcome(d, how->c & 2 ? SPAN_NONE : tree, &encoded))
            invite(d, encoded, tree);
        break;
    case EXTERNAL_COMMIT:
        d->outsider = &outsiders[how->c % OUTSIDERS];
        d->public = true;
        made = make_commit(d, &message, NULL);
        break;
    case EXTERNAL_PROPOSAL:
        d->joins = how->c & 1;
        d->outsider = &outsiders[how->c / 2 % OUTSIDERS];
        d->public = true;
        made = make_one_proposal(d, &message);
        break;
    case HONEST_JOIN: join_honestly(m, &outsiders[how->c % OUTSIDERS], personal); break;
    case HONEST_PROPOSAL: propose_honestly(m, how, personal); break;
    default:
        if (last->p != NULL) { /* a message of before once more: whoever it was from */
            for (size_t i = 0; i < PEOPLE; i++) {
                incoming in;
                member *to = &people[i].m;
                if (people[i].out || to->group->removed || receive(to, *last, &in) != OK)
                    continue;
                /* Only a proposal as PublicMessage has no key to be used up; a commit may have been for nobody. */
                if (in.kind == INCOMING_COMMIT)
                    group_drop_commit(to->group, in.staged);
                else
                    *personal = true;
                member_reset(to);
            }
        }
        break;
    }
    if (made) {
        free((void *)(uintptr_t)last->p);
        *last = message = keep(message);
        *personal = *personal || d->personal;
        hear(m, d, message, personal, &v);
        bool accepted = false;
        for (size_t i = 0; i < PEOPLE; i++)
            accepted = accepted || (v.asked[i] && v.e[i] == OK && v.kind[i] == INCOMING_PROPOSAL);
        if (accepted && kind == PROPOSAL && d->content.sender.type == SENDER_MEMBER)
            keep_own_proposal(d);
        if (follow(&v) && d->outsider == NULL)
            people[how->b % PEOPLE].out = true;
    }
    staged_commit_free(d->staged);
    wipe(d, sizeof *d);
    free(d);
    member_reset(m);
}

/* Whoever kept out of it still talks with those who see the same epoch, and commits what was proposed. */
static void go_on(bool commit_too) {
    member *by = NULL;
    span message;
    verdicts v = {0};
    for (size_t i = 0; i < PEOPLE && by == NULL; i++)
        if (!people[i].out && !people[i].m.group->removed)
            by = &people[i].m;
    if (by == NULL)
        return;
    if (by->group->re_init != NULL) {
        REQUIRE(group_protect(by->group, span_text("too late"), SPAN_NONE, &by->arena, &message) == ERR_REINIT);
        return;
    }
    MUST(group_protect(by->group, span_text("it goes on"), SPAN_NONE, &by->arena, &message));
    for (size_t i = 0; i < PEOPLE; i++) {
        member *m = &people[i].m;
        incoming in;
        if (m == by || people[i].out || m->group->removed || !same_epoch(by, m))
            continue;
        MUST(receive(m, message, &in));
        REQUIRE(in.kind == INCOMING_APPLICATION && span_equal(in.plaintext, span_text("it goes on")));
        member_reset(m);
    }
    member_reset(by);
    if (!commit_too)
        return;
    commit_output out;
    staged_commit *staged;
    MUST(group_stage_commit(by->group, &(commit_params){.use_proposals = true, .force_path = true}, &by->arena, &out,
                            &staged));
    for (size_t i = 0; i < PEOPLE; i++) {
        member *m = &people[i].m;
        incoming in = {0};
        if (m == by || people[i].out || m->group->removed || !same_epoch(by, m) ||
            m->group->proposal_count != by->group->proposal_count)
            continue;
        err e = receive(m, out.commit, &in);
        if (e == ERR_PSK) { /* of an epoch in which he was no member */
            people[i].out = true;
            continue;
        }
        MUST(e);
        v.staged[i] = in.staged;
        member_reset(m);
    }
    MUST(group_merge_commit(by->group, staged, &by->arena));
    for (size_t i = 0; i < PEOPLE; i++)
        if (v.staged[i] != NULL && !staged_commit_removes_us(v.staged[i]))
            REQUIRE(span_equal(secret_span(&v.staged[i]->secrets.epoch_authenticator),
                               group_epoch_authenticator(by->group)));
    (void)follow(&v);
    member_reset(by);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    if (!made) {
        crypto_init();
        host_seed_random(1);
        make_group();
        made = true;
    }
    step steps[STEPS_MAX];
    size_t count = size / sizeof(step) < STEPS_MAX ? size / sizeof(step) : STEPS_MAX, from = 0, sends = 0;
    if (count == 0)
        return 0;
    memcpy(steps, data, count * sizeof(step));
    host_seed_random(2);
    restore();
    span last = SPAN_NONE;
    bool personal = false;
    for (size_t i = 0; i < count; i++) {
        steps[i].what %= STEPS;
        if (steps[i].what != SEND)
            continue;
        if (sends++ < SENDS_MAX)
            send_one(steps + from, i - from, &steps[i], &last, &personal);
        from = i + 1;
    }
    free((void *)(uintptr_t)last.p);
    go_on((data[7] & 3) == 0);
    return 0;
}

/* --- mutations that keep the list well formed --- */

static uint32_t chance(unsigned *seed, uint32_t below) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

static step any_step(unsigned *seed) {
    step s = {.what = (uint8_t)(chance(seed, 4) == 0 ? SEND : chance(seed, STEPS))};
    s.a = (uint8_t)chance(seed, chance(seed, 4) == 0 ? 256 : 16);
    s.b = (uint8_t)chance(seed, 16);
    s.c = (uint8_t)chance(seed, chance(seed, 4) == 0 ? 256 : 8);
    s.d = chance(seed, chance(seed, 3) == 0 ? 1u << 24 : 12);
    return s;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    step steps[STEPS_MAX + 1];
    size_t limit = max_size / sizeof(step) < STEPS_MAX ? max_size / sizeof(step) : STEPS_MAX;
    size_t n = size / sizeof(step) < limit ? size / sizeof(step) : limit;
    if (limit < 2)
        return size;
    if (n > 0)
        memcpy(steps, data, n * sizeof(step));
    size_t at = chance(&seed, (uint32_t)n + 1);
    switch (chance(&seed, 8)) {
    case 0:
    case 1: /* a step more */
        memmove(steps + at + 1, steps + at, (n - at) * sizeof(step));
        steps[at] = any_step(&seed);
        n += n < limit;
        break;
    case 2: /* one less */
        if (at < n) {
            memmove(steps + at, steps + at + 1, (n - at - 1) * sizeof(step));
            n--;
        }
        break;
    case 3:
        if (at < n)
            steps[at] = any_step(&seed);
        break;
    case 4: /* moved */
        if (at < n) {
            size_t to = chance(&seed, (uint32_t)n);
            step moved = steps[at];
            steps[at] = steps[to];
            steps[to] = moved;
        }
        break;
    case 5:
        if (at < n) {
            step other = any_step(&seed);
            uint8_t *byte = &steps[at].a + chance(&seed, 3);
            *byte = (uint8_t)chance(&seed, 24);
            if (chance(&seed, 2))
                steps[at].d = other.d;
        }
        break;
    default:
        if (n > 0)
            (void)LLVMFuzzerMutate((uint8_t *)steps, n * sizeof(step), n * sizeof(step));
    }
    if (n > limit)
        n = limit;
    if (n == 0 || steps[n - 1].what % STEPS != SEND) {
        if (n == limit)
            n--;
        steps[n] = any_step(&seed);
        steps[n++].what = SEND;
    }
    memcpy(data, steps, n * sizeof(step));
    return n * sizeof(step);
}
