/* Frames into sotto_call, on a store in memory. The first byte says how the rest is taken:
 *   bit 0  on a clinic, so that the commands that need an account are within reach. Making one takes 50 ms under ASan, so
 *          it serves CLINIC_USES inputs, or until one of them has locked it
 *   bit 1  each piece is a whole frame as it stands; else it is a header, and the frame is laid out around it
 *   bit 2  what follows a byte 1 of a piece is its frame's attachment
 * Pieces are parted by a zero byte. Every reply must be a frame whose header is one JSON object, result or error. */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include <cJSON.h>

#include "base/text.h"
#include "support/host.h"
#include "sotto.h"

enum { WITH_CLINIC = 1, RAW = 2, WITH_ATTACHMENT = 4, PIECES_MAX = 16, CLINIC_USES = 100 };

static const char open_header[] = "{\"store\":\"\"}";
static const char clinic_header[] =
    "{\"command\":\"clinic.create\",\"args\":{\"relay\":\"http://localhost\",\"clinic_name\":\"C\",\"name\":\"D\"}}";

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, size_t value) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

/* Returns whether it says a result. */
static bool check_reply(const uint8_t *reply) {
    size_t end = 4 + (size_t)u32_at(reply), header = u32_at(reply + 4), at = 8 + header;
    REQUIRE(at <= end && utf8_valid(span_of(reply + 8, header)));
    while (at < end) {
        REQUIRE(end - at >= 4);
        at += 4 + (size_t)u32_at(reply + at);
        REQUIRE(at <= end);
    }
    const char *stop = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts((const char *)reply + 8, header, &stop, 0);
    REQUIRE(cJSON_IsObject(json) && stop == (const char *)reply + 8 + header);
    bool result = cJSON_HasObjectItem(json, "result");
    REQUIRE(result != cJSON_HasObjectItem(json, "error"));
    cJSON_Delete(json);
    return result;
}

/* A frame of its exact size, so that ASan sees a read past its end. */
static uint8_t *lay_out(const void *header, size_t header_size, const void *attached, size_t attached_size, size_t *n) {
    *n = 8 + header_size + (attached != NULL ? 4 + attached_size : 0);
    uint8_t *p = sotto_alloc(*n);
    REQUIRE(p != NULL);
    put_u32(p, *n - 4);
    put_u32(p + 4, header_size);
    if (header_size > 0)
        memcpy(p + 8, header, header_size);
    if (attached != NULL) {
        put_u32(p + 8 + header_size, attached_size);
        if (attached_size > 0)
            memcpy(p + 12 + header_size, attached, attached_size);
    }
    return p;
}

static bool call(sotto *s, uint8_t *p, size_t n) {
    bool result = check_reply(sotto_call(s, p, n));
    sotto_free(p, n);
    return result;
}

static bool call_header(sotto *s, const char *header) {
    size_t n;
    uint8_t *p = lay_out(header, strlen(header), NULL, 0, &n);
    return call(s, p, n);
}

static sotto *open_memory(void) {
    size_t n;
    uint8_t *p = lay_out(open_header, sizeof open_header - 1, NULL, 0, &n);
    sotto *s = sotto_open(p, n);
    REQUIRE(s != NULL);
    sotto_free(p, n);
    return s;
}

static sotto *open_clinic(void) {
    static sotto *clinic;
    static int uses;
    if (clinic != NULL && (++uses > CLINIC_USES || !call_header(clinic, "{\"command\":\"me\"}"))) {
        sotto_close(clinic);
        clinic = NULL;
    }
    if (clinic == NULL) {
        clinic = open_memory();
        REQUIRE(call_header(clinic, clinic_header));
        uses = 0;
    }
    return clinic;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t n;
    if (size == 0)
        return 0;
    host_set_log_level(4);
    uint8_t how = data[0], *p;
    sotto *s = how & WITH_CLINIC ? open_clinic() : open_memory();
    const uint8_t *piece = data + 1, *end = data + size;
    for (int i = 0; i < PIECES_MAX && piece < end; i++) {
        /* A raw frame has zero bytes of its own: it takes all that is left. */
        const uint8_t *stop = how & RAW ? NULL : memchr(piece, 0, (size_t)(end - piece));
        size_t length = (size_t)((stop != NULL ? stop : end) - piece);
        if (how & RAW) {
            p = sotto_alloc(length);
            REQUIRE(p != NULL);
            memcpy(p, piece, length);
            n = length;
        } else {
            const uint8_t *attached = how & WITH_ATTACHMENT ? memchr(piece, 1, length) : NULL;
            size_t header = (size_t)((attached != NULL ? attached : piece + length) - piece);
            p = lay_out(piece, header, attached, attached != NULL ? length - header : 0, &n);
        }
        call(s, p, n);
        if (stop == NULL)
            break;
        piece = stop + 1;
    }
    if (!(how & WITH_CLINIC))
        sotto_close(s);
    return 0;
}
