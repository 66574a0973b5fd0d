/* http_head.h: a request's head, from libwebsockets' tables into a request. Strict: what is not in its form is refused. */
#ifndef SERVER_HTTP_HEAD_H
#define SERVER_HTTP_HEAD_H

#include "request.h"

struct lws;

http_method head_method(struct lws *wsi);
/* Content-Length: one number, and no other way to say how long the content is (request smuggling). *n is 0 when there is none. */
bool head_content_length(struct lws *wsi, size_t *n);
/* Copies what the relay wants to know: path, query and headers, whose spans look into *texts, which the caller frees. Leaves method,
 * body and address alone. False: something is too long or not in its form, or memory is short. */
bool head_read(struct lws *wsi, const char *path, size_t path_size, request *rq, char **texts);
/* Has it a Content-Encoding? Nothing here is ever unpacked. */
bool head_is_coded(struct lws *wsi);

#endif
