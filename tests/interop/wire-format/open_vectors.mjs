// Opens every vector of docs/vectors/envelope.json with @hpke/core and Node's own crypto, and refuses every negative
// one. Written from docs/wire-format.md alone. Usage: node open_vectors.mjs VECTORS [SEALED]; into SEALED goes a wrap
// and a message sealed here, for the Rust side to open.

import crypto from "node:crypto";
import fs from "node:fs";
import { Aes256Gcm, CipherSuite, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";

const SUITE = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const SUITE_ID = Buffer.from("647a00010002", "hex");
const SKEW_MS = 5 * 60 * 1000;
const TWO_HOURS_MS = 2 * 60 * 60 * 1000;
const LEAST_PADDED = 256;
const MOST_CONTENT = 64 * 1024;
const P = 2n ** 255n - 19n;
const LOW_ORDER_X25519 = new Set([
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  P - 1n,
  P,
  P + 1n,
]);

class Refused extends Error {}

function refuseUnless(condition, reason) {
  if (!condition) throw new Refused(reason);
}

/** Strict reading of big-endian fields. */
class Reader {
  constructor(data) {
    this.data = data;
  }

  take(length) {
    refuseUnless(this.data.length >= length, "MALFORMED");
    const taken = this.data.subarray(0, length);
    this.data = this.data.subarray(length);
    return taken;
  }

  byte() {
    return this.take(1)[0];
  }

  field(length) {
    const value = this.take(this.take(2).readUInt16BE());
    refuseUnless(length === undefined || value.length === length, "MALFORMED");
    return value;
  }

  domain(domain) {
    refuseUnless(this.field().equals(Buffer.from(domain)), "MALFORMED");
    refuseUnless(this.field(1)[0] === 1, "UNSUPPORTED_VERSION");
  }

  finish() {
    refuseUnless(this.data.length === 0, "MALFORMED");
  }
}

const u64 = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

const field = (value) => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(value.length);
  return Buffer.concat([length, value]);
};

function digits(value, least, most) {
  const text = value.toString("latin1");
  const good = text.length >= least && text.length <= most && /^[0-9]+$/.test(text);
  refuseUnless(good, "MALFORMED");
  return text;
}

const sha256 = (data) => crypto.createHash("sha256").update(data).digest();
const shortHash = (data) => sha256(data).subarray(0, 16);

// The HPKE library looks at the buffer beneath a view, so it gets a copy with a buffer of its own.
const own = (data) => Uint8Array.from(data);

// Keys

const integer = (data) => BigInt("0x" + Buffer.from(data).reverse().toString("hex"));

function modPow(base, exponent) {
  let result = 1n;
  for (base = ((base % P) + P) % P; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}

const inverse = (value) => modPow(value, P - 2n);
const mod = (value) => ((value % P) + P) % P;

/** Multiplies the point by the cofactor; undefined for bytes that are no canonical point. */
function isSmallOrderEd25519(raw) {
  const d = mod(-121665n * inverse(121666n));
  const encoded = integer(raw);
  let y = encoded % 2n ** 255n;
  if (y >= P) return undefined;
  const square = mod((y * y - 1n) * inverse(d * y * y + 1n));
  let x = modPow(square, (P + 3n) / 8n);
  if (mod(x * x - square) !== 0n) x = mod(x * modPow(2n, (P - 1n) / 4n));
  if (mod(x * x - square) !== 0n || (x === 0n && encoded >> 255n)) return undefined;
  for (let doubling = 0; doubling < 3; doubling += 1) {
    const product = mod(d * mod(x * x) * mod(y * y));
    [x, y] = [
      mod(2n * x * y * inverse(1n + product)),
      mod((y * y + x * x) * inverse(1n - product)),
    ];
  }
  return x === 0n && y === 1n;
}

const lowOrderX25519 = (data) => LOW_ORDER_X25519.has(integer(data.subarray(-32)) % 2n ** 255n);

/** FIPS 203, 7.2: every 12-bit coefficient below 3329. */
function mlKemInRange(key) {
  for (let at = 0; at < 1152; at += 3) {
    const [a, b, c] = key.subarray(at, at + 3);
    if ((a | ((b & 15) << 8)) >= 3329 || ((b >> 4) | (c << 4)) >= 3329) return false;
  }
  return true;
}

function checkHpkePublicKey(raw) {
  refuseUnless(!lowOrderX25519(raw) && mlKemInRange(raw), "INVALID_KEY");
}

function verificationKey(raw) {
  refuseUnless(isSmallOrderEd25519(raw) === false, "INVALID_KEY");
  const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(raw).toString("base64url") };
  return crypto.createPublicKey({ format: "jwk", key: jwk });
}

