// A sheet: shows the rows that are asked for.
const query = document.getElementById("query"), count = document.getElementById("count");
const [label, pass, warning] = ["label", "pass", "warning"].map(id => document.getElementById(id) ?? { value: "" });
const rows = [...document.querySelectorAll("article")].map(article => ({
  article,
  keys: JSON.parse(article.dataset.keys),
  texts: [...article.querySelectorAll(".text[data-pass]")].map(block => {
    const caption = block.querySelector(".caption"), text = caption.textContent;
    return { block, caption, text, folded: fold(text), pass: block.dataset.pass };
  }),
}));

function show() {
  const words = wordsOf(query.value);
  let shown = 0;
  for (const { article, keys, texts } of rows) {
    let left = 0;
    for (const { block, caption, text, folded, pass: of } of texts) {
      block.hidden = !covers(pass.value, [of]) || !hasAll(folded, words);
      left += !block.hidden;
      caption.replaceChildren(...(block.hidden ? [text] : marked(text, words)));
    }
    const silent = texts.length === 0 && words.length === 0 && pass.value === "";
    article.hidden = !(left || silent) || !covers(label.value, [keys.label]) || !covers(warning.value, keys.flags);
    shown += !article.hidden;
  }
  count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
  for (const select of [label, pass, warning]) select.classList?.toggle("set", select.value !== "");
}

query.addEventListener("input", show);
for (const select of [label, pass, warning]) select.addEventListener?.("change", show);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
// A row that a link leads to is shown, whatever is asked for.
addEventListener("hashchange", () => {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (row?.hidden) {
    query.value = label.value = pass.value = warning.value = "";
    show();
    row.scrollIntoView();
  }
});
show(); // a browser that goes back brings what was typed
