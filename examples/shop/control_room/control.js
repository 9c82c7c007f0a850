// The control room: figures come as server-sent events, buttons are POSTs.
"use strict";

const $ = (id) => document.getElementById(id);
const lanes = new Map(); // server -> its element, canvas and dots
const nodes = new Map();
const rates = [];
let stale; // not known before the first news
const count = (number) => Number(number).toLocaleString("en");
const show = (id, text) => { if ($(id).textContent !== String(text)) $(id).textContent = text; };

async function press(button) {
  button.classList.add("busy");
  button.disabled = true;
  const target = button.dataset.target ? `?target=${encodeURIComponent(button.dataset.target)}` : "";
  try {
    const answer = await fetch(`/control/do/${button.dataset.do}${target}`, { method: "POST" });
    if (!answer.ok) toast((await answer.json()).problem);
  } catch {
    toast("The control room does not answer.");
  } finally {
    button.classList.remove("busy");
    button.disabled = stale === true;
  }
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (button) press(button);
});

let hiding;
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("toast").hidden = true; }, 4500);
}

const act = (name, target, text, danger) => `<button class="mini${danger ? " danger" : ""}" data-do="${name}" data-target="${target}" aria-label="${text} ${target}">${text}</button>`;

// Rows are made once and then only changed: a button must not vanish under a finger.
function rows(map, list, items, make) {
  for (const [name, row] of map) if (!items.some((item) => item.name === name)) { row.element.remove(); map.delete(name); }
  for (const item of items) {
    if (map.has(item.name)) continue;
    const element = document.createElement("li");
    list.append(element);
    map.set(item.name, make(element, item));
  }
}

function servers(state) {
  rows(lanes, $("servers"), state.servers, (element, server) => {
    element.dataset.server = server.name;
    element.innerHTML = `<div><h3><span>${server.name}</span><span class="pill"></span></h3><small></small></div><canvas role="img" aria-label="Requests to ${server.name}"></canvas><div class="rate"><b></b><small></small></div><div class="acts fleet-only">${act("drain_server", server.name, "Drain")}${act("kill_server", server.name, "Kill", true)}</div>`;
    return { element, canvas: element.querySelector("canvas"), dots: [], pill: element.querySelector(".pill"), facts: element.querySelector("small"), rate: element.querySelector("b"), total: element.querySelector(".rate small") };
  });
  for (const server of state.servers) {
    const row = lanes.get(server.name);
    row.element.className = `lane ${server.state}`;
    row.element.dataset.state = row.pill.textContent = server.state;
    row.pill.className = `pill ${server.state}`;
    row.facts.textContent = `pid ${server.pid} · up ${age(server.uptime)}`;
    row.rate.textContent = `${server.rps.toFixed(server.rps < 10 ? 1 : 0)}/s`;
    row.total.textContent = `${count(server.requests)} in all`;
    for (const button of row.element.querySelectorAll("button:not(.busy)"))
      button.disabled = server.state === "gone" || (server.state === "draining" && button.dataset.do === "drain_server");
  }
  $("no-servers").hidden = state.servers.some((server) => server.state !== "gone");
  const now = performance.now();
  state.tape.forEach((request, index) => {
    // Spread over the half second that the report covers.
    lanes.get(request.server)?.dots.push({ ...request, at: now - 500 + (500 * index) / state.tape.length, shift: Math.sin(index * 2.4) * 0.8 });
  });
}

function databases(state) {
  const reads = state.databases.reduce((sum, node) => sum + node.reads, 0) || 1;
  rows(nodes, $("databases"), state.databases, (element, node) => {
    element.className = "node";
    element.dataset.database = node.name;
    element.innerHTML = `<div class="node-head"><h3>${node.name}</h3><span class="pill role fleet-only"></span><span class="pill state"></span><div class="acts fleet-only"></div></div><div class="node-facts"><div><p><span>Reads</span><b></b></p><div class="track"><i></i></div></div><div><p><span></span><b></b></p><div class="track"><i></i></div></div></div>`;
    const [reads, lag] = element.querySelectorAll(".node-facts > div");
    return { element, role: element.querySelector(".role"), state: element.querySelector(".state"), acts: element.querySelector(".acts"), reads, lag, key: "" };
  });
  for (const node of state.databases) {
    const row = nodes.get(node.name);
    row.element.dataset.role = row.role.textContent = node.role;
    row.role.className = `pill role fleet-only ${node.role}`;
    row.element.dataset.state = row.state.textContent = node.state;
    row.state.className = `pill state ${node.state}`;
    const key = `${node.role} ${node.state}`;
    if (row.key !== key && !row.acts.querySelector(".busy")) {
      row.key = key;
      row.acts.innerHTML = node.role === "primary" || state.single ? "" :
        node.state === "running" ? act("promote", node.name, "Promote") + act("pause_replica", node.name, "Pause") + act("kill_replica", node.name, "Kill", true) :
        node.state === "paused" ? act("promote", node.name, "Promote") + act("resume_replica", node.name, "Resume") + act("kill_replica", node.name, "Kill", true) :
        node.state === "down" ? act("start_replica", node.name, "Start") : "";
    }
    row.reads.querySelector("b").textContent = count(node.reads);
    row.reads.querySelector("i").style.width = `${(100 * node.reads) / reads}%`;
    const [label, value] = [row.lag.querySelector("span"), row.lag.querySelector("b")], bar = row.lag.querySelector("i");
    if (node.role === "primary") {
      label.textContent = "Commits"; value.textContent = count(node.commits); bar.style.width = node.commits ? "100%" : "0"; bar.className = "";
    } else {
      label.textContent = "Behind";
      value.textContent = node.lag ? (node.lag.seconds < 0.05 ? "nothing" : `${node.lag.seconds.toFixed(1)} s · ${size(node.lag.bytes)}`) : "unknown";
      bar.style.width = node.lag ? `${Math.min(100, node.lag.seconds * 5)}%` : "0"; bar.className = node.lag && node.lag.seconds > 8 ? "far" : "lag";
    }
  }
  const all = state.databases.reduce((sum, node) => sum + node.reads, 0);
  // By the role at the time of the read: a promotion moves no read that has been.
  const away = state.databases.reduce((sum, node) => sum + node.replica_reads, 0);
  show("replica-reads", state.single ? count(all) : all ? Math.round((100 * away) / all) : "–");
  show("reads", count(all));
  show("commits", count(state.databases.reduce((sum, node) => sum + node.commits, 0)));
}

