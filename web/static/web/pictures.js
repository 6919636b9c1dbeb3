// A placeholder goes when its picture is there, so that it does not shine through; arrow keys go to the neighbours.

for (const picture of document.querySelectorAll(".placeholder + .picture")) {
  const uncover = () => picture.previousElementSibling.classList.add("seen");
  if (picture.complete && picture.naturalWidth) uncover();
  else picture.addEventListener("load", uncover, { once: true });
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (isTyping || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`)?.click();
});
