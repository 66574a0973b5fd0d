#include "waits.h"

#include "limits.h"

/* Device ids are halves of hashes: any bytes of one will do, and nobody chooses many that collide without as many keys
 * and certificates. */
static size_t bucket_of(const uint8_t device[ID_SIZE]) { return (size_t)(device[0] | device[1] << 8) % WAITS_BUCKETS; }

static waiter *same_device(waiter *e, const uint8_t device[ID_SIZE]) {
    while (e != NULL && memcmp(e->wait.device, device, ID_SIZE) != 0)
        e = e->next;
    return e;
}

waiter *waits_of(const waits *w, const uint8_t device[ID_SIZE]) {
    return same_device(w->bucket[bucket_of(device)], device);
}

waiter *waits_next(const waiter *entry) { return same_device(entry->next, entry->wait.device); }

waiter *waits_add(waits *w, waiter *entry) {
    waiter **head = &w->bucket[bucket_of(entry->wait.device)];
    entry->next = *head;
    if (*head != NULL)
        (*head)->link = &entry->next;
    entry->link = head;
    *head = entry;
    w->count++;
    size_t n = 0;
    waiter *oldest = NULL;
    for (waiter *e = waits_of(w, entry->wait.device); e != NULL; e = waits_next(e)) {
        oldest = e;
        n++;
    }
    if (n <= WAITS_A_DEVICE_MAX)
        return NULL;
    waits_remove(w, oldest);
    return oldest;
}

void waits_remove(waits *w, waiter *entry) {
    if (entry->link == NULL)
        return;
    *entry->link = entry->next;
    if (entry->next != NULL)
        entry->next->link = entry->link;
    entry->link = NULL;
    entry->next = NULL;
    w->count--;
}
