#define _GNU_SOURCE /* memmem */
#include "load_protocols.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/text.h"
#include "client/certificate.h"
#include "crypto/sha256.h"

#define SET_UP_CONNECTIONS 32
#define A_DAY_S 86400
#define WAITERS_A_GROUP 1000
#define ADDED_A_COMMIT 250
#define COMMIT_SIZE 300
#define MLS_HEAD_SIZE 94 /* of a PrivateMessage beside its ciphertext */
#define CONTENT_APPLICATION 1
#define CONTENT_COMMIT 3

static void random_fill(void *p, size_t n) {
    uint8_t *to = p;
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom(to + done, n - done, 0);
        if (got <= 0)
            die("no randomness");
        done += (size_t)got;
    }
}

/* ---- text that grows */

typedef struct line {
    uint8_t *p;
    size_t n, room;
} line;

static void put_bytes(line *l, const void *p, size_t n) { keep_bytes(&l->p, &l->n, &l->room, p, n); }

__attribute__((format(printf, 2, 3))) static void put(line *l, const char *format, ...) {
    char part[1024];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(part, sizeof part, format, arguments);
    va_end(arguments);
    if (n < 0 || n >= (int)sizeof part)
        die("a line is too long");
    put_bytes(l, part, (size_t)n);
}

static void put_base64url(line *l, const void *p, size_t n) {
    char *out = take_memory(BASE64URL_SIZE(n) + 1);
    base64url_write(out, span_of(p, n));
    put_bytes(l, out, BASE64URL_SIZE(n));
    free(out);
}

/* Base64 with padding (RFC 4648 §4). */
static void base64_text(char *out, span bytes) {
    size_t n = BASE64URL_SIZE(bytes.n);
    base64url_write(out, bytes);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(out[i] == '-' ? '+' : out[i] == '_' ? '/' : out[i]);
    while (n % 4 != 0)
        out[n++] = '=';
    out[n] = 0;
}

/* ---- signed requests */

struct load_bytes relay_request(uint16_t port, const load_device *d, const char *method, const char *target, span body,
                                const char *type) {
    char base[1024], parameters[320], nonce[23] = "", keyid[23] = "", digest[80] = "", signature[96];
    uint8_t random[16], hash[32], signed_bytes[ED25519_SIGNATURE_SIZE];
    const char *query = strchr(target, '?');
    int path_size = query != NULL ? (int)(query - target) : (int)strlen(target);
    random_fill(random, sizeof random);
    base64url_write(nonce, SPAN(random));
    base64url_write(keyid, span_of(d->id, sizeof d->id));
    if (body.n > 0) {
        char text[48];
        sha256(body, hash);
        base64_text(text, SPAN(hash));
        (void)snprintf(digest, sizeof digest, "sha-256=:%s:", text);
    }
    (void)snprintf(
        parameters, sizeof parameters,
        "(\"@method\" \"@authority\" \"@path\" \"@query\"%s);created=%lld;nonce=\"%s\";keyid=\"%s\";alg=\"ed25519\"",
        body.n > 0 ? " \"content-digest\"" : "", (long long)time(NULL), nonce, keyid);
    int n = snprintf(base, sizeof base,
                     "\"@method\": %s\n\"@authority\": 127.0.0.1:%u\n\"@path\": %.*s\n\"@query\": "
                     "%s\n%s%s%s\"@signature-params\": %s",
                     method, port, path_size, target, query != NULL ? query : "?",
                     body.n > 0 ? "\"content-digest\": " : "", digest, body.n > 0 ? "\n" : "", parameters);
    if (n < 0 || n >= (int)sizeof base)
        die("a request's head is too long");
    signature_sign(&d->key, span_of(base, (size_t)n), signed_bytes);
    base64_text(signature, SPAN(signed_bytes));
    line l = {0};
    put(&l, "%s %s HTTP/1.1\r\nhost: 127.0.0.1:%u\r\nsignature-input: sotto=%s\r\nsignature: sotto=:%s:\r\n", method,
        target, port, parameters, signature);
    if (body.n > 0)
        put(&l, "content-digest: %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n", digest, type, body.n);
    else if (type != NULL)
        put(&l, "accept: %s\r\n", type);
    put_bytes(&l, "\r\n", 2);
    if (body.n > 0)
        put_bytes(&l, body.p, body.n);
    return (struct load_bytes){l.p, l.n};
}