function signingKey(seed) {
  const prefix = Buffer.from("302e020100300506032b657004220420", "hex"); // RFC 8410, 7
  return crypto.createPrivateKey({ format: "der", type: "pkcs8", key: Buffer.concat([prefix, seed]) });
}

const rawPublicKey = (privateKey) =>
  Buffer.from(crypto.createPublicKey(privateKey).export({ format: "jwk" }).x, "base64url");

function verify(publicKey, signature, message) {
  const good = crypto.verify(null, message, verificationKey(publicKey), signature);
  refuseUnless(good, "BAD_SIGNATURE");
}

/** X-Wing: the seed itself is the private key. */
async function hpkeKeyPair(seed) {
  const { publicKey } = await SUITE.kem.generateKeyPairDerand(own(seed));
  const privateKey = await SUITE.kem.importKey("raw", own(seed), false);
  return { privateKey, publicKey, raw: Buffer.from(await SUITE.kem.serializePublicKey(publicKey)) };
}

function checkTime(notBefore, notAfter, now) {
  refuseUnless(now >= notBefore - SKEW_MS, "KEY_NOT_YET_VALID");
  refuseUnless(now <= notAfter, "KEY_EXPIRED");
}

const number64 = (data) => Number(data.readBigUInt64BE());

// Wrap

function parseContext(data) {
  const reader = new Reader(data);
  reader.domain("sealpost/wrap");
  refuseUnless(reader.field(6).equals(SUITE_ID), "UNSUPPORTED_SUITE");
  const context = { direction: reader.field(1)[0] };
  refuseUnless([1, 2].includes(context.direction), "MALFORMED");
  context.number = digits(reader.field(), 1, 32);
  context.sender = reader.field(16);
  context.recipient = reader.field(16);
  context.notBefore = number64(reader.field(8));
  context.notAfter = number64(reader.field(8));
  context.nonce = reader.field(16);
  reader.finish();
  const length = context.notAfter - context.notBefore;
  refuseUnless(length > 0 && length <= TWO_HOURS_MS, "INVALID_VALIDITY");
  return context;
}

async function openWrap({ wire, number, direction, senderPublicKey, recipientSeed, now }) {
  const reader = new Reader(wire);
  const contextBytes = reader.field();
  const [enc, ct, signature] = [reader.take(1120), reader.take(48), reader.take(64)];
  reader.finish();
  const context = parseContext(contextBytes);
  refuseUnless(context.number === number, "WRONG_NUMBER");
  refuseUnless(context.direction === direction, "WRONG_DIRECTION");
  refuseUnless(context.sender.equals(shortHash(senderPublicKey)), "WRONG_SENDER");
  verify(senderPublicKey, signature, Buffer.concat([contextBytes, enc, ct]));
  const recipient = await hpkeKeyPair(recipientSeed);
  refuseUnless(context.recipient.equals(shortHash(recipient.raw)), "WRONG_RECIPIENT");
  checkTime(context.notBefore, context.notAfter, now);
  refuseUnless(!lowOrderX25519(enc), "UNDECRYPTABLE");
  try {
    const opener = await SUITE.createRecipientContext({
      recipientKey: recipient.privateKey,
      enc: own(enc),
      info: own(contextBytes),
    });
    context.key = Buffer.from(await opener.open(own(ct)));
  } catch {
    throw new Refused("UNDECRYPTABLE");
  }
  context.id = shortHash(wire.subarray(2));
  return context;
}

function encodeContext({ direction, number, sender, recipient, notBefore, notAfter, nonce }) {
  return Buffer.concat([
    field(Buffer.from("sealpost/wrap")),
    field(Buffer.from([1])),
    field(SUITE_ID),
    field(Buffer.from([direction])),
    field(Buffer.from(number)),
    field(sender),
    field(recipient),
    field(u64(notBefore)),
    field(u64(notAfter)),
    field(nonce),
  ]);
}

