/* core/wire: the TLS presentation language, in the three directions. */
#include "support/check.h"
#include "wire/wire.h"

typedef struct pair {
    uint8_t a;
    uint16_t b;
} pair;

static void wire_pair(wire *w, pair *o) {
    wire_u8(w, &o->a);
    wire_u16(w, &o->b);
}

typedef struct group {
    span name;
    struct {
        pair *p;
        size_t n;
    } pairs;
} group;

static void wire_group(wire *w, group *o) {
    wire_opaque(w, &o->name);
    WIRE_VEC(w, o->pairs, wire_pair);
}

/* Something of each kind. */
typedef struct sample {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    bool present;
    uint8_t fixed[5];
    span opaque;
    uint8_t inside[8];
    size_t inside_size;
    uint32_t varint;
    struct {
        uint16_t *p;
        size_t n;
    } numbers;
    struct {
        group *p;
        size_t n;
    } groups;
} sample;

static void wire_sample(wire *w, sample *o) {
    wire_u8(w, &o->u8);
    wire_u16(w, &o->u16);
    wire_u32(w, &o->u32);
    wire_u64(w, &o->u64);
    wire_bool(w, &o->present);
    wire_fixed(w, o->fixed, sizeof o->fixed);
    wire_opaque(w, &o->opaque);
    wire_opaque_into(w, o->inside, sizeof o->inside, &o->inside_size);
    wire_varint(w, &o->varint);
    WIRE_VEC(w, o->numbers, wire_u16);
    WIRE_VEC(w, o->groups, wire_group);
}

#define SAMPLE_BYTES                                                                                                   \
    "01 0203 04050607 08090a0b0c0d0e0f 01 1011121314 03616263 0278ff 4040 04 00010002"                                 \
    "0f 01 41 06 01 0002 03 0004 00 00 02 4243 00"

/* A test's arena, large enough for all but the tests of large things. */
static uint8_t memory[1 << 16] __attribute__((aligned(8)));
static arena test_arena(void) {
    arena a;
    arena_over(&a, memory, sizeof memory);
    return a;
}

static void a_struct_of_every_kind_reads_and_writes(void **state) {
    arena a = test_arena();
    sample o;
    span in = hex(SAMPLE_BYTES), out;
    memset(&o, 0xee, sizeof o);
    assert_ok(WIRE_DECODE(in, &a, wire_sample, &o));
    assert_int_equal(o.u8, 1);
    assert_int_equal(o.u16, 0x0203);
    assert_int_equal(o.u32, 0x04050607);
    assert_true(o.u64 == 0x08090a0b0c0d0e0fu);
    assert_true(o.present);
    assert_memory_equal(o.fixed, "\x10\x11\x12\x13\x14", 5);
    assert_span(o.opaque, span_text("abc"));
    assert_true(o.opaque.p > in.p && o.opaque.p < in.p + in.n); /* looks into the input */
    assert_int_equal(o.inside_size, 2);
    assert_memory_equal(o.inside, "x\xff\0\0\0\0\0\0", 8);
    assert_int_equal(o.varint, 0x40);
    assert_int_equal(o.numbers.n, 2);
    assert_int_equal(o.numbers.p[0], 1);
    assert_int_equal(o.numbers.p[1], 2);
    assert_int_equal(o.groups.n, 3);
    assert_span(o.groups.p[0].name, span_text("A"));
    assert_int_equal(o.groups.p[0].pairs.n, 2);
    assert_int_equal(o.groups.p[0].pairs.p[1].a, 3);
    assert_int_equal(o.groups.p[0].pairs.p[1].b, 4);
    assert_int_equal(o.groups.p[1].name.n, 0);
    assert_int_equal(o.groups.p[1].pairs.n, 0);
    assert_null(o.groups.p[1].pairs.p);
    assert_span(o.groups.p[2].name, span_text("BC"));
    assert_ok(WIRE_ENCODE(&a, wire_sample, &o, &out));
    assert_span(out, in);
}

