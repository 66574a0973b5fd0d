#include "crypto/hpke_label.h"

#include <assert.h>

#define VERSION span_of("HPKE-v1", 7)

void hpke_labeled_extract(size_t hash_size, span suite_id, span salt, const char *label, const span *ikm, size_t count,
                          secret *prk) {
    assert(count <= HPKE_PARTS_MAX);
    span parts[3 + HPKE_PARTS_MAX] = {VERSION, suite_id, span_text(label)};
    for (size_t i = 0; i < count; i++)
        parts[3 + i] = ikm[i];
    kdf_extract(hash_size, salt, parts, 3 + count, prk);
}

err hpke_labeled_expand(size_t hash_size, span suite_id, span prk, const char *label, const span *info, size_t count,
                        uint8_t *out, size_t n) {
    assert(count <= HPKE_PARTS_MAX);
    /* n is at most 255 * 64 after kdf_expand's check, so it fits; a larger one is refused there. */
    const uint8_t length[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    span parts[4 + HPKE_PARTS_MAX] = {SPAN(length), VERSION, suite_id, span_text(label)};
    for (size_t i = 0; i < count; i++)
        parts[4 + i] = info[i];
    return kdf_expand(hash_size, prk, parts, 4 + count, out, n);
}