/** With `randomness` and `contentKey` given, the wire is the vector's own, byte for byte. */
async function sealWrap(facts, senderSeed, recipientPublicKey, contentKey, randomness) {
  const sender = signingKey(senderSeed);
  const context = encodeContext({
    ...facts,
    sender: shortHash(rawPublicKey(sender)),
    recipient: shortHash(recipientPublicKey),
  });
  checkHpkePublicKey(recipientPublicKey);
  const sealer = await SUITE.createSenderContext({
    recipientPublicKey: await SUITE.kem.importKey("raw", own(recipientPublicKey), true),
    info: own(context),
    ...(randomness && { ekm: own(randomness) }),
  });
  const ct = Buffer.from(await sealer.seal(own(contentKey)));
  const signed = Buffer.concat([context, Buffer.from(sealer.enc), ct]);
  const frame = field(context).subarray(0, 2);
  return Buffer.concat([frame, signed, crypto.sign(null, signed, sender)]);
}

// Message

function padme(length) {
  const exponent = Math.floor(Math.log2(length));
  const mask = (1 << (exponent - Math.floor(Math.log2(exponent)) - 1)) - 1;
  return (length + mask) & ~mask;
}

function pad(content) {
  const padded = Buffer.alloc(padme(Math.max(content.length + 1, LEAST_PADDED)));
  content.copy(padded);
  padded[content.length] = 0x80;
  return padded;
}

function unpad(padded) {
  const mark = padded.findLastIndex((byte) => byte !== 0);
  refuseUnless(mark >= 0 && padded[mark] === 0x80, "BAD_PADDING");
  const content = padded.subarray(0, mark);
  refuseUnless(content.length <= MOST_CONTENT && pad(content).equals(padded), "BAD_PADDING");
  return content;
}

function parseHeader(data) {
  const reader = new Reader(data);
  refuseUnless(reader.byte() === 1, "UNSUPPORTED_VERSION");
  const header = { direction: reader.byte() };
  refuseUnless([1, 2, 3].includes(header.direction), "MALFORMED");
  header.number = digits(reader.take(reader.byte()), 1, 32);
  header.peer = digits(reader.take(reader.byte()), 7, 15);
  refuseUnless(header.peer[0] !== "0", "MALFORMED");
  header.messageId = reader.take(16);
  header.category = reader.byte();
  refuseUnless([1, 2, 3, 4].includes(header.category), "MALFORMED");
  header.contentKeyId = reader.take(16);
  header.time = number64(reader.take(8));
  reader.finish();
  return header;
}

function messageKey(contentKey, messageId) {
  const info = Buffer.concat([Buffer.from("sealpost/message"), messageId]);
  return Buffer.from(crypto.hkdfSync("sha256", contentKey, Buffer.alloc(0), info, 32));
}

function openMessage(wrap, headerBytes, body, now) {
  const header = parseHeader(headerBytes);
  refuseUnless(header.contentKeyId.equals(wrap.id), "WRONG_CONTENT_KEY");
  refuseUnless(header.number === wrap.number, "WRONG_NUMBER");
  refuseUnless(Math.min(header.direction, 2) === wrap.direction, "WRONG_DIRECTION");
  checkTime(wrap.notBefore, wrap.notAfter, now);
  refuseUnless(body.length >= 12 + 16, "UNDECRYPTABLE");
  const key = messageKey(wrap.key, header.messageId);
  const opener = crypto.createDecipheriv("aes-256-gcm", key, body.subarray(0, 12));
  opener.setAAD(headerBytes);
  opener.setAuthTag(body.subarray(-16));
  let padded;
  try {
    padded = Buffer.concat([opener.update(body.subarray(12, -16)), opener.final()]);
  } catch {
    throw new Refused("UNDECRYPTABLE");
  }
  const possible = padded.length >= LEAST_PADDED && padme(padded.length) === padded.length;
  refuseUnless(possible, "BAD_PADDING");
  const isStatus = header.direction === 3;
  refuseUnless(!isStatus || padded.length === LEAST_PADDED, "STATUS_WITH_CONTENT");
  const content = unpad(padded);
  refuseUnless(!isStatus || content.length === 0, "STATUS_WITH_CONTENT");
  return { header, key, padded, content };
}

