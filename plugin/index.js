/**
 * OpenClaw LAN Mesh inside the gateway: keeps the node running, and hands on to it what peers, user and agent ask.
 * Every decision is the node's. No import statements, so that one file loads on every OpenClaw since 2026.3.
 */
const [fs, http, os, path, { spawn }, { randomUUID }, timers] =
  ["fs", "http", "os", "path", "child_process", "crypto", "timers/promises"].map((name) => process.getBuiltinModule(`node:${name}`));

const ID = "openclaw-lan-mesh";
const [SHORTEST_PAUSE, LONGEST_PAUSE] = [1_000, 30_000]; // ms between two starts of the node
const LONGEST_TOOL_WAIT = 480; // seconds
const [STATE_FOLDER_HELD, CONFIG_INVALID] = [75, 78]; // exit statuses of the node
const HOP_BY_HOP = /^(connection|expect|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade)$/;
const SET_BY_US = /^(x-forwarded-.*|forwarded|x-real-ip|x-lanmesh-.*|host)$/;
const UNPRINTABLE = /[\x00-\x1f\x7f\\]/;

/** What lasts as long as this gateway process. OpenClaw may load this file twice, so module variables would not do. */
const shared = () => (globalThis[Symbol.for(ID)] ??= {
  boot: randomUUID(), agent: new http.Agent({ keepAlive: true, timeout: 60_000 }), // the node keeps idle connections 75 s
  queue: Promise.resolve(), run: null, child: null, holder: null, timer: null, pause: SHORTEST_PAUSE, trouble: null,
});
const sleep = (ms) => timers.setTimeout(ms, false, { ref: false });
const attempt = (action) => { try { return action(); } catch { return undefined; } };
const here = (name) => fs.realpathSync(new URL(name, import.meta.url));
const atHome = (file) => file.replace(/^~(?=\/|$)/, os.homedir());
const openclawFolder = () => path.resolve(atHome(process.env.OPENCLAW_STATE_DIR?.trim() || "~/.openclaw"));
const stateFile = (name = "") => path.join(openclawFolder(), "lanmesh", name);

/** The program of that name or path, if it can be run. */
const program = (name) => (process.env.PATH || "/").split(path.delimiter).map((folder) => path.resolve(folder, name))
  .find((file) => attempt(() => (fs.accessSync(file, fs.constants.X_OK), fs.statSync(file).isFile())));

/** How to run lanmesh here, or the trouble with it. */
function findNode({ pluginConfig: config, source }) {
  const own = typeof config?.python === "string" && config.python.trim();
  const file = attempt(() => fs.realpathSync(source)) ?? here("index.js"); // what runs may be a copy elsewhere (2026.9)
  const places = own ? [atHome(own)] : [stateFile("venv/bin/python"), path.join(file, "../../.venv/bin/python")];
  const python = places.map(program).find(Boolean);
  if (python) return { command: [python, "-m", "lanmesh"] };
  if (own) return { trouble: `The LAN mesh cannot start: its config key "python" names ${own}, which cannot be run.` };
  const lanmesh = program("lanmesh");
  return lanmesh ? { command: [lanmesh] } : { trouble: `The LAN mesh has no Python environment: run ./install.sh in the ${ID} folder.` };
}

/** What the node is told on its stdin: the user's config and the way back to this gateway. */
function settings({ pluginConfig, config }) {
  const { python: _python, toolWaitSeconds: _wait, ...own } = Object(pluginConfig);
  const { port, auth, tls } = config?.gateway ?? {};
  const at = `127.0.0.1:${Number(process.env.OPENCLAW_GATEWAY_PORT) || port || 18789}`; // the variable tells of `--port`
  const token = [auth?.token, process.env.OPENCLAW_GATEWAY_TOKEN].find((text) => text && typeof text === "string") ?? null;
  return { ...own, gateway: { url: `${tls?.enabled ? "wss" : "ws"}://${at}`, token, boot: shared().boot } };
}