/* An MLSMessage as the relay can read it: the head of RFC 9420 §6.3 before random bytes. */
static void private_message(uint8_t *out, size_t size, const uint8_t group[32], uint64_t epoch, uint8_t type) {
    static const uint8_t VERSION_AND_FORMAT[] = {0, 1, 0, 2};
    if (size < MLS_HEAD_SIZE + 64 || size > MLS_HEAD_SIZE + 0x3fff)
        die("a message has %d to %d bytes", MLS_HEAD_SIZE + 64, MLS_HEAD_SIZE + 0x3fff);
    size_t ciphertext = size - MLS_HEAD_SIZE;
    random_fill(out, size);
    memcpy(out, VERSION_AND_FORMAT, 4);
    out[4] = 32;
    memcpy(out + 5, group, 32);
    for (int i = 0; i < 8; i++)
        out[37 + i] = (uint8_t)(epoch >> (56 - 8 * i));
    out[45] = type;
    out[46] = 0;
    out[47] = 44;
    out[92] = (uint8_t)(0x40 | ciphertext >> 8);
    out[93] = (uint8_t)ciphertext;
}

struct load_bytes relay_message(uint16_t port, const load_device *d, size_t size) {
    uint8_t *body = take_memory(size), id[16];
    char target[160], group_text[44] = "", id_text[23] = "";
    private_message(body, size, d->group, 1, CONTENT_APPLICATION);
    random_fill(id, sizeof id);
    base64url_write(group_text, span_of(d->group, sizeof d->group));
    base64url_write(id_text, SPAN(id));
    (void)snprintf(target, sizeof target, "/v1/groups/%s/messages?id=%s", group_text, id_text);
    struct load_bytes request = relay_request(port, d, "POST", target, span_of(body, size), "message/mls");
    free(body);
    return request;
}

/* ---- answers */

size_t relay_answer(span in, int *status, span *body) {
    const uint8_t *end = memmem(in.p, in.n, "\r\n\r\n", 4);
    size_t length = 0;
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - in.p) + 4;
    if (head < 16 || memcmp(in.p, "HTTP/1.1 ", 9) != 0)
        die("that is no HTTP/1.1: %.*s", (int)head, (const char *)in.p);
    *status = atoi((const char *)in.p + 9);
    const char *at = memmem(in.p, head, "content-length:", 15);
    if (at == NULL)
        at = memmem(in.p, head, "Content-Length:", 15);
    if (at != NULL)
        length = strtoul(at + 15, NULL, 10);
    if (in.n < head + length)
        return 0;
    *body = span_of(in.p + head, length);
    return head + length;
}

static size_t sender_take(connection *c, span in, int *status) {
    span body;
    (void)c;
    return relay_answer(in, status, &body);
}
const protocol RELAY_SENDER = {.take = sender_take};

void relay_reader_ask(connection *c) {
    relay_reader *r = c->more;
    char target[80];
    (void)snprintf(target, sizeof target, "/v1/inbox?after=%lld&limit=256&wait=20", (long long)r->after);
    struct load_bytes request = relay_request(r->port, r->device, "GET", target, SPAN_NONE, NULL);
    connection_send(c, request.p, request.n);
    free(request.p);
}

static size_t reader_take(connection *c, span in, int *status) {
    relay_reader *r = c->more;
    span body;
    size_t n = relay_answer(in, status, &body);
    if (n == 0)
        return 0;
    if (*status == 503) { /* overload: a reader asks again */
        *status = STATUS_NONE;
        relay_reader_ask(c);
        return n;
    }
    if (*status != 200)
        die("the inbox was answered %d: %.*s", *status, (int)body.n, (const char *)body.p);
    for (const uint8_t *p = body.p, *end = body.p + body.n;
         (p = memmem(p, (size_t)(end - p), "\"kind\":\"message\"", 16)) != NULL; p += 16)
        r->messages++;
    /* `next` stands behind the events. */
    const uint8_t *next = NULL;
    for (const uint8_t *p = body.p + (body.n > 120 ? body.n - 120 : 0), *end = body.p + body.n;
         (p = memmem(p, (size_t)(end - p), "\"next\":", 7)) != NULL; p += 7)
        next = p;
    if (next == NULL)
        die("the inbox has no next");
    r->after = strtoll((const char *)next + 7, NULL, 10);
    *status = STATUS_NONE;
    relay_reader_ask(c);
    return n;
}
const protocol RELAY_READER = {.take = reader_take};

