"use strict";
// What the index and the sheets share: how words are looked for, and how they are shown in what was found.

// Lower case, without accents, so that "Zurich" finds "Zürich".
function fold(text) {
  const lower = text.toLowerCase();
  return /^[\x00-\x7f]*$/.test(lower) ? lower : lower.normalize("NFD").replace(/\p{M}/gu, "");
}

// The words of a query; "between quotation marks" is one.
function wordsOf(query) {
  return [...fold(query).matchAll(/"([^"]+)"?|([^\s"]+)/g)].map(match => match[1] ?? match[2]);
}

function hasAll(folded, words) {
  return words.every(word => folded.includes(word));
}

// A text as nodes, the words in it marked.
function marked(text, words) {
  const origin = []; // of each unit of the folded text, where its character begins and ends
  let folded = "", at = 0;
  for (const character of text) {
    const plain = fold(character);
    for (let unit = 0; unit < plain.length; unit++) origin.push([at, at + character.length]);
    folded += plain;
    at += character.length;
  }
  const spans = [];
  for (const word of words) {
    for (let hit = folded.indexOf(word); hit >= 0; hit = folded.indexOf(word, hit + word.length)) {
      spans.push([origin[hit][0], origin[hit + word.length - 1][1]]);
    }
  }
  spans.sort((a, b) => a[0] - b[0]);
  const nodes = [];
  let done = 0;
  for (const [start, end] of spans) {
    if (end <= done) continue;
    const from = Math.max(start, done);
    const mark = document.createElement("mark");
    mark.textContent = text.slice(from, end);
    nodes.push(text.slice(done, from), mark);
    done = end;
  }
  nodes.push(text.slice(done));
  return nodes;
}

// Whether a confidence is below what a select says; "" is any, and none at all is below nothing.
function below(choice, confidence) {
  return choice === "" || (confidence !== null && confidence < Number(choice));
}

// What comes first when the order is by confidence; what has none comes last, and equals stay as they were.
function bySureness(order, confidence) {
  return (one, other) => {
    const [first, second] = [confidence(one), confidence(other)];
    if (first === null || second === null) return (first === null) - (second === null);
    return order === "sure" ? second - first : first - second;
  };
}

// Whether a choice of a select covers the values of something; "" is all, "any" is any value at all.
function covers(choice, values) {
  return choice === "" || (choice === "any" ? values.length > 0 : values.includes(choice.slice(1)));
}
