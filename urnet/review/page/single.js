// One picture after the other: what is known of it, what is decided, and the next ones fetched beforehand.
"use strict";
import { address, ahead, forget, show } from "./pictures.js";
import { ask, tell } from "./server.js";

const AHEAD = 6;  // pictures fetched beforehand
const at = (id) => document.getElementById(id);
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;  // text, never HTML: names may hold anything
  if (className) made.className = className;
  return made;
};
export const NONE = -1, SKIP = -2;

export class Single {
  constructor(app) {
    this.app = app;
    this.queue = [];
    this.left = new Set();  // rows of "skipped" and "decided" that were left as they are
  }

  get again() {
    return ["skipped", "decided"].includes(this.app.show);
  }

  async restart() {
    this.queue = [];
    this.left.clear();
    await this.next();
  }

  // Fill the queue, and show its first one.
  async next() {
    if (!this.queue.length) await this.fill();
    else if (this.queue.length < 2 * AHEAD) this.fill().then(() => this.ahead(), () => {});  // trouble shows later
    this.draw();
    this.ahead();
  }

  // Pictures that are not in the queue yet. An answer from before what was decided meanwhile is asked for again: it would
  // tick duplicates that are decided by now.
  async fill() {
    const { show, revision } = this.app, without = [...this.queue.map((item) => item.row), ...this.left];
    const found = await ask(`items?show=${show}&n=${2 * AHEAD}&without=${without.join(",")}`);
    if (show !== this.app.show) return;
    if (revision !== this.app.revision) {
      await this.fill();
      return;
    }
    const known = new Set(this.queue.map((item) => item.row));
    this.queue.push(...found.items.filter((item) => !known.has(item.row)
      && !this.left.has(item.row) && (this.again || !this.app.decided.has(item.row))));
  }

  ahead() {
    const items = this.queue.slice(0, AHEAD), small = (row) => address(row, "small");
    ahead(items.flatMap((item) => [address(item.row, "large"), ...item.typical.flat().map(small),
      ...item.duplicates.map((other) => small(other.row))]));
  }

  draw() {
    const item = this.queue[0];
    at("single").hidden = !item;
    at("nothing").hidden = Boolean(item);
    delete at("single").dataset.ready;
    if (!item) {
      this.app.nothing();
      return;
    }
    const name = (c) => this.app.names[c];
    const url = address(item.row, "large");
    show(at("large").querySelector(".seen"), url, `given ${name(item.given)}`).then(() => {
      if (this.queue[0] === item) at("single").dataset.ready = item.row;
    });
    at("path").replaceChildren(element("bdi", item.path));
    this.facts(item);
    const [given, suggested] = at("typical").children;
    this.typical(given, item.given, item.typical[0], "given");
    suggested.hidden = item.suggested < 0;
    if (item.suggested >= 0) this.typical(suggested, item.suggested, item.typical[1], "to");
    this.same(item);
    this.buttons();
  }

  facts(item) {
    const said = at("facts"), part = (kind, word, c, number) => {
      const label = element("span", undefined, kind);
      label.append(element("i", word), " ", element("bdi", this.app.names[c]));
      if (number !== null && number !== undefined) label.append(element("small", ` ${number.toFixed(2)}`));
      return label;
    };
    const verdict = element("span", this.app.verdicts[item.verdict], `verdict v${item.verdict}`);
    const inside = item.in_classes ?? 1;
    const quality = item.quality === null ? null : Math.min(item.quality / Math.max(inside, 1e-6), 1);
    const labels = element("span", undefined, "labels");
    labels.append(verdict, part("given", "given:", item.given, quality));
    if (item.suggested >= 0)
      labels.append(part("to", item.by_duplicate ? "its duplicate:" : "suggested:", item.suggested, item.suggested_prob));
    const [word, label] = item.now;
    if (word) labels.append(element("span", `decided: ${this.app.said(word, label)}`, "given"));
    const words = [item.quality === null ? "" : `${item.words} (label quality ${item.quality.toFixed(3)})`];
    if (inside < 0.5) words.push(`fits the classes ${inside.toFixed(2)}`);
    if (item.leak_of) words.push("see below the validation picture that shows the same");
    else if (this.app.explained[this.app.verdicts[item.verdict]] && item.verdict !== 1)
      words.push(this.app.explained[this.app.verdicts[item.verdict]]);
    said.replaceChildren(labels, element("span", words.filter(Boolean).join("; "), "note"));
  }

