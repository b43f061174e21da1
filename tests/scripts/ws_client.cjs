// Speaks every call to a poa server with the package `ws`, in JSON and in MessagePack.
//
// usage: ws_client.cjs URL TOKEN USER PASSWORD CALLS, with the packages in NODE_PATH
// Prints how many data calls were answered with success; ends with another code than 0 when anything is not as it should be.

const assert = require("node:assert/strict");
const { once } = require("node:events");
const WebSocket = require("ws");
const { encode, decode } = require("@msgpack/msgpack");

const [url, token, user, password] = process.argv.slice(2);
const calls = Number(process.argv[6]);
const bearer = { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: true };

const formats = {
  json: { encode: JSON.stringify, decode: JSON.parse, binary: false },
  msgpack: { encode, decode, binary: true },
};

class Client {
  constructor(options, format) {
    this.format = format;
    this.answers = [];
    this.waiting = [];
    this.socket = new WebSocket(url, options);
    this.closed = once(this.socket, "close").then(([code]) => code);
    this.socket.on("message", (message, binary) => {
      assert.equal(binary, format.binary, "the answer comes in the format of the question");
      const answer = format.decode(binary ? message : message.toString());
      const waiting = this.waiting.shift();
      if (waiting) waiting(answer);
      else this.answers.push(answer);
    });
  }

  open() {
    return once(this.socket, "open");
  }

  send(call) {
    this.socket.send(this.format.encode(call));
  }

  answer() {
    if (this.answers.length > 0) return Promise.resolve(this.answers.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  ask(call) {
    this.send(call);
    return this.answer();
  }
}

const success = (ref, payload = {}) => ({ result: "success", ref, payload });

const data = (id, n) => ({
  call: "data",
  id,
  type: "system_metrics",
  data: { type: "numbers", body: { n } },
  ref: n,
});

async function everyCall(name, format) {
  const agent = `node-${name}`;
  const client = new Client(bearer, format);
  await client.open();
  assert.deepEqual(await client.ask({ call: "ping", id: agent, ref: "p" }), success("p"));
  assert.deepEqual(await client.ask(data(agent, 0)), success(0));
  const refused = await client.ask({ call: "data", id: agent, type: "x", data: {}, ref: [1] });
  assert.deepEqual([refused.result, refused.ref], ["error", [1]]);
  assert.deepEqual([refused.payload.status, refused.payload.code], [422, "unknown_type"]);
  client.socket.ping("alive?");
  const [pong] = await once(client.socket, "pong");
  assert.equal(pong.toString(), "alive?");
  for (let n = 1; n < calls; n++) client.send(data(agent, n));
  for (let n = 1; n < calls; n++) assert.deepEqual(await client.answer(), success(n));
  assert.deepEqual(await client.ask({ call: "bye", id: agent }), success(null));
  client.socket.close(1000);
  assert.equal(await client.closed, 1000);

  const stranger = new Client({}, format);
  await stranger.open();
  assert.equal((await stranger.ask({ call: "ping", id: agent })).payload.status, 401);
  const session = await stranger.ask({ call: "session", user, password, ref: 1 });
  assert.equal(session.payload.token.split(".").length, 3);
  assert.deepEqual(await stranger.ask({ call: "ping", id: agent }), success(null));
  stranger.socket.close();
  await stranger.closed;
}

async function main() {
  for (const [name, format] of Object.entries(formats)) await everyCall(name, format);

  const wrong = new WebSocket(url, { headers: { authorization: "Bearer x" } });
  const [, refusal] = await once(wrong, "unexpected-response");
  assert.equal(refusal.statusCode, 401);
  refusal.destroy();

  const rude = new Client(bearer, formats.json);
  await rude.open();
  for (let n = 0; n < 11; n++) rude.socket.send("{");
  assert.equal(await rude.closed, 1008);
  console.log(Object.keys(formats).length * calls);
}

main();
