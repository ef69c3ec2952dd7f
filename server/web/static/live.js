"use strict";
// Follows a job: appends its output as it is written, and refreshes what the page says about it.
(() => {
  const MOST = 1 << 20; // characters kept per stream; the whole log is a download away
  const STEERING = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
  const COLOURS = /\u001b\[[0-?]*[ -\/]*[@-~]/g;
  const CUT = /(\u001b(\[[0-?]*[ -\/]*)?|\r)$/; // what the next piece may complete
  const follow = document.querySelector("[data-follow]");
  if (!follow) return;
  const status = document.getElementById("live-status");
  const streams = {};
  for (const box of document.querySelectorAll("[data-stream]")) {
    const offset = Number(box.dataset.offset);
    streams[box.dataset.stream] = { box, offset, decoder: new TextDecoder(), rest: "", returned: false };
    box.dataset.live = "";
    box.scrollTop = box.scrollHeight;
  }
  document.querySelectorAll("[data-without-script]").forEach((one) => { one.hidden = true; });

  function write(stream, text, last = false) {
    if (!text && !last) return;
    const box = stream.box;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    text = stream.rest + text;
    const cut = last ? null : text.match(CUT);
    stream.rest = cut ? cut[0] : "";
    if (cut) text = text.slice(0, -cut[0].length);
    text = text.replace(COLOURS, "").replace(/\r\n/g, "\n");
    // of a line that is written over only the last state stays, as on a terminal
    let fresh = "";
    for (const part of text.split(/(\r)/)) {
      if (part === "\r") { stream.returned = true; continue; }
      if (!part) continue;
      if (stream.returned && part[0] !== "\n") {
        const begin = fresh.lastIndexOf("\n") + 1;
        if (begin === 0) eraseLine(box);
        fresh = fresh.slice(0, begin);
      }
      stream.returned = false;
      fresh += part;
    }
    box.append(fresh.replace(STEERING, "\ufffd"));
    const shown = box.textContent;
    if (shown.length > MOST) box.textContent = shown.slice(shown.indexOf("\n", shown.length - MOST / 2) + 1);
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  function eraseLine(box) {
    const shown = box.textContent;
    box.textContent = shown.slice(0, shown.lastIndexOf("\n") + 1);
  }

  function take(line) {
    if (line.end) return true;
    const stream = streams[line.stream];
    if (!stream || line.offset < stream.offset) return false;
    const bytes = "data64" in line
      ? Uint8Array.from(atob(line.data64), (letter) => letter.charCodeAt(0))
      : new TextEncoder().encode(line.data);
    stream.offset = line.offset + bytes.length;
    write(stream, stream.decoder.decode(bytes, { stream: true }));
    return false;
  }

  async function refresh() {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-fresh]")) {
      const fresh = page.querySelector(`[data-fresh="${part.dataset.fresh}"]`);
      if (!fresh || fresh.innerHTML === part.innerHTML || part.contains(document.activeElement)) continue;
      const opened = [...part.querySelectorAll("details")].map((one) => one.open);
      fresh.querySelectorAll("details").forEach((one, place) => { one.open = opened[place] ?? one.open; });
      part.replaceChildren(...fresh.childNodes);
    }
  }

  async function read() {
    const address = `${follow.dataset.follow}?out=${streams.out.offset}&err=${streams.err.offset}`;
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok || !answer.body) throw new Error(`status ${answer.status}`);
    status.textContent = "Following.";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line && take(JSON.parse(line))) return true;
    }
  }

  async function run() {
    const timer = setInterval(() => refresh().catch(() => {}), 2000);
    for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
      try {
        if (await read()) break;
        wait = 500;
      } catch {
        status.textContent = "The connection was lost; trying again.";
      }
      await new Promise((done) => setTimeout(done, wait));
    }
    clearInterval(timer);
    for (const stream of Object.values(streams)) {
      write(stream, stream.decoder.decode(), true);
      delete stream.box.dataset.live;
    }
    await refresh();
    status.textContent = "The job has ended.";
  }
  run();
})();
