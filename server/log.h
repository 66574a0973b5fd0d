/* log.h: one line an event, key=value. What may stand in it: what the relay does, counts, durations, names of errors. Never
 * a body, a query, an address or who wrote to whom (DESIGN §2.1). */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdint.h>

typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR } log_level;

void log_from(log_level least);
/* `format` writes the line's rest: "event=listening port=%d". Words of ours and numbers only. */
__attribute__((format(printf, 2, 3))) void log_line(log_level level, const char *format, ...);
/* Milliseconds since 1970. */
int64_t clock_now_ms(void);

#endif
