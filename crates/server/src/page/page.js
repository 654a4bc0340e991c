"use strict";

const TOKEN = "sceau-token";
const REFRESH = 5000;
const COLUMNS = ["@timestamp", "source", "user.name", "source.ip", "event.action", "event.outcome", "message"];
const byId = (id) => document.getElementById(id);
let timer;

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const response = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
  const answer = await response.json();
  if (!response.ok) {
    const error = new Error([answer.title, answer.detail].filter(Boolean).join(": "));
    error.status = response.status;
    throw error;
  }
  return answer;
}

function cell(text) {
  const td = document.createElement("td");
  td.textContent = text;
  return td;
}

function shown(value) {
  if (value === undefined) return "";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

function row(event) {
  const tr = document.createElement("tr");
  tr.append(cell(event.index), ...COLUMNS.map((name) => cell(shown(event.record[name]))));
  tr.title = event.entry;
  return tr;
}

function verification(last) {
  if (!last) return "none since the server started";
  if (last.state !== "done") return last.state;
  return last.verdict.ok ? `good, ${last.finished}` : `FAULTS FOUND: ${last.verdict.faults.length}, ${last.finished}`;
}

function facts(state) {
  const seal = state.last_seal;
  return [
    ["Entries", state.head.tree_size],
    ["Root hash", state.head.root_hash],
    ["Log", state.origin],
    ["Verifier key", state.verifier_key],
    ["First epoch key", state.first_epoch_key],
    ["Sealed", seal ? `${seal.tree_size} entries in epoch ${seal.epoch}, ${seal.time}` : "not yet"],
    ["Checkpoint", state.checkpoint ? `signed at ${state.checkpoint.split("\n")[1]} entries` : "not yet"],
    ["Last verification", verification(state.last_verification)],
    ["Writing", state.writing],
  ];
}

function showFacts(state) {
  const list = byId("sealed");
  list.replaceChildren();
  for (const [name, value] of facts(state)) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    list.append(dt, dd);
  }
}

async function refresh() {
  clearTimeout(timer);
  if (!sessionStorage.getItem(TOKEN)) return;
  try {
    const q = byId("query").value.trim();
    const search = new URLSearchParams({ limit: "50", ...(q && { q }) });
    const [state, page] = await Promise.all([ask("/api/v1/integrity"), ask(`/api/v1/events?${search}`)]);
    showFacts(state);
    byId("events").replaceChildren(...page.events.map(row));
    byId("trouble").textContent = "";
    byId("login").hidden = true;
    byId("content").hidden = false;
  } catch (error) {
    byId("trouble").textContent = error.message;
    if (error.status === 401) leave();
  }
  timer = setTimeout(refresh, REFRESH);
}

function leave() {
  clearTimeout(timer);
  sessionStorage.removeItem(TOKEN);
  byId("login").hidden = false;
  byId("content").hidden = true;
  byId("events").replaceChildren();
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  refresh();
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
byId("leave").addEventListener("click", leave);
refresh();
