// One file on its way: announce it, send it to the bucket (in parts when told so), complete it, wait for the verdict.

const TRIES = 3;
const LOST = "The connection was lost before all of it had arrived. Nothing of it was kept. Try again.";

const VERDICTS = [413, 422];

// All of it is there, and the service cannot look at it yet. To send it again would not help.
export class SetAside extends Error {
  isFinal = true;
}

// What the service said. A verdict on the bytes stays the same however often they are sent.
class Refused extends Error {
  constructor({ status, errors, detail }) {
    super(errors?.[0]?.detail ?? detail);
    this.isFinal = VERDICTS.includes(status);
  }
}

const pause = (seconds) => new Promise((done) => { setTimeout(done, 1000 * seconds); });

const call = async (method, path, { token, body, signal } = {}) => {
  const response = await fetch(`/api/v1/uploads${path}`, {
    method,
    signal,
    headers: { "X-CSRFToken": token, ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  if (response.status === 204) return null;
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer);
  return { status: response.status, ...answer };
};

const put = (url, headers, bytes, { onprogress, signal }) => new Promise((done, fail) => {
  const request = new XMLHttpRequest();
  request.open("PUT", url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = (event) => onprogress(event.loaded);
  request.onload = () => (request.status < 300 ? done() : fail(new Error(LOST)));
  request.onerror = () => fail(new Error(LOST));
  request.onabort = () => fail(new DOMException("Stopped", "AbortError"));
  signal.addEventListener("abort", () => request.abort(), { once: true });
  request.send(bytes);
});

const hasArrived = async (upload, number, size, { token, signal }) => {
  const { parts = [] } = await call("GET", `/${upload.id}`, { token, signal });
  return parts.some((part) => part.number === number && part.size === size);
};

const sendParts = async (upload, file, options) => {
  const { token, onprogress, signal } = options;
  let before = 0;
  for (const part of upload.parts) {
    const start = (part.number - 1) * upload.part_size;
    const bytes = file.slice(start, start + upload.part_size);
    let address = part;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await put(address.url, address.headers, bytes, { signal, onprogress: (n) => onprogress(before + n) });
        break;
      } catch (error) {
        if (signal.aborted || attempt === TRIES) throw error;
        await pause(attempt);
        if (await hasArrived(upload, part.number, bytes.size, options)) break; // only the answer was lost
        const fresh = await call("POST", `/${upload.id}/parts`, { token, signal, body: { numbers: [part.number] } });
        [address] = fresh.parts;
      }
    }
    before += bytes.size;
  }
};

const verdict = async (upload, { token, signal }) => {
  for (;;) {
    const answer = await call("POST", `/${upload.id}/complete?wait=20`, { token, signal });
    if (answer.status !== 202) return answer;
    if (answer.error) throw new SetAside(answer.error.detail);
    await pause(1);
  }
};

// Resolves with the image. Rejects with a Refused, a SetAside, an AbortError, or an Error that says what to do.
export const send = async (file, options) => {
  const { token, onprogress, onsent, signal } = options;
  const body = { name: file.name || "pasted", size: file.size, content_type: file.type || "application/octet-stream" };
  let upload = null;
  try {
    upload = await call("POST", "", { token, body, signal });
    if (upload.parts) await sendParts(upload, file, options);
    else await put(upload.url, upload.headers, file, { onprogress, signal });
    onsent();
    return await verdict(upload, options);
  } catch (error) {
    if (signal.aborted && upload) await call("DELETE", `/${upload.id}`, { token }).catch(() => {});
    throw error instanceof TypeError ? new Error(LOST) : error;
  }
};
