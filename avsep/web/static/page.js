"use strict";

const el = (id) => document.getElementById(id);
const headers = { "x-avsep": "1" };
let job = null;
let about = { max_bytes: Infinity, suffixes: [] };

function show(name) {
  for (const id of ["drop", "work", "results"]) el(id).hidden = id !== name;
}

function fail(sentence) {
  el("problem").textContent = sentence;
  el("problem").hidden = false;
  job = null;
  show("drop");
}

function send(file) {
  el("problem").hidden = true;
  if (file.size > about.max_bytes) {
    fail(`The video is larger than ${Math.floor(about.max_bytes / 2 ** 20)} MB.`);
    return;
  }
  show("work");
  el("step").textContent = "Sending the video";
  const request = new XMLHttpRequest();
  request.open("POST", `jobs?name=${encodeURIComponent(file.name)}`);
  for (const [key, value] of Object.entries(headers)) request.setRequestHeader(key, value);
  request.upload.onprogress = (event) => progress(event.loaded, event.total, "");
  request.onerror = () => fail("The upload was interrupted.");
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* reported below */ }
    if (request.status !== 201) {
      fail(answer.message || `The server answers ${request.status}.`);
      return;
    }
    job = answer.job;
    poll(job);
  };
  el("cancel").onclick = () => { request.abort(); remove(); };
  request.send(file);
}

function progress(done, total, count) {
  el("bar").max = Math.max(total, 1);
  el("bar").value = done;
  el("count").textContent = count;
}

async function poll(name) {
  while (job === name) {
    let answer = null;
    try {
      const response = await fetch(`jobs/${name}`);
      answer = await response.json();
      if (!response.ok) { fail(answer.message); return; }
    } catch {
      fail("The server no longer answers.");
      return;
    }
    if (answer.state === "done") { results(name, answer); return; }
    if (answer.state === "failed") { fail(answer.message); return; }
    el("step").textContent = answer.state === "waiting" ? "Waiting" : answer.step || "Reading";
    progress(answer.done, answer.total, answer.total ? `${answer.done} of ${answer.total}` : "");
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

function results(name, answer) {
  const base = `jobs/${name}/`;
  el("title").textContent = answer.title;
  el("overview").src = `${base}overview.mp4`;
  el("tracks").href = `${base}tracks.json`;
  el("speakers").replaceChildren(...answer.facts.speakers.map((facts) => {
    const part = el("speaker").content.cloneNode(true);
    const file = `${base}speaker${facts.speaker}`;
    part.querySelector("h3").textContent = `Speaker ${facts.speaker}`;
    part.querySelector(".seen").textContent =
      `visible ${Math.round(100 * facts.seen_share)} % of the time`;
    part.querySelector("video").src = `${file}.mp4`;
    part.querySelector("audio").src = `${file}.wav`;
    const picture = part.querySelector("img");
    picture.src = `${file}.png`;
    picture.alt = `Spectrogram of speaker ${facts.speaker}`;
    part.querySelector(".wav").href = `${file}.wav`;
    part.querySelector(".mp4").href = `${file}.mp4`;
    return part;
  }));
  show("results");
}

async function remove() {
  const name = job;
  job = null;
  el("overview").removeAttribute("src");
  el("speakers").replaceChildren();
  show("drop");
  if (name) await fetch(`jobs/${name}`, { method: "DELETE", headers });
}

el("remove").onclick = remove;
el("file").onchange = (event) => {
  if (event.target.files.length) send(event.target.files[0]);
  event.target.value = "";
};
for (const kind of ["dragenter", "dragover"]) {
  el("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    el("drop").classList.add("over");
  });
}
el("drop").addEventListener("dragleave", () => el("drop").classList.remove("over"));
el("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  el("drop").classList.remove("over");
  if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
});

fetch("about").then((response) => response.json()).then((answer) => {
  about = answer;
  el("about").append(` Model: ${answer.model}.`);
  el("note").textContent = answer.note;
  el("note").hidden = !answer.note;
});
