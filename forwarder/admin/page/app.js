/* The dashboard: shows what the daemon says of itself, and hands it what an operator wants done.

   Everything that comes from outside is written as text, never as markup. The page is updated in place: a node is
   made once for each destination, warning and row, and lists are paged, so that neither an hour nor ten thousand
   dead letters make it grow. It judges nothing that the daemon has judged already: reasons and next steps are shown
   as they come. */

"use strict";

const PAGE_ROWS = 25;
// How much of an answer is shown in a table; the whole of it is in the title and in the dead letter.
const MAX_WORDS = 160;
// With so few destinations all of them are shown with everything; with more, only those with trouble.
const FEW_DESTINATIONS = 3;
// The daemon says something every 10 s even if nothing changes; after twice that the connection is taken for lost.
const SILENCE_MS = 20_000;
const RETRY_MS = [1_000, 2_000, 5_000, 10_000];
const HISTORY_MS = { hour: 10_000, day: 60_000 };
const LISTS_MS = 10_000;
const RENDER_MS = 2_500;
const STALE_MS = 2_000;
// The points of a chart: more cannot be told apart in its width.
const MAX_POINTS = 120;
const CHART = { width: 300, height: 60 };
// Deeper levels of an event are not indented further: an event may be nested ten thousand levels deep.
const MAX_INDENT = 20;
// A time of day that is less than this ago cannot be taken for one of another day.
const PLAIN_MS = 20 * 3_600_000;

// What each state is called, and how bad it is.
const STATES = {
  idle: ["good", "Idle"],
  delivering: ["good", "Delivering"],
  backing_off: ["warn", "Backing off"],
  holding: ["bad", "Holding"],
  paused: ["paused", "Paused"],
  removed: ["warn", "No longer configured"],
  invalid: ["note", "Invalid events that were kept"],
};

const WORKS = new Set(["idle", "delivering"]);
const WORST_FIRST = ["bad", "warn", "paused"];

// --- numbers, times and words -----------------------------------------------------------------------

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const hourAndMinute = { hour: "2-digit", minute: "2-digit" };
const timeOfDay = new Intl.DateTimeFormat("en-GB", hourAndMinute);
const dayAndTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", ...hourAndMinute });
const exactTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

const count = (number) => whole.format(number);
const plural = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;
const shortened = (words) => (words.length > MAX_WORDS ? `${words.slice(0, MAX_WORDS - 1)}…` : words);
const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const ended = (words) => (/[.!?…]$/.test(words) ? words : `${words}.`);
const sentence = (words) => (words ? capital(ended(words)) : "");
const isKnown = (value) => value !== null && value !== undefined;

function duration(seconds) {
  if (!isKnown(seconds)) return "–";
  if (seconds < 1) return "under 1 s";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  const [size, unit, smaller, smallerUnit] = seconds < 86_400 ? [3_600, "h", 60, "min"] : [86_400, "d", 3_600, "h"];
  const rest = Math.floor((seconds % size) / smaller);
  return `${count(Math.floor(seconds / size))} ${unit}${rest ? ` ${rest} ${smallerUnit}` : ""}`;
}

function size(bytes) {
  if (!isKnown(bytes)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${tenths.format(bytes / 1024 ** power)} ${units[power]}`;
}

function rate(perSecond) {
  if (!isKnown(perSecond)) return "–";
  if (perSecond > 0 && perSecond < 0.1) return `${tenths.format(perSecond * 60)}/min`;
  return `${(perSecond < 10 ? tenths : whole).format(perSecond)}/s`;
}

/** The time of day, and the day where it is not plain from that. */
function clock(iso) {
  const time = new Date(iso);
  return (Math.abs(Date.now() - time) < PLAIN_MS ? timeOfDay : dayAndTime).format(time);
}

/** "422 unknown type", or what there is of it; most details begin with the status themselves. */
function answerWords(status, detail) {
  if (isKnown(status) && detail?.startsWith(`${status} `)) return detail;
  return [status, detail].filter((part) => isKnown(part) && part !== "").join(" ");
}

/** Nested fields on one line: `{filter: {reason: "rejected"}}` is "filter reason rejected". */
function flat(value) {
  if (Array.isArray(value)) return value.map(flat).join(" ");
  if (value === null || typeof value !== "object") return String(value);
  return Object.entries(value).filter(([, part]) => isKnown(part) && part !== false)
    .map(([name, part]) => (part === true ? name : `${name} ${flat(part)}`)).join(", ");
}

// --- an event as it is stored -----------------------------------------------------------------------

// An event is never parsed and written again: that would change numbers such as 12345678901234567890 or 1.10.
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** Lay a JSON text out for reading; only the white space between its tokens is changed. */
function laidOut(json) {
  const tokens = json.match(TOKENS) ?? [];
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.min(depth, MAX_INDENT))}`;
  return tokens.map((token, place) => {
    if (token === "{" || token === "[") {
      depth += 1;
      return /[}\]]/.test(tokens[place + 1]?.[0] ?? "") ? token : token + line();
    }
    if (token === "}" || token === "]") {
      depth -= 1;
      return /[{[]/.test(tokens[place - 1]?.[0] ?? "") ? token : line() + token;
    }
    if (token === ",") return token + line();
    return token === ":" ? ": " : token;
  }).join("");
}

/** Read a line of the listing of dead letters; `text` is the event as it is stored. */
function letterOf(line) {
  const letter = JSON.parse(line);
  const start = ',"event":';
  // No text before the event can contain this: a quote inside a JSON text has a backslash in front of it.
  const text = line.slice(line.indexOf(start) + start.length, line.lastIndexOf("}"));
  return { ...letter, isDamaged: isKnown(letter.event_base64), text: letter.event_base64 ?? text };
}

// --- nodes ------------------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

/** Write a text where it differs, so that nothing is laid out again for nothing. */
function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

/** Write a sentence in which what is to be typed stands between backticks. */
function writeWords(node, words) {
  const parts = words.split("`");
  if (node.textContent === parts.join("")) return;
  node.replaceChildren(...parts.map((part, place) => (place % 2 ? element("code", part) : part)));
}

function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function element(tag, words = "", properties = {}) {
  const node = document.createElement(tag);
  node.textContent = words;
  return Object.assign(node, properties);
}

function writeTime(node, iso) {
  write(node, clock(iso));
  if (node.dateTime === iso) return;
  node.dateTime = iso;
  node.title = exactTime.format(new Date(iso));
}

/** Write when the first and the last of something were, in a cell of a table. */
function writePeriod(cell, { first, last }) {
  write(cell, clock(first) === clock(last) ? clock(last) : `${clock(first)} – ${clock(last)}`);
  attribute(cell, "title", `first ${exactTime.format(new Date(first))}, last ${exactTime.format(new Date(last))}`);
}

function writeShortened(cell, words) {
  write(cell, shortened(words));
  attribute(cell, "title", words.length > MAX_WORDS ? words : "");
}

const rowsOf = new WeakMap();

/** Keep the children of `parent` in step with `items`; `build(item)` makes a row once: `{node, update(item)}`. */
function keep(parent, items, keyOf, build) {
  if (!rowsOf.has(parent)) rowsOf.set(parent, new Map());
  const rows = rowsOf.get(parent);
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, row] of rows) {
    if (!wanted.has(key)) {
      row.node.remove();
      rows.delete(key);
    }
  }
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    if (!rows.has(key)) rows.set(key, build(item));
    const row = rows.get(key);
    row.update(item);
    if (row.node === place) place = place.nextElementSibling;
    else parent.insertBefore(row.node, place);
  }
}