static void truncation_at_every_byte_is_refused(void **state) {
    span in = hex(SAMPLE_BYTES);
    for (size_t n = 0; n < in.n; n++) {
        arena a = test_arena();
        sample o;
        /* A copy of exactly n bytes, so that ASan sees a read beyond them. */
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, in.p, n);
        uint8_t *exact = n > 0 ? realloc(cut, n) : cut;
        assert_err(WIRE_DECODE(span_of(exact, n), &a, wire_sample, &o), ERR_TRUNCATED);
        free(exact);
    }
}

static void trailing_bytes_are_refused(void **state) { /* openmls #2134 */
    arena a = test_arena();
    sample o;
    assert_err(WIRE_DECODE(hex(SAMPLE_BYTES "00"), &a, wire_sample, &o), ERR_TRAILING);
    pair p;
    assert_err(WIRE_DECODE(hex("01000200"), &a, wire_pair, &p), ERR_TRAILING);
}

static void writing_needs_all_the_room_and_no_more(void **state) {
    arena a = test_arena();
    sample o;
    span in = hex(SAMPLE_BYTES);
    assert_ok(WIRE_DECODE(in, &a, wire_sample, &o));
    for (size_t n = 0; n <= in.n; n++) {
        uint8_t *out = malloc(n + 1);
        out[n] = 0x5a;
        wire w;
        wire_write_init(&w, out, n);
        wire_sample(&w, &o);
        assert_err(wire_end(&w), n < in.n ? ERR_TOO_LARGE : OK);
        assert_int_equal(out[n], 0x5a);
        free(out);
    }
}

static void the_first_failure_sticks_and_fields_are_zeroed(void **state) {
    arena a = test_arena();
    sample o;
    memset(&o, 0xee, sizeof o);
    assert_err(WIRE_DECODE(hex("01"), &a, wire_sample, &o), ERR_TRUNCATED);
    assert_int_equal(o.u8, 1);
    assert_int_equal(o.u16, 0);
    assert_int_equal(o.u32, 0);
    assert_true(o.u64 == 0);
    assert_false(o.present);
    assert_memory_equal(o.fixed, "\0\0\0\0\0", 5);
    assert_int_equal(o.opaque.n, 0);
    assert_int_equal(o.inside_size, 0);
    assert_memory_equal(o.inside, "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(o.varint, 0);
    assert_int_equal(o.numbers.n, 0);
    assert_null(o.numbers.p);
    assert_int_equal(o.groups.n, 0);
    wire w;
    wire_read_init(&w, hex("0102"), &a);
    uint8_t v = 9;
    wire_fail(&w, ERR_INVALID);
    wire_fail(&w, ERR_LIMIT);
    wire_u8(&w, &v);
    assert_int_equal(v, 0);
    assert_int_equal(w.at, 0);
    assert_err(wire_end(&w), ERR_INVALID);
}

/* A failure inside of a vector leaves it empty, and the failure is the struct's. */
static void a_bad_element_spoils_the_vector(void **state) {
    arena a = test_arena();
    group o;
    assert_err(WIRE_DECODE(hex("00 05 010002 0300"), &a, wire_group, &o), ERR_TRUNCATED);
    assert_int_equal(o.pairs.n, 0);
    assert_null(o.pairs.p);
}

static void writing_from_constant_memory_changes_nothing(void **state) {
    arena a = test_arena();
    static const pair constant = {1, 2};
    span out;
    assert_ok(WIRE_ENCODE(&a, wire_pair, &constant, &out));
    assert_span(out, hex("010002"));
    static const bool yes = true;
    assert_ok(WIRE_ENCODE(&a, wire_bool, &yes, &out));
    assert_span(out, hex("01"));
}

/* --- presence octets (ts-mls took 2 to 255) --- */

static void presence_octets_other_than_0_and_1_are_refused(void **state) {
    arena a = test_arena();
    for (int v = 0; v < 256; v++) {
        uint8_t octet = (uint8_t)v;
        bool present = true;
        assert_err(WIRE_DECODE(span_of(&octet, 1), &a, wire_bool, &present), v > 1 ? ERR_MALFORMED : OK);
        assert_int_equal(present, v == 1);
    }
}

/* --- variable-size integers (RFC 9420 §2.1.2) --- */

static void varints_have_the_rfcs_examples(void **state) {
    arena a = test_arena();
    static const struct {
        const char *bytes;
        uint32_t value;
    } cases[] = {
        {"9d7f3e7d", 494878333},
        {"7bbd", 15293},
        {"25", 37}, /* RFC 9000 §A.1, cited by RFC 9420 */
        {"00", 0},
        {"3f", 0x3f},
        {"4040", 0x40},
        {"7fff", 0x3fff},
        {"80004000", 0x4000},
        {"bfffffff", 0x3fffffff},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t v = 1;
        span out;
        assert_ok(WIRE_DECODE(hex(cases[i].bytes), &a, wire_varint, &v));
        assert_int_equal(v, cases[i].value);
        assert_ok(WIRE_ENCODE(&a, wire_varint, &v, &out));
        assert_span(out, hex(cases[i].bytes));
    }
}

static void longer_varints_than_needed_are_refused(void **state) { /* ts-mls codec */
    static const char *bad[] = {"4000", "403f", "4025", "80000000", "8000003f", "80000040", "80003fff"};
    arena a = test_arena();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t v = 1;
        assert_err(WIRE_DECODE(hex(bad[i]), &a, wire_varint, &v), ERR_NOT_MINIMAL);
        assert_int_equal(v, 0);
    }
}

