"""Sending: seals, retries under the same message id, and knows which refusals are final."""

import queue
import time

import grpc
from sealpost.content.v1 import content_pb2
from sealpost.envelope.v1 import envelope_pb2
from sealpost.gateway.v1 import gateway_pb2 as pb

import wire_format as wire
from gateway import now, reason, wamid
from keys import ensure

HOUR = 3_600_000
FINAL = ("MALFORMED", "NOT_ALLOWED", "CONFLICT", "NOT_PROVISIONED", "UNDECRYPTABLE", "TOKEN_INVALID", "SCOPE_MISSING")


class Sender:
    """Sends one message after the other: by a stream that stays open, or by unary calls."""

    def __init__(self, stub, vault, signing_seed, id_key, say):
        self.stub, self.vault, self.signing_seed, self.id_key, self.say = stub, vault, signing_seed, id_key, say
        self.content_keys, self.batch, self.stream = {}, 0, None

    def content_key(self, number, fresh=False):
        held = self.content_keys.get(number)
        if fresh or not held or held.validity.not_after <= now() or held.validity.not_before + HOUR <= now():
            held = wire.make_wrap(number, self.signing_seed, self.vault.key(number), now())
            self.content_keys[number] = held
        return held

    def send(self, number, to, body, key, category, unary, forget_wrap):
        """Sends words under an idempotency key until the outcome is final. `forget_wrap`: leave the wrap out at first."""
        message_id = wire.message_id_of(self.id_key, number, key)
        content = content_pb2.Content(text=content_pb2.Text(body=body)).SerializeToString()
        with_wrap, renewed, wait = not forget_wrap, False, 0.1
        while True:
            content_key = self.content_key(number)
            header, sealed = wire.seal(content_key, to, message_id, category, now(), content)
            message = envelope_pb2.SealedMessage(header=header, body=sealed)
            item = pb.OutboundMessage(phone_number_id=number, message=message)
            accepted, refused, after = (self.unary if unary else self.streamed)(item, content_key, with_wrap)
            with_wrap = True
            if accepted:
                ensure(accepted.message_id == message_id, "WRONG_MESSAGE")
                status = pb.Status.Name(accepted.status).removeprefix("STATUS_").lower()
                self.say("accepted", key=key, message_id=wamid(message_id), repeated=accepted.repeated, status=status)
                return
            final = refused in FINAL and not (refused == "UNDECRYPTABLE" and not renewed)
            self.say("refused", key=key, reason=refused, final=final)
            if final:
                return
            if refused in ("KEY_EXPIRED", "UNDECRYPTABLE"):
                renewed = True
                self.content_key(number, fresh=True)
            elif refused != "UNKNOWN_CONTENT_KEY":
                time.sleep(max(after / 1000, wait))
                wait = min(wait * 2, 10)

    def close(self):
        if self.stream:
            self.stream[0].put(None)

    def unary(self, item, content_key, with_wrap):
        item.wrap = content_key.wrap if with_wrap else b""
        try:
            return self.stub.Send(pb.SendRequest(message=item), timeout=20).accepted, None, 0
        except grpc.RpcError as error:
            return None, *reason(error)

    def streamed(self, item, content_key, with_wrap):
        if not self.stream:
            requests, told = queue.SimpleQueue(), set()
            self.stream = requests, self.stub.SendStream(iter(requests.get, None)), told
        requests, answers, told = self.stream
        # With the first message under its key on this stream, or when it was asked for.
        if with_wrap and content_key.id not in told:
            item.wrap = content_key.wrap
            told.add(content_key.id)
        self.batch += 1
        requests.put(pb.SendStreamRequest(batch_id=self.batch, items=[item]))
        try:
            answer = next(answers)
        except (grpc.RpcError, StopIteration) as end:
            requests.put(None)
            self.stream = None
            return None, *(reason(end) if isinstance(end, grpc.RpcError) else ("UNAVAILABLE", 0))
        ensure(answer.batch_id == self.batch and len(answer.outcomes) == 1, "WRONG_BATCH")
        outcome = answer.outcomes[0]
        if outcome.HasField("accepted"):
            return outcome.accepted, None, 0
        refused = pb.SendError.Name(outcome.refused.error).removeprefix("SEND_ERROR_")
        if refused == "UNKNOWN_CONTENT_KEY":
            told.discard(content_key.id)
        return None, refused, outcome.refused.retry_after_ms
