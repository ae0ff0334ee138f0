"""Opens every vector of docs/vectors/envelope.json with Python's `cryptography`, and refuses every negative one.

Written from docs/wire-format.md alone. Usage: open_vectors.py VECTORS [SEALED]; into SEALED goes a wrap and a message
sealed here, for the Rust side to open.
"""

import hashlib
import hmac
import json
import os
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
SUITE_ID = bytes.fromhex("647a00010002")
SKEW_MS = 5 * 60 * 1000
TWO_HOURS_MS = 2 * 60 * 60 * 1000
LEAST_PADDED, MOST_CONTENT = 256, 64 * 1024
P = 2**255 - 19
LOW_ORDER_X25519 = {
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
}


class Refused(Exception):
    """Its only argument is the reason's name."""


def refuse_unless(condition, reason):
    if not condition:
        raise Refused(reason)


class Reader:
    """Strict reading of big-endian fields."""

    def __init__(self, data):
        self.data = data

    def take(self, length):
        refuse_unless(len(self.data) >= length, "MALFORMED")
        taken, self.data = self.data[:length], self.data[length:]
        return taken

    def integer(self, length):
        return int.from_bytes(self.take(length), "big")

    def field(self, length=None):
        value = self.take(self.integer(2))
        refuse_unless(length is None or len(value) == length, "MALFORMED")
        return value

    def domain(self, domain):
        refuse_unless(self.field() == domain, "MALFORMED")
        refuse_unless(self.field(1) == b"\x01", "UNSUPPORTED_VERSION")

    def finish(self):
        refuse_unless(not self.data, "MALFORMED")


def field(value):
    return len(value).to_bytes(2, "big") + value


def digits(value, least, most):
    good = least <= len(value) <= most and all(0x30 <= byte <= 0x39 for byte in value)
    refuse_unless(good, "MALFORMED")
    return value.decode("ascii")


def short_hash(data):
    return hashlib.sha256(data).digest()[:16]


# Keys


def hpke_private_key(seed):
    """X-Wing: SHAKE256 expands the seed to ML-KEM-768's 64-byte seed and X25519's 32 bytes."""
    expanded = hashlib.shake_256(seed).digest(96)
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(ml_kem, x25519), public


def low_order_x25519(data):
    return int.from_bytes(data[-32:], "little") % 2**255 in LOW_ORDER_X25519


def hpke_public_key(raw):
    refuse_unless(not low_order_x25519(raw), "INVALID_KEY")
    try:
        ml_kem = MLKEM768PublicKey.from_public_bytes(raw[:1184])
        return MLKEM768X25519PublicKey(ml_kem, X25519PublicKey.from_public_bytes(raw[1184:]))
    except ValueError:
        raise Refused("INVALID_KEY") from None


def small_order_ed25519(raw):
    """Multiplies the point by the cofactor; None for bytes that are no canonical point."""
    d = -121665 * pow(121666, -1, P) % P
    encoded = int.from_bytes(raw, "little")
    y, sign = encoded % 2**255, encoded >> 255
    if y >= P:
        return None
    square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    for _ in range(3):
        product = d * x * x % P * y * y % P
        x, y = (
            2 * x * y * pow(1 + product, -1, P) % P,
            (y * y + x * x) * pow(1 - product, -1, P) % P,
        )
    return x == 0 and y == 1


def verification_key(raw):
    refuse_unless(small_order_ed25519(raw) is False, "INVALID_KEY")
    return Ed25519PublicKey.from_public_bytes(raw)


def verify(public_key, signature, message):
    try:
        verification_key(public_key).verify(signature, message)
    except InvalidSignature:
        raise Refused("BAD_SIGNATURE") from None


def check_time(not_before, not_after, now):
    refuse_unless(now >= not_before - SKEW_MS, "KEY_NOT_YET_VALID")
    refuse_unless(now <= not_after, "KEY_EXPIRED")


# Wrap


