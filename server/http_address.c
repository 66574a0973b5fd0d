#include "http_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "limits.h"

static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};

bool address_read(span text, uint8_t out[ADDRESS_SIZE]) {
    char s[INET6_ADDRSTRLEN];
    if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = span_of(text.p + 1, text.n - 2);
    if (text.n == 0 || text.n >= sizeof s || memchr(text.p, 0, text.n) != NULL)
        return false;
    memcpy(s, text.p, text.n);
    s[text.n] = 0;
    if (inet_pton(AF_INET6, s, out) == 1)
        return true;
    memcpy(out, MAPPED, sizeof MAPPED);
    return inet_pton(AF_INET, s, out + sizeof MAPPED) == 1;
}

bool address_of_peer(int fd, uint8_t out[ADDRESS_SIZE]) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    memset(out, 0, ADDRESS_SIZE);
    if (getpeername(fd, (struct sockaddr *)&a, &n) != 0)
        return false;
    if (a.ss_family == AF_INET6) {
        memcpy(out, &((struct sockaddr_in6 *)&a)->sin6_addr, ADDRESS_SIZE);
    } else if (a.ss_family == AF_INET) {
        memcpy(out, MAPPED, sizeof MAPPED);
        memcpy(out + sizeof MAPPED, &((struct sockaddr_in *)&a)->sin_addr, 4);
    }
    return true;
}

void address_to_network(uint8_t address[ADDRESS_SIZE]) {
    if (memcmp(address, MAPPED, sizeof MAPPED) != 0)
        memset(address + 8, 0, 8);
}

/* ---- proxies */

static span trimmed(const uint8_t *p, const uint8_t *end) {
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return span_of(p, (size_t)(end - p));
}

bool proxies_read(const char *text, proxy_list *out) {
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        if (out->n == PROXIES_MAX || !address_read(span_of(p, n), out->address[out->n]))
            return false;
        out->n++;
        p += n;
        if (*p == 0)
            return true;
    }
}

bool proxies_have(const proxy_list *list, const uint8_t address[ADDRESS_SIZE]) {
    for (size_t i = 0; i < list->n; i++)
        if (memcmp(list->address[i], address, ADDRESS_SIZE) == 0)
            return true;
    return false;
}

bool address_forwarded(span value, uint8_t out[ADDRESS_SIZE]) {
    const uint8_t *end = value.p + value.n, *p = end;
    while (p > value.p && p[-1] != ',')
        p--;
    return address_read(trimmed(p, end), out);
}

/* ---- counts */

static size_t place_of(const uint8_t address[ADDRESS_SIZE]) {
    uint32_t h = 2166136261u;
    for (int i = 0; i < ADDRESS_SIZE; i++)
        h = (h ^ address[i]) * 16777619u;
    return h % ADDRESS_BUCKETS;
}

unsigned addresses_count(const address_counts *t, const uint8_t address[ADDRESS_SIZE]) {
    const address_count *a = t->bucket[place_of(address)];
    while (a != NULL && memcmp(a->address, address, ADDRESS_SIZE) != 0)
        a = a->next;
    return a != NULL ? a->n : 0;
}

static address_count **find(address_counts *t, const uint8_t address[ADDRESS_SIZE]) {
    address_count **p = &t->bucket[place_of(address)];
    while (*p != NULL && memcmp((*p)->address, address, ADDRESS_SIZE) != 0)
        p = &(*p)->next;
    return p;
}

bool addresses_add(address_counts *t, const uint8_t address[ADDRESS_SIZE]) {
    address_count **p = find(t, address);
    if (*p == NULL) {
        *p = calloc(1, sizeof **p);
        if (*p == NULL)
            return false;
        memcpy((*p)->address, address, ADDRESS_SIZE);
    }
    (*p)->n++;
    return true;
}

void addresses_take_off(address_counts *t, const uint8_t address[ADDRESS_SIZE]) {
    address_count **p = find(t, address), *a = *p;
    if (a == NULL || --a->n > 0)
        return;
    *p = a->next;
    free(a);
}

void address_limit_silence(int fd) {
    unsigned ms =
        PEER_TIME_S * 1000; /* RFC 5482; comments are sent every SSE_COMMENT_S, so there is always something */
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}
