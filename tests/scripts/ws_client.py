"""Speaks every call to a poa server with the package `websockets`, in JSON and in MessagePack.

usage: ws_client.py URL TOKEN USER PASSWORD CALLS
Prints how many data calls were answered with success; ends with another code than 0 when anything is not as it should be.
"""

import asyncio
import json
import sys

import msgpack
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL, TOKEN, USER, PASSWORD, CALLS = sys.argv[1:5] + [int(sys.argv[5])]
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FORMATS = {"json": (json.dumps, json.loads, str), "msgpack": (msgpack.packb, msgpack.unpackb, bytes)}


def data(agent, number):
    metric = {"type": "numbers", "body": {"n": number}}
    return {"call": "data", "id": agent, "type": "system_metrics", "data": metric, "ref": number}


def expect(found, wanted):
    assert found == wanted, f"{found} is not {wanted}"


async def every_call(name, encode, decode, kind):
    agent = f"python-{name}"

    async def ask(socket, call):
        await socket.send(encode(call))
        answer = await socket.recv()
        assert isinstance(answer, kind), f"{type(answer)} in answer to {kind}"
        return decode(answer)

    def success(ref, payload=None):
        return {"result": "success", "ref": ref, "payload": payload or {}}

    async with websockets.connect(URL, additional_headers=BEARER) as socket:
        expect(await ask(socket, {"call": "ping", "id": agent, "ref": "p"}), success("p"))
        expect(await ask(socket, data(agent, 0)), success(0))
        refused = await ask(socket, {"call": "data", "id": agent, "type": "system_metric", "data": {}, "ref": [1]})
        expect((refused["result"], refused["ref"]), ("error", [1]))
        expect((refused["payload"]["status"], refused["payload"]["code"]), (422, "unknown_type"))
        await asyncio.wait_for(await socket.ping(), 10)
        for number in range(1, CALLS):
            await socket.send(encode(data(agent, number)))
        for number in range(1, CALLS):
            expect(decode(await socket.recv()), success(number))
        expect(await ask(socket, {"call": "bye", "id": agent}), success(None))

    async with websockets.connect(URL) as socket:
        answer = await ask(socket, {"call": "ping", "id": agent})
        expect(answer["payload"]["status"], 401)
        answer = await ask(socket, {"call": "session", "user": USER, "password": PASSWORD, "ref": 1})
        assert answer["payload"]["token"].count(".") == 2, answer
        expect(await ask(socket, {"call": "ping", "id": agent}), success(None))


async def main():
    for name, (encode, decode, kind) in FORMATS.items():
        await every_call(name, encode, decode, kind)
    try:
        async with websockets.connect(URL, additional_headers={"Authorization": "Bearer x"}):
            raise AssertionError("a wrong token opened a connection")
    except InvalidStatus as refused:
        expect(refused.response.status_code, 401)
    async with websockets.connect(URL, additional_headers=BEARER) as socket:
        try:
            for _ in range(11):
                await socket.send("{")
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            expect(closed.rcvd.code, 1008)
    print(len(FORMATS) * CALLS)


asyncio.run(main())
