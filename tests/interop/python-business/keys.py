"""Keys, signatures, lengths and times as docs/wire-format.md has them; what its structures are made of.

Whatever does not hold raises `Refused` with the page's word for it.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
SKEW = 300_000
VERSION = b"\x01"
P = 2**255 - 19
LOW_ORDER = {
    *(0, 1, P - 1, P, P + 1),
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
}


class Refused(Exception):
    """Its argument is the name of the check that failed."""


def ensure(holds, name):
    if not holds:
        raise Refused(name)


def id_of(data):
    """Key ids and content-key ids."""
    return hashlib.sha256(data).digest()[:16]


class Fields:
    """Takes a structure apart, to its exact end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        part = self.data[self.at : self.at + count]
        ensure(len(part) == count, "MALFORMED")
        self.at += count
        return part

    def number(self, count):
        return int.from_bytes(self.raw(count), "big")

    def field(self, count=None):
        part = self.raw(self.number(2))
        ensure(count in (None, len(part)), "MALFORMED")
        return part

    def u64(self):
        return int.from_bytes(self.field(8), "big")

    def begin(self, domain):
        ensure(self.field() == domain, "MALFORMED")
        ensure(self.field(1) == VERSION, "UNSUPPORTED_VERSION")

    def end(self):
        ensure(self.at == len(self.data), "MALFORMED")


def field(value):
    return len(value).to_bytes(2, "big") + value


def u64(value):
    return field(value.to_bytes(8, "big"))


def digits(raw, least, most):
    ensure(least <= len(raw) <= most and raw.isdigit(), "MALFORMED")
    return raw.decode("ascii")


def phone(raw):
    ensure(not raw.startswith(b"0"), "MALFORMED")
    return digits(raw, 7, 15)


@dataclass
class Validity:
    not_before: int
    not_after: int

    def shape(self, longest=None):
        ensure(self.not_before < self.not_after, "INVALID_VALIDITY")
        ensure(longest is None or self.not_after - self.not_before <= longest, "INVALID_VALIDITY")

    def holds(self, now):
        ensure(now >= self.not_before - SKEW, "KEY_NOT_YET_VALID")
        ensure(now <= self.not_after, "KEY_EXPIRED")


# Ed25519


def edwards(raw):
    """The point that 32 bytes stand for, or None when they are no canonical point (RFC 8032, 5.1.3)."""
    y, odd = int.from_bytes(raw, "little") & (2**255 - 1), raw[31] >> 7
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if x * x % P != x2:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != x2 or (odd and x == 0):
        return None
    return (P - x if x & 1 != odd else x), y


D = -121665 * pow(121666, P - 2, P) % P


def low_order(point):
    for _ in range(3):
        x, y = point
        t = D * x * x * y * y % P
        point = 2 * x * y * pow(1 + t, P - 2, P) % P, (y * y + x * x) * pow(1 - t, P - 2, P) % P
    return point == (0, 1)


def verifying_key(raw):
    point = edwards(raw) if len(raw) == 32 else None
    ensure(point is not None and not low_order(point), "INVALID_KEY")
    return Ed25519PublicKey.from_public_bytes(raw)


def check_signature(signer, signature, data):
    key, nonce = verifying_key(signer), edwards(signature[:32])
    ensure(nonce is not None and not low_order(nonce), "BAD_SIGNATURE")
    try:
        key.verify(signature, data)
    except InvalidSignature:
        raise Refused("BAD_SIGNATURE") from None


# X-Wing


def low_order_x25519(half):
    return int.from_bytes(half, "little") & (2**255 - 1) in LOW_ORDER


class HpkeKey:
    """The business's HPKE key, from its seed."""

    def __init__(self, seed):
        expanded = hashlib.shake_256(seed).digest(96)
        ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.private = MLKEM768X25519PrivateKey(ml_kem, x25519)
        self.id = id_of(ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())


def hpke_public_key(raw):
    ensure(not low_order_x25519(raw[1184:]), "INVALID_KEY")
    try:
        halves = MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:])
    except ValueError:
        raise Refused("INVALID_KEY") from None
    return MLKEM768X25519PublicKey(*halves)
