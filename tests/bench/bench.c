#include "bench.h"

#include <sodium.h>
#include <stdlib.h>

#include "crypto/random.h"
#include "crypto/seal.h"
#include "party.h"

#define ARENA_SIZE (2u << 20)
#define LARGEST 65536
#define QUEUE_MAX 512 /* messages made ahead; less than a receiver reads forward */

/* ---------------------------------------------------------------- libsodium by itself */

static uint8_t input[LARGEST], output[LARGEST + 64], key[64], nonce[24], digest[64], point[32];
static uint8_t sign_public[32], sign_secret[64], signature[64];
static uint8_t kem_public[crypto_kem_xwing_PUBLICKEYBYTES], kem_secret[crypto_kem_xwing_SECRETKEYBYTES];
static uint8_t kem_ciphertext[crypto_kem_xwing_CIPHERTEXTBYTES];

typedef int primitive(size_t n);

/* What a message signs besides its text: group context, label, sender; and how its plaintext is padded. */
#define SIGNED_BESIDES 230
#define SEALED_BESIDES 70

static int aead_seal(size_t n) {
    return crypto_aead_chacha20poly1305_ietf_encrypt(output, NULL, input, n, NULL, 0, NULL, nonce, key);
}
/* Of what is no ciphertext, so it fails, with the work of decrypting done as well. */
static int aead_open(size_t n) {
    int refused = crypto_aead_chacha20poly1305_ietf_decrypt(output, NULL, NULL, input, n, NULL, 0, nonce, key);
    return (refused == 0) | crypto_stream_chacha20_ietf_xor_ic(output, input, n, nonce, 1, key);
}
static int sha256_of(size_t n) { return crypto_hash_sha256(digest, input, n); }
static int sha512_of(size_t n) { return crypto_hash_sha512(digest, input, n); }
static int x25519_base(size_t n) {
    (void)n;
    return crypto_scalarmult_curve25519_base(digest, key);
}
static int x25519(size_t n) {
    (void)n;
    return crypto_scalarmult_curve25519(digest, key, point);
}
static int sign(size_t n) { return crypto_sign_detached(signature, NULL, input, n, sign_secret); }
static int verify(size_t n) { return crypto_sign_verify_detached(signature, input, n, sign_public); }
static int xwing_keygen(size_t n) {
    (void)n;
    return crypto_kem_xwing_keypair(kem_public, kem_secret);
}
static int xwing_enc(size_t n) {
    (void)n;
    return crypto_kem_xwing_enc(kem_ciphertext, digest, kem_public);
}
static int xwing_dec(size_t n) {
    (void)n;
    return crypto_kem_xwing_dec(digest, kem_ciphertext, kem_secret);
}
static int hkdf256(size_t n) {
    uint8_t prk[32];
    return crypto_kdf_hkdf_sha256_extract(prk, key, 32, input, 32) |
           crypto_kdf_hkdf_sha256_expand(digest, n, (const char *)input, 32, prk);
}
static int hkdf512(size_t n) {
    uint8_t prk[64];
    return crypto_kdf_hkdf_sha512_extract(prk, key, 32, input, 32) |
           crypto_kdf_hkdf_sha512_expand(digest, n, (const char *)input, 32, prk);
}
static int argon2id(size_t n) {
    return crypto_pwhash_argon2id(digest, n, "12345678", 8, key, STRETCH_COST.passes,
                                  (size_t)STRETCH_COST.kibibytes * 1024, crypto_pwhash_argon2id_ALG_ARGON2ID13);
}

/* The five derivations of a message (RFC 9420 §6.3.2, §9.1): two keys, that enter HMAC-SHA-512 once each. */
static int derivations(void) {
    crypto_auth_hmacsha512_state keyed, h;
    for (int i = 0; i < 5; i++) {
        if (i == 0 || i == 2)
            crypto_auth_hmacsha512_init(&keyed, key, 64);
        h = keyed;
        crypto_auth_hmacsha512_update(&h, input, 80);
        crypto_auth_hmacsha512_final(&h, digest);
    }
    return 0;
}

