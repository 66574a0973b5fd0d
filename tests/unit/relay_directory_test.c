/* What a relay remembers between batches: it ends when it must, and takes no more memory than it may; and signatures checked by
 * several threads. */
#include "../../server/directory.h"
#include "../../server/limits.h"
#include "../../server/verify.h"
#include "support/check.h"

static directory *d;
static const uint8_t CLINIC[ID_SIZE] = {1}, OTHER[ID_SIZE] = {2}, DEVICE[ID_SIZE] = {3};

static int set_up(void **state) {
    assert_ok(directory_open(5, &d));
    return 0;
}

static int tear_down(void **state) {
    directory_close(d);
    return 0;
}

static void a_generation_lasts_while_the_mark_is_the_same(void **state) {
    uint64_t first = directory_generation(d, CLINIC, 7);
    assert_true(first != 0);
    assert_true(directory_generation(d, CLINIC, 7) == first);
    assert_true(directory_generation(d, OTHER, 7) != first);
    uint64_t second = directory_generation(d, CLINIC, 8); /* another relay changed something */
    assert_true(second != first);
    directory_marked(d, CLINIC, 9); /* this one did */
    assert_true(directory_generation(d, CLINIC, 9) == second);
    assert_true(directory_generation(d, CLINIC, 8) != second); /* a database that was set back */
    uint64_t third = directory_generation(d, CLINIC, 8), fourth = directory_forget_clinic(d, CLINIC);
    assert_true(third != fourth);
    assert_true(directory_generation(d, CLINIC, 8) == fourth);
    directory_forget_all(d);
    assert_true(directory_generation(d, CLINIC, 8) > fourth);
}

static void a_minute_begins_once(void **state) {
    assert_true(directory_minute_begins(d, CLINIC, 100));
    assert_false(directory_minute_begins(d, CLINIC, 100));
    assert_true(directory_minute_begins(d, OTHER, 100));
    assert_true(directory_minute_begins(d, CLINIC, 101));
}

static void what_is_forgotten_is_not_known(void **state) {
    static const uint8_t GROUP[GROUP_BYTES] = {4};
    assert_null(directory_device(d, DEVICE));
    directory_add_device(d, DEVICE)->rights = 31;
    directory_add_group(d, GROUP)->epoch = 6;
    assert_int_equal(directory_device(d, DEVICE)->rights, 31);
    assert_int_equal(directory_group(d, GROUP)->epoch, 6);
    assert_int_equal(directory_add_device(d, DEVICE)->rights, 0); /* anew: nothing is left of before */
    directory_forget_device(d, DEVICE);
    directory_forget_group(d, GROUP);
    assert_null(directory_device(d, DEVICE));
    assert_null(directory_group(d, GROUP));
    (void)directory_add_device(d, DEVICE);
    directory_forget_all(d);
    assert_null(directory_device(d, DEVICE));
}

static void many_take_the_places_of_the_oldest(void **state) {
    uint8_t id[ID_SIZE] = {0};
    size_t known = 0;
    for (uint32_t i = 1; i <= 4 * DEVICES_REMEMBERED; i++) {
        memcpy(id, &i, sizeof i);
        directory_add_device(d, id)->rights = i;
        assert_int_equal(directory_device(d, id)->rights, i);
    }
    for (uint32_t i = 1; i <= 4 * DEVICES_REMEMBERED; i++) {
        memcpy(id, &i, sizeof i);
        known_device *k = directory_device(d, id);
        known += k != NULL;
        assert_true(k == NULL || k->rights == i);
    }
    assert_true(known > DEVICES_REMEMBERED / 2 && known <= DEVICES_REMEMBERED);
}

#define SIGNATURES 100

/* In every round others are bad, so that a thread that looked at the wrong one would be found out. */
static void signatures_are_each_checked_for_themselves(void **state) {
    static const char PARAMETERS[] = "();created=1";
    uint8_t seed[ED25519_SEED_SIZE] = {1};
    signature_key key;
    verifiers *v;
    signed_head heads[SIGNATURES];
    verification list[SIGNATURES];
    request rq = {.method = METHOD_GET, .path = span_text("/"), .authority = span_text("x")};
    static const char BASE[] = "\"@method\": GET\n\"@authority\": x\n\"@path\": /\n\"@query\": ?\n"
                               "\"@signature-params\": ();created=1";
    signature_key_from_seed(seed, &key);
    for (size_t threads = 0; threads < 4; threads++) {
        assert_ok(verifiers_open(threads, &v));
        for (size_t round = 0; round < 20; round++) {
            size_t n = round * 5 + 1;
            for (size_t i = 0; i < n; i++) {
                heads[i] = (signed_head){.parameters = span_text(PARAMETERS)};
                signature_sign(&key, span_text(BASE), heads[i].signature);
                if ((i + round) % 3 == 0)
                    heads[i].signature[i % ED25519_SIGNATURE_SIZE] ^= 1;
                list[i] = (verification){.rq = &rq, .head = &heads[i], .key = signature_key_public(&key).p};
            }
            verify_all(v, list, n);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(list[i].good, (i + round) % 3 != 0);
        }
        verifiers_close(v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_generation_lasts_while_the_mark_is_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_minute_begins_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_not_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_take_the_places_of_the_oldest, set_up, tear_down),
        cmocka_unit_test(signatures_are_each_checked_for_themselves),
    };
    return cmocka_run_group_tests_name("relay_directory", tests, NULL, NULL);
}
