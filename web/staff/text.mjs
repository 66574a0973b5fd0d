// text.mjs: the words of the staff page. What it shares with the patient's page is in web/common/text.mjs.
import { access as shared } from '../common/text.mjs';

/** @type {typeof shared} */
export const access = {
  ...shared,
  openingTitle: 'Opening your invitation…',
  hello: (clinic) => `Join ${clinic}`,
  private: 'What is written here is locked before it leaves this computer. Only members of a conversation can open it.',
  checkTitle: 'Who are you?',
  pinWhy: 'It locks this clinic’s messages on this computer. You will need it each time you come back.',
  visit: '',
  unlockTitle: 'The console is locked',
  unlockHelp: 'Enter the PIN that you chose.',
  forgot: 'Forgot your PIN? Ask a colleague for a new staff link.',
  chooseTitle: 'This computer already has a staff account',
  chooseHelp: 'It is locked with a PIN. You also opened a new link.',
  chooseOld: 'Open the account',
  chooseNewHelp: 'The new link starts next to it. What is on this computer stays as it is.',
  other: 'Open another account on this computer',
  damagedHelp:
    'A part of what this browser kept is gone or damaged. Nothing was replaced. Please ask a colleague for a new staff link.',
  noLinkTitle: 'Staff page',
  noLinkHelp: 'Got a staff link? Open it in this browser to join your clinic.',
  storageDenied: 'This browser does not let us keep anything, for example in a private window. Please use another window or browser.',
  storageFull: 'This computer has no room left. Free some space and try again.',
};

export const clinic = {
  title: 'Create a clinic',
  help: 'For the first person of a clinic. This computer will hold the clinic’s root key.',
  clinicName: 'Clinic name',
  name: 'Your name',
  nameMissing: 'Please write your name.',
  clinicNameMissing: 'Please write the clinic’s name.',
  create: 'Create clinic',
  creating: 'Creating…',
  closed: 'This server takes no new clinics.',
};

export const desk = {
  title: 'Sotto',
  inbox: 'Inbox',
  conversations: 'Conversations',
  invitations: 'Invitations',
  views: 'Views',
  invitePatient: 'Invite a patient',
  inviteStaff: 'Invite a colleague',
  lock: 'Lock',
  back: 'Back',
  nobody: 'No conversations yet. Invite a patient to begin.',
  pick: 'Choose a conversation.',
  unread: (/** @type {number} */ n) => `${n} unread`,
  you: 'You: ',
  noMessage: 'No messages yet',
  people: 'People',
  check: { birth_date: 'Checked by date of birth', code: 'Checked by one-time code', none: 'Not checked', desk: 'Checked at the desk' },
};

/** What was done to the access log; the proof of each is in the core (audit.status). */
export const audit = {
  /** @type {Record<import('../common/types.mjs').AuditAlarm['fault'], string>} */
  fault: {
    truncation: 'The access log was cut off: the server had signed a longer one.',
    fork: 'The server showed people different access logs, or denies one that it signed.',
    rewrite: 'The access log was rewritten: it is not the one that the server had signed.',
    forgery: 'The access log came without the server’s signature. It was refused.',
    key_change: 'The server signs the access log with another key than before. The new key is not trusted.',
    dispute: 'A member’s device was shown the access log under another key. Either the server shows people different logs, or that device lies.',
    withdrawal: 'The server no longer lets the access log be checked.',
    deletion: 'Entries were deleted from the access log.',
    edit: 'An entry of the access log was changed after it was written.',
    reorder: 'Entries of the access log were moved to other places.',
  },
  at: (/** @type {number} */ number) => ` (number ${number})`,
};

export const invite = {
  patientTitle: 'Invite a patient',
  staffTitle: 'Invite a colleague',
  name: 'Name',
  patientName: 'Patient’s name',
  nameMissing: 'Please write a name.',
  check: 'How will they prove who they are?',
  birthDate: 'Date of birth',
  birthDateHint: 'Month / day / year, like 04/12/1956',
  code: 'One-time code',
  codeHint: 'We make a code. Tell it on the phone or in person, not next to the link.',
  none: 'The link alone is enough',
  birthDateMissing: 'Please fill in the date of birth.',
  birthDateUnreadable: 'We could not read this date. Please write it like 04/12/1956.',
  make: 'Make link',
  making: 'Making…',
  cancel: 'Cancel',
  failed: 'The link could not be made. Please try again.',
  readyTitle: (/** @type {string} */ name) => `Link for ${name}`,
  link: 'Secure link',
  copy: 'Copy link',
  copied: 'Copied',
  copyFailed: 'Please select the link and copy it.',
  qr: 'QR code of the link',
  codeTitle: 'One-time code',
  handPatient: 'Send this link to the patient by text message or email, or let them scan the code at the desk.',
  handStaff: 'Send this link to your colleague. They open it in their own browser.',
  handBirth: 'They will be asked for their date of birth.',
  handCode: 'They will be asked for the code. Tell it on the phone or in person, not in the same message as the link.',
  once: 'The link works once, and is shown only now. You can make a new one at any time.',
  until: (/** @type {string} */ when) => `It works until ${when}.`,
  done: 'Done',
};

export const invitations = {
  none: 'No invitations yet.',
  newLink: 'New link',
  withdraw: 'Withdraw',
  /** @type {Record<string, string>} */
  state: {
    sending: 'Sending',
    open: 'Open',
    used: 'Used',
    locked: '5 wrong tries – make a new link',
    withdrawn: 'Withdrawn',
    expired: 'Expired',
  },
  wrong: (/** @type {number} */ left) => `Open – wrong tries, ${left} left`,
  made: (/** @type {string} */ when) => `Made ${when}`,
  kind: { patient: 'Patient', staff: 'Staff', agent: 'Clinic computer' },
};
