#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static log_level least_level = LOG_INFO;
static const char *const NAMES[] = {"debug", "info", "warning", "error"};

int64_t clock_now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void log_from(log_level least) { least_level = least; }

void log_line(log_level level, const char *format, ...) {
    if (level < least_level)
        return;
    char line[400], when[40];
    time_t now = time(NULL);
    struct tm utc;
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "time=%s level=%s %s\n", when, NAMES[level], line);
}
