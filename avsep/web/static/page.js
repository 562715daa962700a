"use strict";

const el = (id) => document.getElementById(id);
const headers = { "x-avsep": "1" };
const STORED = "avsep-videos";
const POLL_MS = 500;
const jobs = new Map(); // by key: the name on the server, or a number while the video is sent
let about = { max_bytes: Infinity, suffixes: [], keep_s: 1800, silent_after_s: 0.75 };
let current = null;
let uploads = 0;
let shown = ""; // what the results section shows now

const PANELS = { receiving: "work", waiting: "work", running: "work", failed: "failed", done: "results" };
const STEPS = { "track faces": "Finding and following faces", "separate": "Separating the voices",
  "write videos": "Writing the videos" };

/* --- words --- */

function minutes(seconds) {
  if (seconds < 50) return "less than a minute";
  const count = Math.round(seconds / 60);
  if (count >= 90) return `about ${Math.round(count / 60)} hours`;
  return count < 2 ? "about a minute" : `about ${count} minutes`;
}

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function stepOf(job) {
  if (job.state === "receiving") return "Sending the video";
  if (job.state === "waiting") {
    if (!job.ahead) return "Next in line";
    return `Waiting: ${job.ahead} ${job.ahead === 1 ? "video" : "videos"} before this one`;
  }
  return STEPS[job.step] || (job.step ? job.step : "Reading the video");
}

function stateOf(job) {
  if (job.state === "done") return "ready";
  if (job.state === "failed") return "failed";
  if (job.state === "waiting") return job.ahead ? `${job.ahead} before it` : "next";
  return `${job.state === "receiving" ? "sending, " : ""}${Math.round(100 * job.share)} %`;
}

/* --- the list of videos, which a reload finds again --- */

function store(gone = "") {
  const own = [...jobs.values()].filter((job) => job.name).map((job) => job.name);
  const names = [...new Set([...stored(), ...own])] // those of other tabs stay
    .filter((name) => name !== gone && jobs.get(name)?.state !== "failed");
  try { localStorage.setItem(STORED, JSON.stringify(names)); } catch { /* a private window */ }
}

function stored() {
  try {
    const names = JSON.parse(localStorage.getItem(STORED) || "[]");
    return Array.isArray(names) ? names.filter((name) => /^[0-9a-f]{32}$/.test(name)) : [];
  } catch { return []; }
}

function announce(sentence) {
  if (el("status").textContent !== sentence) el("status").textContent = sentence;
}

function complain(sentence) {
  el("problem").textContent = sentence;
  el("problem").hidden = !sentence;
}

function select(key) {
  current = key;
  draw();
}

function drop(key) {
  jobs.delete(key);
  if (current === key) current = [...jobs.keys()].pop() ?? null;
  store(key);
  draw();
}

function draw() {
  document.body.classList.toggle("busy", jobs.size > 0);
  el("videos").hidden = jobs.size < 2;
  const items = [...jobs].map(([key, job]) => {
    const id = `video-${key}`;
    let item = el(id);
    if (!item) {
      item = document.createElement("li");
      item.id = id;
      const button = document.createElement("button");
      button.type = "button";
      for (const kind of ["name", "small"]) button.append(Object.assign(document.createElement("span"), { className: kind }));
      button.onclick = () => select(key);
      item.append(button);
    }
    const [name, state] = item.firstChild.children;
    name.textContent = job.title;
    state.textContent = stateOf(job);
    item.firstChild.setAttribute("aria-current", String(key === current));
    return item;
  });
  const list = el("videos").firstElementChild;
  if (items.length !== list.children.length || items.some((item, index) => item !== list.children[index])) {
    list.replaceChildren(...items);
  }
  const job = jobs.get(current);
  const panel = job ? PANELS[job.state] : "";
  for (const id of ["work", "failed", "results"]) el(id).hidden = id !== panel;
  if (panel !== "results") clearResults();
  if (panel === "work") drawWork(job);
  if (panel === "failed") {
    el("failed-title").textContent = job.title;
    el("reason").textContent = job.message;
  }
  if (panel === "results") drawResults(job);
}

function drawWork(job) {
  el("work-title").textContent = job.title;
  if (job.state === "waiting") el("bar").removeAttribute("value");
  else el("bar").value = job.share;
  el("bar").setAttribute("aria-valuetext", `${Math.round(100 * job.share)} percent`);
  el("step").textContent = stepOf(job);
  const percent = job.state === "waiting" ? "" : `${Math.round(100 * job.share)} %`;
  const left = job.left_s === null || job.left_s === undefined ? "" : `${minutes(job.left_s)} left`;
  el("left").textContent = [percent, left].filter(Boolean).join(", ");
  announce(`${job.title}: ${stepOf(job)}`); // changes with the step, not with each per cent
}

