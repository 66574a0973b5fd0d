/* calls_key_package.c: the stock from which others take a device's key packages, each once. */
#include "call.h"

#include "crypto/sha256.h"

static int64_t in_stock(call *c) {
    db_rows r = DB_QUERY(c->db, "SELECT COUNT(*) FROM key_packages WHERE clinic = $1 AND device = $2 AND claimed = 0",
                         db_id(c->clinic), db_id(c->device));
    int64_t n = db_next(&r) ? db_integer(&r, 0) : 0;
    db_end(&r);
    return n;
}

static bool count_answer(call *c, int64_t n) {
    text_put(&c->out, "{");
    text_member_integer(&c->out, "count", n);
    text_put(&c->out, "}");
    return answer(c, 200);
}

bool call_key_packages_put(call *c) {
    size_t n = 0;
    span *packages = json_bytes_list(&c->json, "key_packages", KEY_PACKAGE_MAX, KEY_PACKAGES_MAX, &n);
    span last_resort =
        json_has(&c->json, "last_resort") ? json_bytes(&c->json, "last_resort", KEY_PACKAGE_MAX) : SPAN_NONE;
    if (json_faulty(c))
        return true;
    db_value clinic = db_id(c->clinic), device = db_id(c->device);
    db_rows r = DB_QUERY(
        c->db, "SELECT COALESCE(MAX(number), 0) FROM key_packages WHERE clinic = $1 AND device = $2 AND claimed = 0",
        clinic, device);
    int64_t number = db_next(&r) ? db_integer(&r, 0) : 0;
    db_end(&r);
    for (size_t i = 0; i < n; i++) {
        uint8_t digest[32];
        sha256(packages[i], digest);
        /* One that was published before, claimed or not, is not put back: nobody may get it twice. */
        DB_RUN_LATER(
            c->db,
            "INSERT INTO key_packages (clinic, device, digest, number, claimed, data) VALUES ($1, $2, $3, $4, 0, $5) "
            "ON CONFLICT DO NOTHING",
            clinic, device, db_b(SPAN(digest)), db_i(number + 1 + (int64_t)i), db_b(packages[i]));
    }
    if (last_resort.p != NULL)
        DB_RUN_LATER(c->db,
                     "INSERT INTO last_resorts (clinic, device, data) VALUES ($1, $2, $3) "
                     "ON CONFLICT (clinic, device) DO UPDATE SET data = excluded.data",
                     clinic, device, db_b(last_resort));
    int64_t count = in_stock(c);
    if (count > KEY_PACKAGES_MAX)
        return problem_more(c, PROBLEM_TOO_LARGE, "the stock of key packages would be over its limit", "limit",
                            KEY_PACKAGES_MAX);
    return count_answer(c, count);
}

bool call_key_packages_get(call *c) { return count_answer(c, in_stock(c)); }

/* Writes one claimed package into the answer; false when the device has none. */
static bool claim(call *c, const uint8_t device[ID_SIZE]) {
    uint8_t digest[32];
    span data = SPAN_NONE;
    db_rows r = DB_QUERY(c->db,
                         "SELECT digest, data FROM key_packages WHERE clinic = $1 AND device = $2 AND claimed = 0 "
                         "ORDER BY number LIMIT 1",
                         db_id(c->clinic), db_id(device));
    bool found = db_next(&r);
    if (found) {
        memcpy(digest, db_bytes(&r, 0).p, sizeof digest);
        found = arena_copy(c->arena, db_bytes(&r, 1), &data) == OK;
    }
    db_end(&r);
    if (found) {
        DB_RUN_LATER(
            c->db, "UPDATE key_packages SET claimed = $4, data = $5 WHERE clinic = $1 AND device = $2 AND digest = $3",
            db_id(c->clinic), db_id(device), db_b(SPAN(digest)), db_i(c->now_ms), db_b(SPAN_NONE));
    } else {
        r = DB_QUERY(c->db, "SELECT data FROM last_resorts WHERE clinic = $1 AND device = $2", db_id(c->clinic),
                     db_id(device));
        found = db_next(&r) && arena_copy(c->arena, db_bytes(&r, 0), &data) == OK;
        db_end(&r);
    }
    if (!found)
        return false;
    if (c->out.p[c->out.n - 1] == '}')
        text_put(&c->out, ",");
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "device", span_of(device, ID_SIZE));
    text_member_base64url(&c->out, "key_package", data);
    text_put(&c->out, "}");
    return true;
}

bool call_key_packages_claim(call *c) {
    size_t n = 0;
    const uint8_t *devices = json_fixed_list(&c->json, "devices", ID_SIZE, DEVICES_A_CALL_MAX, &n);
    if (json_faulty(c))
        return true;
    if (n > 0)
        call_object(c, span_of(devices, n == 1 ? ID_SIZE : 2 * ID_SIZE));
    if ((c->rights & RIGHT_MESSAGE) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to take part in conversations");
    text_put(&c->out, "{\"key_packages\":[");
    for (size_t i = 0; i < n && !c->out.failed; i++)
        (void)claim(c, devices + i * ID_SIZE);
    text_put(&c->out, "]}");
    return answer(c, 200);
}