/** Show `items` as rows of a table; `columns` are functions that write an item into its cell.

    Roles are set because the cells are no longer laid out as a table where the screen is narrow, and each has the
    name of its column in front of it there. */
function keepRows(body, items, keyOf, columns) {
  const heads = [...body.parentElement.tHead.rows[0].cells];
  keep(body, items, keyOf, () => {
    const node = element("tr");
    attribute(node, "role", "row");
    const cells = heads.map((head, column) => {
      const cell = element(column ? "td" : "th", "", { className: head.className });
      attribute(cell, "role", column ? "cell" : "rowheader");
      if (!column) cell.scope = "row";
      cell.dataset.label = head.textContent;
      return cell;
    });
    node.append(...cells);
    return { node, update: (item) => columns.forEach((fill, column) => fill(cells[column], item)) };
  });
}

/** Keep terms and what they are: `[[term, words], …]`; what is null is left out. */
function keepPairs(list, pairs) {
  keep(list, pairs.filter(([, words]) => words !== null), ([term]) => term, ([term]) => {
    const node = element("div");
    const value = element("dd");
    node.append(element("dt", term), value);
    return { node, update: ([, words]) => write(value, words) };
  });
}

/** The buttons below a list; returns what shows where one is: `(words, back or null, on or null)`. */
function pager(node, label) {
  attribute(node, "role", "group");
  attribute(node, "aria-label", label);
  const [back, words, on] = [element("button", "Back"), element("span"), element("button", "Next")];
  back.type = on.type = "button";
  node.append(back, words, on);
  show(node, false);
  return (text, goBack, goOn) => {
    write(words, text);
    show(node, Boolean(goBack || goOn));
    [back.disabled, on.disabled] = [!goBack, !goOn];
    [back.onclick, on.onclick] = [goBack, goOn];
  };
}

/** Show a list that is known as a whole in pages; returns what takes the list. */
function paged(node, label, render) {
  const turn = pager(node, label);
  let items = [];
  let page = 0;
  const draw = () => {
    const last = Math.max(0, Math.ceil(items.length / PAGE_ROWS) - 1);
    page = Math.min(page, last);
    const first = page * PAGE_ROWS;
    const go = (to) => () => { page = to; draw(); };
    render(items.slice(first, first + PAGE_ROWS));
    const words = `${count(first + 1)}–${count(Math.min(items.length, first + PAGE_ROWS))} of ${count(items.length)}`;
    turn(words, page > 0 ? go(page - 1) : null, page < last ? go(page + 1) : null);
  };
  return (list) => { items = list; draw(); };
}

// --- asking the daemon ------------------------------------------------------------------------------

/** What the daemon refused, or that it could not be asked; `errors` are those of an event. */
class Problem extends Error {
  constructor(words, status = 0, errors = []) {
    super(words);
    Object.assign(this, { status, errors });
  }
}

async function problemOf(response) {
  try {
    const told = await response.json();
    const words = [told.detail ?? told.title, ...(told.problems ?? []), told.hint].filter(Boolean);
    return new Problem(words.map(sentence).join(" "), response.status, told.errors);
  } catch {
    return new Problem(`The daemon answered ${response.status} ${response.statusText}.`, response.status);
  }
}

/** Ask the daemon. A page of another origin cannot send the header that acts need. Raises Problem. */
async function ask(method, path, body = undefined) {
  const headers = method === "GET" ? {} : { "X-Forwarder-Act": "1", "Content-Type": "application/json" };
  const options = { method, headers, body, cache: "no-store", credentials: "same-origin" };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem("The daemon cannot be reached. What was asked for may or may not have been done.");
  }
  // The session may have ended, by its age or by a change of the token.
  if (response.status === 401 && path !== "v1/session") begin();
  if (!response.ok) throw await problemOf(response);
  return response;
}

const askJson = async (path) => (await ask("GET", path)).json();

/** Tell what came of an act, until the next one or until it is closed. */
function say(words, isBad = false) {
  const message = byId("message");
  message.dataset.level = isBad ? "bad" : "good";
  write(byId("message-words"), words);
  show(message, true);
  announce(words);
}

/** Have a screen reader say something, also if it is the same as before. */
function announce(words) {
  write(byId("announcer"), "");
  setTimeout(() => write(byId("announcer"), words), 100);
}

/** Do `work` when the button is pressed, once at a time, and say what it returns or why it failed. */
function onPress(button, work) {
  button.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    // Not `disabled`, which would take the focus away.
    button.ariaDisabled = "true";
    try {
      const words = await work();
      if (words) say(words);
    } catch (error) {
      say(error.message, true);
      if (!(error instanceof Problem)) throw error;
    } finally {
      button.ariaDisabled = null;
    }
  });
  return button;
}

