/* client_paths.c: what core/client does with the link's seed, the PIN, the second factor and the store's key. */
#if __has_include(<valgrind/memcheck.h>)
#include "client/account_lock.h"
#include "client/invite.h"
#include "crypto/random.h"
#include "ctcheck.h"
#include "support/host.h"

static void invitation_link(const suite *s) {
    arena a;
    MUST(arena_init(&a, 1 << 16) == OK);
    invite_link link = {.fingerprint = {5}}, read;
    random_bytes(link.seed, sizeof link.seed);
    span text;
    MUST(invite_link_write(&link, span_text("https://relay.example"), false, &a, &text) == OK);
    const size_t start = strlen("https://relay.example/");
    MUST(invite_link_read(span_of(text.p + start, text.n - start), &read) == OK);
    must_be_secret(read.seed, sizeof read.seed);
    invite_keys keys;
    invite_keys_derive(read.seed, &keys);
    must_be_secret(keys.seal_key, sizeof keys.seal_key);
    arena_free(&a);
}

static void second_factor(const suite *s) {
    invite_keys keys;
    uint8_t seed[INVITE_SEED_SIZE], check[INVITE_CHECK_SIZE];
    char factor[10] = "1956-04-12";
    random_bytes(seed, sizeof seed);
    invite_keys_derive(seed, &keys);
    SECRET(factor, sizeof factor);
    MUST(invite_check(&keys, span_of(factor, sizeof factor), check) == OK);
    must_be_secret(check, sizeof check);
}

static void key_file(const suite *s) {
    uint8_t key[STORE_KEY_SIZE], opened[STORE_KEY_SIZE];
    char pin[6] = "135790", other[6] = "135791";
    host_temporary_root();
    random_bytes(key, sizeof key);
    SECRET(pin, sizeof pin);
    SECRET(other, sizeof other);
    MUST(account_lock_create("key", span_of(pin, sizeof pin), key) == OK);
    MUST(account_lock_finish("key") == OK);
    MUST(account_lock_open("key", span_of(pin, sizeof pin), opened) == OK);
    must_be_secret(opened, sizeof opened);
    MUST(account_lock_open("key", span_of(other, sizeof other), opened) == ERR_PIN);
    MUST(account_lock_change("key", span_of(pin, sizeof pin), span_of(other, sizeof other)) == OK);
    MUST(account_lock_open("key", span_of(other, sizeof other), opened) == OK);
    must_be_secret(opened, sizeof opened);
    host_remove_root();
}

const path client_paths[] = {
    {"the link: seed written, read, keys derived", invitation_link, false},
    {"the second factor", second_factor, false},
    {"the key file: created, opened, refused, changed", key_file, false},
    {0},
};
#endif
