#define _GNU_SOURCE /* memmem */
#include "load_protocols.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- NATS: lines of text; publishing to a stream is answered by a message to the inbox that was named */

static const uint8_t *line_end(span in) { return memmem(in.p, in.n, "\r\n", 2); }

static void nats_greet(connection *c) {
    char text[160], inbox[40];
    bool reads = c->protocol == &NATS_READER;
    (void)snprintf(inbox, sizeof inbox, reads ? "deliver.R" : "_INBOX.s%zu", c->number);
    int n =
        snprintf(text, sizeof text, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB %s 1\r\nPING\r\n", inbox);
    connection_send(c, text, (size_t)n);
}

/* A MSG's payload and where it is to be answered; 0 when it is not whole. */
static size_t nats_msg(span in, size_t head, span *payload, span *reply) {
    char line[256], subject[128], fourth[128] = "", fifth[32] = "";
    if (head >= sizeof line)
        die("NATS: a long line");
    memcpy(line, in.p, head);
    line[head] = 0;
    int fields = sscanf(line, "MSG %127s %*s %127s %31s", subject, fourth, fifth);
    if (fields < 2)
        die("NATS: %s", line);
    size_t size = strtoul(fields == 3 ? fifth : fourth, NULL, 10), all = head + 2 + size + 2;
    if (in.n < all)
        return 0;
    *payload = span_of(in.p + head + 2, size);
    const char *at = fields == 3 ? memmem(in.p, head, fourth, strlen(fourth)) : NULL;
    *reply = at != NULL ? span_of(at, strlen(fourth)) : SPAN_NONE;
    return all;
}

static size_t nats_take(connection *c, span in, int *status) {
    const uint8_t *end = line_end(in);
    span payload, reply;
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - in.p);
    if (head >= 4 && memcmp(in.p, "MSG ", 4) == 0) {
        size_t n = nats_msg(in, head, &payload, &reply);
        if (n == 0)
            return 0;
        if (c->protocol == &NATS_READER) {
            char ack[200];
            int size = snprintf(ack, sizeof ack, "PUB %.*s 0\r\n\r\n", (int)reply.n, (const char *)reply.p);
            connection_send(c, ack, (size_t)size);
            ++*(size_t *)c->more;
        } else {
            *status = memmem(payload.p, payload.n, "\"error\"", 7) != NULL ? 503 : 200;
        }
        return n;
    }
    if (head >= 4 && memcmp(in.p, "PING", 4) == 0)
        connection_send(c, "PONG\r\n", 6);
    else if (head >= 4 && memcmp(in.p, "PONG", 4) == 0)
        *status = STATUS_READY;
    else if (head >= 4 && memcmp(in.p, "-ERR", 4) == 0)
        die("NATS: %.*s", (int)head, (const char *)in.p);
    return head + 2;
}
const protocol NATS_SENDER = {.greet = nats_greet, .take = nats_take};
const protocol NATS_READER = {.greet = nats_greet, .take = nats_take};

struct load_bytes nats_message(size_t sender, size_t size) {
    char head[80];
    int n = snprintf(head, sizeof head, "PUB bench.s%zu _INBOX.s%zu %zu\r\n", sender, sender, size);
    uint8_t *p = take_memory((size_t)n + size + 2);
    memcpy(p, head, (size_t)n);
    memset(p + n, 'x', size);
    memcpy(p + (size_t)n + size, "\r\n", 2);
    return (struct load_bytes){p, (size_t)n + size + 2};
}

/* ---- MQTT 3.1.1, QoS 1 */

#define MQTT_CONNACK 0x20
#define MQTT_PUBLISH 0x30
#define MQTT_PUBACK 0x40
#define MQTT_SUBACK 0x90
#define MQTT_READER_NAME "reader"

static void mqtt_greet(connection *c) {
    bool reads = c->protocol == &MQTT_READER;
    char name[24];
    int n = snprintf(name, sizeof name, reads ? MQTT_READER_NAME : "s%zu", c->number);
    /* A reader's session outlives its connection: clean session 0. */
    uint8_t packet[64] = {0x10, (uint8_t)(12 + n), 0, 4, 'M', 'Q', 'T', 'T', 4, reads ? 0 : 2, 0, 0, 0, (uint8_t)n};
    memcpy(packet + 14, name, (size_t)n);
    connection_send(c, packet, 14 + (size_t)n);
}

static size_t mqtt_take(connection *c, span in, int *status) {
    size_t size = 0, head = 1;
    if (in.n < 2)
        return 0;
    for (int shift = 0;; shift += 7) {
        if (head >= in.n)
            return 0;
        size |= (size_t)(in.p[head] & 127) << shift;
        if ((in.p[head++] & 128) == 0)
            break;
    }
    if (in.n < head + size)
        return 0;
    const uint8_t *p = in.p + head;
    switch (in.p[0] & 0xf0) {
    case MQTT_CONNACK:
        if (size != 2 || p[1] != 0)
            die("MQTT: not connected (%d)", size == 2 ? p[1] : -1);
        if (c->protocol == &MQTT_READER)
            connection_send(c, "\x82\x08\x00\x01\x00\x03s/#\x01", 10);
        else
            *status = STATUS_READY;
        break;
    case MQTT_SUBACK: *status = STATUS_READY; break;
    case MQTT_PUBACK: *status = 200; break;
    case MQTT_PUBLISH: {
        size_t topic = (size_t)p[0] << 8 | p[1];
        uint8_t ack[] = {MQTT_PUBACK, 2, p[2 + topic], p[3 + topic]};
        connection_send(c, ack, sizeof ack);
        ++*(size_t *)c->more;
        break;
    }
    default: die("MQTT: a packet of type %d", in.p[0] >> 4);
    }
    return head + size;
}
const protocol MQTT_SENDER = {.greet = mqtt_greet, .take = mqtt_take};
const protocol MQTT_READER = {.greet = mqtt_greet, .take = mqtt_take};

struct load_bytes mqtt_message(size_t sender, size_t number, size_t size) {
    char topic[24];
    size_t topic_size = (size_t)snprintf(topic, sizeof topic, "s/%zu", sender), rest = 2 + topic_size + 2 + size, n = 0;
    uint8_t *p = take_memory(rest + 5);
    p[n++] = MQTT_PUBLISH | 2;
    for (size_t left = rest; left > 0 || n == 1; left >>= 7)
        p[n++] = (uint8_t)((left & 127) | (left > 127 ? 128 : 0));
    p[n++] = 0;
    p[n++] = (uint8_t)topic_size;
    memcpy(p + n, topic, topic_size);
    n += topic_size;
    size_t id = 1 + number % 65535; /* 0 is none */
    p[n++] = (uint8_t)(id >> 8);
    p[n++] = (uint8_t)id;
    memset(p + n, 'x', size);
    return (struct load_bytes){p, n + size};
}
