// A node of the Gilmour gateway in JavaScript, with nothing but Node.js 18 or newer.
//
//     node node.mjs http://127.0.0.1:8080
//
// It answers requests of `count` (a list of words becomes an object of how often each occurs), and says `ready` once it is subscribed.
import { createServer } from "node:http";

const gateway = process.argv[2] ?? "http://127.0.0.1:8080";
const headers = process.env.GILMOUR_TOKEN ? { authorization: `Bearer ${process.env.GILMOUR_TOKEN}` } : {};

const handlers = {
  "/count": ({ data }) => {
    if (!Array.isArray(data)) return [400, "the data must be a list"];
    const counts = {};
    for (const word of data) counts[word] = (counts[word] ?? 0) + 1;
    return [200, counts];
  },
};

const server = createServer(async (request, response) => {
  const answer = (status, data = null) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(data));
  };
  if (request.url === "/health") return answer(200);
  const handler = handlers[request.url];
  if (!handler) return answer(404, "no such handler");
  let body = "";
  for await (const piece of request) body += piece;
  answer(...handler(JSON.parse(body)));
});

async function ask(method, path, body) {
  const answer = await fetch(gateway + path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

server.listen(0, "127.0.0.1", async () => {
  const services = [{ topic: "count", path: "/count", timeout: 5 }];
  const { id } = await ask("POST", "/nodes", { name: "javascript", port: server.address().port, services });
  console.log("ready", id);
  process.stdin.resume().on("end", async () => {
    await ask("DELETE", `/nodes/${id}`);
    process.exit();
  });
});
