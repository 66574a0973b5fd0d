#include "crypto/signature.h"

#include <sodium/crypto_sign_ed25519.h>

#include "wire/wire.h"

void signature_key_from_seed(const uint8_t *seed, signature_key *key) {
    uint8_t public_key[ED25519_PUBLIC_SIZE];
    (void)crypto_sign_ed25519_seed_keypair(public_key, key->b, seed);
}

void signature_sign(const signature_key *key, span message, uint8_t *signature) {
    (void)crypto_sign_ed25519_detached(signature, NULL, message.p, message.n, key->b);
}

err signature_verify(span public_key, span message, span signature) {
    if (public_key.n != ED25519_PUBLIC_SIZE || signature.n != ED25519_SIGNATURE_SIZE)
        return ERR_SIGNATURE;
    if (crypto_sign_ed25519_verify_detached(signature.p, message.p, message.n, public_key.p) != 0)
        return ERR_SIGNATURE;
    return OK;
}

/* RFC 9420 §5.1.2: struct { opaque label<V>; opaque content<V>; } SignContent, label = "MLS 1.0 " + Label.
 * In one piece, since Ed25519 reads the message twice. */
static err sign_content(const char *label, span content, arena *a, span *out) {
    size_t label_size = strlen(label);
    if (content.n > WIRE_VECTOR_MAX || label_size > UINT16_MAX)
        return ERR_TOO_LARGE;
    size_t size = 4 + 8 + label_size + 4 + content.n;
    uint8_t *bytes = arena_take(a, size, 1);
    if (bytes == NULL)
        return ERR_ARENA;
    static const char VERSION[] = "MLS 1.0 ";
    uint32_t n = (uint32_t)(8 + label_size);
    wire w;
    wire_write_init(&w, bytes, size);
    wire_varint(&w, &n);
    wire_rest(&w, &(span){(const uint8_t *)VERSION, 8});
    wire_rest(&w, &(span){(const uint8_t *)label, label_size});
    wire_opaque(&w, &content);
    TRY(wire_end(&w));
    *out = span_of(bytes, w.at);
    return OK;
}

err signature_sign_with_label(const signature_key *key, const char *label, span content, arena *a, uint8_t *signature) {
    size_t mark = arena_mark(a);
    span message = SPAN_NONE;
    err e = sign_content(label, content, a, &message);
    if (e == OK)
        signature_sign(key, message, signature);
    arena_release(a, mark);
    return e;
}

err signature_verify_with_label(span public_key, const char *label, span content, span signature, arena *a) {
    size_t mark = arena_mark(a);
    span message = SPAN_NONE;
    err e = sign_content(label, content, a, &message);
    if (e == OK)
        e = signature_verify(public_key, message, signature);
    arena_release(a, mark);
    return e;
}
