/* runtime.c: the few functions of the C library that the core needs in wasm and that Emscripten would take from its
 * JavaScript or from WASI. With these, the module imports nothing but core/host.h. Not part of the native builds.
 *
 * The linker puts __wrap_x in the place of each x named in the Makefile (--wrap), so that it does not matter which of
 * its libraries a version of Emscripten has x in. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <wasm_simd128.h>

#include "host.h"

int __wrap_getentropy(void *buf, size_t n);
int __wrap_emscripten_resize_heap(size_t size);
char *__wrap_getenv(const char *name);
struct tm *__wrap_gmtime(const time_t *seconds);
size_t __wrap_strftime(char *text, size_t room, const char *format, const struct tm *t);
double __wrap_strtod(const char *text, char **end);
_Noreturn void __wrap_abort(void);
_Noreturn void __wrap___assert_fail(const char *expression, const char *file, int line, const char *function);

enum { WASM_PAGE = 65536 };

static size_t append(char *text, size_t used, size_t room, const char *more) {
    size_t n = strlen(more);
    if (n > room - used) {
        n = room - used;
    }
    memcpy(text + used, more, n);
    return used + n;
}

/* SQLite3MC seeds its generator of page nonces with this. */
int __wrap_getentropy(void *buf, size_t n) {
    host_random(buf, n);
    return 0;
}

/* There is no environment; libc's getenv would ask WASI for it. */
char *__wrap_getenv(const char *name) {
    (void)name;
    return NULL;
}

/* SQLite's CURRENT_TIMESTAMP, which no statement of ours uses (time is the host's): NULL. With musl's, half of its code for
 * time zones and locales would come along. */
struct tm *__wrap_gmtime(const time_t *seconds) {
    (void)seconds;
    return NULL;
}

size_t __wrap_strftime(char *text, size_t room, const char *format, const struct tm *t) {
    (void)text, (void)room, (void)format, (void)t;
    return 0;
}

/* cJSON reads numbers with this. A number in a command is an integer below 2^53 or a short decimal: with at most 15
 * digits and a power of ten up to 22 the result is the nearest double (both are exact, so one rounding); beyond, it may be
 * off by some units in the last place. musl's needs 128-bit floating point and 12 kB for that. */
double __wrap_strtod(const char *text, char **end) {
    const char *p = text, *digits, *exponent;
    double value = 0, power = 1;
    int scale = 0, negative = *p == '-', written = 0, sign;
    p += *p == '-' || *p == '+';
    digits = p;
    for (; *p >= '0' && *p <= '9'; p++) {
        value = value * 10 + (*p - '0');
    }
    written = p > digits;
    if (*p == '.' && p[1] >= '0' && p[1] <= '9') {
        for (p++; *p >= '0' && *p <= '9'; p++, scale--) {
            value = value * 10 + (*p - '0');
        }
        written = 1;
    }
    if (!written) {
        p = text;
    } else if (*p == 'e' || *p == 'E') {
        exponent = p + 1;
        sign = *exponent == '-' ? -1 : 1;
        exponent += *exponent == '-' || *exponent == '+';
        if (*exponent >= '0' && *exponent <= '9') {
            int n = 0;
            for (p = exponent; *p >= '0' && *p <= '9'; p++) {
                n = n < 1000 ? n * 10 + (*p - '0') : n;
            }
            scale += sign * n;
        }
    }
    if (end != NULL) {
        *end = (char *)p;
    }
    /* 10^scale in parts that a double holds, so that 1e-320 does not become 0 on the way. */
    for (int n = scale < 0 ? -scale : scale; n > 0; n--) {
        power *= 10;
        if (power >= 1e22 || n == 1) {
            value = scale < 0 ? value / power : value * power;
            power = 1;
        }
    }
    return negative ? -value : value;
}

/* malloc asks here for a larger memory, a little at a time; 0 means refused. Growing is dear (the engine remaps, the host makes
 * its views anew), pages not touched cost nothing: so it grows by an eighth, at most 4 MB. The bound is the module's own
 * (MAXIMUM_MEMORY). */
int __wrap_emscripten_resize_heap(size_t size) {
    size_t pages = (size + WASM_PAGE - 1) / WASM_PAGE, now = __builtin_wasm_memory_size(0);
    if (pages <= now) {
        return 1;
    }
    size_t ample = now + (now / 8 < 64 ? now / 8 : 64);
    if (ample > pages && __builtin_wasm_memory_grow(0, ample - now) != SIZE_MAX) {
        return 1;
    }
    return __builtin_wasm_memory_grow(0, pages - now) != SIZE_MAX;
}