/** The node that runs now, by its own file; throws if none does. */
function livingNode() {
  const { pid, boot, operator } = JSON.parse(fs.readFileSync(stateFile("node.json"), "utf8"));
  try { process.kill(pid, 0); } catch (error) { if (error.code !== "EPERM") throw error; }
  const token = fs.readFileSync(stateFile("operator.token"), "utf8").trim();
  return { boot, token, at: { host: operator.host, port: operator.port, agent: shared().agent } };
}

const lastLine = (name, since) => attempt(() => fs.statSync(stateFile(name)).mtimeMs > since - 100
  && fs.readFileSync(stateFile(name), "utf8").trim().split("\n").pop().slice(0, 300));
const whyAway = () => shared().trouble ?? (shared().child
  ? "The LAN mesh node is still starting: try again in a few seconds."
  : "The LAN mesh node is not running: restart the gateway, or run `lanmesh run` to see why.");
const later = (run, ms) => { clearTimeout(shared().timer); shared().timer = setTimeout(launch, ms, run).unref(); };

/** Start the node, and again whenever it ends by itself. */
function launch(run) {
  const state = shared();
  if (state.run !== run) return undefined;
  if (state.holder && state.holder === attempt(livingNode)?.boot) return later(run, 1_000);
  const fail = (why, atLeast = 0) => {
    if (why !== state.trouble) run.log?.warn?.(`${ID}: ${why}`);
    later(run, Math.max(state.pause, atLeast));
    Object.assign(state, { trouble: why, pause: Math.min(state.pause * 2, LONGEST_PAUSE) });
  };
  const began = Date.now(), { OPENCLAW_GATEWAY_TOKEN: _token, OPENCLAW_GATEWAY_PASSWORD: _password, ...env } = process.env; // secrets go by stdin
  let errors, child, command, trouble;
  try {
    ({ command, trouble } = findNode(run.api));
    if (trouble) return fail(trouble, LONGEST_PAUSE);
    fs.mkdirSync(stateFile(), { recursive: true, mode: 0o700 });
    errors = fs.openSync(stateFile("start.log"), "w", 0o600); // no pipe: it would break under the node when the gateway dies
    child = spawn(command[0], [...command.slice(1), "run", "--config-stdin", "--until-stdin-closes"], {
      cwd: stateFile(), stdio: ["pipe", "ignore", errors], // in this folder nothing shadows the package
      env: { ...env, OPENCLAW_STATE_DIR: openclawFolder(), LANMESH_STATE_DIR: stateFile() },
    });
    child.stdin?.on("error", () => {}); // the node's exit says it
    child.stdin?.write(`${JSON.stringify(settings(run.api))}\n`);
  } catch (error) {
    return fail(`The LAN mesh node could not be started: ${error.message}.`, LONGEST_PAUSE);
  } finally { attempt(() => fs.closeSync(errors)); }
  state.child = child;
  const ended = (how, status) => {
    if (state.child !== child) return undefined;
    state.child = null;
    if (state.run !== run) return undefined;
    if (Date.now() - began > 60_000) state.pause = SHORTEST_PAUSE;
    state.holder = status === STATE_FOLDER_HELD ? attempt(livingNode)?.boot : null;
    if (state.holder) return takeHolder(run);
    const reason = lastLine("start.log", began) || lastLine("node.log", began) || "it left no word in node.log";
    return fail(`The LAN mesh node ended (${how}): ${reason} (to see more, run \`${command.join(" ")} run\`)`,
      [STATE_FOLDER_HELD, CONFIG_INVALID].includes(status) ? LONGEST_PAUSE : 0);
  };
  child.on("error", (error) => child.pid === undefined && ended(error.message)); // unheard, it would end the gateway
  return child.on("exit", (code, signal) => ended(signal ? `by ${signal}` : `exit status ${code}`, code));
}

/** A node that the plugin did not start holds the state folder: let it serve this gateway for as long as it runs. */
async function takeHolder(run) {
  later(run, 1_000);
  const { error } = await ask("/op/config", settings(run.api));
  if (shared().run === run) shared().trouble = error ?? null;
}

