#include "client/account_lock.h"

#include "base/secret.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "host.h"
#include "wire/wire.h"

#define SLOT_SIZE 256 /* half a sector: a slot is written in one piece */
#define SLOT_COUNT 2
#define CHECK_SIZE 16

typedef struct key_slot {
    uint8_t magic[8];
    uint64_t generation; /* the slot with the higher one counts */
    uint8_t finished;
    uint32_t wrong;
    uint64_t last_wrong_ms;
    uint32_t passes, kibibytes;
    uint8_t salt[STRETCH_SALT_SIZE];
    uint8_t sealed[STORE_KEY_SIZE + SEAL_OVERHEAD];
    uint8_t check[CHECK_SIZE]; /* of a SHA-256 over all before: finds torn writes, keeps nobody out */
} key_slot;

static const uint8_t magic[8] = {'S', 'o', 't', 't', 'o', 'K', 'e', '1'};

static void wire_key_slot(wire *w, key_slot *o) {
    wire_fixed(w, o->magic, sizeof o->magic);
    wire_u64(w, &o->generation);
    wire_u8(w, &o->finished);
    wire_u32(w, &o->wrong);
    wire_u64(w, &o->last_wrong_ms);
    wire_u32(w, &o->passes);
    wire_u32(w, &o->kibibytes);
    wire_fixed(w, o->salt, sizeof o->salt);
    wire_fixed(w, o->sealed, sizeof o->sealed);
    wire_fixed(w, o->check, sizeof o->check);
}

static size_t slot_bytes(void) {
    wire w;
    key_slot none = {0};
    wire_measure_init(&w);
    wire_key_slot(&w, &none);
    return w.at;
}

static err host_err(int32_t code) {
    switch (code) {
    case HOST_EFULL: return ERR_STORE_FULL;
    case HOST_EBUSY: return ERR_STORE_BUSY;
    case HOST_EDENIED: return ERR_STORE_DENIED;
    case HOST_ENOENT: return ERR_NOT_FOUND;
    default: return ERR_STORE;
    }
}

static err slot_parse(const uint8_t bytes[SLOT_SIZE], key_slot *slot) {
    wire w;
    size_t n = slot_bytes();
    uint8_t check[32];
    wire_read_init(&w, span_of(bytes, n), NULL);
    wire_key_slot(&w, slot);
    TRY(wire_end(&w));
    sha256(span_of(bytes, n - CHECK_SIZE), check);
    if (memcmp(slot->magic, magic, sizeof magic) != 0 || memcmp(check, slot->check, CHECK_SIZE) != 0)
        return ERR_STORE_CORRUPT;
    return OK;
}

/* Reads the newest whole slot. ERR_NOT_FOUND: no file. */
static err slot_read(const char *path, key_slot *slot, int *index) {
    int32_t fd = host_file_open(path, strlen(path), HOST_OPEN_READONLY);
    if (fd < 0)
        return host_err(fd);
    err e = ERR_STORE_CORRUPT;
    for (int i = 0; i < SLOT_COUNT; i++) {
        uint8_t bytes[SLOT_SIZE] = {0};
        key_slot candidate;
        if (host_file_read(fd, bytes, sizeof bytes, (double)i * SLOT_SIZE) == SLOT_SIZE &&
            slot_parse(bytes, &candidate) == OK && (e != OK || candidate.generation > slot->generation)) {
            *slot = candidate;
            *index = i;
            e = OK;
        }
    }
    host_file_close(fd);
    return e;
}

static err slot_write(const char *path, key_slot *slot, int index) {
    uint8_t bytes[SLOT_SIZE] = {0}, check[32];
    size_t n = slot_bytes();
    wire w;
    memcpy(slot->magic, magic, sizeof magic);
    for (int pass = 0; pass < 2; pass++) { /* once to hash, once with the hash in it */
        wire_write_init(&w, bytes, sizeof bytes);
        wire_key_slot(&w, slot);
        TRY(w.error);
        sha256(span_of(bytes, n - CHECK_SIZE), check);
        memcpy(slot->check, check, CHECK_SIZE);
    }
    int32_t fd = host_file_open(path, strlen(path), HOST_OPEN_CREATE);
    if (fd < 0)
        return host_err(fd);
    int32_t code = host_file_write(fd, bytes, sizeof bytes, (double)index * SLOT_SIZE);
    /* After a sync that failed nobody knows whether the slot is on the medium: never a full disk, of which nothing was taken. */
    err e = code < 0 ? host_err(code) : host_file_sync(fd) < 0 ? ERR_STORE : OK;
    host_file_close(fd);
    return e;
}

