#include "client/notice.h"

#include <string.h>

static const struct {
    const char *name, *text;
} notices[NOTICE_COUNT] = {
    [NOTICE_NONE] = {"", ""},
    [NOTICE_LINK_DAMAGED] = {"link_damaged",
                             "This link is not complete. Please open it again from the message you got, "
                             "or ask your clinic for a new one."},
    [NOTICE_LINK_UNKNOWN] = {"link_unknown",
                             "Your clinic's server does not know this link. Please ask your clinic for a new one."},
    [NOTICE_INVITATION_USED] = {"invitation_used",
                                "This link was used already. If that was you, open the chat on the device "
                                "where you used it. If not, please call your clinic."},
    [NOTICE_INVITATION_LOCKED] = {"invitation_locked",
                                  "To keep you safe, this link is locked after five wrong answers. "
                                  "Nothing is lost. Please call your clinic and ask for a new link."},
    [NOTICE_INVITATION_GONE] = {"invitation_gone", "This link has run out. Please ask your clinic for a new one."},
    [NOTICE_INVITATION_FORGED] = {"invitation_forged",
                                  "This invitation does not come from the clinic that made your link. "
                                  "Nothing was sent. Please call your clinic."},
    [NOTICE_WRONG_CHECK] = {"wrong_check", "That did not match. Please check it and try again."},
    [NOTICE_REFUSED] = {"refused", "The server did not accept this device. Please ask your clinic for a new link."},
    [NOTICE_OFFLINE] = {"offline", "There is no connection right now. Please try again."},
    [NOTICE_KEYS_FOREIGN] = {"keys_foreign",
                             "The server offered keys that do not belong to your clinic. They were refused and "
                             "nothing was sent to them. Please tell your clinic."},
    [NOTICE_ROSTER_FORGED] = {"roster_forged",
                              "The server offered a staff list that your clinic did not sign. It was refused. "
                              "Please tell your clinic."},
    [NOTICE_ROSTER_OLD] = {"roster_old",
                           "The server offered an old staff list in place of a newer one. It was refused."},
    [NOTICE_MEMBER_REFUSED] =
        {"member_refused",
         "A change to who is in this conversation, or to how it is protected, was refused, because your clinic did not "
         "approve it. The conversation is paused to keep it private. Please tell your clinic."},
    [NOTICE_CHANGE_REFUSED] = {"change_refused", "Somebody asked for a change to this conversation that your clinic "
                                                 "does not make that way. It was refused, and "
                                                 "nothing was changed."},
    [NOTICE_REPLAYED] = {"replayed", "The server delivered a message a second time. The copy was ignored."},
    [NOTICE_ORDER] =
        {"order", "The server delivered messages in the wrong order. They are shown in the order in which they came."},
    [NOTICE_ALTERED] =
        {"altered",
         "A message could not be read: it was changed or damaged on the way. Please ask the sender to send it again."},
    [NOTICE_MISSING] = {"missing",
                        "A message is missing here. The server has not delivered it. It will appear when it comes; "
                        "if it does not, ask the sender to send it again."},
    [NOTICE_LATE] = {"late", "A missing message came late. The server had held it back. It is shown below."},
    [NOTICE_CHAIN_BROKEN] =
        {"chain_broken", "Messages from one device do not fit together. The device may have been restored from a copy. "
                         "Please check with the sender."},
    [NOTICE_EPOCH_MISSING] =
        {"epoch_missing",
         "A message could not be read, because the server has not delivered a change that came before it."},
    [NOTICE_TOO_OLD] = {"too_old", "A message could not be read: it came after so many changes that its key was "
                                   "already deleted. Asking for it again."},
    [NOTICE_TOO_LATE] = {"too_late", "A message could not be read: it came more than a week late, and its key was "
                                     "already deleted. Asking for it again."},
    [NOTICE_TOO_FAR_AHEAD] =
        {"too_far_ahead", "A message could not be read: too many messages before it are missing. Asking for it again."},
    [NOTICE_SKIPPED] =
        {"skipped",
         "A message could not be read: so many came before it that its key was already deleted. Asking for it again."},
    [NOTICE_GAP] = {"gap", "This device was away so long that the server no longer keeps some of what came in that "
                           "time. Messages may be missing here. Please ask your clinic if you expected any."},
    [NOTICE_WITHDRAWN] = {"withdrawn", "A message could not be read here: the server refused to pass it on. Its sender "
                                       "was told and can send it again."},
    [NOTICE_NEWER_VERSION] =
        {"newer_version",
         "A message came that this version cannot show. Please reload the page to get the newest version."},
    [NOTICE_WELCOME_REFUSED] = {"welcome_refused",
                                "A conversation was offered that your clinic did not approve. It was refused."},
    [NOTICE_ANSWER_MALFORMED] = {"answer_malformed", "The server gave an answer that makes no sense. It was ignored."},
    [NOTICE_AUDIT_CHANGED] = {"audit_changed", "The clinic's access log was changed. Tell the clinic."},
    [NOTICE_AUDIT_FAULT] = {"audit_fault", "The clinic's access log was changed. The proof is kept."},
    [NOTICE_REVOKED] = {"revoked", "This device was signed out by your clinic. Please ask your clinic for a new link."},
    [NOTICE_REMOVED] = {"removed", "This device is no longer in this conversation."},
    [NOTICE_NOBODY] =
        {"nobody",
         "Your clinic has nobody here yet who can read messages. Yours are kept and will be sent as soon as it has."},
};

const char *notice_name(notice_code code) { return notices[code].name; }
const char *notice_text(notice_code code) { return notices[code].text; }

notice_code notice_find(const char *name) {
    for (int i = 1; i < NOTICE_COUNT; i++)
        if (strcmp(notices[i].name, name) == 0)
            return (notice_code)i;
    return NOTICE_NONE;
}