static size_t padded(size_t n) {
    size_t size = 256;
    while (size < n && size < 4096)
        size *= 2;
    return n <= size ? size : n; /* Padmé adds at most 12 % */
}

/* All that libsodium has to do for a message of suite 0xF00E, and nothing else. */
static int send_floor(size_t n) {
    size_t rest = n == LARGEST ? 0 : SIGNED_BESIDES;
    return sign(n + rest) | derivations() | aead_seal(padded(n + (rest > 0 ? SEALED_BESIDES : 0))) | aead_seal(12);
}

static int receive_floor(size_t n) {
    size_t rest = n == LARGEST ? 0 : SIGNED_BESIDES;
    return verify(n + rest) | derivations() | aead_open(padded(n + (rest > 0 ? SEALED_BESIDES : 0))) | aead_open(12);
}

static const struct {
    const char *name;
    primitive *run;
    size_t n;
} primitives[] = {
    {"sodium aead 100", aead_seal, 100},
    {"sodium aead 1000", aead_seal, 1000},
    {"sodium aead 65536", aead_seal, 65536},
    {"sodium sha256 65536", sha256_of, 65536},
    {"sodium sha512 65536", sha512_of, 65536},
    {"sodium x25519 base", x25519_base, 0},
    {"sodium x25519", x25519, 0},
    {"sodium sign 32", sign, 32},
    {"sodium sign 100", sign, 100},
    {"sodium sign 1000", sign, 1000},
    {"sodium sign 65536", sign, 65536},
    {"sodium verify 32", verify, 32},
    {"sodium verify 100", verify, 100},
    {"sodium verify 1000", verify, 1000},
    {"sodium verify 65536", verify, 65536},
    {"sodium xwing keygen", xwing_keygen, 0},
    {"sodium xwing enc", xwing_enc, 0},
    {"sodium xwing dec", xwing_dec, 0},
    {"sodium hkdf-sha256", hkdf256, 32},
    {"sodium hkdf-sha512", hkdf512, 64},
    {"sodium argon2id", argon2id, 32},
    {"sodium send 100", send_floor, 100},
    {"sodium send 1000", send_floor, 1000},
    {"sodium send 65536", send_floor, 65536},
    {"sodium receive 100", receive_floor, 100},
    {"sodium receive 1000", receive_floor, 1000},
    {"sodium receive 65536", receive_floor, 65536},
};
#define PRIMITIVES (int)(sizeof primitives / sizeof *primitives)

static int start_primitives(void) {
    randombytes_buf(input, sizeof input);
    randombytes_buf(key, sizeof key);
    crypto_scalarmult_curve25519_base(point, input);
    crypto_sign_keypair(sign_public, sign_secret);
    return xwing_keygen(0) | xwing_enc(0) ? __LINE__ : 0;
}

/* ---------------------------------------------------------------- two members of a group */

/* What side 0 sends, side 1 receives. Sending by itself is measured with side 1, so that nobody falls behind. */
typedef struct pair {
    uint16_t suite;
    bool stored;
    party sides[2];
    span queue[QUEUE_MAX];
    size_t queued;
} pair;

static pair pairs[] = {{.suite = SUITE_XWING},
                       {.suite = SUITE_X25519},
                       {.suite = SUITE_XWING, .stored = true},
                       {.suite = SUITE_X25519, .stored = true}};
#define PAIRS (int)(sizeof pairs / sizeof *pairs)
static arena scratch;

static int pair_start(pair *p) {
    party *a = &p->sides[0], *b = &p->sides[1];
    const suite *s = suite_find(p->suite);
    MUST(party_init(a, p->stored));
    MUST(party_init(b, p->stored));
    leaf_params leaf_a = party_leaf(&a->signer), leaf_b = party_leaf(&b->signer);
    span key_package;
    key_package_secrets secrets;
    commit_output out;
    staged_commit *staged;
    MUST(party_begin(a));
    MUST(group_create(&a->host, &(group_params){.suite = s, .group_id = span_text("bench"), .leaf = &leaf_a}, &scratch,
                      &a->group));
    MUST(key_package_create(s, &leaf_b, false, &scratch, &key_package, &secrets));
    MUST(group_stage_commit(a->group, &(commit_params){.adds = &key_package, .add_count = 1}, &scratch, &out, &staged));
    MUST(group_merge_commit(a->group, staged, &scratch));
    MUST(party_commit(a));
    MUST(party_begin(b));
    join_params join = {.welcome = out.welcome, .key_package = key_package, .secrets = &secrets, .signer = &b->signer};
    MUST(group_join(&b->host, &join, &scratch, &b->group));
    MUST(party_commit(b));
    arena_reset(&scratch);
    return 0;
}

