/* account_lock.h: the account's key file. The store's key is random; the key file holds it sealed with a key stretched
 * from the PIN, beside the count of wrong PINs. The file has two slots written in turn, so that a crash in the middle of
 * a write leaves the other one whole; the store and its key file lie side by side and share their fate.
 *
 * What a PIN can do: it holds off a person who picks up the device, with the count and the growing wait. It does not
 * withstand somebody who copies the files and tries PINs elsewhere, unless the PIN is long. */
#ifndef CLIENT_ACCOUNT_LOCK_H
#define CLIENT_ACCOUNT_LOCK_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "store/store.h"

/* Tries without a wait; then 10 s, 20 s, 40 s … up to the longest. */
#define PIN_FREE_TRIES 5
#define PIN_FIRST_WAIT_MS 10000
#define PIN_LONGEST_WAIT_MS (15 * 60 * 1000)

typedef struct lock_status {
    bool exists;     /* a whole slot is there */
    bool finished;   /* account creation came to its end */
    uint32_t wrong;  /* wrong PINs since the last right one */
    int64_t wait_ms; /* until the next try is allowed */
} lock_status;

/* ERR_NOT_FOUND is not an error here: exists is false. ERR_STORE_CORRUPT when the file is there without a whole slot. */
MUST_USE err account_lock_status(const char *path, lock_status *out);
/* Writes a new key file for `key`, not yet finished. ERR_EXISTS for a finished one. An unfinished or torn one is written
 * over: the caller has made sure that no store belongs to it. */
MUST_USE err account_lock_create(const char *path, span pin, const uint8_t key[STORE_KEY_SIZE]);
/* Marks the creation finished. */
MUST_USE err account_lock_finish(const char *path);
/* ERR_PIN after counting it on the medium; ERR_TOO_SOON within the wait (not counted). */
MUST_USE err account_lock_open(const char *path, span pin, uint8_t key[STORE_KEY_SIZE]);
/* Seals the key with a new PIN and overwrites both slots, so that the old PIN opens nothing any more. */
MUST_USE err account_lock_change(const char *path, span old_pin, span new_pin);

#endif
