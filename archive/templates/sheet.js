// A sheet: shows the rows that are asked for.
const query = document.getElementById("query"), count = document.getElementById("count");
const selects = ["label", "pass", "warning", "doubt", "order"].map(id => document.getElementById(id) ?? { value: "" });
const [label, pass, warning, doubt, order] = selects;
const main = document.querySelector("main"), inOrder = [...main.children];
const rows = [...document.querySelectorAll("article")].map(article => ({
  article,
  keys: JSON.parse(article.dataset.keys),
  texts: [...article.querySelectorAll(".text[data-pass]")].map(block => {
    const caption = block.querySelector(".caption"), text = caption.textContent;
    const confidence = "confidence" in block.dataset ? Number(block.dataset.confidence) : null;
    return { block, caption, text, folded: fold(text), pass: block.dataset.pass, confidence };
  }),
}));

function show() {
  const words = wordsOf(query.value);
  let shown = 0;
  for (const { article, keys, texts } of rows) {
    let left = 0;
    for (const { block, caption, text, folded, pass: of, confidence } of texts) {
      block.hidden = !covers(pass.value, [of]) || !hasAll(folded, words) || !below(doubt.value, confidence);
      left += !block.hidden;
      caption.replaceChildren(...(block.hidden ? [text] : marked(text, words)));
    }
    const silent = texts.length === 0 && words.length === 0 && pass.value === "" && doubt.value === "";
    article.hidden = !(left || silent) || !covers(label.value, [keys.label]) || !covers(warning.value, keys.flags);
    shown += !article.hidden;
  }
  count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
  for (const select of selects) select.classList?.toggle("set", select.value !== "");
  arrange();
}

// By confidence, or as they were, with the headings between them.
function arrange() {
  if (!order.value && !main.dataset.order) return;
  const extreme = order.value === "sure" ? Math.max : Math.min;
  const sureness = ({ texts }) => {
    const told = texts.filter(({ block, confidence }) => !block.hidden && confidence !== null);
    return told.length ? extreme(...told.map(({ confidence }) => confidence)) : null;
  };
  const sorted = [...rows].sort(bySureness(order.value, sureness)).map(({ article }) => article);
  main.replaceChildren(...(order.value ? sorted : inOrder));
  main.dataset.order = order.value;
}

query.addEventListener("input", show);
for (const select of selects) select.addEventListener?.("change", show);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
// A row that a link leads to is shown, whatever is asked for.
addEventListener("hashchange", () => {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (row?.hidden) {
    query.value = "";
    for (const select of selects) select.value = "";
    show();
    row.scrollIntoView();
  }
});
show(); // a browser that goes back brings what was typed
