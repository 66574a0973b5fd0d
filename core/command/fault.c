#include "command/fault.h"

#include <stdarg.h>
#include <string.h>

err fault_say(fault *f, err e, const char *argument, ...) {
    size_t used = 0;
    va_list words;
    f->argument = argument;
    va_start(words, argument);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;) {
        size_t n = strlen(word), room = sizeof f->message - 1 - used;
        if (n > room)
            n = room;
        memcpy(f->message + used, word, n);
        used += n;
    }
    va_end(words);
    f->message[used] = '\0';
    return e;
}
