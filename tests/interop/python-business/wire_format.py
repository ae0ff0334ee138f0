"""The bytes of sealed content, after docs/wire-format.md: vault key statements, wraps, headers and bodies.

Knows no gateway. Whatever does not hold raises `Refused` with the page's word for it.
"""

import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys import (
    HPKE,
    VERSION,
    Fields,
    Refused,
    Validity,
    check_signature,
    digits,
    ensure,
    field,
    hpke_public_key,
    id_of,
    low_order_x25519,
    phone,
    u64,
)

SUITE = b"\x64\x7a\x00\x01\x00\x02"
OUTBOUND, INBOUND, STATUS = 1, 2, 3
CATEGORIES = {1: "service", 2: "utility", 3: "authentication", 4: "marketing"}
TWO_HOURS = 7_200_000


# A vault HPKE key


@dataclass
class VaultKey:
    public: bytes
    sequence: int
    validity: Validity


def open_vault_key(wire, number, signer, now, highest_sequence):
    outer = Fields(wire)
    statement, signature = outer.field(), outer.raw(64)
    outer.end()
    check_signature(signer, signature, statement)
    inner = Fields(statement)
    inner.begin(b"sealpost/vault-key")
    named, key_id, sequence = digits(inner.field(), 1, 32), inner.field(16), inner.u64()
    validity, public = Validity(inner.u64(), inner.u64()), inner.field(1216)
    inner.end()
    hpke_public_key(public)
    ensure(key_id == id_of(public), "WRONG_KEY_ID")
    validity.shape()
    ensure(named == number, "WRONG_NUMBER")
    validity.holds(now)
    ensure(sequence >= highest_sequence, "STALE_SEQUENCE")
    return VaultKey(public, sequence, validity)


# Wraps


@dataclass
class ContentKey:
    id: bytes
    secret: bytes
    number: str
    direction: int
    validity: Validity
    wrap: bytes


def make_wrap(number, signing_seed, vault_key, now):
    """A new content key, wrapped to the vault: for two hours, and no longer than the vault's key is good."""
    signing = Ed25519PrivateKey.from_private_bytes(signing_seed)
    validity = Validity(now, min(now + TWO_HOURS, vault_key.validity.not_after))
    validity.shape(TWO_HOURS)
    parts = [b"sealpost/wrap", VERSION, SUITE, bytes([OUTBOUND]), number.encode()]
    parts += [id_of(signing.public_key().public_bytes_raw()), id_of(vault_key.public)]
    context = b"".join(map(field, parts)) + u64(validity.not_before) + u64(validity.not_after) + field(os.urandom(16))
    secret = os.urandom(32)
    signed = context + HPKE.encrypt(secret, hpke_public_key(vault_key.public), info=context)
    signature = signing.sign(signed)
    wrap = field(context) + signed[len(context) :] + signature
    return ContentKey(id_of(signed + signature), secret, number, OUTBOUND, validity, wrap)


def open_wrap(wire, signers, recipient, now):
    """Opens a vault's wrap. `signers`: the verified vault signing key of each of our numbers."""
    outer = Fields(wire)
    context, sealed, signature = outer.field(), outer.raw(1120 + 48), outer.raw(64)
    outer.end()
    inner = Fields(context)
    inner.begin(b"sealpost/wrap")
    ensure(inner.field(6) == SUITE, "UNSUPPORTED_SUITE")
    direction = inner.field(1)[0]
    ensure(direction in (OUTBOUND, INBOUND), "MALFORMED")
    number, sender, to = digits(inner.field(), 1, 32), inner.field(16), inner.field(16)
    validity = Validity(inner.u64(), inner.u64())
    inner.field(16)
    inner.end()
    validity.shape(TWO_HOURS)
    ensure(number in signers, "WRONG_NUMBER")
    ensure(direction == INBOUND, "WRONG_DIRECTION")
    ensure(sender == id_of(signers[number]), "WRONG_SENDER")
    check_signature(signers[number], signature, context + sealed)
    ensure(to == recipient.id, "WRONG_RECIPIENT")
    validity.holds(now)
    ensure(not low_order_x25519(sealed[1088:1120]), "UNDECRYPTABLE")
    try:
        secret = HPKE.decrypt(sealed, recipient.private, info=context)
    except InvalidTag:
        raise Refused("UNDECRYPTABLE") from None
    return ContentKey(id_of(context + sealed + signature), secret, number, direction, validity, wire)


# Messages


@dataclass
class Header:
    direction: int
    number: str
    peer: str
    message_id: bytes
    category: int
    content_key_id: bytes
    time: int


def parse_header(raw):
    reader = Fields(raw)
    ensure(reader.raw(1) == VERSION, "UNSUPPORTED_VERSION")
    direction, number = reader.number(1), digits(reader.raw(reader.number(1)), 1, 32)
    peer, message_id = phone(reader.raw(reader.number(1))), reader.raw(16)
    header = Header(direction, number, peer, message_id, reader.number(1), reader.raw(16), reader.number(8))
    reader.end()
    ensure(direction in (OUTBOUND, INBOUND, STATUS) and header.category in CATEGORIES, "MALFORMED")
    return header


def message_id_of(key, number, idempotency_key):
    return hmac.digest(key, number.encode() + b"\x00" + idempotency_key.encode(), "sha256")[:16]


def aead(content_key, message_id):
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sealpost/message" + message_id)
    return AESGCM(derive.derive(content_key.secret))


def padded_length(length):
    length = max(length + 1, 256)
    exponent = length.bit_length() - 1
    step = 1 << exponent - exponent.bit_length()
    return -(-length // step) * step


def pad(content):
    ensure(len(content) <= 65_536, "CONTENT_TOO_LONG")
    return (content + b"\x80").ljust(padded_length(len(content)), b"\x00")


def unpad(padded):
    content, mark, zeros = padded.rpartition(b"\x80")
    ensure(mark and not zeros.strip(b"\x00") and len(content) <= 65_536 and pad(content) == padded, "BAD_PADDING")
    return content


def seal(content_key, peer, message_id, category, now, content):
    """A business's message: header and body."""
    number = content_key.number
    header = bytes([1, OUTBOUND, len(number)]) + number.encode() + bytes([len(peer)]) + peer.encode() + message_id
    header += bytes([category]) + content_key.id + now.to_bytes(8, "big")
    nonce = os.urandom(12)
    return header, nonce + aead(content_key, message_id).encrypt(nonce, pad(content), header)


def open_message(raw_header, body, content_keys, now):
    """Opens a vault's message or status. `content_keys`: by id."""
    header = parse_header(raw_header)
    content_key = content_keys.get(header.content_key_id)
    ensure(content_key is not None, "UNKNOWN_CONTENT_KEY")
    ensure(content_key.number == header.number, "WRONG_NUMBER")
    ensure(header.direction in (INBOUND, STATUS), "WRONG_DIRECTION")
    content_key.validity.holds(now)
    ensure(len(body) >= 28, "UNDECRYPTABLE")
    try:
        padded = aead(content_key, header.message_id).decrypt(body[:12], body[12:], raw_header)
    except InvalidTag:
        raise Refused("UNDECRYPTABLE") from None
    ensure(len(padded) >= 256 and padded_length(len(padded) - 1) == len(padded), "BAD_PADDING")
    ensure(header.direction != STATUS or len(padded) == 256, "STATUS_WITH_CONTENT")
    content = unpad(padded)
    ensure(header.direction != STATUS or not content, "STATUS_WITH_CONTENT")
    return header, content
