#include "base/err.h"

const char *err_name(err e) {
    switch (e) {
    case OK: return "ok";
#define X(name, class, number, word, text)                                                                             \
    case name: return word;
        ERR_VALUES(X)
#undef X
    }
    return "unknown";
}

const char *err_text(err e) {
    switch (e) {
    case OK: return "no error";
#define X(name, class, number, word, text)                                                                             \
    case name: return text;
        ERR_VALUES(X)
#undef X
    }
    return "an error without a name";
}
