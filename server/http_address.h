/* http_address.h: who is at the other end: the peer's address, or what a trusted proxy says of it; and how many connections each
 * address has. An address is 16 bytes, IPv4 mapped into IPv6. */
#ifndef SERVER_HTTP_ADDRESS_H
#define SERVER_HTTP_ADDRESS_H

#include "base/err.h"
#include "base/span.h"

#define ADDRESS_SIZE 16
#define PROXIES_MAX 16
#define ADDRESS_BUCKETS 4096

typedef struct proxy_list {
    uint8_t address[PROXIES_MAX][ADDRESS_SIZE];
    size_t n;
} proxy_list;

/* One address in text: IPv4, IPv6, or IPv6 in brackets. Zone names and ports are none. */
bool address_read(span text, uint8_t out[ADDRESS_SIZE]);
/* Of a connected socket; false when the other end is gone. */
bool address_of_peer(int fd, uint8_t out[ADDRESS_SIZE]);
/* Ends the connection when its peer's machine acknowledges nothing of what was sent for PEER_TIME_S: who waits at an event stream
 * whose other end is gone would count as being there. */
void address_limit_silence(int fd);
/* Whoever has an IPv6 network has 2^64 addresses of it: rates and counts go by network. */
void address_to_network(uint8_t address[ADDRESS_SIZE]);

/* "ADDRESS[,ADDRESS…]"; false: one of them is none, or they are too many. */
bool proxies_read(const char *text, proxy_list *out);
bool proxies_have(const proxy_list *list, const uint8_t address[ADDRESS_SIZE]);
/* The last entry of X-Forwarded-For: the one that the proxy itself wrote. False: it is no address. */
bool address_forwarded(span value, uint8_t out[ADDRESS_SIZE]);

/* ---- connections of each address */
typedef struct address_count {
    uint8_t address[ADDRESS_SIZE];
    unsigned n;
    struct address_count *next;
} address_count;
typedef struct address_counts {
    address_count *bucket[ADDRESS_BUCKETS];
} address_counts;

unsigned addresses_count(const address_counts *t, const uint8_t address[ADDRESS_SIZE]);
/* Counts one more; false: out of memory, and not to be taken off again. */
bool addresses_add(address_counts *t, const uint8_t address[ADDRESS_SIZE]);
void addresses_take_off(address_counts *t, const uint8_t address[ADDRESS_SIZE]);

#endif
