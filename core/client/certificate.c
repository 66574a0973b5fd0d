#include "client/certificate.h"

#include "crypto/random.h"

/* 2 + 16 + 3 + 32 + 32 + 16 + 4 + 8 + 8: all of the struct but the signature. */
#define BODY_SIZE 121
static const char LABEL[] = "Sotto certificate 1";
#define LABEL_SIZE (sizeof LABEL - 1)

static void wire_body(wire *w, certificate *c) {
    wire_u16(w, &c->version);
    if (wire_reading(w) && c->version != CERTIFICATE_VERSION)
        wire_fail(w, ERR_UNSUPPORTED);
    wire_fixed(w, c->clinic_id, ID_SIZE);
    wire_u8(w, &c->kind);
    wire_u8(w, &c->enrols);
    wire_u8(w, &c->level);
    wire_fixed(w, c->issuer_key, ED25519_PUBLIC_SIZE);
    wire_fixed(w, c->subject_key, ED25519_PUBLIC_SIZE);
    wire_fixed(w, c->subject_id, ID_SIZE);
    wire_u32(w, &c->rights);
    wire_u64(w, &c->not_before);
    wire_u64(w, &c->not_after);
}

void wire_certificate(wire *w, certificate *c) {
    wire_body(w, c);
    wire_fixed(w, c->signature, ED25519_SIGNATURE_SIZE);
}

void wire_certificate_chain(wire *w, certificate_chain *c) { WIRE_VEC(w, *c, wire_certificate); }

/* Writes what the signature covers. The size never depends on the contents. */
static err signed_content(const certificate *c, uint8_t out[LABEL_SIZE + BODY_SIZE]) {
    certificate copy = *c;
    memcpy(out, LABEL, LABEL_SIZE);
    wire w;
    wire_write_init(&w, out + LABEL_SIZE, BODY_SIZE);
    wire_body(&w, &copy);
    return wire_end(&w);
}

err certificate_issue(certificate *c, const signature_key *issuer) {
    uint8_t content[LABEL_SIZE + BODY_SIZE];
    c->version = CERTIFICATE_VERSION;
    memcpy(c->issuer_key, signature_key_public(issuer).p, ED25519_PUBLIC_SIZE);
    TRY(signed_content(c, content));
    signature_sign(issuer, SPAN(content), c->signature);
    return OK;
}

static err verify(const certificate *c) {
    uint8_t content[LABEL_SIZE + BODY_SIZE];
    TRY(signed_content(c, content));
    return signature_verify(SPAN(c->issuer_key), SPAN(content), SPAN(c->signature));
}

static bool is_person(uint8_t kind) { return kind == CERTIFICATE_STAFF || kind == CERTIFICATE_AGENT; }

/* What must hold of a certificate by itself. */
static bool well_formed(const certificate *c) {
    bool enrols_someone = is_person(c->enrols) || c->enrols == CERTIFICATE_PATIENT;
    return c->version == CERTIFICATE_VERSION && c->kind >= CERTIFICATE_STAFF && c->kind <= CERTIFICATE_PATIENT &&
           (c->kind == CERTIFICATE_INVITE ? enrols_someone : c->enrols == 0) && c->level <= CHECK_DESK &&
           (c->kind != CERTIFICATE_PATIENT || (c->rights & ~(uint32_t)RIGHT_MESSAGE) == 0) &&
           c->not_before <= c->not_after;
}

static bool may_issue(const certificate *issuer, const certificate *c) {
    if ((c->rights & ~issuer->rights) != 0)
        return false;
    if (is_person(issuer->kind)) {
        uint32_t needed = is_person(c->enrols) ? RIGHT_INVITE_STAFF : RIGHT_INVITE_PATIENT;
        return c->kind == CERTIFICATE_INVITE && (issuer->rights & needed) != 0;
    }
    if (issuer->kind == CERTIFICATE_INVITE)
        return c->kind == issuer->enrols && c->level == issuer->level &&
               memcmp(c->subject_id, issuer->subject_id, ID_SIZE) == 0;
    return false; /* a patient issues nothing */
}

err certificate_chain_check(const certificate_chain *chain, const uint8_t root_key[ED25519_PUBLIC_SIZE],
                            uint64_t now_seconds) {
    uint8_t clinic[ID_SIZE];
    clinic_id_of(root_key, clinic);
    if (chain->n == 0 || chain->n > CHAIN_MAX)
        return ERR_CERTIFICATE;
    /* The rules first: they cost nothing, signatures do. */
    for (size_t i = 0; i < chain->n; i++) {
        const certificate *c = &chain->p[i], *issuer = i > 0 ? c - 1 : NULL;
        if (!well_formed(c) || memcmp(c->clinic_id, clinic, ID_SIZE) != 0 ||
            memcmp(c->issuer_key, issuer ? issuer->subject_key : root_key, ED25519_PUBLIC_SIZE) != 0)
            return ERR_CERTIFICATE;
        if (issuer == NULL ? !is_person(c->kind) : !may_issue(issuer, c))
            return ERR_CERTIFICATE;
        if (issuer != NULL && (c->not_before < issuer->not_before || c->not_before > issuer->not_after))
            return ERR_EXPIRED;
    }
    const certificate *last = certificate_chain_holder(chain);
    if (now_seconds != 0 && (now_seconds < last->not_before || now_seconds > last->not_after))
        return ERR_EXPIRED;
    for (size_t i = 0; i < chain->n; i++)
        TRY(verify(&chain->p[i]));
    return OK;
}

/* All labels have one length, so no label and key can run together as another's. */
static void name_of(const char label[15], const uint8_t key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]) {
    uint8_t input[64], hash[32];
    size_t n = strlen(label);
    memcpy(input, label, n);
    memcpy(input + n, key, ED25519_PUBLIC_SIZE);
    sha256(span_of(input, n + ED25519_PUBLIC_SIZE), hash);
    memcpy(id, hash, ID_SIZE);
}

void clinic_id_of(const uint8_t root_key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]) {
    name_of("Sotto clinic 1", root_key, id);
}
void device_id_of(const uint8_t key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]) { name_of("Sotto device 1", key, id); }
void invite_id_of(const uint8_t key[ED25519_PUBLIC_SIZE], uint8_t id[ID_SIZE]) { name_of("Sotto invite 1", key, id); }
