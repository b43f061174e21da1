// The form that asks for a secret.

const form = document.getElementById("sign-in");
const input = document.getElementById("secret");
const error = document.getElementById("sign-in-error");

const SAYS = {
  401: "Wrong secret.",
  429: "Too many wrong secrets. Wait a minute, then try again.",
};

// Whether this answer to a secret lets the page in; if not, the form says why. No answer is `undefined`.
export function admits(answer) {
  error.textContent = answer?.ok ? "" : (SAYS[answer?.status] ?? "The server does not answer. Try again.");
  return answer?.ok === true;
}

function show(locked) {
  document.getElementById("main").hidden = locked;
  document.getElementById("locked").hidden = !locked;
}

// Asks until `exchange(secret)`, which resolves to the answer of the server, gets one that admits.
export function ask(exchange) {
  document.body.dataset.connection = "locked";
  document.getElementById("connection").textContent = "Locked";
  show(true);
  input.focus();
  return new Promise((opened) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!admits(await exchange(input.value))) return input.select();
      input.value = "";
      show(false);
      opened();
    };
  });
}
