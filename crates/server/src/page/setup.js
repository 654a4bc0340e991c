// Uses a set-up link. Its secret is behind the `#`, which browsers send to nobody.
"use strict";
const form = document.getElementById("form");
const told = document.getElementById("told");
const secret = location.hash.slice(1);
// Nobody finds it in the history.
history.replaceState(null, "", location.pathname);
if (secret === "") {
  told.textContent = "This link is not whole: the part behind # is missing. Open it once more.";
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [user, password, again] = ["user", "password", "again"].map((id) => document.getElementById(id).value);
  if (password !== again) {
    told.textContent = "The two passwords differ.";
    return;
  }
  try {
    const answer = await fetch("/api/v1/setup", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ secret, user, password }),
    });
    const body = await answer.json();
    told.textContent = answer.ok ? `The password of ${body.user} is set.` : `${body.title}. ${body.detail ?? ""}`;
    if (answer.ok) form.querySelector("button").disabled = true;
  } catch {
    told.textContent = "The server did not answer. Try again.";
  }
});