def parse_context(data):
    reader = Reader(data)
    reader.domain(b"sealpost/wrap")
    refuse_unless(reader.field(6) == SUITE_ID, "UNSUPPORTED_SUITE")
    context = {"direction": reader.field(1)[0]}
    refuse_unless(context["direction"] in (1, 2), "MALFORMED")
    context["number"] = digits(reader.field(), 1, 32)
    context["sender"] = reader.field(16)
    context["recipient"] = reader.field(16)
    context["not_before"] = int.from_bytes(reader.field(8), "big")
    context["not_after"] = int.from_bytes(reader.field(8), "big")
    context["nonce"] = reader.field(16)
    reader.finish()
    length = context["not_after"] - context["not_before"]
    refuse_unless(0 < length <= TWO_HOURS_MS, "INVALID_VALIDITY")
    return context


def open_wrap(wire, number, direction, sender_public_key, recipient_seed, now):
    reader = Reader(wire)
    context_bytes = reader.field()
    enc, ct, signature = reader.take(1120), reader.take(48), reader.take(64)
    reader.finish()
    context = parse_context(context_bytes)
    refuse_unless(context["number"] == number, "WRONG_NUMBER")
    refuse_unless(context["direction"] == direction, "WRONG_DIRECTION")
    refuse_unless(context["sender"] == short_hash(sender_public_key), "WRONG_SENDER")
    verify(sender_public_key, signature, context_bytes + enc + ct)
    private_key, public_key = hpke_private_key(recipient_seed)
    refuse_unless(context["recipient"] == short_hash(public_key), "WRONG_RECIPIENT")
    check_time(context["not_before"], context["not_after"], now)
    refuse_unless(not low_order_x25519(enc), "UNDECRYPTABLE")
    try:
        context["key"] = SUITE.decrypt(enc + ct, private_key, info=context_bytes)
    except InvalidTag:
        raise Refused("UNDECRYPTABLE") from None
    context["id"] = short_hash(wire[2:])
    return context


def seal_wrap(number, direction, sender_seed, recipient_public_key, not_before, not_after):
    sender = Ed25519PrivateKey.from_private_bytes(sender_seed)
    context = (
        field(b"sealpost/wrap")
        + field(b"\x01")
        + field(SUITE_ID)
        + field(bytes([direction]))
        + field(number.encode())
        + field(short_hash(sender.public_key().public_bytes_raw()))
        + field(short_hash(recipient_public_key))
        + field(not_before.to_bytes(8, "big"))
        + field(not_after.to_bytes(8, "big"))
        + field(os.urandom(16))
    )
    content_key = os.urandom(32)
    sealed = SUITE.encrypt(content_key, hpke_public_key(recipient_public_key), info=context)
    signature = sender.sign(context + sealed)
    return content_key, field(context) + sealed + signature


# Message


def padme(length):
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def pad(content):
    return (content + b"\x80").ljust(padme(max(len(content) + 1, LEAST_PADDED)), b"\x00")


def unpad(padded):
    content = padded.rstrip(b"\x00")
    refuse_unless(content.endswith(b"\x80"), "BAD_PADDING")
    content = content[:-1]
    refuse_unless(len(content) <= MOST_CONTENT and pad(content) == padded, "BAD_PADDING")
    return content


def parse_header(data):
    reader = Reader(data)
    refuse_unless(reader.integer(1) == 1, "UNSUPPORTED_VERSION")
    header = {"direction": reader.integer(1)}
    refuse_unless(header["direction"] in (1, 2, 3), "MALFORMED")
    header["number"] = digits(reader.take(reader.integer(1)), 1, 32)
    header["peer"] = digits(reader.take(reader.integer(1)), 7, 15)
    refuse_unless(header["peer"][0] != "0", "MALFORMED")
    header["message_id"] = reader.take(16)
    header["category"] = reader.integer(1)
    refuse_unless(header["category"] in (1, 2, 3, 4), "MALFORMED")
    header["content_key_id"] = reader.take(16)
    header["time"] = reader.integer(8)
    reader.finish()
    return header


def message_key(content_key, message_id):
    info = b"sealpost/message" + message_id
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(content_key)


