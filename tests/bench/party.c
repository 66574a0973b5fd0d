#include "party.h"

#include "crypto/random.h"

static uint64_t now_ms(void *ctx) {
    (void)ctx;
    return PARTY_NOW_MS;
}

void party_signer(signature_key *signer) {
    uint8_t seed[ED25519_SEED_SIZE];
    random_bytes(seed, sizeof seed);
    signature_key_from_seed(seed, signer);
}

leaf_params party_leaf(const signature_key *signer) {
    return (leaf_params){.identity = span_text("0123456789abcdef"),
                         .signer = signer,
                         .not_before = PARTY_NOW_MS / 1000 - 100,
                         .not_after = PARTY_NOW_MS / 1000 + 90 * 86400};
}

err party_init(party *p, bool stored) {
    party_signer(&p->signer);
    p->host = (group_host){.now = now_ms};
    if (!stored)
        return OK;
    TRY(store_open("", NULL, true, &account_schema, &p->client.store));
    p->slot = (open_group){.client = &p->client, .conversation = 1};
    p->host.records = groups_host(&p->slot).records;
    return OK;
}

void party_free(party *p) {
    group_close(p->group);
    store_close(p->client.store);
    *p = (party){0};
}

err party_begin(const party *p) { return p->client.store != NULL ? store_begin(p->client.store) : OK; }
err party_commit(const party *p) { return p->client.store != NULL ? store_commit(p->client.store) : OK; }
