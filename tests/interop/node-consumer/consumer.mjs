// A consumer with Signal's own Node client, from docs/device-protocol.md, the protos and run.json, and nothing else.
//
//   node consumer.mjs RUN_JSON PROTO_FOLDER PHONE
//
// Registers PHONE, prints one JSON object a line for what happens, sends each line of its input to the business that wrote
// last (or to the first one of run.json), and ends with its input. State is in memory: a program that stays keeps it on disk.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protobuf from "protobufjs";

import { decodeFrame, encodeFrame, pad, unpad } from "./frame.mjs";
import { Device, addressOf, refuseLowOrder } from "./keys.mjs";

const [runFile, protoFolder, phone] = process.argv.slice(2);
const run = JSON.parse(readFileSync(runFile, "utf8"));
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const wamid = (id) => `wamid.${Buffer.from(id).toString("base64url")}`;

const services = grpc.loadPackageDefinition(
  protoLoader.loadSync("sealpost/relay/v1/device.proto", {
    includeDirs: [protoFolder],
    keepCase: true,
    longs: String,
    enums: String,
    arrays: true,
  }),
);
const types = new protobuf.Root();
types.resolvePath = (_, target) => path.join(protoFolder, target);
types.loadSync(["sealpost/content/v1/content.proto", "sealpost/signal/v1/signal.proto"], { keepCase: true });
const Content = types.lookupType("sealpost.content.v1.Content");
const BundleStatement = types.lookupType("sealpost.signal.v1.BundleStatement");