def open_message(wrap, header_bytes, body, now):
    header = parse_header(header_bytes)
    refuse_unless(header["content_key_id"] == wrap["id"], "WRONG_CONTENT_KEY")
    refuse_unless(header["number"] == wrap["number"], "WRONG_NUMBER")
    refuse_unless(min(header["direction"], 2) == wrap["direction"], "WRONG_DIRECTION")
    check_time(wrap["not_before"], wrap["not_after"], now)
    refuse_unless(len(body) >= 12 + 16, "UNDECRYPTABLE")
    key = message_key(wrap["key"], header["message_id"])
    try:
        padded = AESGCM(key).decrypt(body[:12], body[12:], header_bytes)
    except InvalidTag:
        raise Refused("UNDECRYPTABLE") from None
    refuse_unless(len(padded) >= LEAST_PADDED and padme(len(padded)) == len(padded), "BAD_PADDING")
    is_status = header["direction"] == 3
    refuse_unless(not is_status or len(padded) == LEAST_PADDED, "STATUS_WITH_CONTENT")
    content = unpad(padded)
    refuse_unless(not is_status or not content, "STATUS_WITH_CONTENT")
    return header, key, padded, content


def seal_message(content_key, content_key_id, number, direction, peer, message_id, time, content):
    header = (
        bytes([1, direction, len(number)])
        + number.encode()
        + bytes([len(peer)])
        + peer.encode()
        + message_id
        + b"\x01"
        + content_key_id
        + time.to_bytes(8, "big")
    )
    nonce = os.urandom(12)
    key = message_key(content_key, message_id)
    return header, nonce + AESGCM(key).encrypt(nonce, pad(content), header)


# Signed statements


def signed_statement(wire, public_key):
    reader = Reader(wire)
    statement, signature = reader.field(), reader.take(64)
    reader.finish()
    verify(public_key, signature, statement)
    return Reader(statement)


def open_vault_key(wire, number, signer_public_key, now, highest_sequence):
    reader = signed_statement(wire, signer_public_key)
    reader.domain(b"sealpost/vault-key")
    stated_number, key_id = digits(reader.field(), 1, 32), reader.field(16)
    sequence, not_before, not_after = (int.from_bytes(reader.field(8), "big") for _ in range(3))
    public_key = reader.field(1216)
    reader.finish()
    hpke_public_key(public_key)
    refuse_unless(key_id == short_hash(public_key), "WRONG_KEY_ID")
    refuse_unless(not_before < not_after, "INVALID_VALIDITY")
    refuse_unless(stated_number == number, "WRONG_NUMBER")
    check_time(not_before, not_after, now)
    refuse_unless(sequence >= highest_sequence, "STALE_SEQUENCE")
    return public_key, sequence


def open_rotation(wire, number, pinned_public_key):
    reader = signed_statement(wire, pinned_public_key)
    reader.domain(b"sealpost/vault-signing-key")
    stated_number, old_id = digits(reader.field(), 1, 32), reader.field(16)
    new_key = reader.field(32)
    reader.finish()
    verification_key(new_key)
    refuse_unless(stated_number == number, "WRONG_NUMBER")
    refuse_unless(old_id == short_hash(pinned_public_key), "WRONG_KEY_ID")
    return new_key


# The vectors

mismatches = []
checked = 0


def expect(name, made, stored):
    global checked
    checked += 1
    if made != stored:
        mismatches.append(f"{name}: {made!r} is not {stored!r}")


def expect_refusal(case, attempt):
    global checked
    checked += 1
    try:
        attempt()
        mismatches.append(f"{case['name']}: accepted, not {case['error']}")
    except Refused as refused:
        if refused.args[0] != case["error"]:
            mismatches.append(f"{case['name']}: {refused.args[0]}, not {case['error']}")


def octets(case, name):
    return bytes.fromhex(case[name])


