// What pages do by themselves. They work without it, but for what is live and for signing in with an access key.

const all = (selector, within = document) => within.querySelectorAll(selector);

// Times: how long ago, kept current.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function ago(moment) {
  const difference = (Date.now() - moment) / 1000;
  const length = Math.abs(difference);
  if (length < 5) return "now";
  const [unit, unitLength] = UNITS.find(([, seconds]) => length >= seconds);
  const text = `${Math.floor(length / unitLength)} ${unit}`;
  return difference > 0 ? `${text} ago` : `in ${text}`;
}

function tell(within = document) {
  for (const time of all("time", within)) {
    const text = ago(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

tell();
setInterval(tell, 5000);

// Copy buttons, which only work with a script and so are hidden without one.

function offerCopies(within = document) {
  if (!navigator.clipboard) return;
  for (const button of all("[data-copy]", within)) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

offerCopies();

// Lists that are live. While somebody reads further down, or points at a row, nothing moves: what comes is held.

const MAX_ROWS = 200;

function follow(body) {
  const table = body.closest("table");
  const empty = document.querySelector(".empty");
  const state = document.querySelector("[data-live-state]");
  const held = new Map();
  const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet" });
  button.addEventListener("click", () => { window.scrollTo(0, 0); release(); });

  const mustHold = () => window.scrollY > 80 || body.matches(":hover") || body.contains(document.activeElement);

  function show(text, mood) {
    state.hidden = false;
    state.className = `live ${mood}`;
    state.replaceChildren(text);
    if (held.size) {
      button.textContent = `Show ${held.size} new`;
      state.append(" ", button);
    }
  }

  function place(row) {
    const seq = Number(row.dataset.seq);
    const after = [...body.rows].find((other) => Number(other.dataset.seq) < seq);
    body.insertBefore(row, after ?? null);
    row.classList.add("fresh");
    while (body.rows.length > MAX_ROWS) body.rows[body.rows.length - 1].remove();
    table.hidden = false;
    if (empty) empty.hidden = true;
  }

  function release() {
    for (const row of held.values()) place(row);
    held.clear();
    show("Live", "");
  }

  function take({ html }) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const row = template.content.firstElementChild;
    tell(template.content);
    const known = document.getElementById(row.id);
    if (known) {
      known.removeAttribute("class");
      if (known.outerHTML !== row.outerHTML) known.replaceChildren(...row.children);
    } else if (mustHold()) {
      held.set(row.id, row);
      show("Paused.", "held");
    } else {
      place(row);
    }
  }

  let source;
  function open() {
    source = new EventSource(body.dataset.live);
    source.addEventListener("open", () => show("Live", ""));
    source.addEventListener("row", (event) => take(JSON.parse(event.data)));
    source.addEventListener("end", () => { source.close(); location.reload(); });
    source.addEventListener("error", () => {
      const isOver = source.readyState === EventSource.CLOSED;
      show(isOver ? "Not live any more. Load the page again." : "The console does not answer; trying again.", "lost");
    });
  }

  // A browser has few connections for all tabs: one that nobody sees needs none. What it missed comes at once.
  document.addEventListener("visibilitychange", () => {
    source?.close();
    if (!document.hidden) open();
  });
  if (!document.hidden) open();
  const look = () => { if (held.size && !mustHold()) release(); };
  for (const name of ["scroll", "pointermove", "focusin"]) addEventListener(name, look, { passive: true });
}

for (const body of all("[data-live]")) follow(body);

// Parts that are asked for again and again. While somebody points at one, is in it or marks its text, nothing moves.

const AGAIN = 2000;

function refresh(part) {
  const state = document.querySelector("[data-live-state]");
  let isAsked = false;

  function show(text, mood) {
    state.hidden = false;
    state.className = `live ${mood}`;
    if (state.textContent !== text) state.textContent = text;
  }

  function isRead() {
    const marked = getSelection();
    return part.matches(":hover") || part.contains(document.activeElement) ||
      (!marked.isCollapsed && part.contains(marked.anchorNode));
  }

  async function look() {
    if (document.hidden || isAsked) return;
    if (isRead()) return show("Paused, while you are at it.", "held");
    isAsked = true;
    try {
      const answer = await fetch(part.dataset.refresh);
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const template = document.createElement("template");
      template.innerHTML = await answer.text();
      if (isRead()) return;
      tell(template.content);
      offerCopies(template.content);
      part.replaceChildren(template.content);
      show("Live", "");
    } catch {
      show("The console does not answer; trying again.", "lost");
    } finally {
      isAsked = false;
    }
  }

  look();
  setInterval(look, AGAIN);
  document.addEventListener("visibilitychange", look);
  part.addEventListener("pointerleave", look);
}

for (const part of all("[data-refresh]")) refresh(part);

// Signing in with a link: what is behind the # comes to the server in a form, and leaves the address.

const byLink = document.querySelector("[data-by-link]");

function useLink() {
  if (!byLink || location.hash.length < 2) return;
  byLink.elements.token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  byLink.submit();
}

useLink();
addEventListener("hashchange", useLink); // a link that is opened where the page is already

// Signing in with an access key: one request, signed as AWS SDKs sign. The secret stays here.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

const utf8 = new TextEncoder();
const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
const hash = async (text) => hex(await crypto.subtle.digest("SHA-256", utf8.encode(text)));

async function hmac(key, text) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", imported, utf8.encode(text));
}

async function signed(path, body, { id, secret, token, region, service }) {
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const headers = { host: location.host, "x-amz-date": date };
  if (token) headers["x-amz-security-token"] = token;
  const names = Object.keys(headers).sort();
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join("");
  const request = ["POST", path, "", lines, names.join(";"), await hash(body)].join("\n");
  const scope = [date.slice(0, 8), region, service, "aws4_request"];
  const text = ["AWS4-HMAC-SHA256", date, scope.join("/"), await hash(request)].join("\n");
  let key = utf8.encode(`AWS4${secret}`);
  for (const part of scope) key = await hmac(key, part);
  const signature = hex(await hmac(key, text));
  delete headers.host;
  const credential = `${id}/${scope.join("/")}`;
  headers.authorization =
    `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return headers;
}

const byKey = document.querySelector("[data-by-key]");
byKey?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = byKey.querySelector(".problem");
  const value = (name) => byKey.querySelector(`[data-key=${name}]`).value.trim();
  problem.textContent = "";
  try {
    if (!crypto.subtle) throw new Error("The browser signs only on pages that came by HTTPS, or from this machine.");
    const challenge = await (await fetch("/sign-in/challenge")).text();
    const key = { id: value("id"), secret: value("secret"), token: value("token"), ...byKey.dataset };
    const headers = await signed("/sign-in/key", challenge, key);
    const answer = await fetch("/sign-in/key", { method: "POST", headers, body: challenge });
    if (!answer.ok) throw new Error(await answer.text());
    location.replace("/");
  } catch (error) {
    problem.textContent = error.message;
  }
});

// Recording a voice note, on the simulator's page, into its file field. Of WhatsApp's formats, browsers record these.

const SOUNDS = { "audio/ogg;codecs=opus": "ogg", "audio/mp4;codecs=opus": "m4a" };
const record = document.querySelector("[data-record]");
const sound = record && window.MediaRecorder && navigator.mediaDevices
  ? Object.keys(SOUNDS).find((type) => MediaRecorder.isTypeSupported(type)) : undefined;
let recorder;

async function begin() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const parts = [];
  recorder = new MediaRecorder(stream, { mimeType: sound });
  recorder.addEventListener("dataavailable", ({ data }) => {
    parts.push(data);
    record.textContent = `Stop recording, ${parts.length} s`;
  });
  recorder.addEventListener("stop", () => {
    for (const track of stream.getTracks()) track.stop();
    const files = new DataTransfer();
    files.items.add(new File(parts, `voice-note.${SOUNDS[sound]}`, { type: sound }));
    record.form.elements.file.files = files.files;
    recorder = undefined;
    record.textContent = "Record it again";
  });
  recorder.start(1000); // a part each second
  record.textContent = "Stop recording";
}

if (sound) {
  record.hidden = false;
  record.addEventListener("click", () => {
    if (recorder) recorder.stop();
    else begin().catch((error) => { record.textContent = `No microphone: ${error.message}`; });
  });
}
