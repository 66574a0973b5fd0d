/* wire.h: the TLS presentation language (RFC 8446 §3) with the variable-size vectors of RFC 9420 §2.1.2.
 *
 * One visitor per struct serves reading, writing and measuring; the direction is the context's:
 *
 *     void wire_lifetime(wire *w, lifetime *o) { wire_u64(w, &o->not_before); wire_u64(w, &o->not_after); }
 *
 * The first failure sticks: later calls do nothing, and reading leaves zeroed fields. So bodies read as the schema
 * and the caller checks once. Reading is strict: shortest length prefixes only, presence octet 0 or 1, and
 * wire_end refuses trailing bytes. Decoded opaques are spans into the input; arrays come from the arena. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

/* A vector's length is at most 2^30 - 1 (RFC 9420 §2.1.2). */
#define WIRE_VECTOR_MAX 0x3fffffffu

typedef enum wire_mode { WIRE_READ, WIRE_WRITE, WIRE_MEASURE } wire_mode;

typedef struct wire {
    wire_mode mode;
    err error;
    const uint8_t *in; /* WIRE_READ: the input */
    uint8_t *out;      /* WIRE_WRITE: the output, `size` bytes of it */
    size_t at;         /* bytes read, written or measured so far */
    size_t size;
    arena *arena;  /* WIRE_READ: where arrays live */
    bool counting; /* WIRE_READ: elements are being counted, and vectors in them passed over */
} wire;

void wire_read_init(wire *w, span in, arena *a);
void wire_write_init(wire *w, void *out, size_t size);
void wire_measure_init(wire *w);
/* The sticky error; when reading also ERR_TRAILING unless all input was used. */
MUST_USE err wire_end(const wire *w);
/* Sets the sticky error unless one is set already. */
void wire_fail(wire *w, err e);
static inline bool wire_reading(const wire *w) { return w->mode == WIRE_READ; }

void wire_u8(wire *w, uint8_t *v);
void wire_u16(wire *w, uint16_t *v);
void wire_u32(wire *w, uint32_t *v);
void wire_u64(wire *w, uint64_t *v);
/* An optional's presence octet: 0 or 1, nothing else (RFC 9420 §2.1.1). */
void wire_bool(wire *w, bool *v);
/* opaque name[n]: fixed size, copied. */
void wire_fixed(wire *w, uint8_t *bytes, size_t n);
/* opaque name<V>: a span into the input. */
void wire_opaque(wire *w, span *s);
/* opaque name<V> of at most `max` bytes, copied into an array of the struct; its length in *n. ERR_TOO_LARGE for more. */
void wire_opaque_into(wire *w, uint8_t *bytes, size_t max, size_t *n);
/* The variable-size integer of RFC 9420 §2.1.2 by itself. */
void wire_varint(wire *w, uint32_t *v);
/* Everything up to the end of this context's input (PrivateMessage's zero padding and the like); writes no length. */
void wire_rest(wire *w, span *s);

/* A vector of structs: `T name<V>`. Fields `T *p; size_t n;` of an anonymous or named struct, visitor
 * void visit(wire *, T *). An element that takes no bytes while reading is ERR_MALFORMED, so no input can loop for ever.
 * When reading, elements are visited twice: to count them, while the vectors in them are passed over by their lengths and
 * stay empty, then into an array that fits. So a visitor must not judge a vector's elements. */
typedef void wire_visitor(wire *w, void *element);
void wire_vector(wire *w, void **elements, size_t *count, size_t element_size, wire_visitor *visit);
#define WIRE_VEC(w, vec, visit)                                                                                        \
    do {                                                                                                               \
        void *wire_elements = (vec).p;                                                                                 \
        void (*wire_check)(wire *, __typeof__(*(vec).p) *) = (visit);                                                  \
        (void)wire_check;                                                                                              \
        wire_vector((w), &wire_elements, &(vec).n, sizeof *(vec).p, (wire_visitor *)(visit));                          \
        (vec).p = wire_elements;                                                                                       \
    } while (0)

/* Reads one whole struct: every byte of `in` must belong to it. */
MUST_USE err wire_decode(span in, arena *a, wire_visitor *visit, void *object);
/* Measures, takes memory from the arena and writes. */
MUST_USE err wire_encode(arena *a, wire_visitor *visit, const void *object, span *out);
#define WIRE_DECODE(in, a, visit, object) wire_decode((in), (a), (wire_visitor *)(visit), (object))
#define WIRE_ENCODE(a, visit, object, out) wire_encode((a), (wire_visitor *)(visit), (object), (out))

#endif
