#include "totp.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "base/secret.h"

bool totp_code(const uint8_t secret[TOTP_SECRET_SIZE], uint64_t step, char code[TOTP_DIGITS + 1]) {
    uint8_t moment[8], mac[20];
    unsigned n = 0;
    for (int i = 0; i < 8; i++)
        moment[i] = (uint8_t)(step >> (56 - 8 * i));
    if (HMAC(EVP_sha1(), secret, TOTP_SECRET_SIZE, moment, sizeof moment, mac, &n) == NULL || n != sizeof mac)
        return false;
    /* RFC 4226 §5.3 */
    const uint8_t *p = mac + (mac[19] & 15);
    uint32_t value = (uint32_t)(p[0] & 0x7f) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    (void)snprintf(code, TOTP_DIGITS + 1, "%06u", (unsigned)(value % 1000000));
    wipe(mac, sizeof mac);
    return true;
}

int64_t totp_find(const uint8_t secret[TOTP_SECRET_SIZE], int64_t now_s, int64_t last, const char code[TOTP_DIGITS]) {
    int64_t found = 0, now = now_s / TOTP_STEP_S;
    char right[TOTP_DIGITS + 1];
    for (int64_t step = now - 1; step <= now + 1; step++) {
        if (!totp_code(secret, (uint64_t)step, right))
            return 0;
        if (secret_equal(span_of((const uint8_t *)code, TOTP_DIGITS), span_of((uint8_t *)right, TOTP_DIGITS)) &&
            step > last)
            found = step;
    }
    wipe(right, sizeof right);
    return found;
}