const relay = new services.sealpost.relay.v1.DeviceService(
  new URL(run.relay.url).host,
  grpc.credentials.createSsl(readFileSync(run.tls.ca)),
  { "grpc.max_receive_message_length": 4 * 1024 * 1024 },
);
let metadata = new grpc.Metadata();
const call = (method, request) =>
  new Promise((resolve, reject) => {
    relay[method](request, metadata, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

const device = new Device();

async function register() {
  const codes = () =>
    readFileSync(run.relay.codes_file, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line))
      .filter((sent) => sent.phone_number === phone);
  const before = codes().length;
  await call("RequestCode", { phone_number: phone });
  let sent = codes();
  for (let look = 0; sent.length <= before && look < 200; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    sent = codes();
  }
  const upload = await device.upload({ oneTime: 20, kem: 5 });
  const registered = await call("Register", { phone_number: phone, code: sent.at(-1).code, upload });
  metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${registered.device_token}`);
  return registered.device_id;
}

// Envelopes and lines of input take turns: each step has the stores to itself.
let turn = Promise.resolve();
const inTurn = (step) => {
  turn = turn.then(step).catch(fail);
  return turn;
};
const fail = (error) => {
  say({ event: "failed", error: String(error.details ?? error) });
  process.exit(1);
};

const seen = new Set();
let talkingWith = run.numbers[0];

async function take(stream, envelope) {
  const number = envelope.phone_number_id;
  const type = { CIPHERTEXT_TYPE_MESSAGE: 2, CIPHERTEXT_TYPE_PREKEY_MESSAGE: 3 }[envelope.type];
  const key = `${number} ${wamid(envelope.message_id)}`;
  const acknowledge = () => stream.write({ acknowledge: [envelope.queue_id] });
  const receipt = (kind) =>
    call("SendReceipts", {
      receipts: [{ phone_number_id: number, message_id: envelope.message_id, kind, time_ms: Date.now() }],
    });
  let frame;
  try {
    frame = decodeFrame(await device.decrypt(addressOf(number), type, envelope.ciphertext));
    const fits = frame.from === number && frame.to === phone && frame.messageId.equals(envelope.message_id);
    if (!fits) throw new Error("the frame speaks of someone else");
  } catch (error) {
    if (!seen.has(key)) {
      say({ event: "undecryptable", message_id: wamid(envelope.message_id), error: String(error) });
      await call("RequestRetry", {
        phone_number_id: number,
        message_id: envelope.message_id,
        failed_attempt: envelope.attempt,
      });
      acknowledge();
      return;
    }
  }
  acknowledge();
  await receipt("RECEIPT_KIND_DELIVERED");
  if (seen.has(key)) return;
  seen.add(key);
  talkingWith = run.numbers.find((known) => known.phone_number_id === number) ?? talkingWith;
  const content = Content.decode(unpad(frame.padded));
  say({
    event: "message",
    message_id: wamid(envelope.message_id),
    type,
    frame: { from: frame.from, to: frame.to, time: Number(frame.time), category: frame.category },
    padded_length: frame.padded.length,
    body: content.text?.body ?? null,
  });
}

// Starts a session; a first one pins the identity key, a later one is only begun under it.
async function begin(business, pinned) {
  const answer = await call("FetchBusinessBundle", { phone_number: business.phone_number });
  const statement = BundleStatement.decode(answer.bundle.statement);
  const fits =
    statement.domain === "sealpost/prekey-bundle/v1" &&
    statement.requester === phone &&
    statement.peer === answer.phone_number_id &&
    Number(statement.expires_at_ms) > Date.now() &&
    statement.devices.length === 1 &&
    statement.devices[0].device_id === 1 &&
    (!pinned || Buffer.from(statement.identity_key).equals(pinned));
  if (!fits) throw new Error("the bundle speaks of someone else");
  refuseLowOrder(statement.identity_key);
  await device.begin(addressOf(business.phone_number_id), statement.identity_key, statement.devices[0]);
  return Buffer.from(statement.identity_key);
}

// What the business may ask for again, by envelope id. A program that stays asks CheckEnvelopes what it may forget.
const kept = new Map();
let sessions = 0;

async function handOver(message, attempt) {
  const address = addressOf(message.business.phone_number_id);
  const { type, ciphertext } = await device.encrypt(address, message.frame);
  kept.set(message.envelopeId.toString("hex"), { ...message, attempt, session: sessions });
  const { outcomes } = await call("SubmitMessages", {
    messages: [
      {
        envelope_id: message.envelopeId,
        phone_number_id: message.business.phone_number_id,
        type,
        ciphertext,
        attempt,
      },
    ],
  });
  if (outcomes[0] !== "SUBMIT_MESSAGE_OUTCOME_ACCEPTED") throw new Error(`the relay answered ${outcomes[0]}`);
  return type;
}

// A business could not decrypt a message: the same again, from the second try on over another session.
async function takeRequest(stream, request) {
  stream.write({ acknowledge: [request.queue_id] });
  const id = Buffer.from(request.envelope_id).toString("hex");
  const message = kept.get(id);
  const failed = request.failed_attempt ?? 0;
  const known = message?.business.phone_number_id === request.phone_number_id && message.attempt === failed;
  if (!known) return;
  const attempt = failed + 1;
  if (attempt > 5) {
    kept.delete(id);
    say({ event: "send_failed" });
    return;
  }
  if (attempt >= 2 && message.session === sessions) {
    await begin(message.business, await device.pinned(addressOf(request.phone_number_id)));
    sessions += 1;
  }
  say({ event: "sent_again", attempt, type: await handOver(message, attempt) });
}

async function send(words) {
  const address = addressOf(talkingWith.phone_number_id);
  if (!(await device.hasSession(address))) await begin(talkingWith);
  const messageId = randomBytes(16);
  const content = Buffer.from(Content.encode(Content.create({ text: { body: words } })).finish());
  const frame = encodeFrame({
    messageId,
    from: phone,
    to: talkingWith.phone_number_id,
    time: Date.now(),
    category: 1,
    padded: pad(content),
  });
  const type = await handOver({ envelopeId: randomBytes(16), business: talkingWith, frame }, 0);
  say({ event: "sent", message_id: wamid(messageId), type });
}

const id = await register().catch(fail);
say({ event: "registered", device_id: id });
const stream = relay.Receive(metadata);
stream.on("data", (page) => {
  for (const envelope of page.envelopes) inTurn(() => take(stream, envelope));
  for (const request of page.requests) inTurn(() => takeRequest(stream, request));
});
stream.on("error", fail);
stream.write({});
for await (const line of createInterface({ input: process.stdin })) await inTurn(() => send(line));
stream.removeAllListeners("error");
stream.on("error", () => {});
stream.cancel();
relay.close();
