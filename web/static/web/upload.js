// The upload page with drop, paste and progress. Without this file its form works as it is.

import { send, SetAside } from "./transfer.js";

const AT_ONCE = 3;
const form = document.querySelector("[data-upload]");
const chooser = form.querySelector("input[type=file]");
const transfers = document.querySelector(".transfers");
const list = transfers.querySelector("ul");
const tally = transfers.querySelector(".tally");
const blank = document.querySelector("#transfer");
const token = form.querySelector("[name=csrfmiddlewaretoken]").value;

const waiting = [];
const count = { running: 0, done: 0, refused: 0, aside: 0, all: 0 };

const pictures = (n) => (n === 1 ? "1 picture" : `${n} pictures`);

const tell = () => {
  const open = count.all - count.done - count.refused - count.aside;
  const others = [];
  if (count.refused) others.push(`${pictures(count.refused)} not kept`);
  if (count.aside) others.push(`${pictures(count.aside)} not looked at yet`);
  const rest = others.length ? ` ${others.join(", ")}, see below.` : "";
  tally.textContent = open ? `${count.done} of ${count.all} done.${rest}` : `${pictures(count.done)} kept.${rest} `;
  if (!open && count.done) {
    const link = document.createElement("a");
    link.href = "/";
    link.textContent = "See the gallery";
    tally.append(link);
  }
};

const show = (row, image) => {
  const picture = document.createElement("img");
  picture.alt = "";
  picture.src = image.renditions[0].url;
  row.querySelector(".frame").append(picture);
  const link = document.createElement("a");
  link.className = "break clip";
  link.href = new URL(image.page).pathname;
  link.textContent = image.name;
  row.querySelector(".name").replaceWith(link);
};

const transfer = async ({ file, row, signal }) => {
  const state = row.querySelector(".state");
  const bar = row.querySelector("progress");
  state.textContent = "Sending";
  try {
    const image = await send(file, {
      token,
      signal,
      onprogress: (bytes) => { bar.value = bytes / file.size; },
      onsent: () => { bar.removeAttribute("value"); state.textContent = "Arrived, is being looked at"; },
    });
    show(row, image);
    state.textContent = `Kept. ${image.width} × ${image.height}`;
    row.classList.add("done");
    count.done += 1;
  } catch (error) {
    if (error instanceof SetAside) {
      state.textContent = error.message;
      row.classList.add("aside");
      count.aside += 1;
      return;
    }
    const word = error.name === "AbortError" ? "Stopped. Nothing of it was kept." : `Not kept. ${error.message}`;
    state.textContent = word;
    row.classList.add("refused");
    row.querySelector(".retry").hidden = Boolean(error.isFinal);
    count.refused += 1;
  } finally {
    row.querySelector(".stop").hidden = true;
  }
};

const next = async () => {
  if (count.running >= AT_ONCE || !waiting.length) return;
  count.running += 1;
  await transfer(waiting.shift());
  count.running -= 1;
  tell();
  next();
};

const enqueue = (file, row) => {
  const controller = new AbortController();
  const state = row.querySelector(".state");
  const stop = row.querySelector(".stop");
  state.textContent = "Waits for its turn";
  stop.hidden = false;
  stop.onclick = () => {
    state.textContent = "Stopping";
    controller.abort();
  };
  waiting.push({ file, row, signal: controller.signal });
  tell();
  next();
};

const add = (files) => {
  for (const file of files) {
    const row = blank.content.cloneNode(true).firstElementChild;
    row.querySelector(".name").textContent = file.name || "pasted";
    row.querySelector(".retry").addEventListener("click", (event) => {
      event.target.hidden = true;
      row.classList.remove("refused");
      row.querySelector("progress").value = 0;
      count.refused -= 1;
      enqueue(file, row);
    });
    list.append(row);
    count.all += 1;
    transfers.hidden = false;
    enqueue(file, row);
  }
};

document.body.classList.add("enhanced");
form.querySelector(".invitation").hidden = false;
chooser.addEventListener("change", () => { add([...chooser.files]); chooser.value = ""; });
form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add([...event.dataTransfer.files]);
});
addEventListener("beforeunload", (event) => { if (count.running) event.preventDefault(); });
