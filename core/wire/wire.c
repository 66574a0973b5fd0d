#include "wire/wire.h"

#include <assert.h>

void wire_read_init(wire *w, span in, arena *a) {
    *w = (wire){.mode = WIRE_READ, .in = in.p, .size = in.n, .arena = a};
}

void wire_write_init(wire *w, void *out, size_t size) { *w = (wire){.mode = WIRE_WRITE, .out = out, .size = size}; }

void wire_measure_init(wire *w) { *w = (wire){.mode = WIRE_MEASURE, .size = SIZE_MAX}; }

void wire_fail(wire *w, err e) {
    if (w->error == OK)
        w->error = e;
}

err wire_end(const wire *w) {
    if (w->error == OK && w->mode == WIRE_READ && w->at != w->size)
        return ERR_TRAILING;
    return w->error;
}

/* Moves over n bytes that are there or have room; false when they are not or have none, or after a failure. */
static bool advance(wire *w, size_t n) {
    if (w->error != OK)
        return false;
    if (n > w->size - w->at) {
        w->error = w->mode == WIRE_READ ? ERR_TRUNCATED : ERR_TOO_LARGE;
        return false;
    }
    w->at += n;
    return true;
}

/* A big-endian integer of n bytes. */
static uint64_t integer(wire *w, uint64_t v, size_t n) {
    if (!advance(w, n))
        return w->mode == WIRE_READ ? 0 : v;
    switch (w->mode) {
    case WIRE_READ: {
        const uint8_t *p = w->in + w->at - n;
        v = 0;
        for (size_t i = 0; i < n; i++)
            v = v << 8 | p[i];
        break;
    }
    case WIRE_WRITE:
        for (size_t i = 0; i < n; i++)
            w->out[w->at - 1 - i] = (uint8_t)(v >> (8 * i));
        break;
    case WIRE_MEASURE: break;
    }
    return v;
}

/* Stores nothing unless reading, for what is written may be constant; loads nothing when reading, for it may be unset. */
#define INTEGER(w, v, type)                                                                                            \
    do {                                                                                                               \
        uint64_t integer_value = integer((w), wire_reading(w) ? 0 : *(v), sizeof(type));                               \
        if (wire_reading(w))                                                                                           \
            *(v) = (type)integer_value;                                                                                \
    } while (0)

void wire_u8(wire *w, uint8_t *v) { INTEGER(w, v, uint8_t); }
void wire_u16(wire *w, uint16_t *v) { INTEGER(w, v, uint16_t); }
void wire_u32(wire *w, uint32_t *v) { INTEGER(w, v, uint32_t); }
void wire_u64(wire *w, uint64_t *v) { INTEGER(w, v, uint64_t); }

void wire_bool(wire *w, bool *v) {
    uint8_t octet = wire_reading(w) ? 0 : *v;
    wire_u8(w, &octet);
    if (!wire_reading(w))
        return;
    if (octet > 1)
        wire_fail(w, ERR_MALFORMED);
    *v = octet == 1;
}

void wire_fixed(wire *w, uint8_t *bytes, size_t n) {
    bool there = advance(w, n);
    if (n == 0)
        return;
    if (wire_reading(w)) {
        if (there)
            memcpy(bytes, w->in + w->at - n, n);
        else
            memset(bytes, 0, n);
    } else if (w->mode == WIRE_WRITE && there) {
        memcpy(w->out + w->at - n, bytes, n);
    }
}

/* RFC 9420 §2.1.2: the two top bits of the first byte say how many bytes there are: 1, 2 or 4; 3 is invalid. */
static size_t varint_size(uint32_t v) { return v < 0x40 ? 1 : v < 0x4000 ? 2 : 4; }

static uint32_t varint_read(wire *w) {
    uint8_t first = 0;
    wire_u8(w, &first);
    if (w->error != OK)
        return 0;
    unsigned prefix = first >> 6;
    if (prefix == 3) {
        wire_fail(w, ERR_MALFORMED);
        return 0;
    }
    uint32_t v = first & 0x3f;
    size_t size = (size_t)1 << prefix;
    if (!advance(w, size - 1))
        return 0;
    for (size_t i = 1; i < size; i++)
        v = v << 8 | w->in[w->at - size + i];
    /* "vectors that use a longer encoding than necessary MUST be rejected" */
    if (varint_size(v) != size) {
        wire_fail(w, ERR_NOT_MINIMAL);
        return 0;
    }
    return v;
}

static void varint_write(wire *w, size_t v) {
    if (v > WIRE_VECTOR_MAX) {
        wire_fail(w, ERR_TOO_LARGE);
        return;
    }
    size_t size = varint_size((uint32_t)v);
    (void)integer(w, v | (uint64_t)(size / 2) << (8 * size - 2), size);
}

void wire_varint(wire *w, uint32_t *v) {
    if (wire_reading(w))
        *v = varint_read(w);
    else
        varint_write(w, *v);
}

/* opaque name<V>, whichever way it is kept: *s looks into the input when reading. */
static void opaque(wire *w, span *s) {
    if (wire_reading(w)) {
        size_t n = varint_read(w);
        *s = advance(w, n) ? span_of(w->in + w->at - n, n) : SPAN_NONE;
        return;
    }
    varint_write(w, s->n);
    if (advance(w, s->n) && w->mode == WIRE_WRITE && s->n > 0)
        memcpy(w->out + w->at - s->n, s->p, s->n);
}