/* ---- making clinics */

/* Where the body has the member; numbers only rise. */
static void member_integer(span body, const char *name, int64_t *v) {
    const char *at = memmem(body.p, body.n, name, strlen(name));
    int64_t found = at != NULL ? strtoll(at + strlen(name), NULL, 10) : 0;
    *v = found > *v ? found : *v;
}

static int64_t last_seq;
int64_t relay_newest(void) { return last_seq; }

static size_t telling_take(connection *c, span in, int *status) {
    span body = SPAN_NONE;
    size_t n = relay_answer(in, status, &body);
    (void)c;
    if (n > 0 && *status >= 300)
        die("setting up: %d %.*s", *status, (int)body.n, (const char *)body.p);
    if (n > 0)
        member_integer(body, "\"seq\":", &last_seq);
    return n;
}
const protocol RELAY_TELLING = {.take = telling_take};

static void ask_all(uint16_t port, struct load_bytes *requests, size_t n) {
    load l = {.requests = requests, .requests_count = n, .phases_count = 1, .phases = {{.seconds = 1e6}}};
    l.senders = n < SET_UP_CONNECTIONS ? n : SET_UP_CONNECTIONS;
    l.connections = take_memory(l.senders * sizeof *l.connections);
    load_connect(&l, &RELAY_TELLING, &port, 1, 0, l.senders);
    load_run(&l);
    load_close(&l);
    for (size_t i = 0; i < n; i++)
        free(requests[i].p);
}

static struct load_bytes create_clinic(uint16_t port, const load_device *root) {
    line l = {0};
    put(&l, "{\"root_key\":\"");
    put_base64url(&l, signature_key_public(&root->key).p, ED25519_PUBLIC_SIZE);
    put(&l, "\"}");
    struct load_bytes r = relay_request(port, root, "POST", "/v1/clinics", span_of(l.p, l.n), "application/json");
    free(l.p);
    return r;
}

static void new_device(load_device *d, uint32_t role, size_t clinic) {
    *d = (load_device){.role = role, .clinic = (uint32_t)clinic};
    random_fill(d->seed, sizeof d->seed);
    random_fill(d->group, sizeof d->group);
    signature_key_from_seed(d->seed, &d->key);
    device_id_of(signature_key_public(&d->key).p, d->id);
}

static struct load_bytes enrol(uint16_t port, const load_device *d, const load_device *root) {
    uint8_t memory[1024];
    arena a;
    span bytes;
    certificate certified = {.kind = CERTIFICATE_STAFF,
                             .rights = RIGHT_MESSAGE,
                             .not_before = (uint64_t)time(NULL) - 60,
                             .not_after = (uint64_t)time(NULL) + A_DAY_S};
    certificate_chain chain = {&certified, 1};
    memcpy(certified.clinic_id, root->id, sizeof certified.clinic_id);
    memcpy(certified.subject_key, signature_key_public(&d->key).p, ED25519_PUBLIC_SIZE);
    memcpy(certified.subject_id, d->id, sizeof certified.subject_id);
    arena_over(&a, memory, sizeof memory);
    if (certificate_issue(&certified, &root->key) != OK ||
        WIRE_ENCODE(&a, wire_certificate_chain, &chain, &bytes) != OK)
        die("no certificate");
    line l = {0};
    put(&l, "{\"chain\":\"");
    put_base64url(&l, bytes.p, bytes.n);
    put(&l, "\"}");
    struct load_bytes r = relay_request(port, d, "POST", "/v1/devices", span_of(l.p, l.n), "application/json");
    free(l.p);
    return r;
}

