/* options.h: the command line: what sotto-relay can be asked, and its --help. */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include "http_front.h"
#include "push_client.h"
#include "relay.h"
#include "sandbox.h"

typedef struct options {
    const char *command;
    const char *data, *db;           /* one of them */
    const char *user;                /* NULL: stay who we are */
    const char *to, *from;           /* files of backup and restore */
    const char *clinic, *checkpoint; /* of audit verify; NULL: all, the newest */
    size_t faults;                   /* that audit verify found */
    bool force;
    sandbox_wish sandbox;
    long blob_share_percent;
    relay_options relay;
    push_client_options push; /* contact NULL: no pushes */
    front_options front;
} options;

/* Reads argv, says on stderr what is wrong with it. False: end with *status. The options look into argv. */
bool options_read(int argc, char **argv, options *o, int *status);

#endif
