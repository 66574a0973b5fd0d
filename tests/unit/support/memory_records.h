/* memory_records.h: group_records (mls/records.h) in memory, with transactions and faults, for tests. */
#ifndef SUPPORT_MEMORY_RECORDS_H
#define SUPPORT_MEMORY_RECORDS_H

#include "mls/records.h"

typedef struct memory_record {
    record_key key;
    uint8_t *value;
    size_t size;
} memory_record;

typedef struct memory_records {
    memory_record *all; /* ordered by kind, epoch, index */
    size_t count, capacity;
    size_t puts, bytes_put, dels, gets, bytes_got; /* since memory_records_count_anew */
    long fail_after;                               /* the n-th operation from now fails with ERR_STORE; 0: none */
} memory_records;

void memory_records_free(memory_records *m);
/* The interface of them; ctx is m. */
group_records memory_records_interface(memory_records *m);
/* A copy, to come back to: what a transaction's rollback does. */
void memory_records_copy(memory_records *to, const memory_records *from);
bool memory_records_equal(const memory_records *a, const memory_records *b);
void memory_records_count_anew(memory_records *m);
/* How many there are of a kind, in all epochs. */
size_t memory_records_of_kind(const memory_records *m, record_kind kind);
bool memory_records_contain(const memory_records *m, span bytes);

#endif
