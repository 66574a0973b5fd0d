/* owned.h: a struct of types.h that lives as long as a group: its encoding, the struct decoded from it and the arrays
 * it points to, all in one piece of the heap. */
#ifndef MLS_OWNED_H
#define MLS_OWNED_H

#include "wire/wire.h"

/* `*out` points to an object of object_size bytes; free() ends it. The arena is scratch and is given back. */
MUST_USE err owned_decode(span encoded, wire_visitor *visit, size_t object_size, arena *a, void **out);
#define OWNED_DECODE(encoded, visit, type, a, out)                                                                     \
    owned_decode((encoded), (wire_visitor *)(visit), sizeof(type), (a), (void **)(out))

#endif