/** Ask whether to do what cannot be undone. */
function confirmed(title, text, yes) {
  const dialog = byId("confirm");
  write(byId("confirm-title"), title);
  write(byId("confirm-text"), text);
  write(byId("confirm-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// --- what is known ----------------------------------------------------------------------------------

let session = { role: null };
let status = null;
// When the status arrived and when it was last said that it still holds, in milliseconds of the page's own clock.
let arrivedAt = 0;
let heardAt = 0;
let lostSince = null;
let span = "hour";

/** Seconds that have passed since the status was made; what is shown stands still without a connection. */
const elapsed = () => (lostSince === null ? (performance.now() - arrivedAt) / 1000 : 0);
const isLive = () => status !== null && lostSince === null;
const destinations = () => Object.entries(status.destinations);
const sum = (field) => destinations().reduce((total, [, state]) => total + (state[field] ?? 0), 0);

function oldestAge() {
  const ages = destinations().map(([, state]) => state.oldest_age_seconds).filter(isKnown);
  return ages.length ? Math.max(...ages) + elapsed() : null;
}

// --- the verdict ------------------------------------------------------------------------------------

const levelOf = (state) => (state.full ? "bad" : STATES[state.state]?.[0] ?? "note");
const stateWords = (state) => STATES[state.state]?.[1] ?? state.state;

function headlineOf(troubled) {
  const of = (name) => troubled.filter(([, state]) => state.state === name);
  const full = troubled.filter(([, state]) => state.full);
  const who = (list) => (list.length === 1 ? list[0][0] : `${list.length} of ${destinations().length} destinations`);
  const [held, retried, paused] = [of("holding"), of("backing_off"), of("paused")];
  if (!status.ready) return ["bad", `Not accepting events: ${status.not_ready ?? "not ready"}`];
  if (status.queue.full) return ["bad", "The queue is full: producers are refused or wait"];
  if (full.length) return ["bad", `The share of the queue is full: ${who(full)}`];
  if (held.length) return ["bad", `Events are held: ${who(held)}`];
  if (retried.length) return ["warn", `Deliveries fail and are tried again: ${who(retried)}`];
  if (paused.length) return ["paused", `Paused by an operator: ${who(paused)}`];
  if (status.warnings.length || status.reload_refused) return ["warn", "Events flow, and something needs a look"];
  if (sum("dead")) return ["note", `Events flow; ${plural(sum("dead"), "dead letter")} to decide about`];
  if (!sum("accepted")) return ["good", "Ready: no event has come yet"];
  return ["good", sum("queued") ? "Events flow" : "All is well: everything is delivered"];
}

/** Say whether anything is lost. */
function keptWords() {
  const [dead, dropped, { full, refused_while_full: refused }] = [sum("dead"), sum("dropped"), status.queue];
  return [
    dead && `Kept as dead letters, below: ${plural(dead, "event")} that could not be delivered.`,
    dropped && `Dropped so far, by a purge or by a policy: ${plural(dropped, "event")}.`,
    !dead && !dropped && sum("accepted") && "Nothing is lost: whatever was accepted is delivered or queued.",
    full && refused && `Refused or stopped since it is full: ${count(refused)}; their producers were told.`,
  ].filter(Boolean).join(" ");
}

function troubleRow() {
  const [node, link, rest] = [element("li"), element("a"), element("span")];
  const next = element("span", "", { className: "next" });
  node.append(element("span", "", { className: "mark", ariaHidden: "true" }), link, rest, next);
  return {
    node,
    update: ([name, state]) => {
      node.dataset.level = levelOf(state);
      write(link, name);
      link.hash = `destination-${encodeURIComponent(name)}`;
      const since = state.since && !WORKS.has(state.state) ? ` since ${clock(state.since)}` : "";
      const reason = state.reason ? `: ${state.reason}` : "";
      const full = state.full ? ", its share full" : "";
      writeShortened(rest, ` ${stateWords(state).toLowerCase()}${full}${since}${reason}`);
      // With few destinations it stands just below.
      const isFar = state.next_step && destinations().length > FEW_DESTINATIONS;
      writeWords(next, isFar ? `Next step: ${ended(state.next_step)}` : "");
    },
  };
}

const MAX_TROUBLES = 6;
let announced = "";

function renderVerdict() {
  const troubled = WORST_FIRST.flatMap((level) => destinations().filter(([, state]) => levelOf(state) === level));
  const [worst, words] = headlineOf(troubled);
  byId("verdict").dataset.level = worst;
  write(byId("verdict-words"), words);
  write(byId("verdict-kept"), keptWords());
  show(byId("first"), sum("accepted") === 0 && status.ready);
  keep(byId("troubles"), troubled.slice(0, MAX_TROUBLES), ([name]) => name, troubleRow);
  show(byId("troubles"), troubled.length > 0);
  show(byId("troubles-more"), troubled.length > MAX_TROUBLES);
  write(byId("troubles-more"), `and ${count(troubled.length - MAX_TROUBLES)} more, below`);
  renderTotals();
  write(document.querySelector("title"), `${lostSince === null ? words : "Not connected"} · Event forwarder`);
  // A screen reader is told when the state changes, and not of every number.
  const key = JSON.stringify([worst, troubled.map(([name, state]) => [name, state.state])]);
  if (announced && announced !== key) announce(words);
  announced = key;
}

function renderTotals() {
  const { bytes, max_bytes: most, full } = status.queue;
  const rates = (field) => (destinations().some(([, state]) => isKnown(state[field])) ? sum(field) : null);
  write(byId("total-queued"), count(sum("queued")));
  write(byId("total-oldest"), duration(oldestAge()));
  write(byId("total-in"), rate(rates("rate_in")));
  write(byId("total-out"), rate(rates("rate_out")));
  write(byId("total-dead"), count(sum("dead")));
  write(byId("total-used"), full ? "full" : `${count(percentage(bytes, most))} %`);
}

const percentage = (bytes, most) => Math.min(100, most ? (100 * bytes) / most : 0);

// --- warnings ---------------------------------------------------------------------------------------

function warningsOf() {
  const refused = status.reload_refused;
  if (!refused) return status.warnings;
  const detail = `the last reload was refused, the configuration before it goes on: ${refused.problems.join("; ")}`;
  const told = { key: "reload.refused", destination: null, since: refused.at, detail, hint: "mend it and reload" };
  return [told, ...status.warnings];
}

function warningRow() {
  const [node, words, hint, since] = [element("li"), element("p"), element("p"), element("time")];
  const about = element("p", "", { className: "muted" });
  const where = element("span");
  about.append(where, "since ", since);
  node.append(words, hint, about);
  return {
    node,
    update: (warning) => {
      writeWords(words, sentence(warning.detail));
      writeWords(hint, warning.hint ? `Next step: ${ended(warning.hint)}` : "");
      write(where, `${warning.key}, ${warning.destination ? `${warning.destination}, ` : ""}`);
      writeTime(since, warning.since);
    },
  };
}

function renderWarnings() {
  const warnings = warningsOf();
  show(byId("warnings"), warnings.length > 0);
  const keyOf = ({ key, destination, since }) => JSON.stringify([key, destination, since]);
  keep(byId("warning-list"), warnings, keyOf, warningRow);
}

// --- destinations -----------------------------------------------------------------------------------

// What can be done in each state besides pausing: the words of the button, and the request.
const NOW = {
  holding: ["Try now", "resume"],
  backing_off: ["Try now", "flush"],
  idle: ["Flush", "flush"],
  delivering: ["Flush", "flush"],
};
const DONE = {
  flush: "what is queued is sent now",
  resume: "delivering goes on",
  pause: "paused. Events are still accepted, and queued",
};

async function steer(name, verb) {
  await ask("POST", `v1/destinations/${encodeURIComponent(name)}/${verb}`);
  refreshLists();
  return `${name}: ${DONE[verb]}.`;
}

/** Make the card of a destination, with `part(name)` for what is inside. */
function destinationCard([name, first]) {
  const node = byId("destination-template").content.firstElementChild.cloneNode(true);
  const parts = new Map([...node.querySelectorAll("[data-part]")].map((found) => [found.dataset.part, found]));
  const part = (key) => parts.get(key);
  node.id = `destination-${name}`;
  part("more").id = `more-${name}`;
  attribute(part("toggle"), "aria-controls", `more-${name}`);
  write(part("name"), name);
  const open = (isOpen) => {
    attribute(part("toggle"), "aria-expanded", String(isOpen));
    show(part("more"), isOpen);
    node.dataset.open = isOpen ? "yes" : "no";
    if (isOpen) drawCharts(name, part);
  };
  part("toggle").addEventListener("click", () => open(part("more").hidden));
  onPress(part("now"), () => steer(name, NOW[status.destinations[name].state]?.[1] ?? "flush"));
  for (const verb of ["pause", "resume"]) onPress(part(verb), () => steer(name, verb));
  part("dead-link").addEventListener("click", () => searchFor({ destination: name }));
  open(destinations().length <= FEW_DESTINATIONS || ["bad", "warn"].includes(levelOf(first)));
  cards.set(name, part);
  return { node, update: ([, state]) => updateCard(node, part, name, state) };
}

const cards = new Map();

function updateCard(node, part, name, state) {
  node.dataset.level = levelOf(state);
  write(part("state"), stateWords(state));
  show(part("full"), state.full === true);
  // Working is one state in that regard: it is idle and delivers in turn.
  write(part("since"), state.since ? `${WORKS.has(state.state) ? "no trouble " : ""}since ${clock(state.since)}` : "");
  updateActs(part, name, state);
  updateAdvice(part, state);
  write(part("queued"), count(state.queued));
  write(part("oldest"), isKnown(state.oldest_age_seconds) ? duration(state.oldest_age_seconds + elapsed()) : "–");
  write(part("in"), rate(state.rate_in));
  write(part("out"), rate(state.rate_out));
  write(part("drain"), duration(state.drain_seconds));
  write(part("attempts"), count(state.attempts));
  if (!part("more").hidden) updateMore(part, state);
}

function updateActs(part, name, state) {
  const now = NOW[state.state];
  const buttons = { now: now?.[0], pause: now && "Pause", resume: state.state === "paused" && "Resume" };
  for (const [key, words] of Object.entries(buttons)) {
    show(part(key), Boolean(words));
    if (!words) continue;
    write(part(key), words);
    attribute(part(key), "aria-label", `${words}: ${name}`);
  }
}

function updateAdvice(part, state) {
  const seconds = state.next_attempt_in_seconds;
  const next = isKnown(seconds) ? `Next try in ${duration(Math.max(0, seconds - elapsed()))}.` : "";
  const waiting = state.waiting_for ? `Waiting for ${ended(state.waiting_for)}` : "";
  writeWords(part("reason"), sentence(state.reason));
  writeWords(part("next"), state.next_step ? `Next step: ${ended(state.next_step)}` : "");
  write(part("waiting"), [waiting, next].filter(Boolean).join(" "));
  show(part("advice"), Boolean(state.reason || state.next_step || waiting || next));
}

function updateMore(part, state) {
  const { accepted, queued, delivered, dead, dropped } = state;
  const account = { accepted, "account-queued": queued, delivered, dead, dropped };
  for (const [key, number] of Object.entries(account)) write(part(key), count(number));
  const isRight = accepted === queued + delivered + dead + dropped;
  write(part("wrong"), isRight ? "" : "The account does not add up: please report this.");
  if (dead) part("dead-link").href = "#dead";
  else part("dead-link").removeAttribute("href");
  const error = state.last_error;
  keepPairs(part("facts"), [
    ["Last delivery", state.last_success ? clock(state.last_success) : "none since the start"],
    ["Last failure", error ? `${clock(error.at)}: ${answerWords(error.status, error.detail)}` : "none since the start"],
    ["Certificate ends", state.certificate_expires ? exactTime.format(new Date(state.certificate_expires)) : null],
    ["Set aside", state.set_aside ? `${plural(state.set_aside, "event")}, tried again alone` : null],
    ["Died, replayed", state.died || state.replayed ? `${count(state.died)}, ${count(state.replayed)}` : null],
    ["Batches sent again", state.sent_again ? `${count(state.sent_again)}: duplicates are possible` : null],
  ]);
}

function renderDestinations() {
  keep(byId("destination-list"), destinations(), ([name]) => name, destinationCard);
  for (const name of cards.keys()) if (!(name in status.destinations)) cards.delete(name);
}

// --- charts -----------------------------------------------------------------------------------------

let history = null;

/** Fold values into few enough points; what is not known stays null. */
function points(values, fold) {
  const width = Math.ceil(values.length / MAX_POINTS);
  return Array.from({ length: Math.ceil(values.length / width) }, (_, place) => {
    const known = values.slice(place * width, (place + 1) * width).filter(isKnown);
    return known.length ? fold(known) : null;
  });
}

const mean = (values) => values.reduce((total, value) => total + value, 0) / Math.max(1, values.length);

/** The path of a line, or of the area below it; it has a gap where nothing is known. */
function pathOf(values, most, isArea) {
  const step = CHART.width / Math.max(1, values.length - 1);
  // One unit of air, so that a line at the edge is not cut in half.
  const y = (value) => (CHART.height - 1 - (most ? value / most : 0) * (CHART.height - 2)).toFixed(1);
  let path = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const x = (place * step).toFixed(1);
    const begins = !isKnown(values[place - 1]);
    if (isArea) path += `${begins ? `M${x} ${CHART.height}` : ""}L${x} ${y(value)}`;
    else path += `${begins ? "M" : "L"}${x} ${y(value)}`;
    if (isArea && !isKnown(values[place + 1])) path += `L${x} ${CHART.height}Z`;
  });
  return path;
}

function drawCharts(name, part) {
  const series = history?.destinations[name];
  if (!series) return;
  const perSecond = (values) => points(values, (known) => mean(known) / history.step_seconds);
  const taken = perSecond(series.accepted);
  const sent = perSecond(series.delivered);
  const depth = points(series.queued, (known) => Math.max(...known));
  // In the first seconds there is no step yet.
  const most = Math.max(0, ...taken, ...sent);
  const deepest = Math.max(0, ...depth);
  attribute(part("rates").querySelector(".out"), "d", pathOf(sent, most, true));
  attribute(part("rates").querySelector(".in"), "d", pathOf(taken, most, false));
  attribute(part("depth").querySelector(".queued"), "d", pathOf(depth, deepest, true));
  const summary = (values) => `${rate(mean(values.filter(isKnown)))} on average, at most ${rate(Math.max(0, ...values))}`;
  attribute(part("rates"), "aria-label", `In: ${summary(taken)}. Out: ${summary(sent)}. Over the last ${span}.`);
  attribute(part("depth"), "aria-label", `Queued: at most ${plural(deepest, "event")} over the last ${span}.`);
  write(part("rate-most"), most ? `at most ${rate(most)}` : "none");
  write(part("queue-most"), deepest ? `at most ${count(deepest)}` : "none");
  for (const key of ["rates-from", "depth-from"]) write(part(key), clock(history.from));
}

function drawAllCharts() {
  for (const [name, part] of cards) if (!part("more").hidden) drawCharts(name, part);
}

async function refreshHistory() {
  const asked = span;
  const told = await askJson(`v1/history?span=${asked}`);
  if (asked !== span) return;
  history = told;
  drawAllCharts();
}

// --- dead letters -----------------------------------------------------------------------------------

const FIELDS = ["destination", "id", "source", "type", "text"];

let groups = [];
let search = {};
// The last id of each page before the one that is shown: the way back.
let trail = [];
let deadShown = null;
// When letters were listed, and how many there were then: the first status that was made after it tells.
let listedAt = null;
let deadListed = null;
let opened = null;

const groupKey = ({ destination, reason, status: code, detail }) => JSON.stringify([destination, reason, code, detail]);

/** The answer that a group has in common; where there are very many answers, the rare ones are one group. */
function groupAnswer({ status: code, detail }) {
  return answerWords(code, isKnown(detail) || !session.sees_events ? detail : "(various)");
}

/** Whether what finds the letters of `group` finds those of `each`, too. */
function isWithin(each, group) {
  const keyOf = ({ destination, reason, status: code }) => groupKey({ destination, reason, status: code, detail: "" });
  return isKnown(group.detail) ? groupKey(each) === groupKey(group) : keyOf(each) === keyOf(group);
}

/** What finds the letters of a group; of one with various answers, whatever the answer was. */
function filterOf({ destination, reason, status: code, detail }) {
  return { destination, reason, status: code ?? "none", ...(isKnown(detail) ? { detail } : {}) };
}


/** A filter in words: "destination main, answer 422 unknown type". */
function filterWords({ status: code, detail, ...others }) {
  const said = answerWords(code === "none" ? null : code, shortened(detail ?? ""));
  const pairs = [...Object.entries(others), ["answer", said]].filter(([, value]) => value);
  return pairs.map(([name, value]) => `${name} ${value}`).join(", ");
}


/** The same filter as a query and as the body of an act; an empty one has to say that it means all. */
const queryOf = (filter) => new URLSearchParams(filter).toString();

function bodyOf({ id, ...filter }) {
  const body = id === undefined ? filter : { ...filter, ids: [String(id)] };
  return JSON.stringify(Object.keys(body).length ? body : { all: true });
}

async function replay(filter) {
  const { replayed } = await (await ask("POST", "v1/dead/replay", bodyOf(filter))).json();
  await refreshDead();
  return `Replayed ${plural(replayed, "dead letter")}: queued again.`;
}

async function purge(filter, number) {
  const what = number === null ? "every dead letter that the search finds" : plural(number, "dead letter");
  const about = Object.keys(filter).length ? ` (${filterWords(filter)})` : "";
  const text = `This drops ${what}${about}. What is purged is gone for good, and counted as dropped.`;
  if (!(await confirmed("Purge?", text, `Purge ${number === null ? "all of them" : what}`))) return "";
  const { dropped } = await (await ask("POST", "v1/dead/purge", bodyOf(filter))).json();
  await refreshDead();
  return `Purged ${plural(dropped, "dead letter")}: gone, and counted as dropped.`;
}

function exportLink(link, filter) {
  link.href = `v1/dead?${queryOf(filter)}`;
}

/** The cell with what can be done to a group; what a group is never changes, only how many are in it. */
function fillGroupActs(cell, group) {
  if (cell.firstChild) return;
  const filter = filterOf(group);
  const about = `${group.destination}, ${group.reason} ${shortened(groupAnswer(group))}`;
  const events = () => groups.filter((each) => isWithin(each, group)).reduce((total, each) => total + each.events, 0);
  const button = (words, work, className = "") => {
    const node = onPress(element("button", words, { type: "button", className }), work);
    attribute(node, "aria-label", `${words}: ${about}`);
    return node;
  };
  const list = element("div", "", { className: "row" });
  const look = button("Show", () => searchFor(filter), "quiet");
  look.dataset.reads = "";
  const acts = [button("Replay", () => replay(filter)), button("Purge", () => purge(filter, events()), "danger")];
  for (const act of acts) act.dataset.acts = "";
  list.append(look, ...acts);
  cell.append(list);
}

const GROUP_COLUMNS = [
  (cell, group) => write(cell, group.destination),
  (cell, group) => write(cell, group.reason),
  (cell, group) => writeShortened(cell, groupAnswer(group)),
  (cell, group) => write(cell, count(group.events)),
  writePeriod,
  fillGroupActs,
];
const showGroups = paged(byId("group-pager"), "Pages of groups", (page) => {
  keepRows(byId("group-list"), page, groupKey, GROUP_COLUMNS);
});

async function refreshGroups() {
  groups = sum("dead") ? await askJson("v1/dead/groups") : [];
  deadShown = groups.reduce((total, { events }) => total + events, 0);
  showGroups(groups);
  // Grouping takes time where there are many, so the daemon may have told how it was a moment ago.
  if (deadShown !== sum("dead")) listsDue = Math.min(listsDue, performance.now() + STALE_MS);
}

/** Ask for one page of the letters that are searched for; a letter more than is shown tells that there are others. */
async function refreshLetters() {
  listedAt = performance.now();
  deadListed = null;
  const after = trail.length ? { after: trail.at(-1) } : {};
  const response = await ask("GET", `v1/dead?${queryOf({ ...search, ...after, limit: PAGE_ROWS + 1 })}`);
  const lines = (await response.text()).split("\n").filter(Boolean);
  const letters = lines.slice(0, PAGE_ROWS).map(letterOf);
  keepRows(byId("letter-list"), letters, (letter) => letter.id, LETTER_COLUMNS);
  show(byId("found"), true);
  show(byId("letters-none"), !letters.length);
  show(byId("letter-table"), letters.length > 0);
  show(byId("found-acts"), letters.length > 0);
  show(byId("letters-changed"), false);
  exportLink(byId("found-export"), search);
  const first = trail.length * PAGE_ROWS;
  const go = (to) => () => { trail = to; return reported(refreshLetters); };
  const isLast = lines.length <= PAGE_ROWS;
  turnLetters(
    `${count(first + 1)}–${count(first + letters.length)}`,
    trail.length ? go(trail.slice(0, -1)) : null,
    isLast ? null : go([...trail, letters.at(-1)?.id]),
  );
}

const turnLetters = pager(byId("letter-pager"), "Pages of dead letters");

const LETTER_COLUMNS = [
  (cell, letter) => {
    if (cell.firstChild) return;
    const button = element("button", letter.event_id || `number ${letter.id}`, { type: "button", className: "link" });
    button.addEventListener("click", () => openLetter(letter));
    cell.append(button);
  },
  (cell, letter) => write(cell, letter.destination),
  (cell, letter) => writeShortened(cell, String(letter.event?.eventSourceId ?? "")),
  (cell, letter) => writeShortened(cell, String(letter.event?.eventType ?? "")),
  (cell, letter) => writeShortened(cell, `${letter.reason}: ${answerWords(letter.status, letter.detail)}`),
  (cell, letter) => write(cell, clock(letter.died_at)),
];

/** Fill the form with a filter, and show what it finds. */
async function searchFor(filter) {
  search = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== ""));
  trail = [];
  for (const name of FIELDS) byId(`search-${name}`).value = search[name] ?? "";
  const { reason, status: code, detail } = search;
  show(byId("search-group"), isKnown(reason));
  write(byId("search-group-words"), `Only: ${filterWords({ reason, status: code, detail })}`);
  await refreshLetters();
  byId("letters-title").focus();
}

