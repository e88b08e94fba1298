// The index of a report. What it searches comes from data/*.js: a page opened from a folder may load scripts of that
// folder, and nothing else.
const BATCH = 50; // results made at once, when they are about to be seen
const SLICE = 8; // ms of searching after which the page gets to do other things
const EXCERPT = 500; // characters; of a longer caption the part around what was looked for

const element = id => document.getElementById(id);
const [query, results, end, count, progress, trouble] =
  ["query", "results", "end", "count", "progress", "trouble"].map(element);
const selects = ["folder", "label", "pass", "warning"].map(element);
const [doubt, order] = ["doubt", "order"].map(element);
const controls = [query, ...selects, doubt, order];
const views = [...document.querySelectorAll("[data-view]")];
const contents = JSON.parse(element("contents").textContent);

// What is known

const files = []; // as archive/index.py writes them, and {folded, entries}
const entries = []; // what can be found: captions, and warnings where there is none
let told = false; // whether any caption says how sure the model was
const choices = { folder: new Map(), label: new Map(), pass: new Map(), warning: new Map() }; // how many of each

const report = {
  // A file and its rows; called in data/*.js.
  file(file, rows) {
    file.folded = fold(file.path);
    file.entries = [];
    files.push(file);
    if (file.remarks.length || file.problem) {
      enter(file, { label: "", remarks: file.remarks }, null, file.problem ? ["file can’t be shown"] : []);
    }
    for (const row of rows) {
      for (const caption of row.captions) enter(file, row, caption, caption.flags);
      if (!row.captions.length) enter(file, row, null, ["no caption"]);
    }
  },
  // The previews of a file's rows; called in previews/*.js.
  previews(sheet, pictures) {
    previews.set(sheet, pictures);
    for (const image of waiting.get(sheet) ?? []) image.src = pictures[image.dataset.anchor];
    waiting.delete(sheet);
  },
};

function enter(file, row, caption, flags) {
  const text = caption?.text ?? "";
  const entry = { file, row, caption, text, folded: fold(text) };
  entry.flags = [...new Set([...flags, ...row.remarks.map(remark => remark.kind)])];
  file.entries.push(entry);
  entries.push(entry);
  const tally = (name, value) => choices[name].set(value, (choices[name].get(value) ?? 0) + 1);
  if (caption) {
    told ||= caption.confidence !== null;
    tally("folder", file.folder);
    tally("label", row.label);
    tally("pass", caption.pass);
  }
  for (const flag of entry.flags) tally("warning", flag);
}

function load(source) {
  return new Promise((loaded, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: source, onload: loaded, onerror: () => failed(new Error(source)) });
    document.head.append(script);
    script.remove();
  });
}

async function loadAll() {
  const missing = [];
  for (const [number, chunk] of contents.chunks.entries()) {
    await load(chunk).catch(error => missing.push(error.message));
    progress.value = (number + 1) / contents.chunks.length;
    if (number === 0) present();
  }
  progress.hidden = true;
  if (files.length < contents.files) {
    trouble.textContent = `${contents.files - files.length} of ${contents.files} files are missing on this page` +
      (missing.length ? `: ${missing.join(", ")} can’t be loaded.` : ".") +
      " If it was copied, copy its whole folder; otherwise make the report again.";
    trouble.hidden = false;
  }
  await present();
  document.body.dataset.state = "ready";
}

function present() {
  for (const select of selects) fill(select);
  for (const select of [doubt, order]) select.hidden = !told && !select.value;
  return search(shown);
}

function fill(select) {
  const isWarning = select.id === "warning";
  const found = [...choices[select.id]].sort((a, b) => (isWarning ? b[1] - a[1] : 0) || (a[0] < b[0] ? -1 : 1));
  const options = found.map(([value, number]) => new Option(`${value || nothing(select)} (${spell(number)})`, `=${value}`));
  if (isWarning) options.unshift(new Option("With a warning", "any"));
  const chosen = select.value || select.dataset.chosen;
  select.replaceChildren(select.options[0], ...options);
  select.value = chosen ?? "";
  if (select.selectedIndex < 0) select.value = "";
  select.hidden = found.length < (isWarning ? 1 : 2) && !select.value;
}

