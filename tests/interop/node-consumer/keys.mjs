// A device's keys, in memory: libsignal's stores, and the upload for the relay (docs/device-protocol.md, "Keys").
import * as signal from "@signalapp/libsignal-client";

// u-coordinates of low order, little-endian.
const LOW_ORDER = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
]);

export function refuseLowOrder(serialised) {
  const point = Buffer.from(serialised.subarray(1));
  point[31] &= 0x7f;
  if (LOW_ORDER.has(point.toString("hex"))) throw new Error("a key of low order");
}

class Sessions extends signal.SessionStore {
  #records = new Map();
  async saveSession(address, record) {
    this.#records.set(address.toString(), record.serialize());
  }
  async getSession(address) {
    const record = this.#records.get(address.toString());
    return record ? signal.SessionRecord.deserialize(record) : null;
  }
  async getExistingSessions(addresses) {
    return Promise.all(addresses.map((address) => this.getSession(address)));
  }
}

class Identities extends signal.IdentityKeyStore {
  #pinned = new Map();
  constructor(pair, registrationId) {
    super();
    this.pair = pair;
    this.registrationId = registrationId;
  }
  async getIdentityKey() {
    return this.pair.privateKey;
  }
  async getLocalRegistrationId() {
    return this.registrationId;
  }
  async saveIdentity(address, key) {
    const before = this.#pinned.get(address.toString());
    this.#pinned.set(address.toString(), key);
    const changed = before !== undefined && before.compare(key) !== 0;
    return changed ? signal.IdentityChange.ReplacedExisting : signal.IdentityChange.NewOrUnchanged;
  }
  async isTrustedIdentity(address, key) {
    const pinned = this.#pinned.get(address.toString());
    return pinned === undefined || pinned.compare(key) === 0;
  }
  async getIdentity(address) {
    return this.#pinned.get(address.toString()) ?? null;
  }
}

class Shelf {
  #records = new Map();
  put(id, record) {
    this.#records.set(id, record);
  }
  get(id) {
    const record = this.#records.get(id);
    if (record === undefined) throw new Error("no such prekey");
    return record;
  }
  drop(id) {
    this.#records.delete(id);
  }
}

class Prekeys extends signal.PreKeyStore {
  shelf = new Shelf();
  async savePreKey(id, record) {
    this.shelf.put(id, record);
  }
  async getPreKey(id) {
    return this.shelf.get(id);
  }
  async removePreKey(id) {
    this.shelf.drop(id);
  }
}

class SignedPrekeys extends signal.SignedPreKeyStore {
  shelf = new Shelf();
  async saveSignedPreKey(id, record) {
    this.shelf.put(id, record);
  }
  async getSignedPreKey(id) {
    return this.shelf.get(id);
  }
}

class KemPrekeys extends signal.KyberPreKeyStore {
  shelf = new Shelf();
  lastResort = 0;
  #used = new Set();
  async saveKyberPreKey(id, record) {
    this.shelf.put(id, record);
  }
  async getKyberPreKey(id) {
    return this.shelf.get(id);
  }
  async markKyberPreKeyUsed(id, signedId, baseKey) {
    if (id !== this.lastResort) {
      this.shelf.drop(id);
      return;
    }
    const use = `${id} ${signedId} ${Buffer.from(baseKey.serialize()).toString("hex")}`;
    if (this.#used.has(use)) throw new Error("the last-resort prekey was used so before");
    this.#used.add(use);
  }
}

export class Device {
  constructor() {
    const pair = signal.IdentityKeyPair.generate();
    this.identities = new Identities(pair, 1 + Math.floor(Math.random() * 0x3fff));
    this.sessions = new Sessions();
    this.prekeys = new Prekeys();
    this.signedPrekeys = new SignedPrekeys();
    this.kemPrekeys = new KemPrekeys();
  }

