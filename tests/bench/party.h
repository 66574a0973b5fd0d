/* party.h: a member of groups for the benchmarks: its keys, and a store with the table that groups keep their records in,
 * or none. */
#ifndef BENCH_PARTY_H
#define BENCH_PARTY_H

#include "client/state.h"

#define PARTY_NOW_MS 1790000000000ull

#ifdef __wasm__
#define EXPORT __attribute__((used, visibility("default")))
#else
#define EXPORT
#endif

/* Every step of a benchmark must succeed: one of failures would look fast. The line says which did not. */
#define MUST(expression)                                                                                               \
    do {                                                                                                               \
        if ((expression) != OK)                                                                                        \
            return __LINE__;                                                                                           \
    } while (0)

typedef struct party {
    client client; /* of which the store and the records over it are used */
    open_group slot;
    group_host host;
    signature_key signer;
    group *group;
} party;

MUST_USE err party_init(party *p, bool stored);
void party_free(party *p);
/* A transaction, where there is a store. */
MUST_USE err party_begin(const party *p);
MUST_USE err party_commit(const party *p);
/* Draws a signature key. */
void party_signer(signature_key *signer);
leaf_params party_leaf(const signature_key *signer);

#endif
