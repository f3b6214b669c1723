// The page as a whole: its head, its keys, which of its views is seen, and what it says when something is wrong.
"use strict";
import { Batch } from "./batch.js";
import { find } from "./find.js";
import { ask, tell } from "./server.js";
import { NONE, SKIP, Single } from "./single.js";

const at = (id) => document.getElementById(id);
const whole = (number) => Math.round(number).toLocaleString("en");
const plural = (n, one) => `${whole(n)} ${one}${Math.round(n) === 1 ? "" : "s"}`;
const CHOICES = [["skipped", "skipped ones, again"], ["decided", "decided ones, again"]];

const app = {
  names: [], verdicts: [], explained: {}, choices: [], show: "", revision: 0, batch: false, busy: false, counts: {},
  decided: new Set(),  // rows

  say(text) {
    at("said").textContent = text;
  },

  said(word, label) {
    return { keep: `keep ${app.names[label]}`, relabel: app.names[label], none: "none of the classes", skip: "skipped" }[word] ?? "";
  },

  known() {
    return { show: app.show, revision: app.revision };
  },

  wrong(error) {
    at("trouble").hidden = false;
    at("trouble").textContent = error.status === 0
      ? `${error.message}. Your last decision is not kept.` : `Nothing was kept: ${error.message}.`;
  },

  // Do it, and say what went wrong.
  async trying(work) {
    if (app.busy) return;
    app.busy = true;
    try {
      await work();
    } catch (error) {
      app.wrong(error);
      if (!(error.status >= 0)) throw error;
    } finally {
      app.busy = false;
    }
  },

  // After the answer to a decision: it counts, or what is so is asked for again.
  async told(reply, then, otherwise = () => {}) {
    let answer;
    try {
      answer = await reply;
    } catch (error) {
      if (error.status === 409) {
        otherwise();
        await refresh();
        await (app.batch ? batch.open(batch.key) : single.restart());
      }
      throw error;
    }
    at("trouble").hidden = true;
    heard(answer);
    then(answer);
    if (answer.notes?.length) {
      at("trouble").hidden = false;
      at("trouble").textContent = answer.notes.join(" ");
    }
  },

  nothing() {
    const n = app.total, again = CHOICES.some(([key]) => key === app.show);
    at("nothing").querySelector("h2").textContent = again ? "No picture is left here."
      : `All ${plural(n, "picture")} of this choice are decided.`;
    const more = [];
    const offer = (show, text) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => app.trying(() => choose(show)));
      more.push(button);
    };
    if (app.show !== "all") offer("all", "Continue with all pictures of the list");
    if (app.counts.skip) offer("skipped", `Look at the skipped ones again (${whole(app.counts.skip)})`);
    at("nothing").querySelector(".more").replaceChildren(...more);
  },
};
const single = new Single(app), batch = new Batch(app);

// Numbers and other pages' decisions, which come with every answer.
function heard(answer) {
  Object.assign(app, { revision: answer.revision, counts: answer.counts, total: answer.total });
  for (const [row, [word]] of Object.entries(answer.changed ?? {})) {
    app.decided[word ? "add" : "delete"](Number(row));
    if (!word) single.left.delete(Number(row));
  }
  single.drop(answer.changed ?? {});
  const done = answer.total - answer.left, again = CHOICES.some(([key]) => key === app.show);
  const { keep, relabel, none, skip } = answer.counts;
  at("track").firstElementChild.style.width = `${answer.total ? 100 * (again ? 0 : done) / answer.total : 0}%`;
  at("track").ariaValueMax = answer.total;
  at("track").ariaValueNow = again ? 0 : done;
  const words = again ? [plural(answer.total, "picture")] : [`${whole(done)} of ${whole(answer.total)} done, ${whole(answer.left)} left`];
  if (answer.per_minute !== null && !again) {
    const minutes = answer.minutes_left;
    words.push(`${whole(answer.per_minute)} a minute`);
    if (answer.left) words.push(minutes < 1 ? "under a minute left" : minutes < 90 ? `about ${whole(minutes)} min left` : `about ${(minutes / 60).toFixed(1)} h left`);
  }
  words.push(`kept ${whole(keep)}, changed ${whole(relabel)}, none of the classes ${whole(none)}, skipped ${whole(skip)}`);
  at("progress").textContent = words.join(" · ");
  const { wrong, low, high, rows } = answer.wrong;
  at("estimate").textContent = rows
    ? `About ${plural(wrong, "wrong label")} (${whole(low)} to ${whole(high)}) among the ${plural(rows, "picture")} not decided yet`
    : "Every picture is decided";
}