function searched() {
  const { reason, status: code, detail } = search;
  const group = isKnown(reason) ? { reason, status: code, detail } : {};
  const fields = FIELDS.map((name) => [name, byId(`search-${name}`).value.trim()]);
  return searchFor({ ...group, ...Object.fromEntries(fields) });
}

function renderDead() {
  const dead = sum("dead");
  write(byId("dead-title"), dead ? `Dead letters: ${count(dead)}` : "Dead letters");
  write(byId("nav-dead"), dead ? count(dead) : "");
  show(byId("dead-none"), dead === 0);
  show(byId("dead-some"), dead > 0);
  show(byId("letters"), session.sees_events);
  show(byId("letters-hidden"), !session.sees_events);
  if (listedAt !== null && arrivedAt > listedAt + STALE_MS) deadListed ??= dead;
  show(byId("letters-changed"), deadListed !== null && deadListed !== dead);
  keep(byId("search-destination"), ["", ...Object.keys(status.destinations)], (name) => name, (name) => (
    { node: element("option", name || "any", { value: name }), update: () => {} }
  ));
}

async function refreshDead() {
  refreshLists();
  await refreshGroups();
  trail = [];
  if (listedAt !== null) await refreshLetters();
  // The row whose button was pressed may be gone.
  if (document.activeElement === document.body) byId("dead-title").focus();
}