static void varints_of_prefix_3_are_refused(void **state) {
    arena a = test_arena();
    uint32_t v;
    for (unsigned first = 0xc0; first < 0x100; first++) {
        uint8_t bytes[8] = {(uint8_t)first};
        assert_err(WIRE_DECODE(SPAN(bytes), &a, wire_varint, &v), ERR_MALFORMED);
    }
    assert_err(WIRE_DECODE(hex("c0"), &a, wire_varint, &v), ERR_MALFORMED);
}

static void varints_too_large_for_a_length_are_not_written(void **state) {
    arena a = test_arena();
    span out;
    for (uint64_t v = 0x40000000; v <= 0xffffffff; v += 0x15555555) {
        uint32_t large = (uint32_t)v;
        assert_err(WIRE_ENCODE(&a, wire_varint, &large, &out), ERR_TOO_LARGE);
        assert_int_equal(out.n, 0);
    }
}

static void all_varints_come_back(void **state) {
    uint8_t out[4];
    for (uint32_t v = 0; v < 0x20000; v++) {
        wire w;
        wire_write_init(&w, out, sizeof out);
        wire_varint(&w, &v);
        assert_ok(wire_end(&w));
        assert_int_equal(w.at, v < 0x40 ? 1 : v < 0x4000 ? 2 : 4);
        uint32_t read = ~v;
        size_t n = w.at;
        wire_read_init(&w, span_of(out, n), NULL);
        wire_varint(&w, &read);
        assert_ok(wire_end(&w));
        assert_int_equal(read, v);
    }
}

/* --- opaques at the steps of their length (openmls #2147: panics at 0x3fff and 0x3fffffff) --- */

static void check_opaque_of(size_t n, size_t prefix) {
    uint8_t *content = malloc(n > 0 ? n : 1), *out = malloc(n + prefix);
    memset(content, 0x5c, n);
    span s = span_of(content, n), back;
    wire w;
    wire_measure_init(&w);
    wire_opaque(&w, &s);
    assert_ok(wire_end(&w));
    assert_int_equal(w.at, n + prefix);
    wire_write_init(&w, out, n + prefix);
    wire_opaque(&w, &s);
    assert_ok(wire_end(&w));
    assert_int_equal(w.at, n + prefix);
    wire_read_init(&w, span_of(out, n + prefix), NULL);
    wire_opaque(&w, &back);
    assert_ok(wire_end(&w));
    assert_int_equal(back.n, n);
    assert_int_equal(memcmp(back.p, content, n), 0);
    wire_read_init(&w, span_of(out, n + prefix - 1), NULL);
    wire_opaque(&w, &back);
    assert_err(wire_end(&w), ERR_TRUNCATED);
    assert_int_equal(back.n, 0);
    free(content);
    free(out);
}