  typical(box, c, rows, kind) {
    const title = element("span", undefined, kind);
    title.append(element("bdi", this.app.names[c]));
    box.querySelector("h2").replaceChildren("Typical ", title);
    box.querySelector(".three").replaceChildren(...rows.map((row) => {
      const cell = element("div");
      show(cell, address(row, "small"), `typical ${this.app.names[c]}`);
      return cell;
    }));
    if (!rows.length) box.querySelector(".three").replaceChildren(element("p", "no picture of it is sure enough", "note"));
  }

  same(item) {
    const cells = item.duplicates.map((other) => {
      const cell = element("li"), label = element("label"), box = element("div"), tick = element("input");
      tick.type = "checkbox";
      tick.dataset.row = other.row;
      tick.checked = !other.now[0] || other.now[0] === "skip";
      tick.addEventListener("change", () => this.buttons());
      show(box, address(other.row, "small"), "the duplicate");
      const line = element("span");
      line.append(tick, " ", element("bdi", this.app.names[other.given]));
      if (other.now[0]) line.append(` (${this.app.said(...other.now)})`);
      label.title = other.path;
      label.append(box, line);
      cell.append(label);
      return cell;
    });
    if (item.leak_of) {
      const cell = element("li"), box = element("div");
      show(box, address(item.row, "small", "validation"), "the validation picture");
      cell.append(box, element("span", "validation"));
      cell.title = item.leak_of;
      cells.push(cell);
    }
    at("same").hidden = !cells.length;
    const decided = item.duplicates.length;
    at("same-title").replaceChildren("Shows the same", ...(decided ? ["; ticked ones are decided together with it ", element("kbd", "D")] : []));
    at("same").querySelector("ul").replaceChildren(...cells);
  }

  along() {
    return [...at("same").querySelectorAll("input:checked")].map((tick) => Number(tick.dataset.row));
  }

  ticks() {
    const ticks = [...at("same").querySelectorAll("input")], on = !ticks.some((tick) => tick.checked);
    for (const tick of ticks) tick.checked = on;
    this.buttons();
  }

  buttons() {
    const item = this.queue[0], n = this.along().length, more = n ? ` (+${n})` : "";
    const set = (what, ...parts) => at("actions").querySelector(`[data-do=${what}] span`).replaceChildren(...parts);
    const name = (c) => element("bdi", this.app.names[c]);
    set("keep", "Keep ", name(item.given), more);
    at("actions").querySelector("[data-do=take]").disabled = item.suggested < 0;
    if (item.suggested >= 0) set("take", "Take ", name(item.suggested), more);
    else set("take", "No suggestion");
    set("none", "None of the classes", more);
    set("skip", this.again ? "Leave as it is" : "Skip");
  }

  // What was decided anywhere leaves the queue.
  drop(changed) {
    if (this.again) return;
    this.queue = this.queue.filter((item) => !changed[item.row]?.[0]);
    for (const item of this.queue)
      for (const other of item.duplicates) other.now = changed[other.row] ?? other.now;
  }

  async decide(shows) {
    const item = this.queue[0];
    if (!item) return;
    if (shows === SKIP && this.again) {
      this.left.add(item.row);
      this.queue.shift();
      await this.next();
      return;
    }
    const rows = [item.row, ...(shows === SKIP ? [] : this.along())];
    const now = new Map(item.duplicates.map((other) => [other.row, other.now]));
    const was = rows.map((row) => (row === item.row ? item.now : now.get(row)));
    await this.app.told(tell("decide", { rows, shows, was, ...this.app.known() }), () => {
      this.left.add(item.row);
      this.queue = this.queue.filter((other) => other !== item);
      const word = shows === SKIP ? "skipped" : shows === NONE ? "none of the classes" : this.app.names[shows];
      this.app.say(`${word}${rows.length > 1 ? `, ${rows.length} pictures` : ""}`);
    }, () => forget(item.row));
    await this.next();
  }

  async undone(items) {
    for (const item of items) {
      this.left.delete(item.row);
      this.queue = [item, ...this.queue.filter((other) => other.row !== item.row)];
    }
    await this.next();
  }
}
