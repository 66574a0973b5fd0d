/* mls_member.h: a member of MLS groups for tests: keys, records, an arena, and a relay's log for many of them. */
#ifndef SUPPORT_MLS_MEMBER_H
#define SUPPORT_MLS_MEMBER_H

#include "mls/group.h"
#include "support/memory_records.h"

typedef struct member {
    const suite *suite;
    char name[16];
    signature_key signer;
    memory_records records;
    bool in_memory; /* without records */
    arena arena;
    uint64_t now; /* ms */
    group_host host;
    /* For the leaf's capabilities, and of groups created. */
    u16_list extension_types, proposal_types, credential_types;
    const credential *credential; /* NULL: the name */
    extension_list group_extensions;
    group *group;     /* NULL: not in the group */
    span key_package; /* on the heap */
    key_package_secrets secrets;
} member;

/* One second in 2026; key packages of members are valid around it. */
#define MEMBER_NOW_MS 1790000000000ull

void member_init(member *m, const suite *s, const char *name);
void member_free(member *m);
leaf_params member_leaf(const member *m);
void member_make_key_package(member *m);
void member_create_group(member *m, const char *id);
err member_join(member *m, span encoded_welcome, span tree);
/* Closes the group and opens it again from its records. */
void member_reload(member *m);
/* Gives the arena back; spans in it end. */
void member_reset(member *m);
/* Copies a span to the heap, so that it outlives arenas. Freed by the caller. */
span keep(span s);

#endif