/* --- sending and following --- */

function send(file) {
  complain("");
  if (file.size > about.max_bytes) {
    complain(`${file.name} is larger than ${Math.floor(about.max_bytes / 2 ** 20)} MB.`);
    return;
  }
  uploads += 1;
  const key = uploads;
  const request = new XMLHttpRequest();
  const job = { name: "", title: file.name, state: "receiving", share: 0, stop: () => request.abort() };
  const failed = (sentence) => {
    if (!jobs.has(key)) return;
    drop(key);
    complain(sentence);
  };
  request.open("POST", `jobs?name=${encodeURIComponent(file.name)}`);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = (event) => {
    job.share = event.total ? event.loaded / event.total : 0;
    draw();
  };
  request.onerror = () => failed(`The upload of ${file.name} was interrupted.`);
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* reported below */ }
    if (request.status !== 201) {
      failed(answer.message || `${file.name}: the server answers ${request.status}.`);
      return;
    }
    const selected = current === key;
    jobs.delete(key);
    jobs.set(answer.job, { ...job, name: answer.job, state: "waiting", share: 0, ahead: 0 });
    if (selected) current = answer.job;
    store();
    draw();
    follow(answer.job);
  };
  jobs.set(key, job);
  const before = jobs.get(current);
  if (!before || before.state === "failed") current = key; // else what is watched stays on the screen
  draw();
  request.send(file);
}

async function follow(name) {
  let misses = 0;
  while (jobs.has(name)) {
    let answer = null;
    try {
      const response = await fetch(`jobs/${name}`);
      answer = await response.json();
      if (!jobs.has(name)) return;
      if (!response.ok) {
        complain(`${jobs.get(name).title}: ${answer.message}`);
        drop(name);
        return;
      }
      misses = 0;
    } catch {
      misses += 1;
      if (misses === 3) complain("The server does not answer; is `avsep web` still running?");
    }
    if (answer) {
      if (misses === 0 && el("problem").textContent.startsWith("The server does not")) complain("");
      jobs.set(name, { ...jobs.get(name), ...answer });
      draw();
      if (answer.state === "done" || answer.state === "failed") {
        announce(answer.state === "done" ? `${answer.title} is ready.` : answer.message);
        store();
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS * Math.min(8, 1 + misses)));
  }
}

async function find(names) {
  for (const name of names) {
    try {
      const response = await fetch(`jobs/${name}`);
      if (!response.ok) {
        store(name);
        continue;
      }
      const answer = await response.json();
      jobs.set(name, { name, ...answer });
      current = name;
      draw();
      if (answer.state !== "done" && answer.state !== "failed") follow(name);
    } catch { return; }
  }
  store();
}

async function remove() {
  const key = current;
  const job = jobs.get(key);
  if (!job) return;
  if (job.stop && !job.name) job.stop();
  drop(key);
  announce(`${job.title} was removed.`);
  el("file").focus();
  if (job.name) await fetch(`jobs/${job.name}`, { method: "DELETE", headers }).catch(() => {});
}

/* --- results: one screen, whose sound is the original or one voice --- */

function clearResults() {
  if (!shown) return;
  for (const video of el("screen").children) video.removeAttribute("src");
  el("screen").replaceChildren();
  el("speakers").replaceChildren();
  el("listen").replaceChildren(el("listen").firstElementChild);
  shown = "";
}

function drawResults(job) {
  if (shown === job.name) return;
  clearResults();
  shown = job.name;
  const base = `jobs/${job.name}/`;
  const { facts } = job;
  el("title").textContent = job.title;
  el("tracks").href = `${base}tracks.json`;
  el("residual").href = `${base}residual.wav`;
  el("residual").hidden = !facts.files.includes("residual.wav");
  el("kept").textContent = `All files of this video are removed ${minutes(about.keep_s).replace("about ", "")} after they were last used, and when avsep web ends.`;
  addTrack("Original", `${base}overview.mp4`, "overview");
  for (const speaker of facts.speakers) {
    addTrack(`Speaker ${speaker.speaker}`, `${base}speaker${speaker.speaker}.mp4`, `screen${speaker.speaker}`);
  }
  el("speakers").replaceChildren(...facts.speakers.map((speaker, index) => card(speaker, index + 1, facts, base)));
  listen(0);
}

