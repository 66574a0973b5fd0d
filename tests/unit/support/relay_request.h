/* relay_request.h: signed requests as a client makes them, for tests of the relay's logic. */
#ifndef SUPPORT_RELAY_REQUEST_H
#define SUPPORT_RELAY_REQUEST_H

#include <stdio.h>
#include <string.h>

#include "../../../server/signature_check.h"
#include "base/text.h"
#include "crypto/sha256.h"

static char request_texts[3][600];
static uint32_t request_nonces;

static void request_base64(char *out, span s) {
    base64url_write(out, s);
    size_t n = BASE64URL_SIZE(s.n);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '-' ? '+' : out[i] == '_' ? '/' : out[i];
    for (; n % 4 != 0; n++)
        out[n] = '=';
    out[n] = 0;
}

/* Signs a request for the authority "x"; its strings live until the next. */
static request signed_request_at(int64_t now_ms, http_method method, const char *path, const char *query, span body,
                                 const signature_key *key, const uint8_t keyid[ID_SIZE]) {
    char nonce[23] = {0}, id[23] = {0}, digest[120] = "", signature[100], base[8000];
    uint8_t nonce_bytes[16] = {0}, hash[32], raw[64];
    request_nonces++;
    memcpy(nonce_bytes, &request_nonces, 4);
    base64url_write(nonce, SPAN(nonce_bytes));
    base64url_write(id, span_of(keyid, ID_SIZE));
    sha256(body, hash);
    request_base64(signature, SPAN(hash));
    if (body.n > 0)
        snprintf(digest, sizeof digest, "sha-256=:%s:", signature);
    snprintf(request_texts[0], sizeof request_texts[0],
             "sotto=(\"@method\" \"@authority\" \"@path\" "
             "\"@query\"%s);created=%lld;nonce=\"%s\";keyid=\"%s\";alg=\"ed25519\"",
             body.n > 0 ? " \"content-digest\"" : "", (long long)now_ms / 1000, nonce, id);
    snprintf(base, sizeof base,
             "\"@method\": %s\n\"@authority\": x\n\"@path\": %s\n\"@query\": ?%s\n%s%s%s\"@signature-params\": %s",
             method_name(method), path, query, body.n > 0 ? "\"content-digest\": " : "", digest, body.n > 0 ? "\n" : "",
             request_texts[0] + 6);
    signature_sign(key, span_text(base), raw);
    request_base64(signature, SPAN(raw));
    snprintf(request_texts[1], sizeof request_texts[1], "sotto=:%s:", signature);
    snprintf(request_texts[2], sizeof request_texts[2], "%s", digest);
    return (request){.method = method,
                     .path = span_text(path),
                     .query = span_text(query),
                     .authority = span_text("x"),
                     .body = body,
                     .signature_input = span_text(request_texts[0]),
                     .signature = span_text(request_texts[1]),
                     .content_digest = span_text(request_texts[2]),
                     .content_type = span_text("application/json")};
}

#endif
