"""The gateway over gRPC and the vault's keys, after docs/integrate.md: what sending and receiving share."""

import base64
import hashlib
import time
from urllib.parse import urlsplit

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sealpost.gateway.v1 import gateway_pb2 as pb
from sealpost.gateway.v1.gateway_pb2_grpc import GatewayServiceStub

import wire_format as wire
from keys import Refused, ensure, verifying_key

PASSING = ("KEY_NOT_YET_VALID", "KEY_EXPIRED", "STALE_SEQUENCE")


def now():
    return time.time_ns() // 1_000_000


def wamid(message_id):
    return "wamid." + base64.urlsafe_b64encode(message_id).rstrip(b"=").decode()


def reason(error):
    """The reason of a gRPC status, and how long it asks to wait, in milliseconds."""
    name, wait, status = error.code().name, 0, rpc_status.from_call(error)
    for detail in status.details if status else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == "sealpost":
            name = info.reason
        elif detail.Unpack(retry):
            wait = retry.retry_delay.ToMilliseconds()
    return name, wait


def connect(url, ca, token):
    tls = grpc.ssl_channel_credentials(root_certificates=ca)
    both = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(token))
    most = 4 * 1024 * 1024
    options = [("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", most)]
    return GatewayServiceStub(grpc.secure_channel(urlsplit(url).netloc, both, options))


class Vault:
    """The vault's keys of our numbers, as pinned."""

    def __init__(self, stub, pins, memory):
        self.stub, self.pins, self.memory, self.signers, self.held = stub, pins, memory, {}, {}

    def key(self, number):
        """A key that is good now; a cache may answer with an old one for a while."""
        for wait in (1, 2, 4, None):
            try:
                self.held[number] = self.fetch(number)
            except Refused as refused:
                held = self.held.get(number)
                usable = held and now() < held.validity.not_after
                if refused.args[0] not in PASSING or not (usable or wait):
                    raise
                if not usable:
                    time.sleep(wait)
                    continue
            return self.held[number]

    def fetch(self, number):
        published = self.stub.GetVaultKey(pb.GetVaultKeyRequest(phone_number_id=number), timeout=20).key
        signer = published.signing_key
        verifying_key(signer)
        # It follows no rotation: whoever changes the vault's signing key gives this program a new pin.
        ensure(hashlib.sha256(signer).hexdigest() == self.pins[number], "WRONG_FINGERPRINT")
        highest = self.memory.sequence(number)
        opened = wire.open_vault_key(published.statement, number, signer, now(), highest)
        self.memory.saw_sequence(number, opened.sequence)
        self.signers[number] = signer
        return opened