/** Close the node's stdin and wait for its end: at most 4.3 s, as the gateway waits 5 s for a service. */
async function halt() {
  const state = shared(), { child } = state;
  clearTimeout(state.timer);
  Object.assign(state, { run: null, holder: null, trouble: null, pause: SHORTEST_PAUSE });
  if (!child) return;
  const gone = new Promise((resolve) => child.once("exit", () => resolve(true)));
  child.stdin?.end();
  for (const [ms, signal] of [[3_000, "SIGTERM"], [1_000, "SIGKILL"], [300]]) {
    if (await Promise.race([gone, sleep(ms)])) break;
    if (signal) child.kill(signal);
  }
}

function service(api) {
  const run = { api, log: api.logger };
  const inTurn = (step) => (shared().queue = shared().queue.then(step).catch((error) => run.log?.error?.(`${ID}: ${error.message}`)));
  return {
    id: "lan-mesh",
    start: () => inTurn(async () => { await halt(); shared().run = run; launch(run); }),
    stop: () => inTurn(() => (shared().run === run ? halt() : undefined)), // not what a newer instance has started
  };
}

const post = (route, payload, signal, timeout) => new Promise((resolve, reject) => {
  const { token, at } = livingNode();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", "content-length": Buffer.byteLength(payload) };
  const request = http.request({ ...at, path: route, method: "POST", headers, signal, timeout }, (response) => {
    const chunks = [];
    response.on("data", (chunk) => chunks.push(chunk)).on("error", reject).on("end", () => {
      const body = attempt(() => JSON.parse(Buffer.concat(chunks).toString()));
      resolve(response.statusCode === 200 && body ? body : { error: body?.detail ?? `The node answered ${response.statusCode}.` });
    });
  });
  request.on("error", reject).on("timeout", () => request.destroy(new Error("no answer within 60 s"))).end(payload);
});

/** The node's answer, or `error` with a sentence; a node that starts gets 5 s, one that copies files first no limit (0). */
async function ask(route, body, signal, timeout = body.args?.files || route.endsWith("/lan_task_reply") ? 0 : 60_000) {
  for (let tries = 25; ; tries -= 1) {
    try { return await post(route, JSON.stringify(body), signal, timeout); } catch (error) {
      const unsent = ["ENOENT", "ESRCH", "ECONNREFUSED"].includes(error.code); // only then is asking again safe
      if (signal?.aborted || !unsent) return { lost: true, error: `The LAN mesh node did not answer: ${error.message}.` };
      if (!shared().child || !tries) return { lost: true, error: whyAway() };
      await sleep(200);
    }
  }
}

