// Buttons that copy the text beside them: a field's value, or a command.

const textBeside = (button) => {
  const source = button.parentElement.querySelector("input, code");
  return source instanceof HTMLInputElement ? source.value : source.textContent;
};

const say = (button, word) => {
  button.textContent = word;
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
};

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(textBeside(button));
      say(button, "Copied");
    } catch {
      button.parentElement.querySelector("input")?.select();
      say(button, "Not copied");
    }
  });
}

for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") menu.open = false;
  });
}
