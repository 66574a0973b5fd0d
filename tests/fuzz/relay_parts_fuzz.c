/* What the relay reads by a grammar of its own: signature heads, JSON, addresses of clients and proxies, push endpoints, certificate chains and audit
 * entries. The first byte selects what the rest is taken for.
 *
 * Of what was read must hold: written again it is the input, where there is one spelling; what the relay writes it can read. */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "../../server/audit.h"
#include "../../server/http_address.h"
#include "../../server/json.h"
#include "../../server/push_endpoint.h"
#include "../../server/signature_check.h"
#include "base/text.h"

static uint8_t space[1u << 20], again[1u << 16];
static arena memory;

/* The part up to the next line's end, and moves over it. */
static span line(span *rest) {
    const uint8_t *stop = rest->n > 0 ? memchr(rest->p, '\n', rest->n) : NULL;
    span s = stop != NULL ? span_of(rest->p, (size_t)(stop - rest->p)) : *rest;
    *rest = stop != NULL ? span_of(stop + 1, rest->n - s.n - 1) : SPAN_NONE;
    return s;
}

/* ---- Signature-Input, Signature and Content-Digest on a line each; what is left is the content */

static void base64(char *out, span s) {
    base64url_write(out, s);
    size_t n = BASE64URL_SIZE(s.n);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '-' ? '+' : out[i] == '_' ? '/' : out[i];
    for (; n % 4 != 0; n++)
        out[n] = '=';
    out[n] = 0;
}

static void signatures(span in) {
    request rq = {.method = METHOD_PUT, .path = span_text("/v1/x"), .authority = span_text("x")};
    signed_head head;
    const char *fault = NULL;
    uint8_t key[ED25519_PUBLIC_SIZE] = {1};
    char text[600], id[BASE64URL_SIZE(ID_SIZE) + 1] = "", nonce[BASE64URL_SIZE(NONCE_SIZE) + 1] = "", bytes[100];
    rq.signature_input = line(&in);
    rq.signature = line(&in);
    rq.content_digest = line(&in);
    rq.body = in;
    if (signature_head_read(&rq, &head, &fault) != OK) {
        REQUIRE(fault != NULL);
        return;
    }
    base64url_write(id, SPAN(head.keyid));
    base64url_write(nonce, SPAN(head.nonce));
    int n = snprintf(text, sizeof text,
                     "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\"%s);created=%llu;nonce=\"%s\";keyid=\"%s\";"
                     "alg=\"ed25519\"",
                     head.covers_digest ? " \"content-digest\"" : "", (unsigned long long)head.created, nonce, id);
    REQUIRE(span_equal(rq.signature_input, span_of(text, (size_t)n)));
    base64(bytes, SPAN(head.signature));
    n = snprintf(text, sizeof text, "sotto=:%s:", bytes);
    REQUIRE(span_equal(rq.signature, span_of(text, (size_t)n)));
    REQUIRE(head.covers_digest == (in.n > 0));
    REQUIRE(signature_head_verify(&rq, &head, key, &fault) != OK);
}

/* ---- JSON: what calls ask of it, then what was understood written and read once more */

static void bodies(span in) {
    json j, second;
    uint8_t fixed[ID_SIZE], fixed_again[ID_SIZE];
    size_t count = 0, count_again = 0;
    json_open(&j, in, &memory);
    REQUIRE((j.root == NULL) == (j.fault[0] != 0));
    /* Each by itself, since the first fault sticks. */
    char first[sizeof j.fault];
    memcpy(first, j.fault, sizeof first);
    (void)json_has(&j, "check");
    json_fixed(&j, "id", fixed, sizeof fixed);
    bool has_id = j.fault[0] == 0;
    memcpy(j.fault, first, sizeof first);
    span data = json_bytes(&j, "data", 4096);
    bool has_data = j.fault[0] == 0;
    memcpy(j.fault, first, sizeof first);
    int64_t number = json_integer(&j, "number", 0, 9007199254740991);
    bool has_number = j.fault[0] == 0;
    memcpy(j.fault, first, sizeof first);
    const uint8_t *list = json_fixed_list(&j, "device", 2, 100, &count);
    bool has_list = j.fault[0] == 0;
    memcpy(j.fault, first, sizeof first);
    span *packages = json_bytes_list(&j, "key_packages", 64, 100, &count_again);
    REQUIRE(j.fault[0] != 0 || count_again == 0 || packages[count_again - 1].n <= 64);
    REQUIRE(!has_data || (data.n > 0 && data.n <= 4096));
    REQUIRE(!has_number || (number >= 0 && number <= 9007199254740991));
    json_close(&j);
    if (!has_id || !has_number || !has_data || !has_list)
        return;
    text t = {0};
    text_put(&t, "{");
    text_member_base64url(&t, "id", SPAN(fixed));
    text_member_base64url(&t, "data", data);
    text_member_integer(&t, "number", number);
    text_put(&t, ",\"device\":[");
    for (size_t i = 0; i < count; i++) {
        char two[BASE64URL_SIZE(2) + 1] = "";
        base64url_write(two, span_of(list + 2 * i, 2));
        text_put(&t, i > 0 ? ",\"" : "\"");
        text_put(&t, two);
        text_put(&t, "\"");
    }
    text_put(&t, "]}");
    json_open(&second, span_of(t.p, t.n), &memory);
    json_fixed(&second, "id", fixed_again, sizeof fixed_again);
    REQUIRE(span_equal(json_bytes(&second, "data", 4096), data) &&
            json_integer(&second, "number", 0, number) == number);
    REQUIRE(memcmp(fixed, fixed_again, sizeof fixed) == 0);
    const uint8_t *list_again = json_fixed_list(&second, "device", 2, 100, &count_again);
    REQUIRE(count == count_again && (count == 0 || memcmp(list, list_again, 2 * count) == 0));
    REQUIRE(second.fault[0] == 0);
    json_close(&second);
    text_free(&t);
}

