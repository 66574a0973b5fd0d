/* framing.h: contents signed, MACed and encrypted into messages, and back (RFC 9420 §6).
 *
 * FramedContentTBS is built once per message; the transcript hash input and the membership MAC's input are parts and
 * extensions of the same bytes. */
#ifndef MLS_FRAMING_H
#define MLS_FRAMING_H

#include "crypto/signature.h"
#include "crypto/suite.h"
#include "mls/secret_tree.h"
#include "mls/types.h"

/* What is signed, and where its pieces stand. */
typedef struct framed_tbs {
    span bytes; /* FramedContentTBS */
    span
        format_and_content; /* wire_format and FramedContent within it: the start of ConfirmedTranscriptHashInput and of
                                AuthenticatedContent */
} framed_tbs;

/* §6.1. `context`: the encoded GroupContext, SPAN_NONE for external and new_member_proposal senders. */
MUST_USE err framing_tbs(uint16_t format, const framed_content *content, span context, arena *a, framed_tbs *tbs);
/* The signature goes to the arena and into auth. */
MUST_USE err framing_sign(const signature_key *signer, const framed_tbs *tbs, arena *a, framed_content_auth *auth);
MUST_USE err framing_verify(span public_key, const framed_tbs *tbs, const framed_content_auth *auth, arena *a);
/* §5.2: the ProposalRef of a proposal's AuthenticatedContent; hash_size bytes. */
MUST_USE err framing_proposal_ref(const suite *s, const framed_tbs *tbs, const framed_content_auth *auth, arena *a,
                                  uint8_t *out);

/* --- PublicMessage (§6.2) --- */
/* An MLSMessage with a PublicMessage. `membership_key`: unused where the sender is no member. */
MUST_USE err framing_protect_public(const suite *s, span membership_key, const framed_content *content,
                                    const framed_tbs *tbs, const framed_content_auth *auth, arena *a, span *message);
/* ERR_MEMBERSHIP_TAG. */
MUST_USE err framing_check_membership(const suite *s, span membership_key, const framed_tbs *tbs,
                                      const framed_content_auth *auth, span tag, arena *a);

/* --- PrivateMessage (§6.3) --- */
/* An MLSMessage with a PrivateMessage. The step's key is used, not accepted. */
MUST_USE err framing_protect_private(const suite *s, span sender_data_secret, const secret_tree_step *step,
                                     const framed_content *content, const framed_content_auth *auth, arena *a,
                                     span *message);
/* §6.3.2: who sent it. */
MUST_USE err framing_open_sender_data(const suite *s, span sender_data_secret, private_message *message, arena *a,
                                      sender_data *out);
/* §6.3.1: decrypts and takes apart. content's head is filled from message and sender data. */
MUST_USE err framing_open_private(const suite *s, private_message *message, const sender_data *sent_by,
                                  const secret_tree_step *step, arena *a, framed_content *content,
                                  framed_content_auth *auth);
/* §6.3.2: the key and nonce for sender data, from a sample of the ciphertext. */
MUST_USE err framing_sender_data_key(const suite *s, span sender_data_secret, span ciphertext,
                                     uint8_t key[AEAD_KEY_SIZE], uint8_t nonce[AEAD_NONCE_SIZE]);
/* DESIGN §6: what a content of n bytes is padded to. */
size_t framing_padded_size(size_t n);

#endif