function figures(state) {
  const { traffic, cache } = state;
  show("rps", traffic.rps < 10 ? traffic.rps.toFixed(1) : Math.round(traffic.rps));
  for (const name of ["p50", "p95", "p99"]) show(name, traffic[name] === null ? "–" : traffic[name] < 10 ? traffic[name].toFixed(1) : Math.round(traffic[name]));
  show("failed", count(traffic.failed));
  $("failed-tile").className = `tile ${traffic.failed ? "bad" : "zero"}`;
  show("total", count(traffic.total));
  show("repeated", count(traffic.repeated));
  show("sessions", state.sessions === null ? "–" : count(state.sessions));
  if (state.single) show("sessions-sub", "in this process");
  show("hits", cache.local_hits + cache.hits + cache.misses ? (100 * cache.hit_rate).toFixed(1) : "–");
  // In a single process the back end is local too.
  show("local", count(cache.local_hits + (state.single ? cache.hits : 0)));
  show("shared", count(cache.hits));
  show("computes", count(cache.computes));
  show("uptime", `up ${age(state.uptime)}`);
  rates.push(traffic.rps);
  if (rates.length > 80) rates.shift();
  Charts.spark($("rps-spark"), rates);
}

function crowd(state) {
  const { burst } = state, result = burst.result;
  const busiest = Charts.latency($("latency"), burst, state.log.filter((entry) => entry.kind === "act" || entry.kind === "bad"));
  show("busiest", busiest ? `, up to ${count(busiest)}` : "");
  Charts.histogram($("histogram"), result.histogram);
  for (const item of document.querySelectorAll("[data-check]")) {
    const name = item.dataset.check, value = result.requests === undefined ? null : name in result ? result[name] : result.violations[name];
    item.querySelector("b").textContent = value === null ? "–" : count(value);
    if (!item.classList.contains("plain")) item.className = value === null ? "" : value ? "bad" : "good";
  }
  for (const button of document.querySelectorAll('[data-do="burst"]:not(.busy)')) button.disabled = burst.running;
}

let logged = "";
function log(state) {
  const key = state.log.map((entry) => entry.at).join();
  if (key === logged) return;
  logged = key;
  $("log").innerHTML = [...state.log].reverse().map((entry) => `<li><time>${new Date(entry.at * 1000).toLocaleTimeString("en-GB")}</time><span class="${entry.kind}">${Charts.escape(entry.text)}</span></li>`).join("");
  more();
}
// Whether the log goes on below its edge, where it fades out then.
const more = () => $("log").classList.toggle("more", $("log").scrollTop + $("log").clientHeight < $("log").scrollHeight - 4);
$("log").addEventListener("scroll", more, { passive: true });
addEventListener("resize", more);

const age = (seconds) => (seconds < 60 ? `${Math.floor(seconds)} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);
const size = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${Math.round(bytes / 1024)} KB` : `${(bytes / 1048576).toFixed(1)} MB`);

// Without news the figures are old, and the buttons lead nowhere.
let heard = 0;
function setStale(now) {
  if (now === stale) return;
  stale = now;
  $("live").className = now ? "live off" : "live";
  show("live-text", now ? "offline" : "live");
  document.body.classList.toggle("stale", now);
  for (const button of document.querySelectorAll("button[data-do]:not(.busy)")) button.disabled = now;
}
setInterval(() => { if (heard && performance.now() - heard > 4000) setStale(true); }, 1000);

const events = new EventSource("/control/events");
events.onerror = () => setStale(true);
events.onmessage = (event) => {
  heard = performance.now();
  setStale(false);
  const state = JSON.parse(event.data);
  document.body.classList.toggle("single", state.single);
  servers(state); databases(state); figures(state); crowd(state); log(state);
};

let colours;
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  colours = { ok: style.getPropertyValue("--ok"), red: style.getPropertyValue("--k99"), amber: style.getPropertyValue("--k95"), sky: style.getPropertyValue("--sky"), line: style.getPropertyValue("--line") };
};
readColours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
(function draw() {
  if (!stale) for (const row of lanes.values()) Charts.lane(row.canvas, row.dots, performance.now(), colours);
  if (calm.matches) setTimeout(draw, 1000); else requestAnimationFrame(draw);
})();
