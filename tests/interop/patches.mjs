// patches.mjs: known defects of ts-mls 1.6.4, put right as its files are loaded, and only in these tests. Without them a random
// session ends at the first of them; each is a line or two, with the rule that it breaks. A patch that no longer fits its
// file is an error: the peer has changed, and the list must be looked at anew.

/** @type {{ file: string, why: string, from: string, to: string }[]} */
export const patches = [
  {
    file: 'clientState.js',
    why: 'RFC 9420 §7.9.2: for each unmerged leaf, the non-blank nodes between it and the node must list it too. ts-mls asks that every non-blank ancestor, above the node as well, has the very same list, and so refuses most trees with two unmerged leaves.',
    from: 'if (!arraysEqual(dpNode.parent.unmergedLeaves, n.parent.unmergedLeaves))',
    to: 'if (parentIdx !== i && dp.indexOf(parentIdx) < dp.indexOf(toNodeIndex(i)) && !dpNode.parent.unmergedLeaves.includes(unmergedLeaf))',
  },
  {
    file: 'createCommit.js',
    why: 'RFC 9420 §12.4.3.2: the extension holds struct ExternalPub { HPKEPublicKey external_pub; }, a vector with its length. ts-mls writes the bare key.',
    from: '[...extensions, { extensionType: "external_pub", extensionData: externalPub }]',
    to: '[...extensions, { extensionType: "external_pub", extensionData: encode(varLenDataEncoder)(externalPub) }]',
  },
  {
    file: 'createCommit.js',
    why: 'The same, with the tree.',
    from: '{ extensionType: "external_pub", extensionData: externalPub },',
    to: '{ extensionType: "external_pub", extensionData: encode(varLenDataEncoder)(externalPub) },',
  },
  {
    file: 'createCommit.js',
    why: 'The same, reading.',
    from: 'await exportSecret(externalPub.extensionData, cs)',
    to: 'await exportSecret(decodeVarLenData(externalPub.extensionData, 0)[0], cs)',
  },
  {
    file: 'createCommit.js',
    why: 'Imports for the three above.',
    from: 'import { encode } from "./codec/tlsEncoder.js";',
    to: 'import { encode } from "./codec/tlsEncoder.js";\nimport { decodeVarLenData, varLenDataEncoder } from "./codec/variableLength.js";',
  },
  {
    file: 'createCommit.js',
    why: 'RFC 9420 §12.4.1: the GroupContext under which path secrets are encrypted has the new extensions. ts-mls sends with the old ones (and reads with the new ones).',
    from: 'await createUpdatePath(res.tree, toLeafIndex(state.privatePath.leafIndex), state.groupContext,',
    to: 'await createUpdatePath(res.tree, toLeafIndex(state.privatePath.leafIndex), res.additionalResult.extensions?.length > 0 ? { ...state.groupContext, extensions: res.additionalResult.extensions } : state.groupContext,',
  },
  {
    file: 'clientState.js',
    why: 'RFC 9420 §17.4: GroupContextExtensions needs a path. ts-mls commits it without.',
    from: 'const needsUpdatePath = allProposals.length === 0 ||',
    to: 'const needsUpdatePath = allProposals.length === 0 || grouped.group_context_extensions.length > 0 ||',
  },
  {
    file: 'externalSender.js',
    why: 'RFC 9420 §12.1.8.1: the extension holds a vector of ExternalSender, and the index counts in it. ts-mls reads the extension as one bare ExternalSender. With this it reads the first of the vector: sessions have one.',
    from: 'export const decodeExternalSender = mapDecoders([decodeVarLenData, decodeCredential], (signaturePublicKey, credential) => ({ signaturePublicKey, credential }));',
    to: 'export const decodeExternalSender = mapDecoder(decodeVarLenType(mapDecoders([decodeVarLenData, decodeCredential], (signaturePublicKey, credential) => ({ signaturePublicKey, credential }))), (all) => all[0]);',
  },
  {
    file: 'externalSender.js',
    why: 'Imports for the one above.',
    from: 'import { mapDecoders } from "./codec/tlsDecoder.js";',
    to: 'import { mapDecoder, mapDecoders } from "./codec/tlsDecoder.js";\nimport { decodeVarLenType } from "./codec/variableLength.js";',
  },
  {
    file: 'externalProposal.js',
    why: 'RFC 9420 §12.1.8: sender_index counts in external_senders. ts-mls sends the place of the extension among all extensions (and reads another count).',
    from: '{ senderType: "external", senderIndex: externalSenderExtensionIndex }',
    to: '{ senderType: "external", senderIndex: 0 }',
  },
  {
    file: 'codec/optional.js',
    why: "Not of RFC 9420 but of ts-mls's own state: optional<uint32> writes 0 as absent, so that a proposal of leaf 0 has no sender after a restart.",
    from: 'if (t) {',
    to: 'if (t !== undefined) {',
  },
  {
    file: 'crypto/ciphersuite.js',
    why: 'Not a defect: our default suite has the number 0xF00E, which ts-mls 2 (in preparation) uses too. 1.6.4 knows the same algorithms as 0x0054 only.',
    from: '    MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519: 84,',
    to: '    MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519: 84,\n    XWING_F00E: 0xf00e,',
  },
  {
    file: 'crypto/ciphersuite.js',
    why: 'The same: what it consists of.',
    from: '    84: {',
    to: '    0xf00e: { hash: "SHA-512", hpke: { kem: "X-Wing", aead: "CHACHA20POLY1305", kdf: "HKDF-SHA512" }, signature: "Ed25519", name: "XWING_F00E" },\n    84: {',
  },
  {
    file: 'pathSecrets.js',
    why: 'RFC 9420 §7.4, §8: the commit secret follows the last path secret of the filtered direct path. Where one half of the tree is blank the root is not on it, and ts-mls derives once too often.',
    from: 'while (currentIndex != rootIndex) {',
    to: 'while (currentIndex != rootIndex && hasNonBlankAncestor(tree, currentIndex)) {',
  },
  {
    file: 'pathSecrets.js',
    why: 'The same: the last secret, wherever it is.',
    from: 'const rootSecret = path[rootIndex];',
    to: 'const rootSecret = path[lastOf(tree, nodeIndex)];',
  },
  {
    file: 'pathSecrets.js',
    why: 'Functions for the two above and the one below.',
    from: 'import { root, leafWidth } from "./treemath.js";',
    to: `import { directPath, root, leafWidth } from "./treemath.js";
const hasNonBlankAncestor = (tree, nodeIndex) => directPath(nodeIndex, leafWidth(tree.length)).some((n) => tree[n] !== undefined);
export const lastOf = (tree, nodeIndex) => directPath(nodeIndex, leafWidth(tree.length)).filter((n) => tree[n] !== undefined).at(-1) ?? nodeIndex;`,
  },
  {
    file: 'processMessages.js',
    why: 'The same, reading.',
    from: 'const rootSecret = pathSecrets[rootIndex];',
    to: 'const rootSecret = pathSecrets[lastOf(tree, secret.nodeIndex)];',
  },
  {
    file: 'processMessages.js',
    why: 'Import for the one above.',
    from: 'import { pathToRoot } from "./pathSecrets.js";',
    to: 'import { lastOf, pathToRoot } from "./pathSecrets.js";',
  },
];

/** @param {string} url @param {string} source */
export function patched(url, source) {
  const name = /\/node_modules\/ts-mls\/dist\/src\/(.*)$/.exec(url)?.[1];
  let text = source;
  for (const { file, from, to } of patches) {
    if (file !== name) continue;
    if (text.split(from).length !== 2) throw new Error(`patches.mjs: ${file} of ts-mls has changed: "${from}" is not there once`);
    text = text.replace(from, () => to);
  }
  return text;
}

/** A hook of node:module's register. */
export async function load(/** @type {string} */ url, /** @type {any} */ context, /** @type {any} */ next) {
  const loaded = await next(url, context);
  if (!/\/node_modules\/ts-mls\/dist\/src\//.test(url) || loaded.source === null || loaded.source === undefined) return loaded;
  return { ...loaded, source: patched(url, Buffer.from(loaded.source).toString('utf8')) };
}