// --- one dead letter --------------------------------------------------------------------------------

function openLetter(letter) {
  opened = letter;
  write(byId("letter-title"), `Event ${letter.event_id || `number ${letter.id}`}`);
  keepPairs(byId("letter-facts"), [
    ["Destination", letter.destination],
    ["Reason", letter.reason],
    ["Answer", answerWords(letter.status, letter.detail) || "none"],
    ["Accepted", exactTime.format(new Date(letter.accepted_at))],
    ["Died", exactTime.format(new Date(letter.died_at))],
  ]);
  write(byId("letter-event"), letter.isDamaged ? letter.text : laidOut(letter.text));
  show(byId("letter-damaged"), letter.isDamaged);
  exportLink(byId("letter-export"), { id: letter.id, destination: letter.destination });
  byId("letter-export").download = `dead-letter-${letter.id}.ndjson`;
  edit(false);
  byId("letter").showModal();
  byId("letter-title").focus();
}

function edit(isEdited) {
  show(byId("letter-look"), !isEdited);
  show(byId("editor"), isEdited);
  byId("editor-problem").replaceChildren();
  // A damaged event cannot be mended here: what it was is for the operator to say.
  show(byId("letter-edit"), !opened.isDamaged);
  if (!isEdited) return;
  byId("editor-text").value = laidOut(opened.text);
  byId("editor-text").focus();
}