static void opaques_at_the_steps_of_their_length(void **state) {
    check_opaque_of(0, 1);
    check_opaque_of(1, 1);
    check_opaque_of(0x3f, 1);
    check_opaque_of(0x40, 2);
    check_opaque_of(0x3fff, 2);
    check_opaque_of(0x4000, 4);
    check_opaque_of(0x12345, 4);
}

static void the_longest_opaque_is_measured_and_a_longer_one_refused(void **state) {
    uint8_t byte = 0;
    wire w;
    span longest = span_of(&byte, 0x3fffffff), longer = span_of(&byte, 0x40000000), out;
    wire_measure_init(&w);
    wire_opaque(&w, &longest);
    assert_ok(wire_end(&w));
    assert_int_equal(w.at, (size_t)0x3fffffff + 4);
    wire_measure_init(&w);
    wire_opaque(&w, &longer);
    assert_err(wire_end(&w), ERR_TOO_LARGE);
    /* The claim of a length of 2^30 - 1 in front of nothing. */
    wire_read_init(&w, hex("bfffffff 00"), NULL);
    wire_opaque(&w, &out);
    assert_err(wire_end(&w), ERR_TRUNCATED);
    wire_write_init(&w, &byte, 1);
    wire_opaque(&w, &longest);
    assert_err(wire_end(&w), ERR_TOO_LARGE);
}

static void measuring_cannot_overflow(void **state) {
    uint8_t byte = 0;
    span longest = span_of(&byte, 0x3fffffff);
    wire w;
    wire_measure_init(&w);
    w.at = SIZE_MAX - 10;
    wire_opaque(&w, &longest);
    assert_err(wire_end(&w), ERR_TOO_LARGE);
}

static void opaques_into_arrays_respect_their_size(void **state) {
    uint8_t in[] = {4, 'a', 'b', 'c', 'd'}, array[4];
    size_t n = 77;
    wire w;
    wire_read_init(&w, SPAN(in), NULL);
    wire_opaque_into(&w, array, 4, &n);
    assert_ok(wire_end(&w));
    assert_int_equal(n, 4);
    assert_memory_equal(array, "abcd", 4);
    wire_read_init(&w, SPAN(in), NULL);
    wire_opaque_into(&w, array, 3, &n);
    assert_err(wire_end(&w), ERR_TOO_LARGE);
    assert_int_equal(n, 0);
    assert_memory_equal(array, "\0\0\0d", 4);
}

static void the_rest_is_taken_whole(void **state) {
    wire w;
    uint8_t v, out[3];
    span rest;
    wire_read_init(&w, hex("01020304"), NULL);
    wire_u8(&w, &v);
    wire_rest(&w, &rest);
    assert_ok(wire_end(&w));
    assert_span(rest, hex("020304"));
    wire_rest(&w, &rest);
    assert_ok(wire_end(&w));
    assert_int_equal(rest.n, 0);
    wire_write_init(&w, out, 3);
    wire_rest(&w, &(span){(const uint8_t *)"abc", 3});
    assert_ok(wire_end(&w));
    assert_memory_equal(out, "abc", 3);
    wire_write_init(&w, out, 2);
    wire_rest(&w, &(span){(const uint8_t *)"abc", 3});
    assert_err(wire_end(&w), ERR_TOO_LARGE);
}

static void wire_tail(wire *w, span *o) { wire_rest(w, o); }