/* As client/message.c keeps a text. */
static err keep_text(store *s, span text, bool own) {
    query q;
    uint8_t id[MESSAGE_ID_SIZE];
    random_bytes(id, sizeof id);
    query_init(&q, s,
               "INSERT INTO message (id, conversation, message_id, kind, device_id, subject_id, own, text, state, "
               "sent_ms, received_ms)"
               " VALUES ((SELECT coalesce(max(id), 1099511627776) + 1 FROM message), 1, ?, 0, ?, ?, ?, ?, 0, ?, ?)");
    query_bind_blob(&q, SPAN(id));
    query_bind_blob(&q, SPAN(id));
    query_bind_blob(&q, SPAN(id));
    query_bind_int(&q, own);
    query_bind_text(&q, text);
    query_bind_int(&q, PARTY_NOW_MS);
    query_bind_int(&q, PARTY_NOW_MS);
    return query_end(&q);
}

/* One message in one transaction. */
static err send_one(const party *s, size_t n, span *message) {
    span text = span_of(input, n);
    TRY(party_begin(s));
    TRY(group_protect(s->group, text, SPAN_NONE, &scratch, message));
    if (s->client.store != NULL)
        TRY(keep_text(s->client.store, text, true));
    return party_commit(s);
}

static err receive_one(const party *s, span message) {
    incoming in;
    TRY(party_begin(s));
    TRY(group_process(s->group, message, &scratch, &in));
    if (s->client.store != NULL)
        TRY(keep_text(s->client.store, in.plaintext, false));
    return party_commit(s);
}

static void queue_clear(pair *p) {
    for (size_t i = 0; i < p->queued; i++)
        free((void *)(uintptr_t)p->queue[i].p);
    p->queued = 0;
}

/* ---------------------------------------------------------------- the list */

typedef struct message_measure {
    pair *pair;
    size_t n;
    bool receive;
} message_measure;

#define MESSAGES_MAX 32
static message_measure messages[MESSAGES_MAX];
static int message_count;

static void list_messages(void) {
    static const size_t sizes[] = {100, 1000, LARGEST};
    for (int p = 0; p < PAIRS; p++)
        for (int i = 0; i < 6; i++)
            /* A text is never so long (TEXT_MAX): the store does without. */
            if (!(pairs[p].stored && sizes[i / 2] == LARGEST))
                messages[message_count++] = (message_measure){&pairs[p], sizes[i / 2], i % 2 != 0};
}

EXPORT int bench_start(void) {
    crypto_init();
    MUST(arena_init(&scratch, ARENA_SIZE));
    int failed = start_primitives();
    for (size_t i = 0; i < sizeof input; i++) /* a text is UTF-8 */
        input[i] = (uint8_t)('a' + input[i] % 26);
    for (int i = 0; i < PAIRS && failed == 0; i++)
        failed = pair_start(&pairs[i]);
    list_messages();
    return failed;
}

EXPORT int bench_count(void) { return PRIMITIVES + message_count; }

static char *append(char *to, const char *text) {
    while (*text != '\0')
        *to++ = *text++;
    *to = '\0';
    return to;
}

EXPORT const char *bench_name(int measure) {
    static char name[64];
    if (measure < 0 || measure >= bench_count())
        return NULL;
    if (measure < PRIMITIVES)
        return primitives[measure].name;
    message_measure m = messages[measure - PRIMITIVES];
    char *end = append(name, m.pair->stored ? "store " : "mls ");
    end = append(end, m.pair->suite == SUITE_XWING ? "f00e " : "0003 ");
    end = append(end, m.receive ? "receive " : "send ");
    append(end, m.n == 100 ? "100" : m.n == 1000 ? "1000" : "65536");
    return name;
}

