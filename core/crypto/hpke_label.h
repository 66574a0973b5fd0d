/* hpke_label.h: LabeledExtract and LabeledExpand (RFC 9180 §4), shared by DHKEM (kem.c) and the key schedule (hpke.c). */
#ifndef CRYPTO_HPKE_LABEL_H
#define CRYPTO_HPKE_LABEL_H

#include "crypto/kdf.h"

/* Up to three pieces of key material or info. */
#define HPKE_PARTS_MAX 4

/* labeled_ikm = "HPKE-v1" | suite_id | label | ikm */
void hpke_labeled_extract(size_t hash_size, span suite_id, span salt, const char *label, const span *ikm, size_t count,
                          secret *prk);
/* labeled_info = I2OSP(L, 2) | "HPKE-v1" | suite_id | label | info. ERR_TOO_LARGE as kdf_expand. */
MUST_USE err hpke_labeled_expand(size_t hash_size, span suite_id, span prk, const char *label, const span *info,
                                 size_t count, uint8_t *out, size_t n);

#endif
