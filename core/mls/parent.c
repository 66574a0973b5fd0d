#include "mls/parent.h"

#include "mls/validate.h"

static err same_extensions(const extension_list *a_list, const extension_list *b_list, arena *a) {
    span left, right;
    TRY(WIRE_ENCODE(a, wire_extension_list, a_list, &left));
    TRY(WIRE_ENCODE(a, wire_extension_list, b_list, &right));
    return span_equal(left, right) ? OK : ERR_INVALID;
}

/* §11.2: "The version, cipher_suite, group_id, and extensions fields of the GroupContext ... MUST be the same as the
 * corresponding fields in the ReInit proposal"; the PSK is that of the epoch after the commit of the ReInit. */
static err check_re_init(group *parent, const psk_id *link, const group_context *context, arena *a) {
    const re_init *r = parent->re_init;
    if (r == NULL || link->epoch != parent->context->epoch)
        return ERR_INVALID;
    if (context->version != r->version || context->cipher_suite != r->cipher_suite ||
        !span_equal(context->group_id, r->group_id))
        return ERR_INVALID;
    return same_extensions(&context->extensions, &r->extensions, a);
}

err parent_check(group *parent, const psk_id *link, const group_context *context, const ratchet_tree *tree, arena *a) {
    bool re_init = link->usage == PSK_USAGE_REINIT;
    size_t mark = arena_mark(a);
    /* "The epoch in the Welcome message MUST be 1." */
    if (!span_equal(link->group_id, parent->context->group_id) || context->epoch != 1)
        return ERR_INVALID;
    if (re_init)
        TRY(check_re_init(parent, link, context, a));
    else if (context->version != parent->context->version || context->cipher_suite != parent->suite->id)
        return ERR_INVALID; /* §11.3: "the same as those used by the old group" */
    TRY(ratchet_tree_load(&parent->tree, a));
    err e = validate_members_from(tree, &parent->tree, a);
    if (e == OK && re_init) /* the same members, so none is missing either */
        e = validate_members_from(&parent->tree, tree, a);
    arena_release(a, mark);
    return e;
}
