// Many pictures of one pair of classes: the ones that are not so are unticked, the others taken at once.
"use strict";
import { address, show } from "./pictures.js";
import { ask, tell } from "./server.js";

const MOST = 48;  // pictures at once
const at = (id) => document.getElementById(id);
const main = at("batch"), grid = at("grid"), pair = at("pair");

export class Batch {
  constructor(app) {
    this.app = app;
    this.items = [];
    this.unticked = new Set();  // rows that are left to be looked at one by one
    pair.addEventListener("change", () => {
      this.app.trying(() => this.open(pair.value));
      main.focus();
    });
    grid.addEventListener("keydown", (event) => this.move(event));
  }

  // The batch that a picture belongs to.
  of(item) {
    return item.suggested < 0 ? `v${item.verdict}` : `p${item.given}-${item.suggested}`;
  }

  // The pairs that are left, and the pictures of one: ``wanted``, or the largest.
  async open(wanted) {
    const found = (await ask("batches")).batches;
    if (this.app.batch !== true) return;
    const name = (c) => this.app.names[c];
    pair.replaceChildren(...found.map(([key, given, to, n]) => {
      const words = given < 0 ? `off topic → none of the classes` : `${name(given)} → ${name(to)}`;
      return new Option(`${words} (${n})`, key, false, key === wanted);
    }));
    for (const [key, given, to] of found.sort((a, b) => (b[0] === wanted) - (a[0] === wanted))) {
      const items = (await ask(`items?show=${key}&n=${MOST}&without=${[...this.unticked].join(",")}`)).items;
      if (!items.length) continue;  // all of it was unticked
      pair.value = key;
      Object.assign(this, { key, to, given, items });
      this.draw();
      return;
    }
    this.items = [];
    this.draw();
  }

  draw() {
    main.dataset.key = this.items.length ? this.key : "";
    grid.replaceChildren(...this.items.map((item, i) => {
      const cell = document.createElement("li"), button = document.createElement("button"), box = document.createElement("div");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.tabIndex = i ? -1 : 0;
      button.title = item.path;
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
        this.count();
      });
      show(box, address(item.row, "small"), `picture ${i + 1}, given ${this.app.names[item.given]}`);
      button.append(box);
      cell.append(button);
      return cell;
    }));
    this.count();
  }

  ticked() {
    return this.items.filter((_, i) => grid.children[i].firstChild.getAttribute("aria-pressed") === "true");
  }

  count() {
    const n = this.ticked().length, all = this.items.length, question = at("question");
    const what = this.to < 0 ? "none of the classes" : this.app.names[this.to];
    at("batch-actions").hidden = !all;
    if (!all) {
      question.textContent = "No two pictures that are left have the same suggestion. Continue one by one.";
      return;
    }
    const bdi = document.createElement("bdi");
    bdi.textContent = what;
    const given = document.createElement("bdi");
    given.textContent = this.given < 0 ? "" : this.app.names[this.given];
    question.replaceChildren(...(this.given < 0 ? [] : ["Given ", given, ". "]), "Is each of these ", bdi,
      "? Untick those that are not; they are left to be looked at one by one.");
    const button = at("batch-actions").querySelector("[data-do=take]");
    const label = document.createElement("bdi");
    label.textContent = what;
    button.querySelector("span").replaceChildren(n === all && n > 1 ? `All ${n} are ` : `The ${n} ticked are `, label);
    button.disabled = !n;
    at("batch-actions").querySelector("[data-do=tick] span").textContent = n ? "Untick all" : "Tick all";
  }

  tick() {
    const on = !this.ticked().length;
    for (const cell of grid.children) cell.firstChild.setAttribute("aria-pressed", on);
    this.count();
  }

  async take() {
    const ticked = this.ticked(), rows = ticked.map((item) => item.row);
    if (!rows.length) return;
    const unticked = this.items.filter((item) => !rows.includes(item.row));
    const what = this.to < 0 ? "none of the classes" : this.app.names[this.to];
    await this.app.told(
      tell("decide", { rows, shows: this.to, was: ticked.map((item) => item.now), ...this.app.known() }), () => {
        for (const item of unticked) this.unticked.add(item.row);
        this.app.say(`${rows.length} pictures: ${what}`);
      });
    await this.open(this.key);
    (grid.querySelector("button") ?? main).focus();
  }

  move(event) {
    const cells = [...grid.children], at = cells.indexOf(event.target.closest("li"));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const across = cells.filter((cell) => cell.offsetTop === cells[0].offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const to = cells[at + step];
    if (!to) return;
    cells[at].firstChild.tabIndex = -1;
    to.firstChild.tabIndex = 0;
    to.firstChild.focus();
  }
}
