/* err.h: the one error type. Zero is success; every other value belongs to a class (its high byte), so that a
 * caller can act on the class and a log can name the value. No globals, no errno. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define MUST_USE __attribute__((warn_unused_result))

#define ERR_CLASSES(X)                                                                                                 \
    X(MALFORMED, 1) /* bytes that are no instance of their type */                                                     \
    X(INVALID, 2)   /* well-formed, but breaks a rule; the call site cites it */                                       \
    X(CRYPTO, 3)    /* a signature, tag or key did not verify */                                                       \
    X(STATE, 4)     /* not possible in the present state */                                                            \
    X(STORE, 5)     /* the database or a file failed */                                                                \
    X(LIMIT, 6)     /* a named limit was reached */                                                                    \
    X(HOST, 7)      /* the machine failed us: memory, entropy */

/* name, class, number in class, its name in replies, what went wrong in plain words */
#define ERR_VALUES(X)                                                                                                  \
    X(ERR_MALFORMED, MALFORMED, 0, "malformed", "the data is not in the expected form")                                \
    X(ERR_TRUNCATED, MALFORMED, 1, "truncated", "the data ends too early")                                             \
    X(ERR_TRAILING, MALFORMED, 2, "trailing", "there are bytes after the end of the data")                             \
    X(ERR_NOT_MINIMAL, MALFORMED, 3, "not_minimal", "a length is not written in its shortest form")                    \
    X(ERR_UTF8, MALFORMED, 4, "utf8", "the text is not valid UTF-8")                                                   \
    X(ERR_INVALID, INVALID, 0, "invalid", "the data breaks a rule")                                                    \
    X(ERR_UNSUPPORTED, INVALID, 1, "unsupported", "a version, suite or type that is not supported")                    \
    X(ERR_SENDER, INVALID, 2, "sender", "the sender is not allowed to send this")                                      \
    X(ERR_CERTIFICATE, INVALID, 3, "certificate", "the certificate chain does not end in the clinic's root key")       \
    X(ERR_EXPIRED, INVALID, 4, "expired", "outside its time of validity")                                              \
    X(ERR_REVOKED, INVALID, 5, "revoked", "the key was revoked")                                                       \
    X(ERR_PARENT_HASH, INVALID, 6, "parent_hash", "the tree's parent hashes do not match")                             \
    X(ERR_TREE_HASH, INVALID, 7, "tree_hash", "the tree does not match the group")                                     \
    X(ERR_DUPLICATE_KEY, INVALID, 8, "duplicate_key", "a key is used twice in the group")                              \
    X(ERR_PROPOSAL, INVALID, 9, "proposal", "the proposals of the commit do not fit together")                         \
    X(ERR_CONFIRMATION, CRYPTO, 0, "confirmation", "the confirmation tag does not match")                              \
    X(ERR_DECRYPT, CRYPTO, 1, "decrypt", "could not be decrypted: altered, or for another key")                        \
    X(ERR_SIGNATURE, CRYPTO, 2, "signature", "the signature does not verify")                                          \
    X(ERR_KEY, CRYPTO, 3, "key", "not a usable key")                                                                   \
    X(ERR_MEMBERSHIP_TAG, CRYPTO, 4, "membership_tag", "the membership tag does not match")                            \
    X(ERR_STATE, STATE, 0, "state", "not possible in the present state")                                               \
    X(ERR_NOT_FOUND, STATE, 1, "not_found", "there is no such thing")                                                  \
    X(ERR_EXISTS, STATE, 2, "exists", "it exists already")                                                             \
    X(ERR_LOCKED, STATE, 3, "locked", "the account is locked")                                                         \
    X(ERR_PIN, STATE, 4, "pin", "the PIN is wrong")                                                                    \
    X(ERR_WRONG_GROUP, STATE, 5, "wrong_group", "belongs to another group")                                            \
    X(ERR_WRONG_EPOCH, STATE, 6, "wrong_epoch", "belongs to another epoch")                                            \
    X(ERR_EPOCH_GONE, STATE, 7, "epoch_gone", "belongs to an epoch whose keys were deleted")                           \
    X(ERR_REPLAY, STATE, 8, "replay", "this message's key was used already")                                           \
    X(ERR_PENDING_COMMIT, STATE, 9, "pending_commit", "a commit of one's own is waiting for its echo")                 \
    X(ERR_REMOVED, STATE, 10, "removed", "no longer a member of the group")                                            \
    X(ERR_PSK, STATE, 11, "psk", "a pre-shared key that is needed is not known")                                       \
    X(ERR_REINIT, STATE, 12, "reinit", "the group has ended: another takes its place")                                 \
    X(ERR_EPOCH_EXPIRED, STATE, 13, "epoch_expired", "came later than 7 days after its epoch ended")                   \
    X(ERR_STORE, STORE, 0, "store", "the store failed")                                                                \
    X(ERR_STORE_FULL, STORE, 1, "store_full", "the device's storage is full")                                          \
    X(ERR_STORE_BUSY, STORE, 2, "store_busy", "the store is open elsewhere")                                           \
    X(ERR_STORE_DENIED, STORE, 3, "store_denied", "this browser does not allow storage")                               \
    X(ERR_STORE_CORRUPT, STORE, 4, "store_corrupt", "the store is damaged or was not opened with its key")             \
    X(ERR_STORE_NEWER, STORE, 5, "store_newer", "the store was written by a newer version")                            \
    X(ERR_LIMIT, LIMIT, 0, "limit", "a limit was reached")                                                             \
    X(ERR_TOO_LARGE, LIMIT, 1, "too_large", "larger than the limit")                                                   \
    X(ERR_TOO_FAR_AHEAD, LIMIT, 2, "too_far_ahead", "more than 1024 generations ahead of the last one read")           \
    X(ERR_ARENA, LIMIT, 3, "arena", "more than a command may use in memory")                                           \
    X(ERR_TOO_SOON, LIMIT, 4, "too_soon", "too many tries: wait before the next")                                      \
    X(ERR_KEY_DROPPED, LIMIT, 5, "key_dropped", "more than 256 messages of its sender were skipped since")             \
    X(ERR_HOST, HOST, 0, "host", "the machine failed")                                                                 \
    X(ERR_NO_MEMORY, HOST, 1, "no_memory", "out of memory")

enum err_class {
#define X(name, number) ERR_CLASS_##name = (number),
    ERR_CLASSES(X)
#undef X
};

typedef enum err {
    OK = 0,
#define X(name, class, number, word, text) name = (ERR_CLASS_##class << 8) | (number),
    ERR_VALUES(X)
#undef X
} err;

/* The name as it stands in replies: "wrong_epoch"; "ok" for OK. Static memory. */
const char *err_name(err e);
/* One plain sentence without its full stop, for developers. Static memory. */
const char *err_text(err e);

static inline enum err_class err_class_of(err e) { return (enum err_class)((unsigned)e >> 8); }

/* Returns from the enclosing function with the error, if there is one. Not where something is owned: use goto out. */
#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        err try_error = (expression);                                                                                  \
        if (try_error != OK)                                                                                           \
            return try_error;                                                                                          \
    } while (0)

/* The same for functions that own something: jumps to `out`, with the error in `e`. */
#define TRY_OUT(expression)                                                                                            \
    do {                                                                                                               \
        e = (expression);                                                                                              \
        if (e != OK)                                                                                                   \
            goto out;                                                                                                  \
    } while (0)

#endif
