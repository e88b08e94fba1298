"use strict";

const EVERY = 2;            // seconds from one look at the server to the next
const LONGEST_WAIT = 30;    // seconds, while it doesn't answer
const SURE = 5;             // seconds in which a second press on "Cancel" counts
const STAGES = ["done", "generating", "waiting", "reading", "queued"];
const NOTICES = {
  starting: "The engine is loading the model. Calls are refused until it is warm.",
  restarting: "The engine died or hung, and is being replaced. Calls in flight go on when it is back; new ones are refused.",
  draining: "The server is shutting down. Calls in flight finish as long as there is time; new ones are refused.",
  dead: "The engine could not be brought back. The server ends, for its supervisor to start it again.",
  closed: "The engine has been closed. The server ends.",
};
const $ = id => document.getElementById(id);
const token = { get: () => sessionStorage.getItem("token"), set: value => sessionStorage.setItem("token", value) };

let failures = 0, timer = 0, last = null, lastAt = 0;

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties))
    key in made ? made[key] = value : made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Numbers for people.

function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

function bytes(count) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1024 || unit === "GiB") return `${count < 10 && unit !== "B" ? count.toFixed(1) : Math.round(count)} ${unit}`;
    count /= 1024;
  }
}

const percent = share => `${Math.round(share * 100)} %`;
const whole = number => number.toLocaleString("en");
const plural = (count, one, many = one + "s") => `${whole(count)} ${count === 1 ? one : many}`;

// Plots: hand-made SVG, in the pixels that it has.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 34, BOTTOM = 18, TOP = 6, RIGHT = 4;