const nothing = select => (select.id === "folder" ? "top folder" : `no ${select.id}`);
const spell = number => number.toLocaleString("en");
const counted = (number, noun) => `${spell(number)} ${noun}${number === 1 ? "" : "s"}`;

// What is asked for

let searches = 0; // the last one counts
let chosenView = "";
let list = []; // entries or files
let shown = 0; // of the list
let asked = null;

function ask() {
  const [folder, label, pass, warning] = selects.map(select => select.value);
  const words = wordsOf(query.value);
  const anything = words.length > 0 || [...selects, doubt].some(select => select.value);
  return { words, folder, label, pass, warning, doubt: doubt.value, order: order.value, anything };
}

function fits({ file, row, caption, flags, folded }, { words, folder, label, pass, warning, doubt }) {
  return (caption || warning) && below(doubt, caption?.confidence ?? null) && covers(folder, [file.folder]) &&
    covers(label, [row.label]) && covers(pass, caption ? [caption.pass] : row.remarks.map(remark => remark.pass)) &&
    covers(warning, flags) && hasAll(folded, words);
}

async function search(atLeast = 0) {
  const own = ++searches, now = ask(), hits = [];
  let pause = performance.now() + SLICE;
  for (let at = 0; at < entries.length; at++) {
    if (fits(entries[at], now)) hits.push(entries[at]);
    if (at % 256 === 255 && performance.now() > pause) {
      await new Promise(resume => setTimeout(resume));
      if (own !== searches) return;
      pause = performance.now() + SLICE;
    }
  }
  const captions = new Map(); // by file, how many of the hits
  for (const { file, caption } of hits) captions.set(file, (captions.get(file) ?? 0) + (caption ? 1 : 0));
  const named = file => now.words.length && covers(now.folder, [file.folder]) && hasAll(file.folded, now.words);
  const found = now.anything ? files.filter(file => captions.has(file) || named(file)) : files;
  if (now.order) hits.sort(bySureness(now.order, ({ caption }) => caption?.confidence ?? null));
  const view = chosenView || (now.anything || now.order ? "captions" : "files");
  asked = { ...now, captions };
  list = view === "files" ? found : hits;
  results.className = view;
  results.replaceChildren();
  shown = 0;
  do more(); while (shown < Math.min(atLeast, list.length));
  describe(hits, found, captions);
  for (const button of views) button.setAttribute("aria-pressed", button.dataset.view === view);
  for (const select of [...selects, doubt, order]) select.classList.toggle("set", select.value !== "");
}

function describe(hits, found, captions) {
  const silent = hits.filter(hit => !hit.caption).length;
  const byName = found.length - captions.size;
  count.textContent = !asked.anything ? `${counted(hits.length, "caption")} in ${counted(files.length, "file")}` :
    counted(hits.length - silent, "caption") + (silent ? ` and ${spell(silent)} without one` : "") +
    ` in ${counted(captions.size, "file")}` + (byName ? `; ${counted(byName, "more file")} by name` : "");
}

// What is shown

function more() {
  const item = results.className === "files" ? fileItem : hitItem;
  results.append(...list.slice(shown, shown + BATCH).map(item));
  shown = Math.min(shown + BATCH, list.length);
  end.textContent = list.length ? "" : "Nothing was found.";
  ahead.unobserve(end); // observed anew it tells whether this was enough
  ahead.observe(end);
}