def check(document):
    for case in document["message_ids"]:
        message = case["number"].encode() + b"\x00" + octets(case, "idempotency_key")
        made = hmac.digest(octets(case, "key"), message, "sha256")[:16]
        expect("message id", made, octets(case, "message_id"))
    for case in document["padding"]:
        expect("padding", len(pad(bytes(case["content_length"]))), case["padded_length"])

    def reopen(case, **other):
        facts = {**case, **other}
        return open_wrap(
            octets(facts, "wire"),
            facts["number"],
            facts["direction"],
            octets(case, "sender_public_key"),
            octets(case, "recipient_seed"),
            facts["now"],
        )

    wraps, opened = {}, {}
    for case in document["wraps"]:
        name = case["name"]
        signing = Ed25519PrivateKey.from_private_bytes(octets(case, "sender_seed"))
        expect(name, signing.public_key().public_bytes_raw(), octets(case, "sender_public_key"))
        _, public_key = hpke_private_key(octets(case, "recipient_seed"))
        expect(name, public_key, octets(case, "recipient_public_key"))
        wrap = reopen(case)
        expect(name, wrap["key"], octets(case, "content_key"))
        expect(name, wrap["id"], octets(case, "content_key_id"))
        expect(name, wrap["nonce"], octets(case, "nonce"))
        context = octets(case, "context")
        parts = context + octets(case, "enc") + octets(case, "ct") + octets(case, "signature")
        expect(name, len(context).to_bytes(2, "big") + parts, octets(case, "wire"))
        # Ed25519 is deterministic: our signature must be the same.
        expect(name, signing.sign(parts[:-64]), octets(case, "signature"))
        wraps[name], opened[name] = case, wrap

    for case in document["messages"]:
        name = case["name"]
        header, key, padded, content = open_message(
            opened[case["wrap"]], octets(case, "header"), octets(case, "body"), case["now"]
        )
        for fact in ("direction", "peer", "category", "time"):
            expect(name, header[fact], case[fact])
        expect(name, header["message_id"], octets(case, "message_id"))
        expect(name, key, octets(case, "message_key"))
        expect(name, padded, octets(case, "padded"))
        expect(name, content, octets(case, "content"))

    def verify_vault_key(case):
        return open_vault_key(
            octets(case, "wire"),
            case["number"],
            octets(case, "signer_public_key"),
            case["now"],
            case["highest_sequence"],
        )

    for case in document["vault_keys"]:
        stated = (octets(case, "public_key"), case["sequence"])
        expect(case["name"], verify_vault_key(case), stated)
        fingerprint = hashlib.sha256(octets(case, "signer_public_key")).hexdigest()
        expect(case["name"], fingerprint, case["signer_fingerprint"])
    for case in document["rotations"]:
        new_key = open_rotation(octets(case, "wire"), case["number"], octets(case, "old_public_key"))
        expect(case["name"], new_key, octets(case, "new_public_key"))
        expect(case["name"], hashlib.sha256(new_key).hexdigest(), case["new_fingerprint"])

    for case in document["refused_wraps"]:
        facts = {key: case[key] for key in ("number", "direction", "now", "wire")}
        expect_refusal(case, lambda: reopen(wraps[case["wrap"]], **facts))
    for case in document["refused_messages"]:
        wrap, header, body = opened[case["wrap"]], octets(case, "header"), octets(case, "body")
        expect_refusal(case, lambda: open_message(wrap, header, body, case["now"]))
    for case in document["refused_vault_keys"]:
        expect_refusal(case, lambda: verify_vault_key(case))
    for case in document["refused_rotations"]:
        pinned = octets(case, "pinned_public_key")
        expect_refusal(case, lambda: open_rotation(octets(case, "wire"), case["number"], pinned))
    return wraps


def seal(case, path):
    content_key, wire = seal_wrap(
        case["number"],
        case["direction"],
        octets(case, "sender_seed"),
        octets(case, "recipient_public_key"),
        case["not_before"],
        case["not_after"],
    )
    header, body = seal_message(
        content_key,
        short_hash(wire[2:]),
        case["number"],
        case["direction"],
        "15551234567",
        os.urandom(16),
        case["now"],
        b"sealed elsewhere",
    )
    sealed = {"wrap": wire.hex(), "header": header.hex(), "body": body.hex()}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(sealed, file)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        wraps = check(json.load(file))
    if len(sys.argv) > 2:
        seal(wraps["outbound"], sys.argv[2])
    for mismatch in mismatches:
        print(f"python: {mismatch}", file=sys.stderr)
    print(f"python: {checked} checks, {len(mismatches)} mismatches")
    return 1 if mismatches or not checked else 0


sys.exit(main())
