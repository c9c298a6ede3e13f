import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import test from "node:test";

import { announce, fakeApi, gateway, home, load, operator, send, TOKEN, until } from "./world.js";

async function world(t, answer = () => [200, { ok: true }]) {
  const at = home(t);
  const node = await operator(t, at, answer);
  const api = fakeApi();
  (await load()).register(api);
  return { at, node, api, port: await gateway(t, api) };
}

test("the route is a prefix that the node guards itself", async (t) => {
  const { api } = await world(t);
  assert.deepEqual({ ...api.route, handler: undefined }, { path: "/lan", match: "prefix", auth: "plugin", handler: undefined });
});

for (const [asked, reached] of [
  ["/lan/health", "/lan/health"],
  ["/LAN/health", "/lan/health"],
  ["//lan//health", "/lan/health"],
  ["/lan/./task/../health", "/lan/health"],
  ["/lan/health/", "/lan/health"],
  ["/lan/task/a%20b?wait=25&x=%2e", "/lan/task/a%20b?wait=25&x=%2e"],
  ["/lan/%E4%BB%BB", "/lan/%E4%BB%BB"],
  ["/lan/%252e%252e/op", "/lan/%252e%252e/op"],
  ["/lan/a%3Fb", "/lan/a%3Fb"],
]) {
  test(`${asked} reaches the node as ${reached}`, async (t) => {
    const { node, port } = await world(t);
    assert.equal((await send(port, asked)).status, 200);
    assert.equal(node.seen[0].url, reached);
  });
}

for (const asked of [
  "/lan", "/lan/", "/lan/..", "/lan/../op/config", "/lan/%2e%2e/op/config", "/lan/..%2fop/config", "/lan/%2E%2E%2Fop/config",
  "/lan/a%00b", "/lan/a%0d%0ab", "/lan/%5c..%5cop", "/lan/%ff", "/lan/%", "/lanx/health", "http://elsewhere/lan/health",
]) {
  test(`${asked} is nothing and does not reach the node`, async (t) => {
    const { node, port } = await world(t);
    const answer = await send(port, asked);
    assert.equal(answer.status, 404);
    assert.equal(answer.headers["content-type"], "application/problem+json");
    assert.equal(JSON.parse(answer.text).code, "route-not-found");
    assert.equal(node.seen.length, 0);
  });
}

test("the node is told who asks; what the client says of itself in such headers is dropped", async (t) => {
  const { node, port } = await world(t);
  await send(port, "/lan/profile", {
    headers: {
      authorization: "Bearer peer", host: "gateway.lan:18789", "x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https",
      forwarded: "for=1.2.3.4", "x-real-ip": "1.2.3.4", "x-lanmesh-forwarding": "guess", te: "trailers", "x-gone": "1",
      connection: "x-gone", "x-kept": "1",
    },
  });
  const { headers } = node.seen[0];
  assert.equal(headers.authorization, "Bearer peer");
  assert.equal(headers["x-lanmesh-forwarding"], TOKEN);
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(headers["x-forwarded-host"], "gateway.lan:18789");
  assert.equal(headers["x-kept"], "1");
  for (const name of ["x-forwarded-proto", "forwarded", "x-real-ip", "te", "x-gone"]) assert.equal(headers[name], undefined, name);
});

test("status, headers and a large body pass both ways", async (t) => {
  const body = "x".repeat(3_000_000);
  const { node, port } = await world(t, ({ body: got }, response) => {
    response.writeHead(202, { "x-length": String(got.length), "keep-alive": "timeout=75", "set-cookie": ["a=1", "b=2"] });
    response.end(got);
  });
  const answer = await send(port, "/lan/task", { method: "POST", body, headers: { "content-length": body.length } });
  assert.equal(answer.status, 202);
  assert.equal(answer.headers["x-length"], String(body.length));
  assert.deepEqual(answer.headers["set-cookie"], ["a=1", "b=2"]);
  assert.notEqual(answer.headers["keep-alive"], "timeout=75");
  assert.ok(answer.text === body);
  assert.equal(node.seen[0].headers["content-length"], String(body.length));
});