function sealMessage(contentKey, contentKeyId, { number, direction, peer, messageId, time }, content) {
  const header = Buffer.concat([
    Buffer.from([1, direction, number.length]),
    Buffer.from(number),
    Buffer.from([peer.length]),
    Buffer.from(peer),
    messageId,
    Buffer.from([1]),
    contentKeyId,
    u64(time),
  ]);
  const nonce = crypto.randomBytes(12);
  const sealer = crypto.createCipheriv("aes-256-gcm", messageKey(contentKey, messageId), nonce);
  sealer.setAAD(header);
  const ciphertext = Buffer.concat([sealer.update(pad(content)), sealer.final()]);
  return { header, body: Buffer.concat([nonce, ciphertext, sealer.getAuthTag()]) };
}

// Signed statements

function signedStatement(wire, publicKey) {
  const reader = new Reader(wire);
  const [statement, signature] = [reader.field(), reader.take(64)];
  reader.finish();
  verify(publicKey, signature, statement);
  return new Reader(statement);
}

function openVaultKey({ wire, number, signerPublicKey, now, highestSequence }) {
  const reader = signedStatement(wire, signerPublicKey);
  reader.domain("sealpost/vault-key");
  const [statedNumber, keyId] = [digits(reader.field(), 1, 32), reader.field(16)];
  const [sequence, notBefore, notAfter] = [0, 0, 0].map(() => number64(reader.field(8)));
  const publicKey = reader.field(1216);
  reader.finish();
  checkHpkePublicKey(publicKey);
  refuseUnless(keyId.equals(shortHash(publicKey)), "WRONG_KEY_ID");
  refuseUnless(notBefore < notAfter, "INVALID_VALIDITY");
  refuseUnless(statedNumber === number, "WRONG_NUMBER");
  checkTime(notBefore, notAfter, now);
  refuseUnless(sequence >= highestSequence, "STALE_SEQUENCE");
  return { publicKey, sequence };
}

function openRotation(wire, number, pinnedPublicKey) {
  const reader = signedStatement(wire, pinnedPublicKey);
  reader.domain("sealpost/vault-signing-key");
  const [statedNumber, oldId] = [digits(reader.field(), 1, 32), reader.field(16)];
  const newKey = reader.field(32);
  reader.finish();
  verificationKey(newKey);
  refuseUnless(statedNumber === number, "WRONG_NUMBER");
  refuseUnless(oldId.equals(shortHash(pinnedPublicKey)), "WRONG_KEY_ID");
  return newKey;
}

// The vectors

const mismatches = [];
let checked = 0;

function expect(name, made, stored) {
  checked += 1;
  const shown = Buffer.isBuffer(made) ? made.toString("hex") : made;
  if (shown !== stored) mismatches.push(`${name}: ${shown} is not ${stored}`);
}

async function expectRefusal(wanted, attempt) {
  checked += 1;
  try {
    await attempt();
    mismatches.push(`${wanted.name}: accepted, not ${wanted.error}`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.message !== wanted.error) {
      mismatches.push(`${wanted.name}: ${error.message}, not ${wanted.error}`);
    }
  }
}

const hex = (text) => Buffer.from(text, "hex");

const reopen = (stored, other = {}) => {
  const facts = { ...stored, ...other };
  return openWrap({
    wire: hex(facts.wire),
    number: facts.number,
    direction: facts.direction,
    senderPublicKey: hex(stored.sender_public_key),
    recipientSeed: hex(stored.recipient_seed),
    now: facts.now,
  });
};

const verifyVaultKey = (stored) =>
  openVaultKey({
    wire: hex(stored.wire),
    number: stored.number,
    signerPublicKey: hex(stored.signer_public_key),
    now: stored.now,
    highestSequence: stored.highest_sequence,
  });

const wrapFacts = (stored, nonce) => ({
  number: stored.number,
  direction: stored.direction,
  notBefore: stored.not_before,
  notAfter: stored.not_after,
  nonce,
});