const errorWords = ({ field, message }) => (field ? `${field}: ${message}` : message);

/** Replace the letter by what was written, if the daemon finds nothing wrong with it. */
async function sendEdited() {
  const text = byId("editor-text").value;
  try {
    JSON.parse(text);
    const { destination, id } = opened;
    // As a text, so that it arrives as it was written: see TOKENS.
    await ask("POST", "v1/dead/edit", JSON.stringify({ destination, id, event: text }));
  } catch (error) {
    if (!(error instanceof Problem || error instanceof SyntaxError)) throw error;
    const errors = error.errors?.length ? error.errors.map(errorWords) : [error.message];
    byId("editor-problem").replaceChildren(...errors.map((words) => element("li", words)));
    byId("editor-text").focus();
    return "";
  }
  return closeLetter(`Replayed ${opened.event_id || "the event"} as edited; the stored one is gone.`);
}

async function closeLetter(words) {
  byId("letter").close();
  await refreshDead();
  byId("letters-title").focus();
  return words;
}

function setUpLetter() {
  const one = () => ({ id: opened.id, destination: opened.destination });
  onPress(byId("letter-replay"), async () => closeLetter(await replay(one())));
  onPress(byId("letter-purge"), async () => {
    const words = await purge(one(), 1);
    return words && closeLetter(words);
  });
  byId("letter-edit").addEventListener("click", () => edit(true));
  byId("editor-back").addEventListener("click", () => { edit(false); byId("letter-edit").focus(); });
  byId("letter").addEventListener("cancel", (event) => {
    const isChanged = !byId("editor").hidden && byId("editor-text").value !== laidOut(opened.text);
    // The key that leaves a dialog must not throw away what was written.
    if (isChanged) event.preventDefault();
  });
  byId("letter-close").addEventListener("click", () => byId("letter").close());
  byId("editor").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("editor-send").click();
  });
}