EXPORT int bench_limit(int measure, int whole) {
    if (measure < PRIMITIVES)
        return -1;
    message_measure m = messages[measure - PRIMITIVES];
    primitive *limit = whole ? (m.receive ? receive_floor : send_floor) : (m.receive ? verify : sign);
    for (int i = 0; i < PRIMITIVES; i++)
        if (primitives[i].n == m.n && primitives[i].run == limit)
            return i;
    return -1;
}

EXPORT int bench_most(int measure) {
    return measure < PRIMITIVES ? 1 << 30 : messages[measure - PRIMITIVES].n == LARGEST ? 64 : QUEUE_MAX;
}

/* The signature that verifying needs. */
static int make_verifiable(int measure) {
    size_t n = primitives[measure].n;
    if (primitives[measure].run == receive_floor && n != LARGEST)
        n += SIGNED_BESIDES;
    return sign(n);
}

EXPORT int bench_prepare(int measure, int count) {
    if (measure < PRIMITIVES)
        return make_verifiable(measure);
    message_measure m = messages[measure - PRIMITIVES];
    queue_clear(m.pair);
    for (int i = 0; m.receive && i < count; i++) {
        span message;
        MUST(send_one(&m.pair->sides[0], m.n, &message));
        uint8_t *copy = malloc(message.n);
        if (copy == NULL)
            return __LINE__;
        memcpy(copy, message.p, message.n);
        m.pair->queue[m.pair->queued++] = span_of(copy, message.n);
        arena_reset(&scratch);
    }
    return 0;
}

EXPORT int bench_run(int measure, int count) {
    if (measure < PRIMITIVES) {
        int failed = 0;
        while (count-- > 0)
            failed |= primitives[measure].run(primitives[measure].n);
        return failed;
    }
    message_measure m = messages[measure - PRIMITIVES];
    for (int i = 0; i < count; i++) {
        span message;
        const party *s = &m.pair->sides[1];
        MUST(m.receive ? receive_one(s, m.pair->queue[i]) : send_one(s, m.n, &message));
        arena_reset(&scratch);
    }
    return 0;
}

/* ---------------------------------------------------------------- a cold start */

static err first_key(int id, arena *a, span *encoded, key_package_secrets *secrets) {
    signature_key signer;
    party_signer(&signer);
    leaf_params leaf = party_leaf(&signer);
    return key_package_create(suite_find((uint16_t)id), &leaf, false, a, encoded, secrets);
}

EXPORT int bench_first_key(int id) {
    arena a;
    span encoded;
    key_package_secrets secrets;
    crypto_init();
    MUST(arena_init(&a, 65536));
    MUST(first_key(id, &a, &encoded, &secrets));
    return 0;
}

EXPORT int bench_first_key_stored(int id, int on_disk) {
    arena a;
    store *s;
    query q;
    span encoded;
    key_package_secrets secrets;
    uint8_t store_key[STORE_KEY_SIZE], reference[HASH_MAX];
    size_t reference_size;
    crypto_init();
    random_bytes(store_key, sizeof store_key);
    MUST(arena_init(&a, 65536));
    MUST(store_open(on_disk ? "account.db" : "", store_key, true, &account_schema, &s));
    MUST(store_begin(s));
    MUST(first_key(id, &a, &encoded, &secrets));
    MUST(key_package_reference(encoded, &a, reference, &reference_size));
    query_init(&q, s,
               "INSERT INTO key_package (reference, encoded, secrets, last_resort, created_ms) VALUES (?, ?, ?, 0, 0)");
    query_bind_blob(&q, span_of(reference, reference_size));
    query_bind_blob(&q, encoded);
    query_bind_blob(&q, span_of((const uint8_t *)&secrets, sizeof secrets));
    MUST(query_end(&q));
    MUST(store_commit(s));
    return 0;
}