static struct load_bytes commit(uint16_t port, const load_device *by, uint64_t epoch, const load_device *added,
                                size_t count) {
    uint8_t message[COMMIT_SIZE], welcome[60];
    char target[120], group_text[44] = "";
    line l = {0};
    private_message(message, sizeof message, by->group, epoch, CONTENT_COMMIT);
    random_fill(welcome, sizeof welcome);
    base64url_write(group_text, span_of(by->group, sizeof by->group));
    (void)snprintf(target, sizeof target, "/v1/groups/%s/commits", group_text);
    put(&l, "{\"epoch\":%llu,\"commit\":\"", (unsigned long long)epoch);
    put_base64url(&l, message, sizeof message);
    put(&l, "\",\"welcome\":\"");
    put_base64url(&l, welcome, sizeof welcome);
    put(&l, "\",\"removed\":[],\"added\":[");
    for (size_t i = 0; i < count; i++) {
        put(&l, "%s\"", i > 0 ? "," : "");
        put_base64url(&l, added[i].id, sizeof added[i].id);
        put(&l, "\"");
    }
    put(&l, "]}");
    struct load_bytes r = relay_request(port, by, "POST", target, span_of(l.p, l.n), "application/json");
    free(l.p);
    return r;
}

void relay_set_up(uint16_t port, size_t clinics, size_t senders, size_t waiters, load_devices *out) {
    size_t makers = (waiters + WAITERS_A_GROUP - 1) / WAITERS_A_GROUP, n = clinics + senders + makers + waiters;
    load_device *roots = take_memory(clinics * sizeof *roots), *d = take_memory(n * sizeof *d), last;
    struct load_bytes *requests = take_memory(n * sizeof *requests);
    load_device *readers = d, *first_sender = d + clinics, *first_maker = first_sender + senders,
                *first_waiter = first_maker + makers;
    for (size_t i = 0; i < clinics; i++) {
        new_device(&roots[i], 0, i);
        clinic_id_of(signature_key_public(&roots[i].key).p, roots[i].id);
        requests[i] = create_clinic(port, &roots[i]);
    }
    ask_all(port, requests, clinics);
    for (size_t i = 0; i < n; i++) {
        uint32_t role = i < clinics                      ? DEVICE_READER
                        : i < clinics + senders          ? DEVICE_SENDER
                        : i < clinics + senders + makers ? DEVICE_MAKER
                                                         : DEVICE_WAITER;
        size_t clinic = role == DEVICE_READER ? i : role == DEVICE_SENDER ? (i - clinics) % clinics : 0;
        new_device(&d[i], role, clinic);
        requests[i] = enrol(port, &d[i], &roots[clinic]);
    }
    ask_all(port, requests, n);
    for (size_t i = 0; i < senders; i++)
        requests[i] = commit(port, &first_sender[i], 0, &readers[first_sender[i].clinic], 1);
    ask_all(port, requests, senders);
    for (size_t epoch = 0; epoch < WAITERS_A_GROUP / ADDED_A_COMMIT && makers > 0; epoch++) {
        size_t asked = 0;
        for (size_t i = 0; i < makers; i++) {
            size_t from = i * WAITERS_A_GROUP + epoch * ADDED_A_COMMIT;
            if (from < waiters)
                requests[asked++] = commit(port, &first_maker[i], epoch, first_waiter + from,
                                           waiters - from < ADDED_A_COMMIT ? waiters - from : ADDED_A_COMMIT);
        }
        ask_all(port, requests, asked);
    }
    /* One more device, since enrolling tells the newest number. */
    new_device(&last, DEVICE_READER, 0);
    requests[0] = enrol(port, &last, &roots[0]);
    ask_all(port, requests, 1);
    for (size_t i = 0; i < n; i++)
        d[i].newest = last_seq;
    free(roots);
    free(requests);
    *out = (load_devices){d, n};
}

void relay_devices_write(const char *file, const load_devices *d) {
    FILE *f = fopen(file, "wb");
    if (f == NULL || fwrite(d->p, sizeof *d->p, d->n, f) != d->n || fclose(f) != 0)
        die("can't write %s", file);
}

void relay_devices_read(const char *file, load_devices *d) {
    FILE *f = fopen(file, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0)
        die("can't read %s", file);
    d->n = (size_t)ftell(f) / sizeof *d->p;
    d->p = take_memory(d->n * sizeof *d->p);
    rewind(f);
    if (fread(d->p, sizeof *d->p, d->n, f) != d->n)
        die("can't read %s", file);
    fclose(f);
}

size_t relay_count(const load_devices *d, uint32_t role) {
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->p[i].role == role;
    return n;
}

const load_device *relay_device(const load_devices *d, uint32_t role, size_t n) {
    for (size_t i = 0; i < d->n; i++)
        if (d->p[i].role == role && n-- == 0)
            return &d->p[i];
    die("there are not so many devices of that kind");
}