/** The request's target, safe to hand on; undefined if it is not below /lan/. */
function meshTarget(url) {
  const [, raw, query = ""] = /^([^?#]*)(\?[^#]*)?/.exec(url);
  const decoded = attempt(() => decodeURIComponent(raw));
  if (decoded === undefined || UNPRINTABLE.test(decoded)) return undefined;
  const [root, first, ...rest] = path.posix.normalize(decoded).replace(/\/+$/, "").split("/");
  if (root !== "" || first?.toLowerCase() !== "lan" || !rest.length) return undefined;
  return `/lan/${rest.map(encodeURIComponent).join("/")}${query}`;
}

function endToEnd(headers, more = /^$/) {
  const named = (headers.connection ?? "").toLowerCase().split(/\s*,\s*/).filter((name) => name !== "content-length"); // framing stays
  const kept = (name) => !HOP_BY_HOP.test(name) && !more.test(name) && !named.includes(name);
  return Object.fromEntries(Object.entries(headers).filter(([name]) => kept(name)));
}

/** Hand a request on to the node's /lan face and stream its answer back. */
const forward = (req, res) => new Promise((done) => {
  res.on("error", () => {}).once("close", () => done(true));
  const refuse = (status, code, detail) => {
    res.writeHead(status, { "content-type": "application/problem+json", ...(status === 502 && { "retry-after": "2" }) });
    return res.end(JSON.stringify({ type: `urn:lanmesh:problem:${code}`, title: http.STATUS_CODES[status], status, detail, code }));
  };
  const away = () => refuse(502, "node-unreachable", "The mesh node of this gateway does not answer; its owner sees why by /lan-status.");
  const target = meshTarget(req.url);
  if (!target) return refuse(404, "route-not-found", "There is nothing at this path.");
  try {
    const { token, at } = livingNode(), large = req.headers["transfer-encoding"] || req.headers["content-length"] > 65_536;
    const headers = { ...endToEnd(req.headers, SET_BY_US), host: `${at.host}:${at.port}`, "x-lanmesh-forwarding": token,
      "x-forwarded-for": (req.socket.remoteAddress ?? "").replace(/^::ffff:/, ""), "x-forwarded-host": req.headers.host ?? "",
      ...(large && { expect: "100-continue" }), // a node that refuses a body unread closes over it, and its answer is lost
      ...(req.headers["transfer-encoding"] && { "transfer-encoding": "chunked" }) }; // a body stays framed, with any method
    const upstream = http.request({ ...at, method: req.method, path: target, headers }, (answer) => attempt(() => {
      res.writeHead(answer.statusCode, endToEnd(answer.headers)).flushHeaders();
      return answer.on("error", () => {}).once("close", () => answer.complete || res.destroy()).pipe(res);
    }) ?? res.destroy());
    upstream.on("error", () => res.headersSent || away());
    res.once("close", () => (res.writableFinished && upstream.writableFinished) || upstream.destroy());
    return large ? upstream.once("continue", () => req.pipe(upstream)).flushHeaders() : req.pipe(upstream);
  } catch { return away(); }
});

function command(api, { name, description, privileged }) {
  const handler = async ({ args = "", sessionKey: session = null, isAuthorizedSender }) => {
    if (privileged && isAuthorizedSender === false) return { text: `Only an authorized sender may use /${name}.` };
    return ask(`/op/commands/${name}`, { args, session }).then(({ text, error }) => ({ text: text ?? error }));
  };
  return { name, description, acceptsArgs: true, requireAuth: true, handler };
}

const shown = ({ text, error, task = null, open = false, terminate }) => (error !== undefined
  ? { content: [{ type: "text", text: `error: ${error}` }], details: { ok: false }, isError: true }
  : { content: [{ type: "text", text }], details: { task, open }, ...(terminate && { terminate: true }) });

/** A tool of one session. It waits for an open task by asking again; an abort ends the waiting, never the task. */
function tool(api, offer, { sessionKey: session = null, workspaceDir = null, sandboxed }) {
  if (offer.name === "lan_task_reply" && !session?.toLowerCase().includes(":lan-task:")) return null;
  const execute = async (_callId, args = {}, signal = undefined, onUpdate = undefined) => {
    const seconds = Math.min(Number(api.pluginConfig?.toolWaitSeconds ?? LONGEST_TOOL_WAIT) || 0, LONGEST_TOOL_WAIT);
    const began = Date.now(), left = () => Math.max(seconds - (Date.now() - began) / 1_000, 0);
    const caller = { session, workspace: sandboxed ? null : workspaceDir }; // a sandbox shows its agent other files
    const waits = offer.name === "lan_delegate" || ["wait", "answer"].includes(args.action);
    let answer = await ask(`/op/tools/${offer.name}`, { args, ...caller }, offer.name === "lan_task" ? signal : undefined);
    while (waits && answer.open && answer.task && left() && !signal?.aborted) {
      attempt(() => onUpdate?.(shown(answer)));
      const [asked, more] = [Date.now(), { task: answer.task, action: "wait", waitSeconds: left(), version: answer.version }];
      const next = await ask("/op/tools/lan_task", { args: more, ...caller }, signal);
      if (!next.lost) answer = next; // a node that is away for a while is waited for
      if (answer.open && Date.now() - asked < 250) await sleep(250);
    }
    return shown({ terminate: offer.name === "lan_task_reply", ...answer });
  };
  return { ...offer, execute };
}

export default {
  id: ID, name: "LAN Mesh", description: "Agents on this network send each other messages and delegate tasks.",
  register(api) {
    const offers = JSON.parse(fs.readFileSync(here("offers.json"), "utf8"));
    api.registerService(service(api));
    api.registerHttpRoute({ path: "/lan", match: "prefix", auth: "plugin", handler: forward });
    for (const offer of offers.commands) api.registerCommand(command(api, offer));
    for (const offer of offers.tools) api.registerTool((ctx) => tool(api, offer, ctx ?? {}), { name: offer.name });
  },
};