  /** Makes prekeys and answers the PrekeyUpload that brings their public halves to the relay. */
  async upload({ oneTime, kem }) {
    const { pair, registrationId } = this.identities;
    const now = Date.now();
    const bytes = (key) => Buffer.from(key.serialize());
    const sign = (message) => Buffer.from(pair.privateKey.sign(message));
    const oneTimePrekeys = [];
    for (let id = 1; id <= oneTime; id += 1) {
      const secret = signal.PrivateKey.generate();
      await this.prekeys.savePreKey(id, signal.PreKeyRecord.new(id, secret.getPublicKey(), secret));
      oneTimePrekeys.push({ id, public_key: bytes(secret.getPublicKey()) });
    }
    const kemPrekey = async (id) => {
      const keys = signal.KEMKeyPair.generate();
      const public_key = bytes(keys.getPublicKey());
      const signature = sign(public_key);
      await this.kemPrekeys.saveKyberPreKey(id, signal.KyberPreKeyRecord.new(id, now, keys, signature));
      return { id, public_key, signature };
    };
    const kemPrekeys = [];
    for (let id = 1; id <= kem; id += 1) kemPrekeys.push(await kemPrekey(id));
    this.kemPrekeys.lastResort = kem + 1;
    const secret = signal.PrivateKey.generate();
    const public_key = bytes(secret.getPublicKey());
    const signature = sign(public_key);
    await this.signedPrekeys.saveSignedPreKey(
      1,
      signal.SignedPreKeyRecord.new(1, now, secret.getPublicKey(), secret, signature),
    );
    return {
      identity_key: bytes(pair.publicKey),
      registration_id: registrationId,
      signed_prekey: { id: 1, public_key, signature },
      one_time_prekeys: oneTimePrekeys,
      kem_prekeys: kemPrekeys,
      last_resort_kem_prekey: await kemPrekey(kem + 1),
    };
  }

  /** Decrypts an envelope of the relay. */
  async decrypt(address, type, ciphertext) {
    if (type === signal.CiphertextMessageType.PreKey) {
      const message = signal.PreKeySignalMessage.deserialize(ciphertext);
      return Buffer.from(
        await signal.signalDecryptPreKey(
          message,
          address,
          this.sessions,
          this.identities,
          this.prekeys,
          this.signedPrekeys,
          this.kemPrekeys,
        ),
      );
    }
    const message = signal.SignalMessage.deserialize(ciphertext);
    return Buffer.from(await signal.signalDecrypt(message, address, this.sessions, this.identities));
  }

  /** Starts a session from a bundle. */
  async begin(address, identityKey, device) {
    refuseLowOrder(identityKey);
    refuseLowOrder(device.signed_prekey.public_key);
    if (device.one_time_prekey) refuseLowOrder(device.one_time_prekey.public_key);
    const key = (bytes) => signal.PublicKey.deserialize(bytes);
    const bundle = signal.PreKeyBundle.new(
      device.registration_id,
      device.device_id,
      device.one_time_prekey ? device.one_time_prekey.id : null,
      device.one_time_prekey ? key(device.one_time_prekey.public_key) : null,
      device.signed_prekey.id,
      key(device.signed_prekey.public_key),
      device.signed_prekey.signature,
      key(identityKey),
      device.kem_prekey.id,
      signal.KEMPublicKey.deserialize(device.kem_prekey.public_key),
      device.kem_prekey.signature,
    );
    await signal.processPreKeyBundle(bundle, address, this.sessions, this.identities);
  }

  /** Whether a message can be encrypted to `address` now. */
  async hasSession(address) {
    const session = await this.sessions.getSession(address);
    return session !== null && session.hasCurrentState();
  }

  /** The identity key pinned for `address`. */
  async pinned(address) {
    const key = await this.identities.getIdentity(address);
    return key && Buffer.from(key.serialize());
  }

  /** Encrypts a frame. */
  async encrypt(address, frame) {
    const message = await signal.signalEncrypt(frame, address, this.sessions, this.identities);
    return { type: message.type(), ciphertext: Buffer.from(message.serialize()) };
  }
}

export const addressOf = (numberId) => signal.ProtocolAddress.new(numberId, 1);
