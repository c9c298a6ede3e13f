import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { fakeApi, home, load, operator, pause, until } from "./world.js";

const manifest = JSON.parse(readFileSync(new URL("../openclaw.plugin.json", import.meta.url)));
const packaged = JSON.parse(readFileSync(new URL("../package.json", import.meta.url)));
const TASK_SESSION = "agent:main:lan-task:7f3a";

async function world(t, answer, config) {
  const at = home(t);
  const node = answer && await operator(t, at, async (entry, response) => answer({ ...entry, json: JSON.parse(entry.body) }, response));
  const api = fakeApi(config);
  (await load()).register(api);
  const call = (name, args, { session = "agent:main:main", signal, onUpdate, ...context } = {}) =>
    api.tools[name]({ sessionKey: session, ...context }).execute("call-1", args, signal, onUpdate);
  return { at, api, node, call };
}

test("the file is small, has no import statement, and its names agree", async () => {
  const source = readFileSync(new URL("../index.js", import.meta.url), "utf8");
  assert.ok(source.trimEnd().split("\n").length <= 250);
  assert.doesNotMatch(source, /^\s*(import\s|const .*require\()/m);
  assert.equal(packaged.name, manifest.id);
  assert.equal(packaged.version, manifest.version);
  assert.equal((await load()).id, manifest.id);
  assert.equal(packaged.dependencies, undefined);
});

test("seven commands and six tools are registered, each declared for every profile", async (t) => {
  const { api } = await world(t);
  assert.deepEqual(Object.keys(api.commands).sort(),
    ["lan-accept", "lan-approve", "lan-deny", "lan-inbox", "lan-pair", "lan-send", "lan-status", "lan-tasks"]);
  assert.deepEqual(Object.keys(api.tools).sort(), [...manifest.contracts.tools].sort());
  for (const name of manifest.contracts.tools) {
    assert.deepEqual(manifest.toolMetadata[name].profiles, ["minimal", "coding", "messaging", "full"]);
    const tool = api.tools[name]({ sessionKey: TASK_SESSION });
    assert.ok(tool.description.length > 100 && tool.label, name);
    assert.equal(tool.parameters.type, "object");
    assert.equal(tool.catalogMode, { lan_delegate: "direct-only", lan_send: "direct-only", lan_task_reply: "direct-only" }[name]);
  }
  for (const command of Object.values(api.commands)) assert.ok(command.requireAuth && command.acceptsArgs && command.description);
});

test("registering starts nothing, and works on a gateway with no config at all", async (t) => {
  home(t);
  const api = fakeApi(undefined, undefined);
  api.config = undefined;
  (await load()).register(api);
  assert.equal(globalThis[Symbol.for("openclaw-lan-mesh")], undefined);
});

test("the config schema cannot make a config invalid", () => {
  const { configSchema } = manifest;
  assert.equal(configSchema.additionalProperties, true);
  assert.equal(configSchema.required, undefined);
  for (const property of Object.values(configSchema.properties)) assert.deepEqual(property, {});
  assert.deepEqual(Object.keys(manifest.uiHints).sort(), Object.keys(configSchema.properties).sort());
});

test("a command hands over its arguments and session and shows the text", async (t) => {
  const { api, node } = await world(t, () => [200, { text: "two peers" }]);
  assert.deepEqual(await api.commands["lan-send"].handler({ args: "b hello", sessionKey: "agent:main:main" }), { text: "two peers" });
  await api.commands["lan-status"].handler({});
  assert.deepEqual(node.seen.map(({ url, body }) => [url, JSON.parse(body)]), [
    ["/op/commands/lan-send", { args: "b hello", session: "agent:main:main" }],
    ["/op/commands/lan-status", { args: "", session: null }],
  ]);
  assert.equal(node.seen[0].headers.authorization, "Bearer operator-token");
});

test("only an authorized sender changes what is accepted", async (t) => {
  const { api, node } = await world(t, () => [200, { text: "done" }]);
  for (const name of ["lan-accept", "lan-approve", "lan-deny", "lan-pair"]) {
    const { text } = await api.commands[name].handler({ args: "auto", isAuthorizedSender: false });
    assert.match(text, /authorized/);
    assert.equal((await api.commands[name].handler({ args: "auto", isAuthorizedSender: true })).text, "done");
  }
  assert.equal(node.seen.length, 4);
  assert.equal((await api.commands["lan-status"].handler({ isAuthorizedSender: false })).text, "done");
});

test("a problem of the node is the command's answer and the tool's error", async (t) => {
  const { api, call } = await world(t, () => [404, { detail: "There is no peer x; known: b.", code: "peer-not-found" }]);
  assert.equal((await api.commands["lan-send"].handler({ args: "x hi" })).text, "There is no peer x; known: b.");
  const result = await call("lan_send", { peer: "x", text: "hi" });
  assert.equal(result.content[0].text, "error: There is no peer x; known: b.");
  assert.equal(result.isError, true);
  assert.equal(result.details.ok, false);
});

test("without a node each command and tool answers with one line", async (t) => {
  const { api, call } = await world(t);
  for (const command of Object.values(api.commands)) {
    const { text } = await command.handler({ args: "", isAuthorizedSender: true });
    assert.match(text, /not running: .*lanmesh run/);
    assert.ok(!text.includes("\n"));
  }
  assert.match((await call("lan_peers", {})).content[0].text, /^error: The LAN mesh node is not running/);
});

test("a tool hands over its arguments and the session", async (t) => {
  const { call, node } = await world(t, () => [200, { text: "b: idle", task: null, open: false, terminate: false }]);
  const result = await call("lan_peers", {});
  assert.deepEqual(result, { content: [{ type: "text", text: "b: idle" }], details: { task: null, open: false } });
  assert.deepEqual([node.seen[0].url, JSON.parse(node.seen[0].body)], ["/op/tools/lan_peers", { args: {}, session: "agent:main:main", workspace: null }]);
});

test("a tool tells of the agent's workspace as the gateway names it, never as the model does, and of none in a sandbox", async (t) => {
  const { call, node } = await world(t, () => (node.seen.length < 2 ? open("given") : [200, { text: "7", task: "t1", open: false }]));
  const args = { ...delegation, files: ["cat.jpg"], workspace: "/", session: "agent:main:other" };
  await call("lan_delegate", args, { workspaceDir: "/home/u/workspace" });
  await call("lan_delegate", args, { workspaceDir: "/home/u/workspace", sandboxed: true });
  assert.deepEqual(node.seen.map(({ body }) => JSON.parse(body)).map(({ session, workspace }) => [session, workspace]), [
    ["agent:main:main", "/home/u/workspace"], ["agent:main:main", "/home/u/workspace"], ["agent:main:main", null]]);
  assert.deepEqual(JSON.parse(node.seen[0].body).args, args);
});

test("a call is given up after a minute of silence, but not while the node may be copying files for it", async (t) => {
  const patience = [];
  const { call } = await world(t, () => {
    const [[socket]] = Object.values(globalThis[Symbol.for("openclaw-lan-mesh")].agent.sockets);
    patience.push(socket.timeout);
    return [200, { text: "done", task: null, open: false }];
  });
  const message = { peer: "b", text: "look" };
  await call("lan_send", message);
  await call("lan_send", { ...message, files: ["film.mkv"] });
  await call("lan_delegate", { ...delegation, files: ["film.mkv"] });
  await call("lan_task_reply", { result: "42" }, { session: TASK_SESSION });
  assert.deepEqual(patience, [60_000, 0, 0, 0]);
});

test("lan_task_reply is offered in a task's session only and ends the turn", async (t) => {
  const { api, call, node } = await world(t, ({ json }) => (json.args.result === "late"
    ? [409, { detail: "This task has been answered." }] : [200, { text: "sent", task: "7f3a", open: false, terminate: true }]));
  for (const context of [undefined, {}, { sessionKey: "agent:main:main" }]) assert.equal(api.tools.lan_task_reply(context), null);
  assert.equal((await call("lan_task_reply", { result: "42" }, { session: TASK_SESSION })).terminate, true);
  assert.deepEqual(JSON.parse(node.seen[0].body), { args: { result: "42" }, session: TASK_SESSION, workspace: null });
  const late = await call("lan_task_reply", { result: "late" }, { session: TASK_SESSION });
  assert.equal(late.terminate, undefined);
  assert.match(late.content[0].text, /has been answered/);
});

const delegation = { peer: "b", task: "count" };
const open = (text, version) => [200, { text, task: "t1", open: true, terminate: false, version }];

test("lan_delegate asks on until the task is finished and reports progress", async (t) => {
  const { call, node } = await world(t, ({ url, json }) => {
    if (url === "/op/tools/lan_delegate") return open("submitted", 2);
    const { waitSeconds, ...args } = json.args;
    assert.deepEqual({ ...json, args }, { args: { task: "t1", action: "wait", version: node.seen.length }, session: "agent:main:main", workspace: null });
    assert.ok(waitSeconds > 470 && waitSeconds <= 480);
    return node.seen.length < 3 ? open("half of it", 3) : [200, { text: "result: 7", task: "t1", open: false }];
  });
  const updates = [];
  const result = await call("lan_delegate", delegation, { onUpdate: ({ content }) => updates.push(content[0].text) });
  assert.equal(result.content[0].text, "result: 7");
  assert.deepEqual(updates, ["submitted", "half of it"]);
  assert.deepEqual(result.details, { task: "t1", open: false });
});

test("an answer that is finished at once is returned at once", async (t) => {
  const { call, node } = await world(t, () => [200, { text: "7", task: "t1", open: false }]);
  await call("lan_delegate", delegation);
  assert.equal(node.seen.length, 1);
});

test("the wait is bounded, and then the last answer stands", async (t) => {
  const { call } = await world(t, ({ url, json }, response) => {
    if (url.endsWith("delegate")) return open("just given");
    const [status, answer] = open("still working; see lan_task");
    return void setTimeout(() => response.writeHead(status).end(JSON.stringify(answer)), json.args.waitSeconds * 1_000);
  }, { toolWaitSeconds: 1 });
  const began = Date.now();
  const result = await call("lan_delegate", delegation);
  assert.ok(Date.now() - began >= 900 && Date.now() - began < 30_000); // and it does not begin anew
  assert.equal(result.content[0].text, "still working; see lan_task");
  assert.deepEqual(result.details, { task: "t1", open: true });
});

test("no setting makes the wait longer than 480 s", async (t) => {
  const asked = [];
  for (const toolWaitSeconds of [undefined, 9_999, "20", -1, "soon"]) {
    const { call } = await world(t, ({ url, json }) => {
      if (url.endsWith("delegate")) return open("given");
      asked.push(Math.ceil(json.args.waitSeconds / 20) * 20); // a slow machine has used up some of it already
      return [200, { text: "7", task: "t1", open: false }];
    }, { toolWaitSeconds });
    await call("lan_delegate", delegation);
  }
  assert.deepEqual(asked, [480, 480, 20]);
});

test("an abort ends the waiting, not the task", async (t) => {
  const { call, node } = await world(t, ({ url }) => (url.endsWith("delegate") ? open("working") : undefined));
  const controller = new AbortController();
  const pending = call("lan_delegate", delegation, { signal: controller.signal });
  await until(() => node.seen.length === 2);
  const began = Date.now();
  controller.abort();
  assert.equal((await pending).content[0].text, "working");
  assert.ok(Date.now() - began < 10_000); // not 480 s
  await pause(300);
  assert.deepEqual(node.seen.map(({ url }) => url), ["/op/tools/lan_delegate", "/op/tools/lan_task"]);
});

test("a wait survives a node that goes away and comes back", async (t) => {
  let waits = 0;
  const { call, at } = await world(t, ({ url }, response) => {
    if (url.endsWith("delegate")) return open("working");
    waits += 1;
    if (waits > 1) return [200, { text: "7", task: "t1", open: false }];
    return void response.destroy();
  });
  assert.equal((await call("lan_delegate", delegation)).content[0].text, "7");
  assert.equal(waits, 2);
  assert.ok(at.read("node.json"));
});

test("lan_task answers at once, or waits when asked to", async (t) => {
  const { call, node } = await world(t, () => (node.seen.length < 4 ? open("working") : [200, { text: "7", task: "t1", open: false }]));
  assert.equal((await call("lan_task", { task: "t1" })).content[0].text, "working");
  assert.equal(node.seen.length, 1);
  assert.equal((await call("lan_task", { task: "t1", action: "wait" })).content[0].text, "7");
});
