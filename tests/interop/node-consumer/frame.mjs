// The frame inside every Signal message, and the padding inside the frame (docs/device-protocol.md, "Frame").

export function padme(length) {
  const e = Math.floor(Math.log2(length));
  const s = Math.floor(Math.log2(e)) + 1;
  const step = 2 ** (e - s);
  return Math.ceil(length / step) * step;
}

export function pad(content) {
  const padded = Buffer.alloc(padme(Math.max(content.length + 1, 256)));
  padded.set(content);
  padded[content.length] = 0x80;
  return padded;
}

export function unpad(padded) {
  let end = padded.length;
  while (end > 0 && padded[end - 1] === 0) end -= 1;
  if (end === 0 || padded[end - 1] !== 0x80) throw new Error("padding has no mark");
  const content = padded.subarray(0, end - 1);
  if (pad(content).length !== padded.length) throw new Error("padding of another length");
  return content;
}

export function encodeFrame({ messageId, from, to, time, category, padded }) {
  const field8 = (text) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text, "ascii")]);
  const numbers = Buffer.alloc(13);
  numbers.writeBigUInt64BE(BigInt(time), 0);
  numbers.writeUInt8(category, 8);
  numbers.writeUInt32BE(padded.length, 9);
  return Buffer.concat([Buffer.from([1]), messageId, field8(from), field8(to), numbers, padded]);
}

export function decodeFrame(bytes) {
  let at = 0;
  const take = (length) => {
    if (at + length > bytes.length) throw new Error("the frame ends early");
    at += length;
    return bytes.subarray(at - length, at);
  };
  if (take(1)[0] !== 1) throw new Error("a frame of another version");
  const messageId = take(16);
  const from = take(take(1)[0]).toString("ascii");
  const to = take(take(1)[0]).toString("ascii");
  const time = take(8).readBigUInt64BE();
  const category = take(1)[0];
  const padded = take(take(4).readUInt32BE());
  if (at !== bytes.length) throw new Error("bytes after the frame");
  return { messageId, from, to, time, category, padded };
}