function addTrack(name, source, id) {
  const video = Object.assign(document.createElement("video"), { id, controls: true, preload: "auto", src: source });
  video.setAttribute("aria-label", name);
  video.ontimeupdate = () => { if (!video.hidden) mark(video); };
  const index = el("screen").children.length;
  el("screen").append(video);
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "listen", value: index });
  input.onchange = () => listen(index);
  label.append(input, Object.assign(document.createElement("span"), { textContent: name }));
  el("listen").append(label);
}

function listen(index, start = false) {
  const videos = [...el("screen").children];
  const before = videos.find((video) => !video.hidden && video !== videos[index]);
  const next = videos[index];
  if (!next) return;
  el("listen").querySelectorAll("input")[index].checked = true;
  const playing = start || Boolean(before && !before.paused && !before.ended);
  const at = videos.every((video) => !video.hidden) ? 0 : (before || next).currentTime;
  for (const video of videos) {
    if (video !== next) video.pause();
    video.hidden = video !== next;
    if (before) { video.volume = before.volume; video.muted = before.muted; }
  }
  if (before) next.currentTime = at;
  if (playing) next.play().catch(() => {});
}

function mark(video) {
  const share = video.duration ? video.currentTime / video.duration : 0;
  for (const line of document.querySelectorAll(".line .now")) line.setAttribute("x", share * 996);
}

function silences(speaker, facts) {
  // A voice is held for a moment while its face is away, and then fades.
  const length = facts.num_frames / facts.fps;
  const quiet = about.silent_after_s;
  const found = [];
  let end = null;
  for (const [from, to] of [...speaker.seen_s, [null, null]]) {
    const start = end === null ? 0 : end + quiet;
    const stop = from === null ? length : from - facts.start_s - quiet;
    if (stop - start > 0.05) found.push([start, stop]);
    if (to !== null) end = to - facts.start_s;
  }
  return found;
}

function card(speaker, index, facts, base) {
  const part = el("speaker").content.cloneNode(true);
  const find = (selector) => part.querySelector(selector);
  const file = `${base}speaker${speaker.speaker}`;
  const length = facts.num_frames / facts.fps;
  const quiet = silences(speaker, facts);
  find("h3").textContent = `Speaker ${speaker.speaker}`;
  find(".seen").textContent = `Face in view ${Math.round(100 * speaker.seen_share)} % of the time`;
  find("img").src = `${file}.png`;
  find("img").alt = `Spectrogram of speaker ${speaker.speaker}${length > 60 ? ", first minute" : ""}`;
  const line = find(".line");
  for (const [start, stop] of quiet) {
    const zone = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ class: "off", x: 1000 * start / length,
      width: 1000 * (stop - start) / length, height: 16 })) zone.setAttribute(key, value);
    line.querySelector("g").append(zone);
  }
  const spans = quiet.slice(0, 6).map(([start, stop]) => `${clock(start)} to ${clock(stop)}`);
  if (quiet.length > 6) spans.push(`${quiet.length - 6} more`);
  const why = quiet.length ? `Silent where the face is not in view: ${spans.join(", ")}.` : "";
  line.setAttribute("aria-label", why || "The face is in view all the time.");
  find(".away").textContent = why;
  find(".away").hidden = !why;
  line.onclick = (event) => {
    const box = line.getBoundingClientRect();
    const video = [...el("screen").children].find((one) => !one.hidden);
    video.currentTime = video.duration * (event.clientX - box.left) / box.width;
  };
  find(".play").onclick = () => listen(index, true);
  find(".play").setAttribute("aria-label", `Listen to speaker ${speaker.speaker}`);
  find(".wav").href = `${file}.wav`;
  find(".mp4").href = `${file}.mp4`;
  return part;
}

/* --- the page --- */

for (const id of ["cancel", "dismiss", "remove"]) el(id).onclick = remove;
el("file").onchange = (event) => {
  for (const file of event.target.files) send(file);
  event.target.value = "";
};
// The whole page takes a drop: one beside the box would open the video instead of the page.
let inside = 0;
const carriesFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
document.addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  inside += 1;
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => {
  inside = Math.max(0, inside - 1);
  if (!inside) document.body.classList.remove("over");
});
document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("over");
  for (const file of event.dataTransfer.files) send(file);
});

fetch("about").then((response) => response.json()).then((answer) => {
  about = answer;
  el("about").append(` Model: ${answer.model}.`);
  el("limits").textContent = `${answer.suffixes.map((name) => name.slice(1)).join(", ")}; up to ${Math.floor(answer.max_bytes / 2 ** 20)} MB`;
  el("note").textContent = answer.note.charAt(0).toUpperCase() + answer.note.slice(1);
  el("note").hidden = !answer.note;
}).catch(() => complain("The server does not answer; is `avsep web` still running?"))
  .then(() => find(stored()));
