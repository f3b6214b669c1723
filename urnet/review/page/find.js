// Type a part of a class's name, choose by arrows and Enter or by pointer.
"use strict";

const MOST = 60;  // classes listed at once
const at = (id) => document.getElementById(id);
const dialog = at("find"), words = at("find-words"), list = at("find-list");
const recent = [];  // classes chosen before, the last one first
let names = [], found = [], place = 0, chosen = null;

function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

// Names that begin with the words first, then those with a word that does, then all others that hold them.
function rank(name, parts) {
  const text = plain(name);
  if (!parts.every((part) => text.includes(part))) return -1;
  if (!parts.length || text.startsWith(parts[0])) return 0;
  return new RegExp(`(^|[^\\p{L}\\p{N}])${parts[0].replace(/[^\p{L}\p{N}]/gu, "\\$&")}`, "u").test(text) ? 1 : 2;
}

function search() {
  const parts = plain(words.value).split(/\s+/).filter(Boolean);
  const order = new Intl.Collator(undefined, { numeric: true });
  found = names.map((name, c) => ({ name, c, rank: rank(name, parts), used: recent.indexOf(c) }))
    .filter((entry) => entry.rank >= 0)
    .sort((a, b) => (parts.length ? a.rank - b.rank : 0)
      || (a.used < 0 ? 1e9 : a.used) - (b.used < 0 ? 1e9 : b.used) || order.compare(a.name, b.name));
  list.replaceChildren(...found.slice(0, MOST).map((entry, i) => {
    const item = document.createElement("li"), name = document.createElement("bdi");
    name.textContent = entry.name;
    item.append(name);
    item.id = `class-${entry.c}`;
    item.role = "option";
    item.addEventListener("click", () => choose(i));
    return item;
  }));
  at("find-count").textContent = !found.length ? "no class has that in its name"
    : found.length > MOST ? `${MOST} of ${found.length} classes are shown` : "";
  go(0);
}

function go(to) {
  const items = [...list.children];
  place = Math.max(0, Math.min(to, items.length - 1));
  items.forEach((item, i) => item.setAttribute("aria-selected", i === place));
  if (items.length) {
    words.setAttribute("aria-activedescendant", items[place].id);
    items[place].scrollIntoView({ block: "nearest" });
  } else words.removeAttribute("aria-activedescendant");
}

function choose(i) {
  if (!found[i]) return;
  const c = found[i].c, before = recent.indexOf(c);
  if (before >= 0) recent.splice(before, 1);
  recent.unshift(c);
  dialog.close();
  chosen(c);
}

export function find(all, then) {
  names = all;
  chosen = then;
  words.value = "";
  dialog.showModal();
  words.focus();
  search();
}

words.addEventListener("input", search);
words.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (step) {
    event.preventDefault();
    go(place + step);
  } else if (event.key === "Enter" && !event.isComposing) {
    event.preventDefault();
    choose(place);
  }
});