static void the_rest_in_a_vector_ends_with_the_vector(void **state) {
    struct {
        struct {
            span *p;
            size_t n;
        } v;
    } o;
    arena a = test_arena();
    wire w;
    uint8_t after;
    wire_read_init(&w, hex("03 010203 09"), &a);
    WIRE_VEC(&w, o.v, wire_tail);
    wire_u8(&w, &after);
    assert_ok(wire_end(&w));
    assert_int_equal(o.v.n, 1);
    assert_span(o.v.p[0], hex("010203"));
    assert_int_equal(after, 9);
}

/* --- vectors --- */

typedef struct numbers {
    struct {
        uint16_t *p;
        size_t n;
    } v;
} numbers;

static void wire_numbers(wire *w, numbers *o) { WIRE_VEC(w, o->v, wire_u16); }

static void vectors_at_the_steps_of_their_length(void **state) {
    static const size_t counts[] = {0, 1, 31, 32, 0x1fff, 0x2000, 0x2001, 40000};
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t n = counts[i], bytes = 2 * n;
        numbers o = {{ARENA_ARRAY(&a, uint16_t, n), n}}, back;
        for (size_t k = 0; k < n; k++)
            o.v.p[k] = (uint16_t)(k * 7);
        span out;
        assert_ok(WIRE_ENCODE(&a, wire_numbers, &o, &out));
        assert_int_equal(out.n, bytes + (bytes < 0x40 ? 1 : bytes < 0x4000 ? 2 : 4));
        assert_ok(WIRE_DECODE(out, &a, wire_numbers, &back));
        assert_int_equal(back.v.n, n);
        if (n > 0)
            assert_memory_equal(back.v.p, o.v.p, bytes);
        /* No room for the long length once the elements are written. */
        uint8_t *small = ARENA_ARRAY(&a, uint8_t, out.n);
        wire w;
        wire_write_init(&w, small, out.n - 1);
        wire_numbers(&w, &o);
        assert_err(wire_end(&w), ERR_TOO_LARGE);
        arena_reset(&a);
    }
    arena_free(&a);
}

typedef struct nothing {
    int unused;
} nothing;
static void wire_nothing(wire *w, nothing *o) {}

static void wire_nothings(wire *w, void *o) {
    struct {
        nothing *p;
        size_t n;
    } v = {0};
    WIRE_VEC(w, v, wire_nothing);
    assert_int_equal(v.n, 0);
}

static void elements_of_no_bytes_do_not_loop(void **state) { /* RustCrypto/formats #751 */
    arena a = test_arena();
    assert_err(wire_decode(hex("03010203"), &a, wire_nothings, NULL), ERR_MALFORMED);
    assert_ok(wire_decode(hex("00"), &a, wire_nothings, NULL));
}

static void a_vectors_claim_does_not_take_memory(void **state) {
    /* A length of 2^30 - 1 before three bytes: refused before anything is taken. */
    arena a = test_arena();
    numbers o;
    assert_err(WIRE_DECODE(hex("bfffffff 000102"), &a, wire_numbers, &o), ERR_TRUNCATED);
    assert_int_equal(a.high, 0);
    assert_err(WIRE_DECODE(hex("04 0001"), &a, wire_numbers, &o), ERR_TRUNCATED);
}

static void the_arena_limits_what_a_vector_becomes(void **state) {
    /* 60,000 empty groups of two bytes each would be some megabytes of structs. */
    static uint8_t in[4 + 60000];
    wire w;
    uint32_t n = 60000;
    wire_write_init(&w, in, sizeof in);
    wire_varint(&w, &n);
    arena a = test_arena();
    sample o = {0};
    wire_read_init(&w, SPAN(in), &a);
    WIRE_VEC(&w, o.groups, wire_group);
    assert_err(wire_end(&w), ERR_ARENA);
    assert_int_equal(o.groups.n, 0);
    /* … and so does one element's scratch. */
    uint8_t little[8] __attribute__((aligned(8)));
    arena_over(&a, little, sizeof little);
    wire_read_init(&w, hex("02 0000"), &a);
    WIRE_VEC(&w, o.groups, wire_group);
    assert_err(wire_end(&w), ERR_ARENA);
    span out;
    assert_err(WIRE_ENCODE(&a, wire_sample, &(sample){.opaque = span_of(in, 100)}, &out), ERR_ARENA);
}

