#include "client/request.h"

#include "client/builder.h"
#include "crypto/random.h"

#define SIGNATURE_BASE_MAX 2048 /* methods, paths and origins of ours are far shorter */

/* RFC 9421 §2.2.3: host and port as in the Host header, lower case, the scheme's own port left out. */
static err origin_authority(span origin, uint8_t *out, size_t *n) {
    const char *schemes[2] = {"https://", "http://"}, *ports[2] = {":443", ":80"};
    for (int s = 0; s < 2; s++) {
        size_t skip = strlen(schemes[s]), port = strlen(ports[s]);
        if (origin.n <= skip || origin.n - skip > 255 || memcmp(origin.p, schemes[s], skip) != 0)
            continue;
        *n = origin.n - skip;
        for (size_t i = 0; i < *n; i++) {
            uint8_t c = origin.p[skip + i];
            if (c <= ' ' || c >= 0x7f || strchr("/?#@\"\\", c))
                return ERR_MALFORMED;
            out[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
        }
        if (*n > port && memcmp(out + *n - port, ports[s], port) == 0)
            *n -= port;
        return out[0] != ':' ? OK : ERR_MALFORMED; /* a port alone is no host */
    }
    return ERR_MALFORMED;
}

err request_origin_check(span origin) {
    uint8_t authority[256];
    size_t n;
    return origin_authority(origin, authority, &n);
}

static err add_header(http_request *r, arena *a, const char *name, const char *value) {
    http_header *h = ARENA_NEW(a, http_header);
    if (!h || !value)
        return ERR_ARENA;
    *h = (http_header){name, value, r->headers};
    r->headers = h;
    return OK;
}

/* The signature base's last line without its name, which is also Signature-Input's value after "sotto=" (§2.3). */
static const char *signature_params(arena *a, const request_signer *signer, bool has_body) {
    builder b;
    uint8_t nonce[16];
    random_bytes(nonce, sizeof nonce);
    builder_init(&b, a, 320);
    builder_text(&b, "(\"@method\" \"@authority\" \"@path\" \"@query\"");
    builder_text(&b, has_body ? " \"content-digest\")" : ")");
    builder_text(&b, ";created=");
    builder_int(&b, signer->now_ms / 1000);
    builder_text(&b, ";nonce=\"");
    builder_base64url(&b, SPAN(nonce));
    builder_text(&b, "\";keyid=\"");
    builder_base64url(&b, SPAN(signer->key_id));
    builder_text(&b, "\";alg=\"ed25519\"");
    return builder_string(&b);
}

static const char *digest_value(arena *a, span body) {
    builder b;
    uint8_t hash[32];
    sha256(body, hash);
    builder_init(&b, a, 80);
    builder_text(&b, "sha-256=:");
    builder_base64(&b, SPAN(hash));
    builder_text(&b, ":");
    return builder_string(&b);
}

static err sign(effects *fx, const request_signer *signer, http_request *r) {
    arena *a = fx->arena;
    builder base, value;
    uint8_t authority[256], signature[ED25519_SIGNATURE_SIZE];
    size_t authority_size;
    TRY(origin_authority(signer->origin, authority, &authority_size));
    const char *params = signature_params(a, signer, r->body.p != NULL);
    const char *digest = r->body.p ? digest_value(a, r->body) : NULL;
    if (!params || (r->body.p && !digest))
        return ERR_ARENA;
    const char *query = strchr(r->path, '?');
    size_t path_size = query ? (size_t)(query - r->path) : strlen(r->path);

    builder_init(&base, a, SIGNATURE_BASE_MAX);
    builder_text(&base, "\"@method\": ");
    builder_text(&base, r->method);
    builder_text(&base, "\n\"@authority\": ");
    builder_bytes(&base, span_of(authority, authority_size));
    builder_text(&base, "\n\"@path\": ");
    builder_bytes(&base, span_of(r->path, path_size));
    builder_text(&base, "\n\"@query\": ");
    builder_text(&base, query ? query : "?"); /* RFC 9421 §2.2.7: an absent query is "?" */
    if (digest) {
        builder_text(&base, "\n\"content-digest\": ");
        builder_text(&base, digest);
    }
    builder_text(&base, "\n\"@signature-params\": ");
    builder_text(&base, params);
    span message;
    TRY(builder_end(&base, &message));
    signature_sign(signer->key, message, signature);

    builder_init(&value, a, 120);
    builder_text(&value, "sotto=:");
    builder_base64(&value, SPAN(signature));
    builder_text(&value, ":");
    TRY(add_header(r, a, "Signature", builder_string(&value)));
    builder_init(&value, a, 340);
    builder_text(&value, "sotto=");
    builder_text(&value, params);
    TRY(add_header(r, a, "Signature-Input", builder_string(&value)));
    return digest ? add_header(r, a, "Content-Digest", digest) : OK;
}

err request_emit(effects *fx, const request_signer *signer, uint64_t id, const char *method, const char *path,
                 const char *type, span body, bool waits) {
    http_request *r = ARENA_NEW(fx->arena, http_request);
    if (!r)
        return ERR_ARENA;
    *r = (http_request){.id = id, .method = method, .path = path, .waits = waits};
    if (body.p)
        TRY(arena_copy(fx->arena, body, &r->body));
    if (signer)
        TRY(sign(fx, signer, r));
    if (body.p)
        TRY(add_header(r, fx->arena, "Content-Type", type));
    *fx->requests_end = r;
    fx->requests_end = &r->next;
    return OK;
}