// --- refusals, queue, acts, configuration -----------------------------------------------------------

const REFUSAL_COLUMNS = [
  (cell, refusal) => write(cell, refusal.problem),
  (cell, refusal) => write(cell, refusal.way),
  (cell, refusal) => writeShortened(cell, flat(refusal.peer ?? "unknown")),
  (cell, refusal) => writeShortened(cell, refusal.detail ?? ""),
  (cell, refusal) => write(cell, count(refusal.number)),
  writePeriod,
];
const ACT_COLUMNS = [
  (cell, act) => write(cell, clock(act.at)),
  (cell, act) => writeShortened(cell, flat(act.who) || "unknown"),
  (cell, act) => write(cell, act.act === "purge_dead" ? "purge dead letters" : act.act.replaceAll("_", " ")),
  (cell, act) => writeShortened(cell, flat(act.what)),
  (cell, act) => writeShortened(cell, act.failure ? `failed: ${act.failure}` : flat(act.result) || "done"),
];
const refusalKey = ({ way, problem, peer, detail }) => JSON.stringify([way, problem, peer, detail]);
const showRefusals = paged(byId("refusal-pager"), "Pages of refusals", (page) => {
  keepRows(byId("refusal-list"), page, refusalKey, REFUSAL_COLUMNS);
});
const showActs = paged(byId("act-pager"), "Pages of acts", (page) => {
  keepRows(byId("act-list"), page, JSON.stringify, ACT_COLUMNS);
});

async function refreshActivity() {
  const { acts, refusals } = await askJson("v1/activity");
  showRefusals(refusals);
  showActs(acts);
  const refused = refusals.reduce((total, { number }) => total + number, 0);
  write(byId("nav-refused"), refused ? count(refused) : "");
  show(byId("refusals-none"), !refusals.length);
  show(byId("refusals-some"), refusals.length > 0);
  show(byId("acts-none"), !acts.length);
  show(byId("acts-some"), acts.length > 0);
}

const INTAKE_COLUMNS = [
  (cell, [way]) => write(cell, way),
  (cell, [, taken]) => write(cell, count(taken.accepted)),
  (cell, [, taken]) => write(cell, count(taken.refused)),
  (cell, [, taken]) => write(cell, size(taken.bytes)),
  (cell, [, taken]) => write(cell, count(taken.connections)),
];

function renderQueue() {
  const { queue, intake } = status;
  const used = percentage(queue.bytes, queue.max_bytes);
  attribute(byId("queue-bar"), "width", String(used));
  byId("queue").dataset.level = queue.full ? "bad" : "good";
  write(byId("queue-used"), `${count(used)} % used: ${size(queue.bytes)} of ${size(queue.max_bytes)}.`);
  show(byId("queue-full"), queue.full);
  const since = queue.full_since ? ` since ${clock(queue.full_since)}` : "";
  write(byId("queue-full"), `Full${since}: ${count(queue.refused_while_full ?? 0)} refused or stopped meanwhile.`);
  keepPairs(byId("queue-facts"), [
    ["Full at today's rate", isKnown(queue.full_in_seconds) && !queue.full ? `in ${duration(queue.full_in_seconds)}` : null],
    ["Disk free", isKnown(queue.disk_free_bytes) ? size(queue.disk_free_bytes) : null],
    ["Backend", queue.backend],
    ["Path", queue.path ?? null],
  ]);
  show(byId("intake"), isKnown(intake));
  keepRows(byId("intake-list"), Object.entries(intake ?? {}), ([way]) => way, INTAKE_COLUMNS);
}

