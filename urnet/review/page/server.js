// What the page asks its server, and what went wrong when it gets no answer.
"use strict";

export class Trouble extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;  // 0: no answer at all
  }
}

async function answer(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Trouble("tools/review.py does not respond. Start it again and open the address that it prints", 0);
  }
  const said = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Trouble(said.error ?? `the response has status ${reply.status}`, reply.status);
  return said;
}

export const ask = (path) => answer(path);

export const tell = (path, body) =>
  answer(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