void wire_opaque(wire *w, span *s) { opaque(w, s); }

void wire_opaque_into(wire *w, uint8_t *bytes, size_t max, size_t *n) {
    if (!wire_reading(w)) {
        assert(*n <= max);
        opaque(w, &(span){bytes, *n});
        return;
    }
    span s;
    opaque(w, &s);
    if (s.n > max) {
        wire_fail(w, ERR_TOO_LARGE);
        s = SPAN_NONE;
    }
    if (s.n > 0)
        memcpy(bytes, s.p, s.n);
    if (max > s.n)
        memset(bytes + s.n, 0, max - s.n);
    *n = s.n;
}

void wire_rest(wire *w, span *s) {
    if (wire_reading(w)) {
        size_t n = w->size - w->at;
        *s = advance(w, n) ? span_of(w->in + w->at - n, n) : SPAN_NONE;
    } else if (advance(w, s->n) && w->mode == WIRE_WRITE && s->n > 0) {
        memcpy(w->out + w->at - s->n, s->p, s->n);
    }
}

/* Reads one element; false after a failure. A type whose elements can be empty would make a vector of no bytes hold any
 * number of them (RustCrypto/formats #751). */
static bool read_element(wire *w, void *element, wire_visitor *visit) {
    size_t before = w->at;
    visit(w, element);
    if (w->at == before)
        wire_fail(w, ERR_MALFORMED);
    return w->error == OK;
}

/* Counts the elements up to w->size, then comes back. Vectors in them are passed over, so that all of a type nested n deep
 * is visited twice, not 2^n times; what is in them is judged when they are read. */
static size_t count_elements(wire *w, size_t element_size, wire_visitor *visit) {
    size_t start = w->at, count = 0;
    size_t mark = arena_mark(w->arena);
    void *scratch = arena_take(w->arena, 1, element_size);
    if (scratch == NULL)
        wire_fail(w, ERR_ARENA);
    w->counting = true;
    while (w->error == OK && w->at < w->size) {
        memset(scratch, 0, element_size);
        count += read_element(w, scratch, visit);
    }
    w->counting = false;
    arena_release(w->arena, mark);
    w->at = start;
    return count;
}

static void read_vector(wire *w, void **elements, size_t *count, size_t element_size, wire_visitor *visit) {
    *elements = NULL;
    *count = 0;
    size_t bytes = varint_read(w);
    if (w->error != OK || bytes == 0)
        return;
    if (bytes > w->size - w->at) {
        wire_fail(w, ERR_TRUNCATED);
        return;
    }
    if (w->counting) {
        w->at += bytes;
        return;
    }
    /* Elements see the vector's end as the end of the input. */
    size_t outer = w->size;
    w->size = w->at + bytes;
    size_t n = count_elements(w, element_size, visit);
    if (w->error == OK) {
        uint8_t *array = arena_take(w->arena, n, element_size);
        if (array == NULL)
            wire_fail(w, ERR_ARENA);
        for (size_t i = 0; i < n && w->error == OK; i++)
            (void)read_element(w, array + i * element_size, visit);
        if (w->error == OK) {
            *elements = array;
            *count = n;
        }
    }
    w->size = outer;
}

void wire_vector(wire *w, void **elements, size_t *count, size_t element_size, wire_visitor *visit) {
    if (w->mode == WIRE_READ) {
        read_vector(w, elements, count, element_size, visit);
        return;
    }
    /* The length stands before the elements but is known after them. A byte is left for it; where it needs two or four,
     * the elements move up, so that no byte is moved more often than vectors are nested. */
    size_t start = w->at;
    if (!advance(w, 1))
        return;
    for (size_t i = 0; i < *count && w->error == OK; i++)
        visit(w, (uint8_t *)*elements + i * element_size);
    if (w->error != OK)
        return;
    size_t bytes = w->at - start - 1;
    if (bytes > WIRE_VECTOR_MAX) {
        wire_fail(w, ERR_TOO_LARGE);
        return;
    }
    size_t prefix = varint_size((uint32_t)bytes);
    if (!advance(w, prefix - 1) || w->mode == WIRE_MEASURE)
        return;
    memmove(w->out + start + prefix, w->out + start + 1, bytes);
    size_t end = w->at;
    w->at = start;
    varint_write(w, bytes);
    w->at = end;
}

err wire_decode(span in, arena *a, wire_visitor *visit, void *object) {
    wire w;
    wire_read_init(&w, in, a);
    visit(&w, object);
    return wire_end(&w);
}

err wire_encode(arena *a, wire_visitor *visit, const void *object, span *out) {
    *out = SPAN_NONE;
    /* Visitors take what they read into and so are not const; measuring and writing they change nothing. */
    void *source = (void *)(uintptr_t)object;
    wire w;
    wire_measure_init(&w);
    visit(&w, source);
    TRY(wire_end(&w));
    size_t n = w.at;
    uint8_t *bytes = arena_take(a, n, 1);
    if (bytes == NULL)
        return ERR_ARENA;
    wire_write_init(&w, bytes, n);
    visit(&w, source);
    TRY(wire_end(&w));
    assert(w.at == n);
    *out = span_of(bytes, n);
    return OK;
}