function renderConfiguration() {
  const { config } = status;
  show(byId("configuration-file"), Boolean(config));
  if (config) {
    const changed = config.changed_on_disk ? " It has changed on disk since then and was not read." : "";
    const file = config.file ?? "From the environment";
    write(byId("configuration-file"), `${file}, read ${clock(config.loaded_at)}.${changed}`);
  }
  const up = duration(status.uptime_seconds + elapsed());
  write(byId("about"), `Version ${status.version}, up ${up}. Times are those of this browser (${zone}).`);
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

async function showConfiguration() {
  if (byId("configuration-more").open) write(byId("configuration-text"), (await askJson("v1/configuration")).yaml);
}

async function reload() {
  await ask("POST", "v1/reload");
  refreshLists();
  await showConfiguration();
  return "Configuration and keys were read again and are in force.";
}

// --- the connection ---------------------------------------------------------------------------------

let source = null;
let failures = 0;
let renderedAt = 0;
let isBeginning = false;
let listsDue = 0;
let historyDue = 0;

function render() {
  renderedAt = performance.now();
  renderVerdict();
  renderWarnings();
  renderDestinations();
  renderDead();
  renderQueue();
  renderConfiguration();
}

/** Show whether what is on the page is so now. */
function renderConnection() {
  document.body.dataset.connection = lostSince === null ? "live" : "lost";
  const known = status ? ", showing what was known then" : "";
  write(byId("connection"), lostSince === null ? "Live" : `Not connected since ${timeOfDay.format(lostSince)}${known}`);
  for (const button of document.querySelectorAll("button[data-acts]")) button.disabled = lostSince !== null;
}

function heard(event) {
  status = JSON.parse(event.data);
  arrivedAt = heardAt = performance.now();
  failures = 0;
  if (lostSince !== null || !byId("loading").hidden) {
    lostSince = null;
    for (const id of ["content", "sections"]) show(byId(id), true);
    show(byId("loading"), false);
    listsDue = historyDue = 0;
    renderConnection();
  }
  if (document.hidden) renderVerdict();
  else render();
}

/** The daemon is there, and cannot say how it is: its storage does not answer, for one. */
function troubled(event) {
  heardAt = performance.now();
  const { detail, hint } = JSON.parse(event.data);
  const words = [detail, hint].filter(Boolean).map(sentence).join(" ");
  if (status) say(words, true);
  else write(byId("loading-words"), words);
}

function lost() {
  source?.close();
  source = null;
  // What is shown was so when it was last heard, not when the silence was noticed.
  lostSince ??= new Date(status ? Date.now() - (performance.now() - heardAt) : Date.now());
  renderConnection();
  if (status) renderVerdict();
  else write(byId("loading-words"), "The daemon does not answer. It is asked again until it does.");
  setTimeout(begin, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
  failures += 1;
}

function connect() {
  source = new EventSource("v1/live");
  source.addEventListener("status", heard);
  source.addEventListener("problem", troubled);
  source.addEventListener("error", lost);
}

async function learnWho() {
  const before = session;
  session = await askJson("v1/session");
  // What an operator was shown must not stay in the memory of a page that somebody else goes on with.
  if (status && session.role !== before.role) location.reload();
  if (JSON.stringify(session) !== JSON.stringify(before)) showSession();
}

/** Find out who one is, and then either listen or ask for the token. */
async function begin() {
  if (isBeginning) return;
  isBeginning = true;
  source?.close();
  source = null;
  try {
    await learnWho();
    if (session.role) connect();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    lost();
  } finally {
    isBeginning = false;
  }
}

/** Show what this person may see and do. Nobody sees anything but the form; a viewer may log in as somebody else. */
function showSession() {
  const isKnownPerson = session.role !== null;
  document.body.dataset.acts = session.may_act ? "yes" : "no";
  document.body.dataset.reads = session.sees_events ? "yes" : "no";
  show(byId("login"), !isKnownPerson);
  show(byId("login-open"), isKnownPerson && session.login);
  show(byId("logout"), session.logged_in === true);
  for (const id of ["content", "sections"]) show(byId(id), isKnownPerson && status !== null);
  show(byId("loading"), isKnownPerson && status === null);
  show(byId("connection"), isKnownPerson);
  show(byId("role"), isKnownPerson && !session.may_act);
  write(byId("role"), `Looking only: ${session.why_not}`);
  if (!isKnownPerson) byId("token").focus();
}

async function logIn(event) {
  event.preventDefault();
  write(byId("login-problem"), "");
  try {
    await ask("POST", "v1/session", JSON.stringify({ token: byId("token").value }));
    byId("token").value = "";
    await begin();
    byId("main").focus();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    write(byId("login-problem"), error.message);
    byId("token").select();
  }
}

async function logOut() {
  await ask("DELETE", "v1/session");
  // What was shown must not stay on the screen or in memory.
  location.reload();
}

// --- what goes on by itself -------------------------------------------------------------------------

/** Run what nobody pressed a button for: a failure shows as a lost connection, or as a message. */
async function reported(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (isLive()) say(error.message, true);
  }
}

function refreshLists() {
  listsDue = 0;
}

/** Once a second: let ages and waits go on, notice silence, and ask for what is due. */
function tick() {
  const now = performance.now();
  if (isLive() && source && now - heardAt > SILENCE_MS) lost();
  if (!isLive() || document.hidden) return;
  // While the daemon says something every two seconds, that is often enough.
  if (now - renderedAt > RENDER_MS) render();
  if (now >= listsDue) {
    listsDue = now + LISTS_MS;
    // A reload of the daemon may have changed what one may do.
    reported(learnWho);
    reported(refreshActivity);
    if (deadShown !== sum("dead")) reported(refreshGroups);
  }
  if (now >= historyDue) {
    historyDue = now + HISTORY_MS[span];
    reported(refreshHistory);
  }
}

function setUp() {
  byId("login").addEventListener("submit", logIn);
  byId("login-open").addEventListener("click", () => { show(byId("login"), true); byId("token").focus(); });
  onPress(byId("logout"), logOut);
  byId("message-close").addEventListener("click", () => show(byId("message"), false));
  byId("confirm-yes").addEventListener("click", () => byId("confirm").close("yes"));
  byId("confirm-no").addEventListener("click", () => byId("confirm").close("no"));
  for (const choice of document.querySelectorAll("[name=span]")) {
    choice.addEventListener("change", () => { span = choice.value; historyDue = 0; tick(); });
  }
  byId("search").addEventListener("submit", (event) => { event.preventDefault(); reported(searched); });
  byId("search").addEventListener("reset", () => reported(() => searchFor({})));
  byId("search-group-off").addEventListener("click", () => { search = {}; reported(searched); });
  byId("letters-again").addEventListener("click", () => reported(refreshDead));
  onPress(byId("found-replay"), () => replay(search));
  onPress(byId("found-purge"), () => purge(search, Object.keys(search).length ? null : sum("dead")));
  byId("configuration-more").addEventListener("toggle", () => reported(showConfiguration));
  onPress(byId("reload"), reload);
  setUpLetter();
  onPress(byId("editor-send"), sendEdited);
  write(byId("place"), location.host);
  setInterval(tick, 1_000);
  document.addEventListener("visibilitychange", tick);
  begin();
}

setUp();
