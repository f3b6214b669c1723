// Pictures are fetched before they are looked at, few at a time, and held, so that the same one is asked for once.
"use strict";
import { ask } from "./server.js";

const MOST = 240;  // pictures held
const TOGETHER = 3;  // fetched at a time; a browser has six connections, and a decision must not wait for one
const held = new Map();  // address -> {image, ready, begin, reason}, the last used one last
const waiting = [];  // of those that are fetched beforehand
const versions = new Map();  // row -> how often its file has changed
let fetching = 0;

export function address(row, size, kind = "picture") {
  const version = versions.get(row);
  return `${kind}/${row}/${size}` + (version ? `?again=${version}` : "");
}

export function forget(row) {
  versions.set(row, (versions.get(row) ?? 0) + 1);
}

function entryOf(url) {
  let entry = held.get(url);
  if (entry) {
    held.delete(url);
  } else {
    entry = { image: new Image(), reason: "", begun: false };
    entry.ready = new Promise((resolve) => {
      entry.begin = () => {
        if (entry.begun) return;
        entry.begun = true;
        fetching += 1;
        entry.image.src = url;
        entry.image.decode().catch(() => why(url, entry)).finally(() => {
          fetching -= 1;
          resolve();
          more();
        });
      };
    });
  }
  held.set(url, entry);
  if (held.size > MOST) held.delete(held.keys().next().value);
  return entry;
}

async function why(url, entry) {
  try {
    await ask(url);
    entry.reason = "cannot be shown";
  } catch (error) {
    entry.reason = error.message;
    if (!error.status) held.delete(url);  // it may be there once the server is again
  }
}

function more() {
  while (fetching < TOGETHER && waiting.length) waiting.shift().begin();
}

// Fetch pictures in this order, as soon as there is time; those that were asked for before and not begun are not.
export function ahead(urls) {
  for (const entry of waiting.splice(0)) if (!entry.begun) held.delete(entry.image.dataset.url);
  for (const url of urls) {
    const entry = entryOf(url);
    entry.image.dataset.url = url;
    if (!entry.begun) waiting.push(entry);
  }
  more();
}

// Put a picture into a box, or why there is none. Resolves once it can be seen.
export async function show(box, url, text) {
  box.dataset.url = url;
  const entry = entryOf(url), image = new Image();
  image.alt = text;
  box.replaceChildren(image);
  entry.begin();
  await entry.ready;
  if (box.dataset.url !== url) return;
  if (entry.reason) {
    const none = document.createElement("div");
    none.className = "none";
    none.textContent = entry.reason;
    box.replaceChildren(none);
  } else {
    image.src = url;  // which the browser has
    await image.decode().catch(() => {});
  }
}