async function check(document) {
  for (const stored of document.message_ids) {
    const mac = crypto.createHmac("sha256", hex(stored.key));
    mac.update(stored.number).update(Buffer.from([0])).update(hex(stored.idempotency_key));
    expect("message id", mac.digest().subarray(0, 16), stored.message_id);
  }
  for (const { content_length: length, padded_length: padded } of document.padding) {
    expect("padding", pad(Buffer.alloc(length)).length, padded);
  }

  const wraps = new Map();
  const opened = new Map();
  for (const stored of document.wraps) {
    const { name } = stored;
    expect(name, rawPublicKey(signingKey(hex(stored.sender_seed))), stored.sender_public_key);
    expect(name, (await hpkeKeyPair(hex(stored.recipient_seed))).raw, stored.recipient_public_key);
    const wrap = await reopen(stored);
    expect(name, wrap.key, stored.content_key);
    expect(name, wrap.id, stored.content_key_id);
    const sealedAgain = await sealWrap(
      wrapFacts(stored, hex(stored.nonce)),
      hex(stored.sender_seed),
      hex(stored.recipient_public_key),
      hex(stored.content_key),
      hex(stored.encapsulation_randomness),
    );
    expect(name, sealedAgain, stored.wire);
    wraps.set(name, stored);
    opened.set(name, wrap);
  }

  for (const stored of document.messages) {
    const { name } = stored;
    const wrap = opened.get(stored.wrap);
    const message = openMessage(wrap, hex(stored.header), hex(stored.body), stored.now);
    for (const fact of ["direction", "peer", "category", "time"]) {
      expect(name, message.header[fact], stored[fact]);
    }
    expect(name, message.header.messageId, stored.message_id);
    expect(name, message.key, stored.message_key);
    expect(name, message.padded, stored.padded);
    expect(name, message.content, stored.content);
  }

  for (const stored of document.vault_keys) {
    const { publicKey, sequence } = verifyVaultKey(stored);
    expect(stored.name, publicKey, stored.public_key);
    expect(stored.name, sequence, stored.sequence);
    expect(stored.name, sha256(hex(stored.signer_public_key)), stored.signer_fingerprint);
  }
  for (const stored of document.rotations) {
    const newKey = openRotation(hex(stored.wire), stored.number, hex(stored.old_public_key));
    expect(stored.name, newKey, stored.new_public_key);
    expect(stored.name, sha256(newKey), stored.new_fingerprint);
  }

  for (const refused of document.refused_wraps) {
    const { number, direction, now, wire } = refused;
    const stored = wraps.get(refused.wrap);
    await expectRefusal(refused, () => reopen(stored, { number, direction, now, wire }));
  }
  for (const refused of document.refused_messages) {
    const wrap = opened.get(refused.wrap);
    const [header, body] = [hex(refused.header), hex(refused.body)];
    await expectRefusal(refused, () => openMessage(wrap, header, body, refused.now));
  }
  for (const refused of document.refused_vault_keys) {
    await expectRefusal(refused, () => verifyVaultKey(refused));
  }
  for (const refused of document.refused_rotations) {
    const pinned = hex(refused.pinned_public_key);
    await expectRefusal(refused, () => openRotation(hex(refused.wire), refused.number, pinned));
  }
  return wraps;
}

async function seal(stored, path) {
  const contentKey = crypto.randomBytes(32);
  const facts = wrapFacts(stored, crypto.randomBytes(16));
  const recipient = hex(stored.recipient_public_key);
  const wire = await sealWrap(facts, hex(stored.sender_seed), recipient, contentKey);
  const fields = {
    number: stored.number,
    direction: stored.direction,
    peer: "15551234567",
    messageId: crypto.randomBytes(16),
    time: stored.now,
  };
  const content = Buffer.from("sealed elsewhere");
  const { header, body } = sealMessage(contentKey, shortHash(wire.subarray(2)), fields, content);
  const sealed = { wrap: wire, header, body };
  const text = Object.fromEntries(
    Object.entries(sealed).map(([name, bytes]) => [name, bytes.toString("hex")]),
  );
  fs.writeFileSync(path, JSON.stringify(text));
}

const [vectors, sealedPath] = process.argv.slice(2);
const wraps = await check(JSON.parse(fs.readFileSync(vectors, "utf8")));
if (sealedPath) await seal(wraps.get("outbound"), sealedPath);
for (const mismatch of mismatches) console.error(`node: ${mismatch}`);
console.log(`node: ${checked} checks, ${mismatches.length} mismatches`);
process.exitCode = mismatches.length > 0 || checked === 0 ? 1 : 0;