/* Any text as a string of ours. */
static void strings(span in) {
    json j;
    text t = {0};
    if (!utf8_valid(in))
        return;
    text_put(&t, "{");
    text_member(&t, "s");
    text_string(&t, in);
    text_put(&t, "}");
    json_open(&j, span_of(t.p, t.n), &memory);
    REQUIRE(j.fault[0] == 0);
    json_close(&j);
    text_free(&t);
}

/* ---- who asks: X-Forwarded-For on the first line, then a list of proxies */

static void addresses(span in) {
    uint8_t a[ADDRESS_SIZE], b[ADDRESS_SIZE];
    proxy_list proxies = {0};
    span value = line(&in);
    if (address_read(value, a)) {
        REQUIRE(address_forwarded(value, b) && memcmp(a, b, sizeof a) == 0);
        memcpy(b, a, sizeof b);
        address_to_network(b);
        memcpy(a, b, sizeof a);
        address_to_network(b);
        REQUIRE(memcmp(a, b, sizeof a) == 0);
    }
    (void)address_forwarded(value, a);
    char *text = malloc(in.n + 1);
    REQUIRE(text != NULL);
    if (in.n > 0)
        memcpy(text, in.p, in.n);
    text[in.n] = 0;
    if (proxies_read(text, &proxies))
        REQUIRE(proxies.n > 0 && proxies.n <= PROXIES_MAX && proxies_have(&proxies, proxies.address[proxies.n - 1]));
    free(text);
}

/* ---- push endpoints, which devices choose */

static void endpoints(span in) {
    size_t origin = 0;
    bool local = false;
    const char *fault = push_endpoint_fault(in, &(push_allowed){.authority = "push.example:8443"}, &origin, &local);
    if (fault != NULL)
        return;
    REQUIRE(in.n > 8 && memcmp(in.p, "https://", 8) == 0 && origin > 8 && origin <= in.n);
    REQUIRE(memchr(in.p, '@', origin) == NULL && memchr(in.p + 8, '/', origin - 8) == NULL);
    REQUIRE(!local || span_equal(span_of(in.p + 8, origin - 8), span_text("push.example:8443")));
    for (size_t i = 0; i < in.n; i++)
        REQUIRE(in.p[i] > ' ' && in.p[i] < 0x7f);
}

/* ---- structs */

static void chains(span in) {
    certificate_chain chain = {0};
    span written;
    uint8_t root[ED25519_PUBLIC_SIZE] = {1};
    if (WIRE_DECODE(in, &memory, wire_certificate_chain, &chain) != OK)
        return;
    REQUIRE(WIRE_ENCODE(&memory, wire_certificate_chain, &chain, &written) == OK && span_equal(in, written));
    if (chain.n > 0)
        memcpy(root, chain.p[0].issuer_key, sizeof root);
    /* Its own signatures can't verify under keys that nobody has. */
    REQUIRE(certificate_chain_check(&chain, root, 0) != OK);
}

static void entries(span in) {
    audit_entry e = {0};
    wire w;
    wire_read_init(&w, in, NULL);
    wire_audit_entry(&w, &e);
    if (wire_end(&w) != OK)
        return;
    REQUIRE(e.object_size <= sizeof e.object && e.problem_size <= sizeof e.problem &&
            e.network_size <= sizeof e.network);
    wire_write_init(&w, again, sizeof again);
    wire_audit_entry(&w, &e);
    REQUIRE(span_equal(span_of(again, w.at), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* New ones at the end, so that the inputs kept stay what they are. */
    static void (*const KINDS[])(span) = {signatures, bodies, strings, addresses, chains, entries, endpoints};
    if (size == 0 || size > sizeof again)
        return 0;
    arena_over(&memory, space, sizeof space);
    KINDS[data[0] % (sizeof KINDS / sizeof *KINDS)](span_of(data + 1, size - 1));
    return 0;
}