test("a large body goes to the node only if it wants it, so that its refusal is never lost", async (t) => {
  const { node, port } = await world(t);
  let bytes = 0;
  node.server.on("checkContinue", (request, response) => {
    request.on("data", (chunk) => (bytes += chunk.length));
    response.writeHead(413).end("too large");
  });
  for (const headers of [{ "content-length": 20_000_000 }, { "transfer-encoding": "chunked" }]) {
    const answer = await send(port, "/lan/task", { method: "POST", headers, body: "x".repeat(20_000_000) });
    assert.deepEqual([answer.status, answer.text], [413, "too large"]);
  }
  assert.equal(bytes, 0);
  assert.equal((await send(port, "/lan/health")).status, 200);
});

test("events arrive one by one, and a client that leaves is felt by the node", async (t) => {
  let left = false;
  let more;
  const { port } = await world(t, (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
    more = () => response.write("data: 2\n\n");
    response.on("close", () => (left = true));
  });
  const got = [];
  const request = http.get({ host: "127.0.0.1", port, path: "/lan/task/x/events", agent: false }, (response) => {
    response.setEncoding("utf8").on("data", (text) => got.push(text)).on("error", () => {});
  });
  request.on("error", () => {});
  await until(() => got.length === 1);
  more();
  await until(() => got.join("") === "data: 1\n\ndata: 2\n\n");
  request.destroy();
  await until(() => left);
});

test("headers are passed on before the first byte of the body", async (t) => {
  const { port } = await world(t, (_, response) => void response.writeHead(200).flushHeaders());
  const response = await new Promise((resolve) => http.get({ host: "127.0.0.1", port, path: "/lan/x", agent: false }, resolve));
  assert.equal(response.statusCode, 200);
  response.on("error", () => {}).destroy();
});

const SMUGGLED = "GET /lan/smuggled HTTP/1.1\r\nHost: inside\r\n\r\n.";
for (const [name, framing, body] of [
  ["chunked", "Transfer-Encoding: chunked", `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`],
  ["hidden length", `Content-Length: ${SMUGGLED.length}\r\nConnection: content-length`, SMUGGLED],
]) {
  test(`a body of a GET stays a body (${name})`, async (t) => {
    const { node, port } = await world(t);
    const socket = net.connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => (text += chunk));
    socket.write(`GET /lan/health HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${body}`);
    await until(() => text.includes('{"ok":true}'));
    await send(port, "/lan/after");
    socket.destroy();
    assert.deepEqual(node.seen.map(({ url }) => url), ["/lan/health", "/lan/after"]);
    assert.match(node.seen[0].body, /smuggled/);
  });
}

test("connections to the node are used again", async (t) => {
  const { node, port } = await world(t);
  let connections = 0;
  node.server.on("connection", () => (connections += 1));
  for (let i = 0; i < 5; i += 1) await send(port, "/lan/health");
  assert.equal(connections, 1);
});

test("a node that is away is a 502 that says nothing private", async (t) => {
  const at = home(t);
  const api = fakeApi();
  (await load()).register(api);
  const port = await gateway(t, api);
  const check = async () => {
    const { status, headers, text } = await send(port, "/lan/task", { method: "POST", body: "x".repeat(200_000) });
    assert.equal(status, 502);
    assert.equal(headers["content-type"], "application/problem+json");
    assert.equal(headers["retry-after"], "2");
    assert.equal(JSON.parse(text).code, "node-unreachable");
    assert.ok(!text.includes(at.folder));
  };
  await check();
  announce(at, 1); // nobody listens
  await check();
  announce(at, 1, { pid: 2 ** 22 - 1 }); // left by a node that was killed
  await check();
});

test("an answer that breaks off breaks off for the client too", async (t) => {
  const { port } = await world(t, (_, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half", () => response.destroy());
  });
  await assert.rejects(send(port, "/lan/profile"));
});
