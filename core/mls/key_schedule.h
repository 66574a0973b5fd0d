/* key_schedule.h: from one epoch's init secret and a commit's secret to the next epoch's secrets (RFC 9420 §8), and the
 * transcript hashes that bind them to what was sent (§8.2). */
#ifndef MLS_KEY_SCHEDULE_H
#define MLS_KEY_SCHEDULE_H

#include "crypto/suite.h"
#include "mls/types.h"

/* Table 4 of §8. `encryption` is consumed by the secret tree; the others live as long as the epoch. */
typedef struct epoch_secrets {
    secret sender_data;
    secret encryption;
    secret exporter;
    secret external;
    secret confirmation_key;
    secret membership_key;
    secret resumption_psk;
    secret epoch_authenticator;
    secret init; /* for the epoch after */
} epoch_secrets;

/* joiner_secret of the epoch that `context` (an encoded GroupContext) describes. */
MUST_USE err key_schedule_joiner(const suite *s, span init_secret, span commit_secret, span context, secret *joiner);
/* From the joiner secret on; `psk` is hash_size zeros where no PSK is used. `welcome_secret` may be NULL. */
MUST_USE err key_schedule_epoch(const suite *s, span joiner, span psk, span context, secret *welcome_secret,
                                epoch_secrets *epoch);
/* welcome_secret alone, which a joiner needs before he knows the GroupContext. */
MUST_USE err key_schedule_welcome(const suite *s, span joiner, span psk, secret *welcome_secret);
/* §12.4.3.1: key and nonce of the encrypted GroupInfo. */
MUST_USE err key_schedule_welcome_key(const suite *s, span welcome_secret, uint8_t key[AEAD_KEY_SIZE],
                                      uint8_t nonce[AEAD_NONCE_SIZE]);
/* §8.4: psk_secret over the PSKs in order; zeros when there are none. */
MUST_USE err key_schedule_psk(const suite *s, const psk_id *ids, const span *values, size_t count, arena *a,
                              secret *psk);
/* §8.5: MLS-Exporter. */
MUST_USE err key_schedule_export(const suite *s, span exporter, const char *label, span context, uint8_t *out,
                                 size_t n);
/* §8.3: the key pair that external joiners encrypt to. */
MUST_USE err key_schedule_external(const suite *s, span external_secret, kem_key_pair *pair);

/* --- §8.2 --- `content` is ConfirmedTranscriptHashInput: wire_format, FramedContent, signature<V>, in two pieces. */
MUST_USE err transcript_confirmed(const suite *s, span interim_before, span format_and_content, span signature,
                                  uint8_t *out);
MUST_USE err transcript_interim(const suite *s, span confirmed, span confirmation_tag, uint8_t *out);
/* §6.1: MAC(confirmation_key, confirmed_transcript_hash). */
void confirmation_tag_make(const suite *s, span confirmation_key, span confirmed, uint8_t *tag);
MUST_USE err confirmation_tag_check(const suite *s, span confirmation_key, span confirmed, span tag);

#endif
