import assert from "node:assert/strict";
import { copyFileSync, cpSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";

import { announce, fakeApi, fakePython, home, load, operator, pause, until } from "./world.js";

const STAYS = `head -n 1 > stdin; cat >/dev/null; echo done > ended`;

async function service(config, gateway) {
  const api = fakeApi(config, gateway);
  (await load()).register(api);
  return api;
}
const alive = (pid) => { try { process.kill(pid, 0); return true; } catch { return false; } };

test("the node gets its settings on stdin, and no secret otherwise", async (t) => {
  const at = home(t);
  process.env.OPENCLAW_GATEWAY_TOKEN = "gateway-secret";
  const python = fakePython(at, STAYS);
  const config = { profile: { name: "我的Agent" }, peers: {}, acceptMode: "auto", node: { port: 1 }, python: python.script, other: 1 };
  const api = await service(config, { port: 20001, auth: { token: "gateway-secret" } });
  await api.service.start({});
  const [line] = await until(() => python.lines("stdin"));
  const { boot } = globalThis[Symbol.for("openclaw-lan-mesh")];
  assert.deepEqual(JSON.parse(line), {
    profile: { name: "我的Agent" }, peers: {}, acceptMode: "auto", node: { port: 1 }, other: 1,
    gateway: { url: "ws://127.0.0.1:20001", token: "gateway-secret", boot },
  });
  assert.match(python.starts()[0], /-m lanmesh run --config-stdin --until-stdin-closes$/);
  assert.ok(!python.lines("environment").join("\n").includes("gateway-secret"));
  assert.ok(!python.lines("cmdline").join("\n").includes("gateway-secret"));
  assert.ok(python.lines("environment").includes(`LANMESH_STATE_DIR=${join(at.folder, "lanmesh")}/`)
    || python.lines("environment").includes(`LANMESH_STATE_DIR=${join(at.folder, "lanmesh")}`));
  assert.ok(python.lines("environment").includes(`OPENCLAW_STATE_DIR=${at.folder}`));
  const pid = Number(python.starts()[0].split(" ")[0]);
  await api.service.stop();
  assert.ok(existsSync(join(at.folder, "ended")), "stdin was closed first");
  assert.ok(!alive(pid));
});

test("the port and token have defaults", async (t) => {
  const at = home(t);
  const python = fakePython(at, STAYS);
  const api = await service({ python: python.script }, {});
  await api.service.start();
  const { gateway } = JSON.parse((await until(() => python.lines("stdin")))[0]);
  assert.equal(gateway.url, "ws://127.0.0.1:18789");
  assert.equal(gateway.token, null);
  await api.service.stop();
});

test("the environment that install.sh makes is found", async (t) => {
  const at = home(t);
  const python = fakePython(at, STAYS);
  const venv = at.file("venv/bin/python");
  mkdirSync(dirname(venv), { recursive: true });
  symlinkSync(python.script, venv);
  const api = await service({});
  await api.service.start();
  await until(() => python.lines("stdin"));
  await api.service.stop();
});

test("a node that ends is started again, later each time, and the reason is told", async (t) => {
  const at = home(t);
  const python = fakePython(at, `echo "first" >&2; echo "No module named lanmesh" >&2; exit 1`);
  const api = await service({ python: python.script });
  await api.service.start();
  await until(() => python.starts().length === 3);
  const times = python.starts().map((line) => Number(line.split(" ")[1]) / 1e6);
  assert.ok(times[1] - times[0] > 900 && times[2] - times[1] > 1_900, String(times));
  await until(() => !globalThis[Symbol.for("openclaw-lan-mesh")].child);
  const { text } = await api.commands["lan-status"].handler({});
  assert.match(text, /ended \(exit status 1\): No module named lanmesh .*python -m lanmesh run/);
  assert.ok(!text.includes("\n"));
  assert.equal(api.log.length, 1, "the same reason is logged once");
  await api.service.stop();
  const starts = python.starts().length;
  await pause(1_500);
  assert.equal(python.starts().length, starts, "stopped is stopped");
});

test("a wrong config is not tried again at once", async (t) => {
  const at = home(t);
  const python = fakePython(at, `echo "acceptMode: 'maybe' is not a mode" >&2; exit 78`);
  const api = await service({ python: python.script });
  await api.service.start();
  await until(async () => /acceptMode: 'maybe' is not a mode/.test((await api.commands["lan-status"].handler({})).text));
  await pause(1_500);
  assert.equal(python.starts().length, 1);
});

/** The plugin as it lies in a clone at `folder`, loaded through a link, or as a copy elsewhere, as OpenClaw 2026.9 does it. */
async function cloned(folder, copied = false) {
  mkdirSync(join(folder, "clone/plugin"), { recursive: true });
  for (const name of ["index.js", "offers.json", "package.json"]) copyFileSync(new URL(`../${name}`, import.meta.url), join(folder, "clone/plugin", name));
  symlinkSync(join(folder, "clone/plugin"), join(folder, "link"));
  const api = Object.assign(fakeApi(), { source: join(folder, "link/index.js") });
  if (copied) cpSync(join(folder, "clone/plugin"), join(folder, "elsewhere/plugin"), { recursive: true });
  (await import(join(folder, copied ? "elsewhere/plugin/index.js" : "link/index.js"))).default.register(api);
  return api;
}

test("no Python is one line that says what to run, and no harm", async (t) => {
  const at = home(t);
  const api = await cloned(at.folder);
  await api.service.start();
  for (const { handler } of Object.values(api.commands)) {
    assert.equal((await handler({})).text, "The LAN mesh has no Python environment: run ./install.sh in the openclaw-lan-mesh folder.");
  }
  await api.service.stop();
});

test("the clone's own environment is found, and lanmesh on the PATH otherwise", async (t) => {
  const own = ["clone/.venv/bin/python", "-m lanmesh run"];
  for (const [place, words, copied] of [own, [...own, true], ["bin/lanmesh", "run"]]) {
    const at = home(t);
    const python = fakePython(at, STAYS);
    mkdirSync(dirname(join(at.folder, place)), { recursive: true });
    symlinkSync(python.script, join(at.folder, place));
    process.env.PATH = `${join(at.folder, "bin")}:/usr/bin:/bin`;
    const api = await cloned(at.folder, copied);
    await api.service.start();
    await until(() => python.lines("stdin"));
    assert.equal(python.starts()[0].split(" ").slice(2).join(" "), `${words} --config-stdin --until-stdin-closes`);
    await api.service.stop();
  }
});

test("a configured Python that is not there is named, not passed over", async (t) => {
  home(t);
  const api = await service({ python: "/no/such/python" });
  await api.service.start();
  const { text } = await api.commands["lan-tasks"].handler({});
  assert.match(text, /"python" names \/no\/such\/python/);
  assert.ok(!text.includes("\n"));
  await api.service.stop();
});

test("a Python that is no program harms nothing", async (t) => {
  const at = home(t);
  const python = fakePython(at, "");
  writeFileSync(python.script, "#!/no/such/interpreter\n");
  const api = await service({ python: python.script });
  await api.service.start();
  await until(async () => /ENOENT/.test((await api.commands["lan-status"].handler({})).text));
  await api.service.stop();
});

test("a node that does not heed its stdin is ended within the gateway's 5 s", async (t) => {
  const at = home(t);
  const python = fakePython(at, `trap '' TERM; echo $$ > stdin; while true; do sleep 0.1; done`);
  const api = await service({ python: python.script });
  await api.service.start();
  const pid = Number((await until(() => python.lines("stdin")))[0]);
  const began = Date.now();
  await api.service.stop();
  assert.ok(Date.now() - began < 15_000); // 4.3 s by its own timers; the rest is for a slow machine
  await until(() => !alive(pid));
});

test("two instances of the file share one node, and an old one does not stop the new one's", async (t) => {
  const at = home(t);
  const python = fakePython(at, STAYS);
  const [first, second] = [await service({ python: python.script }), await service({ python: python.script, acceptMode: "off" })];
  await first.service.start();
  await until(() => python.lines("stdin"));
  await second.service.start(); // a reload that starts the new one first
  await first.service.stop();
  await until(() => JSON.parse(python.lines("stdin")[0]).acceptMode === "off");
  const running = python.starts().map((line) => Number(line.split(" ")[0])).filter(alive);
  assert.equal(running.length, 1);
  assert.equal(globalThis[Symbol.for("openclaw-lan-mesh")].child.pid, running[0]);
  await second.service.stop();
  assert.ok(!alive(running[0]));
});

test("a tool of one instance waits for the node that another is starting", async (t) => {
  const at = home(t);
  const python = fakePython(at, STAYS);
  const [keeper, asker] = [await service({ python: python.script }), await service({ python: python.script })];
  await keeper.service.start();
  const pending = asker.tools.lan_peers({}).execute("1", {});
  await pause(400);
  await operator(t, at, () => [200, { text: "here", task: null, open: false }]);
  assert.equal((await pending).content[0].text, "here");
  await keeper.service.stop();
});

test("a node that holds the folder gets the config, and is followed by our own when it goes", async (t) => {
  const at = home(t);
  const python = fakePython(at, `if [ -e free ]; then ${STAYS}; else exit 75; fi`);
  const { seen } = await operator(t, at, ({ url }) => (url === "/op/config" ? [200, { taken: true }] : [200, { text: "served" }]));
  const api = await service({ python: python.script, acceptMode: "manual" });
  await api.service.start();
  await until(() => seen.length === 1);
  assert.equal(seen[0].url, "/op/config");
  const { boot } = globalThis[Symbol.for("openclaw-lan-mesh")];
  assert.deepEqual(JSON.parse(seen[0].body), { acceptMode: "manual", gateway: { url: "ws://127.0.0.1:18789", token: "gateway-secret", boot } });
  assert.equal((await api.commands["lan-status"].handler({})).text, "served");
  await pause(1_500);
  assert.equal(python.starts().length, 1, "left in peace while it lives");
  writeFileSync(join(at.folder, "free"), "");
  rmSync(at.file("node.json"));
  await until(() => python.lines("stdin").length === 1);
  await api.service.stop();
});

test("a holder that refuses the config is told of", async (t) => {
  const at = home(t);
  const python = fakePython(at, "exit 75");
  await operator(t, at, () => [400, { detail: "acceptMode: 'maybe' is not a mode" }]);
  const api = await service({ python: python.script, acceptMode: "maybe" });
  await api.service.start();
  await until(() => globalThis[Symbol.for("openclaw-lan-mesh")].trouble?.includes("not a mode"));
  announce(at, 1);
  await api.service.stop();
});
