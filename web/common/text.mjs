// text.mjs: every word that the patient's page and the parts both pages share put on the screen. Plain language, about grade 6; a
// translation replaces this module. Staff words are in web/staff/text.mjs.

/** Words of the steps before a conversation: link, check, PIN. The staff page replaces some. */
export const access = {
  starting: 'Opening…',
  broken: 'This page could not start',
  brokenHelp: 'Please close other tabs of this page and load it again. If that does not help, try another browser.',
  reload: 'Load again',

  openingTitle: 'Opening your secure link…',
  hello: (/** @type {string} */ clinic) => `${clinic} wants to write with you`,
  private: 'What you write is locked before it leaves this phone. Only you and your clinic can open it.',
  checkTitle: 'Is it you?',
  birthDate: 'Date of birth',
  birthDateHint: 'Month / day / year, like 04/12/1956',
  code: 'One-time code',
  codeHint: 'The code that your clinic gave you',
  name: 'Your name',
  nameHint: 'As others should see it',
  continue: 'Continue',
  checking: 'Checking…',
  factorMissing: 'Please fill this in.',
  factorUnreadable: 'We could not read this date. Please write it like 04/12/1956.',
  codeUnreadable: 'We could not read this code. Please type it as you got it.',
  nameMissing: 'Please write your name.',
  wrong: (/** @type {number | null} */ left) =>
    'That did not match. Please check it and try again.' +
    (left === null ? '' : left === 1 ? ' You have 1 try left.' : ` You have ${left} tries left.`),
  checkOffline: 'There is no connection right now. Your answer was not counted. Please try again.',

  pinTitle: 'Choose a PIN',
  pinWhy: 'It locks your messages on this phone. You will need it each time you come back.',
  pin: 'PIN',
  pinHint: 'At least 4 digits. 6 or more is safer.',
  repeatPin: 'Repeat PIN',
  pinShort: 'Please use at least 4 digits.',
  pinDifferent: 'The two are not the same. Please type it again.',
  showPin: 'Show PIN',
  keeping: 'Getting ready…',
  visitTitle: 'Not your own phone?',
  visitHint: 'Nothing is kept on this phone after you close the page.',
  visit: 'This visit only',
  storageDenied: 'This browser does not let us keep anything, so a PIN cannot be used here. You can go on with “This visit only”.',
  storageFull: 'This phone has no room left. Free some space and try again, or go on with “This visit only”.',

  unlockTitle: 'Your messages are locked',
  unlockHelp: 'Enter the PIN that you chose.',
  unlocking: 'Opening…',
  wrongPin: 'That is not the right PIN. Please try again.',
  wait: (/** @type {number} */ seconds) =>
    `Too many tries. Please wait ${seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`}, then try again.`,
  forgot: 'Forgot your PIN? Ask your clinic for a new link. Your clinic keeps your messages.',
  restarted: 'The page had to restart. Nothing that was sent is lost. Please enter your PIN again.',

  chooseTitle: 'You already have messages here',
  chooseHelp: 'This phone keeps a conversation that is locked with a PIN. You also opened a new link.',
  chooseOld: 'Open my messages',
  chooseNew: 'Use the new link',
  chooseNewHelp: 'The new link starts next to it. What is on this phone stays as it is.',
  chooseVisitHelp: 'The new link opens for this visit only. What is on this phone stays as it is.',
  other: 'Open other messages on this phone',

  noLinkTitle: 'Open the link from your clinic',
  noLinkHelp: 'Your clinic sends you a secure link by text message, email or on paper. Open it on this phone to start.',
  noLinkPrivate: 'If you wrote from this phone before, your messages were kept only if you chose a PIN.',

  damagedTitle: 'Your messages cannot be opened here',
  damagedHelp:
    'A part of what this browser kept is gone or damaged. Nothing was replaced. Please ask your clinic for a new link: your clinic still has the messages.',
  newerTitle: 'A newer version was here',
  newerHelp: 'Please load the page again to get the newest version.',

  elsewhereTitle: 'Your messages are open in another tab',
  elsewhereHelp: 'That tab does not answer. You can close it, or go on here.',
  elsewhereHere: 'Go on here',

  endedTitle: 'Your visit has ended',
  endedHelp: 'Nothing was kept on this phone. To write again, ask your clinic for a new link.',

  staffLinkTitle: 'This link is for clinic staff',
  staffLinkHelp: 'It opens in the staff page.',
  patientLinkTitle: 'This link is for a patient',
  patientLinkHelp: 'It opens in the patient page.',
  agentLinkTitle: 'This link is for a clinic computer',
  agentLinkHelp: 'It cannot be opened in a browser.',
  goThere: 'Open it there',
  tryAgain: 'Try again',
};

/**
 * What can be wrong with a link, by notice code: title, help, and whether trying again may help. Codes that are not
 * here show the core's own sentence.
 * @type {Record<string, { title: string, help: string, again?: boolean }>}
 */
export const linkProblems = {
  link_damaged: {
    title: 'This link is not complete',
    help: 'A part of it is missing. Please open it again from the message you got, or ask your clinic for a new link.',
  },
  link_unknown: {
    title: 'This link is not known here',
    help: 'Please ask your clinic for a new link.',
  },
  invitation_used: {
    title: 'This link was used already',
    help: 'Each link works once. If it was you, open this page on the phone where you used it. If it was not you, please call your clinic.',
  },
  invitation_locked: {
    title: 'This link is locked',
    help: 'To keep you safe, it was locked after five wrong answers. Nothing is lost. Please call your clinic and ask for a new link.',
  },
  invitation_gone: {
    title: 'This link has run out',
    help: 'Links work for a short time only. Please ask your clinic for a new one.',
  },
  invitation_forged: {
    title: 'This link cannot be trusted',
    help: 'The invitation does not come from the clinic that made your link. Nothing was sent. Please call your clinic.',
  },
  refused: {
    title: 'The link did not work',
    help: 'The server did not accept this device. Please ask your clinic for a new link.',
  },
  offline: {
    title: 'No connection',
    help: 'We could not reach your clinic’s server. Your link still works. Please check your internet and try again.',
    again: true,
  },
};

export const chat = {
  title: 'Secure messages',
  messages: 'Messages',
  message: 'Message',
  send: 'Send',
  earlier: 'Earlier messages',
  loadingEarlier: 'Loading…',
  newMessages: 'New messages',
  none: 'Write your first message. Only you and your clinic can read it.',
  you: 'You',
  unknown: 'Someone at the clinic',
  lock: 'Lock',
  endVisit: 'End visit',
  endVisitTitle: 'End this visit?',
  endVisitHelp: 'Your messages will be gone from this phone. Your clinic keeps them.',
  endVisitUnsent: 'Some messages are not sent yet. They would be lost.',
  cancel: 'Cancel',
  close: 'Close',
  people: 'People',
  peopleTitle: 'Who can read this',
  peopleHelp: 'Only these people and devices can open the messages.',
  kind: { staff: 'Clinic staff', agent: 'Clinic computer', patient: 'Patient' },
  youMark: '(you)',
  emergency: 'Not for emergencies. Call your local emergency number.',
  offline: 'Offline – your messages will be sent when you are back online',
  visitOnly: 'This visit only: nothing stays on this phone after you close the page.',
  creating: 'Your messages wait on this phone until the conversation is ready. That takes a moment.',
  left: 'This device is no longer in the conversation.',
  broken: 'This conversation is paused to keep it private. Please call your clinic.',
  revoked: 'This device was signed out by your clinic. Please ask your clinic for a new link.',
  tooLong: (/** @type {number} */ over) =>
    `This message is too long by about ${over} ${over === 1 ? 'letter' : 'letters'}. Please make it shorter or send it in two parts.`,
  notSent: 'This could not be sent. Your text is still here. Please try again.',
  storageFull: 'This phone has no room left, so the message was not taken. Your text is still here.',
  tryAgain: 'Try again',
  dismiss: 'OK',
  shared: 'Shared by your clinic',
  today: 'Today',
  yesterday: 'Yesterday',
  state: {
    sending: 'Sending',
    sent: 'Sent',
    delivered: 'Delivered',
    read: 'Read',
    failed: 'Failed',
    received: '',
    seen: '',
  },
  failedWhy: 'It could not be sent.',
};
