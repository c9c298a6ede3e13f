// A state folder, a fake gateway `api` and a fake operator port, for the tests.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const TOKEN = "operator-token";
const GLOBAL = Symbol.for("openclaw-lan-mesh");

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(condition, ms = 30_000) {
  for (const end = Date.now() + ms; Date.now() < end; await pause(20)) {
    try {
      const value = await condition();
      if (value) return value;
    } catch {
      // not yet
    }
  }
  throw new Error(`never came true: ${condition}`);
}

let copies = 0;
/** The plugin as a fresh module instance, as OpenClaw 2026.9 loads it twice. */
export const load = async () => (await import(`../index.js?copy=${(copies += 1)}`)).default;

/** A fake `api` that keeps what is registered. */
export function fakeApi(pluginConfig = {}, gateway = { port: 18789, auth: { token: "gateway-secret" } }) {
  const api = { pluginConfig, config: { gateway }, commands: {}, tools: {}, log: [] };
  const note = (text) => api.log.push(text);
  return Object.assign(api, {
    logger: { info: note, warn: note, error: note },
    registerService: (service) => (api.service = service),
    registerHttpRoute: (route) => (api.route = route),
    registerCommand: (command) => (api.commands[command.name] = command),
    registerTool: (factory, { name }) => (api.tools[name] = factory),
  });
}

/** A home of its own for one test, cleaned up after it. */
export function home(t) {
  const folder = mkdtempSync(join(tmpdir(), "lan mesh-"));
  const before = { ...process.env };
  process.env.OPENCLAW_STATE_DIR = folder;
  process.env.PATH = "/usr/bin:/bin";
  delete process.env.OPENCLAW_GATEWAY_PORT;
  const state = join(folder, "lanmesh");
  mkdirSync(state, { recursive: true });
  globalThis[GLOBAL] = undefined;
  const awake = setInterval(() => {}, 1_000); // the plugin's own timers do not keep a process running
  t.after(async () => {
    clearInterval(awake);
    const shared = globalThis[GLOBAL];
    if (shared) {
      clearTimeout(shared.timer);
      shared.run = null;
      shared.child?.kill("SIGKILL");
      shared.agent.destroy();
    }
    for (const name of Object.keys(process.env)) delete process.env[name];
    Object.assign(process.env, before);
    await pause(50);
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, state, file: (name) => join(state, name), read: (name) => readFileSync(join(state, name), "utf8") };
}

export function announce(at, port, more = {}) {
  writeFileSync(at.file("operator.token"), `${TOKEN}\n`, { mode: 0o600 });
  const node = { pid: process.pid, boot: "boot-1", version: "0", operator: { host: "127.0.0.1", port }, ...more };
  writeFileSync(at.file("node.json"), JSON.stringify(node));
}

/** The node's operator port: `answer(request, body, response)` returns [status, body], or writes by itself. */
export async function operator(t, at, answer) {
  const seen = [];
  const server = http.createServer(async (request, response) => {
    const { method, url, headers } = request;
    const entry = { method, url, headers, body: "" };
    seen.push(entry);
    for await (const chunk of request) entry.body += chunk;
    const result = await answer(entry, response);
    if (!result) return;
    const [status, body] = result;
    response.writeHead(status, { "content-type": status === 200 ? "application/json" : "application/problem+json" });
    response.end(JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  announce(at, server.address().port);
  return { seen, server };
}

/** A gateway's port: everything goes to the plugin's route. */
export async function gateway(t, api) {
  const server = http.createServer((request, response) => void api.route.handler(request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return server.address().port;
}

/** One request with the path exactly as written. */
export function send(port, path, { method = "GET", headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => (text += chunk)).on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on("error", reject).end(body);
  });
}

/** A program that stands for Python: it notes each start and its stdin, then does what `rest` says. */
export function fakePython(at, rest) {
  const script = join(at.folder, "python");
  writeFileSync(script, `#!/bin/bash
cd '${at.folder}'
echo "$$ $(date +%s%N) $*" >> starts
env > environment
tr '\\0' ' ' < /proc/$$/cmdline >> cmdline 2>/dev/null
${rest}
`);
  chmodSync(script, 0o755);
  const lines = (name) => readFileSync(join(at.folder, name), "utf8").trim().split("\n");
  return { script, starts: () => lines("starts"), lines };
}