static void counting_gives_the_arena_back(void **state) {
    arena a = test_arena();
    sample o = {0};
    wire w;
    /* Two groups with three pairs each. */
    wire_read_init(&w, hex("16 00 09 010001 020002 030003 00 09 040004 050005 060006"), &a);
    WIRE_VEC(&w, o.groups, wire_group);
    assert_ok(wire_end(&w));
    assert_int_equal(o.groups.n, 2);
    assert_int_equal(o.groups.p[1].pairs.p[2].a, 6);
    /* With ASan there are gaps of 16 between the pieces. */
    assert_true(a.used >= 2 * sizeof(group) + 2 * 3 * sizeof(pair));
    assert_true(a.used <= 2 * sizeof(group) + 2 * 3 * sizeof(pair) + 3 * 24);
}

/* --- nesting: each byte is moved at most once a level --- */

typedef struct box {
    struct {
        span *p;
        size_t n;
    } spans;
} box;
typedef struct crate {
    struct {
        box *p;
        size_t n;
    } boxes;
} crate;
typedef struct ship {
    struct {
        crate *p;
        size_t n;
    } crates;
} ship;
static void wire_box(wire *w, box *o) { WIRE_VEC(w, o->spans, wire_opaque); }
static void wire_crate(wire *w, crate *o) { WIRE_VEC(w, o->boxes, wire_box); }
static void wire_ship(wire *w, ship *o) { WIRE_VEC(w, o->crates, wire_crate); }

static size_t spans_visited;
static void wire_counted_span(wire *w, span *o) {
    spans_visited++;
    wire_opaque(w, o);
}
static void wire_counted_box(wire *w, box *o) { WIRE_VEC(w, o->spans, wire_counted_span); }
static void wire_counted_crate(wire *w, crate *o) { WIRE_VEC(w, o->boxes, wire_counted_box); }
static void wire_counted_ship(wire *w, ship *o) { WIRE_VEC(w, o->crates, wire_counted_crate); }

static void reading_visits_each_element_twice_however_deep(void **state) {
    arena a = test_arena();
    ship o = {0};
    /* Two crates of two boxes of two spans. */
    assert_ok(WIRE_DECODE(hex("0e 06 02 0000 02 0000 06 02 0000 02 0000"), &a, wire_counted_ship, &o));
    assert_int_equal(o.crates.p[1].boxes.p[1].spans.n, 2);
    assert_int_equal(spans_visited, 2 * 8);
    /* What counting passes over is judged all the same. */
    assert_err(WIRE_DECODE(hex("05 04 03 00 02ff"), &a, wire_counted_ship, &o), ERR_TRUNCATED);
    assert_err(WIRE_DECODE(hex("05 04 03 00 4000"), &a, wire_counted_ship, &o), ERR_NOT_MINIMAL);
}

static void vectors_longer_than_their_length_can_say_are_refused(void **state) {
    uint8_t byte = 0;
    span halves[2] = {span_of(&byte, 0x20000000 - 4), span_of(&byte, 0x20000000 - 5)};
    box v = {{halves, 2}};
    wire w;
    wire_measure_init(&w);
    wire_box(&w, &v);
    assert_ok(wire_end(&w));
    assert_int_equal(w.at, (size_t)0x3fffffff + 4);
    halves[1].n++;
    wire_measure_init(&w);
    wire_box(&w, &v);
    assert_err(wire_end(&w), ERR_TOO_LARGE);
}

