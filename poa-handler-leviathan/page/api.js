// Requests to the REST interface. Paths are relative to the page.

// Kept in memory only: a page that is loaded again asks for it.
let token = "";

const authorization = () => (token ? { authorization: `Bearer ${token}` } : {});

// Asks the server whether there is access.
export const probe = (options) => fetch("../cins", { ...options, headers: authorization() });

// Takes a token; resolves to the answer of the server, or to `undefined` when there is none.
export function exchange(secret) {
  token = secret;
  return probe({ cache: "no-store" }).catch(() => undefined);
}

// The subprotocols of the feed. A subprotocol has only some characters (RFC 9110, section 5.6.2).
export function protocols() {
  const encoded = encodeURIComponent(token).replace(/[()]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
  return ["poa-leviathan-page", ...(token ? [`bearer.${encoded}`] : [])];
}

// Sends a request and resolves to the document in the answer. Rejects with what the server says is wrong.
export async function call(method, path, body) {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const headers = { ...authorization(), ...(content.body ? { "content-type": "application/json" } : {}) };
  const answer = await fetch(`../${path}`, { method, headers, ...content }).catch(() => undefined);
  if (!answer) throw new Error("The server does not answer.");
  const document = await answer.json().catch(() => undefined);
  if (!answer.ok) throw new Error(document?.error?.message ?? `The server answers with status ${answer.status}.`);
  const failed = document?.failed ?? [];
  if (failed.length > 0) throw new Error(failed.map(({ id, message }) => `${id}: ${message}`).join("; "));
  return document;
}

const segments = (...parts) => parts.map(encodeURIComponent).join("/");

export const make = (kind, id) => call("POST", `${kind}/make?wait=true`, [id]);
export const destroy = (kind, id) => call("POST", `${kind}/destroy?wait=true`, [id]);
export const remove = (kind, id) => call("DELETE", segments(kind, id));
export const join = (host, container, cen) => call("PUT", segments("host", host, container, cen));
export const leave = (host, container, cen) => call("DELETE", segments("host", host, container, cen));
export const forget = (host, container) => call("DELETE", segments("host", host, container));
export const defineCen = (cenID, containerIDs) => call("POST", "cen/import", { cenList: [{ cenID, containerIDs }] });
export const defineCin = (cinID, cens) => call("POST", "cin/import", { [cinID]: cens });
