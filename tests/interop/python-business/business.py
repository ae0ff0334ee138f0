"""A stranger's business, after docs/integrate.md, docs/wire-format.md and docs/run-json.md, over the protos.

business.py RUN_JSON MEMORY [--pin FINGERPRINT]; --pin stands for every number's fingerprint. One JSON object a line, both ways:

in   {"do": "send", "key": K, "to": PHONE, "body": WORDS, "unary": false, "forget_wrap": false}
     {"do": "ask", "key": K}     where the message of that key is
     {"do": "hold"}              keep events, acknowledge nothing
     {"do": "open"}              subscribe again under the same name, the former stream still open
     {"do": "release"}           acknowledge what is kept, and from now on everything
     the end of input            end in order
out  ready, accepted, refused, where, wrap, message, status, identity_change, repeat, alarm, dropped_wrap, stream_ended
"""

import json
import os
import sys
import threading

import grpc

import wire_format as wire
from gateway import Vault, connect, pb, reason, wamid
from keys import HpkeKey, Refused
from memory import Memory
from receiving import Receiver
from sending import Sender

SUBSCRIPTION = "python-business"
UTILITY = 2
printing = threading.Lock()


def say(event, **facts):
    with printing:
        print(json.dumps({"event": event, **facts}, ensure_ascii=False), flush=True)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def main(run_json, remembered, *options):
    run, memory = json.loads(contents(run_json)), Memory(remembered)
    pins = {number["phone_number_id"]: number["vault_fingerprint"] for number in run["numbers"]}
    if options:
        name, pin = options
        assert name == "--pin"
        pins = dict.fromkeys(pins, pin)
    stub = connect(run["gateway"]["url"], contents(run["tls"]["ca"]), run["gateway"]["token"])
    vault = Vault(stub, pins, memory)

    listed = [number.phone_number_id for number in stub.ListNumbers(pb.ListNumbersRequest(), timeout=20).numbers]
    numbers = [number for number in listed if number in pins]
    # Their signers, before the first wrap comes.
    keys = {number: vault.key(number).sequence for number in numbers}

    id_key = memory.secret("message-id key", lambda: os.urandom(32))
    sender = Sender(stub, vault, contents(run["business"]["signing_private_key"]), id_key, say)
    recipient = HpkeKey(contents(run["business"]["hpke_private_key"]))
    receiver = Receiver(stub, vault, recipient, memory, SUBSCRIPTION, numbers, say)
    receiver.open()
    say("ready", numbers=numbers, sequences=keys)

    number = numbers[0]
    for line in sys.stdin:
        match json.loads(line):
            case {"do": "send", "key": key, "to": to, "body": body, **how}:
                sender.send(number, to, body, key, UTILITY, how.get("unary", False), how.get("forget_wrap", False))
            case {"do": "ask", "key": key}:
                ask(stub, number, key, wire.message_id_of(id_key, number, key))
            case {"do": "hold"}:
                receiver.holding = True
            case {"do": "open"}:
                receiver.open()
            case {"do": "release"}:
                receiver.release()
            case other:
                raise SystemExit(f"what is {other}?")
    sender.close()
    receiver.close()


def ask(stub, number, key, message_id):
    request = pb.GetMessageStatusRequest(phone_number_id=number, message_id=message_id)
    try:
        status = pb.Status.Name(stub.GetMessageStatus(request, timeout=20).status).removeprefix("STATUS_").lower()
        say("where", key=key, message_id=wamid(message_id), status=status)
    except grpc.RpcError as error:
        say("where", key=key, message_id=wamid(message_id), status=None, reason=reason(error)[0])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refused as refused:
        say("stopped", reason=refused.args[0])
        sys.exit(3)