static void nested_vectors_with_every_size_of_length(void **state) {
    static uint8_t filler[20000];
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (uint8_t)(i * 13);
    static const size_t sizes[] = {0, 61, 62, 63, 64, 16380, 16384, 20000};
    arena a;
    assert_ok(arena_init(&a, 1 << 20));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        span spans[2] = {span_of(filler, sizes[i]), span_of(filler, 3)};
        box boxes[2] = {{{spans, 2}}, {{spans + 1, 1}}};
        crate crates[3] = {{{boxes, 2}}, {{NULL, 0}}, {{boxes, 1}}};
        ship o = {{crates, 3}}, back;
        span out, again;
        assert_ok(WIRE_ENCODE(&a, wire_ship, &o, &out));
        assert_ok(WIRE_DECODE(out, &a, wire_ship, &back));
        assert_int_equal(back.crates.n, 3);
        assert_int_equal(back.crates.p[1].boxes.n, 0);
        assert_span(back.crates.p[0].boxes.p[0].spans.p[0], spans[0]);
        assert_span(back.crates.p[2].boxes.p[0].spans.p[1], spans[1]);
        assert_ok(WIRE_ENCODE(&a, wire_ship, &back, &again));
        assert_span(again, out);
        arena_reset(&a);
    }
    arena_free(&a);
}

/* What is accepted, is accepted in one spelling only: any change of a byte gives another value or an error. */
static void decoding_then_encoding_gives_the_same_bytes(void **state) {
    span in = hex(SAMPLE_BYTES);
    uint8_t changed[128];
    unsigned accepted = 0;
    for (size_t at = 0; at < in.n; at++) {
        for (int v = 0; v < 256; v++) {
            memcpy(changed, in.p, in.n);
            changed[at] = (uint8_t)v;
            arena a = test_arena();
            sample o;
            span out;
            if (WIRE_DECODE(span_of(changed, in.n), &a, wire_sample, &o) != OK)
                continue;
            accepted++;
            assert_ok(WIRE_ENCODE(&a, wire_sample, &o, &out));
            assert_span(out, span_of(changed, in.n));
        }
    }
    assert_true(accepted > 20 * 256);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_struct_of_every_kind_reads_and_writes),
        cmocka_unit_test(truncation_at_every_byte_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(writing_needs_all_the_room_and_no_more),
        cmocka_unit_test(the_first_failure_sticks_and_fields_are_zeroed),
        cmocka_unit_test(a_bad_element_spoils_the_vector),
        cmocka_unit_test(writing_from_constant_memory_changes_nothing),
        cmocka_unit_test(presence_octets_other_than_0_and_1_are_refused),
        cmocka_unit_test(varints_have_the_rfcs_examples),
        cmocka_unit_test(longer_varints_than_needed_are_refused),
        cmocka_unit_test(varints_of_prefix_3_are_refused),
        cmocka_unit_test(varints_too_large_for_a_length_are_not_written),
        cmocka_unit_test(all_varints_come_back),
        cmocka_unit_test(opaques_at_the_steps_of_their_length),
        cmocka_unit_test(the_longest_opaque_is_measured_and_a_longer_one_refused),
        cmocka_unit_test(measuring_cannot_overflow),
        cmocka_unit_test(opaques_into_arrays_respect_their_size),
        cmocka_unit_test(the_rest_is_taken_whole),
        cmocka_unit_test(the_rest_in_a_vector_ends_with_the_vector),
        cmocka_unit_test(vectors_at_the_steps_of_their_length),
        cmocka_unit_test(vectors_longer_than_their_length_can_say_are_refused),
        cmocka_unit_test(elements_of_no_bytes_do_not_loop),
        cmocka_unit_test(a_vectors_claim_does_not_take_memory),
        cmocka_unit_test(the_arena_limits_what_a_vector_becomes),
        cmocka_unit_test(counting_gives_the_arena_back),
        cmocka_unit_test(reading_visits_each_element_twice_however_deep),
        cmocka_unit_test(nested_vectors_with_every_size_of_length),
        cmocka_unit_test(decoding_then_encoding_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