function svg(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function niceTop(highest) {
  if (highest <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= highest);
}

class Plot {
  constructor(title, format, top) {
    this.format = format;
    this.fixedTop = top;
    this.values = [];
    this.seconds = 10;
    this.points = 360;
    this.cursor = null;
    this.now = element("span", { className: "now" });
    this.svg = svg("svg", { role: "img", tabindex: 0, "aria-label": title });
    this.title = title;
    this.figure = element("figure", { className: "card" }, element("figcaption", {}, element("span", {}, title), this.now), this.svg);
    this.svg.addEventListener("pointermove", event => this.pointAt(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", event => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  show(values, seconds, points) {
    Object.assign(this, { values, seconds, points });
    this.draw();
  }

  x(index) { return LEFT + (this.width - LEFT - RIGHT) * (this.points - this.values.length + index) / (this.points - 1); }
  y(value) { return TOP + (this.height - TOP - BOTTOM) * (1 - value / this.top); }

  draw() {
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    if (!this.width) return;
    const known = this.values.filter(value => value !== null);
    this.top = this.fixedTop ?? niceTop(Math.max(0, ...known));
    this.svg.replaceChildren(...this.frame(), ...this.runs().flatMap(run => this.run(run)), ...this.hair());
    const latest = this.values.at(-1) ?? null;
    const said = latest === null ? "not known" : this.format(latest);
    this.now.textContent = this.cursor === null || !this.values.length ? said : this.told(this.cursor);
    const high = known.length ? `, highest ${this.format(Math.max(...known))}` : "";
    this.svg.setAttribute("aria-label", `${this.title}: now ${said}${high} in the last hour. Arrow keys read earlier values.`);
  }

  frame() {
    const parts = [];
    for (const value of [0, this.top / 2, this.top]) {
      const y = this.y(value);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
      parts.push(this.label(this.format(value, true), LEFT - 6, y + 4, "end"));
    }
    const minutes = this.points * this.seconds / 60;
    for (const [share, anchor] of [[0, "start"], [.5, "middle"], [1, "end"]]) {
      const ago = Math.round(minutes * (1 - share));
      parts.push(this.label(ago ? `${ago} min ago` : "now", LEFT + (this.width - LEFT - RIGHT) * share, this.height - 2, anchor));
    }
    return parts;
  }

  label(text, x, y, anchor) {
    const made = svg("text", { x, y, "text-anchor": anchor });
    made.textContent = text;
    return made;
  }

  runs() {  // stretches of known values
    const runs = [];
    this.values.forEach((value, index) => {
      if (value === null) return;
      if (index && this.values[index - 1] !== null) runs.at(-1).push(index); else runs.push([index]);
    });
    return runs;
  }

  run(indices) {
    const line = indices.map((index, i) => `${i ? "L" : "M"}${this.x(index).toFixed(1)} ${this.y(this.values[index]).toFixed(1)}`).join("");
    const floor = this.y(0);
    const area = `${line}L${this.x(indices.at(-1)).toFixed(1)} ${floor}L${this.x(indices[0]).toFixed(1)} ${floor}Z`;
    return [svg("path", { class: "area", d: area }), svg("path", { class: "line", d: line })];
  }

  hair() {
    const value = this.cursor === null ? undefined : this.values[this.cursor];
    if (value === undefined || value === null) return [];
    const x = this.x(this.cursor);
    return [svg("line", { class: "hair", x1: x, x2: x, y1: TOP, y2: this.y(0) }), svg("circle", { class: "dot", cx: x, cy: this.y(value), r: 3 })];
  }

  told(index) {
    const value = this.values[index];
    const ago = (this.values.length - 1 - index) * this.seconds;
    return `${value === null ? "not known" : this.format(value)}, ${ago ? duration(ago) + " ago" : "now"}`;
  }

  pointAt(x) {
    const index = Math.round((x - LEFT) / (this.width - LEFT - RIGHT) * (this.points - 1)) - (this.points - this.values.length);
    this.point(index < 0 ? null : index);
  }

  point(index) {
    this.cursor = index === null || !this.values.length ? null : Math.max(0, Math.min(this.values.length - 1, index));
    this.now.setAttribute("aria-live", index === null ? "off" : "polite");
    this.draw();
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -1e9, End: 1e9 };
    if (event.key === "Escape") return this.point(null);
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.point((this.cursor ?? this.values.length - 1) + steps[event.key]);
  }
}

const PLOTS = {
  captions_per_minute: new Plot("Captions a minute", (value, axis) => whole(axis ? value : Math.round(value * 10) / 10)),
  waiting: new Plot("Prompts that wait", value => whole(value)),
  kv_cache: new Plot("KV cache in use", percent, 1),
  gpu_memory: new Plot("GPU memory in use", percent, 1),
};

// The parts of the page.

function showState(state, notice) {
  $("state").dataset.state = state;
  if ($("state").textContent !== state) $("state").textContent = state;
  $("notice").hidden = !notice;
  $("notice").dataset.tone = ["dead", "closed", "gone"].includes(state) ? "bad" : "";
  if ($("notice").textContent !== notice) $("notice").textContent = notice;
}

function showTiles(status) {
  const { engine, memory, totals } = status;
  const rate = status.history.captions_per_minute.at(-1);
  const tiles = [
    ["Captions a minute", rate === null || rate === undefined ? "–" : whole(Math.round(rate * 10) / 10), `${whole(totals.captions)} since the start`],
    ["Prompts that wait", whole(engine.waiting + engine.preparing), `${whole(engine.generating)} in the model`],
    ["KV cache", percent(engine.kv_cache), engine.restarts ? plural(engine.restarts, "engine restart") : "no engine restart"],
  ];
  for (const part of memory)
    tiles.push([part.of, bytes(part.held), part.limit ? `of ${bytes(part.limit)}` : ""]);
  for (const gpu of status.gpus)
    tiles.push([gpu.name, bytes(gpu.held), `held here, ${bytes(gpu.free)} of ${bytes(gpu.total)} free`]);
  tiles.push(["Calls", whole(totals.calls), totals.refused ? `done, and ${whole(totals.refused)} refused` : "done, none refused"]);
  $("tiles").replaceChildren(...tiles.map(([name, value, more]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value, element("small", {}, more)))));
}

const rows = new Map();

function newRow(call) {
  const row = { sure: 0 };
  row.facts = element("span", { className: "facts" });
  row.tag = element("span", { className: "tag" }, "background");
  row.button = element("button", { type: "button" }, "Cancel");
  row.button.addEventListener("click", () => cancel(call.id, row));
  row.bar = element("div", { className: "bar", role: "progressbar", "aria-valuemin": 0, "aria-label": `Progress of call ${call.id}` });
  row.parts = STAGES.slice(0, -1).map(stage => element("i", { className: stage }));
  row.bar.append(...row.parts);
  row.key = element("div", { className: "key" });
  row.item = element("li", { className: "call card" },
    element("div", { className: "top" }, element("code", {}, call.id), row.facts, row.tag, row.button), row.bar, row.key);
  rows.set(call.id, row);
  return row;
}

function showCall(call, mayCancel) {
  const row = rows.get(call.id) ?? newRow(call);
  const counts = { done: call.done, ...call.stages };
  row.facts.textContent = `${duration(call.age)}, ${whole(call.done)} of ${plural(call.total, "prompt")}`
    + (call.cancelled ? `, cancelled (${call.cancelled.replaceAll("_", " ")})` : "");
  row.tag.hidden = call.priority !== "background";
  row.button.hidden = !mayCancel || Boolean(call.cancelled);
  if (row.sure < Date.now()) { row.button.textContent = "Cancel"; row.button.className = ""; }
  row.button.setAttribute("aria-label", `${row.button.textContent} call ${call.id}`);
  row.bar.setAttribute("aria-valuemax", Math.max(1, call.total));
  row.bar.setAttribute("aria-valuenow", call.done);
  row.bar.setAttribute("aria-valuetext", `${call.done} of ${call.total} prompts done`);
  row.parts.forEach((part, i) => { part.style.width = `${100 * counts[STAGES[i]] / Math.max(1, call.total)}%`; });
  row.key.replaceChildren(...STAGES.filter(stage => counts[stage]).map(stage =>
    element("span", { className: stage }, `${whole(counts[stage])} ${stage}`)));
  return row.item;
}

function showCalls(status) {
  const ids = new Set(status.calls.map(call => call.id));
  for (const [id, row] of rows) if (!ids.has(id)) { row.item.remove(); rows.delete(id); }
  status.calls.forEach((call, place) => {
    const item = showCall(call, status.may_cancel);
    if ($("calls").children[place] !== item) $("calls").insertBefore(item, $("calls").children[place] ?? null);
  });
  $("calls-count").textContent = status.calls.length ? status.calls.length : "";
  $("no-calls").hidden = status.calls.length > 0;
}

function showWarnings(warnings) {
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  $("warnings").hidden = !warnings.length;
  $("no-warnings").hidden = warnings.length > 0;
  $("warnings-count").textContent = warnings.length ? warnings.length : "";
  $("warnings").replaceChildren(...warnings.map(warning => {
    const at = new Date(warning.time * 1000);
    const frames = warning.time_frames.join(", ") + (warning.more ? ` and ${warning.more} more` : "");
    return element("li", {}, element("time", { dateTime: at.toISOString() }, clock.format(at)),
      element("div", {}, warning.cause.replaceAll("_", " "),
        element("div", { className: "where" }, `${frames ? frames + ", " : ""}call ${warning.call}`)));
  }));
}

function showPlots(history) {
  for (const [name, plot] of Object.entries(PLOTS)) {
    const values = history[name] ?? [];
    const known = values.some(value => value !== null);
    if (known && !plot.figure.isConnected) $("plots").append(plot.figure);
    if (plot.figure.isConnected) plot.show(values, history.seconds, history.points);
  }
}

function show(status) {
  showState(status.state, NOTICES[status.state] ?? "");
  $("model").textContent = `${status.model} · version ${status.version} · up ${duration(status.uptime)}`;
  $("sign-in").hidden = true;
  $("body").hidden = false;
  $("body").classList.remove("stale");
  showTiles(status);
  showCalls(status);
  showPlots(status.history);
  showWarnings(status.warnings);
  $("updated").textContent = `Updated ${new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }).format(new Date())}, every ${EVERY} s.`;
}

// Talking to the server.

const asked = (path, method = "GET") => fetch(path, {
  method, cache: "no-store", signal: AbortSignal.timeout(15000),
  headers: token.get() ? { Authorization: `Bearer ${token.get()}` } : {},
});

async function look() {
  clearTimeout(timer);
  let wait = EVERY;
  try {
    const answer = await asked("status.json");
    if (answer.status === 401 || answer.status === 403) { askForToken(); return; }
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    last = await answer.json();
    lastAt = Date.now();
    failures = 0;
    show(last);
  } catch (error) {
    failures += 1;
    wait = Math.min(LONGEST_WAIT, EVERY * 2 ** (failures - 1));
    const since = lastAt ? ` What is shown is ${duration((Date.now() - lastAt) / 1000)} old.` : "";
    const before = last && last.state !== "ready" ? ` When it last answered it was ${last.state}.` : "";
    showState("gone", `The server doesn't answer. It is asked again in ${wait} s.${before}${since}`);
    $("body").classList.add("stale");
  }
  if (!document.hidden) timer = setTimeout(look, wait * 1000);
}

function askForToken() {
  showState("locked", "");
  $("body").hidden = true;
  $("why").textContent = token.get() ? "The server doesn't take this token." : "This server shows its state to those who have its token.";
  $("sign-in").hidden = false;
}

async function cancel(id, row) {
  if (row.sure < Date.now()) {
    row.sure = Date.now() + SURE * 1000;
    row.button.textContent = "Really cancel?";
    row.button.className = "sure";
    row.button.setAttribute("aria-label", `Really cancel call ${id}?`);
    return;
  }
  row.button.disabled = true;
  try {
    const answer = await asked(`calls/${encodeURIComponent(id)}`, "DELETE");
    $("told").textContent = answer.ok ? `Call ${id} is cancelled.` : `Call ${id} was not cancelled: the server answered ${answer.status}.`;
  } catch {
    $("told").textContent = `Call ${id} was not cancelled: the server doesn't answer.`;
  }
  row.button.disabled = false;
  row.sure = 0;
  look();
}

$("sign-in").addEventListener("submit", event => {
  event.preventDefault();
  token.set($("token").value);
  $("token").value = "";
  look();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
look();
