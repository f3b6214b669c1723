// Pictures are fetched before they are looked at, and held, so that the same one is asked for once.
"use strict";
import { ask } from "./server.js";

const MOST = 240;  // pictures held
const held = new Map();  // address -> {image, ready, reason}, the last used one last
const versions = new Map();  // row -> how often its file has changed

export function address(row, size, kind = "picture") {
  const version = versions.get(row);
  return `${kind}/${row}/${size}` + (version ? `?again=${version}` : "");
}

export function forget(row) {
  versions.set(row, (versions.get(row) ?? 0) + 1);
}

export function fetched(url) {
  let entry = held.get(url);
  if (entry) {
    held.delete(url);
  } else {
    const image = new Image();
    image.src = url;
    entry = { image, reason: "" };
    entry.ready = image.decode().catch(async () => {
      try {
        await ask(url);
        entry.reason = "cannot be shown";
      } catch (error) {
        entry.reason = error.message;
        if (!error.status) held.delete(url);  // it may be there once the server is again
      }
    });
  }
  held.set(url, entry);
  if (held.size > MOST) held.delete(held.keys().next().value);
  return entry;
}

// Put a picture into a box, or why there is none. Resolves once it can be seen.
export async function show(box, url, text) {
  box.dataset.url = url;
  const entry = fetched(url), image = new Image();
  image.alt = text;
  image.src = url;
  box.replaceChildren(image);
  await entry.ready;
  if (box.dataset.url === url && entry.reason) {
    const none = document.createElement("div");
    none.className = "none";
    none.textContent = entry.reason;
    box.replaceChildren(none);
  }
}