/* Writes the other slot, with the next generation. */
static err slot_advance(const char *path, key_slot *slot, int *index) {
    slot->generation++;
    *index = 1 - *index;
    return slot_write(path, slot, *index);
}

static int64_t wait_ms(const key_slot *slot) {
    if (slot->wrong < PIN_FREE_TRIES)
        return 0;
    uint32_t doublings = slot->wrong - PIN_FREE_TRIES;
    int64_t wait = doublings > 10 ? PIN_LONGEST_WAIT_MS : (int64_t)PIN_FIRST_WAIT_MS << doublings;
    if (wait > PIN_LONGEST_WAIT_MS)
        wait = PIN_LONGEST_WAIT_MS;
    int64_t passed = (int64_t)host_now() - (int64_t)slot->last_wrong_ms;
    if (passed < 0) /* the clock was set back: start the wait again rather than wait for ever */
        passed = 0;
    return passed >= wait ? 0 : wait - passed;
}

err account_lock_status(const char *path, lock_status *out) {
    key_slot slot;
    int index;
    *out = (lock_status){0};
    err e = slot_read(path, &slot, &index);
    if (e == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    *out = (lock_status){true, slot.finished != 0, slot.wrong, wait_ms(&slot)};
    return OK;
}

static err slot_seal(key_slot *slot, span pin, const uint8_t key[STORE_KEY_SIZE]) {
    uint8_t stretched[SEAL_KEY_SIZE];
    random_bytes(slot->salt, sizeof slot->salt);
    slot->passes = STRETCH_COST.passes;
    slot->kibibytes = STRETCH_COST.kibibytes;
    TRY(stretch(pin, slot->salt, STRETCH_COST, stretched, sizeof stretched));
    seal(stretched, SPAN(magic), span_of(key, STORE_KEY_SIZE), slot->sealed);
    wipe(stretched, sizeof stretched);
    return OK;
}

err account_lock_create(const char *path, span pin, const uint8_t key[STORE_KEY_SIZE]) {
    lock_status status;
    err e = account_lock_status(path, &status);
    if (e == OK && status.finished)
        return ERR_EXISTS;
    if (e != OK && e != ERR_STORE_CORRUPT)
        return e;
    key_slot slot = {0};
    int index = 1;
    TRY(slot_seal(&slot, pin, key));
    TRY(slot_advance(path, &slot, &index));
    return slot_advance(path, &slot, &index);
}

err account_lock_finish(const char *path) {
    key_slot slot;
    int index;
    TRY(slot_read(path, &slot, &index));
    slot.finished = 1;
    TRY(slot_advance(path, &slot, &index));
    (void)slot_advance(path, &slot, &index); /* the older slot too; where that fails, the newer one counts */
    return OK;
}

/* Opens the slot with the PIN; counts a wrong one before it says so. */
static err slot_open(const char *path, key_slot *slot, int *index, span pin, uint8_t key[STORE_KEY_SIZE]) {
    uint8_t stretched[SEAL_KEY_SIZE];
    TRY(slot_read(path, slot, index));
    if (wait_ms(slot) > 0)
        return ERR_TOO_SOON;
    /* Counted first and forgiven after: a kill between the two costs the owner a try, never saves a thief one. */
    slot->wrong++;
    slot->last_wrong_ms = (uint64_t)host_now();
    TRY(slot_advance(path, slot, index));
    TRY(stretch(pin, slot->salt, (stretch_cost){slot->passes, slot->kibibytes}, stretched, sizeof stretched));
    err e = unseal(stretched, SPAN(magic), SPAN(slot->sealed), key);
    wipe(stretched, sizeof stretched);
    if (e != OK)
        return ERR_PIN;
    slot->wrong = 0;
    e = slot_advance(path, slot, index);
    if (e != OK)
        wipe(key, STORE_KEY_SIZE);
    return e;
}

err account_lock_open(const char *path, span pin, uint8_t key[STORE_KEY_SIZE]) {
    key_slot slot;
    int index;
    return slot_open(path, &slot, &index, pin, key);
}

err account_lock_change(const char *path, span old_pin, span new_pin) {
    key_slot slot;
    int index;
    uint8_t key[STORE_KEY_SIZE];
    TRY(slot_open(path, &slot, &index, old_pin, key));
    err e = slot_seal(&slot, new_pin, key);
    wipe(key, sizeof key);
    TRY(e);
    TRY(slot_advance(path, &slot, &index));
    return slot_advance(path, &slot, &index);
}
