// types.mjs: the shapes that cross the core's boundary, for the type checker only. They are the generated ones.

/**
 * @typedef {import('../../build/glue/sotto.js').Kind} Kind
 * @typedef {import('../../build/glue/sotto.js').Check} Check
 * @typedef {import('../../build/glue/sotto.js').Me} Me
 * @typedef {import('../../build/glue/sotto.js').Person} Person
 * @typedef {import('../../build/glue/sotto.js').Message} Message
 * @typedef {import('../../build/glue/sotto.js').Conversation} Conversation
 * @typedef {import('../../build/glue/sotto.js').Invitation} Invitation
 * @typedef {import('../../build/glue/sotto.js').AuditAlarm} AuditAlarm
 * @typedef {import('../../build/glue/sotto.js').CommandMap} CommandMap
 * @typedef {CommandMap['invitation.view']['result']} InvitationView
 * @typedef {CommandMap['invitation.create']['result']} MadeInvitation
 * @typedef {import('../../glue/host.mjs').SottoEvent} SottoEvent
 *
 * @typedef {object} Client what the pages use of glue/browser.mjs' Sotto
 * @property {import('../../glue/client.mjs').Sotto['call']} call
 * @property {import('../../glue/client.mjs').Sotto['on']} on
 * @property {() => Promise<void>} close
 * @property {{ kind: string, persistent: boolean }} storage
 * @property {() => void} takeOver
 */

export {};
