// Exchanges the secret for a cookie that scripts cannot read.

const form = document.getElementById("sign-in");
const input = document.getElementById("secret");
const error = document.getElementById("sign-in-error");

const SAYS = {
  401: "Wrong secret.",
  429: "Too many wrong secrets. Wait a minute, then try again.",
};

// Returns whether this secret is right.
async function exchange(secret) {
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(secret) };
  const answer = await fetch("session", request).catch(() => undefined);
  error.textContent = answer?.ok ? "" : (SAYS[answer?.status] ?? "The server does not answer. Try again.");
  return answer?.ok === true;
}

// A secret in the address is used once and removed from it, so that it is not copied by accident.
export async function useAddress() {
  const address = new URL(location.href);
  const secret = address.searchParams.get("secret");
  if (secret === null) return;
  address.searchParams.delete("secret");
  history.replaceState(null, "", address);
  await exchange(secret);
}

function show(locked) {
  document.getElementById("main").hidden = locked;
  document.getElementById("locked").hidden = !locked;
}

// Asks for the secret until it is right.
export function ask() {
  document.body.dataset.connection = "locked";
  document.getElementById("connection").textContent = "Locked";
  show(true);
  input.focus();
  return new Promise((opened) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!(await exchange(input.value))) return input.select();
      input.value = "";
      show(false);
      opened();
    };
  });
}