function choices(state) {
  const shown = [...state.choices, ...CHOICES.map(([key, text]) => [key, text, null])];
  at("show").replaceChildren(...shown.map(([key, text, n]) => new Option(n === null ? text : `${text} (${whole(n)})`, key)));
  at("show").value = app.show;
}

async function refresh(show = app.show) {
  const state = await ask(`state?show=${encodeURIComponent(show)}`);
  app.show = state.show;
  Object.assign(app, { names: state.names, verdicts: state.verdicts, explained: state.explained });
  app.decided.clear();
  choices(state);
  heard(state);
  single.queue = [];
  return state;
}

async function choose(show) {
  app.show = show;
  await refresh();
  leave();
  await single.restart();
  at("trouble").hidden = true;
}

function leave() {
  app.batch = false;
  at("batch").hidden = true;
  at("to-batch").hidden = false;
}

const does = {
  keep: () => single.queue[0] && single.decide(single.queue[0].given),
  take: () => (app.batch ? batch.take() : single.queue[0]?.suggested >= 0 && single.decide(single.queue[0].suggested)),
  none: () => single.decide(NONE),
  skip: () => single.decide(SKIP),
  find: () => single.queue[0] && find(app.names, (c) => app.trying(() => single.decide(c))),
  async undo() {
    await app.told(tell("undo", app.known()), (answer) => {
      app.undone = answer.items;
      app.say(answer.taken ? `${plural(answer.taken, "picture")} taken back` : "There is nothing to undo");
      if (!answer.taken) at("trouble").textContent = "There is nothing to undo.";
      at("trouble").hidden = Boolean(answer.taken);
    });
    if (app.batch) await batch.open(app.undone.length ? batch.of(app.undone[0]) : batch.key);
    else await single.undone(app.undone);
  },
  async batch() {
    app.batch = true;
    at("single").hidden = at("nothing").hidden = at("to-batch").hidden = true;
    at("batch").hidden = false;
    at("batch").focus();
    await batch.open();
  },
  async back() {
    leave();
    single.queue = [];  // in a batch some of it may have been decided and taken back
    await single.next();
    (at("single").hidden ? at("nothing") : at("single")).focus();
  },
  tick: () => batch.tick(),
  ticks: () => single.ticks(),
  help: () => at("help").showModal(),
  close: (button) => button.closest("dialog").close(),
};
const ONE = { k: "keep", ArrowLeft: "keep", t: "take", ArrowRight: "take", n: "none", s: "skip", c: "find", "/": "find", d: "ticks" };
const MANY = { t: "take", a: "tick", Escape: "back" };
const BOTH = { u: "undo", b: "batch", "?": "help" };

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const what = button.dataset.do;
  if (what === "close") does.close(button);
  else app.trying(() => does[what]());
});
at("to-batch").addEventListener("click", () => app.trying(does.batch));
at("to-help").addEventListener("click", does.help);
at("show").addEventListener("change", () => {
  app.trying(() => choose(at("show").value));
  at("show").blur();
});
for (const dialog of document.querySelectorAll("dialog"))
  dialog.addEventListener("close", () => dialog.contains(document.activeElement) && document.activeElement.blur());
document.addEventListener("keydown", (event) => {
  const field = event.target.closest("select, input:not([type=checkbox])");
  const typing = field && !field.closest("dialog:not([open])");  // the focus may stay in what was closed
  if (event.repeat || typing || document.querySelector("dialog[open]")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && key === "z" && !event.shiftKey) {
    event.preventDefault();
    app.trying(does.undo);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key.length === 1 && !at("keys-on").checked) return;
  let what = { ...BOTH, ...(app.batch ? MANY : ONE) }[key];
  if (what === "batch" && app.batch) what = "back";
  if (!what || (!app.batch && at("single").hidden && ONE[key])) return;
  event.preventDefault();
  app.trying(() => does[what]());
});

async function start() {
  const state = await refresh("");
  at("title").textContent = state.title;
  document.title = `${state.title}: review`;
  const words = document.createElement("dl");
  words.className = "keys";
  for (const [word, text] of Object.entries(state.explained)) {
    const term = document.createElement("dt"), meaning = document.createElement("dd");
    term.textContent = word;
    meaning.textContent = text;
    words.append(term, meaning);
  }
  at("words").replaceChildren(words);
  await single.restart();
}
app.trying(start);
