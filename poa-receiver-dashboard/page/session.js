// Exchanges the secret for a cookie that scripts cannot read.

import { admits } from "./sign-in.js";

// Asks the server whether there is access.
export const probe = (options) => fetch("session", options);

// Resolves to the answer, or to `undefined` when there is none.
export function exchange(secret) {
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(secret) };
  return fetch("session", request).catch(() => undefined);
}

// A secret in the address is used once and removed from it, so that it is not copied by accident.
export async function useAddress() {
  const address = new URL(location.href);
  const secret = address.searchParams.get("secret");
  if (secret === null) return;
  address.searchParams.delete("secret");
  history.replaceState(null, "", address);
  admits(await exchange(secret));
}
