// What the pages can do without scripts they do better with them; nothing depends on this file.
"use strict";

document.documentElement.classList.add("scripted");

// − and + beside a quantity. In the basket a change is sent at once.
for (const stepper of document.querySelectorAll(".stepper")) {
  const input = stepper.querySelector("input");
  const send = () => input.form.matches(".line-quantity") && input.reportValidity() && input.form.requestSubmit();
  let pause;
  stepper.addEventListener("click", (event) => {
    const step = Number(event.target.dataset?.step);
    if (!step) return;
    input.value = Math.min(Number(input.max), Math.max(Number(input.min), Number(input.value) + step));
    clearTimeout(pause);
    pause = setTimeout(send, 350);
  });
  input.addEventListener("change", send);
}

// A photo: preview, progress, and another try when the server it went to is gone. The form's token makes
// sure that a photo that did arrive the first time is not there twice.
for (const form of document.querySelectorAll("form[data-upload]")) {
  const part = (selector) => form.querySelector(selector);
  const file = part("input[type=file]"), zone = part(".drop-zone"), preview = part(".drop-preview");
  const bar = part("progress"), button = part("button"), problem = part(".drop-error");

  const complain = (text) => { problem.textContent = text; problem.hidden = !text; };
  file.addEventListener("change", () => {
    const chosen = file.files[0];
    complain("");
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.removeAttribute("src");
    preview.hidden = true;
    if (!chosen) return;
    if (!file.accept.split(",").includes(chosen.type)) { file.value = ""; complain("A PNG, JPEG, WebP or GIF, please."); return; }
    preview.src = URL.createObjectURL(chosen);
    if (chosen.size > 8 * 1024 * 1024) complain("That is over 8 MB. A smaller one, please.");
  });
  // Shown when it can be: what only calls itself a picture would leave a broken one.
  preview.addEventListener("load", () => { preview.hidden = false; });
  preview.addEventListener("error", () => { if (file.files[0]) { file.value = ""; complain("That picture cannot be read."); } });
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]])
    zone.addEventListener(name, () => zone.classList.toggle("over", over));

  const attempt = () => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.onprogress = (event) => { bar.value = (95 * event.loaded) / event.total; };
    request.onload = () => resolve(request);
    request.onerror = () => resolve(request);
    request.send(new FormData(form));
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    complain("");
    bar.hidden = false;
    button.disabled = true;
    for (let tries = 1; tries <= 4; tries++) {
      const answer = await attempt();
      if (answer.status === 201) { location.assign(answer.response.page); location.reload(); return; }
      if (answer.status >= 400 && answer.status < 500) { complain(answer.response?.problem ?? "That photo was refused."); break; }
      if (tries === 4) complain("We could not reach the shop. Your photo is still here: try again in a moment.");
      else await new Promise((resume) => setTimeout(resume, 250 * tries));
    }
    bar.hidden = true;
    bar.value = 0;
    button.disabled = false;
  });
}