/* Traps: the loader sees a WebAssembly.RuntimeError and takes the instance for dead. */
_Noreturn void __wrap_abort(void) { __builtin_trap(); }

/* assert() stays on in release. musl's version prints with stdio, which would pull in WASI's file calls. */
_Noreturn void __wrap___assert_fail(const char *expression, const char *file, int line, const char *function) {
    char text[240], digits[12];
    size_t used = 0, i = sizeof digits;
    uint32_t rest = line > 0 ? (uint32_t)line : 0;
    digits[--i] = '\0';
    do {
        digits[--i] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    used = append(text, used, sizeof text, "assertion failed: ");
    used = append(text, used, sizeof text, expression);
    used = append(text, used, sizeof text, ", ");
    used = append(text, used, sizeof text, file);
    used = append(text, used, sizeof text, ":");
    used = append(text, used, sizeof text, digits + i);
    used = append(text, used, sizeof text, " in ");
    used = append(text, used, sizeof text, function == NULL ? "?" : function);
    host_log(3, text, used);
    __builtin_trap();
}

/* ---------------------------------------------------------------- memory
 *
 * Linked with -Oz, Emscripten's memcpy, memmove and memset go byte by byte; SQLite, arenas and wiping live on them. Here:
 * overlapping pieces for what is short, 16 bytes at a time, and the engine's memory.copy and memory.fill (a call of its
 * own) for what is long. This file is compiled with -mbulk-memory for these instructions, and with -fno-builtin so that
 * the compiler does not make a function below out of calls to itself. */

#define LONG 256

typedef struct __attribute__((packed, may_alias)) piece8 {
    uint64_t v;
} piece8;
typedef struct __attribute__((packed, may_alias)) piece4 {
    uint32_t v;
} piece4;
typedef struct __attribute__((packed, may_alias)) piece2 {
    uint16_t v;
} piece2;

/* Fewer than 16 bytes. All is read before anything is written, so it does for memmove too. */
static void copy_short(uint8_t *to, const uint8_t *from, size_t n) {
    if (n >= 8) {
        uint64_t first = ((const piece8 *)from)->v, last = ((const piece8 *)(from + n - 8))->v;
        ((piece8 *)to)->v = first;
        ((piece8 *)(to + n - 8))->v = last;
    } else if (n >= 4) {
        uint32_t first = ((const piece4 *)from)->v, last = ((const piece4 *)(from + n - 4))->v;
        ((piece4 *)to)->v = first;
        ((piece4 *)(to + n - 4))->v = last;
    } else if (n >= 2) {
        uint16_t first = ((const piece2 *)from)->v, last = ((const piece2 *)(from + n - 2))->v;
        ((piece2 *)to)->v = first;
        ((piece2 *)(to + n - 2))->v = last;
    } else if (n == 1) {
        *to = *from;
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    uint8_t *d = to;
    const uint8_t *s = from;
    if (n >= LONG) {
        __builtin_memcpy(to, from, n);
    } else if (n < 16) {
        copy_short(d, s, n);
    } else {
        v128_t last = wasm_v128_load(s + n - 16);
        for (size_t i = 0; i + 16 < n; i += 16) {
            wasm_v128_store(d + i, wasm_v128_load(s + i));
        }
        wasm_v128_store(d + n - 16, last);
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    if (n < 16) {
        copy_short(to, from, n);
    } else {
        __builtin_memmove(to, from, n);
    }
    return to;
}

void *memset(void *to, int value, size_t n) {
    uint8_t *d = to;
    if (n >= LONG) {
        __builtin_memset(to, value, n);
    } else if (n >= 16) {
        v128_t pieces = wasm_i8x16_splat((int8_t)value);
        for (size_t i = 0; i + 16 < n; i += 16) {
            wasm_v128_store(d + i, pieces);
        }
        wasm_v128_store(d + n - 16, pieces);
    } else {
        uint64_t pieces = (uint8_t)value * 0x0101010101010101u;
        if (n >= 8) {
            ((piece8 *)d)->v = pieces;
            ((piece8 *)(d + n - 8))->v = pieces;
        } else if (n >= 4) {
            ((piece4 *)d)->v = (uint32_t)pieces;
            ((piece4 *)(d + n - 4))->v = (uint32_t)pieces;
        } else if (n >= 2) {
            ((piece2 *)d)->v = (uint16_t)pieces;
            ((piece2 *)(d + n - 2))->v = (uint16_t)pieces;
        } else if (n == 1) {
            *d = (uint8_t)value;
        }
    }
    return to;
}
