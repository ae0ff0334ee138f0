"""Receiving: opens wraps and events, drops what came before, acknowledges what is kept."""

import queue
import threading
import time

import grpc
from google.protobuf.message import DecodeError
from sealpost.content.v1 import content_pb2
from sealpost.gateway.v1 import gateway_pb2 as pb

import wire_format as wire
from gateway import now, reason, wamid
from keys import Refused, ensure

# Of a status: how far it is.
FORWARD = ("accepted", "sent", "delivered", "read", "failed")


class Receiver:
    """One subscription: opens each event, hands it out, keeps that it came, acknowledges."""

    def __init__(self, stub, vault, hpke_key, memory, name, numbers, say):
        self.stub, self.vault, self.hpke_key, self.memory, self.say = stub, vault, hpke_key, memory, say
        self.name, self.numbers = name, numbers
        self.lock, self.content_keys, self.statuses = threading.RLock(), {}, {}
        self.holding, self.closing, self.stream, self.again = False, False, 0, 0
        self.requests = self.thread = None

    def open(self):
        """Opens a stream; one that is open yet must then end with SUBSCRIPTION_REPLACED."""
        with self.lock:
            self.stream += 1
            self.requests = queue.SimpleQueue()
            opening = pb.OpenSubscription(name=self.name, phone_number_ids=self.numbers)
            self.requests.put(pb.SubscribeEventsRequest(open=opening))
            events = self.stub.SubscribeEvents(iter(self.requests.get, None))
            self.thread = threading.Thread(target=self.read, args=(self.stream, self.requests, events), daemon=True)
            self.thread.start()

    def close(self):
        """Says no more; what it acknowledged before is heard when the stream ends."""
        with self.lock:
            self.closing = True
            self.requests.put(None)
        self.thread.join(20)

    def read(self, stream, requests, events):
        ended, again = "OK", False
        try:
            for response in events:
                with self.lock:
                    if stream == self.stream:
                        self.take(response)
        except grpc.RpcError as error:
            ended, _ = reason(error)
            again = ended in ("UNAVAILABLE", "STOPPING")
        except Refused as refused:
            # The key may come with a new stream; `take` gives up after a few.
            ended, again = refused.args[0], refused.args[0] != "WRONG_FINGERPRINT"
        requests.put(None)
        self.say("stream_ended", stream=stream, reason=ended)
        if stream == self.stream and not self.closing and (again or ended == "OK"):
            time.sleep(0.5)
            self.open()

    def take(self, response):
        for wrap in response.wraps:
            try:
                opened = self.wrap(wrap)
                self.content_keys[opened.id] = opened
                self.say("wrap", number=opened.number, stream=self.stream)
            except Refused as refused:
                if refused.args[0] == "WRONG_FINGERPRINT":
                    raise  # and acknowledge nothing until the pin is right
                self.say("dropped_wrap", reason=refused.args[0], stream=self.stream)
        for event in response.events:
            try:
                kept = self.event(event)
                self.again = 0
            except Refused as refused:
                if refused.args[0] in ("UNKNOWN_CONTENT_KEY", "KEY_EXPIRED") and self.again < 3:
                    self.again += 1
                    raise
                self.say("alarm", number=event.phone_number_id, cursor=event.cursor, reason=refused.args[0])
                kept = None
            self.memory.keep(event.phone_number_id, event.cursor, kept, now())
            if not self.holding:
                self.acknowledge(event.phone_number_id)

    def wrap(self, wrap):
        try:
            return wire.open_wrap(wrap, self.vault.signers, self.hpke_key, now())
        except Refused as refused:
            if refused.args[0] != "WRONG_SENDER":
                raise
        for number in self.numbers:
            self.vault.key(number)
        return wire.open_wrap(wrap, self.vault.signers, self.hpke_key, now())

    def event(self, event):
        """Hands an event out, unless it was before. Answers the header of a message that is new."""
        ensure(event.phone_number_id in self.numbers, "WRONG_NUMBER")
        facts = {"number": event.phone_number_id, "cursor": event.cursor, "stream": self.stream}
        kind = event.WhichOneof("event")
        ensure(kind is not None, "MALFORMED")
        if kind == "message":
            header, content = self.unseal(event, event.message.message, wire.INBOUND)
            facts |= {"peer": header.peer, "message_id": wamid(header.message_id), "time": header.time}
            if not self.memory.is_new(header):
                self.say("repeat", **facts)
                return None
            self.say("message", category=wire.CATEGORIES[header.category], content=read(content), **facts)
            return header
        change = event.status if kind == "status" else event.identity_change
        header = self.unseal(event, change.header, wire.STATUS)[0] if change.HasField("header") else None
        facts["peer"] = header and header.peer
        if kind == "identity_change":
            self.say("repeat" if event.cursor <= self.memory.cursor(event.phone_number_id) else kind, **facts)
            return None
        ensure(header is None or header.message_id == change.message_id, "WRONG_MESSAGE")
        status, named = pb.Status.Name(change.status).removeprefix("STATUS_").lower(), (facts["number"], change.message_id)
        ensure(status in FORWARD, "MALFORMED")
        facts |= {"message_id": wamid(change.message_id), "status": status, "error_code": change.error_code}
        forward = FORWARD.index(status) > self.statuses.get(named, 0)
        self.statuses[named] = max(FORWARD.index(status), self.statuses.get(named, 0))
        self.say(kind if forward else "repeat", **facts)
        return None

    def unseal(self, event, sealed, direction):
        header, content = wire.open_message(sealed.header, sealed.body, self.content_keys, now())
        ensure(header.number == event.phone_number_id, "WRONG_NUMBER")
        ensure(header.direction == direction, "WRONG_DIRECTION")
        return header, content

    def acknowledge(self, number):
        mark = pb.AcknowledgeEvents(phone_number_id=number, cursor=self.memory.cursor(number))
        self.requests.put(pb.SubscribeEventsRequest(acknowledge=mark))

    def release(self):
        with self.lock:
            self.holding = False
            for number in self.numbers:
                self.acknowledge(number)


def read(content):
    """A content as one would show it."""
    try:
        parsed = content_pb2.Content.FromString(content)
    except DecodeError:  # authentic all the same
        return {"type": "unsupported"}
    kind = parsed.WhichOneof("body")
    shown = {"type": kind or "unsupported"}
    if kind == "text":
        shown["body"] = parsed.text.body
    if kind in ("read_mark", "typing_mark"):
        shown["message_id"] = wamid(getattr(parsed, kind).message_id)
    if parsed.HasField("context"):
        shown["reply_to"] = wamid(parsed.context.message_id)
    return shown