function make(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

function link(file, row, ...children) {
  if (!file.sheet) return make("span", "", ...children);
  const made = make("a", "", ...children);
  made.href = file.sheet + (row?.anchor ? `#${encodeURIComponent(row.anchor)}` : "");
  return made;
}

function remarkList(file, remarks) {
  const texts = remarks.map(remark => remark.text).concat(file.problem && !remarks.length ? [file.problem] : []);
  return texts.length ? [make("ul", "remarks", ...texts.map(text => make("li", "", text)))] : [];
}

function hitItem({ file, row, caption, text }) {
  const head = make("div", "head", link(file, row, file.path));
  if (row.when) head.append(make("span", "when", row.when));
  if (row.anchor) head.append(make("span", "label", row.label || "no label"));
  if (caption && choices.pass.size > 1) head.append(make("span", "pass", caption.pass));
  for (const { text, flag } of caption?.marks ?? []) head.append(make("span", flag ? "flag" : "when", text));
  const words = caption ? make("p", "caption", ...marked(excerpt(text), asked.words)) : "";
  const said = make("div", "", head, words, ...remarkList(file, row.remarks));
  return row.pictured ? make("li", "hit", picture(file, row), said) : make("li", "hit bare", said);
}

function picture(file, row) {
  const image = make("img", "");
  Object.assign(image, { alt: "", width: 112, height: 84 });
  Object.assign(image.dataset, { sheet: file.sheet, anchor: row.anchor });
  sight.observe(image);
  const leading = link(file, row, image);
  leading.tabIndex = -1; // the same as the one beside it
  return make("div", "picture", leading);
}

function excerpt(text) {
  if (text.length <= EXCERPT || !asked.words.length) return text;
  const first = Math.min(...asked.words.map(word => fold(text).indexOf(word)));
  const start = Math.max(0, Math.min(first - EXCERPT / 4, text.length - EXCERPT));
  return start > 0 ? `…${text.slice(start)}` : text;
}

function fileItem(file) {
  const item = make("li", "file", make("span", "name", link(file, null, ...marked(file.path, asked.words))));
  const all = file.entries.filter(entry => entry.caption).length;
  const some = asked.anything ? `${spell(asked.captions.get(file) ?? 0)} of ` : "";
  const flagged = file.entries.filter(entry => entry.flags.length).length;
  if (flagged) item.append(make("span", "flag", counted(flagged, "warning")));
  item.append(make("span", "quiet", some + counted(all, "caption")));
  item.append(...remarkList(file, file.remarks));
  return item;
}

// Previews: a script for each file, loaded when one of its rows comes into sight.

const previews = new Map(), waiting = new Map();
const sight = new IntersectionObserver(seen => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    sight.unobserve(target);
    const { sheet, anchor } = target.dataset;
    if (previews.has(sheet)) {
      target.src = previews.get(sheet)[anchor];
    } else if (waiting.has(sheet)) {
      waiting.get(sheet).push(target);
    } else {
      waiting.set(sheet, [target]);
      load(sheet.replace(/^sheets/, "previews").replace(/html$/, "js")).catch(() => waiting.delete(sheet));
    }
  }
}, { rootMargin: "400px" });

const ahead = new IntersectionObserver(([edge]) => {
  if (edge.isIntersecting && shown < list.length) more();
}, { rootMargin: "1200px" });

// The address keeps what is asked for, and history how far it was read: a link can be passed on, and the way back from a
// sheet leads to where it was left.

function keep() {
  const parts = new URLSearchParams();
  for (const control of controls) if (control.value) parts.set(control.id, control.value);
  if (chosenView) parts.set("view", chosenView);
  history.replaceState(null, "", `#${parts}`);
}

function restore() {
  const parts = new URLSearchParams(location.hash.slice(1));
  query.value = parts.get("query") ?? "";
  for (const select of selects) {
    select.dataset.chosen = parts.get(select.id) ?? "";
    select.value = select.dataset.chosen;
  }
  for (const select of [doubt, order]) {
    select.value = parts.get(select.id) ?? "";
    if (select.selectedIndex < 0) select.value = "";
  }
  chosenView = parts.get("view") ?? "";
}

function change() {
  keep();
  search();
}

query.addEventListener("input", change);
for (const select of [...selects, doubt, order]) select.addEventListener("change", change);
for (const button of views) {
  button.addEventListener("click", () => {
    chosenView = button.dataset.view;
    change();
  });
}
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
addEventListener("keydown", event => {
  if (event.key === "/" && !event.target.closest("input, select")) {
    event.preventDefault();
    query.focus();
  }
});
addEventListener("hashchange", () => {
  restore();
  search();
});
addEventListener("pagehide", () => history.replaceState({ shown, top: scrollY }, ""));

restore();
const left = history.state;
if (left) {
  history.scrollRestoration = "manual";
  shown = left.shown;
}
loadAll().then(() => left && scrollTo(0, left.top));
